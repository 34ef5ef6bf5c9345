// Trellis codes on Arm: four rows in a vector, kept as signed bytes, which meet inputs as q. After trellis.inc.h and
// neon.inc.h.

struct TrellisInNeon {
  using L = Lanes<16>;
  using Words = L::Words;
  using Input = int8_t;
  static constexpr int kParts = 4, kFewTokens = 0, kLines = 2;
  static constexpr bool kOffsets = false;

  static const int8_t* inputs(const LinearTask& task) { return task.signed_codes; }
  static Words widen(const char* bytes) {
    uint32_t four;
    __builtin_memcpy(&four, bytes, sizeof four);
    const uint16x8_t halves = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return (Words)vmovl_u16(vget_low_u16(halves));
  }
  static void keep(char* to, const Words& first, const Words& second, const Words& steps) {
    keep_bytes<L, 0>(to, first, second, steps);
  }
  static void finish_sum(int32x4_t sum, const float* units, float x_scale, float* total) {
    const float32x4_t part = vmulq_f32(vcvtq_f32_s32(sum), vld1q_f32(units));
    vst1q_f32(total, vfmaq_n_f32(vld1q_f32(total), part, x_scale));
  }
};
