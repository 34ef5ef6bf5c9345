// The second moment of a product's input, for the solvers.
//
// Its products are made of columns that are rounded first: 256 tokens at a time, each column to 63 steps on
// either side of zero. What is lost is noise of a thousandth of a column's square, far below what any damping adds,
// and bytes are multiplied several times as fast as floats. Rounded inputs are inputs, too: a moment of them
// has no negative direction but for the rounding of its sums. Integer sums are exact, and what follows is one
// fixed chain of operations, so that all instruction sets and numbers of threads give the same bits.
#pragma once

#include <cstdint>

#include "lichen/cpu.h"
#include "lichen/threads.h"

namespace lichen {

// total [width][width] += X^T X with X [tokens][width], finite, its rows `stride` apart; of the lower triangle, and of
// more where it is near.
void add_moment(ThreadPool& pool, Isa isa, const float* x, std::int64_t stride, std::int64_t tokens, std::int64_t width,
                float* total);

}  // namespace lichen
