// What the solvers use of the module lichen._core. Its interface is described in src/lichen/_core.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/linear/kernel.h"
#include "lichen/columns.h"
#include "lichen/matrix.h"
#include "lichen/moment.h"
#include "lichen/rotation.h"
#include "lichen/rounding.h"
#include "lichen/trellis.h"
#include "whole.h"

namespace nb = nanobind;

namespace lichen {

void bind_solvers(nb::module_& m);

namespace {

template <typename T, int Dimensions>
using Array = nb::ndarray<T, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using AnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Matrix = Array<const float, 2>;
using Matrices = std::vector<Matrix>;
using Rows = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;
using NewMatrix = Array<float, 2>;
using Vector = Array<const float, 1>;

void require(bool good, const char* what) {
  if (!good) throw std::invalid_argument(what);
}

Isa best_or(const std::optional<std::string>& name) {
  if (!name) return supported_isas().back();
  const std::optional<Isa> isa = parse_isa(*name);
  require(isa.has_value(), "there is no such instruction set");
  return *isa;
}

template <typename A>
std::int64_t length(const A& array, std::size_t axis) {
  return static_cast<std::int64_t>(array.shape(axis));
}

void add_moment_of(ThreadPool& pool, const Rows& x, const NewMatrix& total, const std::optional<std::string>& isa) {
  const std::int64_t width = length(x, 1);
  require(width <= 1 || x.stride(1) == 1, "numbers of a row of x must be side by side");
  require(length(total, 0) == width && length(total, 1) == width, "total must be [width, width] of x [n, width]");
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  add_moment(pool, best, x.data(), x.stride(0), length(x, 0), width, total.data());
}

void add_columns_of(ThreadPool& pool, const Matrix& x, const Array<float, 1>& largest,
                    const Array<double, 1>& absolute, const Array<double, 1>& squares) {
  const std::int64_t width = length(x, 1);
  require(length(largest, 0) == width && length(absolute, 0) == width && length(squares, 0) == width,
          "largest, absolute and squares must be [width] of x [n, width]");
  nb::gil_scoped_release unlocked;
  add_columns(pool, x.data(), length(x, 0), width, largest.data(), absolute.data(), squares.data());
}

void multiply(ThreadPool& pool, const Matrix& a, const Matrix& b, const NewMatrix& out,
              const std::optional<std::string>& isa) {
  const std::int64_t depth = length(a, 1);
  require(length(b, 1) == depth, "both factors must have as many columns");
  require(length(out, 0) == length(a, 0) && length(out, 1) == length(b, 0), "out must be [rows of a, rows of b]");
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  add_product(pool, best, {a.data(), 1, depth, length(a, 0)}, {b.data(), 1, depth, length(b, 0)}, depth, 1.0f,
              out.data(), length(b, 0));
}

bool factor_matrix(ThreadPool& pool, const NewMatrix& h, const std::optional<std::string>& isa) {
  require(length(h, 0) == length(h, 1), "h must be square");
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  return factor(pool, best, length(h, 0), h.data());
}

WeightType weight_type(const AnyMatrix& weight, const std::string& dtype) {
  const bool wide = dtype == "float32";
  require(weight.dtype() == (wide ? nb::dtype<float>() : nb::dtype<std::uint16_t>()),
          "a weight must be an array of float32, or of uint16 for the 16-bit types");
  if (wide) return WeightType::f32;
  require(dtype == "float16" || dtype == "bfloat16", "weights are float32, float16 or bfloat16");
  return dtype == "float16" ? WeightType::f16 : WeightType::bf16;
}

Weights weights_of(const AnyMatrix& weight, const std::string& dtype, std::int64_t parts) {
  require(parts >= 1 && length(weight, 1) % parts == 0, "parts must divide the columns");
  return {weight.data(), weight_type(weight, dtype), length(weight, 0), length(weight, 1), parts};
}

// Blocks along the diagonal of a matrix [columns, columns]; columns are worked on together, so they end in whole ones.
BlockDiagonal blocks_of(const Matrices& matrices, std::int64_t columns) {
  BlockDiagonal blocks;
  std::int64_t begin = 0;
  for (const Matrix& matrix : matrices) {
    require(length(matrix, 0) == length(matrix, 1), "blocks along a diagonal must be square");
    require(begin % kFeedbackColumns == 0, "blocks along a diagonal must be of whole 256 columns, but for the last");
    blocks.push_back({matrix.data(), begin, length(matrix, 0)});
    begin = blocks.back().end();
  }
  require(begin == columns, "blocks along a diagonal must have as many columns as the weight");
  return blocks;
}

CodeFormat format_of(int bits, bool symmetric, const std::string& scale_type) {
  require(bits >= 2 && bits <= 8, "bits must be 2 to 8");
  const auto half = static_cast<float>(1 << (bits - 1));
  const ScaleType type = scale_type == "float16"    ? ScaleType::f16
                         : scale_type == "bfloat16" ? ScaleType::bf16
                                                    : ScaleType::f32;
  return {-half, half - 1, symmetric, type};
}

template <typename A>
void fits(const A& scales, std::int64_t rows, std::int64_t parts) {
  require(length(scales, 0) == rows && length(scales, 1) == parts, "scales and zeros must be [rows, parts]");
}

void extremes_of(ThreadPool& pool, const AnyMatrix& weight, const std::string& dtype, const NewMatrix& least,
                 const NewMatrix& greatest, const std::optional<std::string>& isa) {
  const Weights weights = weights_of(weight, dtype, length(least, 1));
  fits(least, weights.rows, weights.parts);
  fits(greatest, weights.rows, weights.parts);
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  find_extremes(pool, best, weights, least.data(), greatest.data());
}

Search search_of(int grid, int turns, float widest, float narrowest) {
  require(grid >= 0 && turns >= 0, "grid and turns must not be negative");
  return {grid, turns, widest, narrowest};
}

void fit_weight(ThreadPool& pool, const AnyMatrix& weight, const std::string& dtype, int bits, bool symmetric,
                const std::string& scale_type, const NewMatrix& scales, const NewMatrix& zeros,
                const Array<std::int8_t, 2>& codes, int grid, int turns, float widest, float narrowest,
                const std::optional<Vector>& importance, const std::optional<std::string>& isa) {
  const Weights weights = weights_of(weight, dtype, length(scales, 1));
  fits(scales, weights.rows, weights.parts);
  fits(zeros, weights.rows, weights.parts);
  require(length(codes, 0) == weights.rows && length(codes, 1) == weights.columns,
          "codes must be as large as the weight");
  require(!importance || length(*importance, 0) == weights.columns, "importance must be [columns]");
  const CodeFormat format = format_of(bits, symmetric, scale_type);
  const Search search = search_of(grid, turns, widest, narrowest);
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  fit_parts(pool, best, weights, importance ? importance->data() : nullptr, format, search, scales.data(),
            zeros.data(), codes.data());
}

void fit_norm(ThreadPool& pool, const AnyMatrix& weight, const std::string& dtype, int bits, bool symmetric,
              const std::string& scale_type, const Matrix& second_scales, const Matrix& second_zeros,
              const NewMatrix& scales, const NewMatrix& zeros, float norm, float beta, int turns,
              const std::optional<std::string>& isa) {
  const Weights weights = weights_of(weight, dtype, length(scales, 1));
  fits(scales, weights.rows, weights.parts);
  fits(zeros, weights.rows, weights.parts);
  fits(second_scales, weights.rows, weights.parts);
  fits(second_zeros, weights.rows, weights.parts);
  require(norm > 0 && norm < 1 && beta > 0, "norm must be between 0 and 1, beta above 0");
  const CodeFormat format = format_of(bits, symmetric, scale_type);
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  half_quadratic(pool, best, weights, format, {norm, beta, turns}, second_scales.data(), second_zeros.data(),
                 scales.data(), zeros.data());
}

void round_weight(ThreadPool& pool, const AnyMatrix& weight, const std::string& dtype, int bits,
                  const Matrix& scales, const Matrix& zeros, const Array<std::int8_t, 2>& codes,
                  const std::optional<std::string>& isa) {
  const Weights weights = weights_of(weight, dtype, length(scales, 1));
  require(length(scales, 0) == weights.rows && length(zeros, 0) == weights.rows && length(zeros, 1) == weights.parts,
          "scales and zeros must be [rows, parts]");
  require(length(codes, 0) == weights.rows && length(codes, 1) == weights.columns,
          "codes must be as large as the weight");
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  round_parts(pool, best, weights, format_of(bits, false, "float32"), scales.data(), zeros.data(), codes.data());
}

void squares_of(ThreadPool& pool, const AnyMatrix& weight, const std::string& dtype, const Matrix& scales,
                const Matrix& zeros, const Array<const std::int8_t, 2>& codes, const Array<double, 1>& errors,
                const Array<double, 1>& squares, const std::optional<std::string>& isa) {
  const Weights weights = weights_of(weight, dtype, length(scales, 1));
  fits(scales, weights.rows, weights.parts);
  fits(zeros, weights.rows, weights.parts);
  require(length(codes, 0) == weights.rows && length(codes, 1) == weights.columns,
          "codes must be as large as the weight");
  require(length(errors, 0) == weights.rows && length(squares, 0) == weights.rows, "sums must be [rows]");
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  sum_squares(pool, best, weights, scales.data(), zeros.data(), codes.data(), errors.data(), squares.data());
}

void feed_back(ThreadPool& pool, const Matrix& weight, const NewMatrix& wanted, const Matrices& feedback,
               const Vector& pivots, const Array<const std::int32_t, 1>& parts, int fitted, int bits,
               bool symmetric, const std::string& scale_type, int grid, int turns, float widest,
               float narrowest, const NewMatrix& scales, const NewMatrix& zeros,
               const Array<std::int8_t, 2>& codes, const Array<double, 1>& costs,
               const std::optional<std::string>& isa) {
  const std::int64_t rows = length(weight, 0), columns = length(weight, 1), count = length(scales, 1);
  fits(scales, rows, count);
  fits(zeros, rows, count);
  require(length(wanted, 0) == rows && length(wanted, 1) == columns && length(codes, 0) == rows &&
              length(codes, 1) == columns && length(costs, 0) == rows,
          "wanted and codes must be as large as the weight, costs as long");
  const BlockDiagonal blocks = blocks_of(feedback, columns);
  require(length(pivots, 0) == columns && length(parts, 0) == columns, "pivots and parts must have the weight's columns");
  require(std::all_of(parts.data(), parts.data() + columns,
                      [&](std::int32_t part) { return part >= 0 && part < count; }),
          "parts must be columns of the scales");
  const Feedback work = {weight.data(), wanted.data(), rows, columns, blocks, pivots.data(),
                         parts.data(), count, fitted, format_of(bits, symmetric, scale_type),
                         search_of(grid, turns, widest, narrowest), scales.data(), zeros.data(),
                         codes.data(), costs.data()};
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  round_with_feedback(pool, best, work);
}

void descend_columns(ThreadPool& pool, const NewMatrix& pull, const Matrices& moment, float ridge, bool fitted,
                     int bits, bool symmetric, const std::string& scale_type, const NewMatrix& scales,
                     const Matrix& zeros, const Array<std::int8_t, 2>& codes,
                     const std::optional<std::string>& isa) {
  const std::int64_t rows = length(pull, 0), columns = length(pull, 1), parts = length(scales, 1);
  fits(scales, rows, parts);
  fits(zeros, rows, parts);
  require(parts >= 1 && columns % parts == 0, "parts must divide the columns");
  require(length(codes, 0) == rows && length(codes, 1) == columns, "codes must be as large as the pull");
  const BlockDiagonal blocks = blocks_of(moment, columns);
  const Descent work = {pull.data(), blocks, ridge, rows, columns, parts, fitted,
                        format_of(bits, symmetric, scale_type), scales.data(), zeros.data(), codes.data()};
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  descend(pool, best, work);
}

void add_costs(ThreadPool& pool, const NewMatrix& errors, const Matrices& feedback, const Vector& pivots,
               const Array<double, 1>& costs, const Array<const double, 1>& limits,
               const std::optional<std::string>& isa) {
  const std::int64_t rows = length(errors, 0), columns = length(errors, 1);
  const BlockDiagonal blocks = blocks_of(feedback, columns);
  require(length(pivots, 0) == columns, "pivots must have the columns of the errors");
  require(length(costs, 0) == rows && length(limits, 0) == rows,
          "costs and limits must have the rows of the errors");
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  feedback_costs(pool, best, rows, columns, errors.data(), blocks, pivots.data(),
                 limits.data(), costs.data());
}

// ValueError where weights have no place in the format.
void told(Encoded found) {
  require(found != Encoded::not_finite, "weights are not finite");
  require(found != Encoded::too_large, "weights are too large for trellis codes, which reach 7440");
}

template <typename Words>
void require_words(const Words& words, std::int64_t rows, std::int64_t columns) {
  require(columns >= 32 && columns % 32 == 0, "trellis codes need whole 32 columns");
  require(length(words, 0) == rows && length(words, 1) == trellis_row_bytes(columns),
          "words must be [rows, bytes of a row of so many columns]");
}

void encode(ThreadPool& pool, const AnyMatrix& weight, const std::string& dtype, const Array<std::uint8_t, 2>& words,
            const std::optional<std::string>& isa) {
  const Weights weights = weights_of(weight, dtype, 1);
  require_words(words, weights.rows, weights.columns);
  const Isa best = best_or(isa);
  Encoded found;
  {
    nb::gil_scoped_release unlocked;
    found = encode_trellis(pool, best, weights, words.data());
  }
  told(found);
}

void trellis_squares(ThreadPool& pool, const AnyMatrix& weight, const std::string& dtype,
                     const Array<const std::uint8_t, 2>& words, const Array<double, 1>& errors,
                     const Array<double, 1>& squares, const std::optional<std::string>& isa) {
  const Weights weights = weights_of(weight, dtype, 1);
  require_words(words, weights.rows, weights.columns);
  require(length(errors, 0) == weights.rows && length(squares, 0) == weights.rows, "sums must be [rows]");
  const Isa best = best_or(isa);
  nb::gil_scoped_release unlocked;
  sum_squares(pool, best, weights, words.data(), errors.data(), squares.data());
}

void encode_with_feedback(ThreadPool& pool, const Matrix& weight, const NewMatrix& wanted, const Matrices& feedback,
                          const Vector& pivots, const Array<std::uint8_t, 2>& words, const Array<double, 1>& costs,
                          const std::optional<std::string>& isa) {
  const std::int64_t rows = length(weight, 0), columns = length(weight, 1);
  require_words(words, rows, columns);
  require(length(costs, 0) == rows, "costs must be [rows]");
  require(length(wanted, 0) == rows && length(wanted, 1) == columns, "wanted must be as large as the weight");
  const BlockDiagonal blocks = blocks_of(feedback, columns);
  require(length(pivots, 0) == columns, "pivots must have the weight's columns");
  const TrellisFeedback work = {weight.data(), wanted.data(), rows, columns, blocks, pivots.data(),
                                words.data(), costs.data()};
  const Isa best = best_or(isa);
  Encoded found;
  {
    nb::gil_scoped_release unlocked;
    found = encode_trellis(pool, best, work);
  }
  told(found);
}

void decode(const Array<const std::uint8_t, 2>& words, const Array<std::int8_t, 2>& codes,
            const NewMatrix& units) {
  const std::int64_t rows = length(codes, 0), columns = length(codes, 1), groups = length(units, 1);
  const std::int64_t stride = trellis_row_bytes(columns);
  require_words(words, rows, columns);
  require(length(units, 0) == rows && groups == ceil_div(columns, kTrellisGroup),
          "units must be [rows, groups]");
  nb::gil_scoped_release unlocked;
  for (std::int64_t row = 0; row < rows; ++row)
    decode_trellis_row(words.data() + row * stride, columns, codes.data() + row * columns, units.data() + row * groups);
}

void rotate_vectors(ThreadPool& pool, const Array<float, 3>& x, const Vector& signs) {
  require(length(signs, 0) == length(x, 1), "signs must be [length] of x [outer, length, inner]");
  if (x.size() == 0) return;
  nb::gil_scoped_release unlocked;
  rotate(pool, length(x, 0), length(x, 1), length(x, 2), signs.data(), x.data());
}

}  // namespace

void bind_solvers(nb::module_& m) {
  const auto none = nb::none();
  m.def("add_moment", &add_moment_of, nb::arg("pool"), nb::arg("x").noconvert(), nb::arg("total").noconvert(),
        nb::arg("isa") = none);
  m.def("add_columns", &add_columns_of, nb::arg("pool"), nb::arg("x").noconvert(), nb::arg("largest").noconvert(),
        nb::arg("absolute").noconvert(), nb::arg("squares").noconvert());
  m.def("multiply", &multiply, nb::arg("pool"), nb::arg("a").noconvert(), nb::arg("b").noconvert(),
        nb::arg("out").noconvert(), nb::arg("isa") = none);
  m.def("factor", &factor_matrix, nb::arg("pool"), nb::arg("h").noconvert(), nb::arg("isa") = none);
  m.def("extremes", &extremes_of, nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"),
        nb::arg("least").noconvert(), nb::arg("greatest").noconvert(), nb::arg("isa") = none);
  m.def("fit", &fit_weight, nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"), nb::arg("bits"),
        nb::arg("symmetric"), nb::arg("scale_type"), nb::arg("scales").noconvert(), nb::arg("zeros").noconvert(),
        nb::arg("codes").noconvert(), nb::arg("grid"), nb::arg("turns"), nb::arg("widest"), nb::arg("narrowest"),
        nb::arg("importance").noconvert().none() = none, nb::arg("isa") = none);
  m.def("half_quadratic", &fit_norm, nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"),
        nb::arg("bits"), nb::arg("symmetric"), nb::arg("scale_type"), nb::arg("second_scales").noconvert(),
        nb::arg("second_zeros").noconvert(), nb::arg("scales").noconvert(), nb::arg("zeros").noconvert(),
        nb::arg("norm"), nb::arg("beta"), nb::arg("turns"), nb::arg("isa") = none);
  m.def("round", &round_weight, nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"),
        nb::arg("bits"), nb::arg("scales").noconvert(), nb::arg("zeros").noconvert(),
        nb::arg("codes").noconvert(), nb::arg("isa") = none);
  m.def("squares", &squares_of, nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"),
        nb::arg("scales").noconvert(), nb::arg("zeros").noconvert(), nb::arg("codes").noconvert(),
        nb::arg("errors").noconvert(), nb::arg("squares").noconvert(), nb::arg("isa") = none);
  m.def("feedback_costs", &add_costs, nb::arg("pool"), nb::arg("errors").noconvert(),
        nb::arg("feedback").noconvert(), nb::arg("pivots").noconvert(), nb::arg("costs").noconvert(),
        nb::arg("limits").noconvert(), nb::arg("isa") = none);
  m.def("descend", &descend_columns, nb::arg("pool"), nb::arg("pull").noconvert(), nb::arg("moment").noconvert(),
        nb::arg("ridge"), nb::arg("fitted"), nb::arg("bits"), nb::arg("symmetric"), nb::arg("scale_type"),
        nb::arg("scales").noconvert(), nb::arg("zeros").noconvert(), nb::arg("codes").noconvert(),
        nb::arg("isa") = none);
  m.def("round_with_feedback", &feed_back, nb::arg("pool"), nb::arg("weight").noconvert(),
        nb::arg("wanted").noconvert(), nb::arg("feedback").noconvert(), nb::arg("pivots").noconvert(),
        nb::arg("parts").noconvert(), nb::arg("fitted"), nb::arg("bits"), nb::arg("symmetric"),
        nb::arg("scale_type"), nb::arg("grid"), nb::arg("turns"), nb::arg("widest"), nb::arg("narrowest"),
        nb::arg("scales").noconvert(), nb::arg("zeros").noconvert(), nb::arg("codes").noconvert(),
        nb::arg("costs").noconvert(), nb::arg("isa") = none);
  m.def("encode_trellis", &encode, nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"),
        nb::arg("words").noconvert(), nb::arg("isa") = none);
  m.def("trellis_squares", &trellis_squares, nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"),
        nb::arg("words").noconvert(), nb::arg("errors").noconvert(), nb::arg("squares").noconvert(),
        nb::arg("isa") = none);
  m.def("encode_trellis_with_feedback", &encode_with_feedback, nb::arg("pool"), nb::arg("weight").noconvert(),
        nb::arg("wanted").noconvert(), nb::arg("feedback").noconvert(), nb::arg("pivots").noconvert(),
        nb::arg("words").noconvert(), nb::arg("costs").noconvert(), nb::arg("isa") = none);
  m.def("decode_trellis", &decode, nb::arg("words").noconvert(), nb::arg("codes").noconvert(),
        nb::arg("units").noconvert());
  m.def("rotate", &rotate_vectors, nb::arg("pool"), nb::arg("x").noconvert(), nb::arg("signs").noconvert());
}

}  // namespace lichen
