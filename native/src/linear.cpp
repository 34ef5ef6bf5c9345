#include "lichen/linear.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels/dispatch.h"
#include "kernels/linear/half.h"

namespace lichen {
namespace {

constexpr std::int64_t kPanelsPerBlock = 4;  // the widest register tile
constexpr std::int64_t kLargestSide = std::int64_t{1} << 31;
// (q + 128) * w summed over this many columns still fits an int32: 65536 * 255 * 128 < 2^31.
constexpr std::int64_t kMostInt8Cols = 65536;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void check(Dtype dtype, std::int64_t rows, std::int64_t cols, const float* scales) {
  const std::string shape = std::to_string(rows) + " x " + std::to_string(cols);
  if (rows < 1 || cols < 1 || rows > kLargestSide || cols > kLargestSide)
    throw std::invalid_argument("a linear weight cannot be " + shape);
  if (dtype == Dtype::i8 && cols > kMostInt8Cols)
    throw std::invalid_argument("an int8 weight of " + shape + " is too wide: int32 sums hold " +
                                std::to_string(kMostInt8Cols) + " columns");
  if ((dtype == Dtype::i8) != (scales != nullptr))
    throw std::invalid_argument("an int8 weight needs scales, and no other weight takes them");
}

AlignedBuffer padded_copy(const float* from, std::int64_t rows, std::int64_t panels) {
  AlignedBuffer copy(static_cast<std::size_t>(panels * kPanelRows) * sizeof(float));
  std::memcpy(copy.as<float>(), from, static_cast<std::size_t>(rows) * sizeof(float));
  return copy;
}

// Rows [0, rows) of `from` [rows][cols] into one zeroed panel [ceil(cols / kDepth)][16][kDepth].
template <typename T, std::int64_t kDepth>
void pack_panel(const T* from, std::int64_t rows, std::int64_t cols, T* panel) {
  // A stretch of columns at a time, so that the lines of the panel stay in the first-level cache.
  constexpr std::int64_t kStretch = 64;
  for (std::int64_t begin = 0; begin < cols; begin += kStretch) {
    const std::int64_t end = std::min(cols, begin + kStretch);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t k = begin; k < end; ++k)
        panel[(k / kDepth * kPanelRows + r) * kDepth + k % kDepth] = from[r * cols + k];
  }
}

void sum_rows(const std::int8_t* from, std::int64_t rows, std::int64_t cols, std::int32_t* sums) {
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < cols; ++k) sum += from[r * cols + k];
    sums[r] = sum;
  }
}

void pack_one(Linear& linear, const void* weight, std::int64_t panel) {
  const std::int64_t row = panel * kPanelRows;
  const std::int64_t rows = std::min(kPanelRows, linear.rows - row);
  const std::int64_t start = row * linear.cols;
  char* to = linear.weights.as<char>() + panel * linear.panel_bytes;
  switch (linear.dtype) {
    case Dtype::f32:
      pack_panel<float, 1>(static_cast<const float*>(weight) + start, rows, linear.cols,
                           reinterpret_cast<float*>(to));
      return;
    case Dtype::f16:
    case Dtype::bf16:
      pack_panel<std::uint16_t, 1>(static_cast<const std::uint16_t*>(weight) + start, rows,
                                   linear.cols, reinterpret_cast<std::uint16_t*>(to));
      return;
    case Dtype::i8:
      const auto* from = static_cast<const std::int8_t*>(weight) + start;
      pack_panel<std::int8_t, 4>(from, rows, linear.cols, reinterpret_cast<std::int8_t*>(to));
      sum_rows(from, rows, linear.cols, linear.row_sums.as<std::int32_t>() + row);
      return;
  }
}

// How a product is cut: runs of several blocks (of 4 panels), then single blocks, and all of that for
// each block of tokens. A run streams from memory without a gap; the single blocks at the end keep the
// last thread to finish from being waited for.
struct Cut {
  std::int64_t blocks;          // of kPanelsPerBlock panels
  std::int64_t blocks_per_run;
  std::int64_t runs;
  std::int64_t token_blocks;

  std::int64_t row_chunks() const { return runs + blocks - runs * blocks_per_run; }
};

Cut cut(const Linear& linear, std::int64_t tokens) {
  constexpr std::int64_t kRunBytes = 512 << 10;
  constexpr std::int64_t kFewTokens = 32;  // with more, arithmetic takes longer than memory
  const std::int64_t blocks = ceil_div(linear.panels, kPanelsPerBlock);
  const std::int64_t fitting = kRunBytes / (kPanelsPerBlock * linear.panel_bytes);
  const std::int64_t run =
      tokens > kFewTokens ? 1 : std::max<std::int64_t>(1, std::min(fitting, blocks / 16));
  const std::int64_t singles = std::min(blocks / 4, 4 * run);
  return {blocks, run, (blocks - singles) / run, ceil_div(tokens, kTaskTokens)};
}

LinearKernel kernel_of(const LinearKernels& kernels, Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return kernels.f32;
    case Dtype::f16: return kernels.f16;
    case Dtype::bf16: return kernels.bf16;
    case Dtype::i8: return kernels.i8;
  }
  return nullptr;
}

}  // namespace

std::int64_t element_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return 4;
    case Dtype::f16: return 2;
    case Dtype::bf16: return 2;
    case Dtype::i8: return 1;
  }
  return 0;
}

std::int64_t Linear::nbytes() const {
  return static_cast<std::int64_t>(weights.size() + scales.size() + bias.size() + row_sums.size());
}

std::unique_ptr<Linear> pack_linear(ThreadPool& pool, const void* weight, Dtype dtype,
                                    std::int64_t rows, std::int64_t cols, const float* scales,
                                    const float* bias, Isa isa) {
  linear_kernels(isa);  // throws where this machine cannot run it
  check(dtype, rows, cols, scales);
  auto linear = std::make_unique<Linear>();
  linear->isa = isa;
  linear->dtype = dtype;
  linear->rows = rows;
  linear->cols = cols;
  linear->panels = ceil_div(rows, kPanelRows);
  const std::int64_t depth = dtype == Dtype::i8 ? 4 : 1;
  linear->panel_bytes = ceil_div(cols, depth) * depth * kPanelRows * element_bytes(dtype);
  linear->weights = AlignedBuffer(static_cast<std::size_t>(linear->panels * linear->panel_bytes));
  if (scales) linear->scales = padded_copy(scales, rows, linear->panels);
  if (bias) linear->bias = padded_copy(bias, rows, linear->panels);
  if (dtype == Dtype::i8)
    linear->row_sums =
        AlignedBuffer(static_cast<std::size_t>(linear->panels * kPanelRows) * sizeof(std::int32_t));

  ChunkCounter next;
  pool.run([&](int) {
    for (std::int64_t panel = next.take(); panel < linear->panels; panel = next.take())
      pack_one(*linear, weight, panel);
  });
  return linear;
}

void unpack_row(const Linear& linear, std::int64_t row, float* out) {
  const std::int64_t lane = row % kPanelRows;
  const char* panel = linear.weights.as<char>() + row / kPanelRows * linear.panel_bytes;
  switch (linear.dtype) {
    case Dtype::f32: {
      const auto* from = reinterpret_cast<const float*>(panel) + lane;
      for (std::int64_t k = 0; k < linear.cols; ++k) out[k] = from[k * kPanelRows];
      return;
    }
    case Dtype::f16: {
      const auto* from = reinterpret_cast<const std::uint16_t*>(panel) + lane;
      for (std::int64_t k = 0; k < linear.cols; ++k) out[k] = from_f16(from[k * kPanelRows]);
      return;
    }
    case Dtype::bf16: {
      const auto* from = reinterpret_cast<const std::uint16_t*>(panel) + lane;
      for (std::int64_t k = 0; k < linear.cols; ++k) out[k] = from_bf16(from[k * kPanelRows]);
      return;
    }
    case Dtype::i8: {
      const auto* from = reinterpret_cast<const std::int8_t*>(panel);
      const float scale = linear.scales.as<float>()[row];
      for (std::int64_t k = 0; k < linear.cols; ++k)
        out[k] = static_cast<float>(from[(k / 4 * kPanelRows + lane) * 4 + k % 4]) * scale;
      return;
    }
  }
}

void quantize_rows(Isa isa, const float* x, std::int64_t x_stride, std::int64_t begin,
                   std::int64_t end, std::int64_t cols, const QuantizedRows& out) {
  const std::int64_t stride = code_stride(cols);
  linear_kernels(isa).quantize(x + begin * x_stride, x_stride, end - begin, cols,
                               out.codes + begin * stride, stride, out.scales + begin);
}

std::int64_t linear_chunks(const Linear& linear, std::int64_t tokens) {
  const Cut c = cut(linear, tokens);
  return c.row_chunks() * c.token_blocks;
}

void linear_chunk(const Linear& linear, const float* x, std::int64_t x_stride,
                  const QuantizedRows* quantized, std::int64_t tokens, float* y,
                  std::int64_t y_stride, bool accumulate, std::int64_t chunk) {
  const Cut c = cut(linear, tokens);
  const std::int64_t row_chunk = chunk / c.token_blocks, token_block = chunk % c.token_blocks;
  const bool run = row_chunk < c.runs;
  const std::int64_t block = run ? row_chunk * c.blocks_per_run
                                 : c.runs * c.blocks_per_run + row_chunk - c.runs;
  const std::int64_t panel = block * kPanelsPerBlock;
  const std::int64_t panels = (run ? c.blocks_per_run : 1) * kPanelsPerBlock;
  const std::int64_t token = tokens * token_block / c.token_blocks;
  const std::int64_t token_end = tokens * (token_block + 1) / c.token_blocks;
  const std::int64_t row = panel * kPanelRows;

  LinearTask task{};
  task.weights = linear.weights.as<char>() + panel * linear.panel_bytes;
  task.panel_bytes = linear.panel_bytes;
  task.panels = std::min(panels, linear.panels - panel);
  task.rows = std::min(task.panels * kPanelRows, linear.rows - row);
  task.cols = linear.cols;
  task.bias = linear.bias.empty() ? nullptr : linear.bias.as<float>() + row;
  task.tokens = token_end - token;
  task.y = y + token * y_stride + row;
  task.y_stride = y_stride;
  task.accumulate = accumulate;
  if (linear.dtype == Dtype::i8) {
    task.scales = linear.scales.as<float>() + row;
    task.row_sums = linear.row_sums.as<std::int32_t>() + row;
    task.code_stride = code_stride(linear.cols);
    task.codes = quantized->codes + token * task.code_stride;
    task.x_scales = quantized->scales + token;
  } else {
    task.x = x + token * x_stride;
    task.x_stride = x_stride;
  }
  kernel_of(linear_kernels(linear.isa), linear.dtype)(task);
}

}  // namespace lichen
