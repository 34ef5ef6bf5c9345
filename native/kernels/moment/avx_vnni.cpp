// Products of bytes by vpdpbusd in 256 bits.
#include <immintrin.h>

#include "kernels/moment/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/moment/lanes_256.inc.h"
#include "kernels/moment/moment.inc.h"

struct Dots : In256 {
  static Sum add(Sum sum, Codes x, Codes w, Codes next_x, Codes next_w) {
    return _mm256_dpbusd_avx_epi32(_mm256_dpbusd_avx_epi32(sum, x, w), next_x, next_w);
  }
};

}  // namespace

void moment_avx_vnni(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride) {
  multiply_panels<Dots>(a, b, tokens, c, stride);
}

}  // namespace lichen
