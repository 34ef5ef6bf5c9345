// Attention in terms of sixteen lanes; compiled once by each <isa>.cpp.
//
// A task's queries (tokens x group heads) are rows. For every block of 128 keys: scores (lane =
// key), softmax with a running maximum, and the weighted sum of values (lane = dimension). What
// multiplies is in a file of its own: lanes.inc.h, amx.cpp. int8 codes meet their scales outside of the
// products: a key's scale multiplies its score, a value's scale its weight.
#pragma once

#include "../vector/functions.h"
#include "lichen/attention.h"

namespace lichen {
namespace {

constexpr int64_t kBlockGroups = kAttentionBlock / 16;

LICHEN_INLINE int64_t at_most(int64_t x, int64_t limit) {
  return x < limit ? x : limit;
}

// What is known of a stretch of keys, `rows` of everything; a caller's memory, or scratch.
struct Partial {
  float* sums;      // [rows][dim]: weighted values so far
  float* totals;    // [rows][16]: weights so far, lane = key % 16
  float* maxima;    // [rows]: the greatest score so far
};

// The block's keys and values, sixteen keys a group.
template <typename T>
struct Block {
  const T* keys[kBlockGroups];
  const T* values[kBlockGroups];
  const float* key_scales[kBlockGroups];    // [16], for int8 only
  const float* value_scales[kBlockGroups];
};

// A task with a cache of elements T. Products, the class that is made of it, says how a block is multiplied:
//   begin(), end()                    of a segment, once queries_ are there
//   score(block, start, first)        weights_ of rows from `first` on, as far as any of them sees
//   weigh(block, next, start, first)  adds the block's values to partial_.sums; `next` is what will be scored next
template <class Products, typename T>
class Attention {
 public:
  Attention(const AttentionTask& task, float* scratch)
      : task_(task),
        rows_(task.tokens * task.group),
        dim_(task.cache.value_stride),
        queries_(scratch),
        weights_(queries_ + attention_rows(rows_) * dim_),
        partials_(weights_ + attention_rows(rows_) * kAttentionBlock),
        products_scratch_(partials_ + 2 * attention_partial(rows_, task.head_dim)) {}

  void attend() {
    float* const first = partials_;
    float* const other = first + attention_partial(rows_, task_.head_dim);
    segment(0, first);
    for (int64_t s = 1; s * kAttentionSegment < keys(); ++s) {
      segment(s, other);
      join(first, other, s);
    }
    finish(first);
  }

  void segment(int64_t number, float* memory) {
    partial_ = partial(memory);
    start();
    products().begin();
    const int64_t begin = number * kAttentionSegment;
    const int64_t end = at_most(begin + kAttentionSegment, keys());
    for (int64_t start = begin; start < end; start += kAttentionBlock) {
      const int64_t first = first_row(start);
      const Block<T> block = find_block(start);
      const int64_t next = start + kAttentionBlock;
      products().score(block, start, first);
      for (int64_t row = first; row < rows_; ++row) softmax(block, row, visible(row, start));
      products().weigh(block, next < end ? find_block(next) : block, start, first);
    }
    products().end();
  }

  // Adds what segment `number` gave to what the ones before it gave; rows that end before it stay.
  void join(float* memory, float* added, int64_t number) const {
    const Partial into = partial(memory), from = partial(added);
    for (int64_t row = first_row(number * kAttentionSegment); row < rows_; ++row) {
      const float a = into.maxima[row], b = from.maxima[row];
      const float maximum = a > b ? a : b;
      const F16 shift = broadcast(maximum);
      const F16 old_share = exp_of_negative(sub(broadcast(a), shift));
      const F16 new_share = exp_of_negative(sub(broadcast(b), shift));
      add_scaled(into.totals + row * 16, from.totals + row * 16, old_share, new_share);
      for (int64_t i = row * dim_; i < (row + 1) * dim_; i += 16)
        add_scaled(into.sums + i, from.sums + i, old_share, new_share);
      into.maxima[row] = maximum;
    }
  }

  void finish(float* memory) const {
    const Partial all = partial(memory);
    const F16 none = broadcast(0.0f);  // makes 0 of -0, whose sign could depend on how many zeros were added
    for (int64_t row = 0; row < rows_; ++row) {
      const F16 total = broadcast(reduce_add(load(all.totals + row * 16)));
      float* out =
          task_.out + row / task_.group * task_.out_stride + row % task_.group * task_.head_dim;
      for (int64_t i = 0; i < dim_; i += 16)
        store_first(out + i, add(div(load(all.sums + row * dim_ + i), total), none), at_most(task_.head_dim - i, 16));
    }
  }

 protected:
  static constexpr bool kScaled = sizeof(T) == 1;

  int64_t keys() const { return task_.first_position + task_.tokens; }

  // Rows are in order of position: those before this one see nothing from position `start` on.
  int64_t first_row(int64_t start) const {
    const int64_t past = start - task_.first_position;
    return past > 0 ? past * task_.group : 0;
  }

  // Keys of the block at `start` that a row attends; at least 1 for the rows that are asked about.
  int64_t visible(int64_t row, int64_t start) const {
    return at_most(task_.first_position + row / task_.group + 1 - start, kAttentionBlock);
  }

  Partial partial(float* memory) const {
    const int64_t rows = attention_rows(rows_);
    return {memory, memory + rows * dim_, memory + rows * (dim_ + 16)};
  }

  static void add_scaled(float* into, const float* from, F16 old_share, F16 new_share) {
    store(into, fma(load(from), new_share, mul(load(into), old_share)));
  }

  void start() const {
    const F16 scale = broadcast(task_.scale);
    for (int64_t row = 0; row < rows_; ++row) {
      const float* q =
          task_.q + row / task_.group * task_.q_stride + row % task_.group * task_.head_dim;
      for (int64_t i = 0; i < dim_; i += 16) {
        F16 part = load_first(q + i, at_most(task_.head_dim - i, 16));
        if (task_.key_units)
          part = mul(part, load_first(task_.key_units + i, at_most(task_.head_dim - i, 16)));
        store(queries_ + row * dim_ + i, mul(part, scale));
        store(partial_.sums + row * dim_ + i, broadcast(0.0f));
      }
      store(partial_.totals + row * 16, broadcast(0.0f));
      partial_.maxima[row] = -__builtin_inff();
    }
  }

  // Groups past the last key repeat the first one, so that every pointer can be used.
  Block<T> find_block(int64_t start) const {
    const KeyValueView& cache = task_.cache;
    Block<T> block;
    for (int64_t g = 0; g < kBlockGroups; ++g) {
      const int64_t position = start + g * 16 < keys() ? start + g * 16 : start;
      const int64_t slot = position % cache.page_tokens;
      const char* page = cache.base + cache.pages[position / cache.page_tokens] * cache.page_stride;
      const auto* scales = reinterpret_cast<const float*>(page + cache.scales_offset) + slot;
      block.keys[g] = reinterpret_cast<const T*>(page) + slot * task_.head_dim;
      block.values[g] =
          reinterpret_cast<const T*>(page + cache.values_offset) + slot * cache.value_stride;
      block.key_scales[g] = scales;
      block.value_scales[g] = scales + cache.page_tokens;
    }
    return block;
  }

  // Turns the first n scores of a row into weights, and scales what it has so far to the new maximum.
  void softmax(const Block<T>& block, int64_t row, int64_t n) const {
    float* scores = weights_ + row * kAttentionBlock;
    F16 highest = broadcast(-__builtin_inff());
    sixteens(n, [&](int64_t i, auto count) LICHEN_LAMBDA {
      highest = max(highest, keep(scaled(scores, block.key_scales, i), count, -__builtin_inff()));
    });
    const float before = partial_.maxima[row];
    const float largest = reduce_max(highest);
    const float maximum = before > largest ? before : largest;
    if (!(maximum == before)) rescale(row, maximum);
    const F16 shift = broadcast(maximum);
    F16 total = load(partial_.totals + row * 16);
    sixteens(n, [&](int64_t i, auto count) LICHEN_LAMBDA {
      const F16 apart = sub(scaled(scores, block.key_scales, i), shift);
      const F16 weight = keep(exp_of_negative(apart), count, 0.0f);
      store(scores + i, weight);
      if (kScaled) store(scores + i, scaled(scores, block.value_scales, i));
      total = add(total, weight);
    });
    store(partial_.totals + row * 16, total);
  }

  // What a row has so far, to a greater maximum.
  void rescale(int64_t row, float maximum) const {
    const F16 shrink = exp_of_negative(sub(broadcast(partial_.maxima[row]), broadcast(maximum)));
    float* sums = partial_.sums + row * dim_;
    for (int64_t i = 0; i < dim_; i += 16) store(sums + i, mul(load(sums + i), shrink));
    store(partial_.totals + row * 16, mul(load(partial_.totals + row * 16), shrink));
    partial_.maxima[row] = maximum;
  }

  struct Sixteen {};
  struct Fewer {
    int64_t count;
  };

  // work(i, count) for i = 0, 16, ... below n.
  template <class Work>
  LICHEN_INLINE static void sixteens(int64_t n, const Work& work) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) work(i, Sixteen{});
    if (i < n) work(i, Fewer{n - i});
  }

  LICHEN_INLINE static F16 keep(F16 x, Sixteen, float) { return x; }
  LICHEN_INLINE static F16 keep(F16 x, Fewer first, float fill) { return keep_first(x, first.count, fill); }

  // Sixteen numbers of a row of the block, in units of the keys' or values' scales.
  static F16 scaled(const float* row, const float* const* scales, int64_t i) {
    const F16 numbers = load(row + i);
    return kScaled ? mul(numbers, load(scales[i / 16])) : numbers;
  }

  const AttentionTask& task_;
  const int64_t rows_;
  const int64_t dim_;              // head_dim rounded up to 16
  float* const queries_;           // [rows][dim], scaled
  float* const weights_;           // [rows][128]: scores, then e^(score - maximum)
  float* const partials_;          // of two segments
  float* const products_scratch_;  // what multiplies has it for itself
  Partial partial_;                // of the segment at work

 private:
  Products& products() { return static_cast<Products&>(*this); }
};

// The kernels with one kind of products, a class for each type of element.
template <template <typename> class Products>
struct Kernels {
  // function(an Attention) with the elements of the task's cache.
  template <typename Function>
  LICHEN_INLINE static void with_cache(const AttentionTask& task, float* scratch, Function function) {
    switch (task.cache.type) {
      case CacheType::f32: return function(Products<float>(task, scratch));
      case CacheType::f16: return function(Products<Half>(task, scratch));
      case CacheType::i8: return function(Products<int8_t>(task, scratch));
    }
  }

  static void attend(const AttentionTask& task, float* scratch) {
    with_cache(task, scratch, [](auto attention) LICHEN_LAMBDA { attention.attend(); });
  }

  static void attend_segment(const AttentionTask& task, int64_t segment, float* partial, float* scratch) {
    with_cache(task, scratch, [=](auto attention) LICHEN_LAMBDA { attention.segment(segment, partial); });
  }

  static void join_segments(const AttentionTask& task, float* partials, int64_t stride) {
    const Products<float> attention(task, partials);  // neither cache nor scratch is used
    for (int64_t s = 1; s < attention_segments(task.first_position, task.tokens); ++s)
      attention.join(partials, partials + s * stride, s);
    attention.finish(partials);
  }
};

template <template <typename> class Products>
constexpr AttentionKernels kernels_with() {
  return {Kernels<Products>::attend, Kernels<Products>::attend_segment, Kernels<Products>::join_segments};
}

}  // namespace
}  // namespace lichen
