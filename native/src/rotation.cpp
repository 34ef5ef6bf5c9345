// 16 vectors at a time, side by side, so that every step is the same for whether they are rows or columns.
#include "lichen/rotation.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "lichen/memory.h"

namespace lichen {
namespace {

constexpr std::int64_t kTogether = 16;

// [m][m], with the factor that makes Hadamard's matrix of side `power` orthogonal.
std::vector<float> hartley(std::int64_t m, std::int64_t power) {
  const double turn = 2 * 3.14159265358979323846 / static_cast<double>(m);
  const double scale = 1 / std::sqrt(static_cast<double>(m * power));
  std::vector<float> matrix;
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < m; ++j) {
      const double angle = turn * static_cast<double>(i * j % m);
      matrix.push_back(static_cast<float>((std::cos(angle) + std::sin(angle)) * scale));
    }
  return matrix;
}

class Rotation {
 public:
  Rotation(std::int64_t length, const float* signs)
      : length_(length), power_(length & -length), odd_(length / power_), mix_(hartley(odd_, power_)), signs_(signs) {}

  // `count` vectors, number v from `x + v * apart` on, its elements `step` floats from each other.
  void apply(float* x, std::int64_t count, std::int64_t apart, std::int64_t step, float* tile, float* mixed) const {
    for (std::int64_t i = 0; i < length_; ++i)
      for (std::int64_t v = 0; v < kTogether; ++v)
        tile[i * kTogether + v] = v < count ? x[v * apart + i * step] * signs_[i] : 0.0f;
    for (std::int64_t half = 1; half < power_; half *= 2) butterflies(tile, half);
    mix(tile, mixed);
    for (std::int64_t i = 0; i < length_; ++i)
      for (std::int64_t v = 0; v < count; ++v) x[v * apart + i * step] = mixed[i * kTogether + v];
  }

 private:
  void butterflies(float* tile, std::int64_t half) const {
    for (std::int64_t begin = 0; begin < length_; begin += 2 * half) {
      float* a = tile + begin * kTogether;
      float* b = a + half * kTogether;
      for (std::int64_t i = 0; i < half * kTogether; ++i) {
        const float sum = a[i] + b[i], difference = a[i] - b[i];
        a[i] = sum;
        b[i] = difference;
      }
    }
  }

  void mix(const float* tile, float* mixed) const {
    std::fill(mixed, mixed + length_ * kTogether, 0.0f);
    const std::int64_t width = power_ * kTogether;
    for (std::int64_t to = 0; to < odd_; ++to)
      for (std::int64_t from = 0; from < odd_; ++from) {
        const float factor = mix_[static_cast<std::size_t>(from * odd_ + to)];
        const float* in = tile + from * width;
        float* out = mixed + to * width;
        for (std::int64_t i = 0; i < width; ++i) out[i] += factor * in[i];
      }
  }

  std::int64_t length_, power_, odd_;
  std::vector<float> mix_;
  const float* signs_;
};

}  // namespace

void rotate(ThreadPool& pool, std::int64_t outer, std::int64_t length, std::int64_t inner, const float* signs,
            float* x) {
  const Rotation rotation(length, signs);
  std::vector<AlignedBuffer> memory;
  const std::int64_t tile = length * kTogether;
  for (int i = 0; i < pool.size(); ++i) memory.emplace_back(static_cast<std::size_t>(2 * tile) * sizeof(float));
  // Vectors that begin next to each other where there are several, else of neighbouring rows.
  const bool rows = inner == 1;
  const std::int64_t lines = rows ? 1 : outer, across = rows ? outer : inner, apart = rows ? length : 1;
  const std::int64_t tiles = (across + kTogether - 1) / kTogether;
  ChunkCounter chunks;
  pool.run([&](int thread) {
    auto* work = memory[static_cast<std::size_t>(thread)].as<float>();
    for (std::int64_t chunk; (chunk = chunks.take()) < lines * tiles;) {
      const std::int64_t line = chunk / tiles, first = chunk % tiles * kTogether;
      rotation.apply(x + line * length * inner + first * apart, std::min(kTogether, across - first), apart, inner,
                     work, work + tile);
    }
  });
}

}  // namespace lichen
