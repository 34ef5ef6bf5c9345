// int8 and int4 by SDOT: it adds four products of s8 and s8 to each int32 lane, exactly.
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

struct I8 {
  using Stored = int8_t;
  using Input = int8_t;
  using Lane = SignedSum;
  using Sum = IntLanes;
  using Weights = Bytes;
  using Inputs = int8x16_t;
  static constexpr int kDepth = 4, kPanels = 1, kTokens = 6;

  static Sum zero() { return no_ints(); }
  static Sum load_sum(const SignedSum* from) { return load_ints(from); }
  static void store_sum(SignedSum* to, const Sum& sum) { store_ints(to, sum); }
  static Weights load(const int8_t* from) { return load_bytes(from); }
  static Inputs spread(const int8_t* x) { return spread_four(x); }
  static Sum add_product(const Sum& sum, const Weights& w, Inputs x) {
    return {vdotq_s32(sum.q0, w.q0, x), vdotq_s32(sum.q1, w.q1, x), vdotq_s32(sum.q2, w.q2, x),
            vdotq_s32(sum.q3, w.q3, x)};
  }
};

struct I8InGroups : I8 {
  static Sum open(int32_t) { return zero(); }
  static void add_scaled(const Sum& sum, float scale, float* total) {
    add_scaled_ints(sum, scale, total);
  }
};

template <class Scales>
struct I4 : Int4InNeon<Scales> {
  using Ints = IntLanes;
  using Codes = typename Int4InNeon<Scales>::Codes;
  using Partial = IntLanes;
  static constexpr int kPanels = 1, kTokens = 4;

  static Partial open(const Ints& sum) { return sum; }
  // Lane 0 of x is columns 0 to 3, lane 1 columns 4 to 7.
  static int32x4_t add(int32x4_t sum, int8x16_t first, int8x16_t second, int8x8_t x) {
    return vdotq_lane_s32(vdotq_lane_s32(sum, first, x, 0), second, x, 1);
  }
  static Partial add(const Partial& sum, const Codes& w, const int8_t* from) {
    const int8x8_t x = vld1_s8(from);
    return {add(sum.q0, w.first.q0, w.second.q0, x), add(sum.q1, w.first.q1, w.second.q1, x),
            add(sum.q2, w.first.q2, w.second.q2, x), add(sum.q3, w.first.q3, w.second.q3, x)};
  }
  static Ints close(const Ints&, const Partial& partial) { return partial; }
};

struct Trellis : TrellisInNeon {
  using Sum = int32x4_t;
  static constexpr int kTokens = 5;

  static Sum open(const int32_t*, int32_t) { return vdupq_n_s32(0); }
  template <int T>
  [[gnu::always_inline]] static void add_kept(const char* lines, const int8_t* x, int64_t x_stride,
                                              Sum (&sum)[T][kParts]) {
    for (int half = 0; half < 2; ++half, lines += kLine, x += 4) {
      const auto* w = reinterpret_cast<const int8_t*>(lines);
      const int8x16_t rows[kParts] = {vld1q_s8(w), vld1q_s8(w + 16), vld1q_s8(w + 32), vld1q_s8(w + 48)};
      for (int t = 0; t < T; ++t) {
        const int8x16_t in = spread_four(x + t * x_stride);
        for (int p = 0; p < kParts; ++p) sum[t][p] = vdotq_s32(sum[t][p], rows[p], in);
      }
    }
  }
  static void finish(Sum sum, const float* units, float x_scale, float* total) { finish_sum(sum, units, x_scale, total); }
};

}  // namespace

void linear_t4_neon_dotprod(const LinearTask& task) { multiply_trellis<Trellis>(task); }
void linear_i8_neon_dotprod(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<I8InGroups>(task)
                : multiply<I8>(task, task.signed_codes, task.code_stride);
}
void linear_i4_neon_dotprod(const LinearTask& task) {
  task.bf16_scales ? multiply_grouped<I4<Bf16Scales>>(task) : multiply_grouped<I4<F16Scales>>(task);
}

}  // namespace lichen
