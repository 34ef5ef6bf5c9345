// 512 bits with VNNI: vpdpbusd adds four products of u8 and s8 to each of 16 lanes.
#include <immintrin.h>

#include "kernels/peak/peak.h"

#define LICHEN_REGISTER "v"

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

struct I8 {
  using Sum = __m512i;
  using Input = __m512i;
  static constexpr int kChains = 16, kOperations = 2 * 64;

  static Sum zero() { return _mm512_setzero_si512(); }
  static Input input() { return _mm512_set1_epi8(1); }
  static Sum add_product(Sum sum, Input w, Input x) { return _mm512_dpbusd_epi32(sum, x, w); }
};

}  // namespace

int64_t peak_i8_avx512_vnni(int64_t rounds) { return run_chains<I8>(rounds); }

}  // namespace lichen
