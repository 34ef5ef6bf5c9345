#include "../vector/neon.h"
#include "attention.inc.h"

namespace lichen {

extern const AttentionKernels attention_neon;
const AttentionKernels attention_neon = {attend, attend_segment, join_segments};

}  // namespace lichen
