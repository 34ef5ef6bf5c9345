#include "../vector/neon.h"
#include "attention.inc.h"

namespace lichen {

void attention_neon(const AttentionTask& task, float* scratch) { attend(task, scratch); }

}  // namespace lichen
