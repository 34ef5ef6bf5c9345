// What int4 products in 512 bits share, with VNNI or without: a panel of 16 rows is one register.

struct F16Scales {
  static __m512 widen(__m256i bits) { return _mm512_cvtph_ps(bits); }
};

struct Bf16Scales {
  static __m512 widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
};

// 16 lanes.
struct LanesIn512 {
  using Ints = __m512i;
  using Floats = __m512;

  static Ints none() { return _mm512_setzero_si512(); }
  static Ints minus(Ints sum) { return _mm512_sub_epi32(none(), sum); }
  static Ints load_ints(const int32_t* from) { return _mm512_load_si512(from); }
  static void store_ints(int32_t* to, Ints sum) { _mm512_store_si512(to, sum); }

  static Floats nothing() { return _mm512_setzero_ps(); }
  static Floats load_floats(const float* from) { return _mm512_load_ps(from); }
  static void store(float* to, Floats total) { _mm512_store_ps(to, total); }
  static Floats scaled(Ints sum, Floats scales) { return _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales); }
  static Floats scale_add(Ints sum, Floats scales, Floats total) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scales, total);
  }
  static Floats add_scaled(Floats part, float scale, Floats total) {
    return _mm512_fmadd_ps(part, _mm512_set1_ps(scale), total);
  }
};

template <class Scales>
struct Int4In512 : LanesIn512 {
  struct Codes {
    __m512i first, second;  // columns 0 to 3 and 4 to 7 of each row
  };

  static Ints eight() { return _mm512_set1_epi32(8); }
  static Ints load_zeros(const char* from) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Codes load(const uint8_t* from) {
    const __m512i pairs = _mm512_loadu_si512(from), mask = _mm512_set1_epi8(15);
    return {_mm512_and_si512(pairs, mask), _mm512_and_si512(_mm512_srli_epi16(pairs, 4), mask)};
  }
  static Floats load_scales(const char* from) {
    return Scales::widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }

  static __m512i spread_zeros(Ints zeros) { return _mm512_mullo_epi32(zeros, _mm512_set1_epi32(0x01010101)); }
  static Codes less(const Codes& w, __m512i zeros) {
    return {_mm512_sub_epi8(w.first, zeros), _mm512_sub_epi8(w.second, zeros)};
  }
  static __m512i no_bytes() { return _mm512_setzero_si512(); }
  static __m512i add_bytes(__m512i a, __m512i b) { return _mm512_add_epi8(a, b); }
};

// What products of expanded int4 share. 12 sums, 12 totals, 4 weights and 1 input of the 32 registers.
struct ExpandedIn512 : LanesIn512 {
  using Bytes = __m512i;
  static constexpr int kPanels = 4, kTokens = 3;
  static constexpr bool kHoldsTotals = true;

  static Bytes load(const int8_t* from) { return _mm512_load_si512(from); }
  static void hold(Bytes& w) { asm("" : "+v"(w)); }
  static void store_bytes(int8_t* to, Bytes w) { _mm512_store_si512(to, w); }
  static __m512i spread(const uint8_t* x) { return spread_four(x); }
};
