// The thread pool: barriers, many callers, and what it refuses.
#include "lichen/threads.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "checks.h"

namespace {

using namespace lichen;

// Threads that meet at barriers must never run ahead of one another.
bool barriers_hold(int threads) {
  ThreadPool pool(threads);
  std::vector<int> phase(static_cast<std::size_t>(threads), 0);
  std::atomic<bool> held{true};
  for (int region = 0; region < 50; ++region)
    pool.run([&](int thread) {
      for (int step = 0; step < 20; ++step) {
        ++phase[static_cast<std::size_t>(thread)];
        pool.barrier();
        for (int other : phase)
          if (other != region * 20 + step + 1) held = false;
        pool.barrier();
      }
    });
  return held;
}

// What a region writes is seen by the next one and by the caller, without atomics.
bool regions_are_ordered(int threads) {
  ThreadPool pool(threads);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(threads), 0);
  for (int region = 0; region < 200; ++region) {
    pool.run([&](int thread) { sums[static_cast<std::size_t>((thread + region) % threads)] += thread + 1; });
    if (region % 50 == 49)  // long enough that the workers fall asleep
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  std::int64_t total = 0;
  for (std::int64_t sum : sums) total += sum;
  return total == 200 * threads * (threads + 1) / 2;
}

// Every chunk goes out once, whoever asks; a thread alone gets its own range first, front to back.
bool ranges_hand_out_everything(int threads) {
  ThreadPool pool(threads);
  ChunkRanges ranges(threads);
  for (const std::int64_t chunks : {0, 1, 2, 5, 64, 1000})
    for (const int parts : {1, threads}) {
      std::vector<std::atomic<int>> taken(static_cast<std::size_t>(chunks));
      ranges.reset(chunks, parts);
      pool.run([&](int thread) {
        for (std::int64_t chunk; (chunk = ranges.take(thread)) >= 0;) ++taken[static_cast<std::size_t>(chunk)];
      });
      for (const std::atomic<int>& times : taken)
        if (times != 1) return false;
    }
  ranges.reset(100, threads);
  const int last = threads - 1;
  for (std::int64_t chunk = ChunkRanges::first(100, threads, last); chunk < 100; ++chunk)
    if (ranges.take(last) != chunk) return false;
  return ranges.take(last) == (threads == 1 ? -1 : 0);
}

// The last to come does something alone: once, after all that came before, and before anyone goes on. Two parts in
// turn, handed out by the same ranges.
bool one_works_alone(int threads) {
  ThreadPool pool(threads);
  constexpr std::int64_t kParts = 200, kChunks = 7;
  ChunkRanges ranges(threads);
  ranges.reset(kChunks, threads);
  std::vector<std::int64_t> done(static_cast<std::size_t>(kChunks), 0);  // by whoever took a chunk
  std::int64_t alone = 0;
  std::atomic<bool> held{true};
  pool.run([&](int thread) {
    for (std::int64_t part = 0; part < kParts; ++part) {
      for (std::int64_t chunk; (chunk = ranges.take(thread)) >= 0;) ++done[static_cast<std::size_t>(chunk)];
      pool.barrier([] {}, [&] {
        for (const std::int64_t times : done)
          if (times != part + 1) held = false;
        ++alone;
        ranges.reset(kChunks, part % 2 ? threads : 1);
      });
      if (alone != part + 1) held = false;
    }
  });
  return held && alone == kParts;
}

// Several callers: one region after the other, each whole.
bool callers_take_turns() {
  ThreadPool pool(3);
  std::int64_t work = 0;  // only ever touched by chunk 0 of the region that runs
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      for (int region = 0; region < 50; ++region) {
        ChunkCounter next;
        pool.run([&](int) {
          for (std::int64_t chunk; (chunk = next.take()) < 8;)
            if (chunk == 0) ++work;
        });
      }
    });
  for (std::thread& caller : callers) caller.join();
  return work == 4 * 50;
}

bool no_threads_are_refused() {
  try {
    ThreadPool pool(0);
  } catch (const std::invalid_argument& error) {
    return std::string(error.what()).find("at least 1 thread, not 0") != std::string::npos;
  }
  return false;
}

bool a_forked_process_is_refused() {
  ThreadPool pool(2);
  pool.run([](int) {});
  const pid_t child = fork();
  if (child == 0) {
    try {
      pool.run([](int) {});
    } catch (const std::runtime_error&) {
      _exit(7);
    }
    _exit(1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

}  // namespace

int main() {
  Checks checks;
  for (int threads : {1, 2, 3, 9}) {
    checks.expect(barriers_hold(threads), "barriers with " + std::to_string(threads) + " threads");
    checks.expect(ranges_hand_out_everything(threads), "chunks in ranges with " + std::to_string(threads) + " threads");
    checks.expect(one_works_alone(threads), "one works alone, of " + std::to_string(threads) + " threads");
    checks.expect(regions_are_ordered(threads), "regions with " + std::to_string(threads) + " threads");
  }
  checks.expect(callers_take_turns(), "several callers");
  checks.expect(no_threads_are_refused(), "a pool of no threads is refused");
  checks.expect(a_forked_process_is_refused(), "a pool is refused in a forked process");
  return checks.finish();
}
