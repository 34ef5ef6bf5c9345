// What int4 products in 512 bits share, with VNNI or without: a panel of 16 rows is one register.

struct F16Scales {
  static __m512 widen(__m256i bits) { return _mm512_cvtph_ps(bits); }
};

struct Bf16Scales {
  static __m512 widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
};

inline __m512i spread_four(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, sizeof four);
  return _mm512_set1_epi32(four);
}

template <class Scales>
struct Int4In512 {
  using Ints = __m512i;
  using Floats = __m512;
  struct Codes {
    __m512i first, second;  // columns 0 to 3 and 4 to 7 of each row
  };

  static Ints none() { return _mm512_setzero_si512(); }
  static Ints eight() { return _mm512_set1_epi32(8); }
  static Ints load_zeros(const char* from) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Codes load(const uint8_t* from) {
    const __m512i pairs = _mm512_loadu_si512(from), mask = _mm512_set1_epi8(15);
    return {_mm512_and_si512(pairs, mask), _mm512_and_si512(_mm512_srli_epi16(pairs, 4), mask)};
  }

  static Floats nothing() { return _mm512_setzero_ps(); }
  static Floats load_scales(const char* from) {
    return Scales::widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Floats scale_add(Ints sum, Floats scales, Floats total) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, total);
  }
  static Floats add_scaled(Floats part, float scale, Floats total) {
    return _mm512_fmadd_ps(part, _mm512_set1_ps(scale), total);
  }
  static void store(float* to, Floats total) { _mm512_store_ps(to, total); }
};
