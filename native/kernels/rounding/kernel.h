// Weights to integer codes, for each instruction set: w = (code - zero) * scale.
#pragma once

#include <stdint.h>

#include "../trellis.h"

namespace lichen {

enum class Isa;  // lichen/cpu.h
enum class ScaleType;  // kernels/linear/kernel.h: the type that scales are stored in

// Codes run from `low` to `high`; zero points only where not symmetric.
struct CodeFormat {
  float low, high;
  bool symmetric;
  ScaleType scale_type;
};

struct Scaled {
  float scale, zero;
};

struct Search {
  int grid;             // how many ranges are tried first
  int turns;            // and how often the best is refined
  float widest, narrowest;  // the ranges, as parts of the whole one
};

// What lichen.solvers.hqq calls its options.
struct HalfQuadratic {
  float norm, beta;
  int turns;
};

// Some columns of rows [rows][columns] in order, each row's error fed into its columns behind
// (lichen/rounding.h: round_with_feedback).
struct FeedbackTask {
  const float* weight;  // [rows][weight_stride], as it was
  float* wanted;        // the same, with the errors of all columns before; used up
  int64_t stride;       // of both
  int64_t rows, columns;
  const float* feedback;  // [columns][columns]: of the error of a column into those behind it
  const int32_t* parts;   // [columns]: which scale of a row is whose
  float* scales;          // [rows][scale_stride]
  float* zeros;
  int64_t scale_stride;
  int64_t fitted;  // columns that share a scale that is still to be found; 0 when all are given
  CodeFormat format;
  Search search;
  const float* pivots;  // [columns]: what a squared difference of this column costs
  int8_t* codes;        // [rows][stride]
  float* errors;        // [rows][columns]: weight - what its code stands for
  double* costs;        // [rows]: the pivots' sums are added
};

// Some columns of rows, changed one after the other to the codes of least cost while all others stay
// (lichen/rounding.h: descend).
struct DescentTask {
  const float* pull;    // [rows][stride]: what lowers the cost, all columns counted
  const float* moment;  // [columns][columns]
  int64_t stride;       // of pull and codes
  int64_t rows, columns;
  int64_t size;         // columns that share a scale; the first column begins a part, or is inside one of all
  bool fitted;          // whether scales change too
  CodeFormat format;
  float* scales;        // [rows][scale_stride], from the part of the first column on
  const float* zeros;
  int64_t scale_stride;
  int8_t* codes;   // [rows][stride]
  float* changes;  // [rows][columns]: of what the codes stand for
};

// What became of weights that were to be trellis codes.
enum class Encoded { whole, not_finite, too_large };

// At most 16 rows to trellis codes (lichen/trellis.h).
struct TrellisTask {
  const void* w;  // [rows][stride], floats unless they are to be widened
  void (*widen)(const uint16_t* from, int64_t count, float* to);
  int64_t stride, rows, columns;
  uint8_t* words;  // [rows][word_stride]
  int64_t word_stride;
  float* memory;  // as src/trellis.cpp reckons it
};

// One group of columns of at most 16 rows, in the order of codes, each column's error fed into those behind it
// (lichen/trellis.h: TrellisFeedback).
struct FedTrellisTask {
  const float* weight;    // [rows][stride]
  const float* wanted;    // the same, with the errors of all groups before
  int64_t stride, rows, columns;
  const float* feedback;  // [columns][columns]: of the error of a column into those behind it
  const float* pivots;    // [columns]: what a squared difference costs
  int* states;            // [rows]: of the trellis where the group begins, then where it ends
  uint8_t* words;         // [rows][word_stride], at this group
  int64_t word_stride;
  float* errors;  // [rows][columns]: weight - what its code stands for
  double* costs;  // [rows]: what the codes cost is added
  float* memory;  // as src/trellis.cpp reckons it
};

constexpr int64_t kLaneNumbers = 256;      // numbers of a part that are searched with others, a part a lane
constexpr int64_t kFeedbackColumns = 256;  // most columns of either task

struct RoundingKernels {
  void (*widen_f16)(const uint16_t* from, int64_t count, float* to);
  void (*widen_bf16)(const uint16_t* from, int64_t count, float* to);
  // The least and the greatest of `count` numbers and zero; NaN where one is not finite.
  void (*extremes)(const float* w, int64_t count, float* least, float* greatest);
  // Scales and zero points of nearly least squared error for parts of `count` numbers that follow one
  // another; importance [parts * count] may be null.
  void (*fit_parts)(const float* w, const float* importance, int64_t parts, int64_t count,
                    const CodeFormat& format, const Search& search, float* scales, float* zeros);
  // Of no larger sum of |error|^norm than either start; turns begin with the second.
  Scaled (*half_quadratic)(const float* w, int64_t count, Scaled start, Scaled second, const CodeFormat& format,
                           const HalfQuadratic& method);
  void (*round)(const float* w, int64_t count, Scaled by, const CodeFormat& format, int8_t* codes);
  // Adds the squared error of codes, and the squares of the numbers themselves, of parts of `count` numbers.
  void (*squares)(const float* w, const int8_t* codes, int64_t parts, int64_t count, const float* scales,
                  const float* zeros, double* error, double* square);
  void (*feed_back)(const FeedbackTask& task);
  void (*descend)(const DescentTask& task);
  Encoded (*encode_trellis)(const TrellisTask& task);
  Encoded (*feed_trellis)(const FedTrellisTask& task);
};

const RoundingKernels& rounding_kernels(Isa isa);

}  // namespace lichen
