// Causal attention of some tokens of one sequence over its cached keys and values.
#pragma once

#include <stdint.h>

namespace lichen {

enum class Isa;  // lichen/cpu.h

// What the cache holds: floats, or codes in int8 with a scale for each key and each value of a head.
enum class CacheType { f32, f16, i8 };

// The bits of a float16 number.
struct Half {
  uint16_t bits;
};

// Where one sequence's keys and values of one layer and one KV head lie. Key p is in page
// pages[p / page_tokens], slot s = p % page_tokens, which begins `page_stride` bytes a page after `base`.
// In there, with elements T of the cache's type:
//   keys    T[page_tokens / 16][head_dim][16], so that sixteen keys are the lanes of a vector
//   values  T[page_tokens][value_stride], from values_offset on
//   scales  of keys, then of values, from scales_offset on: float[2][page_tokens]; i8 only
struct KeyValueView {
  const char* base;
  const int32_t* pages;
  CacheType type;
  int64_t page_tokens;    // a multiple of 16
  int64_t page_stride;    // bytes, as the two below
  int64_t values_offset;
  int64_t scales_offset;
  int64_t value_stride;   // head_dim rounded up to 16
};

// The query heads that share one KV head, for consecutive tokens of one sequence.
struct AttentionTask {
  KeyValueView cache;
  const float* q;              // [tokens][q_stride], `group` heads of head_dim each
  float* out;                  // the same form
  int64_t q_stride;
  int64_t out_stride;
  int64_t tokens;
  int64_t group;
  int64_t head_dim;
  int64_t first_position; // of the first token; it attends keys 0..first_position
  float scale;
  const float* key_units;  // [head_dim]: multiples of these are what the keys are stored as; or null
};

// Keys are taken in blocks of this many, at fixed positions.
inline constexpr int64_t kAttentionBlock = 128;
// Each stretch of this many positions is summed by itself, so that threads can share a long sequence.
inline constexpr int64_t kAttentionSegment = 8 * kAttentionBlock;
// Before this position, tokens may be multiplied in another way than from it on; a task is on one side.
inline constexpr int64_t kAttentionNear = 512;
// Rows (tokens x group) that share one reading of a block; a task should not have many more. There are so many
// blocks from kAttentionNear on that twice the rows still make tasks enough.
inline constexpr int64_t kAttentionRows = 64;
inline constexpr int64_t kAttentionFarTokens = 2;  // times as many

// Keys, or columns of values, that are multiplied in tiles at once.
inline constexpr int64_t kAttentionTileColumns = 64;

// Segments that a task reaches.
constexpr int64_t attention_segments(int64_t first_position, int64_t tokens) {
  return (first_position + tokens + kAttentionSegment - 1) / kAttentionSegment;
}

// Rows that a task of so many has memory for, in scratch and partials: whole tiles of sixteen.
int64_t attention_rows(int64_t rows);
// Floats of scratch for a task of `rows` = tokens x group, and of what is kept of a segment.
int64_t attention_scratch(int64_t rows, int64_t head_dim);
int64_t attention_partial(int64_t rows, int64_t head_dim);

// Online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; as tiled in Dao et al. 2022, arXiv
// 2205.14135) over blocks at fixed positions, anew in each segment; segments are joined in order of
// position (as in Flash-Decoding). A row's result depends on its own query and keys only, bit for bit,
// not on the other rows, the tiles, where the pages lie, or who works on which segment. Every instruction set gives
// the same bits, but for amx from kAttentionNear on over a cache of f16 or i8 (kernels/attention/amx.cpp).
struct AttentionKernels {
  // The whole task.
  void (*attend)(const AttentionTask& task, float* scratch);
  // One segment of it, into float[attention_partial].
  void (*attend_segment)(const AttentionTask& task, int64_t segment, float* partial, float* scratch);
  // The result, from the partials of all segments, which lie `stride` floats apart and are used up.
  void (*join_segments)(const AttentionTask& task, float* partials, int64_t stride);
};

const AttentionKernels& attention_kernels(Isa isa);

}  // namespace lichen
