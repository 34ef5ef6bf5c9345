// What the linear kernels of the Arm sets share; a panel of 16 rows is four registers. Included after
// tile.inc.h inside each set's anonymous namespace.
//
// Arm multiplies signed by signed, so int8 weights meet the activations as q, as int4 weights do.

struct FloatLanes {
  float32x4_t q0, q1, q2, q3;
};

struct IntLanes {
  int32x4_t q0, q1, q2, q3;
};

inline IntLanes no_ints() {
  const int32x4_t zero = vdupq_n_s32(0);
  return {zero, zero, zero, zero};
}
inline IntLanes load_ints(const SignedSum* from) {
  const int32_t* values = &from->value;
  return {vld1q_s32(values), vld1q_s32(values + 4), vld1q_s32(values + 8), vld1q_s32(values + 12)};
}
inline void store_ints(SignedSum* to, const IntLanes& sum) {
  int32_t* values = &to->value;
  vst1q_s32(values, sum.q0);
  vst1q_s32(values + 4, sum.q1);
  vst1q_s32(values + 8, sum.q2);
  vst1q_s32(values + 12, sum.q3);
}

// total[16] + float(sum) * scale
inline void add_scaled_ints(const IntLanes& sum, float scale, float* total) {
  vst1q_f32(total, vfmaq_n_f32(vld1q_f32(total), vcvtq_f32_s32(sum.q0), scale));
  vst1q_f32(total + 4, vfmaq_n_f32(vld1q_f32(total + 4), vcvtq_f32_s32(sum.q1), scale));
  vst1q_f32(total + 8, vfmaq_n_f32(vld1q_f32(total + 8), vcvtq_f32_s32(sum.q2), scale));
  vst1q_f32(total + 12, vfmaq_n_f32(vld1q_f32(total + 12), vcvtq_f32_s32(sum.q3), scale));
}

// 64 bytes of a panel.
struct Bytes {
  int8x16_t q0, q1, q2, q3;
};

inline Bytes load_bytes(const int8_t* from) {
  return {vld1q_s8(from), vld1q_s8(from + 16), vld1q_s8(from + 32), vld1q_s8(from + 48)};
}

struct F16Scales {
  static FloatLanes widen(const uint16_t* from) {
    const float16x8_t low = vreinterpretq_f16_u16(vld1q_u16(from));
    const float16x8_t high = vreinterpretq_f16_u16(vld1q_u16(from + 8));
    return {vcvt_f32_f16(vget_low_f16(low)), vcvt_high_f32_f16(low),
            vcvt_f32_f16(vget_low_f16(high)), vcvt_high_f32_f16(high)};
  }
};

struct Bf16Scales {
  static float32x4_t widen(uint16x4_t bits) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(bits), 16));
  }
  static FloatLanes widen(const uint16_t* from) {
    return {widen(vld1_u16(from)), widen(vld1_u16(from + 4)), widen(vld1_u16(from + 8)),
            widen(vld1_u16(from + 12))};
  }
};

// int4: everything but the products.
template <class Scales>
struct Int4InNeon {
  using Ints = IntLanes;
  using Floats = FloatLanes;
  struct Codes {
    Bytes first, second;  // columns 0 to 3 and 4 to 7 of each row, 0 to 15
  };

  static Ints none() { return no_ints(); }
  static Ints eight() {
    const int32x4_t eight = vdupq_n_s32(8);
    return {eight, eight, eight, eight};
  }
  static int32x4_t widen(uint16x4_t zeros) { return vreinterpretq_s32_u32(vmovl_u16(zeros)); }
  static Ints load_zeros(const char* from) {
    const uint8x16_t zeros = vld1q_u8(reinterpret_cast<const uint8_t*>(from));
    const uint16x8_t low = vmovl_u8(vget_low_u8(zeros)), high = vmovl_high_u8(zeros);
    return {widen(vget_low_u16(low)), widen(vget_high_u16(low)), widen(vget_low_u16(high)),
            widen(vget_high_u16(high))};
  }
  static Ints offset(const Ints& sum, const Ints& zeros, int32_t minus_sum) {
    return {vmlaq_n_s32(sum.q0, zeros.q0, minus_sum), vmlaq_n_s32(sum.q1, zeros.q1, minus_sum),
            vmlaq_n_s32(sum.q2, zeros.q2, minus_sum), vmlaq_n_s32(sum.q3, zeros.q3, minus_sum)};
  }

  static int8x16_t low_half(uint8x16_t pairs) {
    return vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15)));
  }
  static int8x16_t high_half(uint8x16_t pairs) {
    return vreinterpretq_s8_u8(vshrq_n_u8(pairs, 4));
  }
  static Codes load(const uint8_t* from) {
    const uint8x16_t q0 = vld1q_u8(from), q1 = vld1q_u8(from + 16), q2 = vld1q_u8(from + 32),
                     q3 = vld1q_u8(from + 48);
    return {{low_half(q0), low_half(q1), low_half(q2), low_half(q3)},
            {high_half(q0), high_half(q1), high_half(q2), high_half(q3)}};
  }

  static Floats nothing() {
    const float32x4_t zero = vdupq_n_f32(0);
    return {zero, zero, zero, zero};
  }
  static Floats load_scales(const char* from) {
    return Scales::widen(reinterpret_cast<const uint16_t*>(from));
  }
  static float32x4_t scale_add(int32x4_t sum, float32x4_t scales, float32x4_t total) {
    return vfmaq_f32(total, vcvtq_f32_s32(sum), scales);
  }
  static Floats scale_add(const Ints& sum, const Floats& scales, const Floats& total) {
    return {scale_add(sum.q0, scales.q0, total.q0), scale_add(sum.q1, scales.q1, total.q1),
            scale_add(sum.q2, scales.q2, total.q2), scale_add(sum.q3, scales.q3, total.q3)};
  }
  static Floats add_scaled(const Floats& part, float scale, const Floats& total) {
    return {vfmaq_n_f32(total.q0, part.q0, scale), vfmaq_n_f32(total.q1, part.q1, scale),
            vfmaq_n_f32(total.q2, part.q2, scale), vfmaq_n_f32(total.q3, part.q3, scale)};
  }
  static void store(float* to, const Floats& total) {
    vst1q_f32(to, total.q0);
    vst1q_f32(to + 4, total.q1);
    vst1q_f32(to + 8, total.q2);
    vst1q_f32(to + 12, total.q3);
  }
};
