// The linear kernels in 512 bits, without VNNI.
#include <immintrin.h>

#include "kernels/linear/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/linear/int4_512.inc.h"
#include "kernels/linear/wide_512.inc.h"

struct F32 {
  using Stored = float;
  using Input = float;
  using Lane = float;
  using Sum = __m512;
  using Weights = __m512;
  using Inputs = __m512;
  static constexpr int kDepth = 1, kPanels = 4, kTokens = 6;

  static Sum zero() { return _mm512_setzero_ps(); }
  static Sum load_sum(const float* from) { return _mm512_loadu_ps(from); }
  static void store_sum(float* to, Sum sum) { _mm512_storeu_ps(to, sum); }
  static Weights load(const float* from) { return _mm512_load_ps(from); }
  static Inputs spread(const float* x) { return _mm512_set1_ps(*x); }
  static Sum add_product(Sum sum, Weights w, Inputs x) { return _mm512_fmadd_ps(w, x, sum); }
};

struct F16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) {
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
  }
};

struct Bf16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) {
    const __m256i bits = _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
};

// vpmaddubsw would saturate at 255 * 127 * 2. So both sides are split into even and odd columns of 16
// bits, where two products of 255 * 128 add up exactly in 32.
struct I8 {
  struct Pairs {
    __m512i even, odd;
  };
  using Stored = int8_t;
  using Input = uint8_t;
  using Lane = int32_t;
  using Sum = __m512i;
  using Weights = Pairs;
  using Inputs = Pairs;
  static constexpr int kDepth = 4, kPanels = 2, kTokens = 6;

  static Sum zero() { return _mm512_setzero_si512(); }
  static Sum load_sum(const int32_t* from) { return _mm512_loadu_si512(from); }
  static void store_sum(int32_t* to, Sum sum) { _mm512_storeu_si512(to, sum); }
  static Weights load(const int8_t* from) {
    const __m512i w = _mm512_load_si512(from);
    return {_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), _mm512_srai_epi16(w, 8)};
  }
  static Inputs spread(const uint8_t* x) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    const __m512i codes = _mm512_set1_epi32(four);
    return {_mm512_and_si512(codes, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(codes, 8)};
  }
  static Sum add_product(Sum sum, const Weights& w, const Inputs& x) {
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(w.even, x.even));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(w.odd, x.odd));
  }
};

// The codes of the weight are unsigned here, those of the inputs signed.
struct I8InGroups : I8 {
  using Stored = uint8_t;
  using Input = int8_t;

  static Sum open(int32_t minus_sum) { return _mm512_set1_epi32(128 * minus_sum); }
  static Weights load(const uint8_t* from) {
    const __m512i w = _mm512_load_si512(from);
    return {_mm512_and_si512(w, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(w, 8)};
  }
  static Inputs spread(const int8_t* x) {
    const __m512i codes = spread_four(x);
    return {_mm512_srai_epi16(_mm512_slli_epi16(codes, 8), 8), _mm512_srai_epi16(codes, 8)};
  }
  static void add_scaled(Sum sum, float scale, float* total) {
    _mm512_store_ps(total, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale),
                                           _mm512_load_ps(total)));
  }
};

// vpmaddubsw cannot saturate here: 2 * 15 * 128, and eight of them still fit 16 bits.
template <class Scales>
struct I4 : Int4In512<Scales> {
  using Base = Int4In512<Scales>;
  using Ints = typename Base::Ints;
  using Codes = typename Base::Codes;
  using Partial = __m512i;
  static constexpr int kPanels = 2, kTokens = 4, kFewTokens = 16;

  // Both fit 16 bits: at most 15, and 32 * 128.
  static Ints offset(Ints sum, Ints zeros, int32_t minus_sum) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(zeros, _mm512_set1_epi32(minus_sum)));
  }
  static Partial open(Ints) { return _mm512_setzero_si512(); }
  static Partial add(Partial sum, const Codes& w, const int8_t* x) {
    sum = _mm512_add_epi16(sum, _mm512_maddubs_epi16(w.first, spread_four(x)));
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(w.second, spread_four(x + 4)));
  }
  static Ints close(Ints sum, Partial partial) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(partial, _mm512_set1_epi16(1)));
  }
};

// vpmaddubsw cannot saturate here, and what adds up in 16 bits fits them, down to 16 * 255 * -8 of 32 columns, or
// to 8 * 255 * -15 of 16 where zero points are taken away.
template <bool Zeros>
struct Expanded : ExpandedIn512 {
  using Partial = __m512i;
  static constexpr int64_t kExact = Zeros ? 16 : 32;
  static constexpr bool kOnce = false;

  static Partial open(Ints) { return _mm512_setzero_si512(); }
  static Partial add(Partial sum, Bytes w, __m512i x) {
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(x, w));
  }
  static Ints close(Ints sum, Partial partial) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(partial, _mm512_set1_epi16(1)));
  }
};

// Unsigned bytes in 16 bits, even columns and odd ones, meet the same columns of an input: 255 * 32639 twice fit 32.
struct Wide : WideIn512 {
  struct Weights {
    __m512i even, odd;
  };
  using Sums = __m512i;
  using Kept = uint16_t;
  // 8 sums, 8 totals, 4 weights and 1 input of the 32 registers.
  static constexpr int kPanelTokens = 8, kFewTokens = 32, kPanels = 2, kTokens = 4, kKept = 64;
  static constexpr bool kHoldsTotals = true;

  static Weights widen(Line bytes) {
    return {_mm512_and_si512(bytes, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(bytes, 8)};
  }
  static void keep(Kept* to, const Weights& w) {
    _mm512_store_si512(to, w.even);
    _mm512_store_si512(to + 32, w.odd);
  }
  static Weights load_kept(const Kept* from) { return {_mm512_load_si512(from), _mm512_load_si512(from + 32)}; }
  static void hold(Weights& w) { asm("" : "+v"(w.even), "+v"(w.odd)); }

  static Sums open(int32_t first) { return _mm512_set1_epi32(first); }
  static Sums add(Sums sum, const Weights& w, const int8_t* x) {
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(w.even, spread_four(x)));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(w.odd, spread_four(x + 4)));
  }
  static Floats close(Sums sum) { return _mm512_cvtepi32_ps(sum); }
};

#include "kernels/linear/widen.inc.h"
#include "kernels/linear/tile.inc.h"
#include "kernels/linear/quantize_512.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/wide.inc.h"
#include "kernels/linear/expanded.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/trellis.inc.h"
#include "kernels/linear/trellis_sums.inc.h"
#include "kernels/linear/trellis_512.inc.h"

// vpmaddubsw cannot saturate here: of levels, 2 * 31 * 128, or less the middle one with inputs as q + 128, 2 * 255 * 16;
// and both fit 16 bits twice.
struct Trellis : TrellisIn512 {
  using Input = uint8_t;
  static constexpr int kTokens = 8, kFewTokens = 4, kLines = 3;
  static constexpr bool kOffsets = true;

  static const uint8_t* inputs(const LinearTask& task) { return task.codes; }
  static void keep(char* to, const Words& first, const Words& second, const Words& steps) {
    const __m512i middle = _mm512_set1_epi8(kTrellisMiddle);
    _mm512_store_si512(to, _mm512_sub_epi8((__m512i)first, middle));
    _mm512_store_si512(to + kLine, _mm512_sub_epi8((__m512i)second, middle));
    _mm512_store_si512(to + 2 * kLine, (__m512i)steps);
  }
  // What is too much with inputs as q + 128.
  static Words offset(const Words& first, const Words& second, const Words& steps) {
    const __m512i sums = _mm512_maddubs_epi16(_mm512_add_epi8((__m512i)first, (__m512i)second), _mm512_set1_epi8(1));
    const __m512i levels = _mm512_sub_epi16(sums, _mm512_set1_epi16(4 * kTrellisMiddle));
    return (Words)_mm512_slli_epi32(_mm512_sub_epi32(none(), _mm512_madd_epi16(levels, (__m512i)steps)), 7);
  }
  static Sum open(const int32_t* offsets, int32_t) { return _mm512_load_si512(offsets); }
  static Sum add_products(Sum sum, __m512i first, __m512i second, __m512i steps) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_add_epi16(first, second), steps));
  }
  template <int T>
  [[gnu::always_inline]] static void add_kept(const char* lines, const uint8_t* x, int64_t x_stride,
                                              Sum (&sum)[T][kParts]) {
    const __m512i first = _mm512_load_si512(lines), second = _mm512_load_si512(lines + kLine);
    const __m512i steps = _mm512_load_si512(lines + 2 * kLine);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      sum[t][0] = add_products(sum[t][0], _mm512_maddubs_epi16(spread_four(x + t * x_stride), first),
                               _mm512_maddubs_epi16(spread_four(x + t * x_stride + 4), second), steps);
  }

  // For columns 0, 1, 4, 5 and 2, 3, 6, 7 of a block.
  static void corrections(const int8_t* x, int64_t blocks, int32_t* to) {
    sum_blocks(x, blocks, to, [](__m128i halves) { return halves; });
  }
  static Sum add(Sum sum, const Words& first, const Words& second, __m512i steps, const int8_t* x, int32_t correction) {
    const __m512i low = _mm512_maddubs_epi16((__m512i)first, spread_four(x));
    const __m512i high = _mm512_maddubs_epi16((__m512i)second, spread_four(x + 4));
    return add_products(sum, _mm512_sub_epi16(low, _mm512_set1_epi32(correction)), high, steps);
  }
};

template <class Op>
void multiply_int4(const LinearTask& task) {
  task.zeros ? multiply_int4<Op, Expanded<true>>(task) : multiply_int4<Op, Expanded<false>>(task);
}

}  // namespace

void linear_f32_avx512(const LinearTask& task) { multiply<F32>(task, task.x, task.x_stride); }
void linear_f16_avx512(const LinearTask& task) { multiply<F16>(task, task.x, task.x_stride); }
void linear_bf16_avx512(const LinearTask& task) { multiply<Bf16>(task, task.x, task.x_stride); }
void linear_i8_avx512(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<I8InGroups>(task)
                : multiply<I8>(task, task.codes, task.code_stride);
}
void linear_i4_avx512(const LinearTask& task) {
  task.bf16_scales ? multiply_int4<I4<Bf16Scales>>(task) : multiply_int4<I4<F16Scales>>(task);
}
void linear_t4_avx512(const LinearTask& task) { multiply_trellis<Trellis>(task); }
void linear_b8_avx512(const LinearTask& task) { multiply_wide<Wide, WideBytes<Wide>>(task); }
void linear_b6_avx512(const LinearTask& task) { multiply_wide<Wide, WideSixes<Wide>>(task); }
void linear_b4_avx512(const LinearTask& task) { multiply_wide<Wide, WideNibbles<Wide>>(task); }

void quantize_avx512(const QuantizeTask& task) { quantize_512(task); }
void widen_words_avx512(const WidenTask& task) { widen<false>(task); }
void widen_digits_avx512(const WidenTask& task) { widen<true>(task); }

}  // namespace lichen
