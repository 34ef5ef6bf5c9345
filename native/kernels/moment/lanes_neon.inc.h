// Four columns in 128 bits, signed.

struct InNeon {
  using Sum = int32x4_t;
  using Codes = int8x16_t;
  static constexpr int kLanes = 4, kRows = 4, kGroups = 4;

  static const int8_t* codes(const MomentPanel& a) { return a.codes; }
  static Sum open(const int32_t*) { return vdupq_n_s32(0); }
  static void store(int32_t* to, Sum sum) { vst1q_s32(to, sum); }
  static Codes load(const int8_t* from) { return vld1q_s8(from); }
  static Codes spread(const int8_t* from) { return spread_four(from); }
};
