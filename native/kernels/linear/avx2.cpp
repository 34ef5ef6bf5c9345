// The linear kernels in 256 bits: a panel of 16 rows is two registers.
#include <immintrin.h>

#include "kernels/linear/kernel.h"
#include "kernels/vector/spread.h"

namespace lichen {
namespace {

#include "kernels/linear/int4_256.inc.h"
#include "kernels/linear/wide_256.inc.h"
#include "kernels/linear/tile.inc.h"

struct F32 {
  using Stored = float;
  using Input = float;
  using Lane = float;
  using Sum = FloatPair;
  using Weights = FloatPair;
  using Inputs = __m256;
  static constexpr int kDepth = 1, kPanels = 1, kTokens = 6;

  static Sum zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Sum load_sum(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static void store_sum(float* to, Sum sum) {
    _mm256_storeu_ps(to, sum.low);
    _mm256_storeu_ps(to + 8, sum.high);
  }
  static Weights load(const float* from) { return load_sum(from); }
  static Inputs spread(const float* x) { return _mm256_set1_ps(*x); }
  static Sum add_product(Sum sum, Weights w, Inputs x) {
    return {_mm256_fmadd_ps(w.low, x, sum.low), _mm256_fmadd_ps(w.high, x, sum.high)};
  }
};

__m128i load_half(const uint16_t* from) {
  return _mm_load_si128(reinterpret_cast<const __m128i*>(from));
}

struct F16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) {
    return {_mm256_cvtph_ps(load_half(from)), _mm256_cvtph_ps(load_half(from + 8))};
  }
};

struct Bf16 : F32 {
  using Stored = uint16_t;
  static Weights load(const uint16_t* from) {
    return {widen_bf16(load_half(from)), widen_bf16(load_half(from + 8))};
  }
};

// A line of bytes in 16 bits, even columns and odd ones apart; in memory 64 elements.
struct Parted {
  IntPair even, odd;

  template <class Element>
  void store(Element* to) const {
    auto* lines = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(lines, even.low);
    _mm256_store_si256(lines + 1, even.high);
    _mm256_store_si256(lines + 2, odd.low);
    _mm256_store_si256(lines + 3, odd.high);
  }
  template <class Element>
  static Parted load(const Element* from) {
    return {{load_vector(from), load_vector(from + 16)}, {load_vector(from + 32), load_vector(from + 48)}};
  }
};

// vpmaddubsw would saturate at 255 * 127 * 2. So both sides are 16 bits wide, even columns and odd ones apart, where
// two products of 128 * 128 add up exactly in 32.
struct I8 {
  using Stored = int8_t;
  using Input = int16_t;
  using Lane = SignedSum;
  using Sum = IntPair;
  using Weights = Parted;
  struct Inputs {
    __m256i even, odd;
  };
  static constexpr int kDepth = 4, kPanels = 1, kTokens = 4;

  static Sum zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Sum load_sum(const SignedSum* from) { return {load_vector(from), load_vector(from + 8)}; }
  static void store_sum(SignedSum* to, const Sum& sum) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), sum.high);
  }
  static __m256i even(__m256i w) { return _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8); }
  static __m256i odd(__m256i w) { return _mm256_srai_epi16(w, 8); }
  static Weights load(const int8_t* from) {
    const __m256i low = load_vector(from), high = load_vector(from + 32);
    return {{even(low), even(high)}, {odd(low), odd(high)}};
  }
  static Inputs spread(const int16_t* words) { return {spread_four(words), spread_four(words + 2)}; }
  static __m256i add(__m256i sum, __m256i even_w, __m256i odd_w, const Inputs& x) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even_w, x.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(odd_w, x.odd));
  }
  static Sum add_product(const Sum& sum, const Weights& w, const Inputs& x) {
    return {add(sum.low, w.even.low, w.odd.low, x), add(sum.high, w.even.high, w.odd.high, x)};
  }

  // Of a group of inputs that share a scale.
  static Sum open(int32_t) { return zero(); }
  static void add_scaled(const Sum& sum, float scale, float* total) {
    const __m256 spread = _mm256_set1_ps(scale);
    _mm256_store_ps(total, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.low), spread, _mm256_load_ps(total)));
    _mm256_store_ps(total + 8,
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.high), spread, _mm256_load_ps(total + 8)));
  }
};

// The same weights, parted once for many tokens.
struct PartedI8 : I8 {
  using Stored = int16_t;

  static Weights load(const int16_t* from) { return Parted::load(from); }
};

template <>
struct Source<PartedI8> {
  using Packed = I8;
  alignas(64) int16_t parted[kMostBlockBytes];  // stays in the nearest cache for all tiles

  const char* take(const char* packed, int64_t steps, bool first) {
    constexpr int64_t kStep = kRows * I8::kDepth;
    const auto* codes = reinterpret_cast<const int8_t*>(packed);
    for (int64_t at = 0; first && at < steps * kStep; at += kStep) I8::load(codes + at).store(parted + at);
    return reinterpret_cast<const char*>(parted);
  }
};

// vpmaddubsw cannot saturate here: 2 * 15 * 128, and eight of them still fit 16 bits.
template <class Scales>
struct I4 : Int4In256<Scales> {
  using Base = Int4In256<Scales>;
  using Ints = typename Base::Ints;
  using Codes = typename Base::Codes;
  using Partial = IntPair;
  static constexpr int kPanels = 1, kTokens = 4, kFewTokens = 16;

  // Both fit 16 bits: at most 15, and 32 * 128.
  static Ints offset(const Ints& sum, const Ints& zeros, int32_t minus_sum) {
    const __m256i minus = _mm256_set1_epi32(minus_sum);
    return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(zeros.low, minus)),
            _mm256_add_epi32(sum.high, _mm256_madd_epi16(zeros.high, minus))};
  }
  static Partial open(const Ints&) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Partial add_four(const Partial& sum, const IntPair& w, const int8_t* x) {
    const __m256i in = spread_four(x);
    return {_mm256_add_epi16(sum.low, _mm256_maddubs_epi16(w.low, in)),
            _mm256_add_epi16(sum.high, _mm256_maddubs_epi16(w.high, in))};
  }
  static Partial add(const Partial& sum, const Codes& w, const int8_t* x) {
    return add_four(add_four(sum, w.first, x), w.second, x + 4);
  }
  static Ints close(const Ints& sum, const Partial& partial) {
    const __m256i ones = _mm256_set1_epi16(1);
    return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(partial.low, ones)),
            _mm256_add_epi32(sum.high, _mm256_madd_epi16(partial.high, ones))};
  }
};

// vpmaddubsw cannot saturate here, and what adds up in 16 bits fits them, down to 16 * 255 * -8 of 32 columns, or
// to 8 * 255 * -15 of 16 where zero points are taken away.
template <bool Zeros, bool Once>
struct Expanded : ExpandedIn256 {
  using Partial = IntPair;
  static constexpr int kTokens = 5;
  static constexpr int64_t kExact = Zeros ? 16 : 32;
  static constexpr bool kOnce = Once;

  static Partial open(const Ints&) { return none(); }
  // As assembly, or gcc would put off all additions to the end, and the products would not fit the registers.
  static void add(__m256i& sum, __m256i w, __m256i x) {
    __m256i products;
    asm("vpmaddubsw %2, %3, %1\n\tvpaddw %1, %0, %0" : "+x"(sum), "=&x"(products) : "x"(w), "x"(x));
  }
  static Partial add(Partial sum, const Bytes& w, __m256i x) {
    add(sum.low, w.low, x);
    add(sum.high, w.high, x);
    return sum;
  }
  static Ints close(const Ints& sum, const Partial& partial) { return I4<F16Scales>::close(sum, partial); }
};

// Unsigned bytes in 16 bits, even columns and odd ones, meet the same columns of an input: 255 * 32639 twice fit 32.
struct Wide : WideIn256 {
  using Weights = Parted;
  using Sums = IntPair;
  using Kept = uint16_t;
  // 6 sums, 4 weights, 1 input and what is between of the 16 registers.
  static constexpr int kPanelTokens = 3, kFewTokens = 6, kPanels = 1, kTokens = 3, kKept = 64;

  static IntPair even(const Line& w) {
    const __m256i mask = _mm256_set1_epi16(0xff);
    return {_mm256_and_si256(w.low, mask), _mm256_and_si256(w.high, mask)};
  }
  static Weights widen(const Line& bytes) {
    return {even(bytes), {_mm256_srli_epi16(bytes.low, 8), _mm256_srli_epi16(bytes.high, 8)}};
  }
  static void keep(Kept* to, const Weights& w) { w.store(to); }
  static Weights load_kept(const Kept* from) { return Parted::load(from); }
  static void hold(Weights& w) { asm("" : "+x"(w.even.low), "+x"(w.even.high), "+x"(w.odd.low), "+x"(w.odd.high)); }

  static Sums open(int32_t first) { return {_mm256_set1_epi32(first), _mm256_set1_epi32(first)}; }
  static Sums add_two(const Sums& sum, const IntPair& w, const int8_t* x) {
    const __m256i in = spread_four(x);
    return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(w.low, in)),
            _mm256_add_epi32(sum.high, _mm256_madd_epi16(w.high, in))};
  }
  static Sums add(const Sums& sum, const Weights& w, const int8_t* x) {
    return add_two(add_two(sum, w.even, x), w.odd, x + 4);
  }
  static Floats close(const Sums& sum) { return floats(sum); }
};

#include "kernels/linear/widen.inc.h"
#include "kernels/linear/quantize.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/wide.inc.h"
#include "kernels/linear/expanded.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/trellis.inc.h"
#include "kernels/linear/trellis_sums.inc.h"
#include "kernels/linear/trellis_256.inc.h"

// vpmaddubsw cannot saturate here: of levels, 2 * 31 * 128, or less the middle one with inputs as q + 128, 2 * 255 * 16;
// and both fit 16 bits twice.
struct Trellis : TrellisIn256 {
  using Input = uint8_t;
  static constexpr int kTokens = 4, kFewTokens = 3, kLines = 3;
  static constexpr bool kOffsets = true;

  static const uint8_t* inputs(const LinearTask& task) { return task.codes; }
  static void keep(char* to, const Words& first, const Words& second, const Words& steps) {
    const __m256i middle = _mm256_set1_epi8(kTrellisMiddle);
    auto* lines = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(lines, _mm256_sub_epi8((__m256i)first, middle));
    _mm256_store_si256(lines + 2, _mm256_sub_epi8((__m256i)second, middle));
    _mm256_store_si256(lines + 4, (__m256i)steps);
  }
  // What is too much with inputs as q + 128.
  static Words offset(const Words& first, const Words& second, const Words& steps) {
    const __m256i levels = _mm256_sub_epi16(
        _mm256_maddubs_epi16(_mm256_add_epi8((__m256i)first, (__m256i)second), _mm256_set1_epi8(1)), _mm256_set1_epi16(64));
    return (Words)_mm256_slli_epi32(_mm256_sub_epi32(none(), _mm256_madd_epi16(levels, (__m256i)steps)), 7);
  }
  static Sum open(const int32_t* offsets, int32_t) { return load_vector(offsets); }
  static Sum add_products(Sum sum, __m256i first, __m256i second, __m256i steps) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(first, second), steps));
  }
  template <int T>
  [[gnu::always_inline]] static void add_kept(const char* lines, const uint8_t* x, int64_t x_stride,
                                              Sum (&sum)[T][kParts]) {
#pragma GCC unroll 2
    for (int p = 0; p < kParts; ++p) {
      const char* line = lines + p * 32;
      const __m256i first = load_vector(line), second = load_vector(line + kLine), steps = load_vector(line + 2 * kLine);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        sum[t][p] = add_products(sum[t][p], _mm256_maddubs_epi16(spread_four(x + t * x_stride), first),
                                 _mm256_maddubs_epi16(spread_four(x + t * x_stride + 4), second), steps);
    }
  }

  // For columns 0, 1, 4, 5 and 2, 3, 6, 7 of a block.
  static void corrections(const int8_t* x, int64_t blocks, int32_t* to) {
    sum_blocks(x, blocks, to, [](__m128i halves) { return halves; });
  }
  static Sum add(Sum sum, const Words& first, const Words& second, __m256i steps, const int8_t* x, int32_t correction) {
    const __m256i low = _mm256_maddubs_epi16((__m256i)first, spread_four(x));
    const __m256i high = _mm256_maddubs_epi16((__m256i)second, spread_four(x + 4));
    return add_products(sum, _mm256_sub_epi16(low, _mm256_set1_epi32(correction)), high, steps);
  }
};

template <class Op>
void multiply_int8(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<Op>(task) : multiply<Op>(task, task.words, task.code_stride);
}

template <class Op>
void multiply_int4(const LinearTask& task) {
  if (task.zeros)
    multiply_int4<Op, Expanded<true, false>>(task);
  else if (task.group == Expanded<false, true>::kExact)
    multiply_int4<Op, Expanded<false, true>>(task);
  else
    multiply_int4<Op, Expanded<false, false>>(task);
}

}  // namespace

void linear_f32_avx2(const LinearTask& task) { multiply<F32>(task, task.x, task.x_stride); }
void linear_f16_avx2(const LinearTask& task) { multiply<F16>(task, task.x, task.x_stride); }
void linear_bf16_avx2(const LinearTask& task) { multiply<Bf16>(task, task.x, task.x_stride); }
void linear_i8_avx2(const LinearTask& task) {
  constexpr int64_t kFewTokens = 2 * I8::kTokens;
  task.tokens <= kFewTokens ? multiply_int8<I8>(task) : multiply_int8<PartedI8>(task);
}
void linear_i4_avx2(const LinearTask& task) {
  task.bf16_scales ? multiply_int4<I4<Bf16Scales>>(task) : multiply_int4<I4<F16Scales>>(task);
}
void linear_t4_avx2(const LinearTask& task) { multiply_trellis<Trellis>(task); }
void linear_b8_avx2(const LinearTask& task) { multiply_wide<Wide, WideBytes<Wide>>(task); }
void linear_b6_avx2(const LinearTask& task) { multiply_wide<Wide, WideSixes<Wide>>(task); }
void linear_b4_avx2(const LinearTask& task) { multiply_wide<Wide, WideNibbles<Wide>>(task); }

void quantize_avx2(const QuantizeTask& task) { quantize(task); }
void widen_words_avx2(const WidenTask& task) { widen<false>(task); }
void widen_digits_avx2(const WidenTask& task) { widen<true>(task); }

}  // namespace lichen
