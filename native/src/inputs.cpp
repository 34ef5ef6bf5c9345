// Inputs of products, as these read them.
#include "lichen/inputs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/dispatch.h"
#include "whole.h"

namespace lichen {
namespace {

constexpr float kOutweighing = 8.0f;  // see has_rest()

// Whether a product of so many tokens meets tiles of codes; trellis codes are multiplied in whole groups there.
bool meets_tiles(const Linear& linear, std::int64_t tokens) {
  const bool whole = linear.dtype != Dtype::t4 || linear.cols % linear.group == 0;
  return linear_kernels(linear.isa).quantize_tiles && tokens > kFewTileTokens && whole;
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
                   std::int64_t end, std::int64_t cols, const CodeRows& out,
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

bool has_rest(const float* x, std::int64_t cols) {
  constexpr std::int64_t kLanes = 16;
  float largest[kLanes] = {}, sums[kLanes] = {};
  const auto add = [&](std::int64_t lane, float magnitude) {
    largest[lane] = std::max(largest[lane], magnitude);
    sums[lane] += magnitude;
  };
  std::int64_t k = 0;
  for (; k + kLanes <= cols; k += kLanes)
    for (std::int64_t lane = 0; lane < kLanes; ++lane) add(lane, std::fabs(x[k + lane]));
  for (; k < cols; ++k) add(k % kLanes, std::fabs(x[k]));
  const float largest_of_all = *std::max_element(largest, largest + kLanes);
  return std::accumulate(sums, sums + kLanes, 0.0f) < kOutweighing * largest_of_all;
}

Input input_of(const Linear& linear) {
  if (takes_codes(linear.dtype)) return Input::codes;
  if (in_blocks(linear.dtype)) return Input::wide;
  const bool halves = linear.dtype == Dtype::bf16 && linear_kernels(linear.isa).halve;
  return halves ? Input::halves : Input::floats;
}

namespace {

void prepare_rest(const Linear& linear, const float* x, std::int64_t token, const QuantizedRows& out) {
  out.has_rest[token] = linear.input_scale == 0 && has_rest(x, linear.cols);
  if (!out.has_rest[token]) return;
  const std::int64_t stride = code_stride(linear.cols);
  float* const rest = out.rest + token * stride;
  fake_quantize_row(x, linear.cols, 0, linear.input_group, rest);
  for (std::int64_t k = 0; k < linear.cols; ++k) rest[k] = x[k] - rest[k];
  quantize_rows(linear.isa, out.rest, stride, token, token + 1, linear.cols, out.rests, 0, linear.input_group);
}

}  // namespace

void prepare_rows(const Linear& linear, const float* x, std::int64_t x_stride, std::int64_t begin,
                  std::int64_t end, std::int64_t tokens, const QuantizedRows& out) {
  const std::int64_t cols = linear.cols, stride = code_stride(cols), group = linear.input_group;
  const LinearKernels& kernels = linear_kernels(linear.isa);
  const Input input = input_of(linear);
  if (input == Input::codes && meets_tiles(linear, tokens))
    kernels.quantize_tiles({x, x_stride, begin, end, cols, out.code_tiles, stride, group ? nullptr : out.rows.scales,
                            group ? out.scale_tiles : nullptr, group ? group : cols, linear.input_scale});
  else if (input == Input::codes)
    quantize_rows(linear.isa, x, x_stride, begin, end, cols, out.rows, linear.input_scale, group);
  if (linear.dtype == Dtype::t4)
    for (std::int64_t t = begin; t < end; ++t) prepare_rest(linear, x + t * x_stride, t, out);
  if (input == Input::halves) kernels.halve({x, x_stride, begin, end, cols, out.halves, stride});
  if (input == Input::wide)
    kernels.widen({x + begin * x_stride, x_stride, end - begin, cols,
                   out.wide + begin * 2 * stride, out.wide_sums + begin * (stride / 16),
                   out.wide_scales + begin * (stride / 32), stride});
}

QuantizedBuffer::Codes::Codes(std::int64_t tokens, std::int64_t cols)
    : codes(static_cast<std::size_t>(tokens * code_stride(cols))),
      signed_codes(static_cast<std::size_t>(tokens * code_stride(cols))),
      minus_sums(static_cast<std::size_t>(tokens * code_stride(cols) / 32) * sizeof(std::int32_t)),
      scales(static_cast<std::size_t>(tokens * code_stride(cols) / 32) * sizeof(float)),
      words(static_cast<std::size_t>(tokens * code_stride(cols)) * sizeof(std::int16_t)) {}

CodeRows QuantizedBuffer::Codes::rows() {
  return {codes.as<std::uint8_t>(), signed_codes.as<std::int8_t>(), minus_sums.as<std::int32_t>(), scales.as<float>(),
          words.as<std::int16_t>()};
}

QuantizedBuffer::QuantizedBuffer(std::int64_t tokens, std::int64_t cols)
    : codes_(tokens, cols),
      code_tiles_(static_cast<std::size_t>(round_up(tokens, kTileTokens) * code_stride(cols))),
      scale_tiles_(static_cast<std::size_t>(round_up(tokens, kTileTokens) * code_stride(cols) / 32) * sizeof(float)),
      halves_(static_cast<std::size_t>(round_up(tokens, kTileTokens) * code_stride(cols)) * sizeof(std::uint16_t)),
      wide_(static_cast<std::size_t>(2 * tokens * code_stride(cols))),
      wide_sums_(static_cast<std::size_t>(tokens * code_stride(cols) / 16) * sizeof(std::int32_t)),
      wide_scales_(static_cast<std::size_t>(tokens * code_stride(cols) / 32) * sizeof(float)),
      has_rest_(static_cast<std::size_t>(tokens)),
      rest_codes_(tokens, cols),
      rest_(static_cast<std::size_t>(tokens * code_stride(cols)) * sizeof(float)) {}

QuantizedRows QuantizedBuffer::rows() {
  return {codes_.rows(), code_tiles_.as<std::int8_t>(), scale_tiles_.as<float>(), halves_.as<std::uint16_t>(),
          wide_.as<std::int8_t>(), wide_sums_.as<std::int32_t>(), wide_scales_.as<float>(),
          has_rest_.as<bool>(), rest_codes_.rows(), rest_.as<float>()};
}

}  // namespace lichen
