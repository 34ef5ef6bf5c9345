#include "lichen/threads.h"

#include <unistd.h>

#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lichen {
namespace {

// About 50 microseconds, where nothing is done meanwhile: longer than the uneven end of a phase, shorter than anyone would notice.
constexpr int kSpins = 1500;
constexpr int kYields = 20;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr auto nothing = [] {};

int checked(int threads) {
  if (threads < 1)
    throw std::invalid_argument("a thread pool needs at least 1 thread, not " +
                                std::to_string(threads));
  return threads;
}

bool oversubscribed(int threads) {
  const unsigned cores = std::thread::hardware_concurrency();
  return cores != 0 && static_cast<unsigned>(threads) > cores;
}

}  // namespace

void ChunkRanges::reset(std::int64_t chunks, int ranges) {
  chunks_ = chunks;
  ranges_ = ranges;
  for (int range = 0; range < ranges; ++range)
    next_[static_cast<std::size_t>(range)].reset(first(chunks, ranges, range));
}

std::int64_t ChunkRanges::take(int thread) {
  for (int i = 0; i < ranges_; ++i) {
    const int range = (thread + i) % ranges_;
    const std::int64_t end = first(chunks_, ranges_, range + 1);
    ChunkCounter& next = next_[static_cast<std::size_t>(range)];
    if (next.next() >= end) continue;  // read only, so that many threads can look at once
    if (const std::int64_t chunk = next.take(); chunk < end) return chunk;
  }
  return -1;
}

void Signal::wait_beyond(std::uint32_t seen, int spins, FunctionRef<void()> meanwhile) {
  for (int i = 0; i < spins; ++i) {
    if (value() != seen) return;
    meanwhile();
    relax();
  }
  for (int i = 0; i < kYields; ++i) {
    if (value() != seen) return;
    std::this_thread::yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);  // before the value is looked at again: advance() does it the other way round
  changed_.wait(lock, [&] { return value_.load() != seen; });
  sleepers_.fetch_sub(1);
}

void Signal::advance() {
  value_.fetch_add(1);
  if (sleepers_.load() == 0) return;
  { std::lock_guard<std::mutex> lock(mutex_); }  // a sleeper is either waiting by now or will see the value
  changed_.notify_all();
}

ThreadPool::ThreadPool(int threads)
    : size_(checked(threads)), spins_(oversubscribed(threads) ? 0 : kSpins), process_(getpid()) {
  workers_.reserve(static_cast<std::size_t>(size_ - 1));
  try {
    for (int thread = 1; thread < size_; ++thread)
      workers_.emplace_back([this, thread] { work(thread); });
  } catch (...) {
    stopping_ = true;
    started_.advance();
    for (std::thread& worker : workers_) worker.join();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  const bool forked = getpid() != process_;
  if (!forked) {
    stopping_ = true;
    started_.advance();
  }
  for (std::thread& worker : workers_) {
    if (forked) {
      worker.detach();  // it lives in the parent process
    } else {
      worker.join();
    }
  }
}

void ThreadPool::run(FunctionRef<void(int)> function) {
  if (getpid() != process_)
    throw std::runtime_error("this thread pool was made before the process forked; make a new one");
  std::lock_guard<std::mutex> lock(running_);
  function_ = &function;
  started_.advance();
  function(0);
  barrier();
}

void ThreadPool::barrier() { barrier(nothing, nothing); }

void ThreadPool::barrier(FunctionRef<void()> meanwhile, FunctionRef<void()> alone) {
  const std::uint32_t seen = met_.value();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < size_) {
    met_.wait_beyond(seen, spins_, meanwhile);
    return;
  }
  alone();
  arrived_.store(0, std::memory_order_relaxed);
  met_.advance();
}

void ThreadPool::work(int thread) {
  for (std::uint32_t seen = 0;; ++seen) {
    started_.wait_beyond(seen, spins_, nothing);
    if (stopping_) return;
    (*function_)(thread);
    barrier();
  }
}

}  // namespace lichen
