#include "../vector/avx512.h"
#include "attention.inc.h"

namespace lichen {

void attention_avx512(const AttentionTask& task, float* scratch) { attend(task, scratch); }

}  // namespace lichen
