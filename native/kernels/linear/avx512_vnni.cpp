// int8 and int4 in 512 bits with VNNI: vpdpbusd adds four products of u8 and s8 to each int32 lane, exactly.
#include <immintrin.h>

#include "kernels/linear/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/linear/int4_512.inc.h"
#include "kernels/linear/wide_512.inc.h"

struct I8 {
  using Stored = int8_t;
  using Input = uint8_t;
  using Lane = int32_t;
  using Sum = __m512i;
  using Weights = __m512i;
  using Inputs = __m512i;
  static constexpr int kDepth = 4, kPanels = 4, kTokens = 6;

  static Sum zero() { return _mm512_setzero_si512(); }
  static Sum load_sum(const int32_t* from) { return _mm512_loadu_si512(from); }
  static void store_sum(int32_t* to, Sum sum) { _mm512_storeu_si512(to, sum); }
  static Weights load(const int8_t* from) { return _mm512_load_si512(from); }
  static Inputs spread(const uint8_t* x) { return spread_four(x); }
  static Sum add_product(Sum sum, Weights w, Inputs x) { return _mm512_dpbusd_epi32(sum, x, w); }
};

// The codes of the weight are unsigned here, those of the inputs signed.
struct I8InGroups : I8 {
  using Input = int8_t;

  static Sum open(int32_t minus_sum) { return _mm512_set1_epi32(128 * minus_sum); }
  static Inputs spread(const int8_t* x) { return spread_four(x); }
  static Sum add_product(Sum sum, Weights w, Inputs x) { return _mm512_dpbusd_epi32(sum, w, x); }
  static void add_scaled(Sum sum, float scale, float* total) {
    _mm512_store_ps(total, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_set1_ps(scale),
                                           _mm512_load_ps(total)));
  }
};

template <class Scales>
struct I4 : Int4In512<Scales> {
  using Base = Int4In512<Scales>;
  using Ints = typename Base::Ints;
  using Codes = typename Base::Codes;
  using Partial = Ints;
  static constexpr int kPanels = 2, kTokens = 6, kFewTokens = 20;

  // Both fit 16 bits: at most 15, and 32 * 128.
  static Ints offset(Ints sum, Ints zeros, int32_t minus_sum) {
    return _mm512_dpwssd_epi32(sum, zeros, _mm512_set1_epi32(minus_sum));
  }
  static Partial open(Ints sum) { return sum; }
  static Partial add(Partial sum, const Codes& w, const int8_t* x) {
    sum = _mm512_dpbusd_epi32(sum, w.first, spread_four(x));
    return _mm512_dpbusd_epi32(sum, w.second, spread_four(x + 4));
  }
  static Ints close(Ints, Partial partial) { return partial; }
};

struct Expanded : ExpandedIn512 {
  using Partial = Ints;
  static constexpr int64_t kExact = 0;
  static constexpr bool kOnce = true;

  static Partial open(Ints sum) { return sum; }
  static Partial add(Partial sum, Bytes w, __m512i x) { return _mm512_dpbusd_epi32(sum, x, w); }
  static Ints close(Ints, Partial partial) { return partial; }
};

// Unsigned bytes meet the upper digits of an input, and its lower ones.
struct Wide : WideIn512 {
  using Weights = __m512i;
  struct Sums {
    __m512i upper, lower;
  };
  using Kept = int8_t;
  // 16 sums, 8 totals, 2 weights and 2 inputs of the 32 registers.
  static constexpr int kPanelTokens = 8, kFewTokens = 32, kPanels = 2, kTokens = 4, kKept = 64;
  static constexpr bool kHoldsTotals = true;

  static Weights widen(Line bytes) { return bytes; }
  static void keep(Kept* to, Weights w) { _mm512_store_si512(to, w); }
  static Weights load_kept(const Kept* from) { return _mm512_load_si512(from); }
  static void hold(Weights& w) { asm("" : "+v"(w)); }

  static Sums open(int32_t first) { return {_mm512_setzero_si512(), _mm512_set1_epi32(first)}; }
  static Sums add(const Sums& sum, Weights w, const int8_t* x) {
    return {_mm512_dpbusd_epi32(sum.upper, w, spread_four(x)), _mm512_dpbusd_epi32(sum.lower, w, spread_four(x + 4))};
  }
  static Floats close(const Sums& sum) {
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(sum.upper, 8), sum.lower));
  }
};

#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/expanded.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/wide.inc.h"
#include "kernels/linear/trellis.inc.h"
#include "kernels/linear/trellis_sums.inc.h"
#include "kernels/linear/trellis_512.inc.h"

// Few tokens meet levels, whose sums of a block fit 16 bits and meet its steps there; more meet weights as code + 128.
struct Trellis : TrellisIn512 {
  using Input = int8_t;
  static constexpr int kTokens = 12, kFewTokens = 6, kLines = 2;
  static constexpr bool kOffsets = false;

  static const int8_t* inputs(const LinearTask& task) { return task.signed_codes; }
  static void keep(char* to, const Words& first, const Words& second, const Words& steps) {
    keep_bytes<L, 128>(to, first, second, steps);
  }
  static Sum open(const int32_t*, int32_t minus_sum) { return _mm512_set1_epi32(128 * minus_sum); }
  template <int T>
  [[gnu::always_inline]] static void add_kept(const char* lines, const int8_t* x, int64_t x_stride,
                                              Sum (&sum)[T][kParts]) {
    const __m512i first = _mm512_load_si512(lines), second = _mm512_load_si512(lines + kLine);
#pragma GCC unroll 12
    for (int t = 0; t < T; ++t) {
      sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], first, spread_four(x + t * x_stride));
      sum[t][0] = _mm512_dpbusd_epi32(sum[t][0], second, spread_four(x + t * x_stride + 4));
    }
  }

  static void corrections(const int8_t* x, int64_t blocks, int32_t* to) {
    sum_blocks(x, blocks, to, [](__m128i halves) { return _mm_madd_epi16(halves, _mm_set1_epi16(-1)); });
  }
  static Sum add(Sum sum, const Words& first, const Words& second, __m512i steps, const int8_t* x, int32_t correction) {
    const __m512i low = _mm512_dpbusd_epi32(_mm512_set1_epi32(correction), (__m512i)first, spread_four(x));
    const __m512i both = _mm512_dpbusd_epi32(low, (__m512i)second, spread_four(x + 4));
    // The upper half of a lane of sums is its sign alone, so it must meet nothing.
    return _mm512_dpwssd_epi32(sum, both, _mm512_and_si512(steps, _mm512_set1_epi32(0xffff)));
  }
};

}  // namespace

void linear_i8_avx512_vnni(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<I8InGroups>(task)
                : multiply<I8>(task, task.codes, task.code_stride);
}
void linear_i4_avx512_vnni(const LinearTask& task) {
  task.bf16_scales ? multiply_int4<I4<Bf16Scales>, Expanded>(task) : multiply_int4<I4<F16Scales>, Expanded>(task);
}
void linear_t4_avx512_vnni(const LinearTask& task) { multiply_trellis<Trellis>(task); }
void linear_b8_avx512_vnni(const LinearTask& task) { multiply_wide<Wide, WideBytes<Wide>>(task); }
void linear_b6_avx512_vnni(const LinearTask& task) { multiply_wide<Wide, WideSixes<Wide>>(task); }
void linear_b4_avx512_vnni(const LinearTask& task) { multiply_wide<Wide, WideNibbles<Wide>>(task); }

}  // namespace lichen
