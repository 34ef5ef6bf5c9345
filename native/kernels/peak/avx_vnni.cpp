// 256 bits with VNNI: vpdpbusd adds four products of u8 and s8 to each of 8 lanes.
#include <immintrin.h>

#include "kernels/peak/peak.h"

#define LICHEN_REGISTER "x"

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

struct I8 {
  using Sum = __m256i;
  using Input = __m256i;
  static constexpr int kChains = 12, kOperations = 2 * 32;

  static Sum zero() { return _mm256_setzero_si256(); }
  static Input input() { return _mm256_set1_epi8(1); }
  static Sum add_product(Sum sum, Input w, Input x) { return _mm256_dpbusd_avx_epi32(sum, x, w); }
};

}  // namespace

int64_t peak_i8_avx_vnni(int64_t rounds) { return run_chains<I8>(rounds); }

}  // namespace lichen
