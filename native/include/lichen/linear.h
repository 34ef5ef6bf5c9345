// Linear layers: y = x W^T (+ bias), the weight packed once for every later product.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "lichen/block_types.h"
#include "lichen/cpu.h"
#include "lichen/file_rows.h"
#include "lichen/memory.h"
#include "lichen/threads.h"

namespace lichen {

enum class ScaleType;  // see kernels/linear/kernel.h
struct QuantizedRows;  // see lichen/inputs.h
enum class Dtype { f32, f16, bf16, i8, i4, t4, b8, b6, b4 };

// Whether a product with such weights takes its input in int8.
constexpr bool takes_codes(Dtype dtype) {
  return dtype == Dtype::i8 || dtype == Dtype::i4 || dtype == Dtype::t4;
}

// Blocks of codes of so many bits, which stand for floats.
constexpr bool in_blocks(Dtype dtype) { return dtype == Dtype::b8 || dtype == Dtype::b6 || dtype == Dtype::b4; }

// Of an element as pack_linear takes it; codes of any number of bits come one a byte.
std::int64_t element_bytes(Dtype dtype);

inline constexpr std::int64_t kPanelRows = 16;  // one vector lane is one output row

// A packed weight [rows, cols]. Panels of 16 rows, each contiguous and padded with zero rows:
//   f32, f16: [panel][k][16]; bf16, i8: [panel][k/depth][16][depth], cols padded with zeros; codes of i8 as
//       they are, or with scales for groups of inputs as code + 128 where a set multiplies unsigned by signed
//   i4: [panel][group] of { 16-bit scales [16]; zero points [16], a byte each, if there are any; codes
//       [group/8][16][4], a byte holding columns k and k + 4 of every eight, as code + 8 }
//   t4: [panel][group] of { units [16], a byte each; steps [3 or 6][16], a byte of a stored row each; codes
//       [block][16][4], as stored (lichen/trellis.h) }
//   b8, b6, b4: [panel][group] of { scales [16], f32 or where that is exact 16 bits; shifts, float[16], if there
//       are any; b8: as code + 128 [group/4][16][4]; b4: as in i4, as code + 8 or with shifts as they are; b6:
//       likewise, or as code + 32, [group/16] of { two of [16][4], the lower 4 bits as in b4; [16][4] of the
//       upper 2, those of columns j, j + 4, j + 8, j + 12 in byte j } }; or
//       [panel][superblock of 256 columns] of { units, f16[16]; those of shifts, if there are any; [group] as
//       above, but scales and shifts are int8[16], in units }, where scales and shifts are exactly that
// i8 and i4 meet inputs in int8; blocks of codes, which stand for floats, meet inputs in 16 bits.
// So int4 in groups of 32 takes 4.5 bits a weight, and is read from its first byte to its last.
struct Linear {
  Isa isa;
  Dtype dtype;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t panels;       // ceil(rows / 16)
  std::int64_t panel_bytes;
  std::int64_t depth;        // columns of a row that lie together: i8 4 or 8, bf16 1 or 2, else 1
  std::int64_t threads;      // that share a product
  AlignedBuffer weights;     // [panels][panel_bytes]
  AlignedBuffer scales;      // i8: float[panels * 16]; else empty
  AlignedBuffer bias;        // float[panels * 16], or empty
  AlignedBuffer row_sums;    // i8 without input_group: int32[panels * 16], sums of rows of codes; else empty
  std::int64_t group = 0;    // i4: columns that share a scale
  bool zeros = false;        // i4: whether groups have zero points
  bool bf16_scales = false;  // i4: scales are bf16, or f16
  ScaleType scale_type{};    // blocks: of their scales, f32 unless less is exact
  bool shifts = false;       // blocks: whether groups have shifts

  float input_scale = 0;     // i8, i4: of their quantized input, or 0: each row has its own
  std::int64_t input_group = 0;  // i8, i4: columns of the input that share a scale, or 0: those of a row do
  bool unsigned_codes = false;   // i8: whether codes are stored as code + 128

  std::int64_t nbytes() const;
};

// A weight as it is given, everything row-major.
struct Weight {
  const void* data;               // [rows][cols]: float, uint16_t (bits of f16 or bf16), or int8_t codes
  Dtype dtype;
  std::int64_t rows, cols;
  const float* scales = nullptr;  // i8: [rows]; others [rows][cols / group], of i4 all f16 or all bf16
  const std::int8_t* zeros = nullptr;  // i4: [rows][cols / group] or null: w = (code - zero) * scale
  std::int64_t group = 0;              // i4: 32, 64 or 128; blocks: 16, 32, 64, 128 or all of cols
  const float* bias = nullptr;         // [rows] or null
  const float* shifts = nullptr;       // blocks: like scales, or null: w = code * scale + shift; codes
                                       // of b4 are then 0 to 15, else -8 to 7, of b6 0 to 63, else -32 to 31
  float input_scale = 0;               // i8, i4: of their quantized input; 0: each row has its own
  std::int64_t input_group = 0;        // each group of a row has its own: i4: group; i8: a multiple of 64,
                                       // up to 1024, that divides cols; else 0
  std::optional<BlockType> stored{};   // blocks: data is of this type, [rows][cols / weights of one],
                                       // and tells scales and shifts; see stored_weight()
  const FileRows* in_file = nullptr;   // the rows of data, where that is null
  bool nibbles = false;                // codes: of the file's rows: two codes in a byte, each plus 8, the
                                       // first in the low half; cols must be even
};

// A weight as GGUF stores it; cols must be whole blocks.
Weight stored_weight(BlockType type, const std::uint8_t* data, std::int64_t rows, std::int64_t cols);

// Throws std::invalid_argument (in words), ReadError or std::bad_alloc.
std::unique_ptr<Linear> pack_linear(ThreadPool& pool, const Weight& weight, Isa isa);

// One row of the weight, dequantized: out[cols]. An embedding shares a tied head's memory this way.
void unpack_row(const Linear& linear, std::int64_t row, float* out);

// A product of `tokens` rows is cut in this many chunks, to be done in any order by any threads.
std::int64_t linear_chunks(const Linear& linear, std::int64_t tokens);

// Whether each thread should walk a range of chunks of its own: then what a chunk reads ahead is what its thread
// needs next. Not with several blocks of tokens, where threads share weights, each with the tokens in its cache.
bool linear_in_ranges(const Linear& linear, std::int64_t tokens);

// The weights from the first of a chunk to the last of all: chunks that lie behind one another have rising numbers.
Span linear_weights(const Linear& linear, std::int64_t tokens, std::int64_t chunk);

// What a chunk is of the outputs: rows of the weight, for some of the tokens.
struct Chunk {
  std::int64_t row, rows, token, tokens;
};

Chunk linear_place(const Linear& linear, std::int64_t tokens, std::int64_t chunk);

// Room for the outputs of any chunk, of up to so many tokens in all.
std::int64_t linear_chunk_floats(const Linear& linear, std::int64_t most_tokens);

// Whether chunks of the same number are the same place of both, for any number of tokens.
bool cut_alike(const Linear& a, const Linear& b);

// One chunk of  y[t][r] = sum_k x[t][k] w[r][k] (+ bias[r]) (+ y[t][r] when accumulate).
//   x: float[tokens][x_stride], read where input_of() is floats
//   quantized: the same rows from prepare_rows, read elsewhere (null otherwise)
//   y: float[tokens][y_stride]; columns from rows on are left alone
// Batch-invariant: an output depends on its own row of x only, bit for bit. Float weights are widened
// to float32 and each output is one chain of float32 fused multiply-adds, k ascending from 0; i8 sums
// are exact in int32, then y = float(sum) * (x_scale * w_scale), or with scales for groups of inputs
// y = (one chain of fused multiply-adds float(sum) * x_scale, groups ascending from 0) * w_scale. i4 sums are exact in each group, then
// y = (one chain of fused multiply-adds float(sum) * w_scale, groups ascending from 0) * x_scale, or with
// scales for groups one chain of (float(sum) * w_scale) * x_scale. Then bias, then the old y are added; and to that, of t4
// where has_rest(), the product of the rest (lichen/inputs.h).
// Sums of blocks are exact in each 32 columns, or each 16 of blocks of 16, then y is one chain, columns ascending
// from 0, of total = fma(float(sum of code * q) * w_scale, x_scale, total) and where there are shifts of
// total = fma(shift, float(sum of q) * x_scale, total).
// Every instruction set gives the same bits, but for bf16 weights where it multiplies in bf16. avx512_bf16 and
// amx round x to bf16 (KLD to float32 inputs on code, 0.5B: 3e-5), as the runtimes of bfloat16 models do;
// avx512_bf16 takes columns in pairs, the second of each first, and amx sums 32 columns at a time.
void linear_chunk(const Linear& linear, const float* x, std::int64_t x_stride,
                  const QuantizedRows* quantized, std::int64_t tokens, float* y,
                  std::int64_t y_stride, bool accumulate, std::int64_t chunk);

// The same of the chunk at a place, with y at its first output.
void linear_chunk_at(const Linear& linear, const float* x, std::int64_t x_stride,
                     const QuantizedRows* quantized, std::int64_t tokens, float* y,
                     std::int64_t y_stride, bool accumulate, const Chunk& at);

}  // namespace lichen
