// Weights in the kernels' layout (lichen/linear.h), and back.
#include "lichen/linear.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>

#include "kernels/dispatch.h"
#include "kernels/linear/half.h"
#include "superblocks.h"

namespace lichen {
namespace {

constexpr std::int64_t kLargestSide = std::int64_t{1} << 31;
// What AMX expands of a panel at a time has room for one such group.
constexpr std::int64_t kSmallestInputGroup = 64, kLargestInputGroup = 1024;
// (q + 128) * w summed over this many columns still fits an int32: 65536 * 255 * 128 < 2^31.
constexpr std::int64_t kMostInt8Cols = 65536;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void check_groups(const Weight& weight, const std::string& shape) {
  if (weight.group != 32 && weight.group != 64 && weight.group != 128)
    throw std::invalid_argument("int4 groups must have 32, 64 or 128 columns, not " +
                                std::to_string(weight.group));
  if (weight.cols % weight.group != 0)
    throw std::invalid_argument("an int4 weight of " + shape + " cannot be cut into groups of " +
                                std::to_string(weight.group) + " columns");
}

void check_input_group(const Weight& weight, const std::string& shape) {
  const std::int64_t group = weight.input_group;
  if (weight.input_scale != 0 || !takes_codes(weight.dtype))
    throw std::invalid_argument("only inputs that are quantized to int8 as they come have scales for groups");
  if (weight.dtype == Dtype::i4 && group != weight.group)
    throw std::invalid_argument("inputs of an int4 weight have scales for groups of " +
                                std::to_string(weight.group) + " columns, as the weight has, not " +
                                std::to_string(group));
  const bool known = group % kSmallestInputGroup == 0 && group >= 1 && group <= kLargestInputGroup;
  if (weight.dtype == Dtype::i8 && (!known || weight.cols % group != 0))
    throw std::invalid_argument("inputs of an int8 weight of " + shape + " cannot have scales for groups of " +
                                std::to_string(group) + " columns: give a multiple of 64, up to 1024, that divides " +
                                std::to_string(weight.cols));
}

void check_blocks(const Weight& weight, const std::string& shape) {
  const std::int64_t group = weight.group;
  const bool known = group == 16 || group == 32 || group == 64 || group == 128;
  if (!known && group != weight.cols)
    throw std::invalid_argument("blocks must have 16, 32, 64, 128 or all columns, not " +
                                std::to_string(group));
  if (weight.cols % group != 0)
    throw std::invalid_argument("a weight of " + shape + " cannot be cut into blocks of " +
                                std::to_string(group) + " columns");
}

bool blocks(Dtype dtype) { return dtype == Dtype::b8 || dtype == Dtype::b4; }

void check(const Weight& weight) {
  const std::int64_t rows = weight.rows, cols = weight.cols;
  const std::string shape = std::to_string(rows) + " x " + std::to_string(cols);
  if (rows < 1 || cols < 1 || rows > kLargestSide || cols > kLargestSide)
    throw std::invalid_argument("a linear weight cannot be " + shape);
  if (weight.dtype == Dtype::i8 && cols > kMostInt8Cols)
    throw std::invalid_argument("an int8 weight of " + shape + " is too wide: int32 sums hold " +
                                std::to_string(kMostInt8Cols) + " columns");
  if ((takes_codes(weight.dtype) || blocks(weight.dtype)) != (weight.scales != nullptr))
    throw std::invalid_argument("a weight of codes needs scales, and no other weight takes them");
  if (weight.zeros && weight.dtype != Dtype::i4)
    throw std::invalid_argument("only an int4 weight takes zero points");
  const float scale = weight.input_scale;
  if (scale != 0 && !(takes_codes(weight.dtype) && std::isfinite(scale) && scale > 0))
    throw std::invalid_argument(
        "the scale of inputs must be a positive number, and is only for weights that meet int8");
  if (weight.shifts && !blocks(weight.dtype))
    throw std::invalid_argument("only weights in blocks take shifts");
  if (weight.dtype == Dtype::i4) check_groups(weight, shape);
  if (weight.input_group != 0) check_input_group(weight, shape);
  if (blocks(weight.dtype)) check_blocks(weight, shape);
}

// Of scales and shifts that are multiples of them; each [rows][cols / 256].
struct Units {
  std::vector<std::uint16_t> scales, shifts;
};

// Of blocks of 16 or 32 columns; empty where scales or shifts have none.
Units find_units(ThreadPool& pool, const Weight& weight) {
  const std::int64_t count = kSuperblockColumns / weight.group;
  if (weight.cols % kSuperblockColumns != 0 || count < 8) return {};
  const std::int64_t superblocks = weight.rows * (weight.cols / kSuperblockColumns);
  Units units{find_units(pool, weight.scales, superblocks, count), {}};
  if (weight.shifts && !units.scales.empty()) units.shifts = find_units(pool, weight.shifts, superblocks, count);
  if (weight.shifts && units.shifts.empty()) units.scales.clear();
  return units;
}

// The smallest type of a number that holds every scale exactly.
ScaleType scale_type(const Weight& weight) {
  const float* end = weight.scales + weight.rows * (weight.cols / weight.group);
  std::uint16_t bits;
  if (std::all_of(weight.scales, end, [&](float scale) { return to_f16(scale, &bits); }))
    return ScaleType::f16;
  if (std::all_of(weight.scales, end, [&](float scale) { return to_bf16(scale, &bits); }))
    return ScaleType::bf16;
  return ScaleType::f32;
}

bool needs_bf16(const Weight& weight) {
  const ScaleType type = scale_type(weight);
  if (type == ScaleType::f32)
    throw std::invalid_argument("int4 scales must all be numbers of float16, or all of bfloat16");
  return type == ScaleType::bf16;
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

std::int64_t group_header(const Linear& linear) { return kPanelRows * (linear.zeros ? 3 : 2); }

std::int64_t group_bytes(const Linear& linear) {
  return group_header(linear) + kPanelRows * linear.group / 2;
}

// Eight codes of a row, columns k and k + 4 in a byte, as code + 8; false where one is out of range.
bool pack_eight(const std::int8_t* from, char* to) {
  std::uint32_t first, second;
  std::memcpy(&first, from, sizeof first);
  std::memcpy(&second, from + 4, sizeof second);
  const std::uint32_t packed =
      ((first & 0x0f0f0f0f) | (second & 0x0f0f0f0f) << 4) ^ 0x88888888;
  std::memcpy(to, &packed, sizeof packed);
  // A code of four bits repeats its sign in the upper half of its byte.
  return (((first ^ first << 1) | (second ^ second << 1)) & 0xf0f0f0f0) == 0;
}

// Rows [0, rows) from `row` on into one zeroed panel; false where a code or a zero point is out of range.
bool pack_groups(const Linear& linear, const Weight& weight, std::int64_t row, std::int64_t rows,
                 char* panel) {
  const std::int64_t groups = linear.cols / linear.group;
  const auto* codes = static_cast<const std::int8_t*>(weight.data) + row * linear.cols;
  bool in_range = true;
  for (std::int64_t g = 0; g < groups; ++g, panel += group_bytes(linear))
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at = (row + r) * groups + g;
      std::uint16_t scale = 0;
      linear.bf16_scales ? to_bf16(weight.scales[at], &scale) : to_f16(weight.scales[at], &scale);
      std::memcpy(panel + 2 * r, &scale, sizeof scale);
      if (linear.zeros) {
        in_range = in_range && weight.zeros[at] >= -8 && weight.zeros[at] <= 7;
        panel[2 * kPanelRows + r] = static_cast<char>(weight.zeros[at] + 8);
      }
      const std::int8_t* from = codes + r * linear.cols + g * linear.group;
      char* to = panel + group_header(linear) + 4 * r;
      for (std::int64_t k = 0; k < linear.group; k += 8)
        in_range = pack_eight(from + k, to + k * (kPanelRows / 2)) && in_range;
    }
  return in_range;
}

// --- Blocks: b8 and b4 ---

bool in_units(const Linear& linear) { return linear.scale_type == ScaleType::multiples; }

std::int64_t scale_bytes(const Linear& linear) {
  return kPanelRows * (linear.scale_type == ScaleType::f32 ? 4 : in_units(linear) ? 1 : 2);
}

std::int64_t block_header(const Linear& linear) {
  return scale_bytes(linear) + (linear.shifts ? kPanelRows * (in_units(linear) ? 1 : 4) : 0);
}

// Before the blocks of a superblock; 0 where there are none of these.
std::int64_t unit_bytes(const Linear& linear) {
  return in_units(linear) ? kPanelRows * (linear.shifts ? 4 : 2) : 0;
}

std::int64_t block_bytes(const Linear& linear) {
  const std::int64_t lines = linear.dtype == Dtype::b8 ? 2 : 1;  // of 64 bytes, for 8 columns
  return block_header(linear) + ceil_div(linear.group, 8) * lines * 64;
}

// Where block number `block` of a panel begins, and its superblock.
struct BlockPlace {
  std::int64_t units, block;
};

BlockPlace block_place(const Linear& linear, std::int64_t block) {
  const std::int64_t together = in_units(linear) ? kSuperblockColumns / linear.group : linear.cols / linear.group;
  const std::int64_t units = block / together * (unit_bytes(linear) + together * block_bytes(linear));
  return {units, units + unit_bytes(linear) + block % together * block_bytes(linear)};
}

std::int64_t panel_of_blocks_bytes(const Linear& linear) {
  const std::int64_t superblocks = in_units(linear) ? linear.cols / kSuperblockColumns : 0;
  return superblocks * unit_bytes(linear) + linear.cols / linear.group * block_bytes(linear);
}

// Where a code of one lane lies, and in which half of its byte.
struct CodePlace {
  std::int64_t byte;
  int bits;
};

CodePlace code_place(const Linear& linear, std::int64_t lane, std::int64_t k) {
  const std::int64_t at = block_header(linear);
  if (linear.dtype == Dtype::b8) return {at + (k / 4 * kPanelRows + lane) * 4 + k % 4, 0};
  return {at + (k / 8 * kPanelRows + lane) * 4 + k % 4, k % 8 < 4 ? 0 : 4};
}

void store_scale(const Linear& linear, float scale, std::int64_t lane, char* block) {
  std::uint16_t half = 0;
  if (linear.scale_type == ScaleType::f32) {
    std::memcpy(block + 4 * lane, &scale, sizeof scale);
    return;
  }
  linear.scale_type == ScaleType::f16 ? to_f16(scale, &half) : to_bf16(scale, &half);
  std::memcpy(block + 2 * lane, &half, sizeof half);
}

float load_scale(const Linear& linear, std::int64_t lane, const char* block) {
  float scale;
  std::uint16_t half;
  std::memcpy(&half, block + 2 * lane, sizeof half);
  std::memcpy(&scale, block + 4 * lane, sizeof scale);
  if (linear.scale_type == ScaleType::f32) return scale;
  return linear.scale_type == ScaleType::f16 ? from_f16(half) : from_bf16(half);
}

// Four codes of a row in a byte each, as code + 128.
void pack_four(const std::int8_t* from, char* to) {
  std::uint32_t codes;
  std::memcpy(&codes, from, sizeof codes);
  codes ^= 0x80808080;
  std::memcpy(to, &codes, sizeof codes);
}

// Eight codes from 0 on, columns k and k + 4 in a byte; false where one is out of range.
bool pack_eight_from_zero(const std::int8_t* from, char* to) {
  std::uint32_t first, second;
  std::memcpy(&first, from, sizeof first);
  std::memcpy(&second, from + 4, sizeof second);
  const std::uint32_t packed = first | second << 4;
  std::memcpy(to, &packed, sizeof packed);
  return ((first | second) & 0xf0f0f0f0) == 0;
}

// Codes [group] of one lane into a block; false where one is out of range.
bool pack_codes(const Linear& linear, const std::int8_t* from, std::int64_t lane, char* block) {
  std::int8_t padded[8] = {};  // what a row of any length ends with
  bool in_range = true;
  for (std::int64_t k = 0; k < linear.group; k += 8) {
    const std::int8_t* eight = from + k;
    if (linear.group - k < 8) {
      std::copy(eight, from + linear.group, padded);
      eight = padded;
    }
    char* to = block + code_place(linear, lane, k).byte;
    if (linear.dtype == Dtype::b8) {
      pack_four(eight, to);
      pack_four(eight + 4, to + 4 * kPanelRows);
    } else {
      in_range = (linear.shifts ? pack_eight_from_zero : pack_eight)(eight, to) && in_range;
    }
  }
  return in_range;
}

// The scale and the shift of block number `at` of the weight to lane r.
void store_multiples(const Linear& linear, const Weight& weight, const Units& units, std::int64_t at, std::int64_t r,
                     char* superblock, char* block) {
  const auto unit = static_cast<std::size_t>(at * linear.group / kSuperblockColumns);
  std::memcpy(superblock + 2 * r, &units.scales[unit], 2);
  block[r] = multiple_of(weight.scales[at], units.scales[unit]);
  if (!linear.shifts) return;
  std::memcpy(superblock + 2 * kPanelRows + 2 * r, &units.shifts[unit], 2);
  block[kPanelRows + r] = multiple_of(weight.shifts[at], units.shifts[unit]);
}

bool pack_blocks(const Linear& linear, const Weight& weight, const Units& units, std::int64_t row, std::int64_t rows,
                 char* panel) {
  const std::int64_t groups = linear.cols / linear.group;
  bool in_range = true;
  for (std::int64_t g = 0; g < groups; ++g) {
    const BlockPlace place = block_place(linear, g);
    char* block = panel + place.block;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at = (row + r) * groups + g;
      if (in_units(linear)) {
        store_multiples(linear, weight, units, at, r, panel + place.units, block);
      } else {
        store_scale(linear, weight.scales[at], r, block);
        if (linear.shifts) std::memcpy(block + scale_bytes(linear) + 4 * r, weight.shifts + at, 4);
      }
      const auto* codes = static_cast<const std::int8_t*>(weight.data) + at * linear.group;
      in_range = pack_codes(linear, codes, r, block) && in_range;
    }
  }
  return in_range;
}

float load_multiple(const char* multiples, const char* units, std::int64_t lane) {
  std::uint16_t unit;
  std::memcpy(&unit, units + 2 * lane, sizeof unit);
  return static_cast<float>(static_cast<std::int8_t>(multiples[lane])) * from_f16(unit);
}

float load_shift(const Linear& linear, std::int64_t lane, const char* block, const char* units) {
  if (in_units(linear)) return load_multiple(block + kPanelRows, units + 2 * kPanelRows, lane);
  float shift;
  std::memcpy(&shift, block + scale_bytes(linear) + 4 * lane, sizeof shift);
  return shift;
}

void unpack_blocks(const Linear& linear, const char* panel, std::int64_t lane, float* out) {
  for (std::int64_t begin = 0; begin < linear.cols; begin += linear.group) {
    const BlockPlace place = block_place(linear, begin / linear.group);
    const char *block = panel + place.block, *units = panel + place.units;
    const float shift = linear.shifts ? load_shift(linear, lane, block, units) : 0.0f;
    const float scale = in_units(linear) ? load_multiple(block, units, lane) : load_scale(linear, lane, block);
    for (std::int64_t k = 0; k < linear.group; ++k) {
      const CodePlace at = code_place(linear, lane, k);
      const auto byte = static_cast<std::uint8_t>(block[at.byte]);
      const int code = linear.dtype == Dtype::b8 ? byte - 128 : (byte >> at.bits & 15) - (linear.shifts ? 0 : 8);
      out[begin + k] = std::fma(static_cast<float>(code), scale, shift);
    }
  }
}

bool pack_one(Linear& linear, const Weight& source, const Units& units, std::int64_t panel) {
  const void* weight = source.data;
  const std::int64_t row = panel * kPanelRows;
  const std::int64_t rows = std::min(kPanelRows, linear.rows - row);
  const std::int64_t start = row * linear.cols;
  char* to = linear.weights.as<char>() + panel * linear.panel_bytes;
  switch (linear.dtype) {
    case Dtype::f32:
      pack_panel<float, 1>(static_cast<const float*>(weight) + start, rows, linear.cols,
                           reinterpret_cast<float*>(to));
      return true;
    case Dtype::f16:
    case Dtype::bf16:
      (linear.depth == 2 ? pack_panel<std::uint16_t, 2> : pack_panel<std::uint16_t, 1>)(
          static_cast<const std::uint16_t*>(weight) + start, rows, linear.cols,
          reinterpret_cast<std::uint16_t*>(to));
      return true;
    case Dtype::i4:
      return pack_groups(linear, source, row, rows, to);
    case Dtype::b8:
    case Dtype::b4:
      return pack_blocks(linear, source, units, row, rows, to);
    case Dtype::i8:
      const auto* from = static_cast<const std::int8_t*>(weight) + start;
      (linear.depth == 8 ? pack_panel<std::int8_t, 8> : pack_panel<std::int8_t, 4>)(
          from, rows, linear.cols, reinterpret_cast<std::int8_t*>(to));
      if (linear.unsigned_codes) make_unsigned(to, linear.panel_bytes);
      if (linear.input_group == 0)
        sum_rows(from, rows, linear.cols, linear.row_sums.as<std::int32_t>() + row);
      return true;
  }
  return true;
}

}  // namespace

std::int64_t element_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return 4;
    case Dtype::f16: return 2;
    case Dtype::bf16: return 2;
    case Dtype::i8:
    case Dtype::i4:
    case Dtype::b8:
    case Dtype::b4: return 1;
  }
  return 0;
}

std::int64_t Linear::nbytes() const {
  return static_cast<std::int64_t>(weights.size() + scales.size() + bias.size() + row_sums.size());
}

std::unique_ptr<Linear> pack_linear(ThreadPool& pool, const Weight& weight, Isa isa) {
  const LinearKernels& kernels = linear_kernels(isa);  // throws where this machine cannot run it
  check(weight);
  const auto [dtype, rows, cols] = std::tuple(weight.dtype, weight.rows, weight.cols);
  auto linear = std::make_unique<Linear>();
  linear->isa = isa;
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
  Units units;
  if (dtype == Dtype::i4) {
    linear->group = weight.group;
    linear->zeros = weight.zeros != nullptr;
    linear->bf16_scales = needs_bf16(weight);
    linear->panel_bytes = cols / weight.group * group_bytes(*linear);
  } else if (blocks(dtype)) {
    linear->group = weight.group;
    linear->shifts = weight.shifts != nullptr;
    linear->scale_type = scale_type(weight);
    if (linear->scale_type == ScaleType::f32) units = find_units(pool, weight);
    if (!units.scales.empty()) linear->scale_type = ScaleType::multiples;
    linear->panel_bytes = panel_of_blocks_bytes(*linear);
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
  pool.run([&](int) {
    for (std::int64_t panel = next.take(); panel < linear->panels; panel = next.take())
      if (!pack_one(*linear, weight, units, panel)) in_range = false;
  });
  if (!in_range) throw std::invalid_argument(
        weight.shifts ? "4-bit codes that have shifts must be 0 to 15"
                      : "int4 codes and zero points must be -8 to 7");
  return linear;
}

namespace {

void unpack_groups(const Linear& linear, const char* panel, std::int64_t lane, float* out) {
  for (std::int64_t k = 0; k < linear.cols; ++k) {
    const std::int64_t in_group = k % linear.group;
    const char* group = panel + k / linear.group * group_bytes(linear);
    std::uint16_t bits;
    std::memcpy(&bits, group + 2 * lane, sizeof bits);
    const float scale = linear.bf16_scales ? from_bf16(bits) : from_f16(bits);
    const int zero = linear.zeros ? group[2 * kPanelRows + lane] : 8;
    const auto pair = static_cast<std::uint8_t>(
        group[group_header(linear) + (in_group / 8 * kPanelRows + lane) * 4 + k % 4]);
    out[k] = static_cast<float>((k % 8 < 4 ? pair & 15 : pair >> 4) - zero) * scale;
  }
}

}  // namespace

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
      unpack_groups(linear, panel, lane, out);
      return;
    case Dtype::b8:
    case Dtype::b4:
      unpack_blocks(linear, panel, lane, out);
      return;
  }
}

}  // namespace lichen
