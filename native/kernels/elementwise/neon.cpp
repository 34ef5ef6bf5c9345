#include "../vector/neon.h"
#include "elementwise.inc.h"

namespace lichen {

extern const ElementwiseKernels elementwise_neon;
const ElementwiseKernels elementwise_neon = {add,       silu_mul,    gelu_exact,
                                             gelu_tanh, rope_halves, rope_interleaved};

}  // namespace lichen
