// Rows on all threads, and rounding with feedback in blocks of columns (arXiv 2210.17323, section 3.3, step 2):
// inside a block errors are fed back row by row, and to all columns behind it by one product.
#include "lichen/rounding.h"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "lichen/matrix.h"
#include "lichen/memory.h"
#include "lichen/trellis.h"

namespace lichen {
namespace {

constexpr std::int64_t kTogether = kFeedbackColumns;  // of a block; a multiple of all sizes of groups
constexpr std::int64_t kChunkElements = 1 << 15;

// function(row, its numbers) of all rows; `memory` holds what had to be widened.
template <typename Function>
void each_row(ThreadPool& pool, const RoundingKernels& kernels, const Weights& weights, Function function) {
  const std::int64_t columns = weights.columns;
  const std::int64_t step = std::max<std::int64_t>(1, kChunkElements / std::max<std::int64_t>(1, columns));
  const std::size_t wide = weights.type == WeightType::f32 ? 0 : static_cast<std::size_t>(columns);
  std::vector<AlignedBuffer> memory;
  for (int i = 0; i < pool.size(); ++i) memory.emplace_back(wide * sizeof(float));
  ChunkCounter chunks;
  pool.run([&](int thread) {
    auto* widened = memory[static_cast<std::size_t>(thread)].as<float>();
    for (std::int64_t begin; (begin = chunks.take() * step) < weights.rows;)
      for (std::int64_t row = begin; row < std::min(begin + step, weights.rows); ++row) {
        if (weights.type == WeightType::f32) {
          function(row, static_cast<const float*>(weights.data) + row * columns);
          continue;
        }
        const auto* halves = static_cast<const std::uint16_t*>(weights.data) + row * columns;
        (weights.type == WeightType::f16 ? kernels.widen_f16 : kernels.widen_bf16)(halves, columns, widened);
        function(row, widened);
      }
  });
}

// Columns [begin, begin + count) of all rows; what their errors do to each other is [count][count].
void round_block(ThreadPool& pool, Isa isa, const Feedback& work, std::int64_t begin, std::int64_t count,
                 float* inner, float* errors) {
  const std::int64_t n = work.columns;
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t j = 0; j < count; ++j)
      inner[k * count + j] = j > k ? work.feedback[(begin + j) * n + begin + k] : 0.0f;
  constexpr std::int64_t kRows = 16;
  ChunkCounter chunks;
  pool.run([&](int) {
    for (std::int64_t row; (row = chunks.take() * kRows) < work.rows;)
      rounding_kernels(isa).feed_back({work.weight + row * n + begin, work.wanted + row * n + begin, n,
                                       std::min(kRows, work.rows - row), count, inner, work.parts + begin,
                                       work.scales + row * work.part_count, work.zeros + row * work.part_count,
                                       work.part_count, work.fitted, work.format, work.search,
                                       work.pivots + begin, work.codes + row * n + begin,
                                       errors + row * count, work.costs + row});
  });
}

// Columns [begin, begin + count) of all rows; `moment` is their own part of H, changes [rows][count].
void descend_block(ThreadPool& pool, Isa isa, const Descent& work, std::int64_t begin, std::int64_t count,
                   float* moment, float* changes) {
  const std::int64_t n = work.columns, size = n / work.part_count, part = begin / size;
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t j = 0; j < count; ++j)
      moment[k * count + j] = work.moment[(begin + k) * n + begin + j] + (j == k ? work.ridge : 0.0f);
  constexpr std::int64_t kRows = 16;
  ChunkCounter chunks;
  pool.run([&](int) {
    for (std::int64_t row; (row = chunks.take() * kRows) < work.rows;) {
      const std::int64_t rows = std::min(kRows, work.rows - row), first = row * work.part_count + part;
      rounding_kernels(isa).descend({work.pull + row * n + begin, moment, n, rows, count, size, work.fitted,
                                     work.format, work.scales + first, work.zeros + first, work.part_count,
                                     work.codes + row * n + begin, changes + row * count});
      for (std::int64_t r = row; r < row + rows; ++r)
        for (std::int64_t k = 0; k < count; ++k)
          work.pull[r * n + begin + k] -= work.ridge * changes[r * count + k];
    }
  });
}

// What is worked on together are whole parts of `size` columns.
void require_whole_parts(std::int64_t size) {
  if (size && kTogether % size != 0)
    throw std::invalid_argument("columns that share a scale found on the way must divide " +
                                std::to_string(kTogether) + ", not be " + std::to_string(size));
}

}  // namespace

void find_extremes(ThreadPool& pool, Isa isa, const Weights& weights, float* least, float* greatest) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t size = weights.columns / weights.parts;
  each_row(pool, kernels, weights, [&](std::int64_t row, const float* w) {
    for (std::int64_t p = 0; p < weights.parts; ++p) {
      const std::int64_t at = row * weights.parts + p;
      kernels.extremes(w + p * size, size, least + at, greatest + at);
    }
  });
}

void fit_parts(ThreadPool& pool, Isa isa, const Weights& weights, const float* importance,
               const CodeFormat& format, const Search& search, float* scales, float* zeros,
               std::int8_t* codes) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t size = weights.columns / weights.parts;
  each_row(pool, kernels, weights, [&](std::int64_t row, const float* w) {
    float* scale = scales + row * weights.parts;
    float* zero = zeros + row * weights.parts;
    kernels.fit_parts(w, importance, weights.parts, size, format, search, scale, zero);
    for (std::int64_t p = 0; p < weights.parts; ++p)
      kernels.round(w + p * size, size, {scale[p], zero[p]}, format, codes + row * weights.columns + p * size);
  });
}

void half_quadratic(ThreadPool& pool, Isa isa, const Weights& weights, const CodeFormat& format,
                    const HalfQuadratic& method, const float* second_scales, const float* second_zeros,
                    float* scales, float* zeros) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t size = weights.columns / weights.parts;
  each_row(pool, kernels, weights, [&](std::int64_t row, const float* w) {
    for (std::int64_t p = 0; p < weights.parts; ++p) {
      const std::int64_t at = row * weights.parts + p;
      const Scaled found = kernels.half_quadratic(w + p * size, size, {scales[at], zeros[at]},
                                                  {second_scales[at], second_zeros[at]}, format, method);
      scales[at] = found.scale;
      zeros[at] = found.zero;
    }
  });
}

void round_parts(ThreadPool& pool, Isa isa, const Weights& weights, const CodeFormat& format,
                 const float* scales, const float* zeros, std::int8_t* codes) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t size = weights.columns / weights.parts;
  each_row(pool, kernels, weights, [&](std::int64_t row, const float* w) {
    for (std::int64_t p = 0; p < weights.parts; ++p) {
      const std::int64_t at = row * weights.parts + p;
      kernels.round(w + p * size, size, {scales[at], zeros[at]}, format, codes + row * weights.columns + p * size);
    }
  });
}

void sum_squares(ThreadPool& pool, Isa isa, const Weights& weights, const float* scales, const float* zeros,
                 const std::int8_t* codes, double* errors, double* squares) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t size = weights.columns / weights.parts;
  each_row(pool, kernels, weights, [&](std::int64_t row, const float* w) {
    kernels.squares(w, codes + row * weights.columns, weights.parts, size, scales + row * weights.parts,
                    zeros + row * weights.parts, errors + row, squares + row);
  });
}

void sum_squares(ThreadPool& pool, Isa isa, const Weights& weights, const std::uint8_t* words, double* errors,
                 double* squares) {
  const RoundingKernels& kernels = rounding_kernels(isa);
  const std::int64_t columns = weights.columns, stride = trellis_row_bytes(columns);
  const std::int64_t groups = columns / kTrellisGroup, whole = groups * kTrellisGroup;
  const std::vector<float> zeros(static_cast<std::size_t>(groups + 1), 0.0f);
  each_row(pool, kernels, weights, [&](std::int64_t row, const float* w) {
    std::vector<std::int8_t> codes(static_cast<std::size_t>(columns));
    std::vector<float> units(zeros.size());
    decode_trellis_row(words + row * stride, columns, codes.data(), units.data());
    kernels.squares(w, codes.data(), groups, kTrellisGroup, units.data(), zeros.data(), errors + row, squares + row);
    if (whole < columns)  // the last group is short
      kernels.squares(w + whole, codes.data() + whole, 1, columns - whole, &units[static_cast<std::size_t>(groups)],
                      zeros.data(), errors + row, squares + row);
  });
}

void round_with_feedback(ThreadPool& pool, Isa isa, const Feedback& work) {
  require_whole_parts(work.fitted);
  const std::int64_t n = work.columns;
  AlignedBuffer inner(kTogether * kTogether * sizeof(float));
  Scratch errors(static_cast<std::size_t>(work.rows * kTogether) * sizeof(float));
  for (std::int64_t begin = 0; begin < n; begin += kTogether) {
    const std::int64_t count = std::min(kTogether, n - begin), end = begin + count;
    round_block(pool, isa, work, begin, count, inner.as<float>(), errors.as<float>());
    if (end == n) break;
    const Operand error = {errors.as<float>(), 1, count, work.rows};
    const Operand reach = {work.feedback + end * n + begin, 1, n, n - end};
    add_product(pool, isa, error, reach, count, 1.0f, work.wanted + end, n);
  }
}

void descend(ThreadPool& pool, Isa isa, const Descent& work) {
  const std::int64_t n = work.columns, size = n / work.part_count;
  require_whole_parts(work.fitted || work.part_count > 1 ? size : 0);
  AlignedBuffer moment(kTogether * kTogether * sizeof(float));
  Scratch changes(static_cast<std::size_t>(work.rows * kTogether) * sizeof(float));
  for (std::int64_t begin = 0; begin < n; begin += kTogether) {
    const std::int64_t count = std::min(kTogether, n - begin);
    descend_block(pool, isa, work, begin, count, moment.as<float>(), changes.as<float>());
    const Operand change = {changes.as<float>(), 1, count, work.rows};
    const Operand reach = {work.moment + begin * n, n, 1, n};
    add_product(pool, isa, change, reach, count, -1.0f, work.pull, n);
  }
}

void feedback_costs(ThreadPool& pool, Isa isa, std::int64_t rows, std::int64_t columns, const float* errors,
                    const float* feedback, const float* pivots, const double* limits, double* costs) {
  Scratch wanted(static_cast<std::size_t>(rows * kTogether) * sizeof(float));
  auto* block = wanted.as<float>();
  for (std::int64_t begin = 0; begin < columns; begin += kTogether) {
    const std::int64_t count = std::min(kTogether, columns - begin), end = begin + count;
    std::fill(block, block + rows * count, 0.0f);
    const Operand reach = {feedback + begin * columns, 1, columns, count};
    add_product(pool, isa, {errors, 1, columns, rows}, reach, end, 1.0f, block, count);
    ChunkCounter chunks;
    pool.run([&](int) {
      for (std::int64_t row; (row = chunks.take()) < rows;)
        for (std::int64_t k = 0; k < count; ++k) {
          const auto total = static_cast<double>(errors[row * columns + begin + k] + block[row * count + k]);
          costs[row] += static_cast<double>(pivots[begin + k]) * total * total;
        }
    });
    if (std::equal(costs, costs + rows, limits, std::greater<>())) return;
  }
}

}  // namespace lichen
