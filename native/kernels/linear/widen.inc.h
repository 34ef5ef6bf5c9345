// Inputs in 16 bits (see Input::wide in lichen/linear.h), written so that a compiler turns it into vectors of any
// width. Included inside each instruction set's anonymous namespace. Four columns q0 to q3 are
// 8 bytes, in one of two forms:
//
//   digits   the upper bytes of q0 to q3, then the lower ones, all signed: q = 256 upper + lower
//   words    16 bits each: q0, q2, q1, q3, as unsigned bytes are parted into even and odd ones

// The bits of |x|, which order as the values do, with infinities and NaNs on top.
inline int32_t magnitude_bits(float value) {
  int32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffff;
}

constexpr int64_t kWidenBlock = 32;  // columns that share a scale

// Every sum of a whole step, by the largest code of 8 bits, fits an int32, and so do its digits 8 bits.
constexpr float kLargestWide = 32639.0f;  // 127 * 256 + 127

// Columns [0, columns) of a block to q, the rest 0; returns their scale.
inline float widen_block(const float* x, int64_t columns, int32_t (&q)[kWidenBlock]) {
  constexpr int32_t kInfinityBits = 0x7f800000;
  alignas(64) float values[kWidenBlock] = {};
  __builtin_memcpy(values, x, columns * sizeof(float));
  int32_t largest_bits = 0;
  for (int64_t k = 0; k < kWidenBlock; ++k) {
    const int32_t bits = magnitude_bits(values[k]);
    largest_bits = bits > largest_bits ? bits : largest_bits;
  }
  float largest;
  __builtin_memcpy(&largest, &largest_bits, sizeof largest);
  const bool finite = largest_bits < kInfinityBits, visible = finite && largest >= 0x1p-100f;
  const float inverse = visible ? kLargestWide / largest : 0.0f;
  for (int64_t k = 0; k < kWidenBlock; ++k) {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, halves to even.
    const float scaled = visible ? values[k] * inverse : 0.0f;
    q[k] = static_cast<int32_t>((scaled + 12582912.0f) - 12582912.0f);
  }
  return !finite ? __builtin_nanf("") : visible ? largest / kLargestWide : 0.0f;
}

inline void store_digits(const int32_t (&q)[kWidenBlock], int8_t* to) {
  for (int64_t k = 0; k < kWidenBlock; k += 4)
    for (int64_t i = 0; i < 4; ++i) {
      const int32_t upper = (q[k + i] + 128) >> 8;
      to[2 * k + i] = static_cast<int8_t>(upper);
      to[2 * k + 4 + i] = static_cast<int8_t>(q[k + i] - 256 * upper);
    }
}

inline void store_words(const int32_t (&q)[kWidenBlock], int8_t* to) {
  int16_t words[kWidenBlock];
  for (int64_t k = 0; k < kWidenBlock; k += 4) {
    words[k] = static_cast<int16_t>(q[k]);
    words[k + 1] = static_cast<int16_t>(q[k + 2]);
    words[k + 2] = static_cast<int16_t>(q[k + 1]);
    words[k + 3] = static_cast<int16_t>(q[k + 3]);
  }
  __builtin_memcpy(to, words, sizeof words);
}

template <bool Digits>
void widen(const WidenTask& task) {
  constexpr int64_t kSum = 16;
  for (int64_t t = 0; t < task.tokens; ++t)
    for (int64_t k = 0; k < task.stride; k += kWidenBlock) {
      const int64_t at = t * task.stride + k, left = task.cols - k;
      const int64_t columns = left < 0 ? 0 : left < kWidenBlock ? left : kWidenBlock;
      alignas(64) int32_t q[kWidenBlock];
      task.scales[at / kWidenBlock] = widen_block(task.x + t * task.x_stride + k, columns, q);
      Digits ? store_digits(q, task.wide + 2 * at) : store_words(q, task.wide + 2 * at);
      for (int64_t half = 0; half < kWidenBlock; half += kSum) {
        int32_t sum = 0;
        for (int64_t i = half; i < half + kSum; ++i) sum += q[i];
        task.sums[(at + half) / kSum] = sum;
      }
    }
}
