// The Python module lichen._core. Its interface is described in src/lichen/_core.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "lichen/machine.h"
#include "lichen/plan.h"
#include "lichen/trellis.h"

namespace nb = nanobind;

namespace lichen {

void bind_solvers(nb::module_& m);  // solver_bindings.cpp
void bind_blocks(nb::module_& m);  // block_bindings.cpp

namespace {

using AnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FloatMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using NewMatrix = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Scales = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;  // [rows] or [rows, groups]
using Codes = nb::ndarray<const std::int8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using IntMatrix = nb::ndarray<const std::int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Result = nb::ndarray<nb::numpy, float>;

Isa isa_of(const std::string& name) {
  const std::optional<Isa> isa = parse_isa(name);
  const std::vector<Isa>& supported = supported_isas();
  if (isa && std::find(supported.begin(), supported.end(), *isa) != supported.end()) return *isa;
  std::string message = "instruction set '" + name + "' cannot run here; this machine has";
  for (const Isa other : supported) message += " " + std::string(isa_name(other));
  throw std::invalid_argument(message);
}

struct DtypeName {
  Dtype dtype;
  const char* name;
  nb::dlpack::dtype stored;
  const char* stored_name;
};

const DtypeName kDtypes[] = {{Dtype::f32, "f32", nb::dtype<float>(), "float32"},
                             {Dtype::f16, "f16", nb::dtype<std::uint16_t>(), "uint16"},
                             {Dtype::bf16, "bf16", nb::dtype<std::uint16_t>(), "uint16"},
                             {Dtype::i8, "i8", nb::dtype<std::int8_t>(), "int8"},
                             {Dtype::i4, "i4", nb::dtype<std::int8_t>(), "int8"},
                             {Dtype::t4, "t4", nb::dtype<std::uint8_t>(), "uint8"},
                             {Dtype::b8, "b8", nb::dtype<std::int8_t>(), "int8"},
                             {Dtype::b6, "b6", nb::dtype<std::int8_t>(), "int8"},
                             {Dtype::b4, "b4", nb::dtype<std::int8_t>(), "int8"}};

// Rows in a file, of so many elements each.
struct StoredMatrix {
  FileRows rows;
  std::int64_t count, columns;
  std::string element;
};

using Given = std::variant<std::shared_ptr<StoredMatrix>, AnyMatrix>;

const DtypeName& known_dtype(const std::string& name) {
  for (const DtypeName& known : kDtypes)
    if (name == known.name) return known;
  throw std::invalid_argument("there is no dtype '" + name + "'; allowed are f32, f16, bf16, i8, i4, t4, b8, b6, b4 and"
                              " GGUF's block types, as q4_k");
}

[[noreturn]] void refuse_elements(const std::string& dtype, const std::string& wanted) {
  throw std::invalid_argument("a weight of dtype '" + dtype + "' must be made of " + wanted);
}

const char* dtype_name(Dtype dtype) {
  return std::find_if(std::begin(kDtypes), std::end(kDtypes),
                      [&](const DtypeName& known) { return known.dtype == dtype; })
      ->name;
}

CacheType cache_type(const std::string& name) {
  if (const std::optional<CacheType> type = parse_cache_type(name)) return *type;
  throw std::invalid_argument("there is no cache of '" + name +
                              "'; allowed are float32, float16, int8");
}

// The memory of results, used again when Python drops one: fresh pages for every step's logits would
// cost more than writing them.
class ResultMemory : public std::enable_shared_from_this<ResultMemory> {
 public:
  Result make(std::int64_t rows, std::int64_t columns) {
    auto* lease = new Lease{free_.take(float_bytes(rows * columns)), shared_from_this()};
    nb::capsule owner(lease, [](void* p) noexcept {
      const std::unique_ptr<Lease> ended(static_cast<Lease*>(p));
      ended->home->free_.give(std::move(ended->memory));
    });
    return Result(lease->memory.as<float>(),
                  {static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)}, owner);
  }

 private:
  struct Lease {
    AlignedBuffer memory;
    std::shared_ptr<ResultMemory> home;
  };

  static std::size_t float_bytes(std::int64_t floats) {
    return std::max<std::size_t>(kCacheLine, static_cast<std::size_t>(floats) * sizeof(float));
  }

  Reserve free_{2};
};

Result new_matrix(std::int64_t rows, std::int64_t columns) {
  return std::make_shared<ResultMemory>()->make(rows, columns);
}

void require_rows(const char* name, std::size_t count, std::int64_t rows) {
  if (static_cast<std::int64_t>(count) != rows)
    throw std::invalid_argument(std::string(name) + " must have one number for each of the " +
                                std::to_string(rows) + " rows");
}

// Bytes of a row, by what it is made of; "int4" is two codes in a byte.
std::int64_t bytes_of_row(const std::string& element, std::int64_t columns) {
  if (element == "int4" && columns % 2 == 0) return columns / 2;
  for (const auto& [name, bytes] : {std::pair{"float32", 4}, {"uint16", 2}, {"int8", 1}, {"uint8", 1}})
    if (element == name) return bytes * columns;
  throw std::invalid_argument("rows of " + std::to_string(columns) + " '" + element +
                              "' cannot be read; allowed are float32, uint16, int8, uint8 and pairs of int4");
}

std::shared_ptr<File> open_file(int descriptor, const std::string& name) {
  try {
    return std::make_shared<File>(descriptor, name);
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrnoWithFilename(PyExc_OSError, name.c_str());
    throw nb::python_error();
  }
}

void read_file(const File& file, std::int64_t offset, const nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig>& out) {
  const nb::gil_scoped_release unlocked;
  auto* to = reinterpret_cast<char*>(out.data());
  if (const int fault = file.read(offset, static_cast<std::int64_t>(out.size()), to)) throw ReadError(file, fault);
}

std::shared_ptr<StoredMatrix> make_stored(std::shared_ptr<File> file, std::int64_t offset, std::int64_t rows,
                                          std::int64_t columns, const std::string& element) {
  constexpr std::int64_t kFarthest = std::int64_t{1} << 62, kMost = std::int64_t{1} << 31;
  if (offset < 0 || offset > kFarthest || rows < 0 || rows > kMost || columns < 0 || columns > kMost)
    throw std::invalid_argument("there are no rows at offset " + std::to_string(offset) + " of shape " +
                                std::to_string(rows) + " x " + std::to_string(columns));
  const FileRows in_file = {std::move(file), offset, bytes_of_row(element, columns)};
  return std::make_shared<StoredMatrix>(StoredMatrix{in_file, rows, columns, element});
}

void read_rows(const StoredMatrix& matrix, std::int64_t begin,
               const nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig>& out) {
  const std::int64_t row = matrix.rows.row_bytes, bytes = static_cast<std::int64_t>(out.size());
  if (begin < 0 || row == 0 || bytes % row != 0 || begin > matrix.count - bytes / row)
    throw std::invalid_argument("there are not " + std::to_string(bytes) + " bytes of whole rows from row " +
                                std::to_string(begin) + " on, of " + std::to_string(matrix.count) + " rows of " +
                                std::to_string(row) + " bytes");
  read_file(*matrix.rows.file, matrix.rows.offset + begin * row, out);
}

// Of a GGUF type, rows of bytes; of others, rows of numbers.
Weight weight_of(const std::string& dtype, const Given& given) {
  const auto* array = std::get_if<AnyMatrix>(&given);
  const StoredMatrix* stored = array ? nullptr : std::get<std::shared_ptr<StoredMatrix>>(given).get();
  const auto rows = stored ? stored->count : static_cast<std::int64_t>(array->shape(0));
  const auto columns = stored ? stored->columns : static_cast<std::int64_t>(array->shape(1));
  Weight weight = {array ? array->data() : nullptr, Dtype::f32, rows, columns};
  if (const std::optional<BlockType> type = parse_block_type(dtype)) {
    const BlockLayout& layout = layout_of(*type);
    const bool bytes = stored ? stored->element == "uint8" : array->dtype() == nb::dtype<std::uint8_t>();
    if (!bytes || columns % layout.bytes != 0)
      refuse_elements(dtype, "uint8, with rows of blocks of " + std::to_string(layout.bytes) + " bytes");
    weight = stored_weight(*type, static_cast<const std::uint8_t*>(weight.data), rows,
                           columns / layout.bytes * layout.weights);
  } else {
    const DtypeName& known = known_dtype(dtype);
    weight.dtype = known.dtype;
    weight.nibbles = stored && stored->element == "int4";
    if (stored ? !weight.nibbles && stored->element != known.stored_name : array->dtype() != known.stored)
      refuse_elements(dtype, known.stored_name);
    if (known.dtype == Dtype::t4 && !(weight.cols = trellis_columns(columns)))
      throw std::invalid_argument("no row of trellis codes has " + std::to_string(columns) + " bytes");
  }
  weight.in_file = stored ? &stored->rows : nullptr;
  return weight;
}

std::shared_ptr<Linear> make_linear(ThreadPool& pool, const Given& weight,
                                    const std::string& dtype,
                                    const std::optional<Scales>& scales,
                                    const std::optional<Floats>& bias, const std::string& isa,
                                    const std::optional<Codes>& zeros,
                                    const std::optional<FloatMatrix>& shifts, float input_scale,
                                    std::int64_t input_group) {
  Weight given = weight_of(dtype, weight);
  if (scales) {
    require_rows("scales", scales->shape(0), given.rows);
    const auto groups = static_cast<std::int64_t>(scales->size()) / std::max<std::int64_t>(1, given.rows);
    if (given.dtype != Dtype::i8 ? groups < 1 || given.cols % groups != 0 : groups != 1)
      throw std::invalid_argument("scales of " + std::to_string(groups) + " columns do not fit " +
                                  std::to_string(given.cols) + " columns of dtype '" + dtype + "'");
    given.scales = scales->data();
    given.group = given.cols / groups;
  }
  if (zeros) {
    if (!scales || zeros->shape(0) != scales->shape(0) || zeros->size() != scales->size())
      throw std::invalid_argument("zeros must have the shape of the scales");
    given.zeros = zeros->data();
  }
  if (shifts) {
    if (!scales || shifts->shape(0) != scales->shape(0) || shifts->size() != scales->size())
      throw std::invalid_argument("shifts must have the shape of the scales");
    given.shifts = shifts->data();
  }
  given.input_scale = input_scale;
  given.input_group = input_group;
  if (bias) {
    require_rows("bias", bias->shape(0), given.rows);
    given.bias = bias->data();
  }
  const Isa target = isa_of(isa);
  nb::gil_scoped_release unlocked;
  return pack_linear(pool, given, target);
}

Result dequantize_row(const Linear& linear, std::int64_t row) {
  if (row < 0 || row >= linear.rows)
    throw std::invalid_argument("row " + std::to_string(row) + " is outside 0 to " +
                                std::to_string(linear.rows - 1));
  const auto cols = static_cast<std::size_t>(linear.cols);
  auto* out = new float[cols];
  nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  unpack_row(linear, row, out);
  return Result(out, {cols}, owner);
}

Result apply(const Linear& linear, ThreadPool& pool, const FloatMatrix& x) {
  const auto tokens = static_cast<std::int64_t>(x.shape(0));
  const auto cols = static_cast<std::int64_t>(x.shape(1));
  if (cols != linear.cols)
    throw std::invalid_argument("x has " + std::to_string(cols) + " columns, the weight " +
                                std::to_string(linear.cols));
  Result y = new_matrix(tokens, linear.rows);
  nb::gil_scoped_release unlocked;
  QuantizedBuffer buffer(input_of(linear) == Input::floats ? 0 : tokens, cols);
  const QuantizedRows quantized = buffer.rows();
  ChunkCounter counter;
  pool.run([&](int thread) {
    if (thread == 0) prepare_rows(linear, x.data(), cols, 0, tokens, tokens, quantized);
    pool.barrier();
    const std::int64_t chunks = linear_chunks(linear, tokens);
    for (std::int64_t chunk; (chunk = counter.take()) < chunks;)
      linear_chunk(linear, x.data(), cols, &quantized, tokens, y.data(),
                   linear.rows, false, chunk);
  });
  return y;
}

// A plan and the memory of what it returns.
struct PyPlan : Plan {
  using Plan::Plan;
  std::shared_ptr<ResultMemory> results = std::make_shared<ResultMemory>();
};

Plan::Weights vector_of(const Floats& array) {
  return Plan::Weights(array.data(), array.data() + array.shape(0));
}

// What a step works on, but for the rows that are asked for.
Batch batch_of(const Ints& ids, const Ints& positions, const Ints& starts, const IntMatrix& pages) {
  if (positions.shape(0) != ids.shape(0))
    throw std::invalid_argument("ids and positions must have the same length, not " +
                                std::to_string(ids.shape(0)) + " and " +
                                std::to_string(positions.shape(0)));
  if (starts.shape(0) != pages.shape(0) + 1)
    throw std::invalid_argument("starts must have one number more than there are sequences in pages (" +
                                std::to_string(pages.shape(0)) + "), not " +
                                std::to_string(starts.shape(0)));
  return {ids.data(),
          positions.data(),
          starts.data(),
          pages.data(),
          nullptr,
          static_cast<std::int64_t>(ids.shape(0)),
          static_cast<std::int64_t>(pages.shape(0)),
          static_cast<std::int64_t>(pages.shape(1)),
          0};
}

Result step(PyPlan& plan, Cache& cache, const Ints& ids, const Ints& positions, const Ints& starts,
            const IntMatrix& pages, const Ints& rows) {
  Batch batch = batch_of(ids, positions, starts, pages);
  batch.rows = rows.data();
  batch.row_count = static_cast<std::int64_t>(rows.shape(0));
  Result out = plan.results->make(batch.row_count, plan.output_width());
  nb::gil_scoped_release unlocked;
  plan.step(cache, batch, out.data());
  return out;
}

// The data of matrices [tokens][width] that a step takes in or gives out, one for each width.
template <typename Matrix>
auto data_of(const char* name, const std::vector<Matrix>& matrices, const std::vector<std::int64_t>& widths,
             std::int64_t tokens) {
  if (matrices.size() != widths.size())
    throw std::invalid_argument("the plan has " + std::to_string(widths.size()) + " " + name + "s, not " +
                                std::to_string(matrices.size()));
  std::vector<decltype(matrices[0].data())> data;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const auto rows = static_cast<std::int64_t>(matrices[i].shape(0));
    const auto width = static_cast<std::int64_t>(matrices[i].shape(1));
    if (rows != tokens || width != widths[i])
      throw std::invalid_argument(std::string(name) + " " + std::to_string(i) + " is [" + std::to_string(rows) + ", " +
                                  std::to_string(width) + "]; the step needs [" + std::to_string(tokens) + ", " +
                                  std::to_string(widths[i]) + "]");
    data.push_back(matrices[i].data());
  }
  return data;
}

void relay(PyPlan& plan, Cache& cache, const Ints& ids, const Ints& positions, const Ints& starts,
           const IntMatrix& pages, const std::vector<FloatMatrix>& inputs, const std::vector<NewMatrix>& taps) {
  Batch batch = batch_of(ids, positions, starts, pages);
  const auto given = data_of("input", inputs, plan.input_widths(), batch.tokens);
  const auto tapped = data_of("tap", taps, plan.tap_widths(), batch.tokens);
  batch.inputs = given.data();
  batch.taps = tapped.data();
  nb::gil_scoped_release unlocked;
  plan.step(cache, batch, nullptr);
}

using ProductRow = std::tuple<const char*, std::int64_t, std::int64_t, std::int64_t, bool>;

std::vector<ProductRow> products(const PyPlan& plan) {
  std::vector<ProductRow> rows;
  for (const auto& [weight, every_token] : plan.products())
    rows.emplace_back(dtype_name(weight->dtype), weight->rows, weight->cols, weight->nbytes(),
                      every_token);
  return rows;
}

void require_repetitions(int repetitions) {
  if (repetitions < 1)
    throw std::invalid_argument("repetitions must be at least 1, not " + std::to_string(repetitions));
}

std::vector<double> measure_read(ThreadPool& pool, std::int64_t bytes, int repetitions) {
  require_repetitions(repetitions);
  if (bytes < 1)
    throw std::invalid_argument("bytes must be at least 1, not " + std::to_string(bytes));
  nb::gil_scoped_release unlocked;
  return read_rates(pool, bytes, repetitions);
}

std::vector<double> measure_peak(ThreadPool& pool, const std::string& isa, const std::string& dtype,
                                 int repetitions) {
  require_repetitions(repetitions);
  if (dtype != "i8" && dtype != "bf16")
    throw std::invalid_argument("there is no peak of '" + dtype + "'; allowed are i8, bf16");
  const Isa target = isa_of(isa);
  nb::gil_scoped_release unlocked;
  return peak_rates(pool, target, dtype == "i8" ? Peak::i8 : Peak::bf16, repetitions);
}

}  // namespace

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // objects that a script still holds when Python ends are no leaks
  m.doc() = "The native core: linear layers, the key/value cache, and plans that run a step.";
  bind_blocks(m);
  m.def("supported_isas", [] {
    std::vector<std::string> names;
    for (const Isa isa : supported_isas()) names.emplace_back(isa_name(isa));
    return names;
  });
  m.def("read_rates", &measure_read, nb::arg("pool"), nb::arg("bytes"), nb::arg("repetitions"));
  m.def("peak_rates", &measure_peak, nb::arg("pool"), nb::arg("isa"), nb::arg("dtype"),
        nb::arg("repetitions"));

  nb::class_<ThreadPool>(m, "ThreadPool")
      .def(nb::init<int>(), nb::arg("threads"))
      .def_prop_ro("threads", &ThreadPool::size);
  bind_solvers(m);

  nb::exception<ReadError>(m, "ReadError", PyExc_OSError);
  nb::class_<File>(m, "File")
      .def(nb::new_(&open_file), nb::arg("descriptor"), nb::arg("name"))
      .def("read", &read_file, nb::arg("offset"), nb::arg("out").noconvert());
  nb::class_<StoredMatrix>(m, "FileRows")
      .def(nb::new_(&make_stored), nb::arg("file"), nb::arg("offset"), nb::arg("rows"), nb::arg("columns"),
           nb::arg("element"))
      .def("read", &read_rows, nb::arg("begin"), nb::arg("out").noconvert())
      .def_ro("rows", &StoredMatrix::count)
      .def_ro("columns", &StoredMatrix::columns)
      .def_ro("element", &StoredMatrix::element);

  nb::class_<Linear>(m, "Linear")
      .def(nb::new_(&make_linear), nb::arg("pool"), nb::arg("weight").noconvert(), nb::arg("dtype"),
           nb::arg("scales").noconvert().none(), nb::arg("bias").noconvert().none(), nb::arg("isa"),
           nb::arg("zeros").noconvert().none() = nb::none(),
           nb::arg("shifts").noconvert().none() = nb::none(), nb::arg("input_scale") = 0.0f, nb::arg("input_group") = 0)
      .def_ro("rows", &Linear::rows)
      .def_ro("cols", &Linear::cols)
      .def_prop_ro("dtype", [](const Linear& linear) { return dtype_name(linear.dtype); })
      .def_ro("input_scale", &Linear::input_scale)
      .def_ro("input_group", &Linear::input_group)
      .def_prop_ro("nbytes", &Linear::nbytes)
      .def("dequantize_row", &dequantize_row, nb::arg("row"))
      .def("apply", &apply, nb::arg("pool"), nb::arg("x").noconvert());

  nb::class_<Cache>(m, "Cache")
      .def(nb::new_([](std::int64_t layers, std::int64_t kv_heads, std::int64_t head_dim,
                       std::int64_t page_tokens, std::int64_t pages, const std::string& dtype) {
             const CacheFormat format = {layers, kv_heads, head_dim, page_tokens, cache_type(dtype)};
             return std::make_shared<Cache>(format, pages);
           }),
           nb::arg("layers"), nb::arg("kv_heads"), nb::arg("head_dim"), nb::arg("page_tokens"),
           nb::arg("pages"), nb::arg("dtype") = "float32")
      .def_static("page_bytes",
                  [](std::int64_t layers, std::int64_t kv_heads, std::int64_t head_dim,
                     std::int64_t page_tokens, const std::string& dtype) {
                    return page_bytes({layers, kv_heads, head_dim, page_tokens, cache_type(dtype)});
                  },
                  nb::arg("layers"), nb::arg("kv_heads"), nb::arg("head_dim"),
                  nb::arg("page_tokens"), nb::arg("dtype"))
      .def_prop_ro("page_tokens", &Cache::page_tokens)
      .def_prop_ro("pages", &Cache::pages)
      .def_prop_ro("nbytes", &Cache::nbytes)
      .def("fill", &Cache::fill, nb::arg("value"));

  nb::class_<PyPlan>(m, "Plan")
      .def(nb::new_([](std::shared_ptr<ThreadPool> pool, const std::string& isa,
                       std::int64_t max_tokens) {
             return std::make_shared<PyPlan>(std::move(pool), isa_of(isa), max_tokens);
           }),
           nb::arg("pool"), nb::arg("isa"), nb::arg("max_tokens"))
      .def("value", [](PyPlan& plan, std::int64_t width) { return plan.value(width); },
           nb::arg("width"))
      .def("embedding",
           [](PyPlan& plan, std::shared_ptr<Linear> table, int out) {
             plan.embedding(std::move(table), out);
           },
           nb::arg("table"), nb::arg("out"))
      .def("input", [](PyPlan& plan, int out) { plan.input(out); }, nb::arg("out"))
      .def("rms_norm",
           [](PyPlan& plan, int x, int out, const Floats& weight, float eps) {
             plan.rms_norm(x, out, vector_of(weight), eps);
           },
           nb::arg("x"), nb::arg("out"), nb::arg("weight").noconvert(), nb::arg("eps"))
      .def("layer_norm",
           [](PyPlan& plan, int x, int out, const Floats& weight, const Floats& bias, float eps) {
             plan.layer_norm(x, out, vector_of(weight), vector_of(bias), eps);
           },
           nb::arg("x"), nb::arg("out"), nb::arg("weight").noconvert(),
           nb::arg("bias").noconvert(), nb::arg("eps"))
      .def("linear",
           [](PyPlan& plan, int x, const std::vector<std::pair<std::shared_ptr<Linear>, int>>& outs,
              bool accumulate) {
             plan.linear(x, std::vector<Plan::Product>(outs.begin(), outs.end()), accumulate);
           },
           nb::arg("x"), nb::arg("outs"), nb::arg("accumulate") = false)
      .def("fake_quantize",
           [](PyPlan& plan, int x, int out, float scale, std::int64_t group) {
             plan.fake_quantize(x, out, scale, group);
           },
           nb::arg("x"), nb::arg("out"), nb::arg("scale") = 0.0f, nb::arg("group") = 0)
      .def("rope",
           [](PyPlan& plan, int x, std::int64_t heads, std::int64_t head_dim,
              const Floats& inv_freq, float scale, bool interleaved) {
             plan.rope(x, heads, head_dim, vector_of(inv_freq), scale, interleaved);
           },
           nb::arg("x"), nb::arg("heads"), nb::arg("head_dim"), nb::arg("inv_freq").noconvert(),
           nb::arg("scale"), nb::arg("interleaved"))
      .def("attention",
           [](PyPlan& plan, int q, int k, int v, int out, std::int64_t layer, std::int64_t heads,
              std::int64_t kv_heads, std::int64_t head_dim, float scale,
              const std::optional<Floats>& key_units) {
             plan.attention(q, k, v, out, layer, heads, kv_heads, head_dim, scale,
                            key_units ? vector_of(*key_units) : Plan::Weights{});
           },
           nb::arg("q"), nb::arg("k"), nb::arg("v"), nb::arg("out"), nb::arg("layer"),
           nb::arg("heads"), nb::arg("kv_heads"), nb::arg("head_dim"), nb::arg("scale"),
           nb::arg("key_units").noconvert().none() = nb::none())
      .def("gated",
           [](PyPlan& plan, int x, const std::shared_ptr<Linear>& gate, const std::shared_ptr<Linear>& up, int out) {
             plan.gated(x, gate, up, out);
           },
           nb::arg("x"), nb::arg("gate"), nb::arg("up"), nb::arg("out"))
      .def("silu_mul",
           [](PyPlan& plan, int gate, int up, int out) { plan.silu_mul(gate, up, out); },
           nb::arg("gate"), nb::arg("up"), nb::arg("out"))
      .def("gelu",
           [](PyPlan& plan, int x, int out, bool approximate) { plan.gelu(x, out, approximate); },
           nb::arg("x"), nb::arg("out"), nb::arg("approximate"))
      .def("add", [](PyPlan& plan, int x, int y, int out) { plan.add(x, y, out); }, nb::arg("x"),
           nb::arg("y"), nb::arg("out"))
      .def("select_rows", [](PyPlan& plan, int x, int out) { plan.select_rows(x, out); },
           nb::arg("x"), nb::arg("out"))
      .def("tap", [](PyPlan& plan, int x) { plan.tap(x); }, nb::arg("x"))
      .def("output", [](PyPlan& plan, int x) { plan.output(x); }, nb::arg("x"))
      .def("finish", [](PyPlan& plan) { plan.finish(); })
      .def("step", &step, nb::arg("cache"), nb::arg("ids").noconvert(),
           nb::arg("positions").noconvert(), nb::arg("starts").noconvert(),
           nb::arg("pages").noconvert(), nb::arg("rows").noconvert())
      .def("relay", &relay, nb::arg("cache"), nb::arg("ids").noconvert(),
           nb::arg("positions").noconvert(), nb::arg("starts").noconvert(),
           nb::arg("pages").noconvert(), nb::arg("inputs"), nb::arg("taps").noconvert())
      .def_prop_ro("products", &products)
      .def_prop_ro("profile", [](const PyPlan& plan) { return plan.profile(); })
      .def("fill", [](PyPlan& plan, float value) { plan.fill(value); }, nb::arg("value"));
}

}  // namespace lichen
