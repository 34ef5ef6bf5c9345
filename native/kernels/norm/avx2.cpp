#include "../vector/avx2.h"
#include "norm.inc.h"

namespace lichen {

extern const NormKernels norm_avx2;
const NormKernels norm_avx2 = {rms_norm, layer_norm};

}  // namespace lichen
