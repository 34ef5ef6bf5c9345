#include "../vector/avx2.h"
#include "panel.inc.h"

namespace lichen {

void panel_f32_avx2(const float* a, const float* b, int64_t depth, float* c, int64_t c_stride) {
  panel(a, b, depth, c, c_stride);
}

}  // namespace lichen
