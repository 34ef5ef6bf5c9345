#include "lichen/cache.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

namespace lichen {
namespace {

constexpr std::int64_t kLanes = 16;

void require_positive(const char* name, std::int64_t value) {
  if (value < 1)
    throw std::invalid_argument(std::string(name) + " must be at least 1, not " +
                                std::to_string(value));
}

// The product of positive numbers; throws std::bad_alloc where no memory could hold as many floats.
std::size_t product(std::initializer_list<std::int64_t> factors) {
  constexpr std::size_t limit = std::numeric_limits<std::ptrdiff_t>::max() / sizeof(float);
  std::size_t result = 1;
  for (const std::int64_t factor : factors) {
    if (static_cast<std::size_t>(factor) > limit / result) throw std::bad_alloc();
    result *= static_cast<std::size_t>(factor);
  }
  return result;
}

}  // namespace

Cache::Cache(std::int64_t layers, std::int64_t kv_heads, std::int64_t head_dim,
             std::int64_t page_tokens, std::int64_t pages)
    : layers_(layers),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      page_tokens_(page_tokens),
      pages_(pages) {
  require_positive("layers", layers);
  require_positive("kv_heads", kv_heads);
  require_positive("head_dim", head_dim);
  require_positive("page_tokens", page_tokens);
  require_positive("pages", pages);
  if (page_tokens % kLanes != 0)
    throw std::invalid_argument("page_tokens must be a multiple of 16, not " +
                                std::to_string(page_tokens));
  constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
  if (head_dim > limit || page_tokens > limit || pages > limit) throw std::bad_alloc();
  value_stride_ = (head_dim + kLanes - 1) / kLanes * kLanes;
  head_stride_ = page_tokens * (head_dim + value_stride_);
  memory_ = AlignedBuffer(product({pages, layers, kv_heads, head_stride_}) * sizeof(float));
}

KeyValueView Cache::view(std::int64_t layer, std::int64_t head, const std::int32_t* pages) const {
  return {memory_.as<float>() + (layer * kv_heads_ + head) * head_stride_,
          pages,
          page_tokens_,
          layers_ * kv_heads_ * head_stride_,
          page_tokens_ * head_dim_,
          value_stride_};
}

void Cache::write(std::int64_t layer, std::int64_t page, std::int64_t slot, const float* keys,
                  const float* values) {
  float* head = memory_.as<float>() + (page * layers_ + layer) * kv_heads_ * head_stride_;
  for (std::int64_t h = 0; h < kv_heads_; ++h, head += head_stride_) {
    float* key = head + slot / kLanes * kLanes * head_dim_ + slot % kLanes;
    for (std::int64_t d = 0; d < head_dim_; ++d) key[d * kLanes] = keys[h * head_dim_ + d];
    std::memcpy(head + page_tokens_ * head_dim_ + slot * value_stride_, values + h * head_dim_,
                static_cast<std::size_t>(head_dim_) * sizeof(float));
  }
}

void Cache::fill(float value) {
  std::fill_n(memory_.as<float>(), memory_.size() / sizeof(float), value);
}

}  // namespace lichen
