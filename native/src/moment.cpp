// Columns are rounded into panels of 32, all tokens of four together; every tile of the moment meets two of them.
#include "lichen/moment.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/moment/kernel.h"
#include "lichen/memory.h"
#include "whole.h"

namespace lichen {
namespace {

constexpr std::int64_t kChunks = 2;       // of kMomentTokens, for each reading of the sums so far
constexpr std::int64_t kBlockPanels = 8;  // a side of the blocks that a thread takes: 128 KiB of codes
constexpr std::int64_t kPanelCodes = kMomentTokens * kMomentLines;
constexpr float kLeast = 1e-30f;  // whose square is nothing

// Up to kChunks * kMomentTokens tokens of an input, rounded.
class Rounded {
 public:
  Rounded(std::int64_t width, std::int64_t stride)
      : width_(width), stride_(stride), panels_(ceil_div(width, kMomentLines)), codes_(bytes<std::int8_t>(kPanelCodes)),
        raised_(bytes<std::uint8_t>(kPanelCodes)), raise_(bytes<std::int32_t>(kMomentLines)),
        scales_(bytes<float>(kMomentLines)) {}

  std::int64_t panels() const { return panels_; }

  MomentPanel panel(std::int64_t chunk, std::int64_t p) const {
    const std::int64_t at = chunk * panels_ + p;
    return {codes_.as<std::int8_t>() + at * kPanelCodes, raised_.as<std::uint8_t>() + at * kPanelCodes,
            raise_.as<std::int32_t>() + at * kMomentLines, scales_.as<float>() + at * kMomentLines};
  }

  // Panel p of a chunk becomes tokens x, rows of it; those up to whole eights are zeros.
  void round(std::int64_t chunk, std::int64_t p, const float* x, std::int64_t tokens) {
    const std::int64_t at = chunk * panels_ + p, first = p * kMomentLines;
    const std::int64_t lines = std::min(kMomentLines, width_ - first);
    float* scales = scales_.as<float>() + at * kMomentLines;
    float most[kMomentLines] = {}, inverse[kMomentLines];
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t i = 0; i < lines; ++i) most[i] = std::max(most[i], std::fabs(x[t * stride_ + first + i]));
    for (std::int64_t i = 0; i < kMomentLines; ++i) {
      scales[i] = most[i] / kMomentLargest;
      inverse[i] = most[i] > kLeast ? kMomentLargest / most[i] : 0.0f;
    }
    auto* codes = codes_.as<std::int8_t>() + at * kPanelCodes;
    auto* raised = raised_.as<std::uint8_t>() + at * kPanelCodes;
    std::int32_t sums[kMomentLines] = {};
    for (std::int64_t t = 0; t < ceil_div(tokens, 8) * 8; t += 4) {
      for (std::int64_t k = 0; k < 4; ++k) {
        std::int32_t rounded[kMomentLines] = {};
        if (t + k < tokens) round_row(x + (t + k) * stride_ + first, lines, inverse, rounded);
        for (std::int64_t i = 0; i < kMomentLines; ++i) {
          codes[t * kMomentLines + 4 * i + k] = static_cast<std::int8_t>(rounded[i]);
          raised[t * kMomentLines + 4 * i + k] = static_cast<std::uint8_t>(rounded[i] + kRaise);
          sums[i] += kRaise * rounded[i];
        }
      }
    }
    std::memcpy(raise_.as<std::int32_t>() + at * kMomentLines, sums, sizeof sums);
  }

 private:
  static constexpr std::int32_t kRaise = kMomentLargest + 1;

  template <typename T>
  std::size_t bytes(std::int64_t of_panel) const {
    return static_cast<std::size_t>(kChunks * panels_ * of_panel) * sizeof(T);
  }

  // To the nearest, halves to even: beside 1.5 * 2^23 a float has no places behind the point.
  static void round_row(const float* x, std::int64_t lines, const float* inverse, std::int32_t* rounded) {
    constexpr float kWhole = 12582912.0f;
    for (std::int64_t i = 0; i < lines; ++i) {
      const float shifted = x[i] * inverse[i] + kWhole;
      rounded[i] = static_cast<std::int32_t>(shifted - kWhole);
    }
  }

  const std::int64_t width_, stride_, panels_;
  Scratch codes_, raised_, raise_, scales_;
};

void add_tile(MomentKernel kernel, const Rounded& rounded, std::int64_t chunks, const std::int64_t* tokens,
              std::int64_t i, std::int64_t j, std::int64_t width, float* total) {
  const std::int64_t row = i * kMomentLines, column = j * kMomentLines;
  on_whole_tile<kMomentLines>(total + row * width + column, width, width - row, width - column,
                              [&](float* tile, std::int64_t stride) {
                                for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
                                  kernel(rounded.panel(chunk, i), rounded.panel(chunk, j), tokens[chunk], tile, stride);
                              });
}

}  // namespace

void add_moment(ThreadPool& pool, Isa isa, const float* x, std::int64_t stride, std::int64_t tokens, std::int64_t width,
                float* total) {
  const MomentKernel kernel = moment_kernel(isa);
  Rounded rounded(width, stride);
  const std::int64_t panels = rounded.panels(), side = ceil_div(panels, kBlockPanels);
  for (std::int64_t begin = 0; begin < tokens; begin += kChunks * kMomentTokens) {
    const std::int64_t chunks = std::min(kChunks, ceil_div(tokens - begin, kMomentTokens));
    std::int64_t counts[kChunks];
    for (std::int64_t c = 0; c < chunks; ++c)
      counts[c] = std::min(kMomentTokens, tokens - begin - c * kMomentTokens);
    ChunkCounter rounding, blocks;
    pool.run([&](int) {
      for (std::int64_t at; (at = rounding.take()) < chunks * panels;) {
        const std::int64_t c = at / panels;
        rounded.round(c, at % panels, x + (begin + c * kMomentTokens) * stride, counts[c]);
      }
      pool.barrier();
      for (std::int64_t block; (block = blocks.take()) < side * side;) {
        const std::int64_t first_i = block / side * kBlockPanels, first_j = block % side * kBlockPanels;
        if (first_j > first_i) continue;
        for (std::int64_t j = first_j; j < std::min(first_j + kBlockPanels, panels); ++j)
          for (std::int64_t i = std::max(first_i, j); i < std::min(first_i + kBlockPanels, panels); ++i)
            add_tile(kernel, rounded, chunks, counts, i, j, width, total);
      }
    });
  }
}

}  // namespace lichen
