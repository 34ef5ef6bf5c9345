// What the product of two packed panels is, for each instruction set.
#pragma once

#include <stdint.h>

namespace lichen {

enum class Isa;  // lichen/cpu.h

constexpr int64_t kPanelLines = 32;

// c[32][32] += sum over k of a[k][i] * b[k][j]; rows of c are c_stride apart.
using MatrixKernel = void (*)(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride);

MatrixKernel matrix_kernel(Isa isa);

#define LICHEN_DECLARE(isa) \
  void panel_f32_##isa(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride)
LICHEN_DECLARE(portable);
LICHEN_DECLARE(avx2);
LICHEN_DECLARE(avx512);
LICHEN_DECLARE(neon);
#undef LICHEN_DECLARE

}  // namespace lichen
