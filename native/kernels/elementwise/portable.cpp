#include "../vector/portable.h"
#include "elementwise.inc.h"

namespace lichen {

extern const ElementwiseKernels elementwise_portable;
const ElementwiseKernels elementwise_portable = {add,       silu_mul,    gelu_exact,
                                             gelu_tanh, rope_halves, rope_interleaved};

}  // namespace lichen
