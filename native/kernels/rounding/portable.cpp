#include "../vector/portable.h"
#include "rounding.inc.h"
#include "trellis.inc.h"
#include "trellis_feedback.inc.h"

namespace lichen {

extern const RoundingKernels rounding_portable;
const RoundingKernels rounding_portable = {widen_f16,      widen_bf16, extremes, fit_parts,
                                           half_quadratic, round,      squares,  feed_back, descend, encode_trellis, feed_trellis};

}  // namespace lichen
