// What the solvers use, of every instruction set, against the portable code, bit for bit; and that the loops for the
// machine's limits run. tests/solvers/test_native.py holds the same against NumPy.
#include "lichen/rounding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>

#include "checks.h"
#include "kernels/dispatch.h"
#include "lichen/matrix.h"
#include "lichen/moment.h"
#include "lichen/trellis.h"

namespace {

using namespace lichen;
using Floats = std::vector<float>;

// Not whole vectors of rows, and more columns than are worked on together.
constexpr std::int64_t kRows = 21, kColumns = 320, kPart = 32, kParts = kColumns / kPart;
constexpr std::size_t kNumbers = kRows * kColumns, kScales = kRows * kParts;
// Of rows that are taken one by one: not whole vectors either, and more than are searched a part a lane.
constexpr std::int64_t kRowColumns = 333;
constexpr std::size_t kRowNumbers = kRows * kRowColumns;

Floats normal(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0, 1);
  Floats values(count);
  for (float& value : values) value = distribution(random);
  return values;
}

// Results by name, in doubles, which keep every bit of the others.
class Results {
 public:
  template <typename Numbers>
  void add(const std::string& name, const Numbers& numbers) {
    found_[name].assign(numbers.begin(), numbers.end());
  }
  void expect_those_of(const Results& other, Checks& checks, const std::string& where) const {
    checks.expect(!found_.empty() && found_.size() == other.found_.size(), "as many results, " + where);
    for (const auto& [name, numbers] : found_) {
      const std::vector<double>& wanted = other.found_.at(name);
      checks.expect(numbers.size() == wanted.size() &&
                        std::memcmp(numbers.data(), wanted.data(), numbers.size() * sizeof(double)) == 0,
                    name + ", " + where);
    }
  }

 private:
  std::map<std::string, std::vector<double>> found_;
};

struct Given {
  WeightType type;
  CodeFormat format;
  std::int64_t parts;
};

// Numbers of both signs from a sixteenth to four, in the bits of the type.
std::vector<std::uint16_t> halves(WeightType type) {
  std::mt19937 random(2);
  std::vector<std::uint16_t> bits(kRowNumbers);
  const unsigned least = type == WeightType::f16 ? 0x2c00 : 0x3e00, range = type == WeightType::f16 ? 0x1400 : 0x0280;
  for (auto& number : bits) number = static_cast<std::uint16_t>(least + random() % range + (random() & 0x8000));
  return bits;
}

constexpr Search kSearch = {8, 2, 1.1f, 0.4f};

// Scales and codes of rows that are taken one by one.
void round_rows(ThreadPool& pool, Isa isa, const Given& given, const std::string& of, Results& results) {
  const Floats floats = normal(kRowNumbers, 1);
  const auto bits = halves(given.type);
  const void* data = given.type == WeightType::f32 ? static_cast<const void*>(floats.data()) : bits.data();
  const Weights weights = {data, given.type, kRows, kRowColumns, given.parts};
  Floats importance = normal(kRowColumns, 3);
  for (float& value : importance) value *= value;
  const auto count = static_cast<std::size_t>(kRows * given.parts);
  Floats least(count), greatest(count), scales(count), zeros(count), second(count), second_zeros(count);
  std::vector<std::int8_t> codes(kRowNumbers);
  std::vector<double> errors(kRows), squares(kRows);
  find_extremes(pool, isa, weights, least.data(), greatest.data());
  results.add(of + "least", least);
  results.add(of + "greatest", greatest);
  fit_parts(pool, isa, weights, importance.data(), given.format, kSearch, scales.data(), zeros.data(), codes.data());
  results.add(of + "fitted scales", scales);
  results.add(of + "fitted zeros", zeros);
  results.add(of + "fitted codes", codes);
  fit_parts(pool, isa, weights, nullptr, given.format, {0, 0, 1.0f, 1.0f}, second.data(), second_zeros.data(),
            codes.data());
  half_quadratic(pool, isa, weights, given.format, {0.7f, 10.0f, 6}, second.data(), second_zeros.data(), scales.data(),
                 zeros.data());
  results.add(of + "half-quadratic scales", scales);
  results.add(of + "half-quadratic zeros", zeros);
  round_parts(pool, isa, weights, given.format, scales.data(), zeros.data(), codes.data());
  results.add(of + "codes", codes);
  sum_squares(pool, isa, weights, scales.data(), zeros.data(), codes.data(), errors.data(), squares.data());
  results.add(of + "errors", errors);
  results.add(of + "squares", squares);
}

constexpr float kRidge = 4;

// [kColumns][kColumns]: a sum of squares, which has a factor once kRidge is added to its diagonal.
Floats moment(ThreadPool& pool, Isa isa) {
  constexpr std::int64_t kInputs = 40;
  const Floats x = normal(kInputs * kColumns, 4);
  Floats total(kColumns * kColumns);
  const Operand columns = {x.data(), kColumns, 1, kColumns};
  add_product(pool, isa, columns, columns, kInputs, 1.0f, total.data(), kColumns);
  return total;
}

// Products, factors, and rounding that counts what columns do to each other.
void round_together(ThreadPool& pool, Isa isa, const CodeFormat& format, const std::string& of, Results& results) {
  const Floats weight = normal(kNumbers, 5), h = moment(pool, isa);
  results.add(of + "moment", h);
  Floats feedback = h, pivots(kColumns), wanted = weight, scales(kScales), zeros(kScales);
  for (std::size_t i = 0; i < kColumns; ++i) feedback[i * kColumns + i] += kRidge;
  if (!factor(pool, isa, kColumns, feedback.data())) throw std::runtime_error("the moment has no factor");
  results.add(of + "factor", feedback);
  for (std::size_t k = 0; k < kColumns; ++k) {
    float* row = feedback.data() + k * kColumns;
    const float root = row[k];
    for (std::size_t i = 0; i < kColumns; ++i) row[i] /= root;
    row[k] = 0;
    pivots[k] = root * root;
  }
  std::vector<std::int32_t> parts(kColumns);
  for (std::size_t k = 0; k < kColumns; ++k) parts[k] = static_cast<std::int32_t>(k / kPart);
  std::vector<std::int8_t> codes(kNumbers);
  std::vector<double> costs(kRows);
  const BlockDiagonal fed = {{feedback.data(), 0, kColumns}}, whole = {{h.data(), 0, kColumns}};
  round_with_feedback(pool, isa, {weight.data(), wanted.data(), kRows, kColumns, fed, pivots.data(),
                                  parts.data(), kParts, kPart, format, kSearch, scales.data(), zeros.data(),
                                  codes.data(), costs.data()});
  results.add(of + "scales found on the way", scales);
  results.add(of + "zeros found on the way", zeros);
  results.add(of + "codes with feedback", codes);
  results.add(of + "costs with feedback", costs);
  Floats pull = normal(kNumbers, 6);
  for (bool fitted : {false, true}) {
    descend(pool, isa, {pull.data(), whole, kRidge, kRows, kColumns, kParts, fitted, format, scales.data(),
                        zeros.data(), codes.data()});
    const std::string name = fitted ? " with scales" : "";
    results.add(of + "pull after descent" + name, pull);
    results.add(of + "codes after descent" + name, codes);
    results.add(of + "scales after descent" + name, scales);
  }
  std::fill(costs.begin(), costs.end(), 0.0);
  const std::vector<double> limits(costs.size(), std::numeric_limits<double>::infinity());
  feedback_costs(pool, isa, kRows, kColumns, pull.data(), fed, pivots.data(), limits.data(), costs.data());
  results.add(of + "costs of errors", costs);
}

// The lower triangle of a moment, of more tokens than share scales, and of tiles that are not whole.
void moment(ThreadPool& pool, Isa isa, Results& results) {
  constexpr std::int64_t kTokens = 603, kWidth = 77;
  const Floats x = normal(kTokens * kWidth, 12);
  Floats total(kWidth * kWidth);
  add_moment(pool, isa, x.data(), kWidth, kTokens, kWidth, total.data());
  for (std::int64_t i = 0; i < kWidth; ++i) std::fill_n(total.begin() + i * kWidth + i + 1, kWidth - i - 1, 0.0f);
  results.add("second moment", total);
}

// Rows of whole groups and of one that is short, by themselves and with feedback.
void encode(ThreadPool& pool, Isa isa, Results& results) {
  for (std::int64_t columns : {32, 64, 96, 128, 288}) {
    const auto count = static_cast<std::size_t>(kRows * columns);
    Floats weight = normal(count, 11);
    // Some so large, beside others of next to nothing, that costs are the largest that there are.
    if (columns > 128)
      for (std::size_t i = 0; i < count; ++i) weight[i] *= i % 37 == 0 ? 900.0f : i % 5 < 2 ? 1e-6f : 1.0f;
    const std::string of = "trellis codes of " + std::to_string(columns) + " columns";
    std::vector<std::uint8_t> words(static_cast<std::size_t>(kRows * trellis_row_bytes(columns)));
    Encoded found = encode_trellis(pool, isa, Weights{weight.data(), WeightType::f32, kRows, columns, 1}, words.data());
    results.add(of, words);
    results.add(of + ", whole", std::vector<int>{found == Encoded::whole});

    Floats wanted = weight, feedback = normal(static_cast<std::size_t>(columns * columns), 12), pivots(count, 1.0f);
    for (std::int64_t k = 0; k < columns; ++k)
      for (std::int64_t j = 0; j < columns; ++j) {
        float& reach = feedback[static_cast<std::size_t>(k * columns + j)];
        // A quarter, so that products are exact, and fused or not the sums are the same.
        reach = j < k && (k + j) % 7 == 0 ? 0.25f : 0.0f;
      }
    std::vector<double> costs(kRows, 0.0);
    const BlockDiagonal fed = {{feedback.data(), 0, columns}};
    found = encode_trellis(pool, isa,
                           TrellisFeedback{weight.data(), wanted.data(), kRows, columns, fed, pivots.data(),
                                           words.data(), costs.data()});
    results.add(of + " with feedback", words);
    results.add(of + " with feedback, whole", std::vector<int>{found == Encoded::whole});
  }
}

void test_peaks(Isa isa, Checks& checks) {
  const PeakLoops loops = peak_loops(isa);
  for (PeakLoop loop : {loops.i8, loops.bf16})
    checks.expect(loop(3) > 0 && loop(6) == 2 * loop(3), "the peak loops, " + std::string(isa_name(isa)));
}

// All of it, on `threads` threads.
Results results_of(Isa isa, int threads) {
  constexpr CodeFormat kSymmetric = {-8, 7, true, ScaleType::f16}, kShifted = {-128, 127, false, ScaleType::bf16};
  ThreadPool pool(threads);
  Results results;
  round_rows(pool, isa, {WeightType::f32, kShifted, 9}, "float32, ", results);
  round_rows(pool, isa, {WeightType::f16, kSymmetric, 1}, "float16, ", results);
  round_rows(pool, isa, {WeightType::bf16, kShifted, 9}, "bfloat16, ", results);
  round_together(pool, isa, kSymmetric, "int4, ", results);
  round_together(pool, isa, kShifted, "int8, ", results);
  encode(pool, isa, results);
  moment(pool, isa, results);
  return results;
}

}  // namespace

int main(int argc, char** argv) {
  Checks checks;
  const Results portable = results_of(Isa::portable, 1);
  for (Isa isa : chosen_isas(argc, argv)) {
    results_of(isa, 2).expect_those_of(portable, checks, std::string(isa_name(isa)));
    test_peaks(isa, checks);
  }
  return checks.finish();
}
