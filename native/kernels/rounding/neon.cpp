#include "../vector/neon.h"
#include "rounding.inc.h"
#include "trellis.inc.h"
#include "trellis_feedback.inc.h"

namespace lichen {

extern const RoundingKernels rounding_neon;
const RoundingKernels rounding_neon = {widen_f16,      widen_bf16, extremes, fit_parts,
                                       half_quadratic, round,      squares,  feed_back, descend, encode_trellis, feed_trellis};

}  // namespace lichen
