// The linear kernels in 256 bits: a panel of 16 rows is two registers.
#include <immintrin.h>

#include "kernels/linear/kernel.h"

namespace lichen {
namespace {

#include "kernels/linear/int4_256.inc.h"

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

// vpmaddubsw would saturate at 255 * 127 * 2. So both sides are split into even and odd columns of 16
// bits, where two products of 255 * 128 add up exactly in 32.
struct I8 {
  struct Split {
    IntPair even, odd;
  };
  using Stored = int8_t;
  using Input = uint8_t;
  using Lane = int32_t;
  using Sum = IntPair;
  using Weights = Split;
  struct Inputs {
    __m256i even, odd;
  };
  static constexpr int kDepth = 4, kPanels = 1, kTokens = 4;

  static Sum zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Sum load_sum(const int32_t* from) { return {load_vector(from), load_vector(from + 8)}; }
  static void store_sum(int32_t* to, Sum sum) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sum.low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), sum.high);
  }
  static __m256i even(__m256i w) { return _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8); }
  static __m256i odd(__m256i w) { return _mm256_srai_epi16(w, 8); }
  static Weights load(const int8_t* from) {
    const __m256i low = load_vector(from), high = load_vector(from + 32);
    return {{even(low), even(high)}, {odd(low), odd(high)}};
  }
  static Inputs spread(const uint8_t* x) {
    const __m256i codes = spread_four(x);
    return {_mm256_and_si256(codes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(codes, 8)};
  }
  static __m256i add(__m256i sum, __m256i even_w, __m256i odd_w, const Inputs& x) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even_w, x.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(odd_w, x.odd));
  }
  static Sum add_product(Sum sum, const Weights& w, const Inputs& x) {
    return {add(sum.low, w.even.low, w.odd.low, x), add(sum.high, w.even.high, w.odd.high, x)};
  }
};

// The codes of the weight are unsigned here, those of the inputs signed.
struct I8InGroups : I8 {
  using Stored = uint8_t;
  using Input = int8_t;

  static Sum open(int32_t minus_sum) {
    const __m256i offset = _mm256_set1_epi32(128 * minus_sum);
    return {offset, offset};
  }
  static __m256i low_bytes(__m256i w) { return _mm256_and_si256(w, _mm256_set1_epi16(0xff)); }
  static Weights load(const uint8_t* from) {
    const __m256i low = load_vector(from), high = load_vector(from + 32);
    return {{low_bytes(low), low_bytes(high)}, {_mm256_srli_epi16(low, 8), _mm256_srli_epi16(high, 8)}};
  }
  static Inputs spread(const int8_t* x) {
    const __m256i codes = spread_four(x);
    return {even(codes), odd(codes)};
  }
  static void add_scaled(const Sum& sum, float scale, float* total) {
    const __m256 spread = _mm256_set1_ps(scale);
    _mm256_store_ps(total, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.low), spread, _mm256_load_ps(total)));
    _mm256_store_ps(total + 8,
                    _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.high), spread, _mm256_load_ps(total + 8)));
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
template <bool Zeros>
struct Expanded : ExpandedIn256 {
  using Partial = IntPair;
  static constexpr int kTokens = 5;
  static constexpr int64_t kExact = Zeros ? 16 : 32;

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

struct Blocks {
  using Floats = FloatPair;

  static Floats nothing() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Floats load_floats(const char* from) {
    return {_mm256_loadu_ps(reinterpret_cast<const float*>(from)),
            _mm256_loadu_ps(reinterpret_cast<const float*>(from + 32))};
  }
  static Floats load_scales(const char* from, ScaleType type) {
    if (type == ScaleType::f32) return load_floats(from);
    const auto* halves = reinterpret_cast<const __m128i*>(from);
    const __m128i low = _mm_loadu_si128(halves), high = _mm_loadu_si128(halves + 1);
    return type == ScaleType::f16 ? FloatPair{F16Scales::widen(low), F16Scales::widen(high)}
                                  : FloatPair{Bf16Scales::widen(low), Bf16Scales::widen(high)};
  }
  static __m256i load_vector(const char* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static void scale_and_store(__m256i code, __m256 scale, __m256 shift, float* out) {
    _mm256_store_ps(out, _mm256_fmadd_ps(_mm256_cvtepi32_ps(code), scale, shift));
  }
};

struct Bytes : Blocks {
  static constexpr int kColumns = 4;

  static void column(const char* from, const Floats& scale, const Floats& shift, float* out) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    scale_and_store(_mm256_cvtepi8_epi32(codes), scale.low, shift.low, out);
    scale_and_store(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)), scale.high, shift.high, out + 8);
  }
  static void expand(const char* from, const Floats& scale, const Floats& shift, bool, float* out) {
    for (int k = 0; k < kColumns; ++k) column(from + 16 * k, scale, shift, out + 16 * k);
  }
};

struct Nibbles : Blocks {
  static constexpr int kColumns = 8;

  template <int Bits>
  static __m256i column(__m256i codes, __m256i lowest) {
    const __m256i code = _mm256_and_si256(_mm256_srli_epi32(codes, Bits), _mm256_set1_epi32(15));
    return _mm256_add_epi32(code, lowest);
  }
  static void expand_half(__m256i codes, __m256i lowest, __m256 scale, __m256 shift, float* out) {
    scale_and_store(column<0>(codes, lowest), scale, shift, out);
    scale_and_store(column<8>(codes, lowest), scale, shift, out + 16);
    scale_and_store(column<16>(codes, lowest), scale, shift, out + 32);
    scale_and_store(column<24>(codes, lowest), scale, shift, out + 48);
    scale_and_store(column<4>(codes, lowest), scale, shift, out + 64);
    scale_and_store(column<12>(codes, lowest), scale, shift, out + 80);
    scale_and_store(column<20>(codes, lowest), scale, shift, out + 96);
    scale_and_store(column<28>(codes, lowest), scale, shift, out + 112);
  }
  static void expand(const char* from, const Floats& scale, const Floats& shift, bool from_zero,
                     float* out) {
    const __m256i lowest = _mm256_set1_epi32(from_zero ? 0 : -8);
    expand_half(load_vector(from), lowest, scale.low, shift.low, out);
    expand_half(load_vector(from + 32), lowest, scale.high, shift.high, out + 8);
  }
};

#include "kernels/linear/quantize.inc.h"
#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/blocks.inc.h"
#include "kernels/linear/expanded.inc.h"
#include "kernels/linear/input_groups.inc.h"

template <class Op>
void multiply_int4(const LinearTask& task) {
  task.zeros ? multiply_int4<Op, Expanded<true>>(task) : multiply_int4<Op, Expanded<false>>(task);
}

}  // namespace

void linear_f32_avx2(const LinearTask& task) { multiply<F32>(task, task.x, task.x_stride); }
void linear_f16_avx2(const LinearTask& task) { multiply<F16>(task, task.x, task.x_stride); }
void linear_bf16_avx2(const LinearTask& task) { multiply<Bf16>(task, task.x, task.x_stride); }
void linear_i8_avx2(const LinearTask& task) {
  task.x_groups ? multiply_input_groups<I8InGroups>(task)
                : multiply<I8>(task, task.codes, task.code_stride);
}
void linear_i4_avx2(const LinearTask& task) {
  task.bf16_scales ? multiply_int4<I4<Bf16Scales>>(task) : multiply_int4<I4<F16Scales>>(task);
}
void linear_b8_avx2(const LinearTask& task) { multiply_blocks<Bytes, F32>(task); }
void linear_b4_avx2(const LinearTask& task) { multiply_blocks<Nibbles, F32>(task); }

void quantize_avx2(const QuantizeTask& task) { quantize(task); }

}  // namespace lichen
