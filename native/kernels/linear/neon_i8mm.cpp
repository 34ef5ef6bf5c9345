// int8 and int4 by SMMLA: it adds the products of two tokens and two rows, eight columns of each, to
// four int32 lanes (token, row), exactly: twice the work of SDOT in one instruction.
//
// int8 panels hold eight columns of a row together, [k/8][16][8], so that a register is two rows.
#include <arm_neon.h>

#include "kernels/linear/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/neon.inc.h"

constexpr int64_t kColumns = 8;    // of one instruction
constexpr int kRowPairs = kRows / 2;

// Eight activations of each of two tokens; of one token twice where there is no second.
inline int8x16_t load_tokens(const int8_t* x, int64_t stride, bool two) {
  return vcombine_s8(vld1_s8(x), vld1_s8(two ? x + stride : x));
}

// The sums of one token of a pair, from those of all pairs of rows.
template <int Token>
IntLanes rows_of(const int32x4_t* sum) {
  const auto join = [](int32x4_t a, int32x4_t b) {
    const int64x2_t first = vreinterpretq_s64_s32(a), second = vreinterpretq_s64_s32(b);
    return vreinterpretq_s32_s64(Token == 0 ? vtrn1q_s64(first, second) : vtrn2q_s64(first, second));
  };
  return {join(sum[0], sum[1]), join(sum[2], sum[3]), join(sum[4], sum[5]), join(sum[6], sum[7])};
}

template <int T>
void clear(int32x4_t (&sum)[T][kRowPairs]) {
#pragma GCC unroll 4
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 8
    for (int r = 0; r < kRowPairs; ++r) sum[t][r] = vdupq_n_s32(0);
}

struct I8 {
  static constexpr int kTokens = 6;

  // Sums of T tokens and one panel over `cols` columns.
  template <int T>
  static void add_columns(const LinearTask& task, const int8_t* weights, const int8_t* x, int64_t cols,
                          int32x4_t (&sum)[(T + 1) / 2][kRowPairs]) {
    constexpr int kPairs = (T + 1) / 2;
    for (int64_t k = 0; k < cols; k += kColumns, x += kColumns, weights += kRows * kColumns) {
      int8x16_t in[kPairs];
#pragma GCC unroll 4
      for (int t = 0; t < kPairs; ++t)
        in[t] = load_tokens(x + 2 * t * task.code_stride, task.code_stride, 2 * t + 1 < T);
#pragma GCC unroll 8
      for (int r = 0; r < kRowPairs; ++r) {
        const int8x16_t w = vld1q_s8(weights + 2 * r * kColumns);
#pragma GCC unroll 4
        for (int t = 0; t < kPairs; ++t) sum[t][r] = vmmlaq_s32(sum[t][r], in[t], w);
      }
    }
  }

  // T tokens times one panel, all columns: from the packed weight to the outputs.
  template <int T>
  static void tile(const LinearTask& task, const char* panel, int64_t token, int64_t row) {
    const int8_t* x = task.signed_codes + token * task.code_stride;
    int32x4_t sum[(T + 1) / 2][kRowPairs];
    clear(sum);
    add_columns<T>(task, reinterpret_cast<const int8_t*>(panel), x, task.cols, sum);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      SignedSum values[kRows];
      store_ints(values, t % 2 == 0 ? rows_of<0>(sum[t / 2]) : rows_of<1>(sum[t / 2]));
      finish_panel(values, task, token + t, row);
    }
  }
};

// As input_group_tile() in input_groups.inc.h, with tokens in pairs.
struct I8InGroups {
  static constexpr int kTokens = I8::kTokens;

  template <int T>
  static void tile(const LinearTask& task, const char* panel, int64_t token, int64_t row) {
    const int64_t groups = task.cols / task.group;
    const int8_t* x = task.signed_codes + token * task.code_stride;
    const float* x_scales = task.x_scales + token * groups;
    float totals[T][kRows] = {};
    for (int64_t g = 0; g < groups; ++g) {
      int32x4_t sum[(T + 1) / 2][kRowPairs];
      clear(sum);
      I8::add_columns<T>(task, reinterpret_cast<const int8_t*>(panel) + g * task.group * kRows,
                         x + g * task.group, task.group, sum);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        add_scaled_ints(t % 2 == 0 ? rows_of<0>(sum[t / 2]) : rows_of<1>(sum[t / 2]),
                        x_scales[t * groups + g], totals[t]);
    }
    for (int t = 0; t < T; ++t) finish_scaled(totals[t], task, token + t, row);
  }
};

template <class Scales>
struct I4 : Int4InNeon<Scales> {
  using Base = Int4InNeon<Scales>;
  using Codes = typename Base::Codes;
  static constexpr int kTokens = 4;

  // Four rows and eight columns; `first` and `second` hold four columns of each row.
  template <int P>
  static void add_rows(int8x16_t first, int8x16_t second, const int8x16_t (&in)[P], int r,
                       int32x4_t (&sum)[P][kRowPairs]) {
    const int32x4_t low = vreinterpretq_s32_s8(first), high = vreinterpretq_s32_s8(second);
    const int8x16_t upper = vreinterpretq_s8_s32(vzip1q_s32(low, high));
    const int8x16_t lower = vreinterpretq_s8_s32(vzip2q_s32(low, high));
#pragma GCC unroll 4
    for (int t = 0; t < P; ++t) {
      sum[t][r] = vmmlaq_s32(sum[t][r], in[t], upper);
      sum[t][r + 1] = vmmlaq_s32(sum[t][r + 1], in[t], lower);
    }
  }

  static int32_t total_of(const int32_t* sums, int64_t count) {
    int32_t total = 0;
    for (int64_t i = 0; i < count; ++i) total += sums[i];
    return total;
  }

  template <int P>
  static void add_columns(const Codes& w, const int8x16_t (&in)[P], int32x4_t (&sum)[P][kRowPairs]) {
    add_rows(w.first.q0, w.second.q0, in, 0, sum);
    add_rows(w.first.q1, w.second.q1, in, 2, sum);
    add_rows(w.first.q2, w.second.q2, in, 4, sum);
    add_rows(w.first.q3, w.second.q3, in, 6, sum);
  }

  // As group_tile() in groups.inc.h, with tokens in pairs.
  template <int T>
  static void tile(const LinearTask& task, const char* panel, int64_t token, int64_t row) {
    constexpr int kPairs = (T + 1) / 2;
    const int64_t stride = task.code_stride;
    const int64_t header = kRows * (task.zeros ? 3 : 2);
    const int8_t* x = task.signed_codes + token * stride;
    const int32_t* minus_sums = task.minus_sums + token * (stride / kBlock);
    const int64_t sums_per_group = task.x_groups ? 1 : task.group / kBlock;
    const int64_t groups = task.cols / task.group;
    const float* x_scales = task.x_scales + token * (task.x_groups ? groups : 1);
    FloatLanes total[T];
    for (int t = 0; t < T; ++t) total[t] = Base::nothing();

    for (int64_t g = 0; g < groups; ++g) {
      const IntLanes zeros = task.zeros ? Base::load_zeros(panel + 2 * kRows) : Base::eight();
      const FloatLanes scales = Base::load_scales(panel);
      const auto* codes = reinterpret_cast<const uint8_t*>(panel + header);
      int32x4_t sum[kPairs][kRowPairs];
      clear(sum);
      for (int64_t k = 0; k < task.group; k += kColumns, x += kColumns, codes += kRows * kColumns / 2) {
        int8x16_t in[kPairs];
#pragma GCC unroll 4
        for (int t = 0; t < kPairs; ++t)
          in[t] = load_tokens(x + 2 * t * stride, stride, 2 * t + 1 < T);
        add_columns(Base::load(codes), in, sum);
      }
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const int32_t minus = total_of(minus_sums + t * (stride / kBlock), sums_per_group);
        const IntLanes rows = t % 2 == 0 ? rows_of<0>(sum[t / 2]) : rows_of<1>(sum[t / 2]);
        const IntLanes whole = Base::offset(rows, zeros, minus);
        total[t] = task.x_groups
                       ? Base::add_scaled(Base::scale_add(whole, scales, Base::nothing()),
                                          x_scales[t * groups + g], total[t])
                       : Base::scale_add(whole, scales, total[t]);
      }
      minus_sums += sums_per_group;
      panel += header + task.group * (kRows / 2);
    }
    for (int t = 0; t < T; ++t) {
      float values[kRows];
      Base::store(values, total[t]);
      for (int64_t r = 0; r < kRows && !task.x_groups; ++r) values[r] *= x_scales[t];
      finish_panel(values, task, token + t, row);
    }
  }
};

// The tile for a number of tokens known only at run time: 1 <= tokens <= T.
template <class Op, int T>
void any_pair_tile(int64_t tokens, const LinearTask& task, const char* panel, int64_t token,
                   int64_t row) {
  if constexpr (T > 1) {
    if (tokens < T) return any_pair_tile<Op, T - 1>(tokens, task, panel, token, row);
  }
  Op::template tile<T>(task, panel, token, row);
}

// A panel is read from memory once; later tiles of tokens find it in a cache.
template <class Op>
void multiply_pairs(const LinearTask& task) {
  for (int64_t p = 0; p < task.panels; ++p)
    for (int64_t token = 0; token < task.tokens; token += Op::kTokens)
      any_pair_tile<Op, Op::kTokens>(smaller(Op::kTokens, task.tokens - token), task,
                                     task.weights + p * task.panel_bytes, token, p * kRows);
}

}  // namespace

void linear_i8_neon_i8mm(const LinearTask& task) {
  task.x_groups ? multiply_pairs<I8InGroups>(task) : multiply_pairs<I8>(task);
}

// One token alone leaves half of SMMLA idle, and SDOT needs the codes of a row less rearranged.
void linear_i4_neon_i8mm(const LinearTask& task) {
  if (task.tokens == 1) return linear_i4_neon_dotprod(task);
  task.bf16_scales ? multiply_pairs<I4<Bf16Scales>>(task) : multiply_pairs<I4<F16Scales>>(task);
}

}  // namespace lichen
