// What the linear kernels are given and how they are named. Plain data only: this header is compiled
// under every instruction set's flags, and one inline function here would let the linker keep the copy
// of the newest set for every processor.
#pragma once

#include <stdint.h>

namespace lichen {

// A product of some whole panels with some tokens (see lichen/linear.h for the layouts).
struct LinearTask {
  const char* weights;      // the first panel
  int64_t panel_bytes;
  int64_t panels;
  int64_t rows;             // rows that exist in these panels: the last panel may be part padding
  int64_t cols;
  const float* scales;      // [panels * 16], i8 only
  const int32_t* row_sums;  // [panels * 16], i8 only
  const float* bias;        // [panels * 16] or null
  const float* x;           // [tokens][x_stride], float weights only
  int64_t x_stride;
  const uint8_t* codes;     // [tokens][code_stride], i8 only
  int64_t code_stride;
  const float* x_scales;    // [tokens], i8 only
  int64_t tokens;           // at most kTaskTokens
  float* y;                 // [tokens][y_stride], at these panels' first row
  int64_t y_stride;
  bool accumulate;
};

constexpr int64_t kTaskTokens = 128;  // bounds the partial sums that a kernel keeps on its stack

using LinearKernel = void (*)(const LinearTask&);

// See quantize_rows in lichen/linear.h. Rows [0, tokens).
using QuantizeKernel = void (*)(const float* x, int64_t x_stride, int64_t tokens, int64_t cols,
                                uint8_t* codes, int64_t code_stride, float* scales);

void linear_f32_portable(const LinearTask&);
void linear_f16_portable(const LinearTask&);
void linear_bf16_portable(const LinearTask&);
void linear_i8_portable(const LinearTask&);
void quantize_portable(const float*, int64_t, int64_t, int64_t, uint8_t*, int64_t, float*);

void linear_f32_avx2(const LinearTask&);
void linear_f16_avx2(const LinearTask&);
void linear_bf16_avx2(const LinearTask&);
void linear_i8_avx2(const LinearTask&);
void quantize_avx2(const float*, int64_t, int64_t, int64_t, uint8_t*, int64_t, float*);

void linear_f32_avx512(const LinearTask&);
void linear_f16_avx512(const LinearTask&);
void linear_bf16_avx512(const LinearTask&);
void linear_i8_avx512(const LinearTask&);
void quantize_avx512(const float*, int64_t, int64_t, int64_t, uint8_t*, int64_t, float*);

void linear_i8_avx512_vnni(const LinearTask&);

}  // namespace lichen
