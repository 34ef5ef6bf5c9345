// Sixteen float32 lanes as one 512-bit register: AVX-512 F and DQ.
//
// Included by <op>/avx512.cpp and attention/amx.cpp only, which are compiled with -mavx512f and its companions.
#pragma once

#include <immintrin.h>

#include <stdint.h>

namespace lichen {

struct Half;  // lichen/attention.h

namespace {

#define LICHEN_INLINE inline __attribute__((always_inline))
#define LICHEN_LAMBDA __attribute__((always_inline))

struct F16 {
  __m512 all;
};

// Tile of products held in registers by attention: rows x groups of 16 lanes.
constexpr int kTileRows = 8;
constexpr int kTileGroups = 2;

// The first n of sixteen lanes.
LICHEN_INLINE __mmask16 first_of_sixteen(int64_t n) {
  return static_cast<__mmask16>((uint32_t{1} << n) - 1);
}

LICHEN_INLINE F16 broadcast(float x) { return {_mm512_set1_ps(x)}; }
LICHEN_INLINE F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
LICHEN_INLINE F16 load_first(const float* p, int64_t n) {
  return {_mm512_maskz_loadu_ps(first_of_sixteen(n), p)};
}
LICHEN_INLINE F16 load(const Half* p) {
  return {_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
LICHEN_INLINE F16 load(const int8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi8_epi32(0xffff, codes))};
}
LICHEN_INLINE void store(float* p, F16 x) { _mm512_storeu_ps(p, x.all); }
LICHEN_INLINE void store_first(float* p, F16 x, int64_t n) {
  _mm512_mask_storeu_ps(p, first_of_sixteen(n), x.all);
}

LICHEN_INLINE F16 add(F16 a, F16 b) { return {_mm512_add_ps(a.all, b.all)}; }
LICHEN_INLINE F16 sub(F16 a, F16 b) { return {_mm512_sub_ps(a.all, b.all)}; }
LICHEN_INLINE F16 mul(F16 a, F16 b) { return {_mm512_mul_ps(a.all, b.all)}; }
LICHEN_INLINE F16 div(F16 a, F16 b) { return {_mm512_div_ps(a.all, b.all)}; }
LICHEN_INLINE F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.all, b.all, c.all)}; }
LICHEN_INLINE F16 fnma(F16 a, F16 b, F16 c) { return {_mm512_fnmadd_ps(a.all, b.all, c.all)}; }
// The masked forms with a full mask: gcc 12's plain ones warn of an uninitialized operand.
LICHEN_INLINE F16 min(F16 a, F16 b) { return {_mm512_maskz_min_ps(0xffff, a.all, b.all)}; }
LICHEN_INLINE F16 max(F16 a, F16 b) { return {_mm512_maskz_max_ps(0xffff, a.all, b.all)}; }
LICHEN_INLINE F16 where_less(F16 a, F16 b, F16 yes, F16 no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.all, b.all, _CMP_LT_OQ), no.all, yes.all)};
}
LICHEN_INLINE F16 keep_first(F16 x, int64_t n, float fill) {
  return {_mm512_mask_blend_ps(first_of_sixteen(n), _mm512_set1_ps(fill), x.all)};
}
LICHEN_INLINE F16 absolute(F16 x) {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(_mm512_castps_si512(x.all), _mm512_set1_epi32(0x7fffffff)))};
}
LICHEN_INLINE F16 with_sign_of(F16 magnitude, F16 sign) {
  const __m512i bit =
      _mm512_and_si512(_mm512_castps_si512(sign.all), _mm512_set1_epi32(-0x7fffffff - 1));
  return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude.all), bit))};
}
// 2^(k - 1) where the low bits of `shifted` hold the integer k.
LICHEN_INLINE F16 half_power_of_two(F16 shifted) {
  const __m512i exponent = _mm512_maskz_slli_epi32(0xffff, _mm512_castps_si512(shifted.all), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(126 << 23)))};
}

template <int Half>
LICHEN_INLINE __m256 half(F16 x) {
  return _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xff, _mm512_castps_pd(x.all), Half));
}
LICHEN_INLINE float reduce_add(F16 x) {
  const __m256 eight = _mm256_add_ps(half<0>(x), half<1>(x));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
LICHEN_INLINE float reduce_max(F16 x) {
  const __m256 eight = _mm256_max_ps(half<0>(x), half<1>(x));
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
LICHEN_INLINE S16 to_shorts(F16 x) { return narrowed(_mm256_cvtps_epi32(half<0>(x)), _mm256_cvtps_epi32(half<1>(x))); }
LICHEN_INLINE F16 to_floats(S16 x) {
  return {_mm512_maskz_cvtepi32_ps(0xffff, _mm512_maskz_cvtepi16_epi32(0xffff, x.all))};
}

}  // namespace
}  // namespace lichen
