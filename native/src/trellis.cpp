// Trellis codes: rows on all threads, units, codes back to numbers, and rounding with feedback.
#include "lichen/trellis.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "lichen/matrix.h"
#include "lichen/memory.h"

namespace lichen {
namespace {

constexpr std::int64_t kTogether = 16;      // rows that a kernel encodes at a time
constexpr std::int64_t kFedTogether = 256;  // columns whose errors reach those behind them by one product
constexpr std::int64_t kBlocksOfGroup = kTrellisGroup / kTrellisBlock;
constexpr int kStates = kTrellisStates;
constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding and taking it away rounds to the nearest integer

float unit_of(std::uint8_t byte) {
  const std::uint32_t bits = kSmallestUnit + (static_cast<std::uint32_t>(byte) << kUnitShift);
  float unit;
  std::memcpy(&unit, &bits, sizeof unit);
  return unit;
}

// The fewest steps of 1 that reach as far as `size`, 1 to 8.
float fewest_steps(float size) {
  const float up = (size * (1.0f / kTrellisReach) + 0.499999f + kMagic) - kMagic;
  const float positive = up > 1.0f ? up : 1.0f;
  return positive < 8.0f ? positive : 8.0f;
}

struct Group {
  std::int64_t columns, steps, begin;  // bytes of steps, and before the group
};

Group group_of(std::int64_t columns, std::int64_t g) {
  const std::int64_t here = std::min(kTrellisGroup, columns - g * kTrellisGroup);
  return {here, here > kTrellisGroup / 2 ? 6 : 3, g * trellis_group_bytes(kTrellisGroup)};
}

float largest_of(const float* w, std::int64_t count) {
  float largest = 0.0f;
  for (std::int64_t k = 0; k < count; ++k) largest = std::fabs(w[k]) > largest ? std::fabs(w[k]) : largest;
  return largest;
}

// The unit of one group of weights, as its byte.
Encoded choose_unit(const RoundingKernels& kernels, const float* w, std::int64_t columns, std::uint8_t* to) {
  alignas(64) float largest[kBlocksOfGroup][16] = {};
  const std::int64_t blocks = columns / kTrellisBlock;
  float most = 0.0f, poison = 0.0f;
  for (std::int64_t k = 0; k < columns; ++k) poison += w[k] * 0.0f;  // infinities and NaN make it NaN
  if (std::isnan(poison)) return Encoded::not_finite;
  for (std::int64_t b = 0; b < blocks; ++b) {
    largest[b][0] = largest_of(w + b * kTrellisBlock, kTrellisBlock);
    most = std::max(most, largest[b][0]);
  }
  std::uint8_t bytes[16];
  kernels.choose_units(largest[0], blocks, bytes);
  *to = bytes[0];
  return most > kTrellisLargest ? Encoded::too_large : Encoded::whole;
}

int steps_at(const std::uint8_t* steps, std::int64_t block) {
  const std::uint8_t* three = steps + block / 8 * 3;
  const std::uint32_t bits = three[0] | three[1] << 8 | static_cast<std::uint32_t>(three[2]) << 16;
  return static_cast<int>(bits >> block % 8 * 3 & 7) + 1;
}

void store_steps(std::uint8_t* steps, std::int64_t block, int count) {
  std::uint8_t* three = steps + block / 8 * 3;
  const std::uint32_t bits = static_cast<std::uint32_t>(count - 1) << block % 8 * 3;
  for (int i = 0; i < 3; ++i) three[i] = static_cast<std::uint8_t>(three[i] | bits >> 8 * i);
}

// The level that a code means, by the lowest bits of those before it, the newest one lowest.
int level_of(int code, int state) { return 2 * (code ^ (state >> 2 & 1)) + (state & 1); }

// --- Rounding with feedback ---------------------------------------------------------------------
//
// Each of the trellis' states is the end of a way with errors of its own, so it wants weights of its own behind it
// ("per-survivor processing": Raheli, Polydoros and Tzou 1995, doi 10.1109/26.380054). Ways part for a few codes
// only; where errors go on to all other columns, the best one is kept.

struct Fed {
  const RoundingKernels& kernels;
  const TrellisFeedback& work;
  std::int64_t begin, count;  // columns
  const float* inner;         // [count][count]: row j has what the error of column j adds to those behind it
};

// What a way through one block is, from the state that it began in; codes as a stored word.
struct Piece {
  double cost;
  int from, steps;
  std::uint32_t codes;
  float errors[kTrellisBlock];  // weight - what its code stands for
};

// A row on its way through the columns of a block of Fed.
struct FedRow {
  double costs[kStates];
  float wanted[kStates][kFedTogether];
  Piece pieces[kFedTogether / kTrellisBlock][kStates];
};

constexpr double kNowhere = std::numeric_limits<double>::infinity();

// Every way through the block at column `at` with steps of one size; those that are the best for their end so far
// are kept in `best`.
void walk_block(const Fed& fed, const float* weight, const FedRow& row, std::int64_t at, int steps, float unit,
                Piece (&best)[kStates]) {
  const float size = unit * static_cast<float>(steps), inverse = 1.0f / size;
  Piece pieces[kStates], next[kStates];
  for (int s = 0; s < kStates; ++s) pieces[s] = {row.costs[s], s, steps, 0, {}};
  for (std::int64_t i = 0; i < kTrellisBlock; ++i) {
    const std::int64_t k = at + i;
    const auto pivot = static_cast<double>(fed.work.pivots[fed.begin + k]);
    for (Piece& end : next) end.cost = kNowhere;
    for (int s = 0; s < kStates; ++s) {
      const Piece& piece = pieces[s];
      if (piece.cost == kNowhere) continue;
      float wanted = row.wanted[piece.from][k];
      for (std::int64_t j = 0; j < i; ++j) wanted += fed.inner[(at + j) * fed.count + k] * piece.errors[j];
      const float x = wanted * inverse + static_cast<float>(kTrellisMiddle);
      for (int bit = 0; bit < 2; ++bit) {
        const auto lowest = static_cast<float>(level_of(bit, s));
        const float m = (x - lowest) * 0.25f, positive = m > 0.0f ? m : 0.0f;
        const float nearest = ((positive < 7.0f ? positive : 7.0f) + kMagic) - kMagic;
        const float value = (4.0f * nearest + lowest - static_cast<float>(kTrellisMiddle)) * size;
        const auto off = static_cast<double>(wanted - value);
        const double cost = piece.cost + pivot * off * off;
        Piece& end = next[(s << 1 | bit) & (kStates - 1)];
        if (cost >= end.cost) continue;
        end = piece;
        end.cost = cost;
        end.codes |= (2 * static_cast<std::uint32_t>(nearest) + static_cast<std::uint32_t>(bit)) << 4 * i;
        end.errors[i] = weight[k] - value;
      }
    }
    std::copy(next, next + kStates, pieces);
  }
  for (int s = 0; s < kStates; ++s)
    if (pieces[s].cost < best[s].cost) best[s] = pieces[s];
}

// Each end goes on with what the errors of its way leave the columns from `next` on wanting.
void step_on(const Fed& fed, std::int64_t next, const Piece (&pieces)[kStates], FedRow& row) {
  float wanted[kStates][kFedTogether];
  for (int s = 0; s < kStates; ++s) {
    const Piece& piece = pieces[s];
    row.costs[s] = piece.cost;
    if (piece.cost == kNowhere) continue;
    std::copy(row.wanted[piece.from] + next, row.wanted[piece.from] + fed.count, wanted[s] + next);
    for (std::int64_t i = 0; i < kTrellisBlock; ++i) {
      const float error = piece.errors[i], *reach = fed.inner + (next - kTrellisBlock + i) * fed.count;
      for (std::int64_t k = next; k < fed.count; ++k) wanted[s][k] += error * reach[k];
    }
  }
  for (int s = 0; s < kStates; ++s)
    std::copy(wanted[s] + next, wanted[s] + fed.count, row.wanted[s] + next);
}

// One row's columns of a block of Fed, from the end that the columns before came to. errors [count].
Encoded feed_row(const Fed& fed, std::int64_t number, int& state, FedRow& row, float* errors) {
  const std::int64_t n = fed.work.columns, blocks = fed.count / kTrellisBlock;
  const float* weight = fed.work.weight + number * n + fed.begin;
  const float* wanted = fed.work.wanted + number * n + fed.begin;
  std::uint8_t* words = fed.work.words + number * trellis_row_bytes(n);
  for (int s = 0; s < kStates; ++s) row.costs[s] = s == state ? 0.0 : kNowhere;
  std::copy(wanted, wanted + fed.count, row.wanted[state]);
  float unit = 0.0f;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t at = b * kTrellisBlock;
    const auto first = std::min_element(row.costs, row.costs + kStates) - row.costs;
    if (b % kBlocksOfGroup == 0) {
      const Group group = group_of(n, (fed.begin + at) / kTrellisGroup);
      const Encoded found = choose_unit(fed.kernels, row.wanted[first] + at, group.columns, words + group.begin);
      if (found != Encoded::whole) return found;
      unit = unit_of(words[group.begin]);
    }
    const float fewest = fewest_steps(largest_of(row.wanted[first] + at, kTrellisBlock) / unit);
    Piece(&best)[kStates] = row.pieces[b];
    for (Piece& piece : best) piece.cost = kNowhere;
    const int middle = static_cast<int>(fewest);
    for (int steps = std::max(1, middle - 1); steps <= std::min(kTrellisSteps, middle + 1); ++steps)
      walk_block(fed, weight, row, at, steps, unit, best);
    step_on(fed, at + kTrellisBlock, best, row);
  }
  state = static_cast<int>(std::min_element(row.costs, row.costs + kStates) - row.costs);
  int end = state;
  for (std::int64_t b = blocks - 1; b >= 0; --b) {
    const Piece& piece = row.pieces[b][end];
    const std::int64_t block = fed.begin / kTrellisBlock + b;
    const Group group = group_of(n, block / kBlocksOfGroup);
    std::uint8_t* of_group = words + group.begin + 1;
    store_steps(of_group, block % kBlocksOfGroup, piece.steps);
    std::memcpy(of_group + group.steps + block % kBlocksOfGroup * 4, &piece.codes, 4);
    std::copy(piece.errors, piece.errors + kTrellisBlock, errors + b * kTrellisBlock);
    end = piece.from;
  }
  return Encoded::whole;
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

float trellis_unit(std::uint8_t unit) { return unit_of(unit); }

void decode_trellis_row(const std::uint8_t* row, std::int64_t columns, std::int8_t* codes, float* units) {
  int state = 0;
  for (std::int64_t g = 0; g * kTrellisGroup < columns; ++g) {
    const Group group = group_of(columns, g);
    const std::uint8_t* stored = row + group.begin;
    units[g] = unit_of(stored[0]);
    for (std::int64_t b = 0; b < group.columns / kTrellisBlock; ++b) {
      std::uint32_t word;
      std::memcpy(&word, stored + 1 + group.steps + 4 * b, sizeof word);
      const int steps = steps_at(stored + 1, b);
      std::int8_t* to = codes + g * kTrellisGroup + b * kTrellisBlock;
      for (int i = 0; i < kTrellisBlock; ++i) {
        const int code = static_cast<int>(word >> 4 * i & 15);
        to[kTrellisOrder[i]] = static_cast<std::int8_t>(steps * (level_of(code, state) - kTrellisMiddle));
        state = (state << 1 | (code & 1)) & (kStates - 1);
      }
    }
  }
}

Encoded encode_trellis(ThreadPool& pool, Isa isa, const Weights& weights, std::uint8_t* words) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t columns = weights.columns, stride = trellis_row_bytes(columns);
  const bool wide = weights.type == WeightType::f32;
  std::vector<AlignedBuffer> memory, widened;
  for (int i = 0; i < pool.size(); ++i) {
    memory.emplace_back(static_cast<std::size_t>(trellis_memory(columns)) * sizeof(float));
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
  const std::int64_t n = work.columns;
  std::memset(work.words, 0, static_cast<std::size_t>(work.rows * trellis_row_bytes(n)));
  AlignedBuffer inner(kFedTogether * kFedTogether * sizeof(float));
  AlignedBuffer errors(static_cast<std::size_t>(work.rows * kFedTogether) * sizeof(float));
  std::vector<int> states(static_cast<std::size_t>(work.rows), 0);
  std::vector<FedRow> rows(static_cast<std::size_t>(pool.size()));
  for (std::int64_t begin = 0; begin < n; begin += kFedTogether) {
    const std::int64_t count = std::min(kFedTogether, n - begin), end = begin + count;
    auto* reach = inner.as<float>();
    for (std::int64_t j = 0; j < count; ++j)
      for (std::int64_t k = 0; k < count; ++k)
        reach[j * count + k] = k > j ? work.feedback[(begin + k) * n + begin + j] : 0.0f;
    const Fed fed = {rounding_kernels(isa), work, begin, count, reach};
    const Encoded found = each_chunk(pool, work.rows, 1, [&](int thread, std::int64_t row) {
      return feed_row(fed, row, states[static_cast<std::size_t>(row)], rows[static_cast<std::size_t>(thread)],
                      errors.as<float>() + row * count);
    });
    if (found != Encoded::whole || end == n) return found;
    add_product(pool, isa, {errors.as<float>(), 1, count, work.rows}, {work.feedback + end * n + begin, 1, n, n - end},
                count, 1.0f, work.wanted + end, n);
  }
  return Encoded::whole;
}

}  // namespace lichen
