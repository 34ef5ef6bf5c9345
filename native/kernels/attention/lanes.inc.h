// Attention's products in registers of sixteen floats. Include after attention.inc.h.
//
// Everything is computed in float32; a sum of values is one chain of fused multiply-adds over the keys, ascending.
// Tiles of rows x vectors stay in registers; how the rows are cut into tiles changes nothing in a row's own
// sequence of operations. Elements of the cache are widened as they are loaded, or, where several tiles of rows
// read them, once for all.
#pragma once

namespace lichen {
namespace {

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

// Products in registers of sixteen floats.
template <typename T>
class InLanes : public Attention<InLanes<T>, T> {
  using Base = Attention<InLanes<T>, T>;
  using Base::task_, Base::rows_, Base::dim_, Base::queries_, Base::weights_, Base::partial_, Base::visible;

 public:
  using Base::Base;

  void begin() const {}
  void end() const {}

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

 private:
  static constexpr bool kFloats = sizeof(T) == sizeof(float);

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

  float* const wide_ = this->products_scratch_;  // a stretch of keys or values in floats
};

}  // namespace
}  // namespace lichen
