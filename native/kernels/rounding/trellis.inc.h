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
constexpr int kToTurn = 7;          // bits from four levels to all of an int16
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

// What a distance from a place costs.
LICHEN_INLINE S16 cost_of(S16 distance, const Tried& steps) {
  const S16 off = mul(min(distance, steps.farthest), steps.gain);
  return high_product(off, off);
}

// Costs of a column's nearest levels, by their cosets. From level 1 to 30 cosets come again every fourth level; a place
// beyond these is nearer to a level or farther from it by as much as it is beyond.
LICHEN_INLINE void costs_of(S16 place, const Tried& steps, S16 (&costs)[4]) {
  const S16 inner = min(max(place, same_shorts(kLevel)), same_shorts(30 * kLevel));
  const S16 beyond = sub(place, inner), further = absolute(beyond), half = same_shorts(2 * kLevel);
  const S16 turn = shift_up<kToTurn>(inner);  // four levels are all the way round
  const S16 from_0 = shift_down<kToTurn>(absolute(turn));
  const S16 from_1 = shift_down<kToTurn>(absolute(sub(turn, same_shorts(kLevel << kToTurn))));
  costs[0] = cost_of(absolute(add(from_0, beyond)), steps);
  costs[1] = cost_of(add(from_1, further), steps);
  costs[2] = cost_of(add(sub(half, from_0), further), steps);
  costs[3] = cost_of(absolute(sub(sub(half, from_1), beyond)), steps);
}

// All ways, one column on; pasts are those of the states before it, to which `add_bits` adds the bits of columns.
LICHEN_INLINE void walk_column(S16 place, const Tried& steps, const Ways& from, Ways& to) {
  S16 costs[4];
  costs_of(place, steps, costs);
#pragma GCC unroll 8
  for (int state = 0; state < kStates; ++state) {
    const int bit = state & 1, one = state >> 1, other = one | kStates / 2;
    const S16 first = add_saturated(from.cost[one], costs[coset_of(one, bit)]);
    const S16 second = add_saturated(from.cost[other], costs[coset_of(other, bit)]);
    to.cost[state] = min_unsigned(first, second);
    to.past[state] = where_equal(to.cost[state], first, from.past[one], from.past[other]);
  }
}

// A state is the bits of the last three columns: they are added to its way's past, the newest one as `newest`.
template <int Columns>
LICHEN_INLINE void add_bits(Ways& ways, int newest) {
#pragma GCC unroll 8
  for (int state = 0; state < kStates; ++state)
    if (const int bits = state & ((1 << Columns) - 1)) ways.past[state] = add(ways.past[state], same_shorts(bits * newest));
}

// Every way through one block of weights [8][16] with the steps of each lane; the bits of its last three columns, which
// are the states that ways end in, are not in their pasts.
LICHEN_INLINE void walk_block(const int16_t* w, const Tried& steps, const S16 (&cost)[kStates], Ways& ways) {
  const auto place = [&](int i) LICHEN_LAMBDA { return place_of(w + kTrellisOrder[i] * 16, steps); };
  Ways between;
  for (int s = 0; s < kStates; ++s) {
    between.cost[s] = cost[s];
    between.past[s] = same_shorts(s << 8);
  }
  walk_column(place(0), steps, between, ways);
  add_bits<1>(ways, 128);
  walk_column(place(1), steps, ways, between);
  walk_column(place(2), steps, between, ways);
  walk_column(place(3), steps, ways, between);
  add_bits<3>(between, 16);
  walk_column(place(4), steps, between, ways);
  add_bits<1>(ways, 8);
  walk_column(place(5), steps, ways, between);
  walk_column(place(6), steps, between, ways);
  walk_column(place(7), steps, ways, between);
  ways = between;
}

// Keeps, for each state, the cheaper of two ways, with all bits in their pasts.
LICHEN_INLINE void keep_cheaper(const Ways& tried, int which, Ways& best) {
  for (int s = 0; s < kStates; ++s) {
    const S16 past = add(tried.past[s], same_shorts(which << 11 | s)), before = best.cost[s];
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
LICHEN_INLINE S16 cheapest(const S16 (&cost)[kStates]) {
  S16 state = same_shorts(0), least = cost[0];
  for (int s = 1; s < kStates; ++s) {
    const S16 before = least;
    least = min_unsigned(cost[s], before);
    state = where_equal(least, before, state, same_shorts(s));
  }
  return state;
}

// All ways through weights [blocks][8][16]: of each block the pasts [states][16] of those that end it, and the states
// in which the cheapest of all end.
LICHEN_INLINE S16 walk(const int16_t* places, int64_t blocks, const float* units, const float* largest, int16_t* pasts) {
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
      walk_block(places + b * kBlock * 16, tried(steps_tried(fewest, which)), ways.cost, found);
      keep_cheaper(found, which, best);
    }
    ways = best;
    lower_costs(ways.cost);
    // Rows begin in state 0, and any bits are a way from there, also where all costs are the largest.
    const S16 kept = same_shorts(b == 0 ? ~(7 << 8) : -1);
    for (int s = 0; s < kStates; ++s) store(pasts + (b * kStates + s) * 16, both(ways.past[s], kept));
  }
  return cheapest(ways.cost);
}

// The one of eight [8][16] that `which`, 0 to 7 in each lane, says.
LICHEN_INLINE S16 choose_of(S16 which, const int16_t* from) {
  const auto without = [&](int bit, S16 yes, S16 no) LICHEN_LAMBDA {
    return where_equal(both(which, same_shorts(bit)), same_shorts(0), yes, no);
  };
  const auto two = [&](int i) LICHEN_LAMBDA { return without(1, load(from + i * 16), load(from + (i + 1) * 16)); };
  return without(4, without(2, two(0), two(2)), without(2, two(4), two(6)));
}

// The steps that were taken.
LICHEN_INLINE F16 steps_taken(F16 fewest, S16 past) {
  return steps_tried(add(fewest, to_floats(shift_down<11>(past))), 0);
}

// Codes and steps of all groups, from the last block to the first.
LICHEN_INLINE void trace(const TrellisTask& task, const int16_t* places, int64_t blocks, const float* units,
                         const float* largest, const int16_t* pasts, S16 states) {
  uint64_t all_steps[16] = {};  // of a group
  for (int64_t b = blocks - 1; b >= 0; --b) {
    const int64_t g = b / kBlocksOfGroup, in_group = b % kBlocksOfGroup;
    const StoredGroup place = stored_group(g, task.columns);
    const S16 past = choose_of(states, pasts + b * kStates * 16);
    states = both(shift_down<8>(past), same_shorts(kStates - 1));
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

constexpr int64_t kStretch = 64;  // columns, whose lines stay in the nearest cache

// Columns [k, k + count) of all rows as lanes [count][16].
LICHEN_INLINE void stretch_to_lanes(const TrellisTask& task, int64_t k, int64_t count, float* lanes) {
  if (!task.widen) return to_lanes(static_cast<const float*>(task.w) + k, task.stride, task.rows, count, lanes);
  alignas(64) float rows[16 * kStretch];
  const auto* halves = static_cast<const uint16_t*>(task.w) + k;
  for (int64_t r = 0; r < task.rows; ++r) task.widen(halves + r * task.stride, count, rows + r * count);
  to_lanes(rows, count, task.rows, count, lanes);
}

Encoded encode_trellis(const TrellisTask& task) {
  const int64_t blocks = task.columns / kBlock, groups = (blocks + kBlocksOfGroup - 1) / kBlocksOfGroup;
  float* w = task.memory;
  float* largest = w + task.columns * 16;
  float* units = largest + blocks * 16;
  auto* places = reinterpret_cast<int16_t*>(units + groups * 16);
  int16_t* pasts = places + task.columns * 16;
  for (int64_t k = 0; k < task.columns; k += kStretch)
    stretch_to_lanes(task, k, task.columns - k < kStretch ? task.columns - k : kStretch, w + k * 16);
  if (const Encoded found = find_largest(w, task.columns, largest); found != Encoded::whole) return found;
  store_units(task, largest, units);
  to_places(w, task.columns, units, places);
  const S16 states = walk(places, blocks, units, largest, pasts);
  trace(task, places, blocks, units, largest, pasts, states);
  return Encoded::whole;
}

}  // namespace
}  // namespace lichen
