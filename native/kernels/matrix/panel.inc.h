// The product of two panels in terms of sixteen lanes; included by each <isa>.cpp after its <isa>.h.
#pragma once

#include "kernel.h"

namespace lichen {
namespace {

// One strip of a with one of b. What it is added to is asked for at once, and there by the time that it is wanted.
template <int Rows, int Groups>
LICHEN_INLINE void tile(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride) {
  F16 sum[Rows][Groups];
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) {
      __builtin_prefetch(c + r * c_stride + g * 16);
      sum[r][g] = broadcast(0.0f);
    }
  for (int64_t k = 0; k < depth; ++k, a += Rows, b += Groups * 16) {
    F16 column[Groups];
    for (int g = 0; g < Groups; ++g) column[g] = load(b + g * 16);
    for (int r = 0; r < Rows; ++r) {
      const F16 row = broadcast(a[r]);
      for (int g = 0; g < Groups; ++g) sum[r][g] = fma(row, column[g], sum[r][g]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) {
      float* at = c + r * c_stride + g * 16;
      store(at, add(load(at), sum[r][g]));
    }
}

template <int Rows, int Groups>
void multiply_panels(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride) {
  constexpr int64_t kColumns = Groups * 16;
  for (int64_t j = 0; j < kPanelLines; j += kColumns)
    for (int64_t i = 0; i < kPanelLines; i += Rows)
      tile<Rows, Groups>(a + i * depth, b + j * depth, depth, c + i * c_stride + j, c_stride);
}

template <int Rows, int Groups>
constexpr MatrixKernel in_strips() {
  static_assert(kPanelLines % Rows == 0 && kPanelLines % (16 * Groups) == 0);
  return {Rows, 16 * Groups, multiply_panels<Rows, Groups>};
}

}  // namespace
}  // namespace lichen
