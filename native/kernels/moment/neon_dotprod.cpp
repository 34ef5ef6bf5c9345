// Products of bytes by sdot.
#include <arm_neon.h>

#include "kernels/moment/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/moment/lanes_neon.inc.h"
#include "kernels/moment/moment.inc.h"

struct Dots : InNeon {
  static Sum add(Sum sum, Codes x, Codes w, Codes next_x, Codes next_w) {
    return vdotq_s32(vdotq_s32(sum, w, x), next_w, next_x);
  }
};

}  // namespace

void moment_neon_dotprod(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride) {
  multiply_panels<Dots>(a, b, tokens, c, stride);
}

}  // namespace lichen
