// Trellis codes in 512 bits, with VNNI or without: 16 rows in a vector. After trellis.inc.h.

struct TrellisIn512 {
  using L = Lanes<64>;
  using Words = L::Words;
  using Sum = __m512i;
  static constexpr int kParts = 1;

  static Sum none() { return _mm512_setzero_si512(); }
  static Words widen(const char* bytes) {
    return (Words)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
  // The lowest three bits of each lane plus 1, in both halves of it.
  static __m512i steps(const Words& words) {
    const __m512i one_to_eight = _mm512_broadcast_i64x4(
        _mm256_setr_epi32(0x10001, 0x20002, 0x30003, 0x40004, 0x50005, 0x60006, 0x70007, 0x80008));
    return _mm512_permutexvar_epi32((__m512i)words, one_to_eight);  // of four bits the highest changes nothing
  }
  static void finish(Sum sum, const float* units, float x_scale, float* total) {
    const __m512 part = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_load_ps(units));
    _mm512_store_ps(total, _mm512_fmadd_ps(part, _mm512_set1_ps(x_scale), _mm512_load_ps(total)));
  }
};
