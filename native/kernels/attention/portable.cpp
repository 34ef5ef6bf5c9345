#include "../vector/portable.h"
#include "attention.inc.h"

namespace lichen {

extern const AttentionKernels attention_portable;
const AttentionKernels attention_portable = {attend, attend_segment, join_segments};

}  // namespace lichen
