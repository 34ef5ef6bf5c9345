#include "lichen/machine.h"

#include <atomic>
#include <chrono>
#include <cstring>

#include "kernels/dispatch.h"
#include "lichen/memory.h"

namespace lichen {
namespace {

constexpr std::int64_t kChunk = 256 << 10;      // bytes that one thread takes at a time
constexpr std::int64_t kAhead = 4096;           // bytes to prefetch before they are read
constexpr double kPeakSeconds = 0.02;           // of one repetition: many turns of the scheduler's clock

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Run>
double time_of(Run&& run) {
  const double begin = seconds();
  run();
  return seconds() - begin;
}

// Sixteen sums: two cache lines a turn, and more loads under way than one chain of additions allows.
std::uint64_t sum_of(const char* from, std::int64_t bytes) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(from);
  std::uint64_t sums[16] = {};
  for (std::int64_t i = 0; i < bytes / 8; i += 16) {
    __builtin_prefetch(from + i * 8 + kAhead);
    __builtin_prefetch(from + i * 8 + kAhead + kCacheLine);
    for (int j = 0; j < 16; ++j) sums[j] += words[i + j];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

// Each thread takes the next chunk, as the kernels do.
template <typename Work>
void share_chunks(ThreadPool& pool, std::int64_t chunks, Work&& work) {
  ChunkCounter next;
  pool.run([&](int) {
    for (std::int64_t chunk; (chunk = next.take()) < chunks;) work(chunk * kChunk);
  });
}

}  // namespace

std::vector<double> read_rates(ThreadPool& pool, std::int64_t bytes, int repetitions) {
  const std::int64_t chunks = (bytes + kChunk - 1) / kChunk;
  AlignedBuffer buffer(static_cast<std::size_t>(chunks * kChunk + kAhead + 2 * kCacheLine));
  char* const data = buffer.as<char>();
  share_chunks(pool, chunks, [&](std::int64_t at) { std::memset(data + at, 1, kChunk); });
  std::vector<double> rates;
  std::atomic<std::uint64_t> total{0};  // nobody asks for the sum, but it has to be made
  for (int i = 0; i < repetitions; ++i) {
    const double time = time_of([&] {
      share_chunks(pool, chunks, [&](std::int64_t at) { total += sum_of(data + at, kChunk); });
    });
    rates.push_back(static_cast<double>(chunks * kChunk) / time);
  }
  return rates;
}

std::vector<double> peak_rates(ThreadPool& pool, Isa isa, Peak peak, int repetitions) {
  const PeakLoops loops = peak_loops(isa);
  const PeakLoop loop = peak == Peak::i8 ? loops.i8 : loops.bf16;
  std::int64_t rounds = 1000;
  while (time_of([&] { loop(rounds); }) < kPeakSeconds) rounds *= 2;
  std::vector<double> rates;
  for (int i = 0; i < repetitions; ++i) {
    std::atomic<std::int64_t> operations{0};
    const double time = time_of([&] { pool.run([&](int) { operations += loop(rounds); }); });
    rates.push_back(static_cast<double>(operations) / time);
  }
  return rates;
}

}  // namespace lichen
