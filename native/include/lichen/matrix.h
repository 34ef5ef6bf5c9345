// Products and factors of float32 matrices, for the solvers: every number is one fixed chain of
// operations, whatever the threads.
#pragma once

#include <cstdint>
#include <vector>

#include "lichen/cpu.h"
#include "lichen/threads.h"

namespace lichen {

// A matrix [depth][lines] in place: element (k, i) is data[k * step + i * stride].
struct Operand {
  const float* data;
  std::int64_t step, stride;
  std::int64_t lines;
};

// A block of a square matrix that has others along its diagonal, and zeros beside them.
struct DiagonalBlock {
  const float* data;  // [columns][columns]
  std::int64_t begin, columns;

  std::int64_t end() const { return begin + columns; }
  const float* at(std::int64_t row, std::int64_t column) const {
    return data + (row - begin) * columns + column - begin;
  }
};

// In order, each beginning where the one before ends.
using BlockDiagonal = std::vector<DiagonalBlock>;

enum class Part { all, lower };  // what is wanted of a result; of tiles on the diagonal all is written

// c[i][j] += sign * sum over k of a(k, i) * b(k, j).
void add_product(ThreadPool& pool, Isa isa, const Operand& a, const Operand& b, std::int64_t depth,
                 float sign, float* c, std::int64_t c_stride, Part part = Part::all);

// h [n][n], of which the lower triangle is read, becomes the lower triangular S with h = S^T S. Returns false,
// with h spoilt, where a pivot is not positive.
bool factor(ThreadPool& pool, Isa isa, std::int64_t n, float* h);

}  // namespace lichen
