// Products and factors of float32 matrices, for the solvers: every number is one fixed chain of
// operations, whatever the threads.
#pragma once

#include <cstdint>

#include "lichen/cpu.h"
#include "lichen/threads.h"

namespace lichen {

// A matrix [depth][lines] in place: element (k, i) is data[k * step + i * stride].
struct Operand {
  const float* data;
  std::int64_t step, stride;
  std::int64_t lines;
};

enum class Part { all, lower };  // what is wanted of a result; of tiles on the diagonal all is written

// c[i][j] += sign * sum over k of a(k, i) * b(k, j).
void add_product(ThreadPool& pool, Isa isa, const Operand& a, const Operand& b, std::int64_t depth,
                 float sign, float* c, std::int64_t c_stride, Part part = Part::all);

// h [n][n], of which the lower triangle is read, becomes the lower triangular S with h = S^T S. Returns false,
// with h spoilt, where a pivot is not positive.
bool factor(ThreadPool& pool, Isa isa, std::int64_t n, float* h);

}  // namespace lichen
