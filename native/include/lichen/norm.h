// Normalization of one row (the activations of one token).
#pragma once

#include <stdint.h>

namespace lichen {

enum class Isa;  // lichen/cpu.h

// Sums run in 16 lanes, lane = column % 16, joined by one fixed tree: equal bits everywhere.
// `out` may be `x`.
struct NormKernels {
  // out = x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019, arXiv 1910.07467)
  void (*rms_norm)(const float* x, float* out, const float* weight, float epsilon,
                   int64_t width);
  // out = (x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016, arXiv 1607.06450)
  void (*layer_norm)(const float* x, float* out, const float* weight, const float* bias,
                     float epsilon, int64_t width);
};

const NormKernels& norm_kernels(Isa isa);

}  // namespace lichen
