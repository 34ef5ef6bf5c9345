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

struct Wide {
  using Floats = FloatLanes;
  struct Weights {
    uint8_t code[64];  // [16][4]
  };
  using Line = Weights;
  using Sums = IntLanes;
  using Kept = uint8_t;
  static constexpr int kPanelTokens = 4, kFewTokens = 4, kPanels = 1, kTokens = 4, kKept = 64;
  static constexpr bool kHoldsTotals = true;

  static Line load_line(const char* from) {
    Line line;
    memcpy(line.code, from, sizeof line.code);
    return line;
  }
  static Line low(Line pairs) {
    for (uint8_t& code : pairs.code) code &= 15;
    return pairs;
  }
  static Line high(Line pairs) {
    for (uint8_t& code : pairs.code) code >>= 4;
    return pairs;
  }
  static Line with_pairs(Line halves, const Line& pairs, int q) {
    for (int i = 0; i < 64; ++i) halves.code[i] |= static_cast<uint8_t>((pairs.code[i] >> 2 * q & 3) << 4);
    return halves;
  }
  static Weights widen(const Line& bytes) { return bytes; }
  static void keep(Kept* to, const Weights& w) { memcpy(to, w.code, sizeof w.code); }
  static Weights load_kept(const Kept* from) {
    Weights w;
    memcpy(w.code, from, sizeof w.code);
    return w;
  }
  static void hold(Weights&) {}

  static Sums open(int32_t first) {
    Sums sum;
    for (int32_t& lane : sum.lane) lane = first;
    return sum;
  }
  static Sums add(Sums sum, const Weights& w, const int8_t* x) {
    int16_t q[4];  // of columns 0, 2, 1 and 3
    memcpy(q, x, sizeof q);
    for (int r = 0; r < 16; ++r)
      sum.lane[r] += w.code[4 * r] * q[0] + w.code[4 * r + 1] * q[2] + w.code[4 * r + 2] * q[1] + w.code[4 * r + 3] * q[3];
    return sum;
  }
  static Floats close(const Sums& sum) {
    Floats floats;
    for (int r = 0; r < 16; ++r) floats.lane[r] = static_cast<float>(sum.lane[r]);
    return floats;
  }

  static Floats nothing() { return {}; }
  static Floats load_floats(const float* from) {
    Floats floats;
    memcpy(floats.lane, from, sizeof floats.lane);
    return floats;
  }
  static Floats load_scales(const char* from, ScaleType type) {
    if (type == ScaleType::f16) return I4<F16Scales>::load_scales(from);
    if (type == ScaleType::bf16) return I4<Bf16Scales>::load_scales(from);
    Floats scales;
    memcpy(scales.lane, from, sizeof scales.lane);
    return scales;
  }
  static Floats load_multiples(const char* from) {
    Floats floats;
    for (int r = 0; r < 16; ++r) floats.lane[r] = static_cast<float>(static_cast<int8_t>(from[r]));
    return floats;
  }
  static void store(float* to, const Floats& floats) { memcpy(to, floats.lane, sizeof floats.lane); }
  static Floats times(Floats a, const Floats& b) {
    for (int r = 0; r < 16; ++r) a.lane[r] *= b.lane[r];
    return a;
  }
  static Floats add_scaled(const Floats& part, float scale, Floats total) {
    for (int r = 0; r < 16; ++r) total.lane[r] = fmaf(part.lane[r], scale, total.lane[r]);
    return total;
  }
};

#include "kernels/linear/widen.inc.h"
#include "kernels/linear/quantize.inc.h"
#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/wide.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/trellis.inc.h"

struct Trellis {
  using L = Lanes<16>;
  using Words = L::Words;
  struct Sum {
    int32_t lane[4];
  };
  using Input = int8_t;
  static constexpr int kParts = 4, kTokens = 4, kFewTokens = 0, kLines = 2;
  static constexpr bool kOffsets = false;

  static const int8_t* inputs(const LinearTask& task) { return task.signed_codes; }
  static void keep(char* to, const Words& first, const Words& second, const Words& steps) {
    keep_bytes<L, 0>(to, first, second, steps);
  }
  static Words widen(const char* bytes) {
    const auto* from = reinterpret_cast<const uint8_t*>(bytes);
    return Words{from[0], from[1], from[2], from[3]};
  }
  static Sum open(const int32_t*, int32_t) { return {}; }
  template <int T>
  static void add_kept(const char* lines, const int8_t* x, int64_t x_stride, Sum (&sum)[T][kParts]) {
    const auto* codes = reinterpret_cast<const int8_t*>(lines);
    for (int t = 0; t < T; ++t)
      for (int r = 0; r < kRows; ++r)
        for (int k = 0; k < kTrellisBlock; ++k)
          sum[t][r / 4].lane[r % 4] += codes[k / 4 * kLine + r * 4 + k % 4] * x[t * x_stride + k];
  }
  static void finish(const Sum& sum, const float* units, float x_scale, float* total) {
    for (int r = 0; r < 4; ++r) total[r] = fmaf(static_cast<float>(sum.lane[r]) * units[r], x_scale, total[r]);
  }
};

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
void linear_t4_portable(const LinearTask& task) { multiply_trellis<Trellis>(task); }
void linear_b8_portable(const LinearTask& task) { multiply_wide<Wide, WideBytes<Wide>>(task); }
void linear_b6_portable(const LinearTask& task) { multiply_wide<Wide, WideSixes<Wide>>(task); }
void linear_b4_portable(const LinearTask& task) { multiply_wide<Wide, WideNibbles<Wide>>(task); }

void quantize_portable(const QuantizeTask& task) { quantize(task); }
void widen_words_portable(const WidenTask& task) { widen<false>(task); }

}  // namespace lichen
