// What the levels of a block are too high by, on x86. After trellis.inc.h.

// 16 times the sums of a block's columns 0, 1, 4, 5 and 2, 3, 6, 7, in the halves of a lane; as `made` makes it of four
// blocks. x [blocks * 8], whole 32 columns.
template <class Made>
[[gnu::always_inline]] inline void sum_blocks(const int8_t* x, int64_t blocks, int32_t* to, const Made& made) {
  for (int64_t k = 0; k < blocks * kTrellisBlock; k += 32) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + k));
    const __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(kTrellisMiddle), codes);
    const __m256i both = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0xb1));
    const __m256i four = _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    _mm_store_si128(reinterpret_cast<__m128i*>(to + k / kTrellisBlock), made(_mm256_castsi256_si128(four)));
  }
}
