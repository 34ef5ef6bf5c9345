// The linear kernels in what every 64-bit Arm processor has.
#include <arm_neon.h>

#include "kernels/linear/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/neon.inc.h"
#include "kernels/linear/trellis.inc.h"
#include "kernels/linear/trellis_neon.inc.h"

struct F32 {
  using Stored = float;
  using Input = float;
  using Lane = float;
  using Sum = FloatLanes;
  using Weights = FloatLanes;
  using Inputs = float32x4_t;
  static constexpr int kDepth = 1, kPanels = 1, kTokens = 6;

  static Sum zero() {
    const float32x4_t zero = vdupq_n_f32(0);
    return {zero, zero, zero, zero};
  }
  static Sum load_sum(const float* from) {
    return {vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)};
  }
  static void store_sum(float* to, const Sum& sum) {
    vst1q_f32(to, sum.q0);
    vst1q_f32(to + 4, sum.q1);
    vst1q_f32(to + 8, sum.q2);
    vst1q_f32(to + 12, sum.q3);
  }
  static Weights load(const float* from) { return load_sum(from); }
  static Inputs spread(const float* x) { return vld1q_dup_f32(x); }
  static Sum add_product(const Sum& sum, const Weights& w, Inputs x) {
    return {vfmaq_f32(sum.q0, w.q0, x), vfmaq_f32(sum.q1, w.q1, x), vfmaq_f32(sum.q2, w.q2, x),
            vfmaq_f32(sum.q3, w.q3, x)};
  }
};

struct F16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) { return F16Scales::widen(from); }
};

struct Bf16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) { return Bf16Scales::widen(from); }
};

// Products of 16 bits (128 * 128 fits, two of them would not), added in pairs to 32: each row's sum is
// in two lanes, columns 0 and 1 of every four, and columns 2 and 3.
struct I8 {
  struct Sum {
    int32x4_t q0, q1, q2, q3, q4, q5, q6, q7;  // two rows each
  };
  using Stored = int8_t;
  using Input = int8_t;
  using Lane = SignedSum;
  using Weights = Bytes;
  using Inputs = int8x16_t;
  static constexpr int kDepth = 4, kPanels = 1, kTokens = 2;

  static Sum zero() {
    const int32x4_t zero = vdupq_n_s32(0);
    return {zero, zero, zero, zero, zero, zero, zero, zero};
  }
  static Sum load_sum(const SignedSum* from) {
    const IntLanes sum = load_ints(from);
    const int32x4_t zero = vdupq_n_s32(0);
    return {vzip1q_s32(sum.q0, zero), vzip2q_s32(sum.q0, zero), vzip1q_s32(sum.q1, zero),
            vzip2q_s32(sum.q1, zero), vzip1q_s32(sum.q2, zero), vzip2q_s32(sum.q2, zero),
            vzip1q_s32(sum.q3, zero), vzip2q_s32(sum.q3, zero)};
  }
  static IntLanes joined(const Sum& sum) {
    return {vpaddq_s32(sum.q0, sum.q1), vpaddq_s32(sum.q2, sum.q3), vpaddq_s32(sum.q4, sum.q5),
            vpaddq_s32(sum.q6, sum.q7)};
  }
  static void store_sum(SignedSum* to, const Sum& sum) { store_ints(to, joined(sum)); }
  static Weights load(const int8_t* from) { return load_bytes(from); }
  static Inputs spread(const int8_t* x) { return spread_four(x); }
  static int32x4_t add_low(int32x4_t sum, int8x16_t w, Inputs x) {
    return vpadalq_s16(sum, vmull_s8(vget_low_s8(w), vget_low_s8(x)));
  }
  static int32x4_t add_high(int32x4_t sum, int8x16_t w, Inputs x) {
    return vpadalq_s16(sum, vmull_high_s8(w, x));
  }
  static Sum add_product(const Sum& sum, const Weights& w, Inputs x) {
    return {add_low(sum.q0, w.q0, x), add_high(sum.q1, w.q0, x), add_low(sum.q2, w.q1, x),
            add_high(sum.q3, w.q1, x), add_low(sum.q4, w.q2, x), add_high(sum.q5, w.q2, x),
            add_low(sum.q6, w.q3, x), add_high(sum.q7, w.q3, x)};
  }
};

struct I8InGroups : I8 {
  static Sum open(int32_t) { return zero(); }
  static void add_scaled(const Sum& sum, float scale, float* total) {
    add_scaled_ints(joined(sum), scale, total);
  }
};

// The eight products of a lane in a block of 32 columns fit 16 bits: 8 * 15 * 128; two lanes do, too.
template <class Scales>
struct I4 : Int4InNeon<Scales> {
  using Ints = IntLanes;
  using Codes = typename Int4InNeon<Scales>::Codes;
  struct Partial {
    int16x8_t q0, q1, q2, q3, q4, q5, q6, q7;  // two rows each
  };
  static constexpr int kPanels = 1, kTokens = 2;

  static Partial open(const Ints&) {
    const int16x8_t zero = vdupq_n_s16(0);
    return {zero, zero, zero, zero, zero, zero, zero, zero};
  }
  static int16x8_t add_low(int16x8_t sum, int8x16_t w, int8x16_t x) {
    return vmlal_s8(sum, vget_low_s8(w), vget_low_s8(x));
  }
  static int16x8_t add_high(int16x8_t sum, int8x16_t w, int8x16_t x) {
    return vmlal_high_s8(sum, w, x);
  }
  static Partial add_four(const Partial& sum, const Bytes& w, int8x16_t x) {
    return {add_low(sum.q0, w.q0, x), add_high(sum.q1, w.q0, x), add_low(sum.q2, w.q1, x),
            add_high(sum.q3, w.q1, x), add_low(sum.q4, w.q2, x), add_high(sum.q5, w.q2, x),
            add_low(sum.q6, w.q3, x), add_high(sum.q7, w.q3, x)};
  }
  static Partial add(const Partial& sum, const Codes& w, const int8_t* x) {
    return add_four(add_four(sum, w.first, spread_four(x)), w.second, spread_four(x + 4));
  }
  static Ints close(const Ints& sum, const Partial& p) {
    return {vpadalq_s16(sum.q0, vpaddq_s16(p.q0, p.q1)), vpadalq_s16(sum.q1, vpaddq_s16(p.q2, p.q3)),
            vpadalq_s16(sum.q2, vpaddq_s16(p.q4, p.q5)), vpadalq_s16(sum.q3, vpaddq_s16(p.q6, p.q7))};
  }
};

// Each row's sum is in two lanes, as those of int8 are.
struct Trellis : TrellisInNeon {
  struct Sum {
    int32x4_t low, high;  // two rows each
  };
  static constexpr int kTokens = 2;

  static Sum open(const int32_t*, int32_t) { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
  template <int T>
  [[gnu::always_inline]] static void add_kept(const char* lines, const int8_t* x, int64_t x_stride,
                                              Sum (&sum)[T][kParts]) {
    for (int half = 0; half < 2; ++half, lines += kLine, x += 4)
      for (int p = 0; p < kParts; ++p) {
        const int8x16_t w = vld1q_s8(reinterpret_cast<const int8_t*>(lines) + 16 * p);
        for (int t = 0; t < T; ++t) {
          const int8x16_t in = spread_four(x + t * x_stride);
          sum[t][p].low = vpadalq_s16(sum[t][p].low, vmull_s8(vget_low_s8(w), vget_low_s8(in)));
          sum[t][p].high = vpadalq_s16(sum[t][p].high, vmull_high_s8(w, in));
        }
      }
  }
  static void finish(const Sum& sum, const float* units, float x_scale, float* total) {
    finish_sum(vpaddq_s32(sum.low, sum.high), units, x_scale, total);
  }
};

}  // namespace

void linear_t4_neon(const LinearTask& task) { multiply_trellis<Trellis>(task); }
void linear_f32_neon(const LinearTask& task) { multiply<F32>(task, task.x, task.x_stride); }
void linear_f16_neon(const LinearTask& task) { multiply<F16>(task, task.x, task.x_stride); }
void linear_bf16_neon(const LinearTask& task) { multiply<Bf16>(task, task.x, task.x_stride); }
void linear_i8_neon(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<I8InGroups>(task)
                : multiply<I8>(task, task.signed_codes, task.code_stride);
}
void linear_i4_neon(const LinearTask& task) {
  task.bf16_scales ? multiply_grouped<I4<Bf16Scales>>(task) : multiply_grouped<I4<F16Scales>>(task);
}

}  // namespace lichen
