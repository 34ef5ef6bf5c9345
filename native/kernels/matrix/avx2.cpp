#include "../vector/avx2.h"
#include "panel.inc.h"

namespace lichen {

const MatrixKernel matrix_avx2 = in_strips<6, 1>();

}  // namespace lichen
