// Causal attention of some tokens of one sequence over its cached keys and values.
#pragma once

#include <stdint.h>

namespace lichen {

enum class Isa;  // lichen/cpu.h

// Where one sequence's keys and values of one layer and one KV head lie. Key p is in page
// pages[p / page_tokens], slot s = p % page_tokens:
//   keys   base[page * page_stride + (s / 16) * head_dim * 16 + d * 16 + s % 16]
//   values base[page * page_stride + values_offset + s * value_stride + d]
// so that sixteen keys are the lanes of a vector, and a value row is contiguous.
struct KeyValueView {
  const float* base;
  const int32_t* pages;
  int64_t page_tokens;    // a multiple of 16
  int64_t page_stride;    // in floats, as the two below
  int64_t values_offset;
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
};

// Keys are taken in blocks of this many, at fixed positions.
inline constexpr int64_t kAttentionBlock = 128;
// Rows (tokens x group) that share one reading of a block; a task should not have many more.
inline constexpr int64_t kAttentionRows = 64;

// Floats of scratch for a task of `rows` = tokens x group.
int64_t attention_scratch(int64_t rows, int64_t head_dim);

// Online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867; as tiled in Dao et al. 2022, arXiv
// 2205.14135) over blocks at fixed positions: a row's result depends on its own query and keys only,
// bit for bit, not on the other rows, the tiles, or where the pages lie.
using AttentionKernel = void (*)(const AttentionTask& task, float* scratch);

AttentionKernel attention_kernel(Isa isa);

}  // namespace lichen
