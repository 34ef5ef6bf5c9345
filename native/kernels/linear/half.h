// The 16-bit formats in plain C++. Not for files that are compiled for one instruction set: they widen
// with instructions of their own, and must share no inline function (see kernel.h).
#pragma once

#include <stdint.h>
#include <string.h>

namespace lichen {

inline float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

inline float from_bf16(uint16_t bits) { return from_bits(static_cast<uint32_t>(bits) << 16); }

// IEEE 754 binary16. A subnormal is an integer times 2^-24.
inline float from_f16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f, mantissa = half & 0x3ff;
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * static_cast<float>(mantissa) * 0x1p-24f;
  const uint32_t widened = exponent == 31 ? 255 : exponent + 112;
  return from_bits(sign | widened << 23 | mantissa << 13);
}

}  // namespace lichen
