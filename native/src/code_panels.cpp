#include "code_panels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "kernels/linear/half.h"
#include "kernels/linear/kernel.h"
#include "lichen/trellis.h"
#include "whole.h"

namespace lichen {
namespace {

void check_groups(const Weight& weight, const std::string& shape) {
  if (weight.group != 32 && weight.group != 64 && weight.group != 128)
    throw std::invalid_argument("int4 groups must have 32, 64 or 128 columns, not " +
                                std::to_string(weight.group));
  if (weight.cols % weight.group != 0)
    throw std::invalid_argument("an int4 weight of " + shape + " cannot be cut into groups of " +
                                std::to_string(weight.group) + " columns");
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

// The smallest type of a number that holds every scale exactly.
ScaleType smallest_scale_type(const Weight& weight) {
  const float* end = weight.scales + weight.rows * (weight.cols / weight.group);
  std::uint16_t bits;
  if (std::all_of(weight.scales, end, [&](float scale) { return to_f16(scale, &bits); }))
    return ScaleType::f16;
  if (std::all_of(weight.scales, end, [&](float scale) { return to_bf16(scale, &bits); }))
    return ScaleType::bf16;
  return ScaleType::f32;
}

bool needs_bf16(const Weight& weight) {
  const ScaleType type = smallest_scale_type(weight);
  if (type == ScaleType::f32)
    throw std::invalid_argument("int4 scales must all be numbers of float16, or all of bfloat16");
  return type == ScaleType::bf16;
}

// Four codes of a row, each plus `lowest`, modulo 256.
std::uint32_t four_codes(const std::int8_t* from, int lowest) {
  std::uint32_t codes;
  std::memcpy(&codes, from, sizeof codes);
  const std::uint32_t every = 0x01010101u * static_cast<std::uint32_t>(lowest), top = 0x80808080;
  return ((codes & ~top) + (every & ~top)) ^ ((codes ^ every) & top);  // no carry from byte to byte
}

void store_four(std::uint32_t codes, char* to) { std::memcpy(to, &codes, sizeof codes); }

// 8 codes of 4 bits, columns k and k + 4 in a byte; false where one is out of range.
bool pack_nibbles(const std::int8_t* from, int lowest, char* to) {
  const std::uint32_t first = four_codes(from, lowest), second = four_codes(from + 4, lowest);
  store_four(first | second << 4, to);
  return ((first | second) & 0xf0f0f0f0) == 0;
}

// --- Groups: i4 ---

// Before the codes of a group.
std::int64_t group_header(const Linear& linear) { return kPanelRows * (linear.zeros ? 3 : 2); }

std::int64_t group_bytes(const Linear& linear) {
  return group_header(linear) + kPanelRows * linear.group / 2;
}

bool pack_groups(const Linear& linear, const Weight& weight, const void* data, std::int64_t row, std::int64_t rows,
                 char* panel) {
  const std::int64_t groups = linear.cols / linear.group;
  const auto* codes = static_cast<const std::int8_t*>(data);
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
        in_range = pack_nibbles(from + k, 8, to + k * (kPanelRows / 2)) && in_range;
    }
  return in_range;
}

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

// --- Blocks: b8, b6 and b4 ---

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

// How codes lie together: `lines` of 64 bytes hold so many columns.
struct CodeLines {
  std::int64_t lines, columns;
};

CodeLines code_lines(const Linear& linear) {
  if (linear.dtype == Dtype::b6) return {3, 16};
  return {1, linear.dtype == Dtype::b8 ? 4 : 8};
}

std::int64_t block_bytes(const Linear& linear) {
  const CodeLines together = code_lines(linear);
  return block_header(linear) + ceil_div(linear.group, together.columns) * together.lines * 64;
}

// Where block number `block` of a panel begins, and its superblock.
struct BlockPlace {
  std::int64_t units, block;
};

BlockPlace block_place(const Linear& linear, std::int64_t block) {
  const std::int64_t together = in_units(linear) ? kSuperblock / linear.group : linear.cols / linear.group;
  const std::int64_t units = block / together * (unit_bytes(linear) + together * block_bytes(linear));
  return {units, units + unit_bytes(linear) + block % together * block_bytes(linear)};
}

std::int64_t panel_of_blocks_bytes(const Linear& linear) {
  const std::int64_t superblocks = in_units(linear) ? linear.cols / kSuperblock : 0;
  return superblocks * unit_bytes(linear) + linear.cols / linear.group * block_bytes(linear);
}

// What is added to codes, so that they begin at 0.
int lowest_code(const Linear& linear) {
  if (linear.dtype == Dtype::b8) return 128;
  return linear.shifts ? 0 : linear.dtype == Dtype::b6 ? 32 : 8;
}

// Column k of one lane in a block; a line holds 4 bytes of each lane.
int code_at(const Linear& linear, const char* block, std::int64_t lane, std::int64_t k) {
  const CodeLines together = code_lines(linear);
  const char* lines = block + block_header(linear) + k / together.columns * together.lines * 64 + 4 * lane;
  const std::int64_t column = k % together.columns, at = column % 4;
  const auto byte_at = [&](std::int64_t line) { return static_cast<std::uint8_t>(lines[64 * line + at]); };
  if (linear.dtype == Dtype::b8) return byte_at(0) - lowest_code(linear);
  const int low = byte_at(column / 8) >> (column % 8 < 4 ? 0 : 4) & 15;
  const int high = linear.dtype == Dtype::b6 ? byte_at(2) >> column / 4 * 2 & 3 : 0;
  return (high << 4 | low) - lowest_code(linear);
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

// 16 codes of 6 bits; false where one is out of range.
bool pack_sixes(const std::int8_t* from, int lowest, char* to) {
  std::uint32_t four[4], high = 0, beyond = 0;
  for (int q = 0; q < 4; ++q) {
    four[q] = four_codes(from + 4 * q, lowest);
    high |= (four[q] >> 4 & 0x03030303) << 2 * q;
    beyond |= four[q] & 0xc0c0c0c0;
  }
  for (int half = 0; half < 2; ++half)
    store_four((four[2 * half] & 0x0f0f0f0f) | (four[2 * half + 1] & 0x0f0f0f0f) << 4, to + 64 * half);
  store_four(high, to + 128);
  return beyond == 0;
}

// Codes [group] of one lane into a block; false where one is out of range.
bool pack_codes(const Linear& linear, const std::int8_t* from, std::int64_t lane, char* block) {
  const CodeLines together = code_lines(linear);
  const int lowest = lowest_code(linear);
  char* to = block + block_header(linear) + 4 * lane;
  bool in_range = true;
  for (std::int64_t k = 0; k < linear.group; k += together.columns, to += together.lines * 64) {
    std::int8_t padded[16] = {};  // what a row of any length ends with
    const std::int8_t* some = from + k;
    if (linear.group - k < together.columns) {
      std::copy(some, from + linear.group, padded);
      some = padded;
    }
    if (linear.dtype == Dtype::b8)
      store_four(four_codes(some, lowest), to);
    else
      in_range = (linear.dtype == Dtype::b6 ? pack_sixes : pack_nibbles)(some, lowest, to) && in_range;
  }
  return in_range;
}

// Rows of codes with a scale, and perhaps a shift, for each group.
bool pack_blocks(const Linear& linear, const Weight& weight, const void* data, std::int64_t row, std::int64_t rows,
                 char* panel) {
  const std::int64_t groups = linear.cols / linear.group;
  bool in_range = true;
  for (std::int64_t g = 0; g < groups; ++g) {
    char* block = panel + block_place(linear, g).block;
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at = (row + r) * groups + g;
      store_scale(linear, weight.scales[at], r, block);
      if (linear.shifts) std::memcpy(block + scale_bytes(linear) + 4 * r, weight.shifts + at, 4);
      const auto* codes = static_cast<const std::int8_t*>(data) + r * linear.cols + g * linear.group;
      in_range = pack_codes(linear, codes, r, block) && in_range;
    }
  }
  return in_range;
}

// What is taken off becomes a shift, which is added.
void store_numbers(const Linear& linear, const Block& from, std::int64_t g, std::int64_t r, char* units, char* block) {
  if (!in_units(linear)) {
    std::memcpy(block + 2 * r, &from.unit, 2);
    const float shift = linear.shifts ? from_f16(from.minimum_unit) : 0.0f;
    if (linear.shifts) std::memcpy(block + scale_bytes(linear) + 4 * r, &shift, 4);
    return;
  }
  std::memcpy(units + 2 * r, &from.unit, 2);
  block[r] = from.scales[g];
  if (!linear.shifts) return;
  std::memcpy(units + 2 * kPanelRows + 2 * r, &from.minimum_unit, 2);
  block[kPanelRows + r] = static_cast<char>(-from.minima[g]);
}

// Rows of GGUF's blocks.
void pack_stored(const Linear& linear, BlockType type, const void* data, std::int64_t rows, char* panel) {
  const BlockLayout& layout = layout_of(type);
  const std::int64_t across = linear.cols / layout.weights, groups = layout.weights / layout.group;
  const auto* from = static_cast<const std::uint8_t*>(data);
  Block apart;
  for (std::int64_t b = 0; b < across; ++b)
    for (std::int64_t r = 0; r < rows; ++r) {
      take_apart(type, from + (r * across + b) * layout.bytes, &apart);
      for (std::int64_t g = 0; g < groups; ++g) {
        const BlockPlace place = block_place(linear, b * groups + g);
        store_numbers(linear, apart, g, r, panel + place.units, panel + place.block);
        pack_codes(linear, apart.codes + g * layout.group, r, panel + place.block);
      }
    }
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
    for (std::int64_t k = 0; k < linear.group; ++k)
      out[begin + k] = std::fma(static_cast<float>(code_at(linear, block, lane, k)), scale, shift);
  }
}

// --- Trellis codes: t4 ---

// What stored rows are, byte for byte: units and steps lie across the rows, codes in blocks.
void pack_trellis(const Linear& linear, const void* data, std::int64_t rows, char* panel) {
  const std::int64_t stride = trellis_row_bytes(linear.cols);
  const auto* from = static_cast<const char*>(data);
  for (std::int64_t g = 0; g < linear.cols; g += kTrellisGroup) {
    const std::int64_t columns = std::min(kTrellisGroup, linear.cols - g), bytes = trellis_group_bytes(columns);
    const std::int64_t header = bytes - columns / 2;
    for (std::int64_t r = 0; r < rows; ++r) {
      const char* stored = from + r * stride;
      for (std::int64_t i = 0; i < header; ++i) panel[i * kPanelRows + r] = stored[i];
      char* codes = panel + header * kPanelRows + 4 * r;
      for (std::int64_t k = 0; k < columns / 2; k += 4) std::memcpy(codes + k * kPanelRows, stored + header + k, 4);
    }
    panel += bytes * kPanelRows;
    from += bytes;
  }
}

void unpack_trellis(const Linear& linear, const char* panel, std::int64_t lane, float* out) {
  std::vector<std::uint8_t> row(static_cast<std::size_t>(trellis_row_bytes(linear.cols)));
  std::uint8_t* to = row.data();
  for (std::int64_t g = 0; g < linear.cols; g += kTrellisGroup) {
    const std::int64_t columns = std::min(kTrellisGroup, linear.cols - g), bytes = trellis_group_bytes(columns);
    const std::int64_t header = bytes - columns / 2;
    for (std::int64_t i = 0; i < header; ++i) to[i] = static_cast<std::uint8_t>(panel[i * kPanelRows + lane]);
    const char* codes = panel + header * kPanelRows + 4 * lane;
    for (std::int64_t k = 0; k < columns / 2; k += 4) std::memcpy(to + header + k, codes + k * kPanelRows, 4);
    panel += bytes * kPanelRows;
    to += bytes;
  }
  std::vector<std::int8_t> codes(static_cast<std::size_t>(linear.cols));
  std::vector<float> units(static_cast<std::size_t>(ceil_div(linear.cols, kTrellisGroup)));
  decode_trellis_row(row.data(), linear.cols, codes.data(), units.data());
  for (std::int64_t k = 0; k < linear.cols; ++k)
    out[k] = static_cast<float>(codes[static_cast<std::size_t>(k)]) * units[static_cast<std::size_t>(k / kTrellisGroup)];
}

}  // namespace

void check_code_panels(const Weight& weight, const std::string& shape) {
  if (weight.dtype == Dtype::i4) return check_groups(weight, shape);
  if (!weight.stored) return check_blocks(weight, shape);
  const BlockLayout& layout = layout_of(*weight.stored);
  if (weight.cols % layout.weights != 0)
    throw std::invalid_argument("a weight of " + shape + " cannot be cut into blocks of " +
                                std::to_string(layout.weights) + " columns");
}

void lay_out_code_panels(Linear& linear, const Weight& weight) {
  linear.group = weight.group;
  if (linear.dtype == Dtype::t4) {
    linear.group = kTrellisGroup;
    linear.panel_bytes = trellis_row_bytes(linear.cols) * kPanelRows;
    return;
  }
  if (linear.dtype == Dtype::i4) {
    linear.zeros = weight.zeros != nullptr;
    linear.bf16_scales = needs_bf16(weight);
    linear.panel_bytes = linear.cols / linear.group * group_bytes(linear);
    return;
  }
  if (weight.stored) {
    const BlockLayout& layout = layout_of(*weight.stored);
    linear.group = layout.group;
    linear.shifts = layout.minima;
    linear.scale_type = layout.weights == kSuperblock ? ScaleType::multiples : ScaleType::f16;
  } else {
    linear.shifts = weight.shifts != nullptr;
    linear.scale_type = smallest_scale_type(weight);
  }
  linear.panel_bytes = panel_of_blocks_bytes(linear);
}

bool pack_code_panel(const Linear& linear, const Weight& weight, const void* from, std::int64_t row,
                     std::int64_t rows, char* panel) {
  if (linear.dtype == Dtype::t4) {
    pack_trellis(linear, from, rows, panel);
    return true;
  }
  if (linear.dtype == Dtype::i4) return pack_groups(linear, weight, from, row, rows, panel);
  if (!weight.stored) return pack_blocks(linear, weight, from, row, rows, panel);
  pack_stored(linear, *weight.stored, from, rows, panel);
  return true;
}

void unpack_code_row(const Linear& linear, const char* panel, std::int64_t lane, float* out) {
  const auto unpack = linear.dtype == Dtype::t4   ? unpack_trellis
                      : linear.dtype == Dtype::i4 ? unpack_groups
                                                  : unpack_blocks;
  unpack(linear, panel, lane, out);
}

}  // namespace lichen
