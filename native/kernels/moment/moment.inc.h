// The product of two panels; included by each <isa>.cpp behind what says how eight tokens are multiplied:
//
//   Sum, Codes         kLanes sums of columns of b; four tokens of as many columns
//   kRows, kGroups     columns of a, and sums of columns of b, that are held in registers
//   codes(panel)       of a: signed or raised
//   open(raise), store
//   load(from)         four tokens of kLanes columns of b
//   spread(from)       four tokens of one column of a, for every lane
//   add(sum, x, w, next_x, next_w)

template <class Op>
void multiply_panels(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride) {
  constexpr int kRows = Op::kRows, kGroups = Op::kGroups, kLanes = Op::kLanes, kWide = kGroups * kLanes;
  constexpr int64_t kFour = 4 * kMomentLines;
  for (int64_t j = 0; j < kMomentLines; j += kWide)
    for (int64_t i = 0; i < kMomentLines; i += kRows) {
      typename Op::Sum sum[kRows][kGroups];
      for (int r = 0; r < kRows; ++r) {
        for (int g = 0; g < kGroups; ++g) sum[r][g] = Op::open(b.raise + j + g * kLanes);
        __builtin_prefetch(c + (i + r) * stride + j);  // there by the time that all tokens are multiplied
        __builtin_prefetch(c + (i + r) * stride + j + kWide - 1);
      }
      const auto* x = Op::codes(a) + 4 * i;
      const int8_t* w = b.codes + 4 * j;
      for (int64_t token = 0; token < tokens; token += 8, x += 2 * kFour, w += 2 * kFour) {
        typename Op::Codes first[kGroups], second[kGroups];
        for (int g = 0; g < kGroups; ++g) {
          first[g] = Op::load(w + 4 * g * kLanes);
          second[g] = Op::load(w + kFour + 4 * g * kLanes);
        }
        for (int r = 0; r < kRows; ++r) {
          const auto low = Op::spread(x + 4 * r), high = Op::spread(x + kFour + 4 * r);
          for (int g = 0; g < kGroups; ++g) sum[r][g] = Op::add(sum[r][g], low, first[g], high, second[g]);
        }
      }
      for (int r = 0; r < kRows; ++r) {
        alignas(64) int32_t dots[kWide];
        for (int g = 0; g < kGroups; ++g) Op::store(dots + g * kLanes, sum[r][g]);
        float* row = c + (i + r) * stride + j;
        for (int l = 0; l < kWide; ++l)
          row[l] += static_cast<float>(dots[l]) * (a.scales[i + r] * b.scales[j + l]);
      }
    }
}
