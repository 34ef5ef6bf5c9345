// Products of bytes in 16 bits, where two of 63 * 63 fit.
#include <arm_neon.h>

#include "kernels/moment/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/moment/lanes_neon.inc.h"
#include "kernels/moment/moment.inc.h"

struct Pairs : InNeon {
  static Sum add(Sum sum, Codes x, Codes w, Codes next_x, Codes next_w) {
    const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(x), vget_low_s8(w)), vget_low_s8(next_x), vget_low_s8(next_w));
    const int16x8_t high = vmlal_high_s8(vmull_high_s8(x, w), next_x, next_w);
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
  }
};

}  // namespace

void moment_neon(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride) {
  multiply_panels<Pairs>(a, b, tokens, c, stride);
}

}  // namespace lichen
