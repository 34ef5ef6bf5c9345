// Weights to trellis codes (lichen/trellis.h) in terms of sixteen lanes, a row a lane; after rounding.inc.h.
//
// The codes of least squared error are the shortest way through the trellis (Viterbi 1967, doi
// 10.1109/TIT.1967.1054010). What a way has been through in a block, its eight lowest bits, comes along with its cost
// as an exact float, and so does which step it took there. Of steps, the fewest that reach a block's largest weight are
// tried, one less and one more.
#pragma once

#include "../trellis.h"

namespace lichen {
namespace {

constexpr int kStates = kTrellisStates, kBlock = kTrellisBlock;
constexpr int64_t kBlocksOfGroup = kTrellisGroup / kTrellisBlock;
constexpr float kFarthest = 1e30f;  // the cost of what cannot be

// Levels come in four cosets, 4 m + coset with m = 0 to 7: the m that is nearest to `x`, a level less its coset over 4.
LICHEN_INLINE F16 nearest_of_coset(F16 x) {
  const F16 magic = broadcast(12582912.0f);
  return sub(add(min(broadcast(7.0f), max(broadcast(0.0f), x)), magic), magic);
}

// The coset of a code whose lowest bit is `bit`, in a state: the last three of these bits, the newest one lowest.
constexpr int coset_of(int state, int bit) { return 2 * (bit ^ (state >> 2 & 1)) + (state & 1); }

LICHEN_INLINE float unit_of(uint8_t byte) {
  return float_of(kSmallestUnit + (static_cast<uint32_t>(byte) << kUnitShift));
}

// The fewest steps of size 1 that reach as far as `size`, 1 to 8.
LICHEN_INLINE F16 fewest_steps(F16 size) {
  const F16 magic = broadcast(12582912.0f);
  const F16 up = sub(add(add(mul(size, broadcast(1.0f / kTrellisReach)), broadcast(0.499999f)), magic), magic);
  return min(broadcast(8.0f), max(broadcast(1.0f), up));
}

// The unit of a group by the largest weights of its blocks [blocks][16] alone: each is given the fewest steps that reach
// it, which cost a weight a twelfth of their square, less what a trellis gains; what is beyond all of them is cut off.
// Tried are the smallest unit that reaches all, the next larger one, and two smaller ones: others are never better.
void choose_units(const float* largest, int64_t blocks, uint8_t* bytes) {
  constexpr int kTried = 4, kLargest = 255;
  constexpr float kOfStep = static_cast<float>(kBlock) / 19.2f;
  F16 most = broadcast(0.0f);
  for (int64_t b = 0; b < blocks; ++b) most = max(most, load(largest + b * 16));
  alignas(64) float sizes[16], units[16], costs[16], least[16];
  store(sizes, div(most, broadcast(kTrellisReach * kTrellisSteps)));
  int tops[16];
  for (int r = 0; r < 16; ++r) {
    const auto above = static_cast<int64_t>(bits_of(sizes[r])) - kSmallestUnit + (1 << kUnitShift) - 1;
    const int64_t top = (above < 0 ? 0 : above >> kUnitShift) + 1;
    tops[r] = top > kLargest ? kLargest : static_cast<int>(top);
    least[r] = kFarthest;
  }
  for (int i = 0; i < kTried; ++i) {
    for (int r = 0; r < 16; ++r) units[r] = unit_of(static_cast<uint8_t>(tops[r] > i ? tops[r] - i : 0));
    const F16 unit = load(units), inverse = div(broadcast(1.0f), unit);
    F16 cost = broadcast(0.0f);
    for (int64_t b = 0; b < blocks; ++b) {
      const F16 size = mul(load(largest + b * 16), inverse), steps = fewest_steps(size);
      const F16 beyond = max(sub(size, mul(steps, broadcast(kTrellisReach))), broadcast(0.0f));
      cost = add(cost, add(mul(mul(steps, steps), broadcast(kOfStep)), mul(beyond, beyond)));
    }
    store(costs, mul(mul(cost, unit), unit));
    for (int r = 0; r < 16; ++r)
      if (i == 0 || costs[r] < least[r]) {
        least[r] = costs[r];
        bytes[r] = static_cast<uint8_t>(tops[r] > i ? tops[r] - i : 0);
      }
  }
}

struct Ways {
  F16 cost[kStates];
  F16 past[kStates];  // bits of a block, the first one 128; 256 times the state before it; 2048 times its steps
};

// A quarter of the level that a weight is, exactly: by a quarter of the inverse of a step.
LICHEN_INLINE F16 quarter_level(const float* w, F16 quarter_inverse) {
  return add(mul(load(w), quarter_inverse), broadcast(kTrellisMiddle * 0.25f));
}

// All ways, one column on: `x` in quarters of levels, `square` that of four steps. In a block's first column the past
// is the state that a way is in; `bit` is where this column's is written in it.
template <bool First>
LICHEN_INLINE void walk_column(F16 x, F16 square, F16 bit_value, const Ways& from, Ways& to) {
  F16 error[4];
#pragma GCC unroll 4
  for (int coset = 0; coset < 4; ++coset) {
    const F16 y = sub(x, broadcast(static_cast<float>(coset) * 0.25f)), off = sub(y, nearest_of_coset(y));
    error[coset] = mul(mul(off, off), square);
  }
#pragma GCC unroll 8
  for (int state = 0; state < kStates; ++state) {
    const int bit = state & 1, one = state >> 1, other = one | kStates / 2;
    const F16 first = add(from.cost[one], error[coset_of(one, bit)]);
    const F16 second = add(from.cost[other], error[coset_of(other, bit)]);
    const F16 of_one = First ? broadcast(static_cast<float>(one << 8)) : from.past[one];
    const F16 of_other = First ? broadcast(static_cast<float>(other << 8)) : from.past[other];
    const F16 past = where_less(second, first, of_other, of_one);
    to.cost[state] = min(second, first);
    to.past[state] = bit ? add(past, bit_value) : past;
  }
}

// Every way through one block with one step a lane, whose size is `size`.
LICHEN_INLINE void walk_block(const float* w, F16 size, const Ways& from, Ways& to) {
  const F16 inverse = div(broadcast(0.25f), size), square = mul(mul(size, size), broadcast(16.0f));
  const auto x = [&](int i) LICHEN_LAMBDA { return quarter_level(w + kTrellisOrder[i] * 16, inverse); };
  const auto bit = [](int i) LICHEN_LAMBDA { return broadcast(static_cast<float>(128 >> i)); };
  Ways between;
  walk_column<true>(x(0), square, bit(0), from, between);
#pragma GCC unroll 1
  for (int i = 1; i + 1 < kBlock; i += 2) {
    walk_column<false>(x(i), square, bit(i), between, to);
    walk_column<false>(x(i + 1), square, bit(i + 1), to, between);
  }
  walk_column<false>(x(kBlock - 1), square, bit(kBlock - 1), between, to);
}

// A row's codes from the end to the beginning. `pasts` is [blocks][states][16], sizes those of units, by group.
struct Traced {
  int state[16];
};

LICHEN_INLINE void trace_block(const float* w, const float* pasts, const float* units, Traced& traced,
                               int32_t (&words)[16], int (&steps)[16]) {
  alignas(64) float sizes[16], cosets[16], nearest[16];
  int bits[16], state[16];
  for (int r = 0; r < 16; ++r) {
    const auto past = static_cast<int>(pasts[traced.state[r] * 16 + r]);
    steps[r] = past >> 11;
    state[r] = traced.state[r] = past >> 8 & 7;
    bits[r] = past & 255;
    sizes[r] = units[r] * static_cast<float>(steps[r]);
    words[r] = 0;
  }
  const F16 inverse = div(broadcast(0.25f), load(sizes));
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; ++i) {
    const F16 x = quarter_level(w + kTrellisOrder[i] * 16, inverse);
    for (int r = 0; r < 16; ++r) {
      const int bit = bits[r] >> (kBlock - 1 - i) & 1;
      cosets[r] = static_cast<float>(2 * (bit ^ (state[r] >> 2 & 1)) + (state[r] & 1)) * 0.25f;
    }
    store(nearest, nearest_of_coset(sub(x, load(cosets))));
    for (int r = 0; r < 16; ++r) {
      const int bit = bits[r] >> (kBlock - 1 - i) & 1;
      words[r] = static_cast<int32_t>(static_cast<uint32_t>(words[r]) | static_cast<uint32_t>(2 * static_cast<int>(nearest[r]) + bit) << 4 * i);
      state[r] = (state[r] << 1 | bit) & (kStates - 1);
    }
  }
}

// Where group g of a stored row begins, and how many columns it has.
struct StoredGroup {
  int64_t columns, steps_bytes, begin;
};

LICHEN_INLINE StoredGroup stored_group(int64_t g, int64_t columns) {
  const int64_t left = columns - g * kTrellisGroup, here = left < kTrellisGroup ? left : kTrellisGroup;
  return {here, here > kTrellisGroup / 2 ? 6 : 3, g * (7 + kTrellisGroup / 2)};
}

// Largest weights of blocks, [columns / 8][16]; false where one is not finite.
LICHEN_INLINE bool find_largest(const float* w, int64_t columns, float* largest) {
  F16 poison = broadcast(0.0f);
  for (int64_t k = 0; k < columns; k += kBlock) {
    F16 size = broadcast(0.0f);
    for (int64_t i = k; i < k + kBlock; ++i) {
      const F16 x = load(w + i * 16);
      size = max(absolute(x), size);
      poison = add(poison, mul(x, broadcast(0.0f)));  // infinities and NaN make it NaN
    }
    store(largest + k / kBlock * 16, size);
  }
  return reduce_add(poison) == 0.0f;
}

Encoded encode_trellis(const TrellisTask& task) {
  const int64_t blocks = task.columns / kBlock, groups = (blocks + kBlocksOfGroup - 1) / kBlocksOfGroup;
  float* w = task.memory;
  float* largest = w + task.columns * 16;
  float* units = largest + blocks * 16;
  float* pasts = units + groups * 16;
  constexpr int64_t kStretch = 64;  // columns, whose lines stay in the nearest cache
  for (int64_t k = 0; k < task.columns; k += kStretch)
    to_lanes(task.w + k, task.stride, task.rows, task.columns - k < kStretch ? task.columns - k : kStretch, w + k * 16);
  if (!find_largest(w, task.columns, largest)) return Encoded::not_finite;
  for (int64_t g = 0; g < groups; ++g) {
    const StoredGroup place = stored_group(g, task.columns);
    uint8_t bytes[16];
    choose_units(largest + g * kBlocksOfGroup * 16, place.columns / kBlock, bytes);
    for (int64_t r = 0; r < 16; ++r) {
      units[g * 16 + r] = unit_of(bytes[r]);
      if (r < task.rows) task.words[r * task.word_stride + place.begin] = bytes[r];
    }
  }
  F16 most = broadcast(0.0f);
  for (int64_t b = 0; b < blocks; ++b) most = max(most, load(largest + b * 16));
  if (reduce_max(most) > kTrellisLargest) return Encoded::too_large;

  Ways ways;
  for (int s = 0; s < kStates; ++s) ways.cost[s] = broadcast(s == 0 ? 0.0f : kFarthest);
  for (int64_t b = 0; b < blocks; ++b) {
    const F16 unit = load(units + b / kBlocksOfGroup * 16);
    const F16 fewest = fewest_steps(div(load(largest + b * 16), unit));
    Ways best;
    for (int more = -1; more <= 1; ++more) {
      const F16 steps = min(broadcast(8.0f), max(broadcast(1.0f), add(fewest, broadcast(static_cast<float>(more)))));
      Ways tried;
      walk_block(w + b * kBlock * 16, mul(unit, steps), ways, tried);
      for (int s = 0; s < kStates; ++s) {
        const F16 past = add(tried.past[s], mul(steps, broadcast(2048.0f)));
        best.past[s] = more < 0 ? past : where_less(tried.cost[s], best.cost[s], past, best.past[s]);
        best.cost[s] = more < 0 ? tried.cost[s] : min(tried.cost[s], best.cost[s]);
      }
    }
    ways = best;
    for (int s = 0; s < kStates; ++s) store(pasts + (b * kStates + s) * 16, ways.past[s]);
  }

  F16 last = broadcast(0.0f), cost = ways.cost[0];
  for (int s = 1; s < kStates; ++s) {
    last = where_less(ways.cost[s], cost, broadcast(static_cast<float>(s)), last);
    cost = min(ways.cost[s], cost);
  }
  alignas(64) float ends[16];
  store(ends, last);
  Traced traced;
  for (int r = 0; r < 16; ++r) traced.state[r] = static_cast<int>(ends[r]);
  for (int64_t b = blocks - 1; b >= 0; --b) {
    const int64_t g = b / kBlocksOfGroup, in_group = b % kBlocksOfGroup;
    const StoredGroup place = stored_group(g, task.columns);
    int32_t words[16];
    int steps[16];
    trace_block(w + b * kBlock * 16, pasts + b * kStates * 16, units + g * 16, traced, words, steps);
    for (int64_t r = 0; r < task.rows; ++r) {
      uint8_t* group = task.words + r * task.word_stride + place.begin;
      __builtin_memcpy(group + 1 + place.steps_bytes + in_group * 4, words + r, 4);
      uint8_t* three = group + 1 + in_group / 8 * 3;
      const uint32_t old = three[0] | three[1] << 8 | three[2] << 16;
      const uint32_t added = (in_group % 8 == 7 || b == blocks - 1 ? 0 : old) |
                             static_cast<uint32_t>(steps[r] - 1) << in_group % 8 * 3;
      for (int i = 0; i < 3; ++i) three[i] = static_cast<uint8_t>(added >> 8 * i);
    }
  }
  return Encoded::whole;
}

}  // namespace
}  // namespace lichen
