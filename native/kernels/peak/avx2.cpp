// 256 bits without VNNI: int8 exactly, as products of 16 bits added in pairs; bf16 as float32.
#include <immintrin.h>

#include "kernels/peak/peak.h"

#define LICHEN_REGISTER "x"

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

struct I8 {
  using Sum = __m256i;
  using Input = __m256i;
  static constexpr int kChains = 8, kOperations = 2 * 16;

  static Sum zero() { return _mm256_setzero_si256(); }
  static Input input() { return _mm256_set1_epi16(1); }
  static Sum add_product(Sum sum, Input w, Input x) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(w, x));
  }
};

struct F32 {
  using Sum = __m256;
  using Input = __m256;
  static constexpr int kChains = 12, kOperations = 2 * 8;

  static Sum zero() { return _mm256_setzero_ps(); }
  static Input input() { return _mm256_set1_ps(0.5f); }
  static Sum add_product(Sum sum, Input w, Input x) { return _mm256_fmadd_ps(w, x, sum); }
};

}  // namespace

int64_t peak_i8_avx2(int64_t rounds) { return run_chains<I8>(rounds); }
int64_t peak_bf16_avx2(int64_t rounds) { return run_chains<F32>(rounds); }

}  // namespace lichen
