// Whole tiles, of what need not be a multiple of them.
#pragma once

#include <cstdint>
#include <cstring>

namespace lichen {

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

// Calls work(tile, stride) on the tile [kSide][kSide] that starts at c, whose rows are `stride` apart. Where the
// matrix ends after so many rows and columns of it, that is a copy, zeros behind them, which is brought back.
template <std::int64_t kSide, class Work>
void on_whole_tile(float* c, std::int64_t stride, std::int64_t rows, std::int64_t columns, const Work& work) {
  if (rows >= kSide && columns >= kSide) return work(c, stride);
  alignas(64) float tile[kSide * kSide] = {};
  rows = rows < kSide ? rows : kSide;
  const auto bytes = static_cast<std::size_t>(columns < kSide ? columns : kSide) * sizeof(float);
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(tile + r * kSide, c + r * stride, bytes);
  work(tile, kSide);
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(c + r * stride, tile + r * kSide, bytes);
}

}  // namespace lichen
