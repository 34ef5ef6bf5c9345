// The linear kernels in 256 bits: a panel of 16 rows is two registers.
#include <immintrin.h>

#include "kernels/linear/kernel.h"

namespace lichen {
namespace {

struct FloatPair {
  __m256 low, high;
};

struct IntPair {
  __m256i low, high;
};

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

__m256 widen_bf16(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

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
  static __m256i load_vector(const void* from) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(from));
  }
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
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    const __m256i codes = _mm256_set1_epi32(four);
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

struct F16Scales {
  static __m256 widen(__m128i bits) { return _mm256_cvtph_ps(bits); }
};

struct Bf16Scales {
  static __m256 widen(__m128i bits) { return widen_bf16(bits); }
};

// vpmaddubsw cannot saturate here: 2 * 15 * 128, and eight of them still fit 16 bits.
template <class Scales>
struct I4 {
  using Ints = IntPair;
  using Floats = FloatPair;
  using Partial = IntPair;
  struct Codes {
    IntPair first, second;  // columns 0 to 3 and 4 to 7 of each row
  };
  static constexpr int kPanels = 1, kTokens = 4;

  static __m256i load_vector(const void* from) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(from));
  }
  static Ints none() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Ints eight() { return {_mm256_set1_epi32(8), _mm256_set1_epi32(8)}; }
  static Ints load_zeros(const char* from) {
    const __m128i zeros = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepu8_epi32(zeros), _mm256_cvtepu8_epi32(_mm_srli_si128(zeros, 8))};
  }
  // Both fit 16 bits: at most 15, and 32 * 128.
  static Ints offset(const Ints& sum, const Ints& zeros, int32_t minus_sum) {
    const __m256i minus = _mm256_set1_epi32(minus_sum);
    return {_mm256_add_epi32(sum.low, _mm256_madd_epi16(zeros.low, minus)),
            _mm256_add_epi32(sum.high, _mm256_madd_epi16(zeros.high, minus))};
  }

  static __m256i low_half(__m256i pairs) { return _mm256_and_si256(pairs, _mm256_set1_epi8(15)); }
  static Codes load(const uint8_t* from) {
    const __m256i low = load_vector(from), high = load_vector(from + 32);
    return {{low_half(low), low_half(high)},
            {low_half(_mm256_srli_epi16(low, 4)), low_half(_mm256_srli_epi16(high, 4))}};
  }
  static Partial open(const Ints&) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Partial add_four(const Partial& sum, const IntPair& w, const int8_t* x) {
    int32_t four;
    __builtin_memcpy(&four, x, sizeof four);
    const __m256i in = _mm256_set1_epi32(four);
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

  static Floats nothing() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Floats load_scales(const char* from) {
    const auto* halves = reinterpret_cast<const __m128i*>(from);
    return {Scales::widen(_mm_loadu_si128(halves)), Scales::widen(_mm_loadu_si128(halves + 1))};
  }
  static Floats scale_add(const Ints& sum, const Floats& scales, const Floats& total) {
    return {_mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.low), scales.low, total.low),
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.high), scales.high, total.high)};
  }
  static void store(float* to, const Floats& total) {
    _mm256_store_ps(to, total.low);
    _mm256_store_ps(to + 8, total.high);
  }
};

#include "kernels/linear/quantize.inc.h"
#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"

}  // namespace

void linear_f32_avx2(const LinearTask& task) { multiply<F32>(task, task.x, task.x_stride); }
void linear_f16_avx2(const LinearTask& task) { multiply<F16>(task, task.x, task.x_stride); }
void linear_bf16_avx2(const LinearTask& task) { multiply<Bf16>(task, task.x, task.x_stride); }
void linear_i8_avx2(const LinearTask& task) { multiply<I8>(task, task.codes, task.code_stride); }
void linear_i4_avx2(const LinearTask& task) {
  task.bf16_scales ? multiply_grouped<I4<Bf16Scales>>(task) : multiply_grouped<I4<F16Scales>>(task);
}

void quantize_avx2(const QuantizeTask& task) { quantize(task); }

}  // namespace lichen
