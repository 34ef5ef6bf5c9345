// Scales and codes in terms of sixteen lanes; included by each <isa>.cpp after its <isa>.h. Products are not
// fused with sums but where errors or pulls move on, so that plain arithmetic in float32 gives the same bits.
#pragma once

#include "../linear/kernel.h"
#include "../vector/functions.h"
#include "../vector/shuffle.h"
#include "kernel.h"

namespace lichen {
namespace {

constexpr int64_t kRun = 4096;  // numbers summed in float32; the sums of runs are added in float64

LICHEN_INLINE F16 load_some(const float* from, int64_t count) {
  return count >= 16 ? load(from) : load_first(from, count);
}

// To the nearest code, halves to even.
LICHEN_INLINE F16 to_code(F16 x, const CodeFormat& format) {
  const F16 magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding rounds to integers
  const F16 bounded = min(broadcast(format.high), max(broadcast(format.low), x));
  return sub(add(bounded, magic), magic);
}

inline float to_code(float x, const CodeFormat& format) {
  const float low = x < format.low ? format.low : x;
  const float bounded = low > format.high ? format.high : low;
  return (bounded + 12582912.0f) - 12582912.0f;
}

inline uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float float_of(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// The last `Bits` bits of a mantissa rounded away, halves to even.
template <int Bits>
LICHEN_INLINE uint32_t shortened(uint32_t size) {
  constexpr uint32_t kHalf = (uint32_t{1} << (Bits - 1)) - 1;
  return (size + kHalf + (size >> Bits & 1)) & ~((uint32_t{1} << Bits) - 1);
}

// The bits of a size that is not zero, rounded to the type. Nothing branches, so that lanes go side by side.
template <ScaleType Type>
LICHEN_INLINE uint32_t rounded_size(uint32_t size) {
  constexpr uint32_t kInfinity = 0x7f800000;
  if constexpr (Type == ScaleType::bf16) return size < kInfinity ? shortened<16>(size) : size;
  if constexpr (Type == ScaleType::f16) {
    constexpr uint32_t kNormal = 0x38800000, kLargest = 0x477fe000;  // 2^-14, 65504
    // Below 2^-14 the steps are 2^-24, those of float32 from a half on.
    const uint32_t small = bits_of((float_of(size < kNormal ? size : 0) + 0.5f) - 0.5f), other = shortened<13>(size);
    const uint32_t finite = size < kNormal ? small : other > kLargest ? kInfinity : other;
    return size < kInfinity ? finite : size;
  }
  return size;
}

// A scale as it will be stored; never zero, for weights are divided by it.
template <ScaleType Type>
LICHEN_INLINE float stored(float scale) {
  constexpr bool f16 = Type == ScaleType::f16, bf16 = Type == ScaleType::bf16;
  constexpr float kNothing = f16 ? 0x1p-10f : bf16 ? 0x1p-7f : 0x1p-23f;
  constexpr float kSmallest = f16 ? 0x1p-24f : bf16 ? 0x1p-133f : 0x1p-149f;
  const uint32_t size = bits_of(scale) & 0x7fffffff, sign = bits_of(scale) ^ size;
  const uint32_t rounded = rounded_size<Type>(size);
  return float_of(size == 0 ? bits_of(kNothing) : sign | (rounded == 0 ? bits_of(kSmallest) : rounded));
}

inline float stored(float scale, ScaleType type) {
  return type == ScaleType::f16    ? stored<ScaleType::f16>(scale)
         : type == ScaleType::bf16 ? stored<ScaleType::bf16>(scale)
                                   : stored<ScaleType::f32>(scale);
}

void widen_f16(const uint16_t* from, int64_t count, float* to) {
  const auto* halves = reinterpret_cast<const Half*>(from);
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    store(to + i, load(reinterpret_cast<const Half*>(reinterpret_cast<const uint16_t*>(halves) + i)));
  if (i == count) return;
  uint16_t rest[16] = {};
  __builtin_memcpy(rest, from + i, static_cast<size_t>(count - i) * sizeof *from);
  store_first(to + i, load(reinterpret_cast<const Half*>(rest)), count - i);
}

void widen_bf16(const uint16_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = static_cast<uint32_t>(from[i]) << 16;
    __builtin_memcpy(to + i, &bits, sizeof bits);
  }
}

void extremes(const float* w, int64_t count, float* least, float* greatest) {
  F16 low = broadcast(0.0f), high = low, poison = low;
  for (int64_t k = 0; k < count; k += 16) {
    const F16 x = load_some(w + k, count - k);
    low = min(low, x);
    high = max(high, x);
    poison = add(poison, mul(x, broadcast(0.0f)));  // infinities and NaN make it NaN
  }
  const float nothing = reduce_add(poison);
  *least = nothing - reduce_max(sub(broadcast(0.0f), low));
  *greatest = nothing + reduce_max(high);
}

// Over one part, p = code - zero, each term times its importance.
struct Sums {
  double wp = 0, pp = 0, p = 0, error = 0;
};

template <bool Weighted>
struct Part {
  const float* w;
  const float* importance;
  int64_t count;
  const CodeFormat& format;

  // Sums for weights rounded to a scale and zero point. Without Exact, the scale's inverse multiplies, and
  // the error is not asked for.
  template <bool Exact>
  Sums sums(Scaled by) const {
    Sums all;
    for (int64_t begin = 0; begin < count; begin += kRun) {
      const int64_t end = begin + kRun < count ? begin + kRun : count;
      run<Exact>(by, begin, end, all);
    }
    return all;
  }

  template <bool Exact>
  LICHEN_INLINE void run(Scaled by, int64_t begin, int64_t end, Sums& all) const {
    const F16 scale = broadcast(Exact ? by.scale : 1.0f / by.scale), zero = broadcast(by.zero);
    F16 wp = broadcast(0.0f), pp = wp, sum = wp, error = wp;
    for (int64_t k = begin; k < end; k += 16) {
      const F16 x = load_some(w + k, end - k);
      const F16 code = to_code(add(Exact ? div(x, scale) : mul(x, scale), zero), format);
      const F16 p = sub(code, zero);
      const F16 m = Weighted ? mul(p, load_some(importance + k, end - k)) : p;
      wp = add(wp, mul(x, m));
      pp = add(pp, mul(p, m));
      if (!format.symmetric) sum = add(sum, m);
      if (!Exact) continue;
      const F16 d = sub(mul(p, scale), x);
      error = add(error, Weighted ? mul(mul(d, d), load_some(importance + k, end - k)) : mul(d, d));
    }
    all.wp += static_cast<double>(reduce_add(wp));
    all.pp += static_cast<double>(reduce_add(pp));
    all.p += static_cast<double>(reduce_add(sum));
    all.error += static_cast<double>(reduce_add(error));
  }

  // Of all weights: their sum and their number, each times its importance.
  void totals(double* weights, double* number) const {
    *weights = *number = 0;
    for (int64_t begin = 0; begin < count; begin += kRun) {
      const int64_t end = begin + kRun < count ? begin + kRun : count;
      F16 sum = broadcast(0.0f), ones = sum;
      for (int64_t k = begin; k < end; k += 16) {
        const F16 x = load_some(w + k, end - k);
        if (Weighted) ones = add(ones, load_some(importance + k, end - k));
        sum = add(sum, Weighted ? mul(x, load_some(importance + k, end - k)) : x);
      }
      *weights += static_cast<double>(reduce_add(sum));
      *number += Weighted ? static_cast<double>(reduce_add(ones)) : static_cast<double>(end - begin);
    }
  }

  // Codes being fixed, the scale of least squares; with zero points first the line that fits best, whose
  // offset, in steps, moves the zero point.
  Scaled refined(Scaled by, const Sums& sums, double weights, double number) const {
    const float scale = sums.pp > 0 ? static_cast<float>(sums.wp / sums.pp) : 0.0f;
    const Scaled same = {stored(scale, format.scale_type), by.zero};
    if (format.symmetric) return same;
    const double spread = number * sums.pp - sums.p * sums.p;
    if (!(spread > 0)) return same;
    const double slope = (number * sums.wp - weights * sums.p) / spread;
    if (!(slope > 0)) return same;
    const double offset = (weights - slope * sums.p) / number;
    const float zero = to_code(static_cast<float>(static_cast<double>(by.zero) - offset / slope), format);
    return {stored(static_cast<float>(slope), format.scale_type), zero};
  }

  // The whole range [least, greatest] times f, as a scale and a zero point that need not be stored yet.
  Scaled range(float least, float greatest, float f) const {
    if (format.symmetric) {
      const float end = -least > greatest ? least : greatest;
      return {end / format.low * f, 0.0f};
    }
    const float scale = (greatest - least) / (format.high - format.low) * f;
    return {scale, to_code(format.low - least * f / scale, format)};
  }

  Scaled whole(float least, float greatest) const {
    const float half = (format.high - format.low) / 2;
    if (format.symmetric)
      return {stored((-least > greatest ? -least : greatest) / half, format.scale_type), 0.0f};
    const float scale = stored((greatest - least) / (2 * half), format.scale_type);
    return {scale, to_code(format.low - least / scale, format)};
  }

  Scaled fit(const Search& search) const {
    float least, greatest;
    extremes(w, count, &least, &greatest);
    Scaled best = whole(least, greatest);
    if (!(least < 0 || greatest > 0)) return best;
    double weights = 0, number = 0;
    if (!format.symmetric) totals(&weights, &number);
    const float step = search.grid > 1 ? (search.narrowest - search.widest) / static_cast<float>(search.grid - 1) : 0;
    Scaled next = best;
    double gain = -1;  // what rounding to a scale takes from the sum of squares, when the scale fits
    for (int i = 0; i < search.grid; ++i) {
      const Scaled tried = range(least, greatest, search.widest + step * static_cast<float>(i));
      const float inverse = 1.0f / tried.scale;
      if (!(inverse - inverse == 0)) continue;  // beyond the numbers of float32
      const Sums sums = this->template sums<false>(tried);
      const double gained = sums.pp > 0 ? sums.wp * sums.wp / sums.pp : 0;
      if (!(gained > gain)) continue;
      gain = gained;
      next = refined(tried, sums, weights, number);
    }
    double error = this->template sums<true>(best).error;
    for (int turn = 0; turn <= search.turns; ++turn) {
      const Sums sums = this->template sums<true>(next);
      if (!(sums.error < error)) break;
      error = sums.error;
      best = next;
      next = refined(best, sums, weights, number);
    }
    return best;
  }
};

Scaled fit(const float* w, const float* importance, int64_t count, const CodeFormat& format,
           const Search& search) {
  if (importance) return Part<true>{w, importance, count, format}.fit(search);
  return Part<false>{w, importance, count, format}.fit(search);
}

// x^exponent for x > 0 that is not subnormal, within 1e-6 (relative) for exponents -1 to 1: x = 2^k m with m
// between the roots of 1/2 and 2, and ln m = 2 artanh((m - 1) / (m + 1)) by its series.
LICHEN_INLINE F16 power(F16 x, float exponent) {
  alignas(64) float mantissas[16], exponents[16];
  store(mantissas, x);
  for (int i = 0; i < 16; ++i) {
    const uint32_t bits = bits_of(mantissas[i]);
    const int32_t k = static_cast<int32_t>(bits - 0x3f3504f3) >> 23;
    exponents[i] = static_cast<float>(k);
    mantissas[i] = float_of(bits - (static_cast<uint32_t>(k) << 23));
  }
  const F16 one = broadcast(1.0f), m = load(mantissas);
  const F16 t = div(sub(m, one), add(m, one)), s = mul(t, t);
  F16 series = broadcast(0.22222222f);
  series = fma(series, s, broadcast(0.28571429f));
  series = fma(series, s, broadcast(0.4f));
  series = fma(series, s, broadcast(0.66666667f));
  series = fma(series, s, broadcast(2.0f));
  const F16 ln = fma(load(exponents), broadcast(0.69314718f), mul(series, t));
  return exp(mul(ln, broadcast(exponent)));
}

// One part, rounded to a scale and zero point; errors in steps of the scale.
struct Split {
  double objective = 0;  // sum |error|^norm
  double weights = 0;    // their sum without the errors that are let go
  Sums sums;             // likewise
};

struct HalfQuadraticPart {
  const float* w;
  int64_t count;
  const CodeFormat& format;
  const HalfQuadratic& method;

  Split split(Scaled by, float beta) const {
    Split all;
    for (int64_t begin = 0; begin < count; begin += kRun)
      run(by, beta, begin, begin + kRun < count ? begin + kRun : count, all);
    const auto scale = static_cast<double>(by.scale);
    all.weights *= scale;
    all.sums.wp *= scale;
    float unit[16];
    store(unit, power(broadcast(by.scale < 0 ? -by.scale : by.scale), method.norm));
    all.objective *= static_cast<double>(unit[0]);
    return all;
  }

  void run(Scaled by, float beta, int64_t begin, int64_t end, Split& all) const {
    const F16 none = broadcast(0.0f), scale = broadcast(by.scale), zero = broadcast(by.zero);
    const F16 least = broadcast(1e-6f), inverse = broadcast(1.0f / beta);  // |0|^(norm - 1) has no bound
    F16 objective = none, weights = none, wp = none, pp = none, sum = none;
    for (int64_t k = begin; k < end; k += 16) {
      const F16 steps = div(load_some(w + k, end - k), scale);
      const F16 p = sub(to_code(add(steps, zero), format), zero);
      const F16 error = sub(steps, p), size = max(least, absolute(error));
      const F16 slope = power(size, method.norm - 1.0f);
      const F16 let_go = with_sign_of(max(none, sub(size, mul(slope, inverse))), error);
      const F16 rest = sub(steps, let_go), cost = mul(size, slope);
      objective = add(objective, end - k < 16 ? keep_first(cost, end - k, 0.0f) : cost);
      weights = add(weights, rest);
      wp = add(wp, mul(rest, p));
      pp = add(pp, mul(p, p));
      sum = add(sum, p);
    }
    all.objective += static_cast<double>(reduce_add(objective));
    all.weights += static_cast<double>(reduce_add(weights));
    all.sums.wp += static_cast<double>(reduce_add(wp));
    all.sums.pp += static_cast<double>(reduce_add(pp));
    all.sums.p += static_cast<double>(reduce_add(sum));
  }

  Scaled better(Scaled start, Scaled second) const {
    constexpr float kGrowth = 1.01f;
    const Part<false> part = {w, nullptr, count, format};
    float beta = method.beta;
    Scaled best = start, next = second;
    double least = split(best, beta).objective;
    for (int turn = 0; turn <= method.turns; ++turn) {
      const Scaled tried = next;
      const Split now = split(tried, beta);
      if (now.objective < least) {
        least = now.objective;
        best = tried;
      }
      next = part.refined(tried, now.sums, now.weights, static_cast<double>(count));
      if (next.scale == tried.scale && next.zero == tried.zero) break;
      beta *= kGrowth;
    }
    return best;
  }
};

Scaled half_quadratic(const float* w, int64_t count, Scaled start, Scaled second, const CodeFormat& format,
                      const HalfQuadratic& method) {
  return HalfQuadraticPart{w, count, format, method}.better(start, second);
}

void round(const float* w, int64_t count, Scaled by, const CodeFormat& format, int8_t* codes) {
  const F16 scale = broadcast(by.scale), zero = broadcast(by.zero);
  float some[64];
  for (int64_t k = 0; k < count; k += 64) {
    const int64_t left = count - k < 64 ? count - k : 64;
    for (int64_t i = 0; i < left; i += 16)
      store(some + i, to_code(add(div(load_some(w + k + i, left - i), scale), zero), format));
    if (left == 64)
      for (int64_t i = 0; i < 64; ++i) codes[k + i] = static_cast<int8_t>(some[i]);
    else
      for (int64_t i = 0; i < left; ++i) codes[k + i] = static_cast<int8_t>(some[i]);
  }
}

LICHEN_INLINE F16 load_some(const int8_t* from, int64_t count) {
  if (count >= 16) return load(from);
  int8_t rest[16] = {};
  __builtin_memcpy(rest, from, static_cast<size_t>(count));
  return load(rest);
}

void squares(const float* w, const int8_t* codes, int64_t parts, int64_t count, const float* scales, const float* zeros,
             double* error, double* square) {
  const F16 none = broadcast(0.0f);
  F16 errors = none, all = none;
  int64_t left = kRun;
  const auto end_run = [&]() LICHEN_LAMBDA {
    *error += static_cast<double>(reduce_add(errors));
    *square += static_cast<double>(reduce_add(all));
    errors = all = none;
    left = kRun;
  };
  for (int64_t p = 0; p < parts; ++p, w += count, codes += count) {
    const F16 scale = broadcast(scales[p]), zero = broadcast(zeros[p]);
    for (int64_t k = 0; k < count; k += 16) {
      const F16 x = load_some(w + k, count - k);
      const F16 d = sub(mul(sub(load_some(codes + k, count - k), zero), scale), x);
      const F16 e = mul(d, d);
      errors = add(errors, count - k < 16 ? keep_first(e, count - k, 0.0f) : e);
      all = add(all, mul(x, x));
      if ((left -= 16) <= 0) end_run();
    }
  }
  end_run();
}

// Sums of sixteen parts of `count` numbers, a part a lane; w and importance [count][16]. As in Part.
struct LaneSums {
  F16 wp, pp, p, error;
};

struct LaneScaled {
  F16 scale, zero;
};

// Symmetric: zero points are 0, and what only they need is not asked for.
template <bool Exact, bool Weighted, bool Symmetric>
LICHEN_INLINE LaneSums lane_sums(const float* w, const float* importance, int64_t count, LaneScaled by,
                                 const CodeFormat& format) {
  const F16 none = broadcast(0.0f), scale = Exact ? by.scale : div(broadcast(1.0f), by.scale);
  LaneSums sums = {none, none, none, none};
  for (int64_t k = 0; k < count; ++k) {
    const F16 x = load(w + k * 16), steps = Exact ? div(x, scale) : mul(x, scale);
    const F16 p = Symmetric ? to_code(steps, format) : sub(to_code(add(steps, by.zero), format), by.zero);
    const F16 m = Weighted ? mul(p, load(importance + k * 16)) : p;
    sums.wp = add(sums.wp, mul(x, m));
    sums.pp = add(sums.pp, mul(p, m));
    if (!Symmetric) sums.p = add(sums.p, m);
    if (!Exact) continue;
    const F16 d = sub(mul(p, by.scale), x), square = mul(d, d);
    sums.error = add(sums.error, Weighted ? mul(square, load(importance + k * 16)) : square);
  }
  return sums;
}

template <ScaleType Type>
LICHEN_INLINE F16 stored(F16 scale) {
  float lanes[16];
  store(lanes, scale);
  for (float& lane : lanes) lane = stored<Type>(lane);
  return load(lanes);
}

LICHEN_INLINE F16 stored(F16 scale, ScaleType type) {
  return type == ScaleType::f16    ? stored<ScaleType::f16>(scale)
         : type == ScaleType::bf16 ? stored<ScaleType::bf16>(scale)
                                   : stored<ScaleType::f32>(scale);
}

// Lane by lane `yes` where a < b, else `no`; also where one of them is not a number.
LICHEN_INLINE LaneScaled where_less(F16 a, F16 b, LaneScaled yes, LaneScaled no) {
  return {where_less(a, b, yes.scale, no.scale), where_less(a, b, yes.zero, no.zero)};
}

LICHEN_INLINE LaneScaled lane_refined(LaneScaled by, const LaneSums& sums, F16 weights, F16 number,
                                      const CodeFormat& format) {
  const F16 none = broadcast(0.0f);
  const F16 scale = where_less(none, sums.pp, div(sums.wp, sums.pp), none);
  if (format.symmetric) return {stored(scale, format.scale_type), by.zero};
  const F16 spread = sub(mul(number, sums.pp), mul(sums.p, sums.p));
  const F16 slope = div(sub(mul(number, sums.wp), mul(weights, sums.p)), spread);
  const F16 offset = div(sub(weights, mul(slope, sums.p)), number);
  const F16 zero = to_code(sub(by.zero, div(offset, slope)), format);
  const LaneScaled fitted = where_less(none, slope, LaneScaled{slope, zero}, LaneScaled{scale, by.zero});
  const LaneScaled kept = where_less(none, spread, fitted, LaneScaled{scale, by.zero});
  return {stored(kept.scale, format.scale_type), kept.zero};
}

LICHEN_INLINE bool same(F16 a, F16 b) {
  float x[16], y[16];
  store(x, a);
  store(y, b);
  return __builtin_memcmp(x, y, sizeof x) == 0;
}

// The same search as Part's, in float32 throughout.
template <bool Weighted, bool Symmetric>
LICHEN_INLINE LaneScaled fit_sixteen(const float* w, const float* importance, int64_t count,
                                     const CodeFormat& format, const Search& search) {
  const F16 none = broadcast(0.0f);
  F16 least = none, greatest = none, weights = none, poison = none;
  F16 number = Weighted ? none : broadcast(static_cast<float>(count));
  for (int64_t k = 0; k < count; ++k) {
    const F16 x = load(w + k * 16);
    least = min(least, x);
    greatest = max(greatest, x);
    poison = add(poison, mul(x, none));
    if (Symmetric) continue;
    weights = add(weights, Weighted ? mul(x, load(importance + k * 16)) : x);
    if (Weighted) number = add(number, load(importance + k * 16));
  }
  least = add(least, poison);
  greatest = add(greatest, poison);
  const F16 below = sub(none, least), steps = broadcast(format.high - format.low);
  const F16 low = broadcast(format.low);
  LaneScaled best;
  F16 range;
  if (Symmetric) {
    const F16 largest = where_less(below, greatest, greatest, below);
    best = {stored(div(largest, broadcast((format.high - format.low) / 2)), format.scale_type), none};
    range = div(where_less(greatest, below, least, greatest), low);
  } else {
    range = div(sub(greatest, least), steps);
    best.scale = stored(range, format.scale_type);
    best.zero = to_code(sub(low, div(least, best.scale)), format);
  }
  const float step = search.grid > 1 ? (search.narrowest - search.widest) / static_cast<float>(search.grid - 1) : 0;
  LaneScaled next = best;
  LaneSums found = {none, none, none, none};
  F16 gain = broadcast(-1.0f);
  for (int i = 0; i < search.grid; ++i) {
    const F16 f = broadcast(search.widest + step * static_cast<float>(i));
    LaneScaled tried = {mul(range, f), none};
    if (!Symmetric) tried.zero = to_code(sub(low, div(mul(least, f), tried.scale)), format);
    const LaneSums sums = lane_sums<false, Weighted, Symmetric>(w, importance, count, tried, format);
    const F16 gained = div(mul(sums.wp, sums.wp), sums.pp);
    next = where_less(gain, gained, tried, next);
    found.wp = where_less(gain, gained, sums.wp, found.wp);
    found.pp = where_less(gain, gained, sums.pp, found.pp);
    found.p = where_less(gain, gained, sums.p, found.p);
    gain = where_less(gain, gained, gained, gain);
  }
  next = where_less(none, found.pp, lane_refined(next, found, weights, number, format), best);
  F16 error = lane_sums<true, Weighted, Symmetric>(w, importance, count, best, format).error;
  for (int turn = 0; turn <= search.turns; ++turn) {
    const LaneScaled tried = next;
    const LaneSums sums = lane_sums<true, Weighted, Symmetric>(w, importance, count, tried, format);
    best = where_less(sums.error, error, tried, best);
    error = where_less(sums.error, error, sums.error, error);
    next = lane_refined(tried, sums, weights, number, format);
    if (same(next.scale, tried.scale) && same(next.zero, tried.zero)) break;
  }
  return best;
}

LICHEN_INLINE LaneScaled fit_sixteen(const float* w, const float* importance, int64_t count,
                                     const CodeFormat& format, const Search& search) {
  if (!importance)
    return format.symmetric ? fit_sixteen<false, true>(w, importance, count, format, search)
                            : fit_sixteen<false, false>(w, importance, count, format, search);
  return format.symmetric ? fit_sixteen<true, true>(w, importance, count, format, search)
                          : fit_sixteen<true, false>(w, importance, count, format, search);
}

// Four columns of four rows, `stride` apart, as four lanes of [4][16].
LICHEN_INLINE void four_to_lanes(const float* rows, int64_t stride, float* lanes) {
  F4 row[4];
  for (int i = 0; i < 4; ++i) __builtin_memcpy(&row[i], rows + i * stride, sizeof row[i]);
  const F4 first[2] = {LICHEN_SHUFFLE(row[0], row[1], 0, 4, 1, 5), LICHEN_SHUFFLE(row[2], row[3], 0, 4, 1, 5)};
  const F4 second[2] = {LICHEN_SHUFFLE(row[0], row[1], 2, 6, 3, 7), LICHEN_SHUFFLE(row[2], row[3], 2, 6, 3, 7)};
  const F4 columns[4] = {LICHEN_SHUFFLE(first[0], first[1], 0, 1, 4, 5), LICHEN_SHUFFLE(first[0], first[1], 2, 3, 6, 7),
                         LICHEN_SHUFFLE(second[0], second[1], 0, 1, 4, 5), LICHEN_SHUFFLE(second[0], second[1], 2, 3, 6, 7)};
  for (int k = 0; k < 4; ++k) __builtin_memcpy(lanes + k * 16, &columns[k], sizeof columns[k]);
}

// Rows of `count` numbers, `stride` apart, as lanes [count][16]; lanes without a row are zero.
LICHEN_INLINE void to_lanes(const float* rows, int64_t stride, int64_t there, int64_t count, float* lanes) {
  if (there < 16)
    for (int64_t k = 0; k < count * 16; ++k) lanes[k] = 0;
  const int64_t in_fours = there < 16 ? 0 : count / 4 * 4;
  for (int64_t k = 0; k < in_fours; k += 4)
    for (int64_t i = 0; i < 16; i += 4) four_to_lanes(rows + i * stride + k, stride, lanes + k * 16 + i);
  for (int64_t i = 0; i < there; ++i)
    for (int64_t k = in_fours; k < count; ++k) lanes[k * 16 + i] = rows[i * stride + k];
}

void fit_parts(const float* w, const float* importance, int64_t parts, int64_t count,
               const CodeFormat& format, const Search& search, float* scales, float* zeros) {
  if (count > kLaneNumbers) {
    for (int64_t p = 0; p < parts; ++p) {
      const Scaled found = fit(w + p * count, importance ? importance + p * count : nullptr, count, format, search);
      scales[p] = found.scale;
      zeros[p] = found.zero;
    }
    return;
  }
  alignas(64) float lanes[kLaneNumbers * 16], shares[kLaneNumbers * 16];
  for (int64_t part = 0; part < parts; part += 16) {
    const int64_t there = parts - part < 16 ? parts - part : 16;
    to_lanes(w + part * count, count, there, count, lanes);
    if (importance) to_lanes(importance + part * count, count, there, count, shares);
    const LaneScaled found = fit_sixteen(lanes, importance ? shares : nullptr, count, format, search);
    store_first(scales + part, found.scale, there);
    store_first(zeros + part, found.zero, there);
  }
}

// Sixteen rows at a time, a row a lane.
void feed_back(const FeedbackTask& task) {
  const int64_t columns = task.columns;
  alignas(64) float weight[kFeedbackColumns * 16], wanted[kFeedbackColumns * 16], pivots[kFeedbackColumns * 16];
  for (int64_t k = 0; k < columns; ++k) store(pivots + k * 16, broadcast(task.pivots[k]));
  for (int64_t first = 0; first < task.rows; first += 16) {
    const int64_t rows = task.rows - first < 16 ? task.rows - first : 16;
    to_lanes(task.weight + first * task.stride, task.stride, rows, columns, weight);
    to_lanes(task.wanted + first * task.stride, task.stride, rows, columns, wanted);
    double costs[16] = {};
    LaneScaled by = {broadcast(1.0f), broadcast(0.0f)};
    for (int64_t k = 0; k < columns; ++k) {
      const int32_t part = task.parts[k];
      alignas(64) float scales[16], zeros[16], codes[16], differences[16], errors[16];
      if (task.fitted && k % task.fitted == 0) {
        by = fit_sixteen(wanted + k * 16, pivots + k * 16, task.fitted, task.format, task.search);
        store(scales, by.scale);
        store(zeros, by.zero);
        for (int64_t r = 0; r < rows; ++r) {
          task.scales[(first + r) * task.scale_stride + part] = scales[r];
          task.zeros[(first + r) * task.scale_stride + part] = zeros[r];
        }
      } else if (k == 0 || part != task.parts[k - 1]) {
        for (int64_t r = 0; r < 16; ++r) {
          scales[r] = r < rows ? task.scales[(first + r) * task.scale_stride + part] : 1.0f;
          zeros[r] = r < rows ? task.zeros[(first + r) * task.scale_stride + part] : 0.0f;
        }
        by = {load(scales), load(zeros)};
      }
      const F16 now = load(wanted + k * 16);
      const F16 code = to_code(add(div(now, by.scale), by.zero), task.format);
      const F16 value = mul(sub(code, by.zero), by.scale);
      const F16 error = sub(load(weight + k * 16), value);
      store(codes, code);
      store(differences, sub(now, value));
      store(errors, error);
      for (int64_t r = 0; r < rows; ++r) {
        const auto difference = static_cast<double>(differences[r]);
        costs[r] += static_cast<double>(task.pivots[k]) * difference * difference;
        task.codes[(first + r) * task.stride + k] = static_cast<int8_t>(codes[r]);
        task.errors[(first + r) * columns + k] = errors[r];
      }
      const float* feedback = task.feedback + k * columns;
      for (int64_t j = k + 1; j < columns; ++j)
        store(wanted + j * 16, fma(error, broadcast(feedback[j]), load(wanted + j * 16)));
    }
    for (int64_t r = 0; r < rows; ++r) task.costs[first + r] += costs[r];
  }
}

// Sixteen rows of a DescentTask, a row a lane.
struct DescentLanes {
  const DescentTask& task;
  alignas(64) float pull[kFeedbackColumns * 16];
  alignas(64) float steps[kFeedbackColumns * 16];   // code - zero
  alignas(64) float values[kFeedbackColumns * 16];  // steps * scale, as they were
  alignas(64) float moved[kFeedbackColumns * 16];

  // The scale of least cost for the codes of columns [begin, end), and the pull that is left of it.
  LICHEN_INLINE F16 refitted(F16 scale, int64_t begin, int64_t end) {
    F16 gain = broadcast(0.0f), cost = gain;
    for (int64_t j = begin; j < task.columns; ++j) {
      F16 sum = broadcast(0.0f);
      for (int64_t i = begin; i < end; ++i)
        sum = fma(load(steps + i * 16), broadcast(task.moment[i * task.columns + j]), sum);
      store(moved + j * 16, sum);
      if (j >= end) continue;
      gain = fma(load(steps + j * 16), load(pull + j * 16), gain);
      cost = fma(load(steps + j * 16), sum, cost);
    }
    const F16 none = broadcast(0.0f);
    const F16 best = stored(add(scale, div(gain, cost)), task.format.scale_type);
    const F16 kept = where_less(none, cost, best, scale), change = sub(kept, scale);
    for (int64_t j = begin; j < task.columns; ++j)
      store(pull + j * 16, fnma(change, load(moved + j * 16), load(pull + j * 16)));
    return kept;
  }

  // Column k gets the code nearest to where its cost is least, and takes its share out of the pull.
  LICHEN_INLINE void choose(int64_t k, F16 scale, F16 zero) {
    const float* row = task.moment + k * task.columns;
    const F16 step = load(steps + k * 16);
    const F16 wanted = fma(step, scale, div(load(pull + k * 16), broadcast(row[k])));
    const F16 next = sub(to_code(add(div(wanted, scale), zero), task.format), zero);
    const F16 change = mul(sub(next, step), scale);
    store(steps + k * 16, next);
    for (int64_t j = k + 1; j < task.columns; ++j)
      store(pull + j * 16, fnma(change, broadcast(row[j]), load(pull + j * 16)));
  }
};

void descend(const DescentTask& task) {
  DescentLanes lanes = {task, {}, {}, {}, {}};
  const int64_t columns = task.columns;
  for (int64_t first = 0; first < task.rows; first += 16) {
    const int64_t rows = task.rows - first < 16 ? task.rows - first : 16;
    int8_t* codes = task.codes + first * task.stride;
    to_lanes(task.pull + first * task.stride, task.stride, rows, columns, lanes.pull);
    for (int64_t begin = 0; begin < columns; begin += task.size) {
      const int64_t end = begin + task.size < columns ? begin + task.size : columns, part = begin / task.size;
      alignas(64) float scales[16], zeros[16];
      for (int64_t r = 0; r < 16; ++r) {
        scales[r] = r < rows ? task.scales[(first + r) * task.scale_stride + part] : 1.0f;
        zeros[r] = r < rows ? task.zeros[(first + r) * task.scale_stride + part] : 0.0f;
      }
      F16 scale = load(scales);
      const F16 zero = load(zeros);
      for (int64_t k = begin; k < end; ++k) {
        for (int64_t r = 0; r < 16; ++r)
          lanes.steps[k * 16 + r] = r < rows ? static_cast<float>(codes[r * task.stride + k]) - zeros[r] : 0.0f;
        store(lanes.values + k * 16, mul(load(lanes.steps + k * 16), scale));
      }
      if (task.fitted) scale = lanes.refitted(scale, begin, end);
      for (int64_t k = begin; k < end; ++k) lanes.choose(k, scale, zero);
      store(scales, scale);
      for (int64_t r = 0; r < rows; ++r) {
        if (task.fitted) task.scales[(first + r) * task.scale_stride + part] = scales[r];
        for (int64_t k = begin; k < end; ++k) {
          const float step = lanes.steps[k * 16 + r];
          codes[r * task.stride + k] = static_cast<int8_t>(step + zeros[r]);
          task.changes[(first + r) * columns + k] = step * scales[r] - lanes.values[k * 16 + r];
        }
      }
    }
  }
}

}  // namespace
}  // namespace lichen
