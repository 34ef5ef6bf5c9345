// Weights to integer codes, row by row on all threads (see kernels/rounding/kernel.h).
#pragma once

#include <cstdint>

#include "kernels/rounding/kernel.h"
#include "lichen/cpu.h"
#include "lichen/diagonal.h"
#include "lichen/threads.h"

namespace lichen {

enum class WeightType { f32, f16, bf16 };

// Rows [rows][columns] whose columns are cut into `parts` of equal size.
struct Weights {
  const void* data;
  WeightType type;
  std::int64_t rows, columns, parts;
};

// What makes floats of weights; null where they are floats.
using Widen = void (*)(const std::uint16_t* from, std::int64_t count, float* to);
inline Widen widening(const RoundingKernels& kernels, WeightType type) {
  return type == WeightType::f32 ? nullptr : type == WeightType::f16 ? kernels.widen_f16 : kernels.widen_bf16;
}

// least, greatest [rows][parts]: of each part and zero; NaN where one is not finite.
void find_extremes(ThreadPool& pool, Isa isa, const Weights& weights, float* least, float* greatest);

// scales, zeros [rows][parts] and codes [rows][columns]; importance [columns] may be null.
void fit_parts(ThreadPool& pool, Isa isa, const Weights& weights, const float* importance,
               const CodeFormat& format, const Search& search, float* scales, float* zeros,
               std::int8_t* codes);

// scales, zeros [rows][parts] and another starting point of the same shape become those of a sum of
// |error|^norm that is no larger than with either (lichen.solvers.hqq).
void half_quadratic(ThreadPool& pool, Isa isa, const Weights& weights, const CodeFormat& format,
                    const HalfQuadratic& method, const float* second_scales, const float* second_zeros,
                    float* scales, float* zeros);

// Codes for scales and zeros [rows][parts].
void round_parts(ThreadPool& pool, Isa isa, const Weights& weights, const CodeFormat& format,
                 const float* scales, const float* zeros, std::int8_t* codes);

// errors, squares [rows] += the squared errors of each row, and the squares of its weights.
void sum_squares(ThreadPool& pool, Isa isa, const Weights& weights, const float* scales, const float* zeros,
                 const std::int8_t* codes, double* errors, double* squares);

// The same of trellis codes (lichen/trellis.h), words [rows][bytes of a row].
void sum_squares(ThreadPool& pool, Isa isa, const Weights& weights, const std::uint8_t* words, double* errors,
                 double* squares);

// What rounding with feedback needs and leaves. Columns are rounded in order, and the error of each, times
// its feedback, is added to those behind it.
struct Feedback {
  const float* weight;    // [rows][columns]
  float* wanted;          // the same; used up
  std::int64_t rows, columns;
  const BlockDiagonal& feedback;  // strictly lower: row k has what reaches column k
  const float* pivots;    // [columns]
  const std::int32_t* parts;  // [columns]
  std::int64_t part_count;
  std::int64_t fitted;    // columns of a part whose scales are to be found on the way, or 0
  CodeFormat format;
  Search search;
  float* scales;          // [rows][part_count]
  float* zeros;
  std::int8_t* codes;     // [rows][columns]
  double* costs;          // [rows]
};

// Throws std::invalid_argument where `fitted` does not divide the columns that are rounded together.
void round_with_feedback(ThreadPool& pool, Isa isa, const Feedback& work);

// Codes, and scales where they are `fitted`, of a weight that is quantized already, to be changed column by
// column so that tr(E H E^T) falls, E what each weight differs by and H = moment + ridge on its diagonal.
struct Descent {
  float* pull;          // [rows][columns]: E H, and again after the changes
  const BlockDiagonal& moment;  // symmetric
  float ridge;
  std::int64_t rows, columns;
  std::int64_t part_count;  // parts of a row, of equal size
  bool fitted;
  CodeFormat format;
  float* scales;  // [rows][part_count]
  const float* zeros;
  std::int8_t* codes;  // [rows][columns]
};

// Every column once. Throws std::invalid_argument where parts do not divide the columns that are worked on
// together; a row's only part, where it is not fitted, need not.
void descend(ThreadPool& pool, Isa isa, const Descent& work);

// costs [rows] += what errors [rows][columns], which are used up, cost: pivots times the squares of errors with all
// that was fed back to them. Of a row whose first columns cost more than its limit, of `limits` [rows], the others
// need not be counted: early columns have little fed back to them, and take little time.
void feedback_costs(ThreadPool& pool, Isa isa, std::int64_t rows, std::int64_t columns, float* errors,
                    const BlockDiagonal& feedback, const float* pivots, const double* limits, double* costs);

}  // namespace lichen
