// The rotation that spreads outliers evenly over columns.
#pragma once

#include <cstdint>

#include "lichen/threads.h"

namespace lichen {

// Multiplies every vector along the middle axis of x [outer][length][inner], in place, by the orthogonal matrix
// diag(signs) (C_m (x) H_k), where length = m 2^k with m odd, C_m = (cos + sin)(2 pi i j / m) / sqrt(m) is Hartley's
// and H_k Hadamard's of side 2^k. Vectors are rows: v becomes v diag(signs) (C_m (x) H_k). signs [length] are 1 or -1.
// Sums have one order on any number of threads.
void rotate(ThreadPool& pool, std::int64_t outer, std::int64_t length, std::int64_t inner, const float* signs,
            float* x);

}  // namespace lichen
