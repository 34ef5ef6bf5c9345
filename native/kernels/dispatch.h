// The kernels of each instruction set.
#pragma once

#include <cstdint>

#include "kernels/linear/kernel.h"
#include "kernels/peak/peak.h"
#include "lichen/cpu.h"

namespace lichen {

struct LinearKernels {
  LinearKernel f32, f16, bf16, i8, i4;
  QuantizeKernel quantize;
  LinearKernel t4 = linear_t4_portable;
  LinearKernel b8 = linear_b8_portable, b6 = linear_b6_portable, b4 = linear_b4_portable;
  WidenKernel widen = widen_words_portable;  // what these read
  HalveKernel halve = nullptr;  // what bf16 reads; null where it reads floats
  QuantizeTilesKernel quantize_tiles = nullptr;  // what i8 and i4 read of more than kFewTileTokens; null where codes
  // Columns of a row that lie together in a panel.
  std::int64_t i8_depth = 4;    // or 8
  bool i8_words = false;        // whether i8 reads words of its input
  bool i8_unsigned = false;     // whether i8 with scales for groups of inputs holds code + 128
  std::int64_t bf16_depth = 1;  // or 2
};

// Throws std::invalid_argument when this machine cannot run `isa`.
const LinearKernels& linear_kernels(Isa isa);

// The fastest int8 and bf16 multiply-adds of a set; what has none of its own has those of the set below.
struct PeakLoops {
  PeakLoop i8, bf16;
};

PeakLoops peak_loops(Isa isa);

}  // namespace lichen
