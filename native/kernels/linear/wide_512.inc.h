// What products with inputs in 16 bits share in 512 bits, with VNNI or without. After int4_512.inc.h.

struct WideIn512 : LanesIn512 {
  using Line = __m512i;

  static Line load_line(const char* from) { return _mm512_loadu_si512(from); }
  static Line low(Line pairs) { return _mm512_and_si512(pairs, _mm512_set1_epi8(15)); }
  static Line high(Line pairs) { return low(_mm512_srli_epi16(pairs, 4)); }
  static Line with_pairs(Line halves, Line pairs, int q) {
    const Line above = q == 0   ? _mm512_slli_epi16(pairs, 4)
                       : q == 1 ? _mm512_slli_epi16(pairs, 2)
                       : q == 2 ? pairs
                                : _mm512_srli_epi16(pairs, 2);
    return _mm512_or_si512(halves, _mm512_and_si512(above, _mm512_set1_epi8(0x30)));
  }

  static Floats load_floats(const float* from) { return _mm512_loadu_ps(from); }
  static Floats load_scales(const char* from, ScaleType type) {
    if (type == ScaleType::f32) return _mm512_loadu_ps(from);
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return type == ScaleType::f16 ? F16Scales::widen(bits) : Bf16Scales::widen(bits);
  }
  static Floats load_multiples(const char* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  }
  static Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
};
