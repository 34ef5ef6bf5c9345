// The elementwise functions in terms of sixteen lanes; compiled once by each <isa>.cpp.
#pragma once

#include "../vector/functions.h"
#include "lichen/elementwise.h"

namespace lichen {
namespace {

template <typename Function>
LICHEN_INLINE void map1(const float* x, float* out, int64_t width, Function f) {
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) store(out + i, f(load(x + i)));
  if (i < width) store_first(out + i, f(load_first(x + i, width - i)), width - i);
}

template <typename Function>
LICHEN_INLINE void map2(const float* x, const float* y, float* out, int64_t width,
                        Function f) {
  int64_t i = 0;
  for (; i + 16 <= width; i += 16) store(out + i, f(load(x + i), load(y + i)));
  const int64_t n = width - i;
  if (n > 0) store_first(out + i, f(load_first(x + i, n), load_first(y + i, n)), n);
}

void add(const float* x, const float* y, float* out, int64_t width) {
  map2(x, y, out, width, [](F16 a, F16 b) LICHEN_LAMBDA { return add(a, b); });
}

void silu_mul(const float* gate, const float* up, float* out, int64_t width) {
  map2(gate, up, out, width, [](F16 a, F16 b) LICHEN_LAMBDA { return mul(silu(a), b); });
}

void gelu_exact(const float* x, float* out, int64_t width) {
  map1(x, out, width, [](F16 a) LICHEN_LAMBDA { return gelu_exact(a); });
}

void gelu_tanh(const float* x, float* out, int64_t width) {
  map1(x, out, width, [](F16 a) LICHEN_LAMBDA { return gelu_tanh(a); });
}

// (a, b) -> (a cos - b sin, b cos + a sin)
void rope_halves(float* x, int64_t heads, int64_t head_dim, int64_t pairs,
                 const float* cos, const float* sin) {
  for (int64_t head = 0; head < heads; ++head, x += head_dim) {
    for (int64_t i = 0; i < pairs; i += 16) {
      const int64_t n = pairs - i < 16 ? pairs - i : 16;
      const F16 a = load_first(x + i, n), b = load_first(x + pairs + i, n);
      const F16 c = load_first(cos + i, n), s = load_first(sin + i, n);
      store_first(x + i, fnma(b, s, mul(a, c)), n);
      store_first(x + pairs + i, fma(a, s, mul(b, c)), n);
    }
  }
}

void rope_interleaved(float* x, int64_t heads, int64_t head_dim, int64_t pairs,
                      const float* cos, const float* sin) {
  for (int64_t head = 0; head < heads; ++head, x += head_dim) {
    for (int64_t i = 0; i < pairs; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = scalar_fma(-b, sin[i], a * cos[i]);
      x[2 * i + 1] = scalar_fma(a, sin[i], b * cos[i]);
    }
  }
}

}  // namespace
}  // namespace lichen
