// Products of bytes in 512 bits: two pairs of 127 * 63 at most still fit 16 bits.
#include <immintrin.h>

#include "kernels/moment/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/moment/lanes_512.inc.h"
#include "kernels/moment/moment.inc.h"

struct Pairs : In512 {
  static Sum add(Sum sum, Codes x, Codes w, Codes next_x, Codes next_w) {
    const __m512i pairs = _mm512_add_epi16(_mm512_maddubs_epi16(x, w), _mm512_maddubs_epi16(next_x, next_w));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  }
};

}  // namespace

void moment_avx512(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride) {
  multiply_panels<Pairs>(a, b, tokens, c, stride);
}

}  // namespace lichen
