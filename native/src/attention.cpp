#include "lichen/attention.h"

namespace lichen {

int64_t attention_scratch(int64_t rows, int64_t head_dim) {
  const int64_t dim = (head_dim + 15) / 16 * 16;
  return rows * (2 * dim + kAttentionBlock + 16 + 1);  // queries, sums, weights, totals, maximum
}

}  // namespace lichen
