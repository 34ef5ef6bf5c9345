// Products of packed weights, in chunks that threads share.
#include "lichen/linear.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/dispatch.h"
#include "whole.h"

namespace lichen {
namespace {

constexpr std::int64_t kPanelsPerBlock = 4;  // the widest register tile

std::int64_t whole_tiles(std::int64_t tokens) { return ceil_div(tokens, kTileTokens) * kTileTokens; }

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
  return std::min(whole_tiles(tokens * token_block / cut.token_blocks), tokens);
}

// Whether a product of so many tokens meets tiles of codes; trellis codes are multiplied in whole groups there.
bool meets_tiles(const Linear& linear, std::int64_t tokens) {
  const bool whole = linear.dtype != Dtype::t4 || linear.cols % linear.group == 0;
  return linear_kernels(linear.isa).quantize_tiles && tokens > kFewTileTokens && whole;
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

// Columns that share a scale.
void fake_quantize_group(const float* x, std::int64_t cols, float given_scale, float* out) {
  float largest = 0.0f;
  bool finite = true;
  for (std::int64_t k = 0; k < cols; ++k) {
    finite = finite && std::isfinite(x[k]);
    largest = std::max(largest, std::fabs(x[k]));
  }
  float scale = given_scale != 0.0f ? given_scale : largest / 127.5f;
  if (scale == 0.0f) scale = 0x1p-23f;
  if (!finite) scale = std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t k = 0; k < cols; ++k) {
    const float clamped = std::min(std::max(x[k] / scale, -128.0f), 127.0f);
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer, halves to even.
    out[k] = ((clamped + 12582912.0f) - 12582912.0f) * scale;
  }
}

}  // namespace

void fake_quantize_row(const float* x, std::int64_t cols, float given_scale, std::int64_t group,
                       float* out) {
  const std::int64_t shared = group ? group : cols;
  for (std::int64_t k = 0; k < cols; k += shared)
    fake_quantize_group(x + k, std::min(shared, cols - k), given_scale, out + k);
}

void quantize_rows(Isa isa, const float* x, std::int64_t x_stride, std::int64_t begin,
                   std::int64_t end, std::int64_t cols, const QuantizedRows& out,
                   float given_scale, std::int64_t group) {
  const std::int64_t stride = code_stride(cols), shared = group ? group : cols;
  const LinearKernels& kernels = linear_kernels(isa);
  kernels.quantize({x + begin * x_stride, x_stride, end - begin, cols,
                                out.codes + begin * stride, out.signed_codes + begin * stride,
                                kernels.i8_words ? out.words + begin * stride : nullptr,
                                out.minus_sums + begin * (stride / 32), stride,
                                out.scales + begin * ceil_div(cols, shared), shared,
                                group ? group : 32, given_scale});
}

Input input_of(const Linear& linear) {
  if (takes_codes(linear.dtype)) return Input::codes;
  if (in_blocks(linear.dtype)) return Input::wide;
  const bool halves = linear.dtype == Dtype::bf16 && linear_kernels(linear.isa).halve;
  return halves ? Input::halves : Input::floats;
}

void prepare_rows(const Linear& linear, const float* x, std::int64_t x_stride, std::int64_t begin,
                  std::int64_t end, std::int64_t tokens, const QuantizedRows& out) {
  const std::int64_t cols = linear.cols, stride = code_stride(cols), group = linear.input_group;
  const LinearKernels& kernels = linear_kernels(linear.isa);
  const Input input = input_of(linear);
  if (input == Input::codes && meets_tiles(linear, tokens))
    kernels.quantize_tiles({x, x_stride, begin, end, cols, out.code_tiles, stride, group ? nullptr : out.scales,
                            group ? out.scale_tiles : nullptr, group ? group : cols, linear.input_scale});
  else if (input == Input::codes)
    quantize_rows(linear.isa, x, x_stride, begin, end, cols, out, linear.input_scale, group);
  if (input == Input::halves) kernels.halve({x, x_stride, begin, end, cols, out.halves, stride});
  if (input == Input::wide)
    kernels.widen({x + begin * x_stride, x_stride, end - begin, cols,
                   out.wide + begin * 2 * stride, out.wide_sums + begin * (stride / 16),
                   out.wide_scales + begin * (stride / 32), stride});
}

QuantizedBuffer::QuantizedBuffer(std::int64_t tokens, std::int64_t cols)
    : codes_(static_cast<std::size_t>(tokens * code_stride(cols))),
      signed_codes_(static_cast<std::size_t>(tokens * code_stride(cols))),
      minus_sums_(static_cast<std::size_t>(tokens * code_stride(cols) / 32) * sizeof(std::int32_t)),
      scales_(static_cast<std::size_t>(tokens * code_stride(cols) / 32) * sizeof(float)),
      code_tiles_(static_cast<std::size_t>(whole_tiles(tokens) * code_stride(cols))),
      scale_tiles_(static_cast<std::size_t>(whole_tiles(tokens) * code_stride(cols) / 32) * sizeof(float)),
      halves_(static_cast<std::size_t>(whole_tiles(tokens) * code_stride(cols)) * sizeof(std::uint16_t)),
      wide_(static_cast<std::size_t>(2 * tokens * code_stride(cols))),
      wide_sums_(static_cast<std::size_t>(tokens * code_stride(cols) / 16) * sizeof(std::int32_t)),
      wide_scales_(static_cast<std::size_t>(tokens * code_stride(cols) / 32) * sizeof(float)),
      words_(static_cast<std::size_t>(tokens * code_stride(cols)) * sizeof(std::int16_t)) {}

QuantizedRows QuantizedBuffer::rows() {
  return {codes_.as<std::uint8_t>(), signed_codes_.as<std::int8_t>(), minus_sums_.as<std::int32_t>(),
          scales_.as<float>(), code_tiles_.as<std::int8_t>(),
          scale_tiles_.as<float>(), halves_.as<std::uint16_t>(),
          wide_.as<std::int8_t>(), wide_sums_.as<std::int32_t>(), wide_scales_.as<float>(),
          words_.as<std::int16_t>()};
}

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
    task.codes = quantized->codes + token * task.code_stride;
    task.signed_codes = quantized->signed_codes + token * task.code_stride;
    task.words = quantized->words + token * task.code_stride;
    task.tile_bytes = kTileTokens * task.code_stride;
    task.tiles = reinterpret_cast<const char*>(quantized->code_tiles + token * task.code_stride);
    task.minus_sums = quantized->minus_sums + token * (task.code_stride / 32);
    task.x_groups = linear.input_group != 0;
    task.x_scales = quantized->scales + token * (task.x_groups ? ceil_div(linear.cols, linear.input_group) : 1);
    task.x_scale_tiles =
        task.x_groups ? quantized->scale_tiles + token * ceil_div(linear.cols, linear.input_group) : nullptr;
    task.zeros = linear.zeros;
    task.bf16_scales = linear.bf16_scales;
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
  kernel_of(linear_kernels(linear.isa), linear.dtype)(task);
}

}  // namespace lichen
