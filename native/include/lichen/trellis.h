// Trellis codes: 4 bits a weight that say one of 32 levels.
//
// A row is cut into groups of 128 columns, which share a unit, and these into blocks of 8, which share a step of 1 to
// 8. A weight is unit * step * (level - 16), so a byte with sign times a unit. Which 16 of the 32 levels a code can
// mean depends on the codes before it: the lowest bits of these are the state of a trellis (Marcellin and Fischer
// 1990, doi 10.1109/26.46532), here of eight states (Ungerboeck 1982, doi 10.1109/TIT.1982.1056454):
//
//   level = 2 * (code ^ lowest bit three codes ago) + lowest bit of the code before
//
// The codes of a block stand in the order of columns 0, 4, 1, 5, 2, 6, 3, 7; before the first of a row come zeros.
//
// A stored group is [unit][steps, each less 1, in 3 bits: 3 bytes for 8 blocks or fewer, else 6][4 bytes a block: the
// first code in the lowest bits], so 71 bytes for 128 columns: 4.44 bits a weight. A unit is a float of 5 bits of
// exponent and 3 of mantissa, 2^-26 to 60. A row's last group may be 32, 64 or 96 columns.
#pragma once

#include <cstdint>

#include "kernels/trellis.h"
#include "kernels/rounding/kernel.h"
#include "lichen/cpu.h"
#include "lichen/diagonal.h"
#include "lichen/rounding.h"
#include "lichen/threads.h"

namespace lichen {

// Bytes of a group of so many columns, and of a row.
constexpr std::int64_t trellis_group_bytes(std::int64_t columns) {
  return 1 + (columns > kTrellisGroup / 2 ? 6 : 3) + columns / 2;
}
constexpr std::int64_t trellis_row_bytes(std::int64_t columns) {
  const std::int64_t rest = columns % kTrellisGroup;
  return columns / kTrellisGroup * trellis_group_bytes(kTrellisGroup) + (rest ? trellis_group_bytes(rest) : 0);
}

// The columns of a row of so many bytes; 0 where no row has as many.
std::int64_t trellis_columns(std::int64_t row_bytes);

// One row: codes [columns] are step * (level - 16), units [groups].
void decode_trellis_row(const std::uint8_t* row, std::int64_t columns, std::int8_t* codes, float* units);

// words [rows][trellis_row_bytes(columns)] of nearly least squared error; columns must be a multiple of 32.
Encoded encode_trellis(ThreadPool& pool, Isa isa, const Weights& weights, std::uint8_t* words);

// The same with each column's error fed into the columns behind it, for the cost of rows (lichen/rounding.h: Feedback).
struct TrellisFeedback {
  const float* weight;    // [rows][columns], columns in the order of codes
  float* wanted;          // the same; used up
  std::int64_t rows, columns;
  const BlockDiagonal& feedback;  // strictly lower
  const float* pivots;    // [columns]
  std::uint8_t* words;    // [rows][trellis_row_bytes(columns)]
  double* costs;          // [rows]: to these each row's is added
};

Encoded encode_trellis(ThreadPool& pool, Isa isa, const TrellisFeedback& work);

}  // namespace lichen
