// Blocks are fitted four side by side, one in each lane, so that no sum crosses lanes.
#include "lichen/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lichen {
namespace {

typedef float V __attribute__((vector_size(16)));
constexpr int kLanes = 4;

// Fits are tried for ranges of this many steps more, and less, than the codes have: which of them
// rounds luckily differs from block to block.
constexpr float kFarthest = 1.0f;
constexpr float kSymmetricStride = 0.25f, kAffineStride = 0.125f;
// How often the scales of a superblock are fitted anew to the codes that they led to.
constexpr int kTurns = 4;

V all(float x) { return V{} + x; }
V min(V a, V b) { return a < b ? a : b; }
V max(V a, V b) { return a > b ? a : b; }
V quotient(V a, V b) { return b != 0.0f ? a / b : V{}; }  // 0 where there is nothing to divide by
V inverse_of(V x) {  // 0 for what is next to 0, where no weight of a model is
  return (x > 0x1p-100f) | (x < -0x1p-100f) ? 1.0f / x : V{};
}
V round(V x) { return (x + 12582912.0f) - 12582912.0f; }  // 1.5 * 2^23; half to even

// To the nearest number of float16, which ends at 65504.
float to_half(float x) {
  const float magnitude = std::fabs(x);
  if (magnitude >= 65504.0f) return std::copysign(65504.0f, x);
  if (magnitude < 0x1p-14f) return std::copysign((magnitude + 0.75f) - 0.75f, x);  // steps of 2^-24
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

// As to_half(), but of what is not 0 the least number there is: fewer codes of the scales are better than none.
float unit_of(float x) {
  const float half = to_half(x);
  return half == 0.0f && x != 0.0f ? std::copysign(0x1p-24f, x) : half;
}

// Four blocks: x[k] holds weight k of each.
template <int Size>
struct Tile {
  V x[Size];

  // Missing blocks are taken for zeros.
  Tile(const float* weights, std::int64_t blocks) {
    for (int k = 0; k < Size; ++k)
      for (int lane = 0; lane < kLanes; ++lane)
        x[k][lane] = lane < blocks ? weights[lane * Size + k] : 0.0f;
  }
  V least() const {
    V found = x[0];
    for (int k = 1; k < Size; ++k) found = min(found, x[k]);
    return found;
  }
  V greatest() const {
    V found = x[0];
    for (int k = 1; k < Size; ++k) found = max(found, x[k]);
    return found;
  }
  V sum() const {
    V total = {};
    for (int k = 0; k < Size; ++k) total += x[k];
    return total;
  }
};

// Of codes q for weights x.
struct Sums {
  V codes = {}, squares = {}, products = {};  // of q, q q, q x
};

V code(V x, V inverse, V shift, V low, V high) {
  return round(min(max((x + shift) * inverse, low), high));
}

template <int Size>
Sums sums(const Tile<Size>& tile, V inverse, V shift, V low, V high) {
  Sums s;
  for (int k = 0; k < Size; ++k) {
    const V q = code(tile.x[k], inverse, shift, low, high);
    s.codes += q;
    s.squares += q * q;
    s.products += q * tile.x[k];
  }
  return s;
}

// By how much codes with a scale and a shift leave a smaller squared error than zeros would.
template <int Size>
V gain(const Sums& s, V total, V scale, V shift) {
  const V linear = scale * s.products + shift * total;
  const V square = scale * scale * s.squares + (2.0f * scale * shift) * s.codes +
                   (static_cast<float>(Size) * shift) * shift;
  return 2.0f * linear - square;
}

// Least squares for fixed codes: the scale is a quotient of two sums.  The tried ranges begin with the
// outermost weight on the outermost code, `low`, so a scale may be negative.
template <int Size>
V symmetric(const Tile<Size>& tile, float low) {
  const V least = tile.least(), greatest = tile.greatest();
  const V unit = inverse_of(-least > greatest ? least : greatest);
  V best = {}, scale = {};
  for (float more = -kFarthest; more <= kFarthest; more += kSymmetricStride) {
    const Sums s = sums(tile, unit * (low + more), V{}, all(low), all(-low - 1));
    const V fitted = quotient(s.products, s.squares), gained = fitted * s.products;
    scale = gained > best ? fitted : scale;
    best = max(best, gained);
  }
  return scale;
}

struct Line {
  V scale = {}, shift = {};
};

// Least squares for fixed codes, of a line; with a shift of at most `highest`.
template <int Size>
Line line(const Sums& s, V total, V highest) {
  constexpr float n = Size;
  const V determinant = n * s.squares - s.codes * s.codes;
  const V scale = quotient(n * s.products - s.codes * total, determinant);
  const V shift = determinant != 0.0f ? (s.squares * total - s.codes * s.products) / determinant
                                      : total / n;
  const V bounded = quotient(s.products - highest * s.codes, s.squares);
  return {shift > highest ? bounded : scale, min(shift, highest)};
}

// The ranges begin with the least weight (or 0, if a shift may not be above it) on code 0.
template <int Size>
Line affine(const Tile<Size>& tile, float high, bool shift_above_zero) {
  const V first = tile.least();
  const V least = shift_above_zero ? first : min(first, V{});
  Tile<Size> above = tile;  // sums of small differences lose nothing to a common shift
  for (V& x : above.x) x -= least;
  const V total = above.sum(), unit = inverse_of(above.greatest());
  const V highest = shift_above_zero ? all(INFINITY) : -least;
  // With all codes 0: the mean, as far as it is allowed.
  Line best = {V{}, min(total / static_cast<float>(Size), highest)};
  V most = gain<Size>(Sums{}, total, best.scale, best.shift);
  for (float more = -2 * kFarthest; more <= kFarthest; more += kAffineStride) {
    const Sums s = sums(above, unit * (high + more), V{}, V{}, all(high));
    const Line fitted = line<Size>(s, total, highest);
    const V gained = gain<Size>(s, total, fitted.scale, fitted.shift);
    best.scale = gained > most ? fitted.scale : best.scale;
    best.shift = gained > most ? fitted.shift : best.shift;
    most = max(most, gained);
  }
  best.shift += least;
  return best;
}

template <int Size>
void symmetric_blocks(const float* weights, std::int64_t blocks, int low, float* scales) {
  for (std::int64_t b = 0; b < blocks; b += kLanes) {
    const V found = symmetric(Tile<Size>(weights + b * Size, blocks - b), static_cast<float>(low));
    for (int lane = 0; lane < kLanes && b + lane < blocks; ++lane) scales[b + lane] = found[lane];
  }
}

template <int Size>
void store_codes(const Tile<Size>& tile, V inverse, V shift, float low, float high, int minimum,
                 std::uint8_t* codes) {
  for (int k = 0; k < Size; ++k) {
    const V q = code(tile.x[k], inverse, shift, all(low), all(high));
    for (int lane = 0; lane < kLanes; ++lane)
      codes[lane * Size + k] = static_cast<std::uint8_t>(static_cast<int>(q[lane]) + minimum);
  }
}

float largest(const V* values, int count) {
  float found = 0;
  for (int t = 0; t < count; ++t)
    for (int lane = 0; lane < kLanes; ++lane)
      if (std::fabs(values[t][lane]) > std::fabs(found)) found = values[t][lane];
  return found;
}

float total(const V* values, int count) {
  double sum = 0;
  for (int t = 0; t < count; ++t)
    for (int lane = 0; lane < kLanes; ++lane) sum += values[t][lane];
  return static_cast<float>(sum);
}

// Eight blocks of 32 whose scales and minima are codes of 6 bits.
class AffineSuperblock {
 public:
  static constexpr int kSize = 32, kTiles = kSuperblock / kSize / kLanes;
  static constexpr float kMost = 63.0f;

  struct Parameters {
    float unit, minimum_unit;
    V scales[kTiles], minima[kTiles];
  };

  AffineSuperblock(const float* weights, int high)
      : high_(static_cast<float>(high)),
        tiles_{{weights, kLanes}, {weights + kLanes * kSize, kLanes}} {
    for (int t = 0; t < kTiles; ++t) totals_[t] = tiles_[t].sum();
  }

  Parameters fit() const {
    Parameters now = start(), best = now;
    float most = -INFINITY;
    for (int turn = 0;; ++turn) {
      Sums found[kTiles];
      const float gained = measure(now, found);
      if (gained > most) most = gained, best = now;
      if (turn == kTurns) return best;
      now = refit(now, found);
    }
  }

  void store(const Parameters& p, std::uint8_t* codes) const {
    for (int t = 0; t < kTiles; ++t)
      store_codes(tiles_[t], inverse_of(p.scales[t] * p.unit), p.minima[t] * p.minimum_unit,
                  0.0f, high_, 0, codes + t * kLanes * kSize);
  }

 private:
  Parameters start() const {
    V scales[kTiles], minima[kTiles];
    for (int t = 0; t < kTiles; ++t) {
      const Line fitted = affine(tiles_[t], high_, false);
      scales[t] = fitted.scale;
      minima[t] = -fitted.shift;
    }
    Parameters p;
    p.unit = unit_of(largest(scales, kTiles) / kMost);
    p.minimum_unit = unit_of(largest(minima, kTiles) / kMost);
    for (int t = 0; t < kTiles; ++t) {
      p.scales[t] = rounded(scales[t], p.unit);
      p.minima[t] = rounded(minima[t], p.minimum_unit);
    }
    return p;
  }

  static V rounded(V values, float unit) {
    return round(min(max(quotient(values, all(unit)), V{}), all(kMost)));
  }

  // Sums of the codes that the parameters lead to, and what these gain.
  float measure(const Parameters& p, Sums* found) const {
    V gained[kTiles];
    for (int t = 0; t < kTiles; ++t) {
      const V scale = p.scales[t] * p.unit, minimum = p.minima[t] * p.minimum_unit;
      found[t] = sums(tiles_[t], inverse_of(scale), minimum, V{}, all(high_));
      gained[t] = gain<kSize>(found[t], totals_[t], scale, -minimum);
    }
    return total(gained, kTiles);
  }

  // For fixed codes: each block's scale, then its minimum beside the rounded scale, then both units.
  Parameters refit(Parameters p, const Sums* found) const {
    V aa[kTiles], ab[kTiles], bb[kTiles], ax[kTiles], bx[kTiles];
    for (int t = 0; t < kTiles; ++t) {
      const Sums& s = found[t];
      p.scales[t] = rounded(line<kSize>(s, totals_[t], V{}).scale, p.unit);
      const V left = p.scales[t] * p.unit * s.codes - totals_[t];
      p.minima[t] = rounded(left / static_cast<float>(kSize), p.minimum_unit);
      aa[t] = p.scales[t] * p.scales[t] * s.squares;
      ab[t] = p.scales[t] * p.minima[t] * s.codes;
      bb[t] = p.minima[t] * p.minima[t] * static_cast<float>(kSize);
      ax[t] = p.scales[t] * s.products;
      bx[t] = p.minima[t] * totals_[t];
    }
    const float a = total(aa, kTiles), b = total(ab, kTiles), c = total(bb, kTiles);
    const float x = total(ax, kTiles), y = total(bx, kTiles);
    const float determinant = a * c - b * b;
    if (determinant > 1e-5f * a * c) {
      p.unit = to_half((c * x - b * y) / determinant);
      p.minimum_unit = to_half((b * x - a * y) / determinant);
    } else if (a > 0) {
      p.unit = to_half((x + b * p.minimum_unit) / a);
    }
    return p;
  }

  float high_;
  Tile<kSize> tiles_[kTiles];
  V totals_[kTiles];
};

// Sixteen blocks of 16 whose scales are codes of 8 bits.
class SymmetricSuperblock {
 public:
  static constexpr int kSize = 16, kTiles = kSuperblock / kSize / kLanes;
  static constexpr int kStride = kLanes * kSize;

  struct Parameters {
    float unit;
    V scales[kTiles];
  };

  SymmetricSuperblock(const float* weights, int low)
      : low_(static_cast<float>(low)),
        tiles_{{weights, kLanes},
               {weights + kStride, kLanes},
               {weights + 2 * kStride, kLanes},
               {weights + 3 * kStride, kLanes}} {}

  Parameters fit() const {
    Parameters now = start(), best = now;
    float most = -INFINITY;
    for (int turn = 0;; ++turn) {
      Sums found[kTiles];
      const float gained = measure(now, found);
      if (gained > most) most = gained, best = now;
      if (turn == kTurns) return best;
      now = refit(now, found);
    }
  }

  void store(const Parameters& p, std::int8_t* codes) const {
    for (int t = 0; t < kTiles; ++t)
      store_codes(tiles_[t], inverse_of(p.scales[t] * p.unit), V{}, low_, -low_ - 1, 0,
                  reinterpret_cast<std::uint8_t*>(codes) + t * kStride);
  }

 private:
  // The outermost scale on the outermost code.
  Parameters start() const {
    Parameters p;
    V scales[kTiles];
    for (int t = 0; t < kTiles; ++t) scales[t] = symmetric(tiles_[t], low_);
    p.unit = unit_of(largest(scales, kTiles) / -128.0f);
    for (int t = 0; t < kTiles; ++t) p.scales[t] = rounded(scales[t], p.unit);
    return p;
  }

  static V rounded(V values, float unit) {
    return round(min(max(quotient(values, all(unit)), all(-128.0f)), all(127.0f)));
  }

  float measure(const Parameters& p, Sums* found) const {
    V gained[kTiles];
    for (int t = 0; t < kTiles; ++t) {
      const V scale = p.scales[t] * p.unit;
      found[t] = sums(tiles_[t], inverse_of(scale), V{}, all(low_), all(-low_ - 1));
      gained[t] = gain<kSize>(found[t], V{}, scale, V{});
    }
    return total(gained, kTiles);
  }

  Parameters refit(Parameters p, const Sums* found) const {
    V squares[kTiles], products[kTiles];
    for (int t = 0; t < kTiles; ++t) {
      p.scales[t] = rounded(quotient(found[t].products, found[t].squares), p.unit);
      squares[t] = p.scales[t] * p.scales[t] * found[t].squares;
      products[t] = p.scales[t] * found[t].products;
    }
    const float square = total(squares, kTiles);
    if (square > 0) p.unit = to_half(total(products, kTiles) / square);
    return p;
  }

  float low_;
  Tile<kSize> tiles_[kTiles];
};

template <typename Integer>
void store_lanes(const V* values, int count, Integer* out) {
  for (int t = 0; t < count; ++t)
    for (int lane = 0; lane < kLanes; ++lane)
      out[t * kLanes + lane] = static_cast<Integer>(values[t][lane]);
}

}  // namespace

void fit_symmetric(const float* weights, std::int64_t blocks, int size, int low, float* scales) {
  (size == 16 ? symmetric_blocks<16> : symmetric_blocks<32>)(weights, blocks, low, scales);
}

void fit_affine(const float* weights, std::int64_t blocks, int high, float* scales, float* shifts) {
  for (std::int64_t b = 0; b < blocks; b += kLanes) {
    const Tile<32> tile(weights + b * 32, blocks - b);
    const Line found = affine(tile, static_cast<float>(high), true);
    for (int lane = 0; lane < kLanes && b + lane < blocks; ++lane) {
      scales[b + lane] = found.scale[lane];
      shifts[b + lane] = found.shift[lane];
    }
  }
}

void fit_affine_super(const float* weights, std::int64_t superblocks, int high, float* units,
                      std::uint8_t* scales, std::uint8_t* minima, std::uint8_t* codes) {
  for (std::int64_t s = 0; s < superblocks; ++s) {
    const AffineSuperblock block(weights + s * kSuperblock, high);
    const AffineSuperblock::Parameters p = block.fit();
    units[2 * s] = p.unit;
    units[2 * s + 1] = p.minimum_unit;
    store_lanes(p.scales, AffineSuperblock::kTiles, scales + 8 * s);
    store_lanes(p.minima, AffineSuperblock::kTiles, minima + 8 * s);
    block.store(p, codes + s * kSuperblock);
  }
}

void fit_symmetric_super(const float* weights, std::int64_t superblocks, int low, float* units,
                         std::int8_t* scales, std::int8_t* codes) {
  for (std::int64_t s = 0; s < superblocks; ++s) {
    const SymmetricSuperblock block(weights + s * kSuperblock, low);
    const SymmetricSuperblock::Parameters p = block.fit();
    units[s] = p.unit;
    store_lanes(p.scales, SymmetricSuperblock::kTiles, scales + 16 * s);
    block.store(p, codes + s * kSuperblock);
  }
}

}  // namespace lichen
