// The part of lichen._core for blocks: choosing their codes and scales (lichen/blocks.h), and GGUF's
// (lichen/block_types.h).
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "lichen/blocks.h"

namespace nb = nanobind;

namespace lichen {

void bind_blocks(nb::module_& m);

namespace {

template <typename T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <typename T>
void require(const Matrix<T>& array, std::size_t rows, std::size_t columns) {
  if (array.shape(0) != rows || array.shape(1) != columns)
    throw std::invalid_argument("an array of " + std::to_string(array.shape(0)) + " x " +
                                std::to_string(array.shape(1)) + " must be " + std::to_string(rows) +
                                " x " + std::to_string(columns));
}

std::int64_t rows_of(const Matrix<const float>& weights) {
  return static_cast<std::int64_t>(weights.shape(0));
}

void symmetric(const Matrix<const float>& weights, int low, const Matrix<float>& scales) {
  const std::size_t size = weights.shape(1);
  if (size != 16 && size != 32) throw std::invalid_argument("blocks have 16 or 32 weights");
  require(scales, weights.shape(0), 1);
  const nb::gil_scoped_release release;
  fit_symmetric(weights.data(), rows_of(weights), static_cast<int>(size), low, scales.data());
}

void affine(const Matrix<const float>& weights, int high, const Matrix<float>& scales,
            const Matrix<float>& shifts) {
  require(weights, weights.shape(0), 32);
  require(scales, weights.shape(0), 1);
  require(shifts, weights.shape(0), 1);
  const nb::gil_scoped_release release;
  fit_affine(weights.data(), rows_of(weights), high, scales.data(), shifts.data());
}

void affine_super(const Matrix<const float>& weights, int high, const Matrix<float>& units,
                  const Matrix<std::uint8_t>& scales, const Matrix<std::uint8_t>& minima,
                  const Matrix<std::uint8_t>& codes) {
  const std::size_t count = weights.shape(0);
  require(weights, count, kSuperblock);
  require(units, count, 2);
  require(scales, count, 8);
  require(minima, count, 8);
  require(codes, count, kSuperblock);
  const nb::gil_scoped_release release;
  fit_affine_super(weights.data(), rows_of(weights), high, units.data(), scales.data(),
                   minima.data(), codes.data());
}

void symmetric_super(const Matrix<const float>& weights, int low, const Matrix<float>& units,
                     const Matrix<std::int8_t>& scales, const Matrix<std::int8_t>& codes) {
  const std::size_t count = weights.shape(0);
  require(weights, count, kSuperblock);
  require(units, count, 1);
  require(scales, count, 16);
  require(codes, count, kSuperblock);
  const nb::gil_scoped_release release;
  fit_symmetric_super(weights.data(), rows_of(weights), low, units.data(), scales.data(),
                      codes.data());
}

void dequantize(const std::string& type, const Matrix<const std::uint8_t>& blocks, const Matrix<float>& out) {
  const std::optional<BlockType> known = parse_block_type(type);
  if (!known) throw std::invalid_argument("there is no block type '" + type + "'");
  const BlockLayout& layout = layout_of(*known);
  require(blocks, blocks.shape(0), static_cast<std::size_t>(layout.bytes));
  require(out, blocks.shape(0), static_cast<std::size_t>(layout.weights));
  const nb::gil_scoped_release release;
  dequantize_blocks(*known, blocks.data(), static_cast<std::int64_t>(blocks.shape(0)), out.data());
}

}  // namespace

void bind_blocks(nb::module_& m) {
  m.def("fit_symmetric", &symmetric, nb::arg("weights").noconvert(), nb::arg("low"),
        nb::arg("scales").noconvert());
  m.def("fit_affine", &affine, nb::arg("weights").noconvert(), nb::arg("high"),
        nb::arg("scales").noconvert(), nb::arg("shifts").noconvert());
  m.def("fit_affine_super", &affine_super, nb::arg("weights").noconvert(), nb::arg("high"),
        nb::arg("units").noconvert(), nb::arg("scales").noconvert(),
        nb::arg("minima").noconvert(), nb::arg("codes").noconvert());
  m.def("fit_symmetric_super", &symmetric_super, nb::arg("weights").noconvert(), nb::arg("low"),
        nb::arg("units").noconvert(), nb::arg("scales").noconvert(),
        nb::arg("codes").noconvert());
  m.def("dequantize_blocks", &dequantize, nb::arg("type"), nb::arg("blocks").noconvert(),
        nb::arg("out").noconvert());
}

}  // namespace lichen
