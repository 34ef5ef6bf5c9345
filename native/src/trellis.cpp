// Trellis codes: rows on all threads, units, codes back to numbers, and rounding with feedback.
#include "lichen/trellis.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "feedback.h"
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

int steps_at(const std::uint8_t* steps, std::int64_t block) {
  const std::uint8_t* three = steps + block / 8 * 3;
  const std::uint32_t bits = three[0] | three[1] << 8 | static_cast<std::uint32_t>(three[2]) << 16;
  return static_cast<int>(bits >> block % 8 * 3 & 7) + 1;
}

// Eight codes at a time, as kernels/linear/trellis.inc.h decodes them: levels of columns 0 to 3 and 4 to 7 in bytes.
// `last` are the lowest bits of the codes before, then of these.
std::uint64_t levels_of(std::uint32_t codes, std::uint32_t& last) {
  const std::uint32_t lowest = codes & 0x11111111u;
  const std::uint32_t before = lowest << 4 | last >> 28;
  const std::uint32_t turned = codes ^ (lowest << 12 | last >> 20);
  const std::uint32_t first = (turned << 1 & 0x1e1e1e1eu) | (before & 0x01010101u);
  const std::uint32_t second = (turned >> 3 & 0x1e1e1e1eu) | (codes & 0x01010101u);
  last = lowest;
  return first | static_cast<std::uint64_t>(second) << 32;
}

// Eight bytes step * (level - 16), by levels in bytes; all that stands in a byte fits one.
std::uint64_t times(std::uint64_t levels, int steps) {
  constexpr std::uint64_t kOnes = 0x0101010101010101u, kTops = 0x80 * kOnes;
  const std::uint64_t reached = levels * static_cast<std::uint64_t>(steps);  // at most 31 * 8
  const std::uint64_t middle = kOnes * static_cast<std::uint64_t>(kTrellisMiddle * steps);
  const std::uint64_t below = (reached | kTops) - (middle & ~kTops);  // no byte borrows from the next
  return below ^ (~(reached ^ middle) & kTops);
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
  std::uint32_t last = 0;
  for (std::int64_t g = 0; g * kTrellisGroup < columns; ++g) {
    const Group group = group_of(columns, g);
    const std::uint8_t* stored = row + group.begin;
    units[g] = unit_of(stored[0]);
    for (std::int64_t b = 0; b < group.columns / kTrellisBlock; ++b) {
      std::uint32_t word;
      std::memcpy(&word, stored + 1 + group.steps + 4 * b, sizeof word);
      const std::uint64_t levels = levels_of(word, last);
      const std::uint64_t found = times(levels, steps_at(stored + 1, b));
      std::memcpy(codes + g * kTrellisGroup + b * kTrellisBlock, &found, sizeof found);
    }
  }
}

Encoded encode_trellis(ThreadPool& pool, Isa isa, const Weights& weights, std::uint8_t* words) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t columns = weights.columns, stride = trellis_row_bytes(columns);
  const bool wide = weights.type == WeightType::f32;
  std::vector<AlignedBuffer> memory, widened;
  for (int i = 0; i < pool.size(); ++i) {
    memory.emplace_back(static_cast<std::size_t>(memory_of_rows(columns)) * sizeof(float));
    widened.emplace_back(wide ? 0 : static_cast<std::size_t>(kTogether * columns) * sizeof(float));
  }
  return each_chunk(pool, weights.rows, kTogether, [&](int thread, std::int64_t row) {
    const std::int64_t rows = std::min(kTogether, weights.rows - row);
    const float* w = static_cast<const float*>(weights.data) + row * columns;
    if (!wide) {
      auto* floats = widened[static_cast<std::size_t>(thread)].as<float>();
      const auto* halves = static_cast<const std::uint16_t*>(weights.data) + row * columns;
      (weights.type == WeightType::f16 ? kernels.widen_f16 : kernels.widen_bf16)(halves, rows * columns, floats);
      w = floats;
    }
    return kernels.encode_trellis({w, columns, rows, columns, words + row * stride, stride,
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
