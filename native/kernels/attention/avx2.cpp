#include "../vector/avx2.h"
#include "attention.inc.h"

namespace lichen {

extern const AttentionKernels attention_avx2;
const AttentionKernels attention_avx2 = {attend, attend_segment, join_segments};

}  // namespace lichen
