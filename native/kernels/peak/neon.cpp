// 128 bits of Advanced SIMD: int8 exactly, as products of 16 bits added in pairs; bf16 as float32.
#include <arm_neon.h>

#include "kernels/peak/peak.h"

#define LICHEN_REGISTER "w"

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

struct I8 {
  using Sum = int32x4_t;
  using Input = int8x8_t;
  static constexpr int kChains = 12, kOperations = 2 * 8;

  static Sum zero() { return vdupq_n_s32(0); }
  static Input input() { return vdup_n_s8(1); }
  static Sum add_product(Sum sum, Input w, Input x) { return vpadalq_s16(sum, vmull_s8(w, x)); }
};

struct F32 {
  using Sum = float32x4_t;
  using Input = float32x4_t;
  static constexpr int kChains = 16, kOperations = 2 * 4;

  static Sum zero() { return vdupq_n_f32(0.0f); }
  static Input input() { return vdupq_n_f32(0.5f); }
  static Sum add_product(Sum sum, Input w, Input x) { return vfmaq_f32(sum, w, x); }
};

}  // namespace

int64_t peak_i8_neon(int64_t rounds) { return run_chains<I8>(rounds); }
int64_t peak_bf16_neon(int64_t rounds) { return run_chains<F32>(rounds); }

}  // namespace lichen
