// Every instruction set's products against plain loops, bit for bit, without Python: small enough to
// run under a sanitizer or an emulator. tests/native/test_linear.py asks more of the same kernels.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "checks.h"
#include "lichen/inputs.h"
#include "lichen/linear.h"
#include "lichen/trellis.h"

namespace {

using namespace lichen;

struct Shape {
  std::int64_t tokens, rows, cols;
};

struct Case {
  Dtype dtype;
  Shape shape;
  bool bias, accumulate;
  std::int64_t group = 0;  // of i4 and blocks
  bool zeros = false;      // or shifts, of blocks
  bool input_groups = false;  // whether inputs have a scale for each group, of so many columns
  std::optional<BlockType> stored{};  // of blocks
};

bool integers(Dtype dtype) { return takes_codes(dtype); }

float from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// A weight in one of the stored forms, and what it stands for.
struct RandomWeight {
  std::vector<float> f32;
  std::vector<std::uint16_t> u16;
  std::vector<std::int8_t> codes;
  std::vector<float> scales;
  std::vector<std::int8_t> zeros;
  std::vector<float> shifts;
  std::vector<std::uint8_t> bytes;  // as stored
  std::vector<float> values;  // [rows][cols]; for i8 and i4 the codes, their zero points taken away

  const void* data(Dtype dtype) const {
    if (dtype == Dtype::f32) return f32.data();
    return integers(dtype) || in_blocks(dtype) ? static_cast<const void*>(codes.data()) : u16.data();
  }
};

// The scales of int4 are numbers of bfloat16 in groups of 64, and of float16 in others.
void add_groups(const Case& c, RandomWeight& w, std::mt19937& random) {
  const std::int64_t groups = c.shape.cols / c.group;
  for (std::int64_t i = 0; i < c.shape.rows * groups; ++i) {
    const std::uint32_t bits = 0x3c000000 + (random() % 0x400000 & (c.group == 64 ? 0xffff0000 : 0xffffe000));
    w.scales.push_back((random() & 1) != 0 ? from_bits(bits) : -from_bits(bits));
    w.zeros.push_back(static_cast<std::int8_t>(c.zeros ? static_cast<int>(random() % 16) - 8 : 0));
  }
  for (std::int64_t i = 0; i < c.shape.rows * c.shape.cols; ++i) {
    w.codes.push_back(static_cast<std::int8_t>(static_cast<int>(random() % 16) - 8));
    w.values.push_back(static_cast<float>(w.codes.back() - w.zeros[static_cast<std::size_t>(i / c.group)]));
  }
}

float from_f16(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float magnitude = std::ldexp(static_cast<float>(mantissa + (exponent ? 1024 : 0)), std::max(exponent, 1) - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

// Random blocks, but for their units, which are numbers of float16 around 2^-8, or 0; and what they stand for.
void add_stored(const Case& c, RandomWeight& w, std::mt19937& random) {
  const BlockLayout& layout = layout_of(*c.stored);
  const std::int64_t blocks = c.shape.rows * c.shape.cols / layout.weights;
  Block block;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::size_t begin = w.bytes.size();
    for (std::int64_t i = 0; i < layout.bytes; ++i) w.bytes.push_back(static_cast<std::uint8_t>(random()));
    for (std::size_t at = 0; at <= (layout.minima ? 2 : 0); at += 2) {
      const auto unit = static_cast<std::uint16_t>(random() % 8 == 0 ? 0 : (random() & 0x83ff) | 0x1c00);
      std::memcpy(&w.bytes[begin + at + (*c.stored == BlockType::q6_k ? 208 : 0)], &unit, sizeof unit);
    }
    take_apart(*c.stored, &w.bytes[begin], &block);
    for (std::int64_t k = 0; k < layout.weights; ++k) {
      const std::int64_t g = k / layout.group;
      if (k % layout.group == 0) {
        w.scales.push_back(block.scales[g] * from_f16(block.unit));
        w.shifts.push_back(layout.minima ? -block.minima[g] * from_f16(block.minimum_unit) : 0.0f);
      }
      w.codes.push_back(block.codes[k]);
      w.values.push_back(std::fma(static_cast<float>(block.codes[k]), w.scales.back(), w.shifts.back()));
    }
  }
}

// Blocks with shifts take codes of 4 bits from 0 on. Scales are numbers of float32 in blocks of 16, and of
// float16 in others.
void add_blocks(const Case& c, RandomWeight& w, std::mt19937& random) {
  const int bits = c.dtype == Dtype::b8 ? 8 : c.dtype == Dtype::b6 ? 6 : 4, count = 1 << bits;
  const int lowest = c.zeros && bits < 8 ? 0 : -count / 2;
  for (std::int64_t i = 0; i < c.shape.rows * c.shape.cols / c.group; ++i) {
    w.scales.push_back(from_bits(0x3c000000 + (random() % 0x400000 & (c.group == 16 ? 0xffffffff : 0xffffe000))));
    w.shifts.push_back(c.zeros ? from_bits(0xbd000000 + random() % 0x400000) : 0.0f);
  }
  for (std::int64_t i = 0; i < c.shape.rows * c.shape.cols; ++i) {
    const auto block = static_cast<std::size_t>(i / c.group);
    w.codes.push_back(static_cast<std::int8_t>(static_cast<int>(random() % static_cast<unsigned>(count)) + lowest));
    w.values.push_back(std::fma(static_cast<float>(w.codes.back()), w.scales[block], w.shifts[block]));
  }
}

// Random rows, but for their units, which are around 2^-8, and the multiples of these that they stand for.
void add_trellis(const Case& c, RandomWeight& w, std::mt19937& random) {
  const std::int64_t bytes = trellis_row_bytes(c.shape.cols), groups = (c.shape.cols + kTrellisGroup - 1) / kTrellisGroup;
  std::vector<std::int8_t> codes(static_cast<std::size_t>(c.shape.cols));
  std::vector<float> units(static_cast<std::size_t>(groups));
  for (std::int64_t r = 0; r < c.shape.rows; ++r) {
    const std::size_t begin = w.bytes.size();
    for (std::int64_t i = 0; i < bytes; ++i) w.bytes.push_back(static_cast<std::uint8_t>(random()));
    for (std::int64_t g = 0; g < groups; ++g)
      w.bytes[begin + static_cast<std::size_t>(g * trellis_group_bytes(kTrellisGroup))] = static_cast<std::uint8_t>(130 + random() % 32);
    decode_trellis_row(&w.bytes[begin], c.shape.cols, codes.data(), units.data());
    w.scales.insert(w.scales.end(), units.begin(), units.end());
    for (std::int8_t code : codes) w.values.push_back(code);
  }
}

RandomWeight random_weight(const Case& c, std::mt19937& random) {
  const Dtype dtype = c.dtype;
  const Shape& shape = c.shape;
  std::normal_distribution<float> normal(0, 1);
  RandomWeight w;
  if (dtype == Dtype::i4) {
    add_groups(c, w, random);
    return w;
  }
  if (dtype == Dtype::t4) {
    add_trellis(c, w, random);
    return w;
  }
  if (in_blocks(dtype)) {
    (c.stored ? add_stored : add_blocks)(c, w, random);
    return w;
  }
  const std::int64_t count = shape.rows * shape.cols;
  for (std::int64_t i = 0; i < count; ++i) {
    if (dtype == Dtype::i8) {
      w.codes.push_back(static_cast<std::int8_t>(random() % 8 ? static_cast<int>(random() % 256) - 128 : -128));
      w.values.push_back(w.codes.back());
    } else if (dtype == Dtype::f32) {
      w.f32.push_back(normal(random));
      w.values.push_back(w.f32.back());
    } else if (dtype == Dtype::bf16) {
      w.u16.push_back(static_cast<std::uint16_t>(0x3c00 + random() % 0x0400 + (random() & 0x8000)));
      w.values.push_back(from_bits(static_cast<std::uint32_t>(w.u16.back()) << 16));
    } else {
      const std::uint32_t exponent = random() % 31, mantissa = random() % 1024, sign = random() & 1;
      w.u16.push_back(static_cast<std::uint16_t>(sign << 15 | exponent << 10 | mantissa));
      const float magnitude = exponent ? std::ldexp(1024.0f + static_cast<float>(mantissa), static_cast<int>(exponent) - 25)
                                       : std::ldexp(static_cast<float>(mantissa), -24);
      w.values.push_back(sign ? -magnitude : magnitude);
    }
  }
  if (dtype == Dtype::i8)
    for (std::int64_t r = 0; r < shape.rows; ++r) w.scales.push_back(std::fabs(normal(random)) + 0.01f);
  return w;
}

// compressed-tensors' formulas with the library's own rounding.
float quantize(const float* x, std::int64_t cols, std::vector<int>& q) {
  float largest = 0;
  for (std::int64_t k = 0; k < cols; ++k) largest = std::max(largest, std::fabs(x[k]));
  const float scale = largest == 0 ? 0x1p-23f : largest / 127.5f;
  for (std::int64_t k = 0; k < cols; ++k)
    q.push_back(static_cast<int>(std::nearbyint(std::clamp(x[k] / scale, -128.0f, 127.0f))));
  return scale;
}

// Inputs in 16 bits: q[cols] and a scale for each 32.
struct Wide {
  std::vector<int> q;
  std::vector<float> scales;
};

Wide widened(const float* x, std::int64_t cols) {
  Wide wide;
  for (std::int64_t begin = 0; begin < cols; begin += 32) {
    const float* end = x + std::min(begin + 32, cols);
    float largest = 0;
    for (const float* at = x + begin; at < end; ++at) largest = std::max(largest, std::fabs(*at));
    const volatile float inverse = largest < 0x1p-100f ? 0.0f : 32639.0f / largest;
    wide.scales.push_back(largest < 0x1p-100f ? 0.0f : largest / 32639.0f);
    for (const float* at = x + begin; at < end; ++at) {
      const volatile float scaled = *at * inverse;
      wide.q.push_back(static_cast<int>(std::nearbyint(scaled)));
    }
  }
  return wide;
}

// One output of blocks of codes.
float wide_product(const Case& c, const RandomWeight& w, std::int64_t row, const Wide& x) {
  volatile float total = 0;
  const std::int64_t step = c.group == 16 ? 16 : 32, start = row * c.shape.cols;
  for (std::int64_t group = 0; group < c.shape.cols; group += c.group)
    for (std::int64_t k = group; k < group + c.group; k += step) {
      const auto block = static_cast<std::size_t>((start + group) / c.group);
      std::int64_t sum = 0, of_input = 0;
      for (std::int64_t i = k; i < std::min(k + step, group + c.group); ++i) {
        const int q = x.q[static_cast<std::size_t>(i)];
        of_input += q;
        sum += w.codes[static_cast<std::size_t>(start + i)] * q;
      }
      const float scale = x.scales[static_cast<std::size_t>(k / 32)];
      const volatile float scaled = static_cast<float>(sum) * w.scales[block];
      total = std::fma(scaled, scale, static_cast<float>(total));
      if (!c.zeros) continue;
      const volatile float shifted = static_cast<float>(of_input) * scale;
      total = std::fma(w.shifts[block], shifted, static_cast<float>(total));
    }
  return total;
}

float rounded_to_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000);
}

// Of a row in bf16, the second column of each pair first.
float bf16_product(const float* w, const float* x, std::int64_t cols) {
  float value = 0;
  for (std::int64_t k = 0; k < cols; k += 2) {
    if (k + 1 < cols) value = std::fma(w[k + 1], rounded_to_bf16(x[k + 1]), value);
    value = std::fma(w[k], rounded_to_bf16(x[k]), value);
  }
  return value;
}

// The same in tiles of 32 columns: one chain of the even ones, one of the odd ones, then both and the sum so far.
float tile_product(const float* w, const float* x, std::int64_t cols) {
  float value = 0;
  for (std::int64_t begin = 0; begin < cols; begin += 32) {
    float chains[2] = {};
    for (std::int64_t k = begin; k < std::min(begin + 32, cols); ++k)
      chains[k % 2] = std::fma(rounded_to_bf16(x[k]), w[k], chains[k % 2]);
    value += chains[0] + chains[1];
  }
  return value;
}

// One output of i4 or t4, of codes of inputs with one scale or one for each group.
float grouped_product(const Case& c, const RandomWeight& w, std::int64_t r, const std::vector<int>& q,
                      const std::vector<float>& scales) {
  volatile float value = 0;  // every step rounded to float
  const std::int64_t groups = (c.shape.cols + c.group - 1) / c.group;
  for (std::int64_t begin = 0; begin < c.shape.cols; begin += c.group) {
    int sum = 0;
    for (std::int64_t k = begin; k < std::min(begin + c.group, c.shape.cols); ++k)
      sum += static_cast<int>(w.values[static_cast<std::size_t>(r * c.shape.cols + k)]) * q[static_cast<std::size_t>(k)];
    const float group_scale = w.scales[static_cast<std::size_t>(r * groups + begin / c.group)];
    const auto old = static_cast<float>(value);
    if (c.input_groups) {
      const volatile float part = static_cast<float>(sum) * group_scale;
      value = std::fma(part, scales[static_cast<std::size_t>(begin / c.group)], old);
    } else {
      value = std::fma(static_cast<float>(sum), group_scale, old);
    }
  }
  if (!c.input_groups) value = value * scales[0];
  return value;
}

// A weight, inputs, and their products, before bias and whatever they are added to.
struct Product {
  RandomWeight weight;
  std::vector<float> x;       // [tokens][cols]
  std::vector<float> values;  // [tokens][rows]
  std::vector<float> rests;   // likewise; 0 where a token has none
  std::vector<bool> has_rests;
};

// What the codes of a row leave of it.
std::vector<float> rest_of(const float* row, const Case& c, const std::vector<int>& q, const std::vector<float>& scales) {
  std::vector<float> rest(row, row + c.shape.cols);
  for (std::size_t k = 0; k < rest.size(); ++k) {
    const volatile float coded = static_cast<float>(q[k]) * scales[k / static_cast<std::size_t>(c.group)];
    rest[k] -= coded;
  }
  return rest;
}

// One output of i8, of codes of inputs with one scale or one for each group.
float code_product(const Case& c, const RandomWeight& w, std::int64_t r, const std::vector<int>& q,
                   const std::vector<float>& scales) {
  volatile float value = 0;  // every step rounded to float
  const std::int64_t shared = c.input_groups ? c.group : c.shape.cols;
  const float row_scale = w.scales[static_cast<std::size_t>(r)];
  for (std::int64_t begin = 0; begin < c.shape.cols; begin += shared) {
    std::int64_t sum = 0;
    for (std::int64_t k = begin; k < begin + shared; ++k)
      sum += static_cast<std::int64_t>(w.values[static_cast<std::size_t>(r * c.shape.cols + k)]) * q[static_cast<std::size_t>(k)];
    const volatile float both = scales[0] * row_scale;
    value = c.input_groups ? std::fma(static_cast<float>(sum), scales[static_cast<std::size_t>(begin / shared)],
                                      static_cast<float>(value))
                           : static_cast<float>(sum) * both;
  }
  return c.input_groups ? value * row_scale : static_cast<float>(value);
}

float float_product(Isa isa, Dtype dtype, const float* w, const float* x, std::int64_t cols) {
  if (dtype == Dtype::bf16 && isa == Isa::avx512_bf16) return bf16_product(w, x, cols);
  if (dtype == Dtype::bf16 && isa == Isa::amx) return tile_product(w, x, cols);
  float value = 0;
  for (std::int64_t k = 0; k < cols; ++k) value = std::fma(w[k], x[k], value);
  return value;
}

void add_products(Isa isa, const Case& c, Product& p) {
  const RandomWeight& w = p.weight;
  for (std::int64_t t = 0; t < c.shape.tokens; ++t) {
    const float* row = p.x.data() + t * c.shape.cols;
    const auto codes_of = [&](const float* from, std::vector<int>& q) {
      std::vector<float> scales;
      const std::int64_t shared = c.input_groups ? c.group : c.shape.cols;
      for (std::int64_t begin = 0; begin < c.shape.cols; begin += shared)
        scales.push_back(quantize(from + begin, std::min(shared, c.shape.cols - begin), q));
      return scales;
    };
    std::vector<int> q, rest_q;
    std::vector<float> scales, rest_scales;
    if (integers(c.dtype)) scales = codes_of(row, q);
    const Wide wide = in_blocks(c.dtype) ? widened(row, c.shape.cols) : Wide{};
    p.has_rests.push_back(c.dtype == Dtype::t4 && has_rest(row, c.shape.cols));
    if (p.has_rests.back()) rest_scales = codes_of(rest_of(row, c, q, scales).data(), rest_q);
    for (std::int64_t r = 0; r < c.shape.rows; ++r) {
      float value;
      if (c.dtype == Dtype::i8)
        value = code_product(c, w, r, q, scales);
      else if (integers(c.dtype))
        value = grouped_product(c, w, r, q, scales);
      else if (in_blocks(c.dtype))
        value = wide_product(c, w, r, wide);
      else
        value = float_product(isa, c.dtype, w.values.data() + r * c.shape.cols, row, c.shape.cols);
      p.values.push_back(value);
      p.rests.push_back(p.has_rests.back() ? grouped_product(c, w, r, rest_q, rest_scales) : 0);
    }
  }
}

Product random_product(Isa isa, const Case& c, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 1);
  Product p;
  p.weight = random_weight(c, random);
  p.x.resize(static_cast<std::size_t>(c.shape.tokens * c.shape.cols));
  for (float& v : p.x) v = normal(random);
  if (c.shape.tokens > 1) std::fill(p.x.begin(), p.x.begin() + c.shape.cols, 0.0f);
  if (c.dtype == Dtype::t4)  // rows that have a rest
    for (std::int64_t t = 2; t < c.shape.tokens; t += 5)
      p.x[static_cast<std::size_t>(t * c.shape.cols + random() % static_cast<std::uint32_t>(c.shape.cols))] = -1000;
  add_products(isa, c, p);
  return p;
}

// What shall be in y, where `y` [tokens][rows + 3] is.
std::vector<float> expected(const Case& c, const Product& p, const std::vector<float>& bias, std::vector<float> y) {
  std::size_t at = 0;
  for (std::int64_t t = 0; t < c.shape.tokens; ++t)
    for (std::int64_t r = 0; r < c.shape.rows; ++r, ++at) {
      volatile float value = p.values[at];  // every step rounded to float
      if (c.bias) value = value + bias[static_cast<std::size_t>(r)];
      float& out = y[static_cast<std::size_t>(t * (c.shape.rows + 3) + r)];
      out = c.accumulate ? value + out : static_cast<float>(value);
      if (p.has_rests[static_cast<std::size_t>(t)]) out = p.rests[at] + out;
    }
  return y;
}

void multiply(ThreadPool& pool, const Linear& linear, const float* x, std::int64_t tokens, float* y,
              std::int64_t stride, bool accumulate) {
  QuantizedBuffer buffer(tokens, linear.cols);
  const QuantizedRows quantized = buffer.rows();
  prepare_rows(linear, x, linear.cols, 0, tokens, tokens, quantized);
  const std::int64_t chunks = linear_chunks(linear, tokens);
  ChunkCounter next;
  pool.run([&](int) {
    for (std::int64_t chunk = next.take(); chunk < chunks; chunk = next.take())
      linear_chunk(linear, x, linear.cols, &quantized, tokens, y, stride, accumulate, chunk);
  });
}

Weight given(const Case& c, const RandomWeight& w, const float* bias) {
  if (c.stored) {
    Weight weight = stored_weight(*c.stored, w.bytes.data(), c.shape.rows, c.shape.cols);
    weight.bias = bias;
    return weight;
  }
  if (c.dtype == Dtype::t4) {
    Weight weight = {w.bytes.data(), c.dtype, c.shape.rows, c.shape.cols};
    weight.bias = bias;
    weight.input_group = kTrellisGroup;
    return weight;
  }
  return {w.data(c.dtype), c.dtype, c.shape.rows, c.shape.cols, w.scales.empty() ? nullptr : w.scales.data(),
          c.zeros && integers(c.dtype) ? w.zeros.data() : nullptr, c.group, bias,
          c.zeros && in_blocks(c.dtype) ? w.shifts.data() : nullptr, 0, c.input_groups ? c.group : 0};
}

bool unpacks(const Linear& linear, const Case& c, const RandomWeight& w) {
  std::vector<float> row(static_cast<std::size_t>(c.shape.cols));
  for (std::int64_t r = 0; r < c.shape.rows; ++r) {
    unpack_row(linear, r, row.data());
    for (std::int64_t k = 0; k < c.shape.cols; ++k) {
      float value = w.values[static_cast<std::size_t>(r * c.shape.cols + k)];
      if (c.dtype == Dtype::i8) value *= w.scales[static_cast<std::size_t>(r)];
      if (c.dtype == Dtype::i4) value *= w.scales[static_cast<std::size_t>((r * c.shape.cols + k) / c.group)];
      if (c.dtype == Dtype::t4)
        value *= w.scales[static_cast<std::size_t>(r * ((c.shape.cols + c.group - 1) / c.group) + k / c.group)];
      if (value != row[static_cast<std::size_t>(k)]) return false;
    }
  }
  return true;
}

// Whether a product comes out to the bit, with the bias and the sum of a case.
bool comes_out(ThreadPool& pool, Isa isa, const Case& c, const Product& p, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 1);
  const std::int64_t stride = c.shape.rows + 3;
  std::vector<float> y(static_cast<std::size_t>(c.shape.tokens * stride));
  std::vector<float> bias(static_cast<std::size_t>(c.shape.rows));
  for (float& v : y) v = c.accumulate ? normal(random) : NAN;
  for (float& v : bias) v = normal(random);
  const std::vector<float> want = expected(c, p, bias, y);

  const auto linear = pack_linear(pool, given(c, p.weight, c.bias ? bias.data() : nullptr), isa);
  // The last token by itself, too: it must not see its neighbours.
  const std::int64_t last = c.shape.tokens - 1;
  std::vector<float> alone(y.begin() + last * stride, y.end());
  multiply(pool, *linear, p.x.data(), c.shape.tokens, y.data(), stride, c.accumulate);
  multiply(pool, *linear, p.x.data() + last * c.shape.cols, 1, alone.data(), stride, c.accumulate);
  return std::memcmp(alone.data(), y.data() + last * stride, alone.size() * sizeof(float)) == 0 &&
         std::memcmp(y.data(), want.data(), y.size() * sizeof(float)) == 0 && unpacks(*linear, c, p.weight);
}

// Runs cases and counts them.
class Cases {
 public:
  Cases(ThreadPool& pool, Isa isa, std::mt19937& random) : pool_(pool), isa_(isa), random_(random) {}

  void run(const Case& c) { run(c, random_product(isa_, c, random_)); }

  // One product with a bias and without, added to something and not.
  void run_all(Case c) {
    const Product product = random_product(isa_, c, random_);
    for (int options = 0; options < 4; ++options) {
      c.bias = (options & 1) != 0;
      c.accumulate = (options & 2) != 0;
      run(c, product);
    }
  }

  int made = 0, failed = 0;

 private:
  void run(const Case& c, const Product& product) {
    ++made;
    if (comes_out(pool_, isa_, c, product, random_)) return;
    ++failed;
    std::printf("%s: dtype %d%s%s, groups of %ld, zeros %d, of inputs %d, %ld x %ld x %ld, bias %d, added up %d: differs\n",
                std::string(isa_name(isa_)).c_str(), static_cast<int>(c.dtype), c.stored ? " from " : "",
                c.stored ? layout_of(*c.stored).name : "", static_cast<long>(c.group), c.zeros, c.input_groups,
                static_cast<long>(c.shape.tokens), static_cast<long>(c.shape.rows), static_cast<long>(c.shape.cols), c.bias,
                c.accumulate);
  }

  ThreadPool& pool_;
  Isa isa_;
  std::mt19937& random_;
};

constexpr Shape kShapes[] = {{1, 1, 1},     {1, 16, 4},   {1, 64, 33},   {2, 65, 257}, {5, 130, 31},
                             {6, 96, 300},  {7, 81, 130}, {13, 64, 515}, {64, 33, 140}, {129, 70, 67},
                             {3, 17, 2100}, {31, 80, 1100}, {255, 33, 64}};

// With columns enough for whole groups of so many; 0: a row is one.
Shape in_whole(const Shape& shape, std::int64_t group) {
  const std::int64_t size = group ? group : shape.cols;
  return {shape.tokens, shape.rows, (shape.cols + size - 1) / size * size};
}

void run_rows(Cases& cases) {
  for (Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::i8})
    for (const Shape& shape : kShapes) cases.run_all({dtype, shape, false, false});
}

// Several blocks of tokens, of columns, and tasks of 16 panels (kernels/linear/kernel.h), where tiles are multiplied.
void run_large(Cases& cases, Cases& cases_alone) {
  for (Dtype dtype : {Dtype::bf16, Dtype::i8})
    for (const Shape& shape : {Shape{1020, 70, 100}, Shape{145, 70, 7000}}) cases.run({dtype, shape, true, true});
  cases_alone.run({Dtype::i8, {130, 800, 7200}, true, true});
}

void run_groups(Cases& cases) {
  for (const auto& [dtype, group] : {std::pair<Dtype, std::int64_t>{Dtype::i4, 32}, {Dtype::i4, 64}, {Dtype::i4, 128},
                                     {Dtype::i8, 64}, {Dtype::i8, 128}, {Dtype::i8, 1024},
                                     {Dtype::b8, 16}, {Dtype::b8, 32}, {Dtype::b8, 128}, {Dtype::b6, 16},
                                     {Dtype::b6, 32}, {Dtype::b6, 64}, {Dtype::b6, 0}, {Dtype::b4, 16}, {Dtype::b4, 32},
                                     {Dtype::b4, 64}})
    for (const Shape& shape : kShapes)
      for (int options = 0; options < (dtype == Dtype::i4 ? 4 : dtype == Dtype::i8 ? 1 : 2); ++options)
        cases.run_all({dtype, in_whole(shape, group), false, false, group ? group : shape.cols, (options & 1) != 0,
                       dtype == Dtype::i8 || (options & 2) != 0});
}

// Rows whose last group is short, and whole ones, which tiles are multiplied for, of several blocks of columns.
void run_trellis(Cases& cases) {
  for (const Shape& shape : kShapes) {
    const std::int64_t whole = in_whole(shape, kTrellisGroup).cols;
    for (std::int64_t columns : {shape.cols, shape.cols + kTrellisGroup, whole, whole + 1024})
      cases.run_all({Dtype::t4, in_whole({shape.tokens, shape.rows, columns}, 32), false, false, kTrellisGroup, false, true});
  }
}

void run_stored(Cases& cases) {
  for (BlockType type : {BlockType::q4_0, BlockType::q4_1, BlockType::q5_0, BlockType::q5_1, BlockType::q8_0,
                         BlockType::q4_k, BlockType::q5_k, BlockType::q6_k})
    for (const Shape& shape : kShapes) {
      const BlockLayout& layout = layout_of(type);
      const Shape whole = in_whole(shape, layout.weights);
      const Dtype dtype = stored_weight(type, nullptr, whole.rows, whole.cols).dtype;
      cases.run({dtype, whole, true, false, layout.group, layout.minima, false, type});
    }
}

// Nothing is outweighed by what is an eighth of the sum, or is not a number.
int has_rest_failures() {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  int failures = 0;
  for (const std::int64_t cols : {1, 15, 16, 31, 64, 1537}) {
    std::vector<float> x(static_cast<std::size_t>(cols), 0.0f);
    const auto expect = [&](bool want) { failures += has_rest(x.data(), cols) != want; };
    expect(false);
    for (std::size_t at : {std::size_t{0}, x.size() / 2, x.size() - 1}) {
      std::fill(x.begin(), x.end(), 0.0f);
      x[at] = -3;
      expect(true);
      x[at] = nan;
      expect(false);
      x[at] = inf;
      expect(false);
    }
    std::fill(x.begin(), x.end(), 1.0f);
    expect(cols < 8);
    x[0] = static_cast<float>(cols) / 8;  // 8 times that is cols, the sum of all a little more or less than that
    expect(x[0] < 1);
  }
  return failures;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<Isa> isas = chosen_isas(argc, argv);
  int cases = 0, failures = has_rest_failures();
  ThreadPool pool(2), one_thread(1);
  std::mt19937 random(1);
  for (Isa isa : isas) {
    Cases by_all(pool, isa, random), alone(one_thread, isa, random);
    run_rows(by_all);
    if (isa == Isa::amx) run_large(by_all, alone);
    run_groups(by_all);
    run_trellis(by_all);
    run_stored(by_all);
    cases += by_all.made + alone.made;
    failures += by_all.failed + alone.failed;
  }
  std::printf("%d cases, %d failures\n", cases, failures);
  return failures != 0;
}
