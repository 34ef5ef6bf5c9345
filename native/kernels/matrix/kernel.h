// What the product of two packed panels is, for each instruction set.
#pragma once

#include <stdint.h>

namespace lichen {

enum class Isa;  // lichen/cpu.h

constexpr int64_t kPanelLines = 48;  // whole strips of all instruction sets

// c[48][48] += sum over k of a(k, i) * b(k, j), each sum from zero in the order of k; rows of c are c_stride apart.
struct MatrixKernel {
  // Lines of a strip: a lies in [48 / rows][depth][rows], b in [48 / columns][depth][columns].
  int64_t rows, columns;
  void (*multiply)(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride);
};

extern const MatrixKernel matrix_portable, matrix_avx2, matrix_avx512, matrix_neon;

const MatrixKernel& matrix_kernel(Isa isa);

}  // namespace lichen
