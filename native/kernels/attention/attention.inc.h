// Attention in terms of sixteen lanes; compiled once by each <isa>.cpp.
//
// A task's queries (tokens x group heads) are rows. For every block of 128 keys: scores (lane =
// key), softmax with a running maximum, and the weighted sum of values (lane = dimension, one chain
// of fused multiply-adds over the keys, ascending). Tiles of rows x vectors stay in registers; how
// the rows are cut into tiles changes nothing in a row's own sequence of operations.
//
// Everything is computed in float32. Elements of the cache are widened as they are loaded, or, where
// several tiles of rows read them, once for all; int8 codes meet their scales outside of the products:
// a key's scale multiplies its score, a value's scale its weight.
#pragma once

#include "../vector/functions.h"
#include "lichen/attention.h"

namespace lichen {
namespace {

constexpr int64_t kBlockGroups = kAttentionBlock / 16;

LICHEN_INLINE int64_t at_most(int64_t x, int64_t limit) {
  return x < limit ? x : limit;
}

// What is known of a stretch of keys, `rows` of everything; a caller's memory, or scratch.
struct Partial {
  float* sums;      // [rows][dim]: weighted values so far
  float* totals;    // [rows][16]: weights so far, lane = key % 16
  float* maxima;    // [rows]: the greatest score so far
};

// The block's keys and values, sixteen keys a group.
template <typename T>
struct Block {
  const T* keys[kBlockGroups];
  const T* values[kBlockGroups];
  const float* key_scales[kBlockGroups];    // [16], for int8 only
  const float* value_scales[kBlockGroups];
};

// scores[r][16 g + lane] = sum_d queries[r][d] keys[g][d][lane]; sixteen keys of what is
// at `ahead` are prefetched for each group: its values, which come next.
template <int Rows, int Groups, typename T>
void score_tile(const float* queries, int64_t stride, const T* const* keys, const T* const* ahead,
                int64_t head_dim, float* scores) {
  F16 sum[Rows][Groups];
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) sum[r][g] = broadcast(0.0f);
  for (int64_t d = 0; d < head_dim; ++d) {
    F16 key[Groups];
    for (int g = 0; g < Groups; ++g) key[g] = load(keys[g] + d * 16);
    for (int g = 0; g < Groups; ++g) __builtin_prefetch(ahead[g] + d * 16, 0, 2);
    for (int r = 0; r < Rows; ++r) {
      const F16 query = broadcast(queries[r * stride + d]);
      for (int g = 0; g < Groups; ++g) sum[r][g] = fma(query, key[g], sum[r][g]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) store(scores + r * kAttentionBlock + g * 16, sum[r][g]);
}

// sums[r][16 g + lane] += sum_j weights[r][j] values[j][16 g + lane], j from `first` to `last`;
// what is at the same place of `ahead` is prefetched: the next block's keys. Rows of values and of
// sums are value_stride and sum_stride apart.
template <int Rows, int Groups, typename T>
void value_tile(const float* weights, const T* const* values, const T* const* ahead,
                int64_t value_stride, int64_t first, int64_t last, float* sums, int64_t sum_stride) {
  F16 sum[Rows][Groups];
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) sum[r][g] = load(sums + r * sum_stride + g * 16);
  while (first < last) {
    const T* row = values[first / 16] + first % 16 * value_stride;
    const T* later = ahead[first / 16] + first % 16 * value_stride;
    const int64_t end = at_most(last, (first / 16 + 1) * 16);
    for (; first < end; ++first, row += value_stride, later += value_stride) {
      for (int g = 0; g < Groups; ++g) __builtin_prefetch(later + g * 16, 0, 2);
      F16 value[Groups];
      for (int g = 0; g < Groups; ++g) value[g] = load(row + g * 16);
      for (int r = 0; r < Rows; ++r) {
        const F16 weight = broadcast(weights[r * kAttentionBlock + first]);
        for (int g = 0; g < Groups; ++g) sum[r][g] = fma(weight, value[g], sum[r][g]);
      }
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) store(sums + r * sum_stride + g * 16, sum[r][g]);
}

// The tile of the right size for 1 <= rows <= Rows.
template <int Rows, int Groups, typename T>
LICHEN_INLINE void score_rows(int64_t rows, const float* queries, int64_t stride,
                              const T* const* keys, const T* const* ahead, int64_t head_dim,
                              float* scores) {
  if constexpr (Rows > 1) {
    if (rows < Rows)
      return score_rows<Rows - 1, Groups>(rows, queries, stride, keys, ahead, head_dim, scores);
  }
  score_tile<Rows, Groups>(queries, stride, keys, ahead, head_dim, scores);
}

template <int Rows, int Groups, typename T>
LICHEN_INLINE void value_rows(int64_t rows, const float* weights, const T* const* values,
                              const T* const* ahead, int64_t value_stride, int64_t last, float* sums,
                              int64_t sum_stride) {
  if constexpr (Rows > 1) {
    if (rows < Rows)
      return value_rows<Rows - 1, Groups>(rows, weights, values, ahead, value_stride, last, sums,
                                          sum_stride);
  }
  value_tile<Rows, Groups>(weights, values, ahead, value_stride, 0, last, sums, sum_stride);
}

// Rows per tile, so that `rows` are cut into the fewest and most even tiles.
LICHEN_INLINE int64_t even_tile(int64_t rows) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  return (rows + tiles - 1) / tiles;
}

// A task with a cache of elements T.
template <typename T>
class Attention {
 public:
  Attention(const AttentionTask& task, float* scratch)
      : task_(task), rows_(task.tokens * task.group), dim_(task.cache.value_stride) {
    queries_ = scratch;
    weights_ = queries_ + rows_ * dim_;
    wide_ = weights_ + rows_ * kAttentionBlock;
    partials_ = wide_ + 2 * 16 * (dim_ > kAttentionBlock ? dim_ : kAttentionBlock);
  }

  void attend() {
    float* const first = partials_;
    float* const other = first + attention_partial(rows_, task_.head_dim);
    segment(0, first);
    for (int64_t s = 1; s * kAttentionSegment < keys(); ++s) {
      segment(s, other);
      join(first, other, s);
    }
    finish(first);
  }

  void segment(int64_t number, float* memory) {
    partial_ = partial(memory);
    start();
    const int64_t begin = number * kAttentionSegment;
    const int64_t end = at_most(begin + kAttentionSegment, keys());
    for (int64_t start = begin; start < end; start += kAttentionBlock) {
      const int64_t first = first_row(start);
      const Block<T> block = find_block(start);
      const int64_t next = start + kAttentionBlock;
      score(block, start, first);
      for (int64_t row = first; row < rows_; ++row) softmax(block, row, visible(row, start));
      weigh(block, next < end ? find_block(next) : block, start, first);
    }
  }

  // Adds what segment `number` gave to what the ones before it gave; rows that end before it stay.
  void join(float* memory, float* added, int64_t number) const {
    const Partial into = partial(memory), from = partial(added);
    for (int64_t row = first_row(number * kAttentionSegment); row < rows_; ++row) {
      const float a = into.maxima[row], b = from.maxima[row];
      const float maximum = a > b ? a : b;
      const F16 shift = broadcast(maximum);
      const F16 old_share = exp(sub(broadcast(a), shift)), new_share = exp(sub(broadcast(b), shift));
      add_scaled(into.totals + row * 16, from.totals + row * 16, old_share, new_share);
      for (int64_t i = row * dim_; i < (row + 1) * dim_; i += 16)
        add_scaled(into.sums + i, from.sums + i, old_share, new_share);
      into.maxima[row] = maximum;
    }
  }

  void finish(float* memory) const {
    const Partial all = partial(memory);
    for (int64_t row = 0; row < rows_; ++row) {
      const F16 total = broadcast(reduce_add(load(all.totals + row * 16)));
      float* out =
          task_.out + row / task_.group * task_.out_stride + row % task_.group * task_.head_dim;
      for (int64_t i = 0; i < dim_; i += 16)
        store_first(out + i, div(load(all.sums + row * dim_ + i), total),
                    at_most(task_.head_dim - i, 16));
    }
  }

 private:
  static constexpr bool kFloats = sizeof(T) == sizeof(float);
  static constexpr bool kScaled = sizeof(T) == 1;

  int64_t keys() const { return task_.first_position + task_.tokens; }

  // Rows are in order of position: those before this one see nothing from position `start` on.
  int64_t first_row(int64_t start) const {
    const int64_t past = start - task_.first_position;
    return past > 0 ? past * task_.group : 0;
  }

  // Keys of the block at `start` that a row attends; at least 1 for the rows that are asked about.
  int64_t visible(int64_t row, int64_t start) const {
    return at_most(task_.first_position + row / task_.group + 1 - start, kAttentionBlock);
  }

  Partial partial(float* memory) const {
    return {memory, memory + rows_ * dim_, memory + rows_ * (dim_ + 16)};
  }

  static void add_scaled(float* into, const float* from, F16 old_share, F16 new_share) {
    store(into, fma(load(from), new_share, mul(load(into), old_share)));
  }

  void start() const {
    const F16 scale = broadcast(task_.scale);
    for (int64_t row = 0; row < rows_; ++row) {
      const float* q =
          task_.q + row / task_.group * task_.q_stride + row % task_.group * task_.head_dim;
      for (int64_t i = 0; i < dim_; i += 16) {
        F16 part = load_first(q + i, at_most(task_.head_dim - i, 16));
        if (task_.key_units)
          part = mul(part, load_first(task_.key_units + i, at_most(task_.head_dim - i, 16)));
        store(queries_ + row * dim_ + i, mul(part, scale));
        store(partial_.sums + row * dim_ + i, broadcast(0.0f));
      }
      store(partial_.totals + row * 16, broadcast(0.0f));
      partial_.maxima[row] = -__builtin_inff();
    }
  }

  // Groups past the last key repeat the first one, so that every pointer can be used.
  Block<T> find_block(int64_t start) const {
    const KeyValueView& cache = task_.cache;
    Block<T> block;
    for (int64_t g = 0; g < kBlockGroups; ++g) {
      const int64_t position = start + g * 16 < keys() ? start + g * 16 : start;
      const int64_t slot = position % cache.page_tokens;
      const char* page = cache.base + cache.pages[position / cache.page_tokens] * cache.page_stride;
      const auto* scales = reinterpret_cast<const float*>(page + cache.scales_offset) + slot;
      block.keys[g] = reinterpret_cast<const T*>(page) + slot * task_.head_dim;
      block.values[g] =
          reinterpret_cast<const T*>(page + cache.values_offset) + slot * cache.value_stride;
      block.key_scales[g] = scales;
      block.value_scales[g] = scales + cache.page_tokens;
    }
    return block;
  }

  void score(const Block<T>& block, int64_t start, int64_t first) const {
    const int64_t groups = (visible(rows_ - 1, start) + 15) / 16;
    for (int64_t g = 0; g < groups; g += kTileGroups) {
      const int64_t count = g + kTileGroups <= groups ? kTileGroups : 1;
      if (kFloats || rows_ - first <= kTileRows) {
        score_groups(block.keys + g, block.values + g, count, first, g);
      } else {
        const float* keys[kTileGroups];
        for (int64_t i = 0; i < count; ++i) {
          float* const wide = wide_ + i * task_.head_dim * 16;
          keys[i] = wide;
          for (int64_t d = 0; d < task_.head_dim * 16; d += 16) {
            __builtin_prefetch(block.values[g + i] + d, 0, 2);
            store(wide + d, load(block.keys[g + i] + d));
          }
        }
        score_groups(keys, keys, count, first, g);
      }
    }
  }

  // Scores of `count` groups from group g on, 1 or kTileGroups.
  template <typename U>
  void score_groups(const U* const* keys, const U* const* ahead, int64_t count, int64_t first,
                    int64_t g) const {
    const int64_t tile = even_tile(rows_ - first);
    for (int64_t row = first; row < rows_; row += tile, ahead = keys) {  // ahead for the first only
      const int64_t rows = at_most(tile, rows_ - row);
      const float* queries = queries_ + row * dim_;
      float* scores = weights_ + row * kAttentionBlock + g * 16;
      if (count == kTileGroups)
        score_rows<kTileRows, kTileGroups>(rows, queries, dim_, keys, ahead, task_.head_dim, scores);
      else
        score_rows<kTileRows, 1>(rows, queries, dim_, keys, ahead, task_.head_dim, scores);
    }
  }

  // Turns the first n scores of a row into weights, and scales what it has so far to the new maximum.
  void softmax(const Block<T>& block, int64_t row, int64_t n) const {
    float* scores = weights_ + row * kAttentionBlock;
    const F16 none = broadcast(-__builtin_inff());
    F16 highest = none;
    for (int64_t i = 0; i < n; i += 16)
      highest = max(highest, keep_first(scaled(scores, block.key_scales, i), at_most(n - i, 16),
                                        -__builtin_inff()));
    const float before = partial_.maxima[row];
    const float largest = reduce_max(highest);
    const float maximum = before > largest ? before : largest;
    const F16 shift = broadcast(maximum);
    const F16 shrink = exp(sub(broadcast(before), shift));
    F16 total = mul(load(partial_.totals + row * 16), shrink);
    for (int64_t i = 0; i < n; i += 16) {
      const F16 apart = sub(scaled(scores, block.key_scales, i), shift);
      const F16 weight = keep_first(exp(apart), at_most(n - i, 16), 0.0f);
      store(scores + i, weight);
      if (kScaled) store(scores + i, scaled(scores, block.value_scales, i));
      total = add(total, weight);
    }
    store(partial_.totals + row * 16, total);
    partial_.maxima[row] = maximum;
    float* sums = partial_.sums + row * dim_;
    for (int64_t i = 0; i < dim_; i += 16) store(sums + i, mul(load(sums + i), shrink));
  }

  // Sixteen numbers of a row of the block, in units of the keys' or values' scales.
  static F16 scaled(const float* row, const float* const* scales, int64_t i) {
    const F16 numbers = load(row + i);
    return kScaled ? mul(numbers, load(scales[i / 16])) : numbers;
  }

  void weigh(const Block<T>& block, const Block<T>& next, int64_t start, int64_t first) const {
    const int64_t seen = visible(rows_ - 1, start);
    for (int64_t d = 0; d < dim_; d += 16 * kTileGroups) {
      const int64_t count = d + 16 * kTileGroups <= dim_ ? kTileGroups : 1;
      const T* values[kBlockGroups];
      const T* later[kBlockGroups];
      for (int64_t g = 0; g < kBlockGroups; ++g) {
        values[g] = block.values[g] + d;
        later[g] = next.keys[g] + d;
      }
      if (kFloats || rows_ - first <= kTileRows) {
        weigh_columns(values, later, dim_, count, start, first, d);
      } else {
        const float* wide[kBlockGroups];
        const int64_t stride = count * 16;
        for (int64_t g = 0; g < kBlockGroups; ++g) wide[g] = wide_ + g * 16 * stride;
        for (int64_t j = 0; j < seen; ++j) {
          __builtin_prefetch(later[j / 16] + j % 16 * dim_, 0, 2);
          for (int64_t i = 0; i < stride; i += 16)
            store(wide_ + j * stride + i, load(values[j / 16] + j % 16 * dim_ + i));
        }
        weigh_columns(wide, wide, stride, count, start, first, d);
      }
    }
  }

  // Sums of `count` times sixteen columns from column d on; count is 1 or kTileGroups.
  template <typename U>
  void weigh_columns(const U* const* values, const U* const* ahead, int64_t stride, int64_t count,
                     int64_t start, int64_t first, int64_t d) const {
    const int64_t tile = even_tile(rows_ - first);
    for (int64_t row = first; row < rows_; row += tile, ahead = values) {  // ahead for the first only
      const int64_t rows = at_most(tile, rows_ - row);
      const float* weights = weights_ + row * kAttentionBlock;
      float* sums = partial_.sums + row * dim_ + d;
      const int64_t shared = visible(row, start);
      if (count == kTileGroups)
        value_rows<kTileRows, kTileGroups>(rows, weights, values, ahead, stride, shared, sums, dim_);
      else
        value_rows<kTileRows, 1>(rows, weights, values, ahead, stride, shared, sums, dim_);
      if (shared < visible(row + rows - 1, start))
        weigh_rest(values, stride, start, row, rows, shared, 16 * count, sums);
    }
  }

  // In the block that holds a tile's own positions, its later tokens see more keys than the first.
  template <typename U>
  void weigh_rest(const U* const* values, int64_t stride, int64_t start, int64_t row, int64_t rows,
                  int64_t shared, int64_t columns, float* sums) const {
    for (int64_t i = 0; i < columns; i += 16) {
      const U* part[kBlockGroups];
      for (int64_t g = 0; g < kBlockGroups; ++g) part[g] = values[g] + i;
      for (int64_t r = 1; r < rows; ++r)
        value_tile<1, 1>(weights_ + (row + r) * kAttentionBlock, part, part, stride, shared,
                         visible(row + r, start), sums + r * dim_ + i, dim_);
    }
  }

  const AttentionTask& task_;
  const int64_t rows_;
  const int64_t dim_;  // head_dim rounded up to 16
  float* queries_;     // [rows][dim], scaled
  float* weights_;     // [rows][128]: scores, then e^(score - maximum)
  float* wide_;        // a stretch of keys or values in floats
  float* partials_;    // of two segments
  Partial partial_;    // of the segment at work
};

// function(Attention) with the elements of the task's cache.
template <typename Function>
LICHEN_INLINE void with_cache(const AttentionTask& task, float* scratch, Function function) {
  switch (task.cache.type) {
    case CacheType::f32: return function(Attention<float>(task, scratch));
    case CacheType::f16: return function(Attention<Half>(task, scratch));
    case CacheType::i8: return function(Attention<int8_t>(task, scratch));
  }
}

void attend(const AttentionTask& task, float* scratch) {
  with_cache(task, scratch, [](auto attention) LICHEN_LAMBDA { attention.attend(); });
}

void attend_segment(const AttentionTask& task, int64_t segment, float* partial, float* scratch) {
  with_cache(task, scratch,
             [=](auto attention) LICHEN_LAMBDA { attention.segment(segment, partial); });
}

void join_segments(const AttentionTask& task, float* partials, int64_t stride) {
  const Attention<float> attention(task, partials);  // neither cache nor scratch is used
  for (int64_t s = 1; s < attention_segments(task.first_position, task.tokens); ++s)
    attention.join(partials, partials + s * stride, s);
  attention.finish(partials);
}

}  // namespace
}  // namespace lichen
