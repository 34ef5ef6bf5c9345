// Panels of bfloat16 by vdpbf16ps: twice the products of float32 (see linear/avx512_bf16.cpp).
#include <immintrin.h>

#include "kernel.h"

namespace lichen {
namespace {

constexpr int kRows = 8;

inline __m512bh pairs(const uint16_t* from) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(from));
}

inline __m512bh spread(const uint16_t* pair) {
  int32_t bits;
  __builtin_memcpy(&bits, pair, sizeof bits);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
}

inline void tile(const uint16_t* a, const uint16_t* b, int64_t depth, float* c, int64_t c_stride) {
  __m512 sum[kRows][2];
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < 2; ++g) sum[r][g] = _mm512_loadu_ps(c + r * c_stride + g * 16);
  for (int64_t k = 0; k < depth; k += 2, a += 2 * kPanelLines, b += 2 * kPanelLines) {
    const __m512bh left = pairs(b), right = pairs(b + kPanelLines);
    for (int r = 0; r < kRows; ++r) {
      const __m512bh row = spread(a + 2 * r);
      sum[r][0] = _mm512_dpbf16_ps(sum[r][0], row, left);
      sum[r][1] = _mm512_dpbf16_ps(sum[r][1], row, right);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int g = 0; g < 2; ++g) _mm512_storeu_ps(c + r * c_stride + g * 16, sum[r][g]);
}

}  // namespace

void panel_bf16_avx512_bf16(const uint16_t* a, const uint16_t* b, int64_t depth, float* c, int64_t c_stride) {
  for (int64_t i = 0; i < kPanelLines; i += kRows) tile(a + 2 * i, b, depth, c + i * c_stride, c_stride);
}

}  // namespace lichen
