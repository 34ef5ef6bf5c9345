// Every thread goes down some columns; sums are float32 for a few tokens, then float64.
#include "lichen/columns.h"

#include <algorithm>
#include <cmath>

namespace lichen {
namespace {

constexpr std::int64_t kColumns = 128;  // that a thread takes: their sums stay in the nearest cache
constexpr std::int64_t kTokens = 64;

struct Sums {
  float largest[kColumns], absolute[kColumns], squares[kColumns];
};

void add_tokens(const float* x, std::int64_t stride, std::int64_t tokens, std::int64_t columns, Sums& sums) {
  for (std::int64_t t = 0; t < tokens; ++t, x += stride)
    for (std::int64_t i = 0; i < columns; ++i) {
      const float size = std::fabs(x[i]);
      sums.largest[i] = std::max(sums.largest[i], size);
      sums.absolute[i] += size;
      sums.squares[i] += size * size;
    }
}

}  // namespace

void add_columns(ThreadPool& pool, const float* x, std::int64_t tokens, std::int64_t width, float* largest,
                 double* absolute, double* squares) {
  ChunkCounter chunks;
  pool.run([&](int) {
    for (std::int64_t begin; (begin = chunks.take() * kColumns) < width;) {
      const std::int64_t columns = std::min(kColumns, width - begin);
      for (std::int64_t first = 0; first < tokens; first += kTokens) {
        Sums sums = {};
        add_tokens(x + first * width + begin, width, std::min(kTokens, tokens - first), columns, sums);
        for (std::int64_t i = 0; i < columns; ++i) {
          largest[begin + i] = std::max(largest[begin + i], sums.largest[i]);
          absolute[begin + i] += static_cast<double>(sums.absolute[i]);
          squares[begin + i] += static_cast<double>(sums.squares[i]);
        }
      }
    }
  });
}

}  // namespace lichen
