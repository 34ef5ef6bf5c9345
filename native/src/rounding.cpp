// Rows on all threads, and rounding with feedback in blocks of columns (arXiv 2210.17323, section 3.3, step 2):
// inside a block errors are fed back row by row, and to all columns behind it by one product.
#include "lichen/rounding.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "feedback.h"
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
  const Widen widen = widening(kernels, weights.type);
  const std::size_t wide = widen ? static_cast<std::size_t>(columns) : 0;
  std::vector<AlignedBuffer> memory;
  for (int i = 0; i < pool.size(); ++i) memory.emplace_back(wide * sizeof(float));
  ChunkCounter chunks;
  pool.run([&](int thread) {
    auto* widened = memory[static_cast<std::size_t>(thread)].as<float>();
    for (std::int64_t begin; (begin = chunks.take() * step) < weights.rows;)
      for (std::int64_t row = begin; row < std::min(begin + step, weights.rows); ++row) {
        if (!widen) {
          function(row, static_cast<const float*>(weights.data) + row * columns);
          continue;
        }
        const auto* halves = static_cast<const std::uint16_t*>(weights.data) + row * columns;
        widen(halves, columns, widened);
        function(row, widened);
      }
  });
}

// The columns of a stretch in all rows; what their errors do to each other is [count][count].
void round_stretch(ThreadPool& pool, Isa isa, const Feedback& work, const Stretch& stretch, float* inner,
                   float* errors) {
  const std::int64_t n = work.columns, begin = stretch.begin, count = stretch.count;
  feedback_within(stretch, inner);
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

// The columns of a stretch in all rows; `moment` is their own part of H, changes [rows][count].
void descend_stretch(ThreadPool& pool, Isa isa, const Descent& work, const Stretch& stretch, float* moment,
                     float* changes) {
  const std::int64_t n = work.columns, begin = stretch.begin, count = stretch.count;
  const std::int64_t size = n / work.part_count, part = begin / size;
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t j = 0; j < count; ++j)
      moment[k * count + j] = *stretch.block.at(begin + k, begin + j) + (j == k ? work.ridge : 0.0f);
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

// Rows that cost more than their limits go, once they are a quarter; the errors of others move to the front.
void leave_out(std::vector<std::int64_t>& counted, std::int64_t columns, float* errors, const double* costs,
               const double* limits) {
  const auto above = [&](std::int64_t row) { return costs[row] > limits[row]; };
  if (4 * std::count_if(counted.begin(), counted.end(), above) < static_cast<std::int64_t>(counted.size())) return;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < counted.size(); ++i) {
    if (above(counted[i])) continue;
    const auto from = static_cast<std::int64_t>(i), to = static_cast<std::int64_t>(kept);
    if (to < from) std::copy_n(errors + from * columns, columns, errors + to * columns);
    counted[kept++] = counted[i];
  }
  counted.resize(kept);
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
  AlignedBuffer inner(kTogether * kTogether * sizeof(float));
  Scratch errors(static_cast<std::size_t>(work.rows * kTogether) * sizeof(float));
  for (const Stretch& stretch : stretches(work.feedback, kTogether)) {
    round_stretch(pool, isa, work, stretch, inner.as<float>(), errors.as<float>());
    feed_behind(pool, isa, stretch, errors.as<float>(), work.rows, work.wanted, work.columns);
  }
}

void descend(ThreadPool& pool, Isa isa, const Descent& work) {
  const std::int64_t n = work.columns, size = n / work.part_count;
  require_whole_parts(work.fitted || work.part_count > 1 ? size : 0);
  AlignedBuffer moment(kTogether * kTogether * sizeof(float));
  Scratch changes(static_cast<std::size_t>(work.rows * kTogether) * sizeof(float));
  for (const Stretch& stretch : stretches(work.moment, kTogether)) {
    const DiagonalBlock& block = stretch.block;
    descend_stretch(pool, isa, work, stretch, moment.as<float>(), changes.as<float>());
    const Operand change = {changes.as<float>(), 1, stretch.count, work.rows};
    const Operand reach = {block.at(stretch.begin, block.begin), block.columns, 1, block.columns};
    add_product(pool, isa, change, reach, stretch.count, -1.0f, work.pull + block.begin, n);
  }
}

void feedback_costs(ThreadPool& pool, Isa isa, std::int64_t rows, std::int64_t columns, float* errors,
                    const BlockDiagonal& feedback, const float* pivots, const double* limits, double* costs) {
  Scratch memory(static_cast<std::size_t>(rows * kTogether) * sizeof(float));
  auto* fed = memory.as<float>();
  std::vector<std::int64_t> counted(static_cast<std::size_t>(rows));  // rows whose errors come first, in order
  std::iota(counted.begin(), counted.end(), 0);
  for (const Stretch& stretch : stretches(feedback, kTogether)) {
    const DiagonalBlock& block = stretch.block;
    const std::int64_t begin = stretch.begin, count = stretch.count;
    rows = static_cast<std::int64_t>(counted.size());
    std::fill(fed, fed + rows * count, 0.0f);
    const Operand reach = {block.at(begin, block.begin), 1, block.columns, count};
    add_product(pool, isa, {errors + block.begin, 1, columns, rows}, reach, stretch.end() - block.begin, 1.0f, fed,
                count);
    ChunkCounter chunks;
    pool.run([&](int) {
      for (std::int64_t row; (row = chunks.take()) < rows;)
        for (std::int64_t k = 0; k < count; ++k) {
          const auto total = static_cast<double>(errors[row * columns + begin + k] + fed[row * count + k]);
          costs[counted[static_cast<std::size_t>(row)]] += static_cast<double>(pivots[begin + k]) * total * total;
        }
    });
    leave_out(counted, columns, errors, costs, limits);
    if (counted.empty()) return;
  }
}

}  // namespace lichen
