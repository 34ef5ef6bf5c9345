// The kernels of each instruction set.
#pragma once

#include "kernels/linear/kernel.h"
#include "lichen/cpu.h"

namespace lichen {

struct LinearKernels {
  LinearKernel f32, f16, bf16, i8, i4;
  QuantizeKernel quantize;
};

// Throws std::invalid_argument when this machine cannot run `isa`.
const LinearKernels& linear_kernels(Isa isa);

}  // namespace lichen
