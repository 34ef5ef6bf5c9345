// A transformer of two blocks in every number format, for the tests of the core.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "lichen/cache.h"
#include "lichen/plan.h"

namespace lichen {

inline constexpr std::int64_t kVocabulary = 37, kWidth = 32, kInner = 64, kHeads = 4, kKeyHeads = 2, kHeadDim = 8;
inline constexpr std::int64_t kMostTokens = 64;

class RandomLinear {
 public:
  RandomLinear(ThreadPool& pool, Isa isa) : pool_(pool), isa_(isa) {}

  std::shared_ptr<const Linear> make(Dtype dtype, std::int64_t rows, std::int64_t cols) {
    const auto count = static_cast<std::size_t>(rows * cols);
    std::vector<float> floats(count), bias(static_cast<std::size_t>(rows));
    std::vector<std::uint16_t> halves(count);
    std::vector<std::int8_t> codes(count);
    for (float& value : bias) value = normal_(random_) / 8;
    for (float& value : floats) value = normal_(random_) / 4;
    for (auto& bits : halves) bits = static_cast<std::uint16_t>(0x3000 | (random_() & 0x87ff));  // 0.1 to 0.5
    const int range = dtype == Dtype::i4 ? 16 : 256;
    for (auto& code : codes) code = static_cast<std::int8_t>(static_cast<int>(random_() % static_cast<unsigned>(range)) - range / 2);
    const std::vector<float> scales(count, dtype == Dtype::i4 ? 1.0f / 16 : 1.0f / 256);
    Weight weight{};
    weight.data = dtype == Dtype::f32 ? static_cast<const void*>(floats.data())
                  : dtype == Dtype::f16 || dtype == Dtype::bf16 ? static_cast<const void*>(halves.data()) : codes.data();
    if (dtype == Dtype::bf16)
      for (auto& bits : halves) bits = static_cast<std::uint16_t>(0x3e00 | (bits & 0x807f));
    weight.dtype = dtype;
    weight.rows = rows;
    weight.cols = cols;
    weight.bias = bias.data();
    if (dtype == Dtype::i8 || dtype == Dtype::i4) weight.scales = scales.data();
    if (dtype == Dtype::i4) weight.group = 32;
    return pack_linear(pool_, weight, isa_);
  }

 private:
  ThreadPool& pool_;
  Isa isa_;
  std::mt19937 random_{7};
  std::normal_distribution<float> normal_{0, 1};
};

// The same weights for every pool and instruction set.
struct TinyModel {
  TinyModel(const std::shared_ptr<ThreadPool>& pool, Isa isa) : plan(std::make_unique<Plan>(pool, isa, kMostTokens)) {
    RandomLinear random(*pool, isa);
    const Plan::Value x = plan->value(kWidth), h = plan->value(kWidth);
    const Plan::Value q = plan->value(kHeads * kHeadDim), k = plan->value(kKeyHeads * kHeadDim),
                      v = plan->value(kKeyHeads * kHeadDim), a = plan->value(kHeads * kHeadDim);
    const Plan::Value gate = plan->value(kInner), up = plan->value(kInner);
    const Plan::Weights ones(kWidth, 1.0f), small(kWidth, 0.01f), frequencies = {1.0f, 0.1f, 0.01f};
    plan->embedding(random.make(Dtype::f32, kVocabulary, kWidth), x);
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      const Dtype first = layer == 0 ? Dtype::i8 : Dtype::i4, second = layer == 0 ? Dtype::f16 : Dtype::bf16;
      plan->rms_norm(x, h, ones, 1e-6f);
      plan->linear(h, {{random.make(first, kHeads * kHeadDim, kWidth), q},
                       {random.make(first, kKeyHeads * kHeadDim, kWidth), k},
                       {random.make(Dtype::f32, kKeyHeads * kHeadDim, kWidth), v}}, false);
      plan->rope(q, kHeads, kHeadDim, frequencies, 1.0f, layer == 1);
      plan->rope(k, kKeyHeads, kHeadDim, frequencies, 1.0f, layer == 1);
      plan->attention(q, k, v, a, layer, kHeads, kKeyHeads, kHeadDim, 0.35f);
      plan->linear(a, {{random.make(second, kWidth, kHeads * kHeadDim), x}}, true);
      plan->layer_norm(x, h, ones, small, 1e-5f);
      plan->linear(h, {{random.make(first, kInner, kWidth), gate}, {random.make(second, kInner, kWidth), up}}, false);
      plan->silu_mul(gate, up, gate);
      plan->gelu(gate, gate, layer == 1);
      plan->add(gate, up, up);
      plan->linear(up, {{random.make(first, kWidth, kInner), x}}, true);
    }
    const Plan::Value last = plan->value(kWidth), logits = plan->value(kVocabulary);
    plan->select_rows(x, last);
    plan->rms_norm(last, last, ones, 1e-6f);
    plan->linear(last, {{random.make(Dtype::i8, kVocabulary, kWidth), logits}}, false);
    plan->output(logits);
    plan->fill(__builtin_nanf(""));
  }

  Cache cache(std::int64_t pages, CacheType type = CacheType::f32) const {
    return Cache({2, kKeyHeads, kHeadDim, 16, type}, pages);
  }

  std::unique_ptr<Plan> plan;
};

// Parts of sequences; the output is wanted of every token.
class RaggedBatch {
 public:
  explicit RaggedBatch(std::int64_t pages_per_sequence) : pages_per_sequence_(pages_per_sequence) {}

  void add(const std::vector<std::int32_t>& ids, std::int64_t begin, std::int64_t end,
           const std::vector<std::int32_t>& pages) {
    for (std::int64_t t = begin; t < end; ++t) {
      rows.push_back(static_cast<std::int32_t>(rows.size()));
      this->ids.push_back(ids[static_cast<std::size_t>(t)]);
      positions.push_back(static_cast<std::int32_t>(t));
    }
    starts.push_back(static_cast<std::int32_t>(rows.size()));
    this->pages.insert(this->pages.end(), pages.begin(), pages.end());
  }

  std::vector<float> run(Plan& plan, Cache& cache) const {
    std::vector<float> out(rows.size() * static_cast<std::size_t>(plan.output_width()));
    const Batch batch = {ids.data(), positions.data(), starts.data(), pages.data(), rows.data(),
                         static_cast<std::int64_t>(ids.size()), static_cast<std::int64_t>(starts.size()) - 1,
                         pages_per_sequence_, static_cast<std::int64_t>(rows.size())};
    plan.step(cache, batch, out.data());
    return out;
  }

  std::vector<std::int32_t> ids, positions, starts = {0}, pages, rows;

 private:
  std::int64_t pages_per_sequence_;
};

}  // namespace lichen
