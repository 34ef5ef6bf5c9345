// Products of packed weights, in chunks that threads share.
#include "lichen/linear.h"

#include <algorithm>

#include "kernels/dispatch.h"
#include "lichen/inputs.h"
#include "whole.h"

namespace lichen {
namespace {

constexpr std::int64_t kPanelsPerBlock = 4;  // the widest register tile

// How a product is cut: blocks of so many panels, each for every block of tokens.
struct Cut {
  std::int64_t panels;
  std::int64_t blocks;
  std::int64_t token_blocks;
};

// Whether tokens are many and multiplied in tiles, so that large tasks are faster.
bool in_large_tasks(const Linear& linear, std::int64_t tokens) {
  const bool in_tiles = linear.dtype == Dtype::bf16 || (linear.dtype == Dtype::i8 && linear.input_group == 0);
  return linear_kernels(linear.isa).quantize_tiles && in_tiles && tokens > kTaskTokens / 2;
}

// Each thread gets several blocks, since some are slower than others.
Cut cut(const Linear& linear, std::int64_t tokens) {
  constexpr std::int64_t kBlocksPerThread = 4;
  std::int64_t panels = kPanelsPerBlock, task_tokens = kTaskTokens;
  if (in_large_tasks(linear, tokens)) {
    // Tokens that do not stay in the cache should come for many panels.
    const std::int64_t token_bytes = linear.cols * (linear.dtype == Dtype::bf16 ? 2 : 1);
    const bool fits = std::min(tokens, kTileTaskTokens) * token_bytes <= kTileBlockBytes;
    const std::int64_t share = linear.panels / (kBlocksPerThread * linear.threads);
    panels = std::clamp(share - share % kPanelsPerBlock, kPanelsPerBlock, fits ? kPanelsPerBlock : kTileTaskPanels);
    if (ceil_div(linear.panels, panels) >= linear.threads) task_tokens = kTileTaskTokens;
  }
  return {panels, ceil_div(linear.panels, panels), ceil_div(tokens, task_tokens)};
}

// Where a block of tokens starts: tiles are not cut. Rounded up, no block is longer than a task, which is whole tiles;
// nor has one of several only kFewTileTokens.
std::int64_t token_start(const Cut& cut, std::int64_t tokens, std::int64_t token_block) {
  return std::min(round_up(tokens * token_block / cut.token_blocks, kTileTokens), tokens);
}

LinearKernel kernel_of(const LinearKernels& kernels, Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return kernels.f32;
    case Dtype::f16: return kernels.f16;
    case Dtype::bf16: return kernels.bf16;
    case Dtype::i8: return kernels.i8;
    case Dtype::i4: return kernels.i4;
    case Dtype::t4: return kernels.t4;
    case Dtype::b8: return kernels.b8;
    case Dtype::b6: return kernels.b6;
    case Dtype::b4: return kernels.b4;
  }
  return nullptr;
}

// A task's codes, from a token on.
void set_codes(const Linear& linear, const CodeRows& from, std::int64_t token, LinearTask& task) {
  const std::int64_t stride = task.code_stride;
  task.codes = from.codes + token * stride;
  task.signed_codes = from.signed_codes + token * stride;
  task.words = from.words + token * stride;
  task.minus_sums = from.minus_sums + token * (stride / 32);
  task.x_scales = from.scales + token * (task.x_groups ? ceil_div(linear.cols, linear.input_group) : 1);
}

// To the outputs of a task, which began at `first`, what the rests of its tokens make of them.
void add_rests(LinearKernel kernel, const Linear& linear, const QuantizedRows& quantized, std::int64_t first,
               const LinearTask& done) {
  LinearTask task = done;
  task.bias = nullptr;
  task.accumulate = true;
  task.stored_panels = task.panels;
  task.tokens = 1;
  for (std::int64_t t = 0; t < done.tokens; ++t) {
    if (!quantized.has_rest[first + t]) continue;
    set_codes(linear, quantized.rests, first + t, task);
    task.y = done.y + t * done.y_stride;
    kernel(task);
  }
}

}  // namespace

std::int64_t linear_chunks(const Linear& linear, std::int64_t tokens) {
  const Cut c = cut(linear, tokens);
  return c.blocks * c.token_blocks;
}

bool linear_in_ranges(const Linear& linear, std::int64_t tokens) { return cut(linear, tokens).token_blocks == 1; }

Span linear_weights(const Linear& linear, std::int64_t tokens, std::int64_t chunk) {
  const Cut c = cut(linear, tokens);
  const std::int64_t panel = chunk / c.token_blocks * c.panels;
  return {linear.weights.as<char>() + panel * linear.panel_bytes, (linear.panels - panel) * linear.panel_bytes};
}

Chunk linear_place(const Linear& linear, std::int64_t tokens, std::int64_t chunk) {
  const Cut c = cut(linear, tokens);
  const std::int64_t panel = chunk / c.token_blocks * c.panels, token_block = chunk % c.token_blocks;
  const std::int64_t token = token_start(c, tokens, token_block), token_end = token_start(c, tokens, token_block + 1);
  const std::int64_t row = panel * kPanelRows, panels = std::min(c.panels, linear.panels - panel);
  return {row, std::min(panels * kPanelRows, linear.rows - row), token, token_end - token};
}

std::int64_t linear_chunk_floats(const Linear& linear, std::int64_t most_tokens) {
  const bool large = in_large_tasks(linear, most_tokens);
  return std::min(most_tokens, large ? kTileTaskTokens : kTaskTokens) *
         (large ? kTileTaskPanels : kPanelsPerBlock) * kPanelRows;
}

bool cut_alike(const Linear& a, const Linear& b) {
  return a.isa == b.isa && a.dtype == b.dtype && a.rows == b.rows && a.cols == b.cols && a.threads == b.threads &&
         (a.input_group == 0) == (b.input_group == 0);
}

void linear_chunk(const Linear& linear, const float* x, std::int64_t x_stride,
                  const QuantizedRows* quantized, std::int64_t tokens, float* y,
                  std::int64_t y_stride, bool accumulate, std::int64_t chunk) {
  const Chunk at = linear_place(linear, tokens, chunk);
  linear_chunk_at(linear, x, x_stride, quantized, tokens, y + at.token * y_stride + at.row, y_stride, accumulate, at);
}

void linear_chunk_at(const Linear& linear, const float* x, std::int64_t x_stride,
                     const QuantizedRows* quantized, std::int64_t tokens, float* y,
                     std::int64_t y_stride, bool accumulate, const Chunk& at) {
  const auto [row, rows, token, count] = at;
  const std::int64_t panel = row / kPanelRows;

  LinearTask task{};
  task.weights = linear.weights.as<char>() + panel * linear.panel_bytes;
  task.panel_bytes = linear.panel_bytes;
  task.panels = ceil_div(rows, kPanelRows);
  task.stored_panels = linear_in_ranges(linear, tokens) ? linear.panels - panel : task.panels;
  task.rows = rows;
  task.cols = linear.cols;
  task.bias = linear.bias.empty() ? nullptr : linear.bias.as<float>() + row;
  task.tokens = count;
  task.y = y;
  task.y_stride = y_stride;
  task.accumulate = accumulate;
  task.group = linear.dtype == Dtype::i8 ? linear.input_group : linear.group;
  task.scale_type = linear.scale_type;
  task.shifts = linear.shifts;
  if (takes_codes(linear.dtype)) {
    task.scales = linear.scales.empty() ? nullptr : linear.scales.as<float>() + row;
    task.row_sums = linear.row_sums.empty() ? nullptr : linear.row_sums.as<std::int32_t>() + row;
    task.code_stride = code_stride(linear.cols);
    task.tile_bytes = kTileTokens * task.code_stride;
    task.tiles = reinterpret_cast<const char*>(quantized->code_tiles + token * task.code_stride);
    task.x_groups = linear.input_group != 0;
    task.x_scale_tiles =
        task.x_groups ? quantized->scale_tiles + token * ceil_div(linear.cols, linear.input_group) : nullptr;
    task.zeros = linear.zeros;
    task.bf16_scales = linear.bf16_scales;
    set_codes(linear, quantized->rows, token, task);
  } else if (input_of(linear) == Input::halves) {
    task.code_stride = code_stride(linear.cols);
    task.tile_bytes = kTileTokens * task.code_stride * static_cast<std::int64_t>(sizeof(std::uint16_t));
    task.tiles = reinterpret_cast<const char*>(quantized->halves + token * task.code_stride);
  } else if (input_of(linear) == Input::wide) {
    task.code_stride = code_stride(linear.cols);
    task.wide = quantized->wide + token * 2 * task.code_stride;
    task.wide_sums = quantized->wide_sums + token * (task.code_stride / 16);
    task.x_scales = quantized->wide_scales + token * (task.code_stride / 32);
  } else {
    task.x = x + token * x_stride;
    task.x_stride = x_stride;
  }
  const LinearKernel kernel = kernel_of(linear_kernels(linear.isa), linear.dtype);
  kernel(task);
  if (linear.dtype == Dtype::t4) add_rests(kernel, linear, *quantized, token, task);
}

}  // namespace lichen
