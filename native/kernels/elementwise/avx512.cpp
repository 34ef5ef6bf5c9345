#include "../vector/avx512.h"
#include "elementwise.inc.h"

namespace lichen {

extern const ElementwiseKernels elementwise_avx512;
const ElementwiseKernels elementwise_avx512 = {add,       silu_mul,    gelu_exact,
                                             gelu_tanh, rope_halves, rope_interleaved};

}  // namespace lichen
