#include "../vector/avx2.h"
#include "attention.inc.h"

namespace lichen {

void attention_avx2(const AttentionTask& task, float* scratch) { attend(task, scratch); }

}  // namespace lichen
