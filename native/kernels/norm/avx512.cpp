#include "../vector/avx512.h"
#include "norm.inc.h"

namespace lichen {

extern const NormKernels norm_avx512;
const NormKernels norm_avx512 = {rms_norm, layer_norm};

}  // namespace lichen
