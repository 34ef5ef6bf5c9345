// Scales and codes in terms of sixteen lanes; included by each <isa>.cpp after its <isa>.h. Products are not
// fused with sums but where errors are fed back, so that plain arithmetic in float32 gives the same bits.
#pragma once

#include "../linear/kernel.h"
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

LICHEN_INLINE float to_code(float x, const CodeFormat& format) {
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

// The last `bits` bits of the mantissa rounded away, halves to even; a NaN stays one.
inline float shortened(float value, int bits) {
  const uint32_t all = bits_of(value);
  if ((all & 0x7fffffff) >= 0x7f800000) return value;
  const uint32_t half = (uint32_t{1} << (bits - 1)) - 1;
  return float_of((all + half + (all >> bits & 1)) & ~((uint32_t{1} << bits) - 1));
}

inline float to_f16_precision(float value) {
  const float size = float_of(bits_of(value) & 0x7fffffff);
  // Below 2^-14 the steps are 2^-24, those of float32 from a half on.
  const float rounded = size < 0x1p-14f ? (size + 0.5f) - 0.5f : shortened(size, 13);
  const float kept = rounded > 65504.0f ? __builtin_inff() : rounded;
  return value < 0 ? -kept : kept;
}

// A scale as it will be stored; never zero, for weights are divided by it.
inline float stored(float scale, ScaleType type) {
  if (scale == 0) return type == ScaleType::f16 ? 0x1p-10f : type == ScaleType::bf16 ? 0x1p-7f : 0x1p-23f;
  if (scale != scale) return scale;
  const float smallest = type == ScaleType::f16 ? 0x1p-24f : type == ScaleType::bf16 ? 0x1p-133f : 0x1p-149f;
  const float rounded = type == ScaleType::f16    ? to_f16_precision(scale)
                        : type == ScaleType::bf16 ? shortened(scale, 16)
                                                  : scale;
  if (rounded == 0) return scale < 0 ? -smallest : smallest;
  return rounded;
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

// row[k] += error * feedback[k] from column k on; feedback is 0 at k itself and before.
LICHEN_INLINE void add_error(float error, const float* feedback, float* row, int64_t k, int64_t columns) {
  for (int64_t j = k / 16 * 16; j < columns; j += 16) {
    const int64_t left = columns - j;
    if (left >= 16)
      store(row + j, fma(broadcast(error), load(feedback + j), load(row + j)));
    else
      store_first(row + j, fma(broadcast(error), load_first(feedback + j, left), load_first(row + j, left)), left);
  }
}

void feed_back(const FeedbackTask& task) {
  for (int64_t r = 0; r < task.rows; ++r) {
    const float* weight = task.weight + r * task.stride;
    float* wanted = task.wanted + r * task.stride;
    float* scales = task.scales + r * task.scale_stride;
    float* zeros = task.zeros + r * task.scale_stride;
    double cost = 0;
    for (int64_t k = 0; k < task.columns; ++k) {
      const int32_t part = task.parts[k];
      if (task.fitted && k % task.fitted == 0) {
        const Scaled found = fit(wanted + k, task.pivots + k, task.fitted, task.format, task.search);
        scales[part] = found.scale;
        zeros[part] = found.zero;
      }
      const float code = to_code(wanted[k] / scales[part] + zeros[part], task.format);
      const float value = (code - zeros[part]) * scales[part];
      const float difference = wanted[k] - value;
      cost += static_cast<double>(task.pivots[k]) * static_cast<double>(difference) * static_cast<double>(difference);
      task.codes[r * task.stride + k] = static_cast<int8_t>(code);
      const float error = weight[k] - value;
      task.errors[r * task.columns + k] = error;
      add_error(error, task.feedback + k * task.columns, wanted, k + 1, task.columns);
    }
    task.costs[r] += cost;
  }
}

}  // namespace
}  // namespace lichen
