#include "../vector/avx512.h"
#include "panel.inc.h"

namespace lichen {

const MatrixKernel matrix_avx512 = in_strips<8, 3>();

}  // namespace lichen
