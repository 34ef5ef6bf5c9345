// The AVX-VNNI kernels over plain AVX2, for processors without AVX-VNNI: its two instructions after the pseudocode
// of Intel's SDM (volume 2: VPDPBUSD, VPDPWSSD). For tests; takes the place of kernels/linear/avx_vnni.cpp.
#include <immintrin.h>

namespace {

// Four products of u8 and s8 to each lane. None but the last sum can leave its type, and that one wraps.
inline __m256i emulated_dpbusd(__m256i sum, __m256i u8, __m256i s8) {
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(u8, _mm256_set1_epi16(0xff)),
                                         _mm256_srai_epi16(_mm256_slli_epi16(s8, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u8, 8), _mm256_srai_epi16(s8, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

// Two products of s16 to each lane.
inline __m256i emulated_dpwssd(__m256i sum, __m256i a, __m256i b) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

}  // namespace

#define _mm256_dpbusd_avx_epi32 emulated_dpbusd
#define _mm256_dpwssd_avx_epi32 emulated_dpwssd
#include "kernels/linear/avx_vnni.cpp"
