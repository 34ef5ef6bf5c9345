#include "lichen/block_types.h"

#include <algorithm>
#include <cstring>

#include "kernels/linear/half.h"

namespace lichen {
namespace {

constexpr BlockLayout kLayouts[] = {
    {"q4_0", 32, 2 + 16, 32, 4, false},      {"q4_1", 32, 2 + 2 + 16, 32, 4, true},
    {"q5_0", 32, 2 + 4 + 16, 32, 6, false},  {"q5_1", 32, 2 + 2 + 4 + 16, 32, 6, true},
    {"q8_0", 32, 2 + 32, 32, 8, false},      {"q4_k", 256, 2 + 2 + 12 + 128, 32, 4, true},
    {"q5_k", 256, 2 + 2 + 12 + 32 + 128, 32, 6, true}, {"q6_k", 256, 128 + 64 + 16 + 2, 16, 6, false},
};

std::uint16_t half_at(const std::uint8_t* from) {
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

// `count` bytes to twice as many codes: the low halves of all bytes, then the high ones.
void split_halves(const std::uint8_t* from, std::int64_t count, std::int8_t* codes) {
  for (std::int64_t i = 0; i < count; ++i) codes[i] = static_cast<std::int8_t>(from[i] & 15);
  for (std::int64_t i = 0; i < count; ++i) codes[count + i] = static_cast<std::int8_t>(from[i] >> 4);
}

void shift_down(std::int8_t* codes, std::int64_t count, int by) {
  for (std::int64_t i = 0; i < count; ++i) codes[i] = static_cast<std::int8_t>(codes[i] - by);
}

// Bit i of four bytes becomes the fifth of code i.
void add_fifth_bits(const std::uint8_t* from, std::int8_t* codes) {
  for (int i = 0; i < 32; ++i)
    codes[i] = static_cast<std::int8_t>(codes[i] | (from[i / 8] >> i % 8 & 1) << 4);
}

// Types of 32 weights: unit, where there is one the minimum's, where there are some fifth bits, codes.
void take_small(const BlockLayout& layout, bool fifth_bits, const std::uint8_t* from, Block* block) {
  block->scales[0] = 1;
  block->minima[0] = -1;
  block->unit = half_at(from);
  block->minimum_unit = half_at(from + 2);  // read where there is one only
  from += layout.minima ? 4 : 2;
  split_halves(from + (fifth_bits ? 4 : 0), 16, block->codes);
  if (fifth_bits) add_fifth_bits(from, block->codes);
  if (!layout.minima) shift_down(block->codes, 32, fifth_bits ? 16 : 8);
}

// Twelve bytes to 8 scales and 8 minima of 6 bits: bytes 0 to 3 and 4 to 7 hold the first four of each in
// their low 6 bits and the top two bits of the last four; bytes 8 to 11 hold the low halves of those.
void take_scales_and_minima(const std::uint8_t* from, Block* block) {
  for (int i = 0; i < 4; ++i) {
    const int first = from[i], second = from[4 + i], third = from[8 + i];
    block->scales[i] = static_cast<std::int8_t>(first & 63);
    block->minima[i] = static_cast<std::int8_t>(second & 63);
    block->scales[4 + i] = static_cast<std::int8_t>((third & 15) | (first >> 2 & 48));
    block->minima[4 + i] = static_cast<std::int8_t>(third >> 4 | (second >> 2 & 48));
  }
}

// Q4_K and Q5_K: both units, scales and minima, of Q5_K fifth bits [32] (bit g of byte i: code i of group g), codes.
void take_with_minima(bool fifth_bits, const std::uint8_t* from, Block* block) {
  block->unit = half_at(from);
  block->minimum_unit = half_at(from + 2);
  take_scales_and_minima(from + 4, block);
  const std::uint8_t* high = from + 16;
  const std::uint8_t* low = fifth_bits ? high + 32 : high;
  for (int pair = 0; pair < 4; ++pair) split_halves(low + 32 * pair, 32, block->codes + 64 * pair);
  if (!fifth_bits) return;
  for (int group = 0; group < 8; ++group)
    for (int i = 0; i < 32; ++i) {
      std::int8_t& code = block->codes[32 * group + i];
      code = static_cast<std::int8_t>(code | (high[i] >> group & 1) << 4);
    }
}

// Low halves [2][64], high pairs of bits [2][32], scales [16], unit.
void take_q6_k(const std::uint8_t* from, Block* block) {
  const std::uint8_t* high = from + 128;
  std::memcpy(block->scales, from + 192, 16);
  block->unit = half_at(from + 208);
  for (int half = 0; half < 2; ++half) {
    std::int8_t* codes = block->codes + 128 * half;
    split_halves(from + 64 * half, 64, codes);
    for (int run = 0; run < 4; ++run)
      for (int i = 0; i < 32; ++i) {
        std::int8_t& code = codes[32 * run + i];
        code = static_cast<std::int8_t>((code | (high[32 * half + i] >> 2 * run & 3) << 4) - 32);
      }
  }
}

}  // namespace

const BlockLayout& layout_of(BlockType type) { return kLayouts[static_cast<int>(type)]; }

std::optional<BlockType> parse_block_type(std::string_view name) {
  for (const BlockLayout& layout : kLayouts)
    if (name == layout.name) return static_cast<BlockType>(&layout - kLayouts);
  return std::nullopt;
}

void take_apart(BlockType type, const std::uint8_t* from, Block* block) {
  switch (type) {
    case BlockType::q4_0:
    case BlockType::q4_1: return take_small(layout_of(type), false, from, block);
    case BlockType::q5_0:
    case BlockType::q5_1: return take_small(layout_of(type), true, from, block);
    case BlockType::q8_0:
      block->scales[0] = 1;
      block->unit = half_at(from);
      std::memcpy(block->codes, from + 2, 32);
      return;
    case BlockType::q4_k: return take_with_minima(false, from, block);
    case BlockType::q5_k: return take_with_minima(true, from, block);
    case BlockType::q6_k: return take_q6_k(from, block);
  }
}

void dequantize_blocks(BlockType type, const std::uint8_t* from, std::int64_t blocks, float* out) {
  const BlockLayout& layout = layout_of(type);
  Block block;
  for (std::int64_t b = 0; b < blocks; ++b, from += layout.bytes) {
    take_apart(type, from, &block);
    const float unit = from_f16(block.unit), minimum_unit = layout.minima ? from_f16(block.minimum_unit) : 0;
    const std::int8_t* codes = block.codes;
    for (std::int64_t g = 0; g < layout.weights / layout.group; ++g, codes += layout.group, out += layout.group) {
      const float scale = static_cast<float>(block.scales[g]) * unit;
      for (std::int64_t k = 0; k < layout.group; ++k) out[k] = static_cast<float>(codes[k]) * scale;
      if (!layout.minima) continue;
      const float minimum = static_cast<float>(block.minima[g]) * minimum_unit;
      for (std::int64_t k = 0; k < layout.group; ++k) out[k] -= minimum;
    }
  }
}

}  // namespace lichen
