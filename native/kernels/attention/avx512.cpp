#include "../vector/avx512.h"
#include "attention.inc.h"

namespace lichen {

extern const AttentionKernels attention_avx512;
const AttentionKernels attention_avx512 = {attend, attend_segment, join_segments};

}  // namespace lichen
