// Attention in terms of sixteen lanes; compiled once by each <isa>.cpp.
//
// A task's queries (tokens x group heads) are rows. For every block of 128 keys: scores (lane =
// key), softmax with a running maximum, and the weighted sum of values (lane = dimension, one chain
// of fused multiply-adds over the keys, ascending). Tiles of rows x vectors stay in registers; how
// the rows are cut into tiles changes nothing in a row's own sequence of operations.
#pragma once

#include "../vector/functions.h"
#include "lichen/attention.h"

namespace lichen {
namespace {

constexpr int64_t kBlockGroups = kAttentionBlock / 16;

LICHEN_INLINE int64_t at_most(int64_t x, int64_t limit) {
  return x < limit ? x : limit;
}

// A task's working memory: `rows` of everything.
struct Scratch {
  float* queries;   // [rows][dim], scaled
  float* weights;   // [rows][128]: scores, then e^(score - maximum)
  float* sums;      // [rows][dim]: weighted values so far
  float* totals;    // [rows][16]: weights so far, lane = key % 16
  float* maxima;    // [rows]
};

// The block's keys and values, sixteen keys a group.
struct Block {
  const float* keys[kBlockGroups];
  const float* values[kBlockGroups];
};

// scores[r][16 g + lane] = sum_d queries[r][d] keys[g][d][lane]; sixteen keys of what is
// at `ahead` are prefetched for each group: its values, which come next.
template <int Rows, int Groups>
void score_tile(const float* queries, int64_t stride, const float* const* keys,
                const float* const* ahead, int64_t head_dim, float* scores) {
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
// what is at the same place of `ahead` is prefetched: the next block's keys.
template <int Rows, int Groups>
void value_tile(const float* weights, const float* const* values, const float* const* ahead,
                int64_t stride, int64_t first, int64_t last, float* sums) {
  F16 sum[Rows][Groups];
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) sum[r][g] = load(sums + r * stride + g * 16);
  while (first < last) {
    const float* row = values[first / 16] + first % 16 * stride;
    const float* later = ahead[first / 16] + first % 16 * stride;
    const int64_t end = at_most(last, (first / 16 + 1) * 16);
    for (; first < end; ++first, row += stride, later += stride) {
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
    for (int g = 0; g < Groups; ++g) store(sums + r * stride + g * 16, sum[r][g]);
}

// The tile of the right size for 1 <= rows <= Rows.
template <int Rows, int Groups>
LICHEN_INLINE void score_rows(int64_t rows, const float* queries, int64_t stride,
                              const float* const* keys, const float* const* ahead,
                              int64_t head_dim, float* scores) {
  if constexpr (Rows > 1) {
    if (rows < Rows)
      return score_rows<Rows - 1, Groups>(rows, queries, stride, keys, ahead, head_dim, scores);
  }
  score_tile<Rows, Groups>(queries, stride, keys, ahead, head_dim, scores);
}

template <int Rows, int Groups>
LICHEN_INLINE void value_rows(int64_t rows, const float* weights, const float* const* values,
                              const float* const* ahead, int64_t stride, int64_t last,
                              float* sums) {
  if constexpr (Rows > 1) {
    if (rows < Rows)
      return value_rows<Rows - 1, Groups>(rows, weights, values, ahead, stride, last, sums);
  }
  value_tile<Rows, Groups>(weights, values, ahead, stride, 0, last, sums);
}

// Rows per tile, so that `rows` are cut into the fewest and most even tiles.
LICHEN_INLINE int64_t even_tile(int64_t rows) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  return (rows + tiles - 1) / tiles;
}

class Attention {
 public:
  Attention(const AttentionTask& task, float* scratch)
      : task_(task), rows_(task.tokens * task.group), dim_(task.cache.value_stride) {
    scratch_.queries = scratch;
    scratch_.sums = scratch_.queries + rows_ * dim_;
    scratch_.weights = scratch_.sums + rows_ * dim_;
    scratch_.totals = scratch_.weights + rows_ * kAttentionBlock;
    scratch_.maxima = scratch_.totals + rows_ * 16;
  }

  void run() {
    start();
    const int64_t keys = task_.first_position + task_.tokens;
    for (int64_t start = 0; start < keys; start += kAttentionBlock) {
      // Rows are in order of position: those before `first` see nothing of this block.
      const int64_t past = start - task_.first_position;
      const int64_t first = past > 0 ? past * task_.group : 0;
      const Block block = find_block(start, keys);
      const int64_t next = start + kAttentionBlock;
      score(block, start, first);
      for (int64_t row = first; row < rows_; ++row) softmax(row, visible(row, start));
      weigh(block, next < keys ? find_block(next, keys) : block, start, first);
    }
    finish();
  }

 private:
  // Keys of the block at `start` that a row attends; at least 1 for the rows that are asked about.
  int64_t visible(int64_t row, int64_t start) const {
    return at_most(task_.first_position + row / task_.group + 1 - start, kAttentionBlock);
  }

  void start() {
    const F16 scale = broadcast(task_.scale);
    for (int64_t row = 0; row < rows_; ++row) {
      const float* q =
          task_.q + row / task_.group * task_.q_stride + row % task_.group * task_.head_dim;
      for (int64_t i = 0; i < dim_; i += 16) {
        const F16 part = load_first(q + i, at_most(task_.head_dim - i, 16));
        store(scratch_.queries + row * dim_ + i, mul(part, scale));
        store(scratch_.sums + row * dim_ + i, broadcast(0.0f));
      }
      store(scratch_.totals + row * 16, broadcast(0.0f));
      scratch_.maxima[row] = -__builtin_inff();
    }
  }

  // Groups past the last key repeat the first one, so that every pointer can be used.
  Block find_block(int64_t start, int64_t keys) const {
    const KeyValueView& cache = task_.cache;
    Block block;
    for (int64_t g = 0; g < kBlockGroups; ++g) {
      const int64_t position = start + g * 16 < keys ? start + g * 16 : start;
      const int64_t slot = position % cache.page_tokens;
      const float* page = cache.base + cache.pages[position / cache.page_tokens] * cache.page_stride;
      block.keys[g] = page + slot * task_.head_dim;
      block.values[g] = page + cache.values_offset + slot * cache.value_stride;
    }
    return block;
  }

  void score(const Block& block, int64_t start, int64_t first) const {
    const int64_t groups = (visible(rows_ - 1, start) + 15) / 16;
    const int64_t tile = even_tile(rows_ - first);
    for (int64_t g = 0; g < groups; g += kTileGroups) {
      const float* const* keys = block.keys + g;
      const float* const* ahead = block.values + g;  // for the first tile only
      for (int64_t row = first; row < rows_; row += tile, ahead = keys) {
        const int64_t rows = at_most(tile, rows_ - row);
        const float* queries = scratch_.queries + row * dim_;
        float* scores = scratch_.weights + row * kAttentionBlock + g * 16;
        if (g + kTileGroups <= groups)
          score_rows<kTileRows, kTileGroups>(rows, queries, dim_, keys, ahead, task_.head_dim,
                                             scores);
        else
          score_rows<kTileRows, 1>(rows, queries, dim_, keys, ahead, task_.head_dim, scores);
      }
    }
  }

  // Turns the first n scores of a row into weights, and scales what it has so far to the new maximum.
  void softmax(int64_t row, int64_t n) const {
    float* scores = scratch_.weights + row * kAttentionBlock;
    const F16 none = broadcast(-__builtin_inff());
    F16 highest = none;
    for (int64_t i = 0; i < n; i += 16)
      highest = max(highest, keep_first(load(scores + i), at_most(n - i, 16), -__builtin_inff()));
    const float before = scratch_.maxima[row];
    const float block = reduce_max(highest);
    const float maximum = before > block ? before : block;
    const F16 shift = broadcast(maximum);
    const F16 shrink = exp(sub(broadcast(before), shift));
    F16 total = mul(load(scratch_.totals + row * 16), shrink);
    for (int64_t i = 0; i < n; i += 16) {
      const F16 weight = keep_first(exp(sub(load(scores + i), shift)), at_most(n - i, 16), 0.0f);
      store(scores + i, weight);
      total = add(total, weight);
    }
    store(scratch_.totals + row * 16, total);
    scratch_.maxima[row] = maximum;
    float* sums = scratch_.sums + row * dim_;
    for (int64_t i = 0; i < dim_; i += 16) store(sums + i, mul(load(sums + i), shrink));
  }

  void weigh(const Block& block, const Block& next, int64_t start, int64_t first) const {
    const int64_t tile = even_tile(rows_ - first);
    for (int64_t d = 0; d < dim_; d += 16 * kTileGroups) {
      const float* values[kBlockGroups];
      const float* later[kBlockGroups];
      for (int64_t g = 0; g < kBlockGroups; ++g) {
        values[g] = block.values[g] + d;
        later[g] = next.keys[g] + d;
      }
      const float* const* ahead = later;  // for the first tile only
      for (int64_t row = first; row < rows_; row += tile, ahead = values) {
        const int64_t rows = at_most(tile, rows_ - row);
        const float* weights = scratch_.weights + row * kAttentionBlock;
        float* sums = scratch_.sums + row * dim_ + d;
        const int64_t shared = visible(row, start);
        if (d + 16 * kTileGroups <= dim_)
          value_rows<kTileRows, kTileGroups>(rows, weights, values, ahead, dim_, shared, sums);
        else
          value_rows<kTileRows, 1>(rows, weights, values, ahead, dim_, shared, sums);
        if (shared < visible(row + rows - 1, start))
          weigh_rest(values, start, row, rows, shared, at_most(dim_ - d, 16 * kTileGroups), sums);
      }
    }
  }

  // In the block that holds a tile's own positions, its later tokens see more keys than the first.
  void weigh_rest(const float* const* values, int64_t start, int64_t row, int64_t rows,
                  int64_t shared, int64_t columns, float* sums) const {
    for (int64_t i = 0; i < columns; i += 16) {
      const float* part[kBlockGroups];
      for (int64_t g = 0; g < kBlockGroups; ++g) part[g] = values[g] + i;
      for (int64_t r = 1; r < rows; ++r)
        value_tile<1, 1>(scratch_.weights + (row + r) * kAttentionBlock, part, part, dim_, shared,
                         visible(row + r, start), sums + r * dim_ + i);
    }
  }

  void finish() const {
    for (int64_t row = 0; row < rows_; ++row) {
      const F16 total = broadcast(reduce_add(load(scratch_.totals + row * 16)));
      float* out =
          task_.out + row / task_.group * task_.out_stride + row % task_.group * task_.head_dim;
      for (int64_t i = 0; i < dim_; i += 16)
        store_first(out + i, div(load(scratch_.sums + row * dim_ + i), total),
                    at_most(task_.head_dim - i, 16));
    }
  }

  const AttentionTask& task_;
  const int64_t rows_;
  const int64_t dim_;  // head_dim rounded up to 16
  Scratch scratch_;
};

LICHEN_INLINE void attend(const AttentionTask& task, float* scratch) {
  Attention(task, scratch).run();
}

}  // namespace
}  // namespace lichen
