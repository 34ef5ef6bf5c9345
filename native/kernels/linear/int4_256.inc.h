// What products in 256 bits share, with VNNI or without: a panel of 16 rows is two registers.

struct FloatPair {
  __m256 low, high;
};

struct IntPair {
  __m256i low, high;
};

__m256 widen_bf16(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

inline __m256i load_vector(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

struct F16Scales {
  static __m256 widen(__m128i bits) { return _mm256_cvtph_ps(bits); }
};

struct Bf16Scales {
  static __m256 widen(__m128i bits) { return widen_bf16(bits); }
};

// 16 lanes.
struct LanesIn256 {
  using Ints = IntPair;
  using Floats = FloatPair;

  static Ints none() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  static Ints minus(const Ints& sum) {
    return {_mm256_sub_epi32(none().low, sum.low), _mm256_sub_epi32(none().high, sum.high)};
  }
  static Ints load_ints(const int32_t* from) { return {load_vector(from), load_vector(from + 8)}; }
  static void store_ints(int32_t* to, const Ints& sum) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), sum.low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + 8), sum.high);
  }

  static Floats nothing() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Floats load_floats(const float* from) { return {_mm256_load_ps(from), _mm256_load_ps(from + 8)}; }
  static void store(float* to, const Floats& total) {
    _mm256_store_ps(to, total.low);
    _mm256_store_ps(to + 8, total.high);
  }
  static Floats scaled(const Ints& sum, const Floats& scales) {
    return {_mm256_mul_ps(_mm256_cvtepi32_ps(sum.low), scales.low),
            _mm256_mul_ps(_mm256_cvtepi32_ps(sum.high), scales.high)};
  }
  static Floats scale_add(const Ints& sum, const Floats& scales, const Floats& total) {
    return {_mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.low), scales.low, total.low),
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum.high), scales.high, total.high)};
  }
  static Floats add_scaled(const Floats& part, float scale, const Floats& total) {
    const __m256 spread = _mm256_set1_ps(scale);
    return {_mm256_fmadd_ps(part.low, spread, total.low), _mm256_fmadd_ps(part.high, spread, total.high)};
  }
};

template <class Scales>
struct Int4In256 : LanesIn256 {
  struct Codes {
    IntPair first, second;  // columns 0 to 3 and 4 to 7 of each row
  };

  static Ints eight() { return {_mm256_set1_epi32(8), _mm256_set1_epi32(8)}; }
  static Ints load_zeros(const char* from) {
    const __m128i zeros = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepu8_epi32(zeros), _mm256_cvtepu8_epi32(_mm_srli_si128(zeros, 8))};
  }
  static __m256i low_half(__m256i pairs) { return _mm256_and_si256(pairs, _mm256_set1_epi8(15)); }
  static Codes load(const uint8_t* from) {
    const __m256i low = load_vector(from), high = load_vector(from + 32);
    return {{low_half(low), low_half(high)},
            {low_half(_mm256_srli_epi16(low, 4)), low_half(_mm256_srli_epi16(high, 4))}};
  }
  static Floats load_scales(const char* from) {
    const auto* halves = reinterpret_cast<const __m128i*>(from);
    return {Scales::widen(_mm_loadu_si128(halves)), Scales::widen(_mm_loadu_si128(halves + 1))};
  }

  static IntPair spread_zeros(const Ints& zeros) {
    const __m256i four = _mm256_set1_epi32(0x01010101);
    return {_mm256_mullo_epi32(zeros.low, four), _mm256_mullo_epi32(zeros.high, four)};
  }
  static IntPair less(const IntPair& w, const IntPair& zeros) {
    return {_mm256_sub_epi8(w.low, zeros.low), _mm256_sub_epi8(w.high, zeros.high)};
  }
  static Codes less(const Codes& w, const IntPair& zeros) { return {less(w.first, zeros), less(w.second, zeros)}; }
  static IntPair no_bytes() { return none(); }
  static IntPair add_bytes(const IntPair& a, const IntPair& b) {
    return {_mm256_add_epi8(a.low, b.low), _mm256_add_epi8(a.high, b.high)};
  }
};

// What products of expanded int4 share.
struct ExpandedIn256 : LanesIn256 {
  using Bytes = IntPair;
  static constexpr int kPanels = 1;
  static constexpr bool kHoldsTotals = false;

  static Bytes load(const int8_t* from) { return {load_vector(from), load_vector(from + 32)}; }
  static void hold(Bytes& w) { asm("" : "+x"(w.low), "+x"(w.high)); }
  static void store_bytes(int8_t* to, const Bytes& w) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), w.low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + 32), w.high);
  }
  static __m256i spread(const uint8_t* x) { return spread_four(x); }
};
