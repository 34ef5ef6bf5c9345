#include "../vector/portable.h"
#include "panel.inc.h"

namespace lichen {

const MatrixKernel matrix_portable = in_strips<3, 1>();

}  // namespace lichen
