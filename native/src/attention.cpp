#include "lichen/attention.h"

#include <algorithm>

namespace lichen {
namespace {

constexpr int64_t rounded_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }

constexpr int64_t padded(int64_t floats) { return rounded_up(floats, 16); }  // to cache lines

// Floats for what multiplies: a stretch of keys or values in floats; or in tiles, rows of queries and of
// weights, and a stretch of keys or values, all in steps of 32.
int64_t products_scratch(int64_t rows, int64_t head_dim) {
  const int64_t dim = rounded_up(head_dim, 32), longest = std::max(dim, kAttentionBlock);
  const int64_t in_lanes = 2 * 16 * longest;
  const int64_t in_tiles = rows * (dim + kAttentionBlock) + kAttentionTileColumns * longest;
  return std::max(in_lanes, in_tiles);
}

}  // namespace

int64_t attention_rows(int64_t rows) { return padded(rows); }

int64_t attention_partial(int64_t rows, int64_t head_dim) {
  return attention_rows(rows) * (padded(head_dim) + 16 + 1);  // sums, totals, maxima
}

int64_t attention_scratch(int64_t rows, int64_t head_dim) {
  const int64_t all = attention_rows(rows);
  // queries, weights, two partials
  return all * (padded(head_dim) + kAttentionBlock) + 2 * attention_partial(rows, head_dim) +
         products_scratch(all, head_dim);
}

}  // namespace lichen
