// Norms, elementwise functions and attention of every instruction set against the portable ones, bit
// for bit, with NaN in all that must not be read. tests/native/test_plan.py holds them against NumPy.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "checks.h"
#include "lichen/attention.h"
#include "lichen/cache.h"
#include "lichen/elementwise.h"
#include "lichen/norm.h"

namespace {

using namespace lichen;
using Floats = std::vector<float>;

constexpr std::size_t kGuard = 16;  // NaN on both sides of a row

std::mt19937 source(1);

Floats normal(std::int64_t count, float scale = 1) {
  std::normal_distribution<float> distribution(0, scale);
  Floats values(static_cast<std::size_t>(count));
  for (float& value : values) value = distribution(source);
  return values;
}

// A row between two guards.
class Guarded {
 public:
  explicit Guarded(std::int64_t width)
      : memory_(static_cast<std::size_t>(width) + 2 * kGuard, NAN) {}
  explicit Guarded(const Floats& row) : Guarded(static_cast<std::int64_t>(row.size())) {
    std::copy(row.begin(), row.end(), data());
  }
  float* data() { return memory_.data() + kGuard; }
  // NaN in the same places, and numbers that are `tolerance` apart at most.
  bool near(const Guarded& other, float tolerance) const {
    for (std::size_t i = 0; i < memory_.size(); ++i)
      if (std::isnan(memory_[i]) != std::isnan(other.memory_[i]) || std::fabs(memory_[i] - other.memory_[i]) > tolerance)
        return false;
    return memory_.size() == other.memory_.size();
  }
  // Equal bits, or both NaN: which NaN comes out of an operation on one differs between processors.
  bool equals(const Guarded& other) const {
    for (std::size_t i = 0; i < memory_.size(); ++i)
      if (std::memcmp(&memory_[i], &other.memory_[i], sizeof(float)) != 0 &&
          !(std::isnan(memory_[i]) && std::isnan(other.memory_[i])))
        return false;
    return memory_.size() == other.memory_.size();
  }

 private:
  Floats memory_;
};

// Numbers of all sizes, with those that a function may treat apart in front.
Floats awkward(std::int64_t width) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const Floats special = {0.0f, -0.0f, 1e-42f, infinity, -infinity, NAN, 88.7f, -86.6f, -104.0f, 3e38f, 1.0f};
  Floats values = normal(width, 4);
  for (std::size_t i = 0; i < values.size() && i < special.size() && width > 20; ++i) values[i] = special[i];
  return values;
}

void test_norms(Isa isa, std::int64_t width, Checks& checks) {
  const NormKernels &oracle = norm_kernels(Isa::portable), &tested = norm_kernels(isa);
  Guarded x(normal(width, 3)), weight(normal(width)), bias(normal(width));
  Guarded expected(width), result(width);
  const std::string where = std::string(isa_name(isa)) + ", width " + std::to_string(width);
  oracle.rms_norm(x.data(), expected.data(), weight.data(), 1e-6f, width);
  tested.rms_norm(x.data(), result.data(), weight.data(), 1e-6f, width);
  checks.expect(result.equals(expected), "rms_norm, " + where);
  oracle.layer_norm(x.data(), expected.data(), weight.data(), bias.data(), 1e-5f, width);
  tested.layer_norm(x.data(), x.data(), weight.data(), bias.data(), 1e-5f, width);  // in place
  checks.expect(x.equals(expected), "layer_norm, " + where);
}

void test_elementwise(Isa isa, std::int64_t width, Checks& checks) {
  const ElementwiseKernels &oracle = elementwise_kernels(Isa::portable), &tested = elementwise_kernels(isa);
  const std::string where = std::string(isa_name(isa)) + ", width " + std::to_string(width);
  Guarded x(awkward(width)), y(normal(width));
  Guarded expected(width), result(width);
  const auto two = [&](auto function, const char* name) {
    (oracle.*function)(x.data(), y.data(), expected.data(), width);
    (tested.*function)(x.data(), y.data(), result.data(), width);
    checks.expect(result.equals(expected), std::string(name) + ", " + where);
  };
  const auto one = [&](auto function, const char* name) {
    (oracle.*function)(x.data(), expected.data(), width);
    (tested.*function)(x.data(), result.data(), width);
    checks.expect(result.equals(expected), std::string(name) + ", " + where);
  };
  two(&ElementwiseKernels::add, "add");
  two(&ElementwiseKernels::silu_mul, "silu_mul");
  one(&ElementwiseKernels::gelu_exact, "gelu_exact");
  one(&ElementwiseKernels::gelu_tanh, "gelu_tanh");
}

void test_rope(Isa isa, std::int64_t heads, std::int64_t head_dim, std::int64_t pairs, Checks& checks) {
  const Floats x = normal(heads * head_dim);
  Guarded cos(normal(pairs)), sin(normal(pairs));
  for (const auto rope : {&ElementwiseKernels::rope_halves, &ElementwiseKernels::rope_interleaved}) {
    Guarded expected(x), result(x);
    (elementwise_kernels(Isa::portable).*rope)(expected.data(), heads, head_dim, pairs, cos.data(), sin.data());
    (elementwise_kernels(isa).*rope)(result.data(), heads, head_dim, pairs, cos.data(), sin.data());
    checks.expect(result.equals(expected), "rope, " + std::string(isa_name(isa)) + ", " + std::to_string(pairs) +
                                               " pairs of " + std::to_string(head_dim));
  }
}

struct Shape {
  std::int64_t tokens, first, group, head_dim;
};

// The last page comes first, so that keys are where the page numbers say and nowhere else.
struct Attended {
  Attended(const Shape& shape, CacheType type)
      : cache({1, 1, shape.head_dim, 32, type}, (shape.first + shape.tokens + 31) / 32) {
    for (std::int64_t page = cache.pages(); page-- > 0;) pages.push_back(static_cast<std::int32_t>(page));
    cache.fill(NAN);
    for (std::int64_t p = 0; p < shape.first + shape.tokens; ++p)
      cache.write(0, pages[static_cast<std::size_t>(p / 32)], p % 32, normal(shape.head_dim).data(),
                  normal(shape.head_dim).data());
  }
  Cache cache;
  std::vector<std::int32_t> pages;
};

AttentionTask task_of(const Shape& shape, const Attended& attended, Guarded& q, Guarded& out) {
  AttentionTask task{};
  task.cache = attended.cache.view(0, 0, attended.pages.data());
  task.q = q.data();
  task.out = out.data();
  task.q_stride = task.out_stride = shape.group * shape.head_dim + 3;
  task.tokens = shape.tokens;
  task.group = shape.group;
  task.head_dim = shape.head_dim;
  task.first_position = shape.first;
  task.scale = 0.3f;
  return task;
}

Floats scratch_of(const AttentionTask& task) {
  return Floats(static_cast<std::size_t>(attention_scratch(task.tokens * task.group, task.head_dim)), NAN);
}

void attend(Isa isa, const AttentionTask& task) { attention_kernels(isa).attend(task, scratch_of(task).data()); }

// The same, each segment by itself and the last one first, as threads may happen to do it.
void attend_in_segments(Isa isa, const AttentionTask& task) {
  const AttentionKernels& kernels = attention_kernels(isa);
  const std::int64_t segments = attention_segments(task.first_position, task.tokens);
  const std::int64_t size = attention_partial(task.tokens * task.group, task.head_dim);
  Floats partials(static_cast<std::size_t>(segments * size), NAN);
  for (std::int64_t s = segments; s-- > 0;)
    kernels.attend_segment(task, s, partials.data() + s * size, scratch_of(task).data());
  kernels.join_segments(task, partials.data(), size);
}

// Each token by itself.
void attend_alone(Isa isa, AttentionTask task) {
  const std::int64_t tokens = std::exchange(task.tokens, 1);
  for (std::int64_t t = 0; t < tokens; ++t, task.q += task.q_stride, task.out += task.out_stride, ++task.first_position)
    attend(isa, task);
}

// What amx multiplies in pairs of bf16 has bits of its own (kernels/attention/amx.cpp).
bool in_tiles(Isa isa, const Shape& shape, CacheType type) {
  return isa == Isa::amx && type != CacheType::f32 && shape.first >= kAttentionNear;
}

// With a `broken` value of the last token, what attends it is NaN, and nothing else.
void test_attention(Isa isa, const Shape& shape, CacheType type, bool broken, Checks& checks) {
  Attended attended(shape, type);
  if (broken) {
    const std::int64_t last = shape.first + shape.tokens - 1;
    Floats value = normal(shape.head_dim);
    value.back() = NAN;
    attended.cache.write(0, attended.pages[static_cast<std::size_t>(last / 32)], last % 32,
                         normal(shape.head_dim).data(), value.data());
  }
  const std::int64_t stride = shape.group * shape.head_dim + 3;
  Guarded q(normal(shape.tokens * stride)), expected(shape.tokens * stride), result(shape.tokens * stride),
      joined(shape.tokens * stride), alone(shape.tokens * stride);
  for (std::int64_t t = 0; t < shape.tokens; ++t)
    for (std::int64_t i = 1; i <= 3; ++i) q.data()[(t + 1) * stride - i] = NAN;
  attend(Isa::portable, task_of(shape, attended, q, expected));
  attend(isa, task_of(shape, attended, q, result));
  attend_in_segments(isa, task_of(shape, attended, q, joined));
  attend_alone(isa, task_of(shape, attended, q, alone));
  const std::string where = std::string(isa_name(isa)) + ", " + std::to_string(shape.tokens) + " tokens from " +
                            std::to_string(shape.first) + ", " + std::to_string(shape.group) + " heads of " +
                            std::to_string(shape.head_dim) + ", cache " + std::to_string(static_cast<int>(type)) +
                            (broken ? ", broken" : "");
  const bool right = in_tiles(isa, shape, type) ? result.near(expected, 1e-4f) : result.equals(expected);
  checks.expect(right, "attention, " + where);
  checks.expect(joined.equals(result), "attention in segments, " + where);
  checks.expect(alone.equals(result), "attention token by token, " + where);
  bool finite = true;
  for (std::int64_t t = 0; t < shape.tokens - broken; ++t)
    for (std::int64_t i = 0; i < stride - 3; ++i) finite = finite && std::isfinite(result.data()[t * stride + i]);
  checks.expect(finite, "attention reads padding, " + where);
}

}  // namespace

int main(int argc, char** argv) {
  Checks checks;
  for (Isa isa : chosen_isas(argc, argv)) {
    for (std::int64_t width : {1, 7, 16, 40, 131, 896}) {
      test_norms(isa, width, checks);
      test_elementwise(isa, width, checks);
    }
    test_rope(isa, 3, 64, 32, checks);
    test_rope(isa, 2, 20, 9, checks);
    test_rope(isa, 5, 2, 1, checks);
    for (const Shape& shape : std::vector<Shape>{{1, 0, 1, 1}, {1, 200, 7, 64}, {9, 125, 3, 20}, {33, 0, 2, 16},
                                                 {5, 255, 1, 130}, {70, 61, 1, 33}, {1, 1499, 7, 64},
                                                 {30, 1010, 2, 20}, {1, 600, 1, 1}, {9, 637, 3, 20}, {33, 512, 2, 16},
                                                 {5, 767, 1, 130}, {70, 573, 1, 33}, {10, 760, 6, 128}})
      for (const CacheType type : {CacheType::f32, CacheType::f16, CacheType::i8})
        for (const bool broken : {false, true}) test_attention(isa, shape, type, broken, checks);
  }
  return checks.finish();
}
