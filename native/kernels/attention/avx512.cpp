#include "../vector/avx512.h"
#include "attention.inc.h"
#include "lanes.inc.h"

namespace lichen {

extern const AttentionKernels attention_avx512;
const AttentionKernels attention_avx512 = kernels_with<InLanes>();

}  // namespace lichen
