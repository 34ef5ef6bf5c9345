#include "../vector/portable.h"
#include "norm.inc.h"

namespace lichen {

extern const NormKernels norm_portable;
const NormKernels norm_portable = {rms_norm, layer_norm};

}  // namespace lichen
