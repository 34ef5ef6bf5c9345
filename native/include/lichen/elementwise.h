// What works on each number of a row, or on pairs of them.
#pragma once

#include <stdint.h>

namespace lichen {

enum class Isa;  // lichen/cpu.h

// An output may be one of the inputs.
struct ElementwiseKernels {
  void (*add)(const float* x, const float* y, float* out, int64_t width);
  void (*silu_mul)(const float* gate, const float* up, float* out, int64_t width);
  void (*gelu_exact)(const float* x, float* out, int64_t width);
  void (*gelu_tanh)(const float* x, float* out, int64_t width);
  // Rotates the first 2 * pairs numbers of every head, in place (Su et al. 2021, arXiv 2104.09864).
  // Pair i is (i, i + pairs), as in llama, or (2i, 2i + 1), as in GPT-J. cos, sin: float[pairs].
  void (*rope_halves)(float* x, int64_t heads, int64_t head_dim, int64_t pairs,
                      const float* cos, const float* sin);
  void (*rope_interleaved)(float* x, int64_t heads, int64_t head_dim, int64_t pairs,
                           const float* cos, const float* sin);
};

const ElementwiseKernels& elementwise_kernels(Isa isa);

}  // namespace lichen
