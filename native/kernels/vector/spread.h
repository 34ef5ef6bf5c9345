// Four bytes, for every lane of 32 bits.
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

namespace lichen {
namespace {

#if defined(__AVX512F__)
inline __m512i spread_four(const void* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}
#elif defined(__AVX2__)
inline __m256i spread_four(const void* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return _mm256_set1_epi32(four);
}
#else
inline int8x16_t spread_four(const void* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
#endif

}  // namespace
}  // namespace lichen
