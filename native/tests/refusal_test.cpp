// What the core refuses, and that it is as good as new afterwards.
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "checks.h"
#include "tiny_model.h"

namespace {

using namespace lichen;

Checks checks;

void refused(const std::function<void()>& call, const std::string& words) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    checks.expect(std::string(error.what()).find(words) != std::string::npos,
                  "'" + std::string(error.what()) + "' should say '" + words + "'");
    return;
  }
  checks.expect(false, "nothing refused what should say '" + words + "'");
}

void out_of_memory(const std::function<void()>& call, const std::string& what) {
  try {
    call();
  } catch (const std::bad_alloc&) {
    checks.expect(true, what);
    return;
  }
  checks.expect(false, what + " should be out of memory");
}

void test_weights(ThreadPool& pool) {
  const std::vector<float> floats(64, 1.0f), odd(64, 1.0f + 0x1p-23f);
  std::vector<std::int8_t> codes(64, 7), zeros(64, -8);
  const auto pack = [&](Dtype dtype, std::int64_t rows, std::int64_t cols, const float* scales, std::int64_t group) {
    return pack_linear(pool, {dtype == Dtype::f32 ? static_cast<const void*>(floats.data()) : codes.data(), dtype,
                              rows, cols, scales, nullptr, group, nullptr}, Isa::portable);
  };
  refused([&] { pack(Dtype::f32, 0, 4, nullptr, 0); }, "cannot be 0 x 4");
  refused([&] { pack(Dtype::f32, 1, (std::int64_t{1} << 31) + 1, nullptr, 0); }, "cannot be 1 x 2147483649");
  refused([&] { pack(Dtype::i8, 1, 65537, floats.data(), 0); }, "too wide");
  refused([&] { pack(Dtype::i8, 2, 32, nullptr, 0); }, "needs scales");
  refused([&] { pack(Dtype::i4, 2, 32, floats.data(), 48); }, "32, 64 or 128 columns, not 48");
  refused([&] { pack(Dtype::i4, 1, 48, floats.data(), 32); }, "cannot be cut into groups of 32");
  refused([&] { pack(Dtype::i4, 2, 32, odd.data(), 32); }, "float16, or all of bfloat16");
  codes[33] = 8;
  refused([&] { pack(Dtype::i4, 2, 32, floats.data(), 32); }, "must be -8 to 7");
  codes[33] = -8;
  checks.expect(pack(Dtype::i4, 2, 32, floats.data(), 32)->rows == 2, "a good weight is packed");
#if defined(__x86_64__)
  constexpr Isa foreign = Isa::neon;
#else
  constexpr Isa foreign = Isa::avx2;
#endif
  refused([&] { pack_linear(pool, {floats.data(), Dtype::f32, 1, 4}, foreign); }, "cannot run the instruction set");
}

void test_caches() {
  refused([] { Cache({0, 1, 8, 16, CacheType::f32}, 1); }, "layers must be at least 1, not 0");
  refused([] { Cache({1, 1, 8, 24, CacheType::i8}, 1); }, "multiple of 16, not 24");
  constexpr std::int64_t many = std::numeric_limits<std::int32_t>::max();
  out_of_memory([] { Cache({many, many, many, many - many % 16, CacheType::f32}, many); }, "a cache larger than any number");
  out_of_memory([] { AlignedBuffer buffer(SIZE_MAX); }, "a buffer of every byte");
  out_of_memory([] { AlignedBuffer buffer(SIZE_MAX / 2); }, "a buffer of half of them");
}

void test_batches(const TinyModel& model) {
  const std::vector<std::int32_t> ids = {1, 2, 3, 4, 5};
  Cache cache = model.cache(4);
  const auto step = [&](auto spoil) {
    RaggedBatch batch(2);
    batch.add(ids, 0, 3, {3, 2});
    batch.add(ids, 3, 5, {1, 0});
    spoil(batch);
    return batch.run(*model.plan, cache);
  };
  const std::vector<float> good = step([](RaggedBatch&) {});
  refused([&] { step([](RaggedBatch& b) { b.ids[2] = kVocabulary; }); }, "ids[2] is 37; allowed are 0 to 36");
  refused([&] { step([](RaggedBatch& b) { b.ids[0] = -1; }); }, "ids[0] is -1");
  refused([&] { step([](RaggedBatch& b) { b.positions[1] = 9; }); }, "must be consecutive");
  refused([&] { step([](RaggedBatch& b) { b.positions[3] = -1; }); }, "begins at position -1");
  refused([&] { step([](RaggedBatch& b) { b.positions[3] = 31, b.positions[4] = 32; }); }, "needs 3 pages");
  refused([&] {
    step([](RaggedBatch& b) {
      constexpr std::int32_t last = std::numeric_limits<std::int32_t>::max();
      b.positions[3] = last - 1, b.positions[4] = last;
    });
  }, "needs 134217728 pages");
  refused([&] { step([](RaggedBatch& b) { b.starts[0] = 1; }); }, "must begin with 0");
  refused([&] { step([](RaggedBatch& b) { b.starts[1] = 0; }); }, "sequence 0 has no tokens");
  refused([&] { step([](RaggedBatch& b) { b.starts[2] = 4; }); }, "must end with the number of tokens, 5");
  refused([&] { step([](RaggedBatch& b) { b.pages[2] = 4; }); }, "pages[1][0] is 4");
  refused([&] { step([](RaggedBatch& b) { b.pages[2] = 3; }); }, "would be written twice");
  refused([&] { step([](RaggedBatch& b) { b.rows[4] = 5; }); }, "rows[4] is 5");
  refused([&] { step([&](RaggedBatch& b) { b.rows.assign(kMostTokens + 1, 0); }); }, "65 rows are more");
  refused([&] {
    Cache other({1, kKeyHeads, kHeadDim, 16, CacheType::f32}, 4);
    RaggedBatch batch(2);
    batch.add(ids, 0, 3, {3, 2});
    batch.run(*model.plan, other);
  }, "needs a cache of 2 layers");
  checks.expect(step([](RaggedBatch&) {}) == good, "a good step gives what it gave before");
  RaggedBatch empty(2);
  checks.expect(empty.run(*model.plan, cache).empty(), "a step without tokens gives no rows");
}

void test_plans(const std::shared_ptr<ThreadPool>& pool) {
  const auto fresh = [&] { return Plan(pool, Isa::portable, 4); };
  const auto table = RandomLinear(*pool, Isa::portable).make(Dtype::f32, 5, 8);
  refused([&] { Plan(pool, Isa::portable, 0); }, "max_tokens must be 1 to");
  refused([&] { Plan plan = fresh(); plan.value(0); }, "width of a value must be 1 to");
  refused([&] { Plan plan = fresh(); plan.output(3); }, "there is no value 3");
  refused([&] { Plan plan = fresh(); plan.output(plan.value(8)); }, "read before anything is written");
  refused([&] { Plan plan = fresh(); plan.embedding(table, plan.value(9)); }, "width 9; this operation writes 8");
  const auto with_table = [&](const std::function<void(Plan&, Plan::Value)>& rest) {
    Plan plan(pool, Isa::portable, 4);
    const Plan::Value x = plan.value(8);
    plan.embedding(table, x);
    rest(plan, x);
  };
  refused([&] { with_table([&](Plan& p, auto x) { p.linear(x, {{table, x}}, false); }); }, "cannot write its own input");
  refused([&] { with_table([&](Plan& p, auto x) { p.linear(x, {}, false); }); }, "at least one");
  refused([&] { with_table([&](Plan& p, auto x) { p.rms_norm(x, x, {1.0f}, 1e-6f); }); }, "weight of 1");
  refused([&] { with_table([&](Plan& p, auto x) { p.rope(x, 3, 4, {1.0f}, 1.0f, false); }); }, "not the width 8");
  refused([&] { with_table([&](Plan& p, auto x) { p.attention(x, x, x, x, 0, 3, 2, 4, 1.0f); }); }, "multiple of KV heads");
  refused([&] { with_table([&](Plan& p, auto x) { p.output(x); p.value(1); }); }, "the plan has its output");
  refused([&] { with_table([&](Plan& p, auto) { p.output_width(); }); }, "has no output yet");
  refused([&] { with_table([&](Plan& p, auto) { p.finish(); }); }, "needs an output, or values that are tapped");
  refused([&] { with_table([&](Plan& p, auto x) { p.tap(x); p.finish(); p.tap(x); }); }, "the plan has its output");
  refused([&] { with_table([&](Plan& p, auto x) { p.select_rows(x, p.value(8)); p.tap(x); }); }, "before select_rows");
  refused([&] { Plan plan = fresh(); plan.tap(plan.value(8)); }, "read before anything is written");
}

}  // namespace

int main() {
  const auto pool = std::make_shared<ThreadPool>(2);
  test_weights(*pool);
  test_caches();
  test_plans(pool);
  test_batches(TinyModel(pool, supported_isas().back()));
  return checks.finish();
}
