// Sixteen float32 lanes as two 256-bit registers: AVX2 with FMA.
//
// Included by <op>/avx2.cpp only, which is compiled with -mavx2 -mfma.
#pragma once

#include <immintrin.h>

#include <stdint.h>

namespace lichen {

struct Half;  // lichen/attention.h

namespace {

#define LICHEN_INLINE inline __attribute__((always_inline))
#define LICHEN_LAMBDA __attribute__((always_inline))

struct F16 {
  __m256 low, high;
};

// Tile of products held in registers by attention: rows x groups of 16 lanes.
constexpr int kTileRows = 6;
constexpr int kTileGroups = 1;

// All ones in the first n of eight lanes.
LICHEN_INLINE __m256i first_of_eight(int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

LICHEN_INLINE F16 broadcast(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LICHEN_INLINE F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LICHEN_INLINE F16 load_first(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, first_of_eight(n)), _mm256_maskload_ps(p + 8, first_of_eight(n - 8))};
}
LICHEN_INLINE F16 load(const Half* p) {
  const auto* bits = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(bits)), _mm256_cvtph_ps(_mm_loadu_si128(bits + 1))};
}
LICHEN_INLINE F16 load(const int8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes)))};
}
LICHEN_INLINE void store(float* p, F16 x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
LICHEN_INLINE void store_first(float* p, F16 x, int64_t n) {
  _mm256_maskstore_ps(p, first_of_eight(n), x.low);
  _mm256_maskstore_ps(p + 8, first_of_eight(n - 8), x.high);
}

LICHEN_INLINE F16 add(F16 a, F16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
LICHEN_INLINE F16 sub(F16 a, F16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
LICHEN_INLINE F16 mul(F16 a, F16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
LICHEN_INLINE F16 div(F16 a, F16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
LICHEN_INLINE F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
LICHEN_INLINE F16 fnma(F16 a, F16 b, F16 c) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
LICHEN_INLINE F16 min(F16 a, F16 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
LICHEN_INLINE F16 max(F16 a, F16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
LICHEN_INLINE F16 where_less(F16 a, F16 b, F16 yes, F16 no) {
  return {_mm256_blendv_ps(no.low, yes.low, _mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.high, yes.high, _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ))};
}
LICHEN_INLINE F16 keep_first(F16 x, int64_t n, float fill) {
  const __m256 other = _mm256_set1_ps(fill);
  return {_mm256_blendv_ps(other, x.low, _mm256_castsi256_ps(first_of_eight(n))),
          _mm256_blendv_ps(other, x.high, _mm256_castsi256_ps(first_of_eight(n - 8)))};
}
LICHEN_INLINE F16 absolute(F16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.low), _mm256_andnot_ps(sign, x.high)};
}
LICHEN_INLINE F16 with_sign_of(F16 magnitude, F16 sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(magnitude.low, _mm256_and_ps(sign.low, bit)),
          _mm256_or_ps(magnitude.high, _mm256_and_ps(sign.high, bit))};
}
LICHEN_INLINE __m256 half_power_of_two(__m256 shifted) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(126 << 23)));
}
// 2^(k - 1) where the low bits of `shifted` hold the integer k.
LICHEN_INLINE F16 half_power_of_two(F16 shifted) {
  return {half_power_of_two(shifted.low), half_power_of_two(shifted.high)};
}

LICHEN_INLINE float reduce_add(F16 x) {
  const __m256 eight = _mm256_add_ps(x.low, x.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
LICHEN_INLINE float reduce_max(F16 x) {
  const __m256 eight = _mm256_max_ps(x.low, x.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

LICHEN_INLINE float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

}  // namespace
}  // namespace lichen

#include "x86_shorts.h"

namespace lichen {
namespace {

// Numbers of -32768 to 32767 to integers, halves to even, and back.
LICHEN_INLINE S16 to_shorts(F16 x) { return narrowed(_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)); }
LICHEN_INLINE F16 to_floats(S16 x) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(x.all))),
          _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(x.all, 1)))};
}

}  // namespace
}  // namespace lichen
