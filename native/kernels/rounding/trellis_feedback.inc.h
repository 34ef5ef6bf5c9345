// Trellis codes with feedback, sixteen rows at a time; after trellis.inc.h.
//
// Each state is the end of a way with errors of its own, so it wants weights of its own behind it ("per-survivor
// processing": Raheli, Polydoros and Tzou 1995, doi 10.1109/26.380054). All within one group of columns.
#pragma once

#include "../trellis.h"

namespace lichen {
namespace {

// Levels come in four cosets, 4 m + coset with m = 0 to 7: the m that is nearest to `x`, a level less its coset over 4.
LICHEN_INLINE F16 nearest_of_coset(F16 x) {
  const F16 magic = broadcast(12582912.0f);
  return sub(add(min(broadcast(7.0f), max(broadcast(0.0f), x)), magic), magic);
}

// The state of least cost in each lane.
LICHEN_INLINE F16 cheapest(const F16 (&cost)[kStates]) {
  F16 state = broadcast(0.0f), least = cost[0];
  for (int s = 1; s < kStates; ++s) {
    state = where_less(cost[s], least, broadcast(static_cast<float>(s)), state);
    least = min(cost[s], least);
  }
  return state;
}

// Costs less the least of them, so that behind large weights float32 keeps what later blocks differ by.
LICHEN_INLINE F16 lower_costs(F16 (&cost)[kStates]) {
  F16 least = cost[0];
  for (int s = 1; s < kStates; ++s) least = min(cost[s], least);
  for (int s = 0; s < kStates; ++s) cost[s] = sub(cost[s], least);
  return least;
}

// Ways through one block, by the states that they are in.
struct FedWays {
  F16 cost[kStates];
  F16 past[kStates];            // as in Ways, but times the steps themselves
  F16 quarters[kStates];        // of each column the m of nearest_of_coset, times a power of 8: exact
  F16 errors[kBlock][kStates];  // of columns behind: weight - what its code stands for
  F16 wanted[kBlock][kStates];  // of columns ahead
};

// The steps that a past says were taken.
LICHEN_INLINE F16 steps_of(F16 past) {
  const F16 magic = broadcast(12582912.0f), middle = sub(past, broadcast(1023.5f));
  return sub(add(mul(middle, broadcast(1.0f / 2048.0f)), magic), magic);
}

// The one of eight that `which`, 0 to 7 in each lane, says.
LICHEN_INLINE F16 choose_of(F16 which, const F16 (&from)[kStates]) {
  const auto below = [&](float bound, F16 yes, F16 no) LICHEN_LAMBDA {
    return where_less(which, broadcast(bound), yes, no);
  };
  return below(4.0f, below(2.0f, below(1.0f, from[0], from[1]), below(3.0f, from[2], from[3])),
               below(6.0f, below(5.0f, from[4], from[5]), below(7.0f, from[6], from[7])));
}

// What one column's errors do, row k of the feedback, and what a squared one costs.
struct FedColumn {
  const float* weight;  // [16]
  const float* reach;   // to the columns of the block behind it
  float pivot;
};

template <int Column>
LICHEN_INLINE void feed_column(const FedColumn& column, F16 size, F16 inverse, const FedWays& from, FedWays& to) {
  const F16 pivot = broadcast(column.pivot), own = load(column.weight), middle = broadcast(kTrellisMiddle * 0.25f);
  F16 cost[kStates][2], quarter[kStates][2], error[kStates][2];
  for (int state = 0; state < kStates; ++state) {
    const F16 want = from.wanted[Column][state], x = add(mul(want, inverse), middle);
    for (int bit = 0; bit < 2; ++bit) {
      const F16 coset = broadcast(static_cast<float>(coset_of(state, bit)) * 0.25f);
      quarter[state][bit] = nearest_of_coset(sub(x, coset));
      const F16 value = mul(mul(sub(add(quarter[state][bit], coset), middle), broadcast(4.0f)), size);
      const F16 off = sub(want, value);
      error[state][bit] = sub(own, value);
      cost[state][bit] = add(from.cost[state], mul(mul(off, off), pivot));
    }
  }
  for (int state = 0; state < kStates; ++state) {
    const int bit = state & 1, one = state >> 1, other = one | kStates / 2;
    const F16 first = cost[one][bit], second = cost[other][bit];
    const auto better = [&](F16 of_other, F16 of_one) LICHEN_LAMBDA {
      return where_less(second, first, of_other, of_one);
    };
    to.cost[state] = min(second, first);
    to.past[state] = add(better(from.past[other], from.past[one]),
                         broadcast(bit ? static_cast<float>(128 >> Column) : 0.0f));
    const F16 here = mul(better(quarter[other][bit], quarter[one][bit]), broadcast(static_cast<float>(1 << 3 * Column)));
    to.quarters[state] = add(better(from.quarters[other], from.quarters[one]), here);
    for (int i = 0; i < Column; ++i) to.errors[i][state] = better(from.errors[i][other], from.errors[i][one]);
    const F16 made = better(error[other][bit], error[one][bit]);
    to.errors[Column][state] = made;
    for (int i = Column + 1; i < kBlock; ++i)
      to.wanted[i][state] =
          fma(made, broadcast(column.reach[i]), better(from.wanted[i][other], from.wanted[i][one]));
  }
}

// All columns of a block from `from` on, whose memory is used up, with one step a lane.
template <int Column>
LICHEN_INLINE void feed_block(const FedColumn (&columns)[kBlock], F16 size, F16 inverse, FedWays& from, FedWays& to) {
  feed_column<Column>(columns[Column], size, inverse, from, to);
  if constexpr (Column + 1 < kBlock) feed_block<Column + 1>(columns, size, inverse, to, from);
}

// Keeps, for each state, the cheaper of two ways.
LICHEN_INLINE void keep_cheaper(const FedWays& tried, F16 steps, bool first_tried, FedWays& best) {
  for (int s = 0; s < kStates; ++s) {
    const F16 cost = tried.cost[s], least = best.cost[s], past = add(tried.past[s], mul(steps, broadcast(2048.0f)));
    const auto better = [&](F16 now, F16 before) LICHEN_LAMBDA {
      return first_tried ? now : where_less(cost, least, now, before);
    };
    best.past[s] = better(past, best.past[s]);
    best.quarters[s] = better(tried.quarters[s], best.quarters[s]);
    for (int i = 0; i < kBlock; ++i) best.errors[i][s] = better(tried.errors[i][s], best.errors[i][s]);
    best.cost[s] = first_tried ? cost : min(cost, least);
  }
}

// What each state's way wants of the columns from `next` on, [states][columns][16].
LICHEN_INLINE void want_on(const FedTrellisTask& task, int64_t next, const FedWays& ways, const float* from, float* to) {
  const int64_t n = task.columns;
  for (int s = 0; s < kStates; ++s) {
    const F16 magic = broadcast(12582912.0f), bits = sub(ways.past[s], broadcast(127.5f));
    const F16 start = sub(add(mul(bits, broadcast(1.0f / 256.0f)), magic), magic);
    for (int64_t k = next; k < n; ++k) {
      F16 wanted[kStates];
      for (int i = 0; i < kStates; ++i) wanted[i] = load(from + (i * n + k) * 16);
      F16 want = choose_of(start, wanted);
      for (int i = 0; i < kBlock; ++i)
        want = fma(ways.errors[i][s], broadcast(task.feedback[(next - kBlock + i) * n + k]), want);
      store(to + (s * n + k) * 16, want);
    }
  }
}

// Codes, steps and errors of a group, from its last block to its first.
LICHEN_INLINE void trace_group(const FedTrellisTask& task, const float* weight, const float* units, const float* pasts,
                               const float* ends) {
  const int64_t n = task.columns, blocks = n / kBlock, steps_bytes = stored_group(0, n).steps_bytes;
  for (int64_t r = 0; r < task.rows; ++r) {
    int state = static_cast<int>(ends[r]);
    task.states[r] = state;
    uint8_t* words = task.words + r * task.word_stride;
    uint64_t all_steps = 0;
    for (int64_t b = blocks - 1; b >= 0; --b) {
      const float* at = pasts + (b * kStates + state) * 32 + r;
      const auto past = static_cast<int>(at[0]), quarters = static_cast<int>(at[16]);
      const int steps = past >> 11;
      state = past >> 8 & 7;
      int before = state;
      uint32_t word = 0;
      for (int i = 0; i < kBlock; ++i) {
        const int bit = past >> (kBlock - 1 - i) & 1, quarter = quarters >> 3 * i & 7;
        const int level = 4 * quarter + coset_of(before, bit);
        const float value = static_cast<float>(level - kTrellisMiddle) * (units[r] * static_cast<float>(steps));
        const int64_t k = b * kBlock + i;
        task.errors[r * n + k] = weight[k * 16 + r] - value;
        word |= static_cast<uint32_t>(2 * quarter + bit) << 4 * i;
        before = (before << 1 | bit) & (kStates - 1);
      }
      __builtin_memcpy(words + 1 + steps_bytes + 4 * b, &word, 4);
      all_steps |= static_cast<uint64_t>(steps - 1) << 3 * b;
    }
    __builtin_memcpy(words + 1, &all_steps, static_cast<size_t>(steps_bytes));
  }
}

// Columns come in the order of codes.
Encoded feed_trellis(const FedTrellisTask& task) {
  const int64_t n = task.columns, blocks = n / kBlock;
  float* weight = task.memory;
  float* wanted = weight + n * 16;
  float* next = wanted + kStates * n * 16;
  float* pasts = next + kStates * n * 16;
  to_lanes(task.weight, task.stride, task.rows, n, weight);
  to_lanes(task.wanted, task.stride, task.rows, n, wanted);
  alignas(64) float largest[kBlocksOfGroup * 16], units[16], ends[16];
  if (const Encoded found = find_largest(wanted, n, largest); found != Encoded::whole) return found;
  uint8_t bytes[16];
  choose_units(largest, blocks, bytes);
  for (int r = 0; r < 16; ++r) {
    units[r] = unit_of(bytes[r]);
    ends[r] = r < task.rows ? static_cast<float>(task.states[r]) : 0.0f;
    if (r < task.rows) task.words[r * task.word_stride] = bytes[r];
  }
  const F16 unit = load(units), begin = load(ends);
  FedWays best, ways, between;
  F16 total = broadcast(0.0f);
  for (int s = 0; s < kStates; ++s) {
    const F16 state = broadcast(static_cast<float>(s));
    const F16 off = absolute(sub(begin, state));
    best.cost[s] = where_less(off, broadcast(0.5f), broadcast(0.0f), broadcast(kFarthest));
    if (s > 0) __builtin_memcpy(wanted + s * n * 16, wanted, static_cast<size_t>(n) * 16 * sizeof(float));
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t at = b * kBlock;
    const F16 best_state = cheapest(best.cost);
    F16 reached = broadcast(0.0f);
    FedColumn columns[kBlock];
    F16 start[kBlock][kStates], costs[kStates];
    for (int i = 0; i < kBlock; ++i) {
      columns[i] = {weight + (at + i) * 16, task.feedback + (at + i) * n + at, task.pivots[at + i]};
      for (int s = 0; s < kStates; ++s) start[i][s] = load(wanted + (s * n + at + i) * 16);
      reached = max(absolute(choose_of(best_state, start[i])), reached);
    }
    for (int s = 0; s < kStates; ++s) costs[s] = best.cost[s];
    const F16 fewest = fewest_steps(div(reached, unit));
    for (int which = 0; which < kTries; ++which) {
      const F16 steps = steps_tried(fewest, which);
      const F16 size = mul(unit, steps);
      for (int s = 0; s < kStates; ++s) {
        ways.cost[s] = costs[s];
        ways.past[s] = broadcast(static_cast<float>(s << 8));
        ways.quarters[s] = broadcast(0.0f);
        for (int i = 0; i < kBlock; ++i) ways.wanted[i][s] = start[i][s];
      }
      feed_block<0>(columns, size, div(broadcast(0.25f), size), ways, between);
      keep_cheaper(ways, steps, which == 0, best);
    }
    for (int s = 0; s < kStates; ++s) {
      store(pasts + (b * kStates + s) * 32, best.past[s]);
      store(pasts + (b * kStates + s) * 32 + 16, best.quarters[s]);
      best.past[s] = sub(best.past[s], mul(broadcast(2048.0f), steps_of(best.past[s])));
    }
    total = add(total, lower_costs(best.cost));
    want_on(task, at + kBlock, best, wanted, next);
    float* used = wanted;
    wanted = next;
    next = used;
  }
  if (!(reduce_add(mul(total, broadcast(0.0f))) == 0.0f)) return Encoded::not_finite;
  alignas(64) float costs[16];
  store(costs, total);
  for (int64_t r = 0; r < task.rows; ++r) task.costs[r] += static_cast<double>(costs[r]);
  store(ends, cheapest(best.cost));
  trace_group(task, weight, units, pasts, ends);
  return Encoded::whole;
}

}  // namespace
}  // namespace lichen
