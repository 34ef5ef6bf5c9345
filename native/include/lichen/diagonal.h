// Square matrices of blocks along their diagonal, zeros beside them: second moments of inputs, and factors of these.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace lichen {

struct DiagonalBlock {
  const float* data;  // [columns][columns]
  std::int64_t begin, columns;

  std::int64_t end() const { return begin + columns; }
  const float* at(std::int64_t row, std::int64_t column) const {
    return data + (row - begin) * columns + column - begin;
  }
};

// In order, each beginning where the one before ends.
using BlockDiagonal = std::vector<DiagonalBlock>;

// Columns of a block that are worked on together.
struct Stretch {
  const DiagonalBlock& block;
  std::int64_t begin, count;

  std::int64_t end() const { return begin + count; }
};

// All columns in order, at most so many together.
inline std::vector<Stretch> stretches(const BlockDiagonal& matrix, std::int64_t most) {
  std::vector<Stretch> all;
  for (const DiagonalBlock& block : matrix)
    for (std::int64_t begin = block.begin; begin < block.end(); begin += most)
      all.push_back({block, begin, std::min(most, block.end() - begin)});
  return all;
}

}  // namespace lichen
