#include "../vector/avx2.h"
#include "attention.inc.h"
#include "lanes.inc.h"

namespace lichen {

extern const AttentionKernels attention_avx2;
const AttentionKernels attention_avx2 = kernels_with<InLanes>();

}  // namespace lichen
