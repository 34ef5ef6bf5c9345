// The paged cache of keys and values: one pool of pages shared by all sequences.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "lichen/attention.h"
#include "lichen/memory.h"

namespace lichen {

struct CacheFormat {
  std::int64_t layers, kv_heads, head_dim;
  std::int64_t page_tokens;  // a multiple of 16
  CacheType type;
};

// The type named "float32", "float16" or "int8".
std::optional<CacheType> parse_cache_type(std::string_view name);

// Bytes of a page. Throws std::invalid_argument (in words), or std::bad_alloc where no memory could
// hold one.
std::int64_t page_bytes(const CacheFormat& format);

// A page holds `page_tokens` tokens of every layer and KV head, contiguously, so that memory becomes
// resident page by page. The layout inside is KeyValueView's.
class Cache {
 public:
  Cache(const CacheFormat& format, std::int64_t pages);  // throws as page_bytes does

  std::int64_t layers() const { return format_.layers; }
  std::int64_t kv_heads() const { return format_.kv_heads; }
  CacheType type() const { return format_.type; }
  std::int64_t head_dim() const { return format_.head_dim; }
  std::int64_t page_tokens() const { return format_.page_tokens; }
  std::int64_t pages() const { return pages_; }
  std::int64_t nbytes() const { return static_cast<std::int64_t>(memory_.size()); }

  // One sequence's view of a layer and a head; `pages` are its page numbers in order.
  KeyValueView view(std::int64_t layer, std::int64_t head, const std::int32_t* pages) const;

  // Stores one token: keys and values are [kv_heads][head_dim]; so are the factors that int8 keys are
  // multiplied by first, so that channels of very different size can share a scale (null: 1).
  //   float16  the nearest number, even of two; at most 65504 (NaN stays)
  //   int8     scale = absmax / 127, and the integers nearest to x / scale; a head's key with a NaN or
  //            an infinity gets scale NaN, so that what meets it is NaN as in float. A value likewise.
  void write(std::int64_t layer, std::int64_t page, std::int64_t slot, const float* keys,
             const float* values, const float* key_factors = nullptr);

  // Sets every number, the padding too.
  void fill(float value);

 private:
  template <typename T>
  void write_elements(std::int64_t layer, std::int64_t page, std::int64_t slot, const float* keys,
                      const float* values, const float* key_factors);

  CacheFormat format_;
  std::int64_t pages_;
  AlignedBuffer memory_;  // [pages][layers][kv_heads] of a head's keys, values and scales
};

}  // namespace lichen
