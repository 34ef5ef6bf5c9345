// The limits of plain C++, in the 16-byte vectors that every compiler has.
#include "kernels/peak/peak.h"

#if defined(__x86_64__)
#define LICHEN_REGISTER "x"
#elif defined(__aarch64__)
#define LICHEN_REGISTER "w"
#else
#define LICHEN_REGISTER "m"
#endif

namespace lichen {
namespace {

#include "kernels/peak/chains.inc.h"

using Floats = float __attribute__((vector_size(16)));
using Ints = uint32_t __attribute__((vector_size(16)));

template <class Lanes>
struct Chain {
  using Sum = Lanes;
  using Input = Lanes;
  static constexpr int kChains = 8, kOperations = 2 * 4;

  static Sum zero() { return Lanes{}; }
  static Input input() { return Lanes{} + 1; }
  static Sum add_product(Sum sum, Input w, Input x) { return sum + w * x; }
};

}  // namespace

int64_t peak_i8_portable(int64_t rounds) { return run_chains<Chain<Ints>>(rounds); }
int64_t peak_bf16_portable(int64_t rounds) { return run_chains<Chain<Floats>>(rounds); }

}  // namespace lichen
