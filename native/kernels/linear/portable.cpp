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

// Codes are signed on both sides.
struct I8InGroups : I8 {
  using Input = int8_t;
  using Inputs = const int8_t*;  // [4]

  static Sum open(int32_t) { return {}; }
  static Inputs spread(const int8_t* x) { return x; }
  static Sum add_product(Sum sum, Weights w, Inputs x) {
    for (int r = 0; r < 16; ++r)
      sum.lane[r] += w[4 * r] * x[0] + w[4 * r + 1] * x[1] + w[4 * r + 2] * x[2] + w[4 * r + 3] * x[3];
    return sum;
  }
  static void add_scaled(const Sum& sum, float scale, float* total) {
    for (int r = 0; r < 16; ++r) total[r] = fmaf(static_cast<float>(sum.lane[r]), scale, total[r]);
  }
};

struct F16Scales {
  static float widen(uint16_t bits) { return from_f16(bits); }
};

struct Bf16Scales {
  static float widen(uint16_t bits) { return from_bf16(bits); }
};

template <class Scales>
struct I4 {
  using Ints = IntLanes;
  using Floats = FloatLanes;
  using Partial = IntLanes;
  using Codes = const uint8_t*;  // [16][4]: columns 0 to 3 in the low halves, 4 to 7 in the high ones
  static constexpr int kPanels = 1, kTokens = 4;

  static Ints none() { return {}; }
  static Ints eight() {
    Ints zeros;
    for (int r = 0; r < 16; ++r) zeros.lane[r] = 8;
    return zeros;
  }
  static Ints load_zeros(const char* from) {
    Ints zeros;
    for (int r = 0; r < 16; ++r) zeros.lane[r] = from[r];
    return zeros;
  }
  static Ints offset(Ints sum, const Ints& zeros, int32_t minus_sum) {
    for (int r = 0; r < 16; ++r) sum.lane[r] += zeros.lane[r] * minus_sum;
    return sum;
  }
  static Codes load(const uint8_t* from) { return from; }
  static Partial open(const Ints& sum) { return sum; }
  static Partial add(Partial sum, Codes w, const int8_t* x) {
    for (int r = 0; r < 16; ++r)
      for (int k = 0; k < 4; ++k)
        sum.lane[r] += (w[4 * r + k] & 15) * x[k] + (w[4 * r + k] >> 4) * x[k + 4];
    return sum;
  }
  static Ints close(const Ints&, const Partial& partial) { return partial; }

  static Floats nothing() { return {}; }
  static Floats load_scales(const char* from) {
    Floats scales;
    for (int r = 0; r < 16; ++r) {
      uint16_t bits;
      memcpy(&bits, from + 2 * r, sizeof bits);
      scales.lane[r] = Scales::widen(bits);
    }
    return scales;
  }
  static Floats scale_add(const Ints& sum, const Floats& scales, Floats total) {
    for (int r = 0; r < 16; ++r)
      total.lane[r] = fmaf(static_cast<float>(sum.lane[r]), scales.lane[r], total.lane[r]);
    return total;
  }
  static Floats add_scaled(const Floats& part, float scale, Floats total) {
    for (int r = 0; r < 16; ++r) total.lane[r] = fmaf(part.lane[r], scale, total.lane[r]);
    return total;
  }
  static void store(float* to, const Floats& total) {
    for (int r = 0; r < 16; ++r) to[r] = total.lane[r];
  }
};

struct Blocks {
  using Floats = FloatLanes;

  static Floats nothing() { return {}; }
  static Floats load_floats(const char* from) {
    Floats floats;
    memcpy(floats.lane, from, sizeof floats.lane);
    return floats;
  }
  static Floats load_scales(const char* from, ScaleType type) {
    if (type == ScaleType::f32) return load_floats(from);
    return type == ScaleType::f16 ? I4<F16Scales>::load_scales(from) : I4<Bf16Scales>::load_scales(from);
  }
};

struct Bytes : Blocks {
  static constexpr int kColumns = 4;

  static void expand(const char* from, const Floats& scale, const Floats& shift, bool, float* out) {
    const auto* codes = reinterpret_cast<const int8_t*>(from);
    for (int k = 0; k < kColumns; ++k)
      for (int r = 0; r < 16; ++r)
        out[16 * k + r] = fmaf(codes[16 * k + r], scale.lane[r], shift.lane[r]);
  }
};

struct Nibbles : Blocks {
  static constexpr int kColumns = 8;

  static void expand(const char* from, const Floats& scale, const Floats& shift, bool from_zero,
                     float* out) {
    const auto* pairs = reinterpret_cast<const uint8_t*>(from);
    const int lowest = from_zero ? 0 : -8;
    for (int k = 0; k < kColumns; ++k)
      for (int r = 0; r < 16; ++r) {
        const uint8_t pair = pairs[4 * r + k % 4];
        const int code = (k < 4 ? pair & 15 : pair >> 4) + lowest;
        out[16 * k + r] = fmaf(static_cast<float>(code), scale.lane[r], shift.lane[r]);
      }
  }
};

#include "kernels/linear/quantize.inc.h"
#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/blocks.inc.h"
#include "kernels/linear/input_groups.inc.h"

}  // namespace

void linear_f32_portable(const LinearTask& task) { multiply<F32>(task, task.x, task.x_stride); }
void linear_f16_portable(const LinearTask& task) { multiply<F16>(task, task.x, task.x_stride); }
void linear_bf16_portable(const LinearTask& task) { multiply<Bf16>(task, task.x, task.x_stride); }
void linear_i8_portable(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<I8InGroups>(task)
                : multiply<I8>(task, task.codes, task.code_stride);
}
void linear_i4_portable(const LinearTask& task) {
  task.bf16_scales ? multiply_grouped<I4<Bf16Scales>>(task) : multiply_grouped<I4<F16Scales>>(task);
}
void linear_b8_portable(const LinearTask& task) { multiply_blocks<Bytes, F32>(task); }
void linear_b4_portable(const LinearTask& task) { multiply_blocks<Nibbles, F32>(task); }

void quantize_portable(const QuantizeTask& task) { quantize(task); }

}  // namespace lichen
