// Sixteen float32 lanes in plain C++ (the vector extension that g++ and clang share): the oracle
// for the other instruction sets, and what runs where none of them does.
//
// Included by <op>/portable.cpp only.  The headers of the instruction sets here define the same names and
// give the same bits.  A fused multiply-add is a library call where the baseline processor has no
// instruction for it (x86-64), and one instruction where it has (aarch64).
#pragma once

#include <stdint.h>
#include <string.h>

#include "shuffle.h"

namespace lichen {

struct Half;  // lichen/attention.h

namespace {

#define LICHEN_INLINE inline __attribute__((always_inline))
#define LICHEN_LAMBDA __attribute__((always_inline))

// These three (F4, I4) are registers that every processor has, or makes do without: compilers take wider ones apart
// number by number wherever they are compared.
typedef uint32_t U4 __attribute__((vector_size(16)));

struct F16 {
  F4 q0, q1, q2, q3;
};

// Tile of products held in registers by attention: rows x groups of 16 lanes.
constexpr int kTileRows = 3;
constexpr int kTileGroups = 1;

// f on each register; lanes 4 i and on are register i.
template <typename Function, typename... Parts>
LICHEN_INLINE F16 each(Function f, Parts... x) {
  return {f(x.q0...), f(x.q1...), f(x.q2...), f(x.q3...)};
}

LICHEN_INLINE F16 broadcast(float x) {
  const F4 all = {x, x, x, x};
  return {all, all, all, all};
}
LICHEN_INLINE F16 load(const float* p) {
  F16 x;
  memcpy(&x, p, sizeof x);
  return x;
}
LICHEN_INLINE F16 load_first(const float* p, int64_t n) {
  float lanes[16] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return load(lanes);
}
// A half's exponent and mantissa, moved to a float's place, are a float 2^112 times too small, whether
// normal or not; infinities and NaN have an exponent of their own.
LICHEN_INLINE F4 widened(const Half* p, int index) {
  typedef int16_t S4 __attribute__((vector_size(8)));
  S4 bits;
  memcpy(&bits, reinterpret_cast<const char*>(p) + 8 * index, sizeof bits);
  const I4 wide = __builtin_convertvector(bits, I4);
  const I4 magnitude = (wide & 0x7fff) << 13;
  const F4 finite = (F4)magnitude * 0x1p112f;
  const I4 special = (magnitude >= 31 << 23) & 0x7f800000;
  return (F4)((I4)finite | special | (wide & (-0x7fffffff - 1)));
}
LICHEN_INLINE F16 load(const Half* p) { return {widened(p, 0), widened(p, 1), widened(p, 2), widened(p, 3)}; }
LICHEN_INLINE F16 load(const int8_t* p) {
  float lanes[16];
  for (int i = 0; i < 16; ++i) lanes[i] = p[i];
  return load(lanes);
}
LICHEN_INLINE void store(float* p, F16 x) { memcpy(p, &x, sizeof x); }
LICHEN_INLINE void store_first(float* p, F16 x, int64_t n) {
  memcpy(p, &x, static_cast<size_t>(n) * sizeof(float));
}

LICHEN_INLINE F16 add(F16 a, F16 b) {
  return each([](F4 x, F4 y) LICHEN_LAMBDA { return x + y; }, a, b);
}
LICHEN_INLINE F16 sub(F16 a, F16 b) {
  return each([](F4 x, F4 y) LICHEN_LAMBDA { return x - y; }, a, b);
}
LICHEN_INLINE F16 mul(F16 a, F16 b) {
  return each([](F4 x, F4 y) LICHEN_LAMBDA { return x * y; }, a, b);
}
LICHEN_INLINE F16 div(F16 a, F16 b) {
  return each([](F4 x, F4 y) LICHEN_LAMBDA { return x / y; }, a, b);
}
LICHEN_INLINE F16 fma(F16 a, F16 b, F16 c) {
  return each([](F4 x, F4 y, F4 z) LICHEN_LAMBDA {
    for (int i = 0; i < 4; ++i) z[i] = __builtin_fmaf(x[i], y[i], z[i]);
    return z;
  }, a, b, c);
}
LICHEN_INLINE F16 fnma(F16 a, F16 b, F16 c) {  // c - a b
  return fma(each([](F4 x) LICHEN_LAMBDA { return -x; }, a), b, c);
}
LICHEN_INLINE F16 min(F16 a, F16 b) {
  return each([](F4 x, F4 y) LICHEN_LAMBDA { return x < y ? x : y; }, a, b);
}
LICHEN_INLINE F16 max(F16 a, F16 b) {
  return each([](F4 x, F4 y) LICHEN_LAMBDA { return x > y ? x : y; }, a, b);
}
LICHEN_INLINE F16 where_less(F16 a, F16 b, F16 yes, F16 no) {
  return each([](F4 x, F4 y, F4 then, F4 otherwise) LICHEN_LAMBDA { return x < y ? then : otherwise; }, a, b, yes, no);
}
LICHEN_INLINE F16 keep_first(F16 x, int64_t n, float fill) {
  float lanes[16];
  store(lanes, x);
  for (int64_t i = n < 0 ? 0 : n; i < 16; ++i) lanes[i] = fill;
  return load(lanes);
}
LICHEN_INLINE F16 absolute(F16 x) {
  return each([](F4 y) LICHEN_LAMBDA { return (F4)((I4)y & 0x7fffffff); }, x);
}
LICHEN_INLINE F16 with_sign_of(F16 magnitude, F16 sign) {
  return each([](F4 x, F4 y) LICHEN_LAMBDA { return (F4)((I4)x | ((I4)y & (-0x7fffffff - 1))); }, magnitude, sign);
}
// 2^(k - 1) where the low bits of `shifted` hold the integer k.
LICHEN_INLINE F16 half_power_of_two(F16 shifted) {
  return each([](F4 x) LICHEN_LAMBDA { return (F4)(((U4)x << 23) + (126u << 23)); }, shifted);
}

LICHEN_INLINE float reduce_add(F16 x) {
  const F4 four = (x.q0 + x.q2) + (x.q1 + x.q3);
  return (four[0] + four[2]) + (four[1] + four[3]);
}
LICHEN_INLINE float reduce_max(F16 x) {
  float lanes[16];
  store(lanes, x);
  float m = lanes[0];
  for (float lane : lanes) m = m > lane ? m : lane;
  return m;
}

LICHEN_INLINE float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// Sixteen int16 lanes as two registers.
typedef int16_t S8 __attribute__((vector_size(16)));
typedef uint16_t U8 __attribute__((vector_size(16)));

struct S16 {
  S8 low, high;
};

// f on each register.
template <typename Function, typename... Parts>
LICHEN_INLINE S16 each_short(Function f, Parts... x) {
  return {f(x.low...), f(x.high...)};
}

LICHEN_INLINE S16 same_shorts(int x) {
  const S8 all = S8{} + static_cast<int16_t>(x);
  return {all, all};
}
LICHEN_INLINE S16 load(const int16_t* p) {
  S16 x;
  memcpy(&x, p, sizeof x);
  return x;
}
LICHEN_INLINE void store(int16_t* p, S16 x) { memcpy(p, &x, sizeof x); }

LICHEN_INLINE S16 add(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return (S8)((U8)x + (U8)y); }, a, b);
}
LICHEN_INLINE S16 sub(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return (S8)((U8)x - (U8)y); }, a, b);
}
LICHEN_INLINE S16 mul(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return (S8)((U8)x * (U8)y); }, a, b);
}
LICHEN_INLINE S16 min(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return x < y ? x : y; }, a, b);
}
LICHEN_INLINE S16 max(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return x > y ? x : y; }, a, b);
}
LICHEN_INLINE S16 absolute(S16 x) { return max(x, sub(same_shorts(0), x)); }
LICHEN_INLINE S16 both(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return x & y; }, a, b);
}
LICHEN_INLINE S16 either(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return x | y; }, a, b);
}
LICHEN_INLINE S16 differing(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return x ^ y; }, a, b);
}
template <int Bits>
LICHEN_INLINE S16 shift_up(S16 x) {
  return each_short([](S8 y) LICHEN_LAMBDA { return (S8)((U8)y << Bits); }, x);
}
template <int Bits>  // zeros come in at the top
LICHEN_INLINE S16 shift_down(S16 x) {
  return each_short([](S8 y) LICHEN_LAMBDA { return (S8)((U8)y >> Bits); }, x);
}
// The product of two numbers, not both the least, over 2^15, rounded, halves up.
LICHEN_INLINE S16 rounded_product(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA {
    for (int i = 0; i < 8; ++i) x[i] = static_cast<int16_t>((int32_t{x[i]} * y[i] + (1 << 14)) >> 15);
    return x;
  }, a, b);
}
// These take their operands for numbers without sign.
LICHEN_INLINE S16 min_unsigned(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA { return (U8)x < (U8)y ? x : y; }, a, b);
}
LICHEN_INLINE S16 add_saturated(S16 a, S16 b) {
  return add(a, min_unsigned(b, each_short([](S8 x) LICHEN_LAMBDA { return ~x; }, a)));
}
LICHEN_INLINE S16 high_product(S16 a, S16 b) {
  return each_short([](S8 x, S8 y) LICHEN_LAMBDA {
    uint16_t left[8], right[8];
    memcpy(left, &x, sizeof left);
    memcpy(right, &y, sizeof right);
    for (int i = 0; i < 8; ++i) left[i] = static_cast<uint16_t>(uint32_t{left[i]} * right[i] >> 16);
    memcpy(&x, left, sizeof left);
    return x;
  }, a, b);
}
LICHEN_INLINE S16 where_equal(S16 a, S16 b, S16 yes, S16 no) {
  return each_short([](S8 x, S8 y, S8 then, S8 otherwise) LICHEN_LAMBDA { return x == y ? then : otherwise; },
                    a, b, yes, no);
}

// Numbers of -32768 to 32767 to integers, halves to even, and back.
LICHEN_INLINE S16 to_shorts(F16 x) {
  float lanes[16];
  int16_t shorts[16];
  const F16 magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding rounds to integers
  store(lanes, sub(add(x, magic), magic));
  for (int i = 0; i < 16; ++i) shorts[i] = static_cast<int16_t>(lanes[i]);
  return load(shorts);
}
LICHEN_INLINE F16 to_floats(S16 x) {
  float lanes[16];
  int16_t shorts[16];
  store(shorts, x);
  for (int i = 0; i < 16; ++i) lanes[i] = shorts[i];
  return load(lanes);
}

}  // namespace
}  // namespace lichen
