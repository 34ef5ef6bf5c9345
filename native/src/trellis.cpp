// Trellis codes: rows on all threads, units, codes back to numbers, and rounding with feedback.
#include "lichen/trellis.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "feedback.h"
#include "kernels/vector/shuffle.h"
#include "lichen/memory.h"

namespace lichen {
namespace {

constexpr std::int64_t kTogether = 16;  // rows that a kernel encodes at a time

// Floats that kernels work in: weights, of blocks their largest, of groups their units, and, half as large, weights once
// more and all ways.
constexpr std::int64_t memory_of_rows(std::int64_t columns) {
  const std::int64_t blocks = columns / kTrellisBlock, groups = columns / kTrellisGroup + 1;
  return kTogether * (columns + blocks + groups + (columns + blocks * kTrellisStates) / 2);
}

// Of one group: weights, what each state wants, now and next, and two numbers of all ways.
constexpr std::int64_t kMemoryOfGroup =
    kTogether * kTrellisGroup * (1 + 2 * kTrellisStates + 2 * kTrellisStates / kTrellisBlock);

float unit_of(std::uint8_t byte) {
  const std::uint32_t bits = kSmallestUnit + (static_cast<std::uint32_t>(byte) << kUnitShift);
  float unit;
  std::memcpy(&unit, &bits, sizeof unit);
  return unit;
}

struct Group {
  std::int64_t columns, steps, begin;  // bytes of steps, and before the group
};

Group group_of(std::int64_t columns, std::int64_t g) {
  const std::int64_t here = std::min(kTrellisGroup, columns - g * kTrellisGroup);
  return {here, here > kTrellisGroup / 2 ? 6 : 3, g * trellis_group_bytes(kTrellisGroup)};
}

// Four blocks, one a lane.
typedef std::uint32_t Words __attribute__((vector_size(16)));
typedef std::uint16_t Halves __attribute__((vector_size(16)));
constexpr std::int64_t kBlocksTogether = 4;  // of which any group has a whole number

// Levels of a block's columns 0 to 3 and 4 to 7 in bytes, as kernels/linear/trellis.inc.h decodes them. `last` are the
// lowest bits of the four blocks before, then of these.
void levels_of(Words codes, Words& last, Words& first, Words& second) {
  const Words lowest = codes & 0x11111111u;
  const Words previous = LICHEN_SHUFFLE(last, lowest, 3, 4, 5, 6);
  const Words before = lowest << 4 | previous >> 28;
  const Words turned = codes ^ (lowest << 12 | previous >> 20);
  first = (turned << 1 & 0x1e1e1e1eu) | (before & 0x01010101u);
  second = (turned >> 3 & 0x1e1e1e1eu) | (codes & 0x01010101u);
  last = lowest;
}

// The steps of four blocks from `block` on, in both halves of their lanes.
Halves steps_of(const std::uint8_t* steps, std::int64_t block) {
  const std::uint8_t* three = steps + block / 8 * 3;
  const std::uint32_t all = three[0] | three[1] << 8 | static_cast<std::uint32_t>(three[2]) << 16;
  const auto bits = static_cast<std::uint16_t>(all >> block % 8 * 3 & 0xfff);
  const Halves to_top = {1 << 13, 1 << 13, 1 << 10, 1 << 10, 1 << 7, 1 << 7, 1 << 4, 1 << 4};
  return (to_top * bits >> 13) + 1;
}

// Bytes step * (level - 16), by levels in bytes.
Words times(Words levels, Halves steps) {
  const Halves middle = steps * static_cast<std::uint16_t>(kTrellisMiddle);
  const Halves even = (Halves)(levels & 0x00ff00ffu) * steps - middle;
  const Halves odd = (Halves)(levels >> 8 & 0x00ff00ffu) * steps - middle;
  return ((Words)even & 0x00ff00ffu) | ((Words)odd << 8 & 0xff00ff00u);
}

// Rows that one thread after the other takes until one cannot be encoded.
template <typename Function>
Encoded each_chunk(ThreadPool& pool, std::int64_t rows, std::int64_t step, Function function) {
  std::atomic<Encoded> found{Encoded::whole};
  ChunkCounter chunks;
  pool.run([&](int thread) {
    for (std::int64_t row; found == Encoded::whole && (row = chunks.take() * step) < rows;)
      if (const Encoded here = function(thread, row); here != Encoded::whole) found = here;
  });
  return found;
}

}  // namespace

std::int64_t trellis_columns(std::int64_t row_bytes) {
  constexpr std::int64_t kWhole = trellis_group_bytes(kTrellisGroup);
  const std::int64_t whole = row_bytes / kWhole * kTrellisGroup;
  for (std::int64_t rest : {0, 32, 64, 96})
    if (trellis_row_bytes(whole + rest) == row_bytes) return whole + rest;
  return 0;
}

void decode_trellis_row(const std::uint8_t* row, std::int64_t columns, std::int8_t* codes, float* units) {
  Words last = {};
  for (std::int64_t g = 0; g * kTrellisGroup < columns; ++g) {
    const Group group = group_of(columns, g);
    const std::uint8_t* stored = row + group.begin;
    units[g] = unit_of(stored[0]);
    for (std::int64_t b = 0; b < group.columns / kTrellisBlock; b += kBlocksTogether) {
      Words words, first, second;
      std::memcpy(&words, stored + 1 + group.steps + 4 * b, sizeof words);
      levels_of(words, last, first, second);
      const Halves steps = steps_of(stored + 1, b);
      first = times(first, steps);
      second = times(second, steps);
      const Words found[2] = {LICHEN_SHUFFLE(first, second, 0, 4, 1, 5), LICHEN_SHUFFLE(first, second, 2, 6, 3, 7)};
      std::memcpy(codes + g * kTrellisGroup + b * kTrellisBlock, found, sizeof found);
    }
  }
}

Encoded encode_trellis(ThreadPool& pool, Isa isa, const Weights& weights, std::uint8_t* words) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t columns = weights.columns, stride = trellis_row_bytes(columns);
  const Widen widen = widening(kernels, weights.type);
  const std::int64_t row_bytes = columns * (widen ? 2 : 4);
  std::vector<AlignedBuffer> memory;
  for (int i = 0; i < pool.size(); ++i)
    memory.emplace_back(static_cast<std::size_t>(memory_of_rows(columns)) * sizeof(float));
  return each_chunk(pool, weights.rows, kTogether, [&](int thread, std::int64_t row) {
    const std::int64_t rows = std::min(kTogether, weights.rows - row);
    const auto* w = static_cast<const char*>(weights.data) + row * row_bytes;
    return kernels.encode_trellis({w, widen, columns, rows, columns, words + row * stride, stride,
                                   memory[static_cast<std::size_t>(thread)].as<float>()});
  });
}

Encoded encode_trellis(ThreadPool& pool, Isa isa, const TrellisFeedback& work) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t n = work.columns, stride = trellis_row_bytes(n);
  AlignedBuffer inner(kTrellisGroup * kTrellisGroup * sizeof(float));
  Scratch errors(static_cast<std::size_t>(work.rows * kTrellisGroup) * sizeof(float));
  std::vector<int> states(static_cast<std::size_t>(work.rows), 0);
  std::vector<AlignedBuffer> memory;
  for (int i = 0; i < pool.size(); ++i)
    memory.emplace_back(static_cast<std::size_t>(kMemoryOfGroup) * sizeof(float));
  for (const Stretch& stretch : stretches(work.feedback, kTrellisGroup)) {
    const std::int64_t begin = stretch.begin, count = stretch.count;
    const Group group = group_of(n, begin / kTrellisGroup);
    auto* reach = inner.as<float>();
    feedback_within(stretch, reach);
    const Encoded found = each_chunk(pool, work.rows, kTogether, [&](int thread, std::int64_t row) {
      return kernels.feed_trellis({work.weight + row * n + begin, work.wanted + row * n + begin, n,
                                   std::min(kTogether, work.rows - row), count, reach, work.pivots + begin,
                                   &states[static_cast<std::size_t>(row)], work.words + row * stride + group.begin, stride,
                                   errors.as<float>() + row * count, work.costs + row,
                                   memory[static_cast<std::size_t>(thread)].as<float>()});
    });
    if (found != Encoded::whole) return found;
    feed_behind(pool, isa, stretch, errors.as<float>(), work.rows, work.wanted, n);
  }
  return Encoded::whole;
}

}  // namespace lichen
