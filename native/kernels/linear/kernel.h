// What the linear kernels are given and how they are named. Plain data only: this header is compiled
// under every instruction set's flags, and one inline function here would let the linker keep the copy
// of the newest set for every processor.
#pragma once

#include <stdint.h>

#include "../trellis.h"

namespace lichen {

// What the scales of blocks are stored as: numbers, or multiples of a unit for each superblock of 256 columns.
enum class ScaleType { f32, f16, bf16, multiples };

// A product of some whole panels with some tokens (see lichen/linear.h for the layouts).
struct LinearTask {
  const char* weights;      // the first panel
  int64_t panel_bytes;
  int64_t panels;
  int64_t stored_panels;    // that lie there in memory, these first: what is behind them may be prefetched
  int64_t rows;             // rows that exist in these panels: the last panel may be part padding
  int64_t cols;
  const float* scales;      // [panels * 16], i8 only
  const int32_t* row_sums;  // [panels * 16], i8 only, null with x_groups
  const float* bias;        // [panels * 16] or null
  const float* x;           // [tokens][x_stride], float weights only
  int64_t x_stride;
  const uint8_t* codes;     // [tokens][code_stride], q + 128 for i8, and for i4 that is expanded
  const int8_t* signed_codes;  // the same as q, for i4, and for i8 with x_groups
  const int16_t* words;        // the same in 16 bits, columns 0, 2, 1, 3 of every four, where a set multiplies these
  const int32_t* minus_sums;   // [tokens][code_stride / 32], minus the sum of 32 q, or with x_groups of a group
  int64_t code_stride;
  const float* x_scales;    // [tokens], i8 and i4; [tokens][cols / group] with x_groups
  bool x_groups;            // whether inputs have a scale for each group
  const int8_t* wide;       // [tokens][2 * code_stride], blocks only: inputs in 16 bits (widen.inc.h),
  const int32_t* wide_sums;  // [tokens][code_stride / 16]: their sums; x_scales is [tokens][code_stride / 32]
  const char* tiles;        // where tiles are multiplied: QuantizedRows::code_tiles, or of bf16 halves, from a tile on
  int64_t tile_bytes;       // of 16 tokens
  const float* x_scale_tiles;  // with x_groups, QuantizedRows::scale_tiles from that tile on
  int64_t group;            // columns that share a scale: i4, blocks, and inputs of i8
  bool zeros;               // whether groups have zero points, i4 only
  bool bf16_scales;         // or f16, i4 only
  ScaleType scale_type;     // blocks only
  bool shifts;              // whether groups have shifts, blocks only
  int64_t tokens;           // at most kTaskTokens, or with tiles kTileTaskTokens
  float* y;                 // [tokens][y_stride], at these panels' first row
  int64_t y_stride;
  bool accumulate;
};

constexpr int64_t kTaskTokens = 128;  // bounds the partial sums that a kernel keeps on its stack

// Products of tiles are limited by how far their operands have to come, so a task is as large as its sums allow:
// its tokens are read once for all its panels, and a panel once for all tokens.
constexpr int64_t kTileTaskTokens = 512, kTileTaskPanels = 16;
constexpr int64_t kTileTokens = 16;
// Up to so many tokens, products of integers wait for memory, not for arithmetic, and are not multiplied in tiles.
constexpr int64_t kFewTileTokens = 6;
constexpr int64_t kTileBlockBytes = 896 << 10;  // of tokens in a block of columns: less than half the second-level cache

using LinearKernel = void (*)(const LinearTask&);

// See quantize_rows in lichen/linear.h. Rows [0, tokens).
struct QuantizeTask {
  const float* x;
  int64_t x_stride, tokens, cols;
  uint8_t* codes;
  int8_t* signed_codes;
  int16_t* words;  // null where nothing reads them
  int32_t* minus_sums;
  int64_t code_stride;
  float* scales;
  int64_t group;      // columns of a row that share a scale: scales [tokens][ceil(cols / group)]
  int64_t summed;     // columns of one of minus_sums, a multiple of 32
  float given_scale;  // the one scale of all, or 0: each group's own
};
using QuantizeKernel = void (*)(const QuantizeTask&);

// Rows [begin, end) as tiles: QuantizedRows::code_tiles and, with groups, scale_tiles.
struct QuantizeTilesTask {
  const float* x;
  int64_t x_stride, begin, end, cols;
  int8_t* tiles;
  int64_t stride;      // bytes of a token in tiles
  float* scales;       // [tokens], null with groups
  float* scale_tiles;  // [ceil(tokens / 16)][cols / group][16], or null
  int64_t group;       // as in QuantizeTask
  float given_scale;
};
using QuantizeTilesKernel = void (*)(const QuantizeTilesTask&);

// See Input::wide in lichen/linear.h. Rows [0, tokens), columns from cols to the stride are 0.
struct WidenTask {
  const float* x;
  int64_t x_stride, tokens, cols;
  int8_t* wide;    // [tokens][2 * stride]
  int32_t* sums;   // [tokens][stride / 16]
  float* scales;   // [tokens][stride / 32]
  int64_t stride;  // a multiple of 64
};
using WidenKernel = void (*)(const WidenTask&);

// See Input::halves in lichen/linear.h. Rows [begin, end), columns from cols to the stride are 0.
struct HalveTask {
  const float* x;
  int64_t x_stride, begin, end, cols;
  uint16_t* halves;  // [ceil(end / 16)][stride / 32][16][32]
  int64_t stride;
};
using HalveKernel = void (*)(const HalveTask&);

void linear_f32_portable(const LinearTask&);
void linear_f16_portable(const LinearTask&);
void linear_bf16_portable(const LinearTask&);
void linear_i8_portable(const LinearTask&);
void linear_i4_portable(const LinearTask&);
void linear_t4_portable(const LinearTask&);
void linear_b8_portable(const LinearTask&);
void linear_b6_portable(const LinearTask&);
void linear_b4_portable(const LinearTask&);
void quantize_portable(const QuantizeTask&);
void widen_words_portable(const WidenTask&);

void linear_f32_avx2(const LinearTask&);
void linear_f16_avx2(const LinearTask&);
void linear_bf16_avx2(const LinearTask&);
void linear_i8_avx2(const LinearTask&);
void linear_i4_avx2(const LinearTask&);
void linear_t4_avx2(const LinearTask&);
void linear_b8_avx2(const LinearTask&);
void linear_b6_avx2(const LinearTask&);
void linear_b4_avx2(const LinearTask&);
void quantize_avx2(const QuantizeTask&);
void widen_words_avx2(const WidenTask&);
void widen_digits_avx2(const WidenTask&);

void linear_i8_avx_vnni(const LinearTask&);
void linear_i4_avx_vnni(const LinearTask&);
void linear_t4_avx_vnni(const LinearTask&);
void linear_b8_avx_vnni(const LinearTask&);
void linear_b6_avx_vnni(const LinearTask&);
void linear_b4_avx_vnni(const LinearTask&);

void linear_f32_avx512(const LinearTask&);
void linear_f16_avx512(const LinearTask&);
void linear_bf16_avx512(const LinearTask&);
void linear_i8_avx512(const LinearTask&);
void linear_i4_avx512(const LinearTask&);
void linear_t4_avx512(const LinearTask&);
void linear_b8_avx512(const LinearTask&);
void linear_b6_avx512(const LinearTask&);
void linear_b4_avx512(const LinearTask&);
void quantize_avx512(const QuantizeTask&);
void widen_words_avx512(const WidenTask&);
void widen_digits_avx512(const WidenTask&);

void linear_i8_avx512_vnni(const LinearTask&);
void linear_i4_avx512_vnni(const LinearTask&);
void linear_t4_avx512_vnni(const LinearTask&);
void linear_b8_avx512_vnni(const LinearTask&);
void linear_b6_avx512_vnni(const LinearTask&);
void linear_b4_avx512_vnni(const LinearTask&);

void linear_bf16_avx512_bf16(const LinearTask&);

void linear_bf16_amx(const LinearTask&);
void linear_i8_amx(const LinearTask&);
void linear_i4_amx(const LinearTask&);
void linear_t4_amx(const LinearTask&);
void halve_amx(const HalveTask&);
void quantize_amx(const QuantizeTilesTask&);

void linear_f32_neon(const LinearTask&);
void linear_f16_neon(const LinearTask&);
void linear_bf16_neon(const LinearTask&);
void linear_i8_neon(const LinearTask&);
void linear_i4_neon(const LinearTask&);
void linear_t4_neon(const LinearTask&);

void linear_i8_neon_dotprod(const LinearTask&);
void linear_i4_neon_dotprod(const LinearTask&);
void linear_t4_neon_dotprod(const LinearTask&);

void linear_i8_neon_i8mm(const LinearTask&);
void linear_i4_neon_i8mm(const LinearTask&);

}  // namespace lichen
