// Sixteen int16 lanes as one 256-bit register: AVX2. After avx2.h or avx512.h, which include it.
#pragma once

#include <immintrin.h>

#include <stdint.h>

namespace lichen {
namespace {

struct S16 {
  __m256i all;
};

LICHEN_INLINE S16 same_shorts(int x) { return {_mm256_set1_epi16(static_cast<int16_t>(x))}; }
LICHEN_INLINE S16 load(const int16_t* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
LICHEN_INLINE void store(int16_t* p, S16 x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.all); }

LICHEN_INLINE S16 add(S16 a, S16 b) { return {_mm256_add_epi16(a.all, b.all)}; }
LICHEN_INLINE S16 sub(S16 a, S16 b) { return {_mm256_sub_epi16(a.all, b.all)}; }
LICHEN_INLINE S16 mul(S16 a, S16 b) { return {_mm256_mullo_epi16(a.all, b.all)}; }
LICHEN_INLINE S16 min(S16 a, S16 b) { return {_mm256_min_epi16(a.all, b.all)}; }
LICHEN_INLINE S16 max(S16 a, S16 b) { return {_mm256_max_epi16(a.all, b.all)}; }
LICHEN_INLINE S16 absolute(S16 x) { return {_mm256_abs_epi16(x.all)}; }
LICHEN_INLINE S16 both(S16 a, S16 b) { return {_mm256_and_si256(a.all, b.all)}; }
LICHEN_INLINE S16 either(S16 a, S16 b) { return {_mm256_or_si256(a.all, b.all)}; }
LICHEN_INLINE S16 differing(S16 a, S16 b) { return {_mm256_xor_si256(a.all, b.all)}; }
template <int Bits>
LICHEN_INLINE S16 shift_up(S16 x) {
  return {_mm256_slli_epi16(x.all, Bits)};
}
template <int Bits>  // zeros come in at the top
LICHEN_INLINE S16 shift_down(S16 x) {
  return {_mm256_srli_epi16(x.all, Bits)};
}
// The product of two numbers over 2^15, rounded, halves up.
LICHEN_INLINE S16 rounded_product(S16 a, S16 b) { return {_mm256_mulhrs_epi16(a.all, b.all)}; }
// These take their operands for numbers without sign.
LICHEN_INLINE S16 add_saturated(S16 a, S16 b) { return {_mm256_adds_epu16(a.all, b.all)}; }
LICHEN_INLINE S16 min_unsigned(S16 a, S16 b) { return {_mm256_min_epu16(a.all, b.all)}; }
LICHEN_INLINE S16 high_product(S16 a, S16 b) { return {_mm256_mulhi_epu16(a.all, b.all)}; }

LICHEN_INLINE S16 where_equal(S16 a, S16 b, S16 yes, S16 no) {
  return {_mm256_blendv_epi8(no.all, yes.all, _mm256_cmpeq_epi16(a.all, b.all))};
}

// Eight lanes and eight more, as int32 that fit.
LICHEN_INLINE S16 narrowed(__m256i low, __m256i high) {
  return {_mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8)};
}

}  // namespace
}  // namespace lichen
