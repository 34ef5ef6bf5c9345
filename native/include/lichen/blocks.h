// Codes and scales of least squared error for weights in small blocks, as GGUF's formats have them.
//
// A block is a run of weights with a scale of its own, and in the affine formats a shift; eight or
// sixteen blocks that share the scale of their scales are a superblock of 256 weights.  Every result
// is one fixed chain of IEEE operations, so it is the same on every machine and for any neighbours.
#pragma once

#include <cstdint>

#include "lichen/block_types.h"

namespace lichen {

// scales[b] for w = code * scale with codes low .. -low - 1; `size` is 16 or 32.
void fit_symmetric(const float* weights, std::int64_t blocks, int size, int low, float* scales);

// scales[b] and shifts[b] for w = code * scale + shift with codes 0 .. high, blocks of 32.
void fit_affine(const float* weights, std::int64_t blocks, int high, float* scales, float* shifts);

// Superblocks of eight blocks of 32: w = code * scale * units[0] - minimum * units[1], with codes
// 0 .. high, scales and minima 0 .. 63, and units [2] that are numbers of float16.
void fit_affine_super(const float* weights, std::int64_t superblocks, int high, float* units,
                      std::uint8_t* scales, std::uint8_t* minima, std::uint8_t* codes);

// Superblocks of sixteen blocks of 16: w = code * scale * unit, with codes low .. -low - 1, scales
// -128 .. 127, and a unit that is a number of float16.
void fit_symmetric_super(const float* weights, std::int64_t superblocks, int low, float* units,
                         std::int8_t* scales, std::int8_t* codes);

}  // namespace lichen
