#include "../vector/neon.h"
#include "attention.inc.h"
#include "lanes.inc.h"

namespace lichen {

extern const AttentionKernels attention_neon;
const AttentionKernels attention_neon = kernels_with<InLanes>();

}  // namespace lichen
