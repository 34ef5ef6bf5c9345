// Trellis codes in 256 bits, with VNNI or without: 8 rows in a vector. After trellis.inc.h.

struct TrellisIn256 {
  using L = Lanes<32>;
  using Words = L::Words;
  using Sum = __m256i;
  static constexpr int kParts = 2;

  static Sum none() { return _mm256_setzero_si256(); }
  static Words widen(const char* bytes) {
    return (Words)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  }
  // The lowest three bits of each lane plus 1, in both halves of it.
  static __m256i steps(const Words& words) {
    const __m256i one_to_eight = _mm256_setr_epi32(0x10001, 0x20002, 0x30003, 0x40004, 0x50005, 0x60006, 0x70007, 0x80008);
    return _mm256_permutevar8x32_epi32(one_to_eight, (__m256i)words);
  }
  static void finish(Sum sum, const float* units, float x_scale, float* total) {
    const __m256 part = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_load_ps(units));
    _mm256_store_ps(total, _mm256_fmadd_ps(part, _mm256_set1_ps(x_scale), _mm256_load_ps(total)));
  }
};
