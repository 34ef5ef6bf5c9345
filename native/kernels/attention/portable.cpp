#include "../vector/portable.h"
#include "attention.inc.h"
#include "lanes.inc.h"

namespace lichen {

extern const AttentionKernels attention_portable;
const AttentionKernels attention_portable = kernels_with<InLanes>();

}  // namespace lichen
