// What each column of an input is like, for the solvers.
#pragma once

#include <cstdint>

#include "lichen/threads.h"

namespace lichen {

// Of each column of x [tokens][width]: `largest` becomes the largest magnitude if that is larger, and to `absolute` and
// `squares` [width] the sums of magnitudes and of squares are added. Sums of a column that has a number which is not
// finite are not finite either. The same whatever the threads.
void add_columns(ThreadPool& pool, const float* x, std::int64_t tokens, std::int64_t width, float* largest,
                 double* absolute, double* squares);

}  // namespace lichen
