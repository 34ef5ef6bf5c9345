// The norms in terms of sixteen lanes; compiled once by each <isa>.cpp.
#pragma once

#include "lichen/norm.h"

namespace lichen {
namespace {

// The sum over a row of step(sum, x): lane = column % 16. Columns past the end add step(sum, fill).
template <typename Step>
LICHEN_INLINE float sum_row(const float* x, int64_t width, float fill, Step step) {
  F16 sum = broadcast(0.0f);
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) sum = step(sum, load(x + i));
  if (i < width) sum = step(sum, keep_first(load_first(x + i, width - i), width - i, fill));
  return reduce_add(sum);
}

// out[i] = f(x[i], i); `f` gets the index and the number of lanes to load its own parameters.
template <typename Function>
LICHEN_INLINE void map_row(const float* x, float* out, int64_t width, Function f) {
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) store(out + i, f(load(x + i), i, 16));
  if (i < width) store_first(out + i, f(load_first(x + i, width - i), i, width - i), width - i);
}

void rms_norm(const float* x, float* out, const float* weight, float epsilon, int64_t width) {
  const float squares =
      sum_row(x, width, 0.0f, [](F16 sum, F16 v) LICHEN_LAMBDA { return fma(v, v, sum); });
  const F16 inverse =
      broadcast(1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + epsilon));
  map_row(x, out, width, [&](F16 v, int64_t i, int64_t n) LICHEN_LAMBDA {
    return mul(mul(v, inverse), load_first(weight + i, n));
  });
}

void layer_norm(const float* x, float* out, const float* weight, const float* bias, float epsilon,
                int64_t width) {
  const float count = static_cast<float>(width);
  const float mean =
      sum_row(x, width, 0.0f, [](F16 sum, F16 v) LICHEN_LAMBDA { return add(sum, v); }) / count;
  const F16 middle = broadcast(mean);
  const float squares = sum_row(x, width, mean, [&](F16 sum, F16 v) LICHEN_LAMBDA {
    const F16 apart = sub(v, middle);
    return fma(apart, apart, sum);
  });
  const F16 inverse = broadcast(1.0f / __builtin_sqrtf(squares / count + epsilon));
  map_row(x, out, width, [&](F16 v, int64_t i, int64_t n) LICHEN_LAMBDA {
    return fma(mul(sub(v, middle), inverse), load_first(weight + i, n), load_first(bias + i, n));
  });
}

}  // namespace
}  // namespace lichen
