// Sixteen float32 lanes in plain C++ (the vector extension that g++ and clang share): the oracle
// for the other instruction sets, and what runs where none of them does.
//
// Included by <op>/portable.cpp only.  The headers of the instruction sets here define the same names and
// give the same bits.  A fused multiply-add is a library call where the baseline processor has no
// instruction for it (x86-64), and one instruction where it has (aarch64).
#pragma once

#include <stdint.h>
#include <string.h>

namespace lichen {

struct Half;  // lichen/attention.h

namespace {

#define LICHEN_INLINE inline __attribute__((always_inline))
#define LICHEN_LAMBDA __attribute__((always_inline))

typedef float F16 __attribute__((vector_size(64)));
typedef int32_t I16 __attribute__((vector_size(64)));

// Tile of products held in registers by attention: rows x groups of 16 lanes.
constexpr int kTileRows = 3;
constexpr int kTileGroups = 1;

LICHEN_INLINE F16 broadcast(float x) { return F16{} + x; }
LICHEN_INLINE F16 load(const float* p) {
  F16 x;
  memcpy(&x, p, sizeof x);
  return x;
}
LICHEN_INLINE F16 load_first(const float* p, int64_t n) {
  F16 x = {};
  memcpy(&x, p, static_cast<size_t>(n) * sizeof(float));
  return x;
}
// A half's exponent and mantissa, moved to a float's place, are a float 2^112 times too small, whether
// normal or not; infinities and NaN have an exponent of their own.
LICHEN_INLINE F16 load(const Half* p) {
  typedef int16_t S16 __attribute__((vector_size(32)));
  S16 bits;
  memcpy(&bits, p, sizeof bits);
  const I16 wide = __builtin_convertvector(bits, I16);
  const I16 magnitude = (wide & 0x7fff) << 13;
  const F16 finite = (F16)magnitude * 0x1p112f;
  const I16 special = (magnitude >= 31 << 23) & 0x7f800000;
  return (F16)((I16)finite | special | (wide & (-0x7fffffff - 1)));
}
LICHEN_INLINE F16 load(const int8_t* p) {
  typedef int8_t C16 __attribute__((vector_size(16)));
  C16 codes;
  memcpy(&codes, p, sizeof codes);
  return __builtin_convertvector(codes, F16);
}
LICHEN_INLINE void store(float* p, F16 x) { memcpy(p, &x, sizeof x); }
LICHEN_INLINE void store_first(float* p, F16 x, int64_t n) {
  memcpy(p, &x, static_cast<size_t>(n) * sizeof(float));
}

LICHEN_INLINE F16 add(F16 a, F16 b) { return a + b; }
LICHEN_INLINE F16 sub(F16 a, F16 b) { return a - b; }
LICHEN_INLINE F16 mul(F16 a, F16 b) { return a * b; }
LICHEN_INLINE F16 div(F16 a, F16 b) { return a / b; }
LICHEN_INLINE F16 fma(F16 a, F16 b, F16 c) {
  for (int i = 0; i < 16; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
}
LICHEN_INLINE F16 fnma(F16 a, F16 b, F16 c) { return fma(-a, b, c); }  // c - a b
LICHEN_INLINE F16 min(F16 a, F16 b) { return a < b ? a : b; }
LICHEN_INLINE F16 max(F16 a, F16 b) { return a > b ? a : b; }
LICHEN_INLINE F16 where_less(F16 a, F16 b, F16 yes, F16 no) { return a < b ? yes : no; }
LICHEN_INLINE F16 keep_first(F16 x, int64_t n, float fill) {
  const I16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return lane < static_cast<int32_t>(n) ? x : broadcast(fill);
}
LICHEN_INLINE F16 absolute(F16 x) { return (F16)((I16)x & 0x7fffffff); }
LICHEN_INLINE F16 with_sign_of(F16 magnitude, F16 sign) {
  return (F16)((I16)magnitude | ((I16)sign & (-0x7fffffff - 1)));
}
// 2^(k - 1) where the low bits of `shifted` hold the integer k.
LICHEN_INLINE F16 half_power_of_two(F16 shifted) {
  typedef uint32_t U16 __attribute__((vector_size(64)));
  return (F16)(((U16)shifted << 23) + (126u << 23));
}

LICHEN_INLINE float reduce_add(F16 x) {
  float a[8], b[4];
  for (int i = 0; i < 8; ++i) a[i] = x[i] + x[i + 8];
  for (int i = 0; i < 4; ++i) b[i] = a[i] + a[i + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}
LICHEN_INLINE float reduce_max(F16 x) {
  float m = x[0];
  for (int i = 1; i < 16; ++i) m = m > x[i] ? m : x[i];
  return m;
}

LICHEN_INLINE float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

}  // namespace
}  // namespace lichen
