// The product of two panels in terms of sixteen lanes; included by each <isa>.cpp after its <isa>.h.
#pragma once

#include "kernel.h"

namespace lichen {
namespace {

template <int Rows, int Groups>
LICHEN_INLINE void tile(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride) {
  F16 sum[Rows][Groups];
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) sum[r][g] = load(c + r * c_stride + g * 16);
  for (int64_t k = 0; k < depth; ++k, a += kPanelLines, b += kPanelLines) {
    F16 column[Groups];
    for (int g = 0; g < Groups; ++g) column[g] = load(b + g * 16);
    for (int r = 0; r < Rows; ++r) {
      const F16 row = broadcast(a[r]);
      for (int g = 0; g < Groups; ++g) sum[r][g] = fma(row, column[g], sum[r][g]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) store(c + r * c_stride + g * 16, sum[r][g]);
}

LICHEN_INLINE void panel(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride) {
  constexpr int64_t kRest = kPanelLines % kTileRows, kWhole = kPanelLines - kRest;
  for (int64_t j = 0; j < kPanelLines; j += 16 * kTileGroups)
    for (int64_t i = 0; i < kWhole; i += kTileRows)
      tile<kTileRows, kTileGroups>(a + i, b + j, depth, c + i * c_stride + j, c_stride);
  if constexpr (kRest != 0) {  // few rows: wide enough that sums do not wait for each other
    constexpr int kWide = static_cast<int>(kPanelLines / 16);
    tile<kRest, kWide>(a + kWhole, b, depth, c + kWhole * c_stride, c_stride);
  }
}

}  // namespace
}  // namespace lichen
