// Products of matrices in panels (after Goto and van de Geijn 2008, doi 10.1145/1356052.1356053): a stretch
// of the depth is packed into panels of 48 lines, in strips, and every tile of the result meets two of
// them. The factor is built from its last block to its first, each time by one such product.
#include "lichen/matrix.h"

#include <algorithm>
#include <cmath>

#include "kernels/matrix/kernel.h"
#include "lichen/memory.h"
#include "whole.h"

namespace lichen {
namespace {

constexpr std::int64_t kStretch = 256;   // of the depth: a strip of both panels stays in the nearest cache
constexpr std::int64_t kBlockPanels = 4;  // a side of the blocks that a thread takes: 384 KiB of panels
constexpr std::int64_t kPivots = 64;      // rows of a factor that are solved one by one: they stay in near caches
constexpr std::int64_t kTogether = 256;   // and those whose products are taken out of all others at once

// One product: what the threads share.
class Product {
 public:
  Product(const MatrixKernel& kernel, const Operand& a, const Operand& b, std::int64_t depth, float sign,
          float* c, std::int64_t c_stride, Part part)
      : kernel_(kernel), a_(a), b_(b), depth_(depth), sign_(sign), c_(c), c_stride_(c_stride), part_(part),
        a_panels_(ceil_div(a.lines, kPanelLines)), b_panels_(ceil_div(b.lines, kPanelLines)),
        stretch_(std::min(kStretch, depth)),
        packed_a_(bytes(a_panels_)), packed_b_(bytes(b_panels_)) {}

  void run(ThreadPool& pool) {
    for (std::int64_t k = 0; k < depth_; k += stretch_) {
      const std::int64_t count = std::min(stretch_, depth_ - k);
      ChunkCounter packing, blocks;
      pool.run([&](int) {
        for (std::int64_t p; (p = packing.take()) < a_panels_ + b_panels_;)
          p < a_panels_ ? pack(a_, p, k, count, kernel_.rows, sign_, packed_a_)
                        : pack(b_, p - a_panels_, k, count, kernel_.columns, 1.0f, packed_b_);
        pool.barrier();
        const std::int64_t columns = ceil_div(b_panels_, kBlockPanels);
        const std::int64_t all = ceil_div(a_panels_, kBlockPanels) * columns;
        for (std::int64_t block; (block = blocks.take()) < all;)
          multiply_block(block / columns * kBlockPanels, block % columns * kBlockPanels, count);
      });
    }
  }

 private:
  static constexpr std::int64_t kSteps = 32;  // of all lines: they stay in the nearest cache

  std::size_t bytes(std::int64_t panels) const {
    return static_cast<std::size_t>(panels * stretch_ * kPanelLines) * sizeof(float);
  }

  // Steps [begin, begin + count) of a panel, in strips [count][strip]; lines past the last one are zeros.
  void pack(const Operand& from, std::int64_t panel, std::int64_t begin, std::int64_t count, std::int64_t strip,
            float sign, Scratch& to) const {
    float* out = to.as<float>() + panel * stretch_ * kPanelLines;
    for (std::int64_t first = panel * kPanelLines; first < (panel + 1) * kPanelLines; first += strip) {
      const std::int64_t lines = std::min(strip, from.lines - first);
      if (lines < strip) std::fill(out, out + count * strip, 0.0f);
      if (lines > 0) pack_strip(from, first, lines, begin, count, strip, sign, out);
      out += count * strip;
    }
  }

  static void pack_strip(const Operand& from, std::int64_t first, std::int64_t lines, std::int64_t begin,
                         std::int64_t count, std::int64_t strip, float sign, float* out) {
    const float* in = from.data + begin * from.step + first * from.stride;
    if (from.stride == 1)
      for (std::int64_t k = 0; k < count; ++k)
        for (std::int64_t i = 0; i < lines; ++i) out[k * strip + i] = sign * in[k * from.step + i];
    else
      for (std::int64_t some = 0; some < count; some += kSteps)
        for (std::int64_t i = 0; i < lines; ++i)
          for (std::int64_t k = some; k < std::min(some + kSteps, count); ++k)
            out[k * strip + i] = sign * in[k * from.step + i * from.stride];
  }

  void multiply_block(std::int64_t first_a, std::int64_t first_b, std::int64_t depth) const {
    if (part_ == Part::lower && first_b > first_a) return;
    const std::int64_t last_a = std::min(first_a + kBlockPanels, a_panels_);
    const std::int64_t last_b = std::min(first_b + kBlockPanels, b_panels_);
    for (std::int64_t j = first_b; j < last_b; ++j)
      for (std::int64_t i = first_a; i < last_a; ++i) {
        if (part_ == Part::lower && j > i) continue;
        multiply_panels(packed_a_.as<float>() + i * stretch_ * kPanelLines,
                        packed_b_.as<float>() + j * stretch_ * kPanelLines, depth, i * kPanelLines, j * kPanelLines);
      }
  }

  void multiply_panels(const float* a, const float* b, std::int64_t depth, std::int64_t row,
                       std::int64_t column) const {
    on_whole_tile<kPanelLines>(c_ + row * c_stride_ + column, c_stride_, a_.lines - row, b_.lines - column,
                               [&](float* tile, std::int64_t stride) { kernel_.multiply(a, b, depth, tile, stride); });
  }

  const MatrixKernel& kernel_;
  const Operand a_, b_;
  const std::int64_t depth_;
  const float sign_;
  float* const c_;
  const std::int64_t c_stride_;
  const Part part_;
  const std::int64_t a_panels_, b_panels_, stretch_;
  Scratch packed_a_, packed_b_;
};

// The block of pivots itself, row by row from the last: s = S^T S, lower triangles. Row m, once divided by
// the root of its pivot, is taken out of all rows above it.
bool factor_pivots(std::int64_t count, float* s, std::int64_t stride) {
  for (std::int64_t m = count - 1; m >= 0; --m) {
    float* row = s + m * stride;
    if (!(row[m] > 0.0f) || !std::isfinite(row[m])) return false;
    const float root = std::sqrt(row[m]);
    for (std::int64_t i = 0; i < m; ++i) row[i] /= root;
    row[m] = root;
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j <= i; ++j) s[i * stride + j] -= row[i] * row[j];
  }
  return true;
}

// Columns [begin, end) left of the pivots: x becomes y with S^T y = x, rows from the last to the first.
void solve_columns(std::int64_t count, const float* s, std::int64_t stride, float* x, std::int64_t begin,
                   std::int64_t end) {
  for (std::int64_t m = count - 1; m >= 0; --m) {
    float* row = x + m * stride;
    for (std::int64_t j = begin; j < end; ++j) row[j] /= s[m * stride + m];
    for (std::int64_t i = 0; i < m; ++i) {
      const float factor = s[m * stride + i];
      float* above = x + i * stride;
      for (std::int64_t j = begin; j < end; ++j) above[j] -= factor * row[j];
    }
  }
}

// Rows [begin, end) of the factor, of which all rows behind them are taken out already.
bool factor_rows(ThreadPool& pool, Isa isa, std::int64_t n, float* h, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kColumns = 128;
  while (end > begin) {
    const std::int64_t first = std::max(begin, end - kPivots), count = end - first;
    float* rows = h + first * n;
    if (!factor_pivots(count, rows + first, n)) return false;
    ChunkCounter chunks;
    pool.run([&](int) {
      for (std::int64_t j; (j = chunks.take() * kColumns) < first;)
        solve_columns(count, rows + first, n, rows, j, std::min(first, j + kColumns));
    });
    if (first > begin)
      add_product(pool, isa, {rows + begin, n, 1, first - begin}, {rows, n, 1, first}, count, -1.0f, h + begin * n, n);
    end = first;
  }
  return true;
}

}  // namespace

void add_product(ThreadPool& pool, Isa isa, const Operand& a, const Operand& b, std::int64_t depth,
                 float sign, float* c, std::int64_t c_stride, Part part) {
  Product(matrix_kernel(isa), a, b, depth, sign, c, c_stride, part).run(pool);
}

bool factor(ThreadPool& pool, Isa isa, std::int64_t n, float* h) {
  for (std::int64_t end = n; end > 0;) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - kTogether);
    if (!factor_rows(pool, isa, n, h, begin, end)) return false;
    const Operand solved = {h + begin * n, n, 1, begin};
    if (begin > 0) add_product(pool, isa, solved, solved, end - begin, -1.0f, h, n, Part::lower);
    end = begin;
  }
  for (std::int64_t row = 0; row < n; ++row) std::fill(h + row * n + row + 1, h + (row + 1) * n, 0.0f);
  return true;
}

}  // namespace lichen
