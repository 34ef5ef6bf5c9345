// A pool of threads that runs one parallel region at a time, with barriers inside.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "lichen/memory.h"

namespace lichen {

// A borrowed callable: two words, no allocation. The callable must outlive the call.
template <typename Signature>
class FunctionRef;

template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F,
            typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, FunctionRef>>>
  FunctionRef(F&& function)  // NOLINT: implicit on purpose
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(function)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// Hands out 0, 1, 2, ... to whoever asks: work is shared as it is asked for, because cores are noisy.
// One cache line each, so that two of them do not disturb one another.
class alignas(kCacheLine) ChunkCounter {
 public:
  std::int64_t take() { return next_.fetch_add(1, std::memory_order_relaxed); }
  std::int64_t next() const { return next_.load(std::memory_order_relaxed); }
  void reset(std::int64_t next = 0) { next_.store(next, std::memory_order_relaxed); }  // a barrier must lie in between

 private:
  std::atomic<std::int64_t> next_{0};
};

// Hands out the chunks of a phase in ranges, one for each thread, from front to back: what lies behind a chunk
// in memory is on its way already when its thread takes the next. Who is done helps the others.
class ChunkRanges {
 public:
  explicit ChunkRanges(int most_ranges) : next_(static_cast<std::size_t>(most_ranges)) {}

  // A barrier must lie in between. With one range, chunks go out in their order, to whoever asks.
  void reset(std::int64_t chunks, int ranges);
  std::int64_t take(int thread);  // -1: nothing is left
  // The first chunk of a range.
  static std::int64_t first(std::int64_t chunks, int ranges, int range) {
    return (chunks * range + ranges - 1) / ranges;
  }

 private:
  std::int64_t chunks_ = 0;
  int ranges_ = 1;
  std::vector<ChunkCounter> next_;
};

// A number that only grows, and threads that wait for it to change: they spin a little (a phase ends
// within microseconds), then let others run, then sleep.
class Signal {
 public:
  std::uint32_t value() const { return value_.load(std::memory_order_acquire); }
  void wait_beyond(std::uint32_t seen, int spins, FunctionRef<void()> meanwhile);
  void advance();

 private:
  alignas(kCacheLine) std::atomic<std::uint32_t> value_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // throws std::invalid_argument unless threads >= 1
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Calls function(thread) once on every thread; the caller is thread 0. Returns when all are done.
  // The function must not throw and must not call run. Calls from several threads wait for one
  // another. Throws std::runtime_error in a process forked after the pool was made, where the
  // pool's threads do not exist.
  void run(FunctionRef<void(int thread)> function);

  // Inside run: returns when every thread has called it. What was written before is seen after. Threads that
  // spin call `meanwhile` each time round, which must be short; the last to come calls `alone` before any goes on.
  // Neither may throw.
  void barrier(FunctionRef<void()> meanwhile, FunctionRef<void()> alone);
  void barrier();

 private:
  void work(int thread);

  const int size_;
  const int spins_;     // 0 when there are more threads than cores: spinning would hold up the others
  const pid_t process_;
  std::mutex running_;  // one region at a time
  const FunctionRef<void(int)>* function_ = nullptr;
  bool stopping_ = false;
  Signal started_;
  Signal met_;
  alignas(kCacheLine) std::atomic<int> arrived_{0};
  std::vector<std::thread> workers_;
};

}  // namespace lichen
