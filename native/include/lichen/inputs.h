// What products read of their input: codes of 8 or 16 bits, or halves.
#pragma once

#include <cstdint>

#include "lichen/cpu.h"
#include "lichen/linear.h"
#include "lichen/memory.h"

namespace lichen {

inline constexpr std::int64_t kCodePadding = 64;

// Bytes between two rows of codes: cols rounded up to 64.
constexpr std::int64_t code_stride(std::int64_t cols) {
  return (cols + kCodePadding - 1) / kCodePadding * kCodePadding;
}

// Rows of activations in int8. The instructions multiply unsigned by signed, so signed weights (i8, and i4 expanded for
// many tokens) meet q + 128 and unsigned ones (i4, and i8 with scales for groups) meet q. Columns from cols to the stride
// are q = 0. AVX2 multiplies i8 in 16 bits, where it meets q.
struct CodeRows {
  std::uint8_t* codes;        // [tokens][code_stride(cols)]: q + 128
  std::int8_t* signed_codes;  // [tokens][code_stride(cols)]: q
  std::int32_t* minus_sums;   // [tokens][code_stride(cols) / 32]: minus the sum of 32 q, or of
                              // each group that has a scale
  float* scales;              // [tokens][groups]
  std::int16_t* words;        // [tokens][code_stride(cols)]: q, where i8 is multiplied in 16 bits
};

// Activations; prepare_rows fills what a product reads of them.
struct QuantizedRows {
  CodeRows rows;
  std::int8_t* code_tiles;    // q, where tiles are multiplied: [ceil(tokens / 16)][code_stride(cols) / 64][16][64]
  float* scale_tiles;         // likewise scales of groups: [ceil(tokens / 16)][groups][16]
  std::uint16_t* halves;      // [ceil(tokens / 16)][code_stride(cols) / 32][16][32]: see Input::halves
  std::int8_t* wide;          // [tokens][2 * code_stride(cols)]: see Input::wide
  std::int32_t* wide_sums;    // [tokens][code_stride(cols) / 16]
  float* wide_scales;         // [tokens][code_stride(cols) / 32]
  bool* has_rest;             // [tokens]: see has_rest()
  CodeRows rests;             // of rows that have one
  float* rest;                // [tokens][code_stride(cols)], to make them of
};

// The memory of QuantizedRows.
class QuantizedBuffer {
 public:
  QuantizedBuffer() = default;
  QuantizedBuffer(std::int64_t tokens, std::int64_t cols);  // throws std::bad_alloc
  QuantizedRows rows();

 private:
  // The memory of CodeRows.
  struct Codes {
    Codes() = default;
    Codes(std::int64_t tokens, std::int64_t cols);
    CodeRows rows();

    AlignedBuffer codes, signed_codes, minus_sums, scales, words;
  };

  Codes codes_;
  AlignedBuffer code_tiles_, scale_tiles_, halves_, wide_, wide_sums_, wide_scales_, has_rest_;
  Codes rest_codes_;
  AlignedBuffer rest_;
};

// Quantizes rows [begin, end) of x[tokens][x_stride] into the same rows of `out`: symmetric, dynamic per
// token or, where it is not 0, with the given scale, exactly as compressed-tensors does
// (quantization/utils/helpers.py, calculate_qparams; quantization/lifecycle/forward_helpers.py, _quantize):
//   dynamic scale = absmax / 127.5 (2^-23 where that is 0);  q = round_half_even(clamp(x / scale, -128, 127))
// Where group is not 0, that is done for each so many columns of a row by themselves.
// A row with a NaN or an infinity gets scale NaN and q = 0, so that its products are NaN, as in float.
void quantize_rows(Isa isa, const float* x, std::int64_t x_stride, std::int64_t begin,
                   std::int64_t end, std::int64_t cols, const CodeRows& out,
                   float given_scale = 0, std::int64_t group = 0);

// Whether one value of a row outweighs the others, so that codes which reach as far as it does say little of them:
// whether the sum of all |x| is less than 8 times the largest. Trellis codes meet such a row twice where its scales are
// dynamic: its codes, and then those of the rest, x[k] - q[k] * scale, with scales of their own. Language models have
// such inputs at a first token (Sun et al. 2024, arXiv 2402.17762), and layers that take the large values away again
// have to weigh all columns: without the rest Qwen2.5-Coder-1.5B is 0.46 nats off there, with it 0.01.
bool has_rest(const float* x, std::int64_t cols);

// One row as its codes stand for it: out[k] = q * scale, with q and scale as in quantize_rows, NaN where
// that makes the scale NaN.
void fake_quantize_row(const float* x, std::int64_t cols, float given_scale, std::int64_t group,
                       float* out);

// What a product reads of its input: floats; codes in int8 (i8 and i4 weights); halves (bf16 weights, where tiles
// of bf16 are multiplied): x rounded to bf16, to nearest. Or wide (blocks): in fixed point of 16 bits, so that
// integers are multiplied. Each 32 columns share
//   scale = largest |x| / 32639;  q = round_half_even(x * (32639 / largest |x|));  |x - q scale| <= 2^-16 largest |x|
// where the largest is below 2^-100, all q are 0; with a NaN or an infinity the scale is NaN and all q are 0.
enum class Input { floats, codes, halves, wide };

Input input_of(const Linear& linear);

// Makes what input_of() says, of rows [begin, end) of x[tokens][x_stride], in the same rows of `out`: of codes, what a
// product of so many tokens reads.
void prepare_rows(const Linear& linear, const float* x, std::int64_t x_stride, std::int64_t begin,
                  std::int64_t end, std::int64_t tokens, const QuantizedRows& out);

}  // namespace lichen
