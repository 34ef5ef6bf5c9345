#include "../vector/neon.h"
#include "norm.inc.h"

namespace lichen {

extern const NormKernels norm_neon;
const NormKernels norm_neon = {rms_norm, layer_norm};

}  // namespace lichen
