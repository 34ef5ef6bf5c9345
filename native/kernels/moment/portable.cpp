#include "kernels/moment/kernel.h"

namespace lichen {
namespace {

#include "kernels/moment/moment.inc.h"

struct Plain {
  struct Sum {
    int32_t lane[4];
  };
  struct Codes {
    int8_t code[16];
  };
  static constexpr int kLanes = 4, kRows = 4, kGroups = 1;

  static const int8_t* codes(const MomentPanel& a) { return a.codes; }
  static Sum open(const int32_t*) { return {}; }
  static void store(int32_t* to, const Sum& sum) { __builtin_memcpy(to, sum.lane, sizeof sum.lane); }
  static Codes load(const int8_t* from) {
    Codes codes;
    __builtin_memcpy(codes.code, from, sizeof codes.code);
    return codes;
  }
  static const int8_t* spread(const int8_t* from) { return from; }
  static Sum add(Sum sum, const int8_t* x, const Codes& w, const int8_t* next_x, const Codes& next_w) {
    for (int l = 0; l < kLanes; ++l)
      for (int k = 0; k < 4; ++k) sum.lane[l] += x[k] * w.code[4 * l + k] + next_x[k] * next_w.code[4 * l + k];
    return sum;
  }
};

}  // namespace

void moment_portable(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride) {
  multiply_panels<Plain>(a, b, tokens, c, stride);
}

}  // namespace lichen
