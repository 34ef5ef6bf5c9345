#include "lichen/cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace lichen {
namespace {

constexpr std::int64_t kLanes = 16;

void require_positive(const char* name, std::int64_t value) {
  if (value < 1)
    throw std::invalid_argument(std::string(name) + " must be at least 1, not " +
                                std::to_string(value));
}

// The product of positive numbers; throws std::bad_alloc where no memory could hold as many bytes.
std::int64_t product(std::initializer_list<std::int64_t> factors) {
  std::int64_t result = 1;
  for (const std::int64_t factor : factors)
    if (__builtin_mul_overflow(result, factor, &result)) throw std::bad_alloc();
  return result;
}

constexpr std::int64_t rounded_up(std::int64_t x, std::int64_t unit) {
  return (x + unit - 1) / unit * unit;
}

std::int64_t element_bytes(CacheType type) {
  switch (type) {
    case CacheType::f32: return 4;
    case CacheType::f16: return 2;
    case CacheType::i8: return 1;
  }
  return 0;
}

// Bytes from the beginning of what one head has in one page; each part begins on a cache line.
struct HeadLayout {
  std::int64_t value_stride;  // in elements: head_dim rounded up to 16
  std::int64_t values;
  std::int64_t scales;
  std::int64_t end;

  explicit HeadLayout(const CacheFormat& format) {
    const std::int64_t bytes = element_bytes(format.type);
    value_stride = rounded_up(format.head_dim, kLanes);
    values = rounded_up(product({format.page_tokens, format.head_dim, bytes}), kCacheLine);
    scales = values + rounded_up(product({format.page_tokens, value_stride, bytes}), kCacheLine);
    const bool scaled = format.type == CacheType::i8;
    end = scales + (scaled ? 2 * format.page_tokens * std::int64_t{sizeof(float)} : 0);
    end = rounded_up(end, kCacheLine);
  }
};

// IEEE 754 binary16, rounded to the nearest, half to even; 65504 for what lies beyond.
Half to_half(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t sign = bits >> 16 & 0x8000;
  std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {static_cast<std::uint16_t>(sign | 0x7e00)};
  magnitude = std::min<std::uint32_t>(magnitude, 0x477fe000);  // 65504
  if (magnitude >= 0x38800000) {                               // from 2^-14 on
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return {static_cast<std::uint16_t>(sign | ((magnitude >> 13) - (112 << 10)))};
  }
  float units;  // of 2^-24, which is the last bit of 0.5
  std::memcpy(&units, &magnitude, sizeof units);
  units += 0.5f;
  std::memcpy(&magnitude, &units, sizeof magnitude);
  return {static_cast<std::uint16_t>(sign | (magnitude - 0x3f000000))};
}

// One head's key or value: element i goes to out[i * stride].
void put_row(const float* x, std::int64_t count, float* out, std::int64_t stride) {
  for (std::int64_t i = 0; i < count; ++i) out[i * stride] = x[i];
}

void put_row(const float* x, std::int64_t count, Half* out, std::int64_t stride) {
  for (std::int64_t i = 0; i < count; ++i) out[i * stride] = to_half(x[i]);
}

// Of x, or x * factors; returns the scale.
float put_codes(const float* x, const float* factors, std::int64_t count, std::int8_t* out,
                std::int64_t stride) {
  const auto number = [&](std::int64_t i) { return factors ? x[i] * factors[i] : x[i]; };
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to integers, half to even
  float absmax = 0.0f, poison = 0.0f;    // poison: 0, or NaN where a number is not finite
  for (std::int64_t i = 0; i < count; ++i) {
    absmax = std::max(absmax, std::fabs(number(i)));
    poison += number(i) * 0.0f;
  }
  const bool finite = poison == 0.0f;
  const float scale = finite ? absmax / 127.0f : std::numeric_limits<float>::quiet_NaN();
  // Codes are 0 where the scale is so small that its inverse is not finite.
  const float inverse = scale > 1e-37f ? 1.0f / scale : 0.0f;
  for (std::int64_t i = 0; i < count; ++i) {
    const float shifted = (finite ? number(i) : 0.0f) * inverse + kRound;
    out[i * stride] = static_cast<std::int8_t>(shifted - kRound);
  }
  return scale;
}

}  // namespace

std::optional<CacheType> parse_cache_type(std::string_view name) {
  if (name == "float32") return CacheType::f32;
  if (name == "float16") return CacheType::f16;
  if (name == "int8") return CacheType::i8;
  return std::nullopt;
}

std::int64_t page_bytes(const CacheFormat& format) {
  require_positive("layers", format.layers);
  require_positive("kv_heads", format.kv_heads);
  require_positive("head_dim", format.head_dim);
  require_positive("page_tokens", format.page_tokens);
  if (format.page_tokens % kLanes != 0)
    throw std::invalid_argument("page_tokens must be a multiple of 16, not " +
                                std::to_string(format.page_tokens));
  constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max() / 16;
  if (format.head_dim > limit || format.page_tokens > limit) throw std::bad_alloc();
  return product({format.layers, format.kv_heads, HeadLayout(format).end});
}

Cache::Cache(const CacheFormat& format, std::int64_t pages) : format_(format), pages_(pages) {
  require_positive("pages", pages);
  const std::int64_t bytes = product({page_bytes(format), pages});
  if (pages > std::numeric_limits<std::int32_t>::max()) throw std::bad_alloc();
  memory_ = AlignedBuffer(static_cast<std::size_t>(bytes));
}

KeyValueView Cache::view(std::int64_t layer, std::int64_t head, const std::int32_t* pages) const {
  const HeadLayout layout(format_);
  return {memory_.as<char>() + (layer * format_.kv_heads + head) * layout.end,
          pages,
          format_.type,
          format_.page_tokens,
          format_.layers * format_.kv_heads * layout.end,
          layout.values,
          layout.scales,
          layout.value_stride};
}

void Cache::write(std::int64_t layer, std::int64_t page, std::int64_t slot, const float* keys,
                  const float* values, const float* key_factors) {
  switch (format_.type) {
    case CacheType::f32: return write_elements<float>(layer, page, slot, keys, values, key_factors);
    case CacheType::f16: return write_elements<Half>(layer, page, slot, keys, values, key_factors);
    case CacheType::i8: return write_elements<std::int8_t>(layer, page, slot, keys, values, key_factors);
  }
}

template <typename T>
void Cache::write_elements(std::int64_t layer, std::int64_t page, std::int64_t slot,
                           const float* keys, const float* values,
                           [[maybe_unused]] const float* key_factors) {
  const auto [dim, size] = std::pair(format_.head_dim, format_.page_tokens);
  const HeadLayout layout(format_);
  char* head = memory_.as<char>() + (page * format_.layers + layer) * format_.kv_heads * layout.end;
  for (std::int64_t h = 0; h < format_.kv_heads; ++h, head += layout.end, keys += dim, values += dim) {
    T* key = reinterpret_cast<T*>(head) + slot / kLanes * kLanes * dim + slot % kLanes;
    T* value = reinterpret_cast<T*>(head + layout.values) + slot * layout.value_stride;
    if constexpr (std::is_same_v<T, std::int8_t>) {
      float* scales = reinterpret_cast<float*>(head + layout.scales) + slot;
      scales[0] = put_codes(keys, key_factors, dim, key, kLanes);
      if (key_factors) key_factors += dim;
      scales[size] = put_codes(values, nullptr, dim, value, 1);
    } else {
      put_row(keys, dim, key, kLanes);
      put_row(values, dim, value, 1);
    }
  }
}

void Cache::fill(float value) {
  switch (format_.type) {
    case CacheType::f32:
      std::fill_n(memory_.as<float>(), memory_.size() / sizeof(float), value);
      return;
    case CacheType::f16:
      std::fill_n(memory_.as<Half>(), memory_.size() / sizeof(Half), to_half(value));
      return;
    case CacheType::i8: {  // codes 1, scales `value`
      const HeadLayout layout(format_);
      for (char* head = memory_.as<char>(); head < memory_.as<char>() + memory_.size();
           head += layout.end) {
        std::memset(head, 1, static_cast<std::size_t>(layout.scales));
        std::fill_n(reinterpret_cast<float*>(head + layout.scales), 2 * format_.page_tokens, value);
      }
      return;
    }
  }
}

}  // namespace lichen
