// A tiny model, phase after phase, in ragged batches and by several callers: equal bits alone and among
// others, with one thread and with several, on every instruction set.
#include "lichen/plan.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>

#include "checks.h"
#include "lichen/attention.h"
#include "tiny_model.h"

namespace {

using namespace lichen;

constexpr std::int64_t kPages = 3;

bool same_bits(const float* a, const float* b, std::size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

// Logits [tokens][kVocabulary] of one sequence from its token `first` on, in chunks of at most `chunk` tokens.
std::vector<float> in_chunks(const TinyModel& model, Cache& cache, const std::vector<std::int32_t>& ids,
                             std::int64_t first, std::int64_t chunk, const std::vector<std::int32_t>& pages) {
  const auto end = static_cast<std::int64_t>(ids.size());
  std::vector<float> logits;
  for (std::int64_t begin = first; begin < end; begin += chunk) {
    RaggedBatch batch(static_cast<std::int64_t>(pages.size()));
    batch.add(ids, begin, std::min(begin + chunk, end), pages);
    const std::vector<float> part = batch.run(*model.plan, cache);
    logits.insert(logits.end(), part.begin(), part.end());
  }
  return logits;
}

std::vector<float> alone(const TinyModel& model, const std::vector<std::int32_t>& ids, std::int64_t chunk) {
  Cache cache = model.cache(kPages);
  cache.fill(NAN);
  return in_chunks(model, cache, ids, 0, chunk, {2, 0, 1});
}

std::vector<std::int32_t> prompt(unsigned seed, std::size_t length) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(length);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % kVocabulary);
  return ids;
}

// A sequence that reaches into a second segment of attention, so that threads hand each other what they have of
// its tokens. Its first keys and values are given, which is quicker; then chunks of 55 cross the border in the
// middle of a tile, and one token is left for the last step.
std::vector<float> long_alone(const TinyModel& model) {
  constexpr std::int64_t kFirst = 990, kLength = kFirst + 2 * 55 + 1, kPageTokens = 16;
  static_assert(kFirst + 55 > kAttentionSegment && kLength < 2 * kAttentionSegment);
  std::vector<std::int32_t> pages(kLength / kPageTokens + 1);
  for (std::size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<std::int32_t>(i * 5 % pages.size());
  Cache cache = model.cache(static_cast<std::int64_t>(pages.size()));
  cache.fill(NAN);
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> key(kKeyHeads * kHeadDim), value(key.size());
  for (std::int64_t p = 0; p < kFirst; ++p)
    for (std::int64_t layer : {0, 1}) {
      for (float& number : key) number = normal(random);
      for (float& number : value) number = normal(random);
      cache.write(layer, pages[static_cast<std::size_t>(p / kPageTokens)], p % kPageTokens, key.data(), value.data());
    }
  return in_chunks(model, cache, prompt(6, kLength), kFirst, 55, pages);
}

const std::vector<std::vector<std::int32_t>> kPrompts = {prompt(1, 40), prompt(2, 3), prompt(3, 1), prompt(4, 17)};

// All prompts in one step, after the first has had a part of its own.
void test_ragged(const TinyModel& model, const std::vector<std::vector<float>>& expected, Checks& checks,
                 const std::string& where) {
  Cache cache = model.cache(kPages * static_cast<std::int64_t>(kPrompts.size()));
  cache.fill(NAN);
  model.plan->fill(NAN);
  const auto pages = [](std::int32_t s) { return std::vector<std::int32_t>{s, s + 8, s + 4}; };
  RaggedBatch first(kPages), rest(kPages);
  first.add(kPrompts[0], 0, 21, pages(0));
  const std::vector<float> begun = first.run(*model.plan, cache);
  checks.expect(same_bits(begun.data(), expected[0].data(), begun.size()), "first chunk, " + where);
  rest.add(kPrompts[0], 21, 40, pages(0));
  for (std::int32_t s = 1; s < 4; ++s)
    rest.add(kPrompts[static_cast<std::size_t>(s)], 0, static_cast<std::int64_t>(kPrompts[static_cast<std::size_t>(s)].size()),
             pages(s));
  const std::vector<float> all = rest.run(*model.plan, cache);
  std::vector<float> joined(expected[0].begin() + 21 * kVocabulary, expected[0].end());
  for (std::size_t s = 1; s < 4; ++s) joined.insert(joined.end(), expected[s].begin(), expected[s].end());
  checks.expect(all.size() == joined.size() && same_bits(all.data(), joined.data(), all.size()),
                "ragged batch, " + where);
}

// Two plans on one pool, each stepped by two callers with caches of their own.
void test_callers(Isa isa, const std::vector<std::vector<float>>& expected, Checks& checks) {
  const auto pool = std::make_shared<ThreadPool>(3);
  const TinyModel models[] = {TinyModel(pool, isa), TinyModel(pool, isa)};
  bool equal[4] = {};
  std::vector<std::thread> callers;
  for (std::size_t caller = 0; caller < 4; ++caller)
    callers.emplace_back([&, caller] { equal[caller] = alone(models[caller / 2], kPrompts[caller], 9) == expected[caller]; });
  for (std::thread& caller : callers) caller.join();
  for (bool held : equal) checks.expect(held, "several callers, " + std::string(isa_name(isa)));
  checks.expect(models[0].plan->profile().count("attention") == 1, "the profile names attention");
}

// A block in one plan, and cut in two: what the first part hands out, the second is handed in.
struct Block {
  Block(ThreadPool& pool, Isa isa) {
    RandomLinear random(pool, isa);
    table = random.make(Dtype::f32, kVocabulary, kWidth);
    q = random.make(Dtype::i8, kHeads * kHeadDim, kWidth);
    k = random.make(Dtype::f16, kKeyHeads * kHeadDim, kWidth);
    out = random.make(Dtype::i4, kWidth, kHeads * kHeadDim);
  }

  void begin(Plan& plan, Plan::Value x, Plan::Value h) const {
    plan.embedding(table, x);
    plan.rms_norm(x, h, Plan::Weights(kWidth, 1.0f), 1e-6f);
  }
  void end(Plan& plan, Plan::Value x, Plan::Value h) const {
    const Plan::Value queries = plan.value(q->rows), keys = plan.value(k->rows), mixed = plan.value(q->rows);
    plan.linear(h, {{q, queries}, {k, keys}}, false);
    plan.rope(queries, kHeads, kHeadDim, {1.0f, 0.1f}, 1.0f, false);
    plan.attention(queries, keys, keys, mixed, 0, kHeads, kKeyHeads, kHeadDim, 0.35f);
    plan.linear(mixed, {{out, x}}, true);
    plan.tap(x);
    plan.finish();
    plan.fill(NAN);
  }

  std::shared_ptr<const Linear> table, q, k, out;
};

std::vector<float> relayed(Plan& plan, RaggedBatch& ragged, const std::vector<const float*>& inputs, std::size_t taps) {
  Cache cache({1, kKeyHeads, kHeadDim, 16, CacheType::f32}, 2 * kPages);
  cache.fill(NAN);
  const std::size_t size = ragged.ids.size() * static_cast<std::size_t>(kWidth);
  std::vector<float> tapped(taps * size, NAN);
  std::vector<float*> memory;
  for (std::size_t i = 0; i < taps; ++i) memory.push_back(tapped.data() + i * size);
  Batch batch = {ragged.ids.data(), ragged.positions.data(), ragged.starts.data(), ragged.pages.data(), nullptr,
                 static_cast<std::int64_t>(ragged.ids.size()), 2, kPages, 0};
  batch.inputs = inputs.data();
  batch.taps = memory.data();
  plan.step(cache, batch, nullptr);
  return tapped;
}

void test_parts(const std::shared_ptr<ThreadPool>& pool, Isa isa, Checks& checks, const std::string& where) {
  const Block block(*pool, isa);
  Plan whole(pool, isa, kMostTokens), first(pool, isa, kMostTokens), second(pool, isa, kMostTokens);
  const auto values = [](Plan& plan) { return std::pair(plan.value(kWidth), plan.value(kWidth)); };
  const auto [x, h] = values(whole);
  block.begin(whole, x, h);
  block.end(whole, x, h);
  const auto [x1, h1] = values(first);
  block.begin(first, x1, h1);
  first.tap(x1);
  first.tap(h1);
  first.finish();
  const auto [x2, h2] = values(second);
  second.input(x2);
  second.input(h2);
  block.end(second, x2, h2);

  RaggedBatch batch(kPages);
  batch.add(kPrompts[0], 0, 40, {5, 0, 3});
  batch.add(kPrompts[3], 0, 17, {1, 2, 4});
  const std::vector<float> expected = relayed(whole, batch, {}, 1);
  const std::vector<float> middle = relayed(first, batch, {}, 2);
  std::fill(batch.ids.begin(), batch.ids.end(), -1);  // no ids are looked up in the second part
  const std::vector<float> found = relayed(second, batch, {middle.data(), middle.data() + middle.size() / 2}, 1);
  checks.expect(found.size() == expected.size() && same_bits(found.data(), expected.data(), found.size()),
                "a block in two parts, " + where);
}

// Each prompt by itself, in one piece, on one thread.
std::vector<std::vector<float>> plainly(Isa isa) {
  const TinyModel model(std::make_shared<ThreadPool>(1), isa);
  std::vector<std::vector<float>> logits;
  for (const auto& ids : kPrompts) logits.push_back(alone(model, ids, 64));
  return logits;
}

std::vector<float> long_plainly(Isa isa) { return long_alone(TinyModel(std::make_shared<ThreadPool>(1), isa)); }

// Sets with bf16 products have bits of their own (lichen/linear.h).
bool has_own_bits(Isa isa) { return isa == Isa::avx512_bf16 || isa == Isa::amx; }

}  // namespace

int main(int argc, char** argv) {
  Checks checks;
  const std::vector<std::vector<float>> portable = plainly(Isa::portable);
  for (const auto& logits : portable)
    for (float logit : logits) checks.expect(std::isfinite(logit), "a logit is finite");
  const std::vector<float> long_portable = long_plainly(Isa::portable);
  for (Isa isa : chosen_isas(argc, argv)) {
    const auto expected = has_own_bits(isa) ? plainly(isa) : portable;
    for (int threads : {1, 2, 3}) {
      const TinyModel model(std::make_shared<ThreadPool>(threads), isa);
      const std::string where = std::string(isa_name(isa)) + ", " + std::to_string(threads) + " threads";
      test_ragged(model, expected, checks, where);
      checks.expect(alone(model, kPrompts[0], 7) == expected[0], "in chunks of 7, " + where);
      test_parts(std::make_shared<ThreadPool>(threads), isa, checks, where);
    }
    test_callers(isa, expected, checks);
    const TinyModel shared(std::make_shared<ThreadPool>(3), isa);
    checks.expect(long_alone(shared) == (has_own_bits(isa) ? long_plainly(isa) : long_portable),
                  "a long sequence, " + std::string(isa_name(isa)));
  }
  return checks.finish();
}
