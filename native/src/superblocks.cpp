#include "superblocks.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "kernels/linear/half.h"

namespace lichen {
namespace {

// What the largest scale is a multiple by. Encoders give it the largest code there is, so these come first.
constexpr std::array<int, 128> multiples() {
  std::array<int, 128> order{};
  order[0] = -128;
  order[1] = 63;
  for (int i = 2, m = 127; m >= 1; --m)
    if (m != 63) order[static_cast<std::size_t>(i++)] = m;
  return order;
}

constexpr std::array<int, 128> kMultiples = multiples();

// To the nearest integer, of less than 2^22: adding and taking away 1.5 * 2^23, for a call would take longer.
float rounded(float x) { return (x + 12582912.0f) - 12582912.0f; }

bool are_multiples(const float* scales, std::int64_t count, float unit) {
  return std::all_of(scales, scales + count, [unit](float scale) {
    const float multiple = rounded(std::clamp(scale / unit, -1000.0f, 1000.0f));
    return multiple >= -128 && multiple <= 127 && multiple * unit == scale;
  });
}

}  // namespace

bool find_unit(const float* scales, std::int64_t count, std::uint16_t* unit) {
  float largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(scales[i])) return false;
    if (std::fabs(scales[i]) > std::fabs(largest)) largest = scales[i];
  }
  *unit = 0;
  if (largest == 0) return true;
  return std::any_of(kMultiples.begin(), kMultiples.end(), [&](int multiple) {
    const float found = largest / static_cast<float>(multiple);
    return to_f16(found, unit) && are_multiples(scales, count, found);
  });
}

std::int8_t multiple_of(float scale, std::uint16_t unit) {
  return unit == 0 ? 0 : static_cast<std::int8_t>(rounded(scale / from_f16(unit)));
}

std::vector<std::uint16_t> find_units(ThreadPool& pool, const float* scales, std::int64_t superblocks,
                                      std::int64_t count) {
  constexpr std::int64_t kPiece = 1024;
  std::vector<std::uint16_t> units(static_cast<std::size_t>(superblocks));
  std::atomic<bool> all{true};
  ChunkCounter pieces;
  pool.run([&](int) {
    for (std::int64_t begin; all && (begin = pieces.take() * kPiece) < superblocks;)
      for (std::int64_t s = begin; all && s < std::min(begin + kPiece, superblocks); ++s)
        if (!find_unit(scales + s * count, count, &units[static_cast<std::size_t>(s)])) all = false;
  });
  if (!all) units.clear();
  return units;
}

}  // namespace lichen
