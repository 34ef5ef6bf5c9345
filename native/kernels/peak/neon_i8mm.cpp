// smmla multiplies [2, 8] by [8, 2] of int8: eight products to each of 4 lanes.
#include <arm_neon.h>

#include "kernels/peak/peak.h"

#define LICHEN_REGISTER "w"

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

struct I8 {
  using Sum = int32x4_t;
  using Input = int8x16_t;
  static constexpr int kChains = 16, kOperations = 2 * 32;

  static Sum zero() { return vdupq_n_s32(0); }
  static Input input() { return vdupq_n_s8(1); }
  static Sum add_product(Sum sum, Input w, Input x) { return vmmlaq_s32(sum, w, x); }
};

}  // namespace

int64_t peak_i8_neon_i8mm(int64_t rounds) { return run_chains<I8>(rounds); }

}  // namespace lichen
