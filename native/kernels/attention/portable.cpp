#include "../vector/portable.h"
#include "attention.inc.h"

namespace lichen {

void attention_portable(const AttentionTask& task, float* scratch) { attend(task, scratch); }

}  // namespace lichen
