// 512 bits without VNNI: int8 exactly, as products of 16 bits added in pairs; bf16 as float32.
#include <immintrin.h>

#include "kernels/peak/peak.h"

#define LICHEN_REGISTER "v"

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

struct I8 {
  using Sum = __m512i;
  using Input = __m512i;
  static constexpr int kChains = 12, kOperations = 2 * 32;

  static Sum zero() { return _mm512_setzero_si512(); }
  static Input input() { return _mm512_set1_epi16(1); }
  static Sum add_product(Sum sum, Input w, Input x) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(w, x));
  }
};

struct F32 {
  using Sum = __m512;
  using Input = __m512;
  static constexpr int kChains = 16, kOperations = 2 * 16;

  static Sum zero() { return _mm512_setzero_ps(); }
  static Input input() { return _mm512_set1_ps(0.5f); }
  static Sum add_product(Sum sum, Input w, Input x) { return _mm512_fmadd_ps(w, x, sum); }
};

}  // namespace

int64_t peak_i8_avx512(int64_t rounds) { return run_chains<I8>(rounds); }
int64_t peak_bf16_avx512(int64_t rounds) { return run_chains<F32>(rounds); }

}  // namespace lichen
