// int8 and int4 in 256 bits with AVX-VNNI: vpdpbusd in its VEX form, which processors without AVX512 have.
#include <immintrin.h>

#include "kernels/linear/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/linear/int4_256.inc.h"
#include "kernels/linear/wide_256.inc.h"

struct I8 {
  using Stored = int8_t;
  using Input = uint8_t;
  using Lane = int32_t;
  using Sum = IntPair;
  using Weights = IntPair;
  using Inputs = __m256i;
  // 12 sums, 2 weights and 1 input of the 16 registers.
  static constexpr int kDepth = 4, kPanels = 1, kTokens = 6;

  static Sum zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Sum load_sum(const int32_t* from) { return {load_vector(from), load_vector(from + 8)}; }
  static void store_sum(int32_t* to, const Sum& sum) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), sum.high);
  }
  static Weights load(const int8_t* from) { return {load_vector(from), load_vector(from + 32)}; }
  static Inputs spread(const uint8_t* x) { return spread_four(x); }
  static Sum add_product(const Sum& sum, const Weights& w, Inputs x) {
    return {_mm256_dpbusd_avx_epi32(sum.low, x, w.low), _mm256_dpbusd_avx_epi32(sum.high, x, w.high)};
  }
};

// The codes of the weight are unsigned here, those of the inputs signed.
struct I8InGroups : I8 {
  using Input = int8_t;

  static Sum open(int32_t minus_sum) {
    const __m256i offset = _mm256_set1_epi32(128 * minus_sum);
    return {offset, offset};
  }
  static Inputs spread(const int8_t* x) { return spread_four(x); }
  static Sum add_product(const Sum& sum, const Weights& w, Inputs x) {
    return {_mm256_dpbusd_avx_epi32(sum.low, w.low, x), _mm256_dpbusd_avx_epi32(sum.high, w.high, x)};
  }
  static void add_scaled(const Sum& sum, float scale, float* total) {
    const __m256 spread = _mm256_set1_ps(scale);
    _mm256_store_ps(total, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.low), spread, _mm256_load_ps(total)));
    _mm256_store_ps(total + 8,
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.high), spread, _mm256_load_ps(total + 8)));
  }
};

template <class Scales>
struct I4 : Int4In256<Scales> {
  using Base = Int4In256<Scales>;
  using Ints = typename Base::Ints;
  using Codes = typename Base::Codes;
  using Partial = Ints;
  // 10 sums, 4 codes and 1 input; the totals of earlier groups wait in memory.
  static constexpr int kPanels = 1, kTokens = 5, kFewTokens = 16;

  // Both fit 16 bits: at most 15, and 32 * 128.
  static Ints offset(const Ints& sum, const Ints& zeros, int32_t minus_sum) {
    const __m256i minus = _mm256_set1_epi32(minus_sum);
    return {_mm256_dpwssd_avx_epi32(sum.low, zeros.low, minus),
            _mm256_dpwssd_avx_epi32(sum.high, zeros.high, minus)};
  }
  static Partial open(const Ints& sum) { return sum; }
  static Partial add_four(const Partial& sum, const IntPair& w, const int8_t* x) {
    const __m256i in = spread_four(x);
    return {_mm256_dpbusd_avx_epi32(sum.low, w.low, in), _mm256_dpbusd_avx_epi32(sum.high, w.high, in)};
  }
  static Partial add(const Partial& sum, const Codes& w, const int8_t* x) {
    return add_four(add_four(sum, w.first, x), w.second, x + 4);
  }
  static Ints close(const Ints&, const Partial& partial) { return partial; }
};

struct Expanded : ExpandedIn256 {
  using Partial = Ints;
  static constexpr int kTokens = 6;  // 12 sums, 2 weights and 1 input
  static constexpr int64_t kExact = 0;
  static constexpr bool kOnce = true;

  static Partial open(const Ints& sum) { return sum; }
  static Partial add(const Partial& sum, const Bytes& w, __m256i x) {
    return {_mm256_dpbusd_avx_epi32(sum.low, x, w.low), _mm256_dpbusd_avx_epi32(sum.high, x, w.high)};
  }
  static Ints close(const Ints&, const Partial& partial) { return partial; }
};

// Unsigned bytes meet the upper digits of an input, and its lower ones.
struct Wide : WideIn256 {
  using Weights = IntPair;
  struct Sums {
    IntPair upper, lower;
  };
  using Kept = int8_t;
  // 12 sums, 2 weights and 1 input of the 16 registers.
  static constexpr int kPanelTokens = 3, kFewTokens = 12, kPanels = 1, kTokens = 3, kKept = 64;

  static Weights widen(const Line& bytes) { return bytes; }
  static void keep(Kept* to, const Weights& w) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), w.low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + 32), w.high);
  }
  static Weights load_kept(const Kept* from) { return {load_vector(from), load_vector(from + 32)}; }
  static void hold(Weights& w) { asm("" : "+x"(w.low), "+x"(w.high)); }

  static Sums open(int32_t first) { return {none(), {_mm256_set1_epi32(first), _mm256_set1_epi32(first)}}; }
  static IntPair add(const IntPair& sum, const Weights& w, __m256i x) {
    return {_mm256_dpbusd_avx_epi32(sum.low, w.low, x), _mm256_dpbusd_avx_epi32(sum.high, w.high, x)};
  }
  static Sums add(const Sums& sum, const Weights& w, const int8_t* x) {
    return {add(sum.upper, w, spread_four(x)), add(sum.lower, w, spread_four(x + 4))};
  }
  static Floats close(const Sums& sum) {
    return floats({_mm256_add_epi32(_mm256_slli_epi32(sum.upper.low, 8), sum.lower.low),
                   _mm256_add_epi32(_mm256_slli_epi32(sum.upper.high, 8), sum.lower.high)});
  }
};

#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/expanded.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/wide.inc.h"
#include "kernels/linear/trellis.inc.h"
#include "kernels/linear/trellis_sums.inc.h"
#include "kernels/linear/trellis_256.inc.h"

// Few tokens meet levels, whose sums of a block fit 16 bits and meet its steps there; more meet weights as code + 128.
struct Trellis : TrellisIn256 {
  using Input = int8_t;
  static constexpr int kTokens = 5, kFewTokens = 3, kLines = 2;
  static constexpr bool kOffsets = false;

  static const int8_t* inputs(const LinearTask& task) { return task.signed_codes; }
  static void keep(char* to, const Words& first, const Words& second, const Words& steps) {
    keep_bytes<L, 128>(to, first, second, steps);
  }
  static Sum open(const int32_t*, int32_t minus_sum) { return _mm256_set1_epi32(128 * minus_sum); }
  template <int T>
  [[gnu::always_inline]] static void add_kept(const char* lines, const int8_t* x, int64_t x_stride,
                                              Sum (&sum)[T][kParts]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half, lines += kLine, x += 4) {
      const __m256i w[kParts] = {load_vector(lines), load_vector(lines + 32)};
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const __m256i in = spread_four(x + t * x_stride);
#pragma GCC unroll 2
        for (int p = 0; p < kParts; ++p) sum[t][p] = _mm256_dpbusd_avx_epi32(sum[t][p], w[p], in);
      }
    }
  }

  static void corrections(const int8_t* x, int64_t blocks, int32_t* to) {
    sum_blocks(x, blocks, to, [](__m128i halves) { return _mm_madd_epi16(halves, _mm_set1_epi16(-1)); });
  }
  static Sum add(Sum sum, const Words& first, const Words& second, __m256i steps, const int8_t* x, int32_t correction) {
    const __m256i low = _mm256_dpbusd_avx_epi32(_mm256_set1_epi32(correction), (__m256i)first, spread_four(x));
    const __m256i both = _mm256_dpbusd_avx_epi32(low, (__m256i)second, spread_four(x + 4));
    // The upper half of a lane of sums is its sign alone, so it must meet nothing.
    return _mm256_dpwssd_avx_epi32(sum, both, _mm256_and_si256(steps, _mm256_set1_epi32(0xffff)));
  }
};

}  // namespace

void linear_i8_avx_vnni(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<I8InGroups>(task)
                : multiply<I8>(task, task.codes, task.code_stride);
}
void linear_i4_avx_vnni(const LinearTask& task) {
  task.bf16_scales ? multiply_int4<I4<Bf16Scales>, Expanded>(task) : multiply_int4<I4<F16Scales>, Expanded>(task);
}
void linear_t4_avx_vnni(const LinearTask& task) { multiply_trellis<Trellis>(task); }
void linear_b8_avx_vnni(const LinearTask& task) { multiply_wide<Wide, WideBytes<Wide>>(task); }
void linear_b6_avx_vnni(const LinearTask& task) { multiply_wide<Wide, WideSixes<Wide>>(task); }
void linear_b4_avx_vnni(const LinearTask& task) { multiply_wide<Wide, WideNibbles<Wide>>(task); }

}  // namespace lichen
