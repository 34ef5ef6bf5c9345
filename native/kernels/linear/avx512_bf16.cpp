// bfloat16 weights in 512 bits: vdpbf16ps adds two products of bf16 to each float32 lane, the odd column's
// first, each in one rounding to nearest, with subnormal numbers taken and given as zeros whatever MXCSR
// says (Intel SDM, VDPBF16PS). Inputs are rounded to bf16, as the runtimes of bfloat16 models do: as a sum
// of two bf16 numbers they would lose nothing, and gain nothing, since vdpbf16ps starts as often as vfmadd.
#include <immintrin.h>

#include "kernels/linear/kernel.h"

namespace lichen {
namespace {

struct Bf16 {
  using Stored = uint16_t;
  using Input = uint16_t;
  using Lane = float;
  using Sum = __m512;
  using Weights = __m512bh;
  using Inputs = __m512bh;
  static constexpr int kDepth = 2, kPanels = 4, kTokens = 6;

  static Sum zero() { return _mm512_setzero_ps(); }
  static Sum load_sum(const float* from) { return _mm512_loadu_ps(from); }
  static void store_sum(float* to, Sum sum) { _mm512_storeu_ps(to, sum); }
  static Weights load(const uint16_t* from) {
    return reinterpret_cast<Weights>(_mm512_load_si512(from));
  }
  static Inputs spread(const uint16_t* x) {
    int32_t two;
    __builtin_memcpy(&two, x, sizeof two);
    return reinterpret_cast<Inputs>(_mm512_set1_epi32(two));
  }
  static Sum add_product(Sum sum, Weights w, Inputs x) { return _mm512_dpbf16_ps(sum, w, x); }
};

#include "kernels/linear/tile.inc.h"

// Columns rounded at a time; their tokens stay in the first-level cache.
constexpr int64_t kStretch = 256;

// x [tokens][count] rounded to [tokens][kStretch]; an odd column is followed by a zero.
void round_inputs(const float* x, int64_t x_stride, int64_t tokens, int64_t count, uint16_t* rounded) {
  for (int64_t t = 0; t < tokens; ++t, x += x_stride, rounded += kStretch)
    for (int64_t k = 0; k < count; k += 16) {
      const int64_t left = count - k;
      const __mmask16 there = left >= 16 ? 0xffff : static_cast<__mmask16>((1 << left) - 1);
      const __m256bh half = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(there, x + k));
      _mm256_store_si256(reinterpret_cast<__m256i*>(rounded + k), reinterpret_cast<__m256i>(half));
    }
}

// From P panels to the outputs of all tokens; `more` panels follow.
template <int P>
void multiply_panels(const LinearTask& task, int64_t panel, bool more, uint16_t* rounded, float* sums) {
  const char* weights = task.weights + panel * task.panel_bytes;
  const int64_t tiles = ceil_div(task.tokens, Bf16::kTokens);
  const int64_t tile_tokens = task.tokens / tiles, longer_tiles = task.tokens % tiles;
  constexpr int64_t kColumnBytes = kRows * sizeof(uint16_t);
  for (int64_t begin = 0; begin < task.cols; begin += kStretch) {
    const int64_t count = smaller(kStretch, task.cols - begin), left = task.cols - begin - count;
    round_inputs(task.x + begin, task.x_stride, task.tokens, count, rounded);
    // Next comes the rest of these panels, or the start of those behind them.
    const char* next = left > 0 ? weights + (begin + count) * kColumnBytes : weights + P * task.panel_bytes;
    const int64_t next_columns = smaller(kStretch, left > 0 ? left : more ? task.cols : 0);
    const int64_t lines = ceil_div(next_columns * kColumnBytes, kLine);
    const int64_t tile_lines = ceil_div(lines, tiles);
    const int64_t steps = ceil_div(count, Bf16::kDepth);
    const int64_t lines_per_burst = ceil_div(tile_lines, ceil_div(steps, kStepsPerBurst));
    int64_t token = 0;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t tokens = tile_tokens + (i < longer_tiles);
      const int64_t line = smaller(i * tile_lines, lines);
      any_tile<Bf16, P, Bf16::kTokens>(
          tokens, weights + begin * kColumnBytes, task.panel_bytes, rounded + token * kStretch, kStretch,
          steps, begin == 0, sums + token * P * kRows,
          {next + line * kLine, smaller(tile_lines, lines - line), lines_per_burst});
      token += tokens;
    }
  }
  for (int64_t t = 0; t < task.tokens; ++t)
    for (int64_t p = 0; p < P; ++p)
      finish_panel(sums + (t * P + p) * kRows, task, t, (panel + p) * kRows);
}

}  // namespace

void linear_bf16_avx512_bf16(const LinearTask& task) {
  alignas(64) float sums[kTaskTokens * Bf16::kPanels * kRows];
  alignas(64) uint16_t rounded[kTaskTokens * kStretch];
  constexpr int P = Bf16::kPanels;
  int64_t panel = 0;
  // One by one for one token only: inputs are rounded anew for each P panels.
  for (; task.tokens > 1 && panel + P <= task.panels; panel += P)
    multiply_panels<P>(task, panel, panel + 2 * P <= task.stored_panels, rounded, sums);
  for (; panel < task.panels; ++panel)
    multiply_panels<1>(task, panel, panel + 1 < task.stored_panels, rounded, sums);
}

}  // namespace lichen
