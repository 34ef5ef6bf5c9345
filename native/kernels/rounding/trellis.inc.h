// Weights to trellis codes (lichen/trellis.h), sixteen rows at a time, a row a lane; after rounding.inc.h.
//
// The codes of least squared error are the shortest way through the trellis (Viterbi 1967, doi
// 10.1109/TIT.1967.1054010), found in int16: places between levels in 128ths, costs in 64ths of a squared unit. With
// the cost of a way comes what it has been through in a block: its eight lowest bits, the state that it began in and
// which steps it took. Of these the fewest that reach the block's largest weight are tried, one less and one more.
#pragma once

#include "../trellis.h"

namespace lichen {
namespace {

constexpr int kStates = kTrellisStates, kBlock = kTrellisBlock;
constexpr int64_t kBlocksOfGroup = kTrellisGroup / kTrellisBlock;
constexpr float kFarthest = 1e30f;  // the cost of what cannot be
constexpr int kLevel = 128;         // what a level is to the next one in int16
constexpr int kTries = 3;

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

// Where group g of a stored row begins, and how many columns it has.
struct StoredGroup {
  int64_t columns, steps_bytes, begin;
};

LICHEN_INLINE StoredGroup stored_group(int64_t g, int64_t columns) {
  const int64_t left = columns - g * kTrellisGroup, here = left < kTrellisGroup ? left : kTrellisGroup;
  return {here, here > kTrellisGroup / 2 ? 6 : 3, g * (7 + kTrellisGroup / 2)};
}

// Largest weights of blocks, [columns / 8][16], and whether all have a place.
LICHEN_INLINE Encoded find_largest(const float* w, int64_t columns, float* largest) {
  F16 poison = broadcast(0.0f), most = broadcast(0.0f);
  for (int64_t k = 0; k < columns; k += kBlock) {
    F16 size = broadcast(0.0f);
    for (int64_t i = k; i < k + kBlock; ++i) {
      const F16 x = load(w + i * 16);
      size = max(absolute(x), size);
      poison = add(poison, mul(x, broadcast(0.0f)));  // infinities and NaN make it NaN
    }
    store(largest + k / kBlock * 16, size);
    most = max(size, most);
  }
  if (!(reduce_add(poison) == 0.0f)) return Encoded::not_finite;
  return reduce_max(most) > kTrellisLargest ? Encoded::too_large : Encoded::whole;
}

struct Ways {
  S16 cost[kStates];  // without sign; the largest number for what cannot be
  S16 past[kStates];  // bits of a block, the first one 128; 256 times the state before it; 2048 times which steps
};

// Steps to try, and what they make of places and costs.
struct Tried {
  S16 inverse;   // -2^15 over the steps
  S16 gain;      // of a distance
  S16 farthest;  // a distance whose gain is within 16 bits
};

LICHEN_INLINE Tried tried(F16 steps) {
  const F16 inverse = div(broadcast(1.0f), steps);
  return {to_shorts(mul(inverse, broadcast(-32768.0f))), to_shorts(mul(steps, broadcast(16.0f))),
          to_shorts(sub(mul(inverse, broadcast(4095.0f)), broadcast(0.5f)))};
}

LICHEN_INLINE F16 steps_tried(F16 fewest, int which) {
  return min(broadcast(8.0f), max(broadcast(1.0f), add(fewest, broadcast(static_cast<float>(which - 1)))));
}

// The level that a weight is.
LICHEN_INLINE S16 place_of(const int16_t* w, const Tried& steps) {
  return sub(same_shorts(kTrellisMiddle * kLevel), rounded_product(load(w), steps.inverse));
}

// Levels come in four cosets, 4 m + coset with m = 0 to 7: the nearest one, less its coset, of a place less its coset.
LICHEN_INLINE S16 nearest_of_coset(S16 place) {
  const S16 near = both(add(place, same_shorts(2 * kLevel)), same_shorts(-4 * kLevel));
  return min(same_shorts(28 * kLevel), max(same_shorts(0), near));
}

// All ways, one column on. In a block's first column the past is the state that a way is in; `bit_value` is what this
// column's adds to it.
template <bool First>
LICHEN_INLINE void walk_column(S16 place, const Tried& steps, int bit_value, const Ways& from, Ways& to) {
  S16 error[4];
#pragma GCC unroll 4
  for (int coset = 0; coset < 4; ++coset) {
    const S16 y = sub(place, same_shorts(coset * kLevel)), off = absolute(sub(y, nearest_of_coset(y)));
    const S16 distance = mul(min(off, steps.farthest), steps.gain);
    error[coset] = high_product(distance, distance);
  }
#pragma GCC unroll 8
  for (int state = 0; state < kStates; ++state) {
    const int bit = state & 1, one = state >> 1, other = one | kStates / 2;
    const S16 first = add_saturated(from.cost[one], error[coset_of(one, bit)]);
    const S16 second = add_saturated(from.cost[other], error[coset_of(other, bit)]);
    const S16 of_one = First ? same_shorts(one << 8) : from.past[one];
    const S16 of_other = First ? same_shorts(other << 8) : from.past[other];
    to.cost[state] = min_unsigned(first, second);
    const S16 past = where_equal(to.cost[state], first, of_one, of_other);
    to.past[state] = bit ? add(past, same_shorts(bit_value)) : past;
  }
}

// Every way through one block of weights [8][16] with the steps of each lane.
LICHEN_INLINE void walk_block(const int16_t* w, const Tried& steps, const Ways& from, Ways& to) {
  const auto place = [&](int i) LICHEN_LAMBDA { return place_of(w + kTrellisOrder[i] * 16, steps); };
  Ways between;
  walk_column<true>(place(0), steps, 128, from, between);
#pragma GCC unroll 1
  for (int i = 1; i + 1 < kBlock; i += 2) {
    walk_column<false>(place(i), steps, 128 >> i, between, to);
    walk_column<false>(place(i + 1), steps, 64 >> i, to, between);
  }
  walk_column<false>(place(kBlock - 1), steps, 1, between, to);
}

// Keeps, for each state, the cheaper of two ways.
LICHEN_INLINE void keep_cheaper(const Ways& tried, int which, Ways& best) {
  for (int s = 0; s < kStates; ++s) {
    const S16 past = add(tried.past[s], same_shorts(which << 11)), before = best.cost[s];
    best.cost[s] = which ? min_unsigned(tried.cost[s], before) : tried.cost[s];
    best.past[s] = which ? where_equal(best.cost[s], before, best.past[s], past) : past;
  }
}

// Costs less the least of them, so that they never grow beyond 16 bits.
LICHEN_INLINE void lower_costs(S16 (&cost)[kStates]) {
  S16 least = cost[0];
  for (int s = 1; s < kStates; ++s) least = min_unsigned(cost[s], least);
  for (int s = 0; s < kStates; ++s) cost[s] = sub(cost[s], least);
}

// Costs in another unit, whose square is `ratio` of the one that they are in.
LICHEN_INLINE void change_unit(F16 ratio, S16 (&cost)[kStates]) {
  const F16 most = broadcast(32767.0f);
  for (int s = 0; s < kStates; ++s)
    cost[s] = to_shorts(min(most, div(to_floats(min_unsigned(cost[s], same_shorts(32767))), ratio)));
}

// The codes of a block, four in a word [2][16], along the ways that took these steps.
LICHEN_INLINE void trace_block(const int16_t* w, S16 past, const Tried& steps, int16_t* codes) {
  S16 state = both(shift_down<8>(past), same_shorts(7));
  const S16 one = same_shorts(1);
  S16 words[2];
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; ++i, past = shift_up<1>(past)) {
    const S16 bit = both(shift_down<7>(past), one);
    const S16 coset = add(shift_up<1>(differing(bit, shift_down<2>(state))), both(state, one));
    const S16 level = nearest_of_coset(sub(place_of(w + kTrellisOrder[i] * 16, steps), mul(coset, same_shorts(kLevel))));
    const S16 code = add(shift_down<8>(level), bit);
    const S16 placed = mul(code, same_shorts(1 << 4 * (i % 4)));
    words[i / 4] = i % 4 ? either(words[i / 4], placed) : placed;
    state = both(either(shift_up<1>(state), bit), same_shorts(kStates - 1));
  }
  store(codes, words[0]);
  store(codes + 16, words[1]);
}

// Weights [columns][16] in 128ths of their groups' units [groups][16].
LICHEN_INLINE void to_places(const float* w, int64_t columns, const float* units, int16_t* places) {
  const F16 most = broadcast(32767.0f), least = broadcast(-32767.0f);
  for (int64_t k = 0; k < columns; k += kBlock) {
    const F16 inverse = div(broadcast(static_cast<float>(kLevel)), load(units + k / kTrellisGroup * 16));
    for (int64_t i = k; i < k + kBlock; ++i)
      store(places + i * 16, to_shorts(max(least, min(most, mul(load(w + i * 16), inverse)))));
  }
}

// The units of all groups [groups][16], which are stored.
LICHEN_INLINE void store_units(const TrellisTask& task, const float* largest, float* units) {
  for (int64_t g = 0; g * kTrellisGroup < task.columns; ++g) {
    const StoredGroup place = stored_group(g, task.columns);
    uint8_t bytes[16];
    choose_units(largest + g * kBlocksOfGroup * 16, place.columns / kBlock, bytes);
    for (int64_t r = 0; r < 16; ++r) {
      units[g * 16 + r] = unit_of(bytes[r]);
      if (r < task.rows) task.words[r * task.word_stride + place.begin] = bytes[r];
    }
  }
}

// The state of least cost in each lane.
LICHEN_INLINE void cheapest(const S16 (&cost)[kStates], int16_t* states) {
  S16 state = same_shorts(0), least = cost[0];
  for (int s = 1; s < kStates; ++s) {
    const S16 before = least;
    least = min_unsigned(cost[s], before);
    state = where_equal(least, before, state, same_shorts(s));
  }
  store(states, state);
}

// All ways through weights [blocks][8][16]: of each block the pasts [states][16] of those that end it, and the states
// in which the cheapest of all end.
LICHEN_INLINE void walk(const int16_t* places, int64_t blocks, const float* units, const float* largest, int16_t* pasts,
                        int16_t* states) {
  Ways ways;
  for (int s = 0; s < kStates; ++s) ways.cost[s] = same_shorts(s == 0 ? 0 : -1);
  F16 before = load(units);
  for (int64_t b = 0; b < blocks; ++b) {
    const F16 unit = load(units + b / kBlocksOfGroup * 16);
    if (b > 0 && b % kBlocksOfGroup == 0) {
      const F16 ratio = div(unit, before);
      change_unit(mul(ratio, ratio), ways.cost);
      before = unit;
    }
    const F16 fewest = fewest_steps(div(load(largest + b * 16), unit));
    Ways best;
    for (int which = 0; which < kTries; ++which) {
      Ways found;
      walk_block(places + b * kBlock * 16, tried(steps_tried(fewest, which)), ways, found);
      keep_cheaper(found, which, best);
    }
    ways = best;
    lower_costs(ways.cost);
    // Rows begin in state 0, and any bits are a way from there, also where all costs are the largest.
    const S16 kept = same_shorts(b == 0 ? ~(7 << 8) : -1);
    for (int s = 0; s < kStates; ++s) store(pasts + (b * kStates + s) * 16, both(ways.past[s], kept));
  }
  cheapest(ways.cost, states);
}

// What of each lane's states is in `pasts` [states][16]; the states become those before the block.
LICHEN_INLINE S16 take_pasts(const int16_t* pasts, int16_t (&states)[16]) {
  int16_t taken[16];
  for (int r = 0; r < 16; ++r) {
    taken[r] = pasts[states[r] * 16 + r];
    states[r] = static_cast<int16_t>(taken[r] >> 8 & 7);
  }
  return load(taken);
}

// The steps that were taken.
LICHEN_INLINE F16 steps_taken(F16 fewest, S16 past) {
  return steps_tried(add(fewest, to_floats(shift_down<11>(past))), 0);
}

// Codes and steps of all groups, from the last block to the first.
LICHEN_INLINE void trace(const TrellisTask& task, const int16_t* places, int64_t blocks, const float* units,
                         const float* largest, const int16_t* pasts, int16_t (&states)[16]) {
  uint64_t all_steps[16] = {};  // of a group
  for (int64_t b = blocks - 1; b >= 0; --b) {
    const int64_t g = b / kBlocksOfGroup, in_group = b % kBlocksOfGroup;
    const StoredGroup place = stored_group(g, task.columns);
    const S16 past = take_pasts(pasts + b * kStates * 16, states);
    const F16 steps = steps_taken(fewest_steps(div(load(largest + b * 16), load(units + g * 16))), past);
    int16_t codes[2][16], whole[16];
    trace_block(places + b * kBlock * 16, past, tried(steps), codes[0]);
    store(whole, to_shorts(steps));
    for (int64_t r = 0; r < task.rows; ++r) {
      uint8_t* group = task.words + r * task.word_stride + place.begin;
      __builtin_memcpy(group + 1 + place.steps_bytes + in_group * 4, &codes[0][r], 2);
      __builtin_memcpy(group + 1 + place.steps_bytes + in_group * 4 + 2, &codes[1][r], 2);
      all_steps[r] |= static_cast<uint64_t>(whole[r] - 1) << 3 * in_group;
      if (in_group > 0) continue;
      __builtin_memcpy(group + 1, all_steps + r, static_cast<size_t>(place.steps_bytes));
      all_steps[r] = 0;
    }
  }
}

Encoded encode_trellis(const TrellisTask& task) {
  const int64_t blocks = task.columns / kBlock, groups = (blocks + kBlocksOfGroup - 1) / kBlocksOfGroup;
  float* w = task.memory;
  float* largest = w + task.columns * 16;
  float* units = largest + blocks * 16;
  auto* places = reinterpret_cast<int16_t*>(units + groups * 16);
  int16_t* pasts = places + task.columns * 16;
  constexpr int64_t kStretch = 64;  // columns, whose lines stay in the nearest cache
  for (int64_t k = 0; k < task.columns; k += kStretch)
    to_lanes(task.w + k, task.stride, task.rows, task.columns - k < kStretch ? task.columns - k : kStretch, w + k * 16);
  if (const Encoded found = find_largest(w, task.columns, largest); found != Encoded::whole) return found;
  store_units(task, largest, units);
  to_places(w, task.columns, units, places);
  int16_t states[16];
  walk(places, blocks, units, largest, pasts, states);
  trace(task, places, blocks, units, largest, pasts, states);
  return Encoded::whole;
}

}  // namespace
}  // namespace lichen
