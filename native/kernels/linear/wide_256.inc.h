// What products with inputs in 16 bits share in 256 bits, with VNNI or without. After int4_256.inc.h.

struct WideIn256 : LanesIn256 {
  using Line = IntPair;

  static constexpr bool kHoldsTotals = false;

  static Line load_line(const char* from) { return {load_vector(from), load_vector(from + 32)}; }
  static __m256i low_half(__m256i pairs) { return _mm256_and_si256(pairs, _mm256_set1_epi8(15)); }
  static Line low(const Line& pairs) { return {low_half(pairs.low), low_half(pairs.high)}; }
  static Line high(const Line& pairs) {
    return {low_half(_mm256_srli_epi16(pairs.low, 4)), low_half(_mm256_srli_epi16(pairs.high, 4))};
  }
  static __m256i with_pairs(__m256i halves, __m256i pairs, int q) {
    const __m256i above = q == 0   ? _mm256_slli_epi16(pairs, 4)
                          : q == 1 ? _mm256_slli_epi16(pairs, 2)
                          : q == 2 ? pairs
                                   : _mm256_srli_epi16(pairs, 2);
    return _mm256_or_si256(halves, _mm256_and_si256(above, _mm256_set1_epi8(0x30)));
  }
  static Line with_pairs(const Line& halves, const Line& pairs, int q) {
    return {with_pairs(halves.low, pairs.low, q), with_pairs(halves.high, pairs.high, q)};
  }

  static Floats load_floats(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
  static Floats load_scales(const char* from, ScaleType type) {
    if (type == ScaleType::f32) return load_floats(reinterpret_cast<const float*>(from));
    const auto* halves = reinterpret_cast<const __m128i*>(from);
    const __m128i low = _mm_loadu_si128(halves), high = _mm_loadu_si128(halves + 1);
    return type == ScaleType::f16 ? FloatPair{F16Scales::widen(low), F16Scales::widen(high)}
                                  : FloatPair{Bf16Scales::widen(low), Bf16Scales::widen(high)};
  }
  static Floats load_multiples(const char* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return floats({_mm256_cvtepi8_epi32(bytes), _mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))});
  }
  static Floats floats(const Ints& sum) { return {_mm256_cvtepi32_ps(sum.low), _mm256_cvtepi32_ps(sum.high)}; }
  static Floats times(const Floats& a, const Floats& b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
  }
};
