#include "../vector/neon.h"
#include "panel.inc.h"

namespace lichen {

const MatrixKernel matrix_neon = in_strips<6, 1>();

}  // namespace lichen
