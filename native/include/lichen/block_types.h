// GGUF's block types: runs of weights with packed codes and the scales that they share, as they lie in a file.
// Layouts: ggml-common.h of ggml.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lichen {

constexpr int kSuperblock = 256;  // weights in a block of the K types

enum class BlockType { q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k };

struct BlockLayout {
  const char* name;     // "q4_k"
  std::int64_t weights;  // in a block: 32 or a superblock's
  std::int64_t bytes;    // of a block
  std::int64_t group;    // weights that share a scale
  int bits;              // of a code in the kernels, 4, 6 or 8; of 4 and 6 codes begin at 0 where there are minima
  bool minima;           // whether something is taken off each group
};

const BlockLayout& layout_of(BlockType type);

std::optional<BlockType> parse_block_type(std::string_view name);

// A block taken apart, group by group:  w = code * (scale * unit) - minimum * minimum_unit
struct Block {
  std::int8_t codes[kSuperblock];
  std::int8_t scales[kSuperblock / 16];  // 1 in types that are not K types
  std::int8_t minima[kSuperblock / 16];  // -1 in such types
  std::uint16_t unit, minimum_unit;      // bits of float16
};

void take_apart(BlockType type, const std::uint8_t* from, Block* block);

// out[blocks * weights] in float32, each product and the difference rounded, as ggml does it.
void dequantize_blocks(BlockType type, const std::uint8_t* from, std::int64_t blocks, float* out);

}  // namespace lichen
