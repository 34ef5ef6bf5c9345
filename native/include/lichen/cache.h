// The paged cache of keys and values: float32, one pool of pages shared by all sequences.
#pragma once

#include <cstdint>

#include "lichen/attention.h"
#include "lichen/memory.h"

namespace lichen {

// A page holds `page_tokens` tokens of every layer and KV head, contiguously, so that memory becomes
// resident page by page. The layout inside is KeyValueView's.
class Cache {
 public:
  // Throws std::invalid_argument (in words) or std::bad_alloc.
  Cache(std::int64_t layers, std::int64_t kv_heads, std::int64_t head_dim,
        std::int64_t page_tokens, std::int64_t pages);

  std::int64_t layers() const { return layers_; }
  std::int64_t kv_heads() const { return kv_heads_; }
  std::int64_t head_dim() const { return head_dim_; }
  std::int64_t page_tokens() const { return page_tokens_; }
  std::int64_t pages() const { return pages_; }
  std::int64_t nbytes() const { return static_cast<std::int64_t>(memory_.size()); }

  // One sequence's view of a layer and a head; `pages` are its page numbers in order.
  KeyValueView view(std::int64_t layer, std::int64_t head, const std::int32_t* pages) const;

  // Stores one token: keys and values are [kv_heads][head_dim].
  void write(std::int64_t layer, std::int64_t page, std::int64_t slot, const float* keys,
             const float* values);

  // Sets every number, the padding too.
  void fill(float value);

 private:
  std::int64_t layers_, kv_heads_, head_dim_, page_tokens_, pages_;
  std::int64_t value_stride_;  // head_dim rounded up to 16
  std::int64_t head_stride_;   // floats of one head in one page: its keys, then its values
  AlignedBuffer memory_;       // [pages][layers][kv_heads][head_stride]
};

}  // namespace lichen
