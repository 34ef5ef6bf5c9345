// Where the errors of columns go that are rounded together: to each other, and to all behind them.
#pragma once

#include <cstdint>

#include "lichen/diagonal.h"
#include "lichen/matrix.h"

namespace lichen {

// reach [count][count]: of each column's error what comes to the columns behind it in the stretch.
inline void feedback_within(const Stretch& stretch, float* reach) {
  for (std::int64_t k = 0; k < stretch.count; ++k)
    for (std::int64_t j = 0; j < stretch.count; ++j)
      reach[k * stretch.count + j] = j > k ? *stretch.block.at(stretch.begin + j, stretch.begin + k) : 0.0f;
}

// wanted [rows][columns] += what comes of errors [rows][count] to the columns of the block behind the stretch.
inline void feed_behind(ThreadPool& pool, Isa isa, const Stretch& stretch, const float* errors, std::int64_t rows,
                        float* wanted, std::int64_t columns) {
  const DiagonalBlock& block = stretch.block;
  const std::int64_t end = stretch.end();
  if (end == block.end()) return;
  add_product(pool, isa, {errors, 1, stretch.count, rows},
              {block.at(end, stretch.begin), 1, block.columns, block.end() - end}, stretch.count, 1.0f, wanted + end,
              columns);
}

}  // namespace lichen
