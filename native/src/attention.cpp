#include "lichen/attention.h"

namespace lichen {
namespace {

constexpr int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16; }  // to cache lines

}  // namespace

int64_t attention_partial(int64_t rows, int64_t head_dim) {
  return rows * (padded(head_dim) + 16) + padded(rows);  // sums, totals, maxima
}

int64_t attention_scratch(int64_t rows, int64_t head_dim) {
  const int64_t dim = padded(head_dim);
  const int64_t wide = 2 * 16 * (dim > kAttentionBlock ? dim : kAttentionBlock);
  // queries, weights, a stretch of keys or values in floats, two partials
  return rows * (dim + kAttentionBlock) + wide + 2 * attention_partial(rows, head_dim);
}

}  // namespace lichen
