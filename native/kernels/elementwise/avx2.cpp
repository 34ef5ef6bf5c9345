#include "../vector/avx2.h"
#include "elementwise.inc.h"

namespace lichen {

extern const ElementwiseKernels elementwise_avx2;
const ElementwiseKernels elementwise_avx2 = {add,       silu_mul,    gelu_exact,
                                             gelu_tanh, rope_halves, rope_interleaved};

}  // namespace lichen
