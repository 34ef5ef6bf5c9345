// The linear kernels in 512 bits, without VNNI.
#include <immintrin.h>

#include "kernels/linear/kernel.h"

namespace lichen {
namespace {

#include "kernels/linear/int4_512.inc.h"

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

  static Partial open(Ints) { return _mm512_setzero_si512(); }
  static Partial add(Partial sum, Bytes w, __m512i x) {
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(x, w));
  }
  static Ints close(Ints sum, Partial partial) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(partial, _mm512_set1_epi16(1)));
  }
};

struct Blocks {
  using Floats = __m512;

  static Floats nothing() { return _mm512_setzero_ps(); }
  static Floats load_floats(const void* from) { return _mm512_loadu_ps(from); }
  static Floats load_scales(const void* from, ScaleType type) {
    if (type == ScaleType::f32) return load_floats(from);
    const __m256i bits = _mm256_loadu_si256(static_cast<const __m256i*>(from));
    return type == ScaleType::f16 ? F16Scales::widen(bits) : Bf16Scales::widen(bits);
  }
};

struct Bytes : Blocks {
  static constexpr int kColumns = 4;

  static void column(const char* from, Floats scale, Floats shift, float* out) {
    const __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    _mm512_store_ps(out, _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale, shift));
  }
  static void expand(const char* from, Floats scale, Floats shift, bool, float* out) {
    column(from, scale, shift, out);
    column(from + 16, scale, shift, out + 16);
    column(from + 32, scale, shift, out + 32);
    column(from + 48, scale, shift, out + 48);
  }
};

// A code is looked up as a float: vpermps takes four bits of each lane.
struct Nibbles : Blocks {
  static constexpr int kColumns = 8;

  template <int Bits>
  static void column(__m512i codes, __m512 table, Floats scale, Floats shift, float* out) {
    const __m512 code = _mm512_permutexvar_ps(_mm512_srli_epi32(codes, Bits), table);
    _mm512_store_ps(out, _mm512_fmadd_ps(code, scale, shift));
  }
  static void expand(const void* from, Floats scale, Floats shift, bool from_zero, float* out) {
    const __m512 ascending =
        _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512 table = _mm512_sub_ps(ascending, _mm512_set1_ps(from_zero ? 0.0f : 8.0f));
    const __m512i codes = _mm512_loadu_si512(from);
    column<0>(codes, table, scale, shift, out);
    column<8>(codes, table, scale, shift, out + 16);
    column<16>(codes, table, scale, shift, out + 32);
    column<24>(codes, table, scale, shift, out + 48);
    column<4>(codes, table, scale, shift, out + 64);
    column<12>(codes, table, scale, shift, out + 80);
    column<20>(codes, table, scale, shift, out + 96);
    column<28>(codes, table, scale, shift, out + 112);
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
void linear_b8_avx512(const LinearTask& task) { multiply_blocks<Bytes, F32>(task); }
void linear_b4_avx512(const LinearTask& task) { multiply_blocks<Nibbles, F32>(task); }

void quantize_avx512(const QuantizeTask& task) { quantize(task); }

}  // namespace lichen
