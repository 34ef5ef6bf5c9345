// Quantization of activations in 512 bits: the codes of quantize.inc.h, with one division a scale. x / scale is
// rounded right from y = 1 / scale: r = x y, e = x - r scale, which is exact, and r + e y (Markstein 1990,
// Computation of elementary functions on the IBM RISC System/6000 processor). Where numbers could leave the range
// of float32, they are divided. Included after tile.inc.h.

// Sixteen columns, those of `there`, as codes.
template <bool Divide>
inline __m128i codes_512(const float* x, __mmask16 there, __m512 scale, __m512 inverse) {
  const __m512 value = _mm512_maskz_loadu_ps(there, x);
  __m512 scaled;
  if constexpr (Divide) {
    scaled = _mm512_div_ps(value, scale);
  } else {
    const __m512 near = _mm512_mul_ps(value, inverse);
    scaled = _mm512_fmadd_ps(_mm512_fnmadd_ps(near, scale, value), inverse, near);
  }
  const __m512 clamped = _mm512_min_ps(_mm512_max_ps(scaled, _mm512_set1_ps(-128.0f)), _mm512_set1_ps(127.0f));
  return _mm512_cvtepi32_epi8(_mm512_cvt_roundps_epi32(clamped, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

inline __mmask16 first_of_16(int64_t count) {
  return count >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << count) - 1);
}

template <bool Divide, class Store>
void make_codes_512(const float* x, int64_t cols, float scale, const Store& store) {
  const __m512 all_scale = _mm512_set1_ps(scale), inverse = _mm512_set1_ps(1.0f / scale);
  for (int64_t k = 0; k < cols; k += 16) {
    const __mmask16 there = first_of_16(cols - k);
    store(k, there, codes_512<Divide>(x + k, there, all_scale, inverse));
  }
}

// Columns that share a scale; returns it. store(k, there, codes) gets sixteen of them at a time, those of `there`
// as they are and the others 0.
template <class Store>
float quantize_group_512(const float* x, int64_t cols, float given_scale, const Store& store) {
  __m512i largest_bits = _mm512_setzero_si512();
  for (int64_t k = 0; k < cols; k += 16) {
    const __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(first_of_16(cols - k), x + k));
    largest_bits = _mm512_max_epi32(largest_bits, _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)));
  }
  const int32_t bits = _mm512_reduce_max_epi32(largest_bits);
  float largest;
  __builtin_memcpy(&largest, &bits, sizeof largest);
  if (!(largest < __builtin_inff())) {
    for (int64_t k = 0; k < cols; k += 16) store(k, first_of_16(cols - k), _mm_setzero_si128());
    return __builtin_nanf("");
  }
  const float scale = given_scale != 0.0f ? given_scale : largest / 127.5f, kept = scale == 0.0f ? 0x1p-23f : scale;
  const bool safe = given_scale == 0.0f && kept > 0x1p-60f && kept < 0x1p60f;
  safe ? make_codes_512<false>(x, cols, kept, store) : make_codes_512<true>(x, cols, kept, store);
  return kept;
}

// Codes of 32 columns as they are, and their sum.
inline int32_t sign_and_sum_32(const uint8_t* codes, int8_t* signed_codes) {
  const __m256i unsigned_codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(signed_codes),
                      _mm256_xor_si256(unsigned_codes, _mm256_set1_epi8(-128)));
  const __m256i eights = _mm256_sad_epu8(unsigned_codes, _mm256_setzero_si256());
  const __m128i pairs = _mm_add_epi64(_mm256_castsi256_si128(eights), _mm256_extracti128_si256(eights, 1));
  return _mm_cvtsi128_si32(_mm_add_epi64(pairs, _mm_unpackhi_epi64(pairs, pairs))) - 128 * 32;
}

// All codes, and minus the sums of `summed` of them.
inline void sign_and_sum_512(const uint8_t* codes, int64_t count, int64_t summed, int8_t* signed_codes,
                             int32_t* minus_sums) {
  for (int64_t begin = 0; begin < count; begin += summed) {
    int32_t sum = 0;
    for (int64_t k = begin; k < smaller(begin + summed, count); k += 32)
      sum += sign_and_sum_32(codes + k, signed_codes + k);
    *minus_sums++ = -sum;
  }
}

inline void quantize_512(const QuantizeTask& task) {
  float* scales = task.scales;
  for (int64_t t = 0; t < task.tokens; ++t) {
    const float* x = task.x + t * task.x_stride;
    uint8_t* codes = task.codes + t * task.code_stride;
    for (int64_t k = 0; k < task.cols; k += task.group) {
      const auto store = [to = codes + k](int64_t i, __mmask16 there, __m128i signed_codes) {
        _mm_mask_storeu_epi8(to + i, there, _mm_xor_si128(signed_codes, _mm_set1_epi8(-128)));
      };
      *scales++ = quantize_group_512(x + k, smaller(task.group, task.cols - k), task.given_scale, store);
    }
    __builtin_memset(codes + task.cols, 128, static_cast<size_t>(task.code_stride - task.cols));
    sign_and_sum_512(codes, task.code_stride, task.summed, task.signed_codes + t * task.code_stride,
                     task.minus_sums + t * (task.code_stride / 32));
  }
}
