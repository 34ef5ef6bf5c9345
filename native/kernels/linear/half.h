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

// The bits of the 16-bit number that equals `value`; false where there is none.
inline bool to_bf16(float value, uint16_t* half) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  *half = static_cast<uint16_t>(bits >> 16);
  return (bits & 0xffff) == 0;
}

inline bool to_f16(float value, uint16_t* half) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x477fe000) return false;  // beyond 65504, or not a number
  if (magnitude >= 0x38800000) {             // from 2^-14 on
    *half = static_cast<uint16_t>(sign | ((magnitude >> 13) - (112 << 10)));
    return (magnitude & 0x1fff) == 0;
  }
  const float units = from_bits(magnitude) * 0x1p24f;
  *half = static_cast<uint16_t>(sign | static_cast<uint32_t>(units));
  return static_cast<float>(static_cast<uint32_t>(units)) == units;
}

}  // namespace lichen
