// Quantization of activations (see quantize_rows in lichen/linear.h), written so that a compiler
// turns it into vectors of any width. Included after widen.inc.h inside each ISA file's anonymous namespace.

inline uint8_t code_of(float value, float scale) {
  const float scaled = value / scale;
  const float low = scaled < -128.0f ? -128.0f : scaled;
  const float clamped = low > 127.0f ? 127.0f : low;
  // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, halves to even.
  const float rounded = (clamped + 12582912.0f) - 12582912.0f;
  return static_cast<uint8_t>(static_cast<int32_t>(rounded) + 128);
}

// Columns 0, 2, 1, 3 of every four, in 16 bits: as bytes are parted into even and odd ones.
inline void widen_codes(const int8_t* codes, int64_t count, int16_t* words) {
  for (int64_t k = 0; k < count; k += 4) {
    words[k] = codes[k];
    words[k + 1] = codes[k + 2];
    words[k + 2] = codes[k + 1];
    words[k + 3] = codes[k + 3];
  }
}

// The same codes as they are, and minus the sums of `summed` of them: what unsigned weights meet.
inline void sign_and_sum(const uint8_t* codes, int64_t count, int64_t summed, int8_t* signed_codes,
                         int32_t* minus_sums) {
  constexpr int64_t kBlock = 32;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    int32_t sum = 0;
    for (int64_t k = begin; k < begin + kBlock; ++k) {
      signed_codes[k] = static_cast<int8_t>(codes[k] ^ 0x80);
      sum += codes[k];
    }
    const int32_t before = begin % summed == 0 ? 0 : minus_sums[begin / summed];
    minus_sums[begin / summed] = before + 128 * kBlock - sum;
  }
}

// Columns that share a scale; returns it.
inline float quantize_group(const float* x, int64_t cols, float given_scale, uint8_t* codes) {
  constexpr int32_t kInfinityBits = 0x7f800000;
  int32_t largest_bits = 0;
  for (int64_t k = 0; k < cols; ++k) {
    const int32_t bits = magnitude_bits(x[k]);
    largest_bits = bits > largest_bits ? bits : largest_bits;
  }
  const bool finite = largest_bits < kInfinityBits;
  float largest;
  __builtin_memcpy(&largest, &largest_bits, sizeof largest);
  const float scale = given_scale != 0.0f ? given_scale : largest / 127.5f;
  const float kept = !finite ? __builtin_nanf("") : scale == 0.0f ? 0x1p-23f : scale;
  for (int64_t k = 0; k < cols; ++k) codes[k] = finite ? code_of(x[k], kept) : 128;
  return kept;
}

void quantize(const QuantizeTask& task) {
  float* scales = task.scales;
  for (int64_t t = 0; t < task.tokens; ++t) {
    const float* x = task.x + t * task.x_stride;
    uint8_t* codes = task.codes + t * task.code_stride;
    for (int64_t k = 0; k < task.cols; k += task.group) {
      const int64_t left = task.cols - k;
      *scales++ = quantize_group(x + k, left < task.group ? left : task.group, task.given_scale, codes + k);
    }
    for (int64_t k = task.cols; k < task.code_stride; ++k) codes[k] = 128;
    sign_and_sum(codes, task.code_stride, task.summed, task.signed_codes + t * task.code_stride,
                 task.minus_sums + t * (task.code_stride / 32));
    if (task.words)
      widen_codes(task.signed_codes + t * task.code_stride, task.code_stride, task.words + t * task.code_stride);
  }
}
