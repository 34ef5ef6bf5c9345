// Sixteen float32 lanes as four 128-bit registers: Armv8.0, what every 64-bit Arm processor has.
//
// Included by <op>/neon.cpp only. A fused multiply-add is an instruction of the baseline there.
#pragma once

#include <arm_neon.h>

#include <stdint.h>
#include <string.h>

namespace lichen {

struct Half;  // the bits of a float16 number

namespace {

#define LICHEN_INLINE inline __attribute__((always_inline))
#define LICHEN_LAMBDA __attribute__((always_inline))

struct F16 {
  float32x4_t q0, q1, q2, q3;
};

// Tile of products held in registers by attention: rows x groups of 16 lanes.
constexpr int kTileRows = 6;
constexpr int kTileGroups = 1;

// f on each register; lanes 4 i and on are register i.
template <typename Function, typename... Parts>
LICHEN_INLINE F16 each(Function f, Parts... x) {
  return {f(x.q0...), f(x.q1...), f(x.q2...), f(x.q3...)};
}

LICHEN_INLINE F16 broadcast(float x) {
  return {vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)};
}
LICHEN_INLINE F16 load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
LICHEN_INLINE F16 load_first(const float* p, int64_t n) {
  if (n == 16) return load(p);
  float lanes[16] = {};
  memcpy(lanes, p, static_cast<size_t>(n) * sizeof(float));
  return load(lanes);
}
LICHEN_INLINE F16 load(const Half* p) {
  const auto* bits = reinterpret_cast<const uint16_t*>(p);
  const float16x8_t low = vreinterpretq_f16_u16(vld1q_u16(bits));
  const float16x8_t high = vreinterpretq_f16_u16(vld1q_u16(bits + 8));
  return {vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low),
          vcvt_f32_f16(vget_low_f16(high)), vcvt_high_f32_f16(high)};
}
LICHEN_INLINE F16 load(const int8_t* p) {
  const int8x16_t codes = vld1q_s8(p);
  const int16x8_t low = vmovl_s8(vget_low_s8(codes)), high = vmovl_high_s8(codes);
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
          vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))};
}
LICHEN_INLINE void store(float* p, F16 x) {
  vst1q_f32(p, x.q0);
  vst1q_f32(p + 4, x.q1);
  vst1q_f32(p + 8, x.q2);
  vst1q_f32(p + 12, x.q3);
}
LICHEN_INLINE void store_first(float* p, F16 x, int64_t n) {
  if (n == 16) return store(p, x);
  float lanes[16];
  store(lanes, x);
  memcpy(p, lanes, static_cast<size_t>(n) * sizeof(float));
}

LICHEN_INLINE F16 add(F16 a, F16 b) {
  return each([](float32x4_t x, float32x4_t y) LICHEN_LAMBDA { return vaddq_f32(x, y); }, a, b);
}
LICHEN_INLINE F16 sub(F16 a, F16 b) {
  return each([](float32x4_t x, float32x4_t y) LICHEN_LAMBDA { return vsubq_f32(x, y); }, a, b);
}
LICHEN_INLINE F16 mul(F16 a, F16 b) {
  return each([](float32x4_t x, float32x4_t y) LICHEN_LAMBDA { return vmulq_f32(x, y); }, a, b);
}
LICHEN_INLINE F16 div(F16 a, F16 b) {
  return each([](float32x4_t x, float32x4_t y) LICHEN_LAMBDA { return vdivq_f32(x, y); }, a, b);
}
LICHEN_INLINE F16 fma(F16 a, F16 b, F16 c) {
  return each([](float32x4_t x, float32x4_t y, float32x4_t z)
                  LICHEN_LAMBDA { return vfmaq_f32(z, x, y); }, a, b, c);
}
LICHEN_INLINE F16 fnma(F16 a, F16 b, F16 c) {
  return each([](float32x4_t x, float32x4_t y, float32x4_t z)
                  LICHEN_LAMBDA { return vfmsq_f32(z, x, y); }, a, b, c);
}
// fmin and fmax would return a NaN that is the first operand; everywhere else the second is returned
// whenever the comparison is false.
LICHEN_INLINE F16 min(F16 a, F16 b) {
  return each([](float32x4_t x, float32x4_t y)
                  LICHEN_LAMBDA { return vbslq_f32(vcltq_f32(x, y), x, y); }, a, b);
}
LICHEN_INLINE F16 max(F16 a, F16 b) {
  return each([](float32x4_t x, float32x4_t y)
                  LICHEN_LAMBDA { return vbslq_f32(vcgtq_f32(x, y), x, y); }, a, b);
}
LICHEN_INLINE F16 where_less(F16 a, F16 b, F16 yes, F16 no) {
  return each([](float32x4_t x, float32x4_t y, float32x4_t then, float32x4_t otherwise)
                  LICHEN_LAMBDA { return vbslq_f32(vcltq_f32(x, y), then, otherwise); },
              a, b, yes, no);
}
// All ones in the lanes of register `index` that are among the first n of sixteen.
LICHEN_INLINE uint32x4_t first_of_four(int64_t n, int32_t index) {
  const int32x4_t lane = {0, 1, 2, 3};
  return vcltq_s32(lane, vdupq_n_s32(static_cast<int32_t>(n) - 4 * index));
}
LICHEN_INLINE F16 keep_first(F16 x, int64_t n, float fill) {
  const float32x4_t other = vdupq_n_f32(fill);
  return {vbslq_f32(first_of_four(n, 0), x.q0, other), vbslq_f32(first_of_four(n, 1), x.q1, other),
          vbslq_f32(first_of_four(n, 2), x.q2, other), vbslq_f32(first_of_four(n, 3), x.q3, other)};
}
LICHEN_INLINE F16 absolute(F16 x) {
  return each([](float32x4_t y) LICHEN_LAMBDA { return vabsq_f32(y); }, x);
}
LICHEN_INLINE F16 with_sign_of(F16 magnitude, F16 sign) {
  return each([](float32x4_t x, float32x4_t y) LICHEN_LAMBDA {
    const uint32x4_t bit = vandq_u32(vreinterpretq_u32_f32(y), vdupq_n_u32(0x80000000));
    return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(x), bit));
  }, magnitude, sign);
}
// 2^(k - 1) where the low bits of `shifted` hold the integer k.
LICHEN_INLINE F16 half_power_of_two(F16 shifted) {
  return each([](float32x4_t x) LICHEN_LAMBDA {
    const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_f32(x), 23);
    return vreinterpretq_f32_u32(vaddq_u32(exponent, vdupq_n_u32(126u << 23)));
  }, shifted);
}

LICHEN_INLINE float reduce_add(F16 x) {
  const float32x4_t four = vaddq_f32(vaddq_f32(x.q0, x.q2), vaddq_f32(x.q1, x.q3));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
LICHEN_INLINE float reduce_max(F16 x) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.q0, x.q1), vmaxq_f32(x.q2, x.q3)));
}

LICHEN_INLINE float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// Sixteen int16 lanes as two registers.
struct S16 {
  int16x8_t low, high;
};

// f on each register.
template <typename Function, typename... Parts>
LICHEN_INLINE S16 each_short(Function f, Parts... x) {
  return {f(x.low...), f(x.high...)};
}

LICHEN_INLINE S16 same_shorts(int x) {
  const int16x8_t all = vdupq_n_s16(static_cast<int16_t>(x));
  return {all, all};
}
LICHEN_INLINE S16 load(const int16_t* p) { return {vld1q_s16(p), vld1q_s16(p + 8)}; }
LICHEN_INLINE void store(int16_t* p, S16 x) {
  vst1q_s16(p, x.low);
  vst1q_s16(p + 8, x.high);
}

LICHEN_INLINE S16 add(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vaddq_s16(x, y); }, a, b);
}
LICHEN_INLINE S16 sub(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vsubq_s16(x, y); }, a, b);
}
LICHEN_INLINE S16 mul(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vmulq_s16(x, y); }, a, b);
}
LICHEN_INLINE S16 min(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vminq_s16(x, y); }, a, b);
}
LICHEN_INLINE S16 max(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vmaxq_s16(x, y); }, a, b);
}
LICHEN_INLINE S16 absolute(S16 x) {
  return each_short([](int16x8_t y) LICHEN_LAMBDA { return vabsq_s16(y); }, x);
}
LICHEN_INLINE S16 both(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vandq_s16(x, y); }, a, b);
}
LICHEN_INLINE S16 either(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vorrq_s16(x, y); }, a, b);
}
LICHEN_INLINE S16 differing(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return veorq_s16(x, y); }, a, b);
}
template <int Bits>
LICHEN_INLINE S16 shift_up(S16 x) {
  return {vshlq_n_s16(x.low, Bits), vshlq_n_s16(x.high, Bits)};
}
template <int Bits>  // zeros come in at the top
LICHEN_INLINE S16 shift_down(S16 x) {
  return {vreinterpretq_s16_u16(vshrq_n_u16(vreinterpretq_u16_s16(x.low), Bits)),
          vreinterpretq_s16_u16(vshrq_n_u16(vreinterpretq_u16_s16(x.high), Bits))};
}
// The product of two numbers, not both the least, over 2^15, rounded, halves up.
LICHEN_INLINE S16 rounded_product(S16 a, S16 b) {
  return each_short([](int16x8_t x, int16x8_t y) LICHEN_LAMBDA { return vqrdmulhq_s16(x, y); }, a, b);
}
// f on each register of numbers without sign.
template <typename Function>
LICHEN_INLINE S16 each_unsigned(Function f, S16 a, S16 b) {
  return each_short([f](int16x8_t x, int16x8_t y) LICHEN_LAMBDA {
    return vreinterpretq_s16_u16(f(vreinterpretq_u16_s16(x), vreinterpretq_u16_s16(y)));
  }, a, b);
}
LICHEN_INLINE S16 add_saturated(S16 a, S16 b) {
  return each_unsigned([](uint16x8_t x, uint16x8_t y) LICHEN_LAMBDA { return vqaddq_u16(x, y); }, a, b);
}
LICHEN_INLINE S16 min_unsigned(S16 a, S16 b) {
  return each_unsigned([](uint16x8_t x, uint16x8_t y) LICHEN_LAMBDA { return vminq_u16(x, y); }, a, b);
}
LICHEN_INLINE S16 high_product(S16 a, S16 b) {
  return each_unsigned([](uint16x8_t x, uint16x8_t y) LICHEN_LAMBDA {
    const uint16x4_t low = vshrn_n_u32(vmull_u16(vget_low_u16(x), vget_low_u16(y)), 16);
    return vcombine_u16(low, vshrn_n_u32(vmull_high_u16(x, y), 16));
  }, a, b);
}
LICHEN_INLINE S16 where_equal(S16 a, S16 b, S16 yes, S16 no) {
  return each_short([](int16x8_t x, int16x8_t y, int16x8_t then, int16x8_t otherwise)
                        LICHEN_LAMBDA { return vbslq_s16(vceqq_s16(x, y), then, otherwise); },
                    a, b, yes, no);
}

// Numbers of -32768 to 32767 to integers, halves to even, and back.
LICHEN_INLINE S16 to_shorts(F16 x) {
  return {vcombine_s16(vmovn_s32(vcvtnq_s32_f32(x.q0)), vmovn_s32(vcvtnq_s32_f32(x.q1))),
          vcombine_s16(vmovn_s32(vcvtnq_s32_f32(x.q2)), vmovn_s32(vcvtnq_s32_f32(x.q3)))};
}
LICHEN_INLINE F16 to_floats(S16 x) {
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(x.low))), vcvtq_f32_s32(vmovl_high_s16(x.low)),
          vcvtq_f32_s32(vmovl_s16(vget_low_s16(x.high))), vcvtq_f32_s32(vmovl_high_s16(x.high))};
}

}  // namespace
}  // namespace lichen
