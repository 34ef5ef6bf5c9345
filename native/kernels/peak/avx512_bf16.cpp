// 512 bits with bf16: vdpbf16ps adds two products to each of 16 lanes of float32.
#include <immintrin.h>

#include "kernels/peak/peak.h"

#define LICHEN_REGISTER "v"

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

struct Bf16 {
  using Sum = __m512;
  using Input = __m512i;  // each lane a pair of bf16
  static constexpr int kChains = 16, kOperations = 2 * 32;

  static Sum zero() { return _mm512_setzero_ps(); }
  static Input input() { return _mm512_set1_epi16(0x3f00); }  // 0.5
  static Sum add_product(Sum sum, Input w, Input x) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
  }
};

}  // namespace

int64_t peak_bf16_avx512_bf16(int64_t rounds) { return run_chains<Bf16>(rounds); }

}  // namespace lichen
