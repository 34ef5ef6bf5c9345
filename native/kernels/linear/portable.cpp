// The linear kernels in plain C++: for any processor, and the oracle for the others.
#include <math.h>

#include "kernels/linear/half.h"
#include "kernels/linear/kernel.h"

namespace lichen {
namespace {

struct FloatLanes {
  float lane[16];
};

struct IntLanes {
  int32_t lane[16];
};

struct F32 {
  using Stored = float;
  using Input = float;
  using Lane = float;
  using Sum = FloatLanes;
  using Weights = FloatLanes;
  using Inputs = float;
  static constexpr int kDepth = 1, kPanels = 1, kTokens = 4;

  static Sum zero() { return {}; }
  static Sum load_sum(const float* from) {
    Sum sum;
    for (int r = 0; r < 16; ++r) sum.lane[r] = from[r];
    return sum;
  }
  static void store_sum(float* to, const Sum& sum) {
    for (int r = 0; r < 16; ++r) to[r] = sum.lane[r];
  }
  static Weights load(const float* from) { return load_sum(from); }
  static Inputs spread(const float* x) { return *x; }
  // fmaf is one rounding on every processor, in hardware or not.
  static Sum add_product(Sum sum, const Weights& w, float x) {
    for (int r = 0; r < 16; ++r) sum.lane[r] = fmaf(w.lane[r], x, sum.lane[r]);
    return sum;
  }
};

struct F16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) {
    Weights w;
    for (int r = 0; r < 16; ++r) w.lane[r] = from_f16(from[r]);
    return w;
  }
};

struct Bf16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) {
    Weights w;
    for (int r = 0; r < 16; ++r) w.lane[r] = from_bf16(from[r]);
    return w;
  }
};

struct I8 {
  using Stored = int8_t;
  using Input = uint8_t;
  using Lane = int32_t;
  using Sum = IntLanes;
  using Weights = const int8_t*;  // [16][4]
  using Inputs = const uint8_t*;  // [4]
  static constexpr int kDepth = 4, kPanels = 1, kTokens = 4;

  static Sum zero() { return {}; }
  static Sum load_sum(const int32_t* from) {
    Sum sum;
    for (int r = 0; r < 16; ++r) sum.lane[r] = from[r];
    return sum;
  }
  static void store_sum(int32_t* to, const Sum& sum) {
    for (int r = 0; r < 16; ++r) to[r] = sum.lane[r];
  }
  static Weights load(const int8_t* from) { return from; }
  static Inputs spread(const uint8_t* x) { return x; }
  static Sum add_product(Sum sum, Weights w, Inputs x) {
    for (int r = 0; r < 16; ++r)
      sum.lane[r] += w[4 * r] * x[0] + w[4 * r + 1] * x[1] + w[4 * r + 2] * x[2] + w[4 * r + 3] * x[3];
    return sum;
  }
};

#include "kernels/linear/quantize.inc.h"
#include "kernels/linear/tile.inc.h"

}  // namespace

void linear_f32_portable(const LinearTask& task) { multiply<F32>(task, task.x, task.x_stride); }
void linear_f16_portable(const LinearTask& task) { multiply<F16>(task, task.x, task.x_stride); }
void linear_bf16_portable(const LinearTask& task) { multiply<Bf16>(task, task.x, task.x_stride); }
void linear_i8_portable(const LinearTask& task) { multiply<I8>(task, task.codes, task.code_stride); }

void quantize_portable(const float* x, int64_t x_stride, int64_t tokens, int64_t cols,
                       uint8_t* codes, int64_t code_stride, float* scales) {
  quantize(x, x_stride, tokens, cols, codes, code_stride, scales);
}

}  // namespace lichen
