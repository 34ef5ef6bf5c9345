// Linear layers: y = x W^T (+ bias), the weight packed once for every later product.
#pragma once

#include <cstdint>
#include <memory>

#include "lichen/cpu.h"
#include "lichen/memory.h"
#include "lichen/threads.h"

namespace lichen {

enum class Dtype { f32, f16, bf16, i8 };

std::int64_t element_bytes(Dtype dtype);

inline constexpr std::int64_t kPanelRows = 16;  // one vector lane is one output row
inline constexpr std::int64_t kCodePadding = 64;

// A packed weight [rows, cols]. Panels of 16 rows, each contiguous and padded with zero rows:
//   f32, f16, bf16: [panel][k][16]            i8: [panel][k/4][16][4], cols padded with zeros to 4
struct Linear {
  Isa isa;
  Dtype dtype;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t panels;       // ceil(rows / 16)
  std::int64_t panel_bytes;
  AlignedBuffer weights;     // [panels][panel_bytes]
  AlignedBuffer scales;      // i8: float[panels * 16]; else empty
  AlignedBuffer bias;        // float[panels * 16], or empty
  AlignedBuffer row_sums;    // i8: int32[panels * 16], the sum of each row's codes; else empty

  std::int64_t nbytes() const;
};

// Packs a row-major weight [rows][cols]: float, uint16_t (the bits of f16 or bf16) or int8_t.
// scales: float[rows], for i8 only and then required. bias: float[rows] or null.
// Throws std::invalid_argument (in words) or std::bad_alloc.
std::unique_ptr<Linear> pack_linear(ThreadPool& pool, const void* weight, Dtype dtype,
                                    std::int64_t rows, std::int64_t cols, const float* scales,
                                    const float* bias, Isa isa);

// One row of the weight, dequantized: out[cols]. An embedding shares a tied head's memory this way.
void unpack_row(const Linear& linear, std::int64_t row, float* out);

// Activations in int8, offset by 128 to be unsigned: codes[token][stride] = q + 128, scales[token].
struct QuantizedRows {
  std::uint8_t* codes;  // [tokens][code_stride(cols)]; columns from cols on hold 128
  float* scales;        // [tokens]
};

// Bytes between two rows of codes: cols rounded up to 64.
constexpr std::int64_t code_stride(std::int64_t cols) {
  return (cols + kCodePadding - 1) / kCodePadding * kCodePadding;
}

// Quantizes rows [begin, end) of x[tokens][x_stride] into the same rows of `out`: dynamic, per token,
// symmetric, exactly as compressed-tensors does (quantization/utils/helpers.py, calculate_qparams, and
// quantization/lifecycle/forward_helpers.py, _quantize):
//   scale = absmax / 127.5 (2^-23 where that is 0);  q = round_half_even(clamp(x / scale, -128, 127))
// A row with a NaN or an infinity gets scale NaN and q = 0, so that its products are NaN, as in float.
void quantize_rows(Isa isa, const float* x, std::int64_t x_stride, std::int64_t begin,
                   std::int64_t end, std::int64_t cols, const QuantizedRows& out);

// A product of `tokens` rows is cut in this many chunks, to be done in any order by any threads.
std::int64_t linear_chunks(const Linear& linear, std::int64_t tokens);

// One chunk of  y[t][r] = sum_k x[t][k] w[r][k] (+ bias[r]) (+ y[t][r] when accumulate).
//   x: float[tokens][x_stride], read by f32, f16 and bf16 weights
//   quantized: the same rows from quantize_rows, read by i8 weights (null otherwise)
//   y: float[tokens][y_stride]; columns from rows on are left alone
// Batch-invariant: an output depends on its own row of x only, bit for bit. Float weights are widened
// to float32 and each output is one chain of float32 fused multiply-adds, k ascending from 0; i8 sums
// are exact in int32, then y = float(sum) * (x_scale * w_scale). Then bias, then the old y are added.
// Every instruction set gives the same bits.
void linear_chunk(const Linear& linear, const float* x, std::int64_t x_stride,
                  const QuantizedRows* quantized, std::int64_t tokens, float* y,
                  std::int64_t y_stride, bool accumulate, std::int64_t chunk);

}  // namespace lichen
