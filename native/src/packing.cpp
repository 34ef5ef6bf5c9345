// Weights in the kernels' layout (lichen/linear.h), and back.
#include "lichen/linear.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "code_panels.h"
#include "kernels/dispatch.h"
#include "kernels/linear/half.h"
#include "lichen/trellis.h"
#include "whole.h"

namespace lichen {
namespace {

constexpr std::int64_t kLargestSide = std::int64_t{1} << 31;
// What AMX expands of a panel at a time has room for one such group.
constexpr std::int64_t kSmallestInputGroup = 64, kLargestInputGroup = 1024;
// (q + 128) * w summed over this many columns still fits an int32: 65536 * 255 * 128 < 2^31.
constexpr std::int64_t kMostInt8Cols = 65536;

void check_input_group(const Weight& weight, const std::string& shape) {
  const std::int64_t group = weight.input_group;
  if (weight.input_scale != 0 || !takes_codes(weight.dtype))
    throw std::invalid_argument("only inputs that are quantized to int8 as they come have scales for groups");
  if (weight.dtype == Dtype::i4 && group != weight.group)
    throw std::invalid_argument("inputs of an int4 weight have scales for groups of " +
                                std::to_string(weight.group) + " columns, as the weight has, not " +
                                std::to_string(group));
  const bool known = group % kSmallestInputGroup == 0 && group >= 1 && group <= kLargestInputGroup;
  if (weight.dtype == Dtype::t4 && group != kTrellisGroup)
    throw std::invalid_argument("inputs of trellis codes have scales for groups of " + std::to_string(kTrellisGroup) +
                                " columns, not " + std::to_string(group));
  if (weight.dtype == Dtype::i8 && (!known || weight.cols % group != 0))
    throw std::invalid_argument("inputs of an int8 weight of " + shape + " cannot have scales for groups of " +
                                std::to_string(group) + " columns: give a multiple of 64, up to 1024, that divides " +
                                std::to_string(weight.cols));
}

bool has_code_panels(Dtype dtype) { return dtype == Dtype::i4 || dtype == Dtype::t4 || in_blocks(dtype); }

std::int64_t row_bytes(const Weight& weight) {
  if (weight.dtype == Dtype::t4) return trellis_row_bytes(weight.cols);
  if (!weight.stored) return weight.cols * element_bytes(weight.dtype);
  const BlockLayout& layout = layout_of(*weight.stored);
  return weight.cols / layout.weights * layout.bytes;
}

void check_trellis(const Weight& weight, const std::string& shape) {
  if (weight.cols % 32 != 0)
    throw std::invalid_argument("trellis codes of " + shape + " are not whole 32 columns");
  if (weight.scales || weight.zeros || weight.shifts || weight.nibbles)
    throw std::invalid_argument("trellis codes hold their own units, and take no scales");
  if (weight.in_file && weight.in_file->row_bytes != row_bytes(weight))
    throw std::invalid_argument("rows of a weight of " + shape + " do not take " +
                                std::to_string(weight.in_file->row_bytes) + " bytes");
  check_input_group(weight, shape);
}

void check(const Weight& weight) {
  const std::int64_t rows = weight.rows, cols = weight.cols;
  const std::string shape = std::to_string(rows) + " x " + std::to_string(cols);
  if (rows < 1 || cols < 1 || rows > kLargestSide || cols > kLargestSide)
    throw std::invalid_argument("a linear weight cannot be " + shape);
  if (weight.dtype == Dtype::i8 && cols > kMostInt8Cols)
    throw std::invalid_argument("an int8 weight of " + shape + " is too wide: int32 sums hold " +
                                std::to_string(kMostInt8Cols) + " columns");
  if (weight.dtype == Dtype::t4) return check_trellis(weight, shape);
  if (weight.stored && (weight.scales || weight.shifts))
    throw std::invalid_argument("blocks hold their own scales and shifts, and take no others");
  if ((has_code_panels(weight.dtype) || weight.dtype == Dtype::i8) != (weight.scales != nullptr || weight.stored))
    throw std::invalid_argument("a weight of codes needs scales, and no other weight takes them");
  if (weight.zeros && weight.dtype != Dtype::i4)
    throw std::invalid_argument("only an int4 weight takes zero points");
  const float scale = weight.input_scale;
  if (scale != 0 && !(takes_codes(weight.dtype) && std::isfinite(scale) && scale > 0))
    throw std::invalid_argument(
        "the scale of inputs must be a positive number, and is only for weights that meet int8");
  if (weight.shifts && !in_blocks(weight.dtype))
    throw std::invalid_argument("only weights in blocks take shifts");
  if (weight.in_file && weight.in_file->row_bytes * (weight.nibbles ? 2 : 1) != row_bytes(weight))
    throw std::invalid_argument("rows of a weight of " + shape + " do not take " +
                                std::to_string(weight.in_file->row_bytes) + " bytes");
  if (weight.nibbles && (weight.shifts || !weight.scales))
    throw std::invalid_argument("only int4 codes from -8 on lie two in a byte");
  if (has_code_panels(weight.dtype)) check_code_panels(weight, shape);
  if (weight.input_group != 0) check_input_group(weight, shape);
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

// Codes of int8, each plus 128.
void make_unsigned(char* panel, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; ++i) panel[i] = static_cast<char>(panel[i] ^ -128);
}

// Of `bytes`, two codes each, one a byte: -8 to 7.
void take_nibbles_apart(const char* from, std::int64_t bytes, char* codes) {
  for (std::int64_t i = 0; i < bytes; ++i) {
    const auto pair = static_cast<std::uint8_t>(from[i]);
    codes[2 * i] = static_cast<char>((pair & 15) - 8);
    codes[2 * i + 1] = static_cast<char>((pair >> 4) - 8);
  }
}

// Gives a thread the rows of a weight, wherever they are. Has its memory beforehand: threads must not throw.
class Reader {
 public:
  explicit Reader(const Weight& weight) : weight_(weight) {
    if (!weight.in_file) return;
    bytes_.resize(static_cast<std::size_t>(kPanelRows * weight.in_file->row_bytes));
    if (weight.nibbles) codes_.resize(2 * bytes_.size());
  }

  // At most kPanelRows rows, valid until the next call; null where the file cannot be read, and then `fault` is set.
  const char* read(std::int64_t row, std::int64_t rows, std::atomic<int>& fault) {
    if (!weight_.in_file) return static_cast<const char*>(weight_.data) + row * row_bytes(weight_);
    const FileRows& stored = *weight_.in_file;
    const std::int64_t bytes = rows * stored.row_bytes;
    if (const int found = stored.file->read(stored.offset + row * stored.row_bytes, bytes, bytes_.data())) {
      fault = found;
      return nullptr;
    }
    if (!weight_.nibbles) return bytes_.data();
    take_nibbles_apart(bytes_.data(), bytes, codes_.data());
    return codes_.data();
  }

 private:
  const Weight& weight_;
  std::vector<char> bytes_, codes_;
};

// Rows from `row` on, whose data is `weight`.
bool pack_one(Linear& linear, const Weight& source, const void* weight, std::int64_t row) {
  const std::int64_t rows = std::min(kPanelRows, linear.rows - row);
  const std::int64_t panel = row / kPanelRows;
  char* to = linear.weights.as<char>() + panel * linear.panel_bytes;
  switch (linear.dtype) {
    case Dtype::f32:
      pack_panel<float, 1>(static_cast<const float*>(weight), rows, linear.cols,
                           reinterpret_cast<float*>(to));
      return true;
    case Dtype::f16:
    case Dtype::bf16:
      (linear.depth == 2 ? pack_panel<std::uint16_t, 2> : pack_panel<std::uint16_t, 1>)(
          static_cast<const std::uint16_t*>(weight), rows, linear.cols,
          reinterpret_cast<std::uint16_t*>(to));
      return true;
    case Dtype::i4:
    case Dtype::t4:
    case Dtype::b8:
    case Dtype::b6:
    case Dtype::b4:
      return pack_code_panel(linear, source, weight, row, rows, to);
    case Dtype::i8:
      const auto* from = static_cast<const std::int8_t*>(weight);
      (linear.depth == 8 ? pack_panel<std::int8_t, 8> : pack_panel<std::int8_t, 4>)(
          from, rows, linear.cols, reinterpret_cast<std::int8_t*>(to));
      if (linear.unsigned_codes) make_unsigned(to, linear.panel_bytes);
      if (linear.input_group == 0)
        sum_rows(from, rows, linear.cols, linear.row_sums.as<std::int32_t>() + row);
      return true;
  }
  return true;
}

Dtype dtype_of(const BlockLayout& layout) {
  return layout.bits == 4 ? Dtype::b4 : layout.bits == 6 ? Dtype::b6 : Dtype::b8;
}

std::string range_of_codes(const Weight& weight) {
  if (weight.dtype == Dtype::i4) return "int4 codes and zero points must be -8 to 7";
  const bool six = weight.dtype == Dtype::b6;
  if (weight.shifts) return six ? "6-bit codes that have shifts must be 0 to 63" : "4-bit codes that have shifts must be 0 to 15";
  return six ? "6-bit codes must be -32 to 31" : "4-bit codes must be -8 to 7";
}

}  // namespace

std::int64_t element_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return 4;
    case Dtype::f16: return 2;
    case Dtype::bf16: return 2;
    case Dtype::i8:
    case Dtype::i4:
    case Dtype::t4:
    case Dtype::b8:
    case Dtype::b6:
    case Dtype::b4: return 1;
  }
  return 0;
}

std::int64_t Linear::nbytes() const {
  return static_cast<std::int64_t>(weights.size() + scales.size() + bias.size() + row_sums.size());
}

Weight stored_weight(BlockType type, const std::uint8_t* data, std::int64_t rows, std::int64_t cols) {
  Weight weight = {data, dtype_of(layout_of(type)), rows, cols};
  weight.stored = type;
  return weight;
}

std::unique_ptr<Linear> pack_linear(ThreadPool& pool, const Weight& weight, Isa isa) {
  const LinearKernels& kernels = linear_kernels(isa);  // throws where this machine cannot run it
  check(weight);
  const Dtype dtype = weight.dtype;
  const std::int64_t rows = weight.rows, cols = weight.cols;
  auto linear = std::make_unique<Linear>();
  linear->isa = isa;
  linear->threads = pool.size();
  linear->dtype = dtype;
  linear->rows = rows;
  linear->cols = cols;
  linear->panels = ceil_div(rows, kPanelRows);
  linear->input_scale = weight.input_scale;
  linear->input_group = weight.input_group;
  linear->unsigned_codes = dtype == Dtype::i8 && weight.input_group != 0 && kernels.i8_unsigned;
  linear->depth = dtype == Dtype::i8     ? kernels.i8_depth
                  : dtype == Dtype::bf16 ? kernels.bf16_depth
                                         : 1;
  if (has_code_panels(dtype)) {
    lay_out_code_panels(*linear, weight);
  } else {
    linear->panel_bytes =
        ceil_div(cols, linear->depth) * linear->depth * kPanelRows * element_bytes(dtype);
  }
  linear->weights = AlignedBuffer(static_cast<std::size_t>(linear->panels * linear->panel_bytes));
  if (dtype == Dtype::i8) linear->scales = padded_copy(weight.scales, rows, linear->panels);
  if (weight.bias) linear->bias = padded_copy(weight.bias, rows, linear->panels);
  if (dtype == Dtype::i8 && weight.input_group == 0)
    linear->row_sums =
        AlignedBuffer(static_cast<std::size_t>(linear->panels * kPanelRows) * sizeof(std::int32_t));

  ChunkCounter next;
  std::atomic<bool> in_range{true};
  std::atomic<int> fault{0};
  std::vector<Reader> readers(static_cast<std::size_t>(pool.size()), Reader(weight));
  pool.run([&](int thread) {
    Reader& reader = readers[static_cast<std::size_t>(thread)];
    for (std::int64_t panel = next.take(); fault == 0 && panel < linear->panels; panel = next.take()) {
      const std::int64_t row = panel * kPanelRows;
      const char* from = reader.read(row, std::min(kPanelRows, rows - row), fault);
      if (from && !pack_one(*linear, weight, from, row)) in_range = false;
    }
  });
  if (fault != 0) throw ReadError(*weight.in_file->file, fault);
  if (!in_range) throw std::invalid_argument(range_of_codes(weight));
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
      const auto* from = reinterpret_cast<const std::uint16_t*>(panel);
      const std::int64_t depth = linear.depth;
      for (std::int64_t k = 0; k < linear.cols; ++k)
        out[k] = from_bf16(from[(k / depth * kPanelRows + lane) * depth + k % depth]);
      return;
    }
    case Dtype::i8: {
      const auto* from = reinterpret_cast<const std::uint8_t*>(panel);
      const float scale = linear.scales.as<float>()[row];
      const std::int64_t depth = linear.depth;
      const int flip = linear.unsigned_codes ? 128 : 0;
      for (std::int64_t k = 0; k < linear.cols; ++k) {
        const int code = from[(k / depth * kPanelRows + lane) * depth + k % depth] ^ flip;
        out[k] = static_cast<float>(static_cast<std::int8_t>(code)) * scale;
      }
      return;
    }
    case Dtype::i4:
    case Dtype::t4:
    case Dtype::b8:
    case Dtype::b6:
    case Dtype::b4:
      unpack_code_row(linear, panel, lane, out);
      return;
  }
}

}  // namespace lichen
