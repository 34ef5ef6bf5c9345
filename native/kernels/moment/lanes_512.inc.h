// Sixteen columns in 512 bits, those of a raised, as bytes without sign are what is multiplied with signed ones.

struct In512 {
  using Sum = __m512i;
  using Codes = __m512i;
  static constexpr int kLanes = 16, kRows = 8, kGroups = 2;

  static const uint8_t* codes(const MomentPanel& a) { return a.raised; }
  static Sum open(const int32_t* raise) { return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(raise)); }
  static void store(int32_t* to, Sum sum) { _mm512_store_si512(to, sum); }
  static Codes load(const int8_t* from) { return _mm512_load_si512(from); }
  static Codes spread(const uint8_t* from) { return spread_four(from); }
};
