// Eight columns in 256 bits, those of a raised, as bytes without sign are what is multiplied with signed ones.

struct In256 {
  using Sum = __m256i;
  using Codes = __m256i;
  static constexpr int kLanes = 8, kRows = 4, kGroups = 2;

  static const uint8_t* codes(const MomentPanel& a) { return a.raised; }
  static Sum open(const int32_t* raise) {
    return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(raise)));
  }
  static void store(int32_t* to, Sum sum) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), sum); }
  static Codes load(const int8_t* from) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(from)); }
  static Codes spread(const uint8_t* from) { return spread_four(from); }
};
