// AMX: int8 and bf16 in tiles of 16 tokens by 16 rows of a weight, and int4 through int8.
//
// A packed panel is a run of right-hand tiles as it lies: 16 times four bytes of columns for each of its 16
// rows is a kilobyte. The left-hand tile is 16 tokens of the same 64 bytes, laid in one piece when they were
// quantized. Two by two of them make four tiles of sums, so that two tiles are loaded for every two products.
//
// What limits them is the operands' way from the second-level cache. So a task is large (see kernel.h): a block
// of columns of all its tokens stays there, while its panels pass by two at a time and the next two are fetched.
// Where there are several blocks, all sums wait in memory from one to the next.
//
// bf16: an output is one chain of tile sums, 32 columns each as TDPBF16PS adds them. That order does not depend
// on the number of tokens, so all numbers of them come here. Integer sums are exact in any order, so few tokens
// go to the VNNI kernels, which are tuned to stream.
#include <immintrin.h>

#include "kernels/linear/kernel.h"
#include "kernels/vector/spread.h"
#include "kernels/vector/tiles.inc.h"

namespace lichen {
namespace {

#include "kernels/linear/int4_512.inc.h"
#include "kernels/linear/tile.inc.h"
#include "kernels/linear/quantize_512.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/input_groups.inc.h"
#include "kernels/linear/trellis.inc.h"
#include "kernels/linear/trellis_512.inc.h"

constexpr int64_t kTileBytes = 1024;
constexpr int64_t kSumsBytes = 4 * kTileBytes;

// Of each two panels by 32 tokens of a task. Too large for some stacks.
alignas(64) thread_local char kept_sums[kTileTaskPanels / 2 * (kTileTaskTokens / (2 * kTileTokens)) * kSumsBytes];

// The piece of the weight that comes next, fetched a few lines at a time in each of its panels.
struct Next {
  const char* line;
  int64_t lines;
  int64_t lines_per_step;

  template <int P>
  void fetch(int64_t panel_bytes) {
    const int64_t count = smaller(lines_per_step, lines);
    for (int64_t i = 0; i < count; ++i, line += kLine)
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) __builtin_prefetch(line + p * panel_bytes, 0, 2);
    lines -= count;
  }
};

// The outputs that the sums at work will be written to, fetched to be written a few tokens at a time. While a store
// waits for its line, tile loads at the same offset in another page wait, too: from memory that takes longer than
// the products.
struct Outputs {
  const float* row;
  int64_t stride;
  int64_t rows;
  int64_t rows_per_step;

  template <int P>
  void fetch() {
    const int64_t count = smaller(rows_per_step, rows);
    for (int64_t i = 0; i < count; ++i, row += stride)
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) __builtin_prefetch(row + p * kRows, 1);
    rows -= count;
  }
};

struct I8 {
  template <int C, int A, int B>
  static void dot() {
    Tiles::dot_signed<C, A, B>();
  }
  static __m512 scales(const LinearTask& task, int64_t row) { return _mm512_load_ps(task.scales + row); }
  static __m512 value(const char* sums, const LinearTask& task, int64_t token, __m512 scales) {
    const __m512 both = _mm512_mul_ps(_mm512_set1_ps(task.x_scales[token]), scales);
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), both);
  }
};

struct Bf16 {
  template <int C, int A, int B>
  static void dot() {
    Tiles::dot_bf16<C, A, B>();
  }
  static __m512 scales(const LinearTask&, int64_t) { return _mm512_setzero_ps(); }
  static __m512 value(const char* sums, const LinearTask&, int64_t, __m512) { return _mm512_load_ps(sums); }
};

// M tiles of tokens by P panels of sums, which lie in memory as [M][2][16][16].
template <int M, int P>
void zero_sums() {
  Tiles::zero<0>();
  if constexpr (P > 1) Tiles::zero<1>();
  if constexpr (M > 1) Tiles::zero<2>();
  if constexpr (M > 1 && P > 1) Tiles::zero<3>();
}

template <int M, int P>
void load_sums(const char* sums) {
  Tiles::load<0>(sums, kLine);
  if constexpr (P > 1) Tiles::load<1>(sums + kTileBytes, kLine);
  if constexpr (M > 1) Tiles::load<2>(sums + 2 * kTileBytes, kLine);
  if constexpr (M > 1 && P > 1) Tiles::load<3>(sums + 3 * kTileBytes, kLine);
}

template <int M, int P>
void store_sums(char* sums) {
  Tiles::store<0>(sums, kLine);
  if constexpr (P > 1) Tiles::store<1>(sums + kTileBytes, kLine);
  if constexpr (M > 1) Tiles::store<2>(sums + 2 * kTileBytes, kLine);
  if constexpr (M > 1 && P > 1) Tiles::store<3>(sums + 3 * kTileBytes, kLine);
}

// Some columns of M tiles of tokens by P panels, added to `sums` unless they are `fresh`.
// Not inlined: the loop needs most of the general registers.
template <class Op, int M, int P>
[[gnu::noinline]] void sum_tiles(const char* tokens, int64_t tile_bytes, const char* weights, int64_t panel_bytes,
                                 int64_t steps, bool fresh, char* sums, Next& following, Outputs outputs) {
  Next next = following;
  fresh ? zero_sums<M, P>() : load_sums<M, P>(sums);
  for (int64_t step = 0; step < steps; ++step) {
    next.fetch<P>(panel_bytes);
    outputs.fetch<P>();
    Tiles::load<6>(weights + step * kTileBytes, kLine);
    Tiles::load<4>(tokens + step * kTileBytes, kLine);
    Op::template dot<0, 4, 6>();
    if constexpr (P > 1) {
      Tiles::load<7>(weights + panel_bytes + step * kTileBytes, kLine);
      Op::template dot<1, 4, 7>();
    }
    if constexpr (M > 1) {
      Tiles::load<5>(tokens + tile_bytes + step * kTileBytes, kLine);
      Op::template dot<2, 5, 6>();
    }
    if constexpr (M > 1 && P > 1) Op::template dot<3, 5, 7>();
  }
  store_sums<M, P>(sums);
  following = next;
}

// Columns in blocks of whole steps, as even as they can be.
struct Blocks {
  int64_t steps, count;

  int64_t start(int64_t block) const { return steps * block / count; }
  int64_t size(int64_t block) const { return start(block + 1) - start(block); }
};

// Some steps of all tokens of a task, where they come in it, and whether its sums wait for more.
struct Pass {
  int64_t step, steps;
  bool first, last;
  bool keeps() const { return !first || !last; }
};

// From the sums of M tiles of tokens by P panels to their outputs.
template <class Op, int M, int P>
void finish_tiles(const LinearTask& task, int64_t tile, int64_t panel, const char* sums) {
  const int64_t token = tile * kTileTokens, count = smaller(M * kTileTokens, task.tokens - token);
  for (int64_t p = 0; p < P; ++p) {
    const int64_t row = (panel + p) * kRows, rows = task.rows - row;
    const __mmask16 there = static_cast<__mmask16>(rows >= kRows ? 0xffff : (1 << rows) - 1);
    const __m512 scales = Op::scales(task, row);
    for (int64_t t = 0; t < count; ++t) {
      const char* of_token = sums + (t / kTileTokens * 2 + p) * kTileBytes + t % kTileTokens * kLine;
      float* y = task.y + (token + t) * task.y_stride + row;
      __m512 value = Op::value(of_token, task, token + t, scales);
      if (task.bias) value = _mm512_add_ps(value, _mm512_load_ps(task.bias + row));
      if (task.accumulate) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(there, y));
      _mm512_mask_storeu_ps(y, there, value);
    }
  }
}

template <class Op, int M, int P>
void multiply_tiles(const LinearTask& task, const Pass& pass, int64_t tile, int64_t panel, const char* weights,
                    int64_t panel_bytes, Next& next) {
  const int64_t pairs = ceil_div(task.tokens, 2 * kTileTokens);
  char* sums = kept_sums + (pass.keeps() ? panel / 2 * pairs + tile / 2 : 0) * kSumsBytes;
  const char* tokens = task.tiles + tile * task.tile_bytes + pass.step * kTileBytes;
  const int64_t token = tile * kTileTokens, count = smaller(M * kTileTokens, task.tokens - token);
  const Outputs outputs = {task.y + token * task.y_stride + panel * kRows, task.y_stride, pass.last ? count : 0,
                           ceil_div(count, pass.steps)};
  sum_tiles<Op, M, P>(tokens, task.tile_bytes, weights, panel_bytes, pass.steps, pass.first, sums, next, outputs);
  if (pass.last) finish_tiles<Op, M, P>(task, tile, panel, sums);
}

// P panels by all tokens; `weights` are the first panel's at this pass's columns.
template <class Op, int P>
void multiply_panels(const LinearTask& task, const Pass& pass, int64_t panel, const char* weights,
                     int64_t panel_bytes, Next next) {
  const int64_t tiles = ceil_div(task.tokens, kTileTokens);
  next.lines_per_step = ceil_div(next.lines, pass.steps * ceil_div(tiles, 2));
  int64_t tile = 0;
  for (; tile + 2 <= tiles; tile += 2)
    multiply_tiles<Op, 2, P>(task, pass, tile, panel, weights, panel_bytes, next);
  if (tile < tiles) multiply_tiles<Op, 1, P>(task, pass, tile, panel, weights, panel_bytes, next);
}

// What follows `panels` of them from `panel` on in a block: the next panels, the next block, or the next task.
Next piece_after(const LinearTask& task, const Blocks& blocks, int64_t block, int64_t panel, int64_t panels) {
  panel += panels;
  if (panel >= task.panels) {
    const bool another = block + 1 < blocks.count;
    block = another ? block + 1 : 0;
    if (another) panel = 0;
  }
  const int64_t lines = panel + panels <= task.stored_panels ? blocks.size(block) * kTileTokens : 0;
  return {task.weights + panel * task.panel_bytes + blocks.start(block) * kTileBytes, lines, 0};
}

// Columns that do not fill a step, padded with zeros.
template <class Op, int P>
void multiply_rest(const LinearTask& task, const Pass& pass, int64_t panel) {
  alignas(64) char padded[P * kTileBytes] = {};
  const int64_t at = pass.step * kTileBytes;
  for (int p = 0; p < P; ++p)
    __builtin_memcpy(padded + p * kTileBytes, task.weights + (panel + p) * task.panel_bytes + at,
                     static_cast<size_t>(task.panel_bytes - at));
  multiply_panels<Op, P>(task, pass, panel, padded, kTileBytes, {padded, 0, 0});
}

template <class Op>
void multiply_task(const LinearTask& task) {
  const int64_t whole = task.panel_bytes / kTileBytes, even = task.panels - task.panels % 2;
  const bool rest = task.panel_bytes % kTileBytes != 0;
  const int64_t step_bytes = ceil_div(task.tokens, kTileTokens) * kTileBytes;
  const Blocks blocks = {whole, ceil_div(whole * step_bytes, kTileBlockBytes)};
  Tiles::configure(tile_config(smaller(task.tokens, kTileTokens), kLine));
  for (int64_t b = 0; b < blocks.count; ++b) {
    const Pass pass = {blocks.start(b), blocks.size(b), b == 0, !rest && b + 1 == blocks.count};
    const char* weights = task.weights + pass.step * kTileBytes;
    for (int64_t panel = 0; panel < even; panel += 2)
      multiply_panels<Op, 2>(task, pass, panel, weights + panel * task.panel_bytes, task.panel_bytes,
                             piece_after(task, blocks, b, panel, 2));
    if (even < task.panels)
      multiply_panels<Op, 1>(task, pass, even, weights + even * task.panel_bytes, task.panel_bytes,
                             piece_after(task, blocks, b, even, 1));
  }
  if (rest) {
    const Pass pass = {whole, 1, whole == 0, true};
    for (int64_t panel = 0; panel < even; panel += 2) multiply_rest<Op, 2>(task, pass, panel);
    if (even < task.panels) multiply_rest<Op, 1>(task, pass, even);
  }
  Tiles::release();
}

#include "kernels/linear/amx_groups.inc.h"

// Sixteen columns from k on, of `there`; 0 behind them.
inline __m512i load_sixteen(const float* x, int64_t k, int64_t cols) {
  const __mmask16 there = k < cols ? first_of_16(cols - k) : static_cast<__mmask16>(0);
  return _mm512_castps_si512(_mm512_maskz_loadu_ps(there, x + k));
}

// The nearest numbers of bf16, ties to even, in the lower halves; a NaN stays one.
inline __m256i to_bf16(__m512i bits) {
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __m512 values = _mm512_castsi512_ps(bits);
  const __mmask16 nans = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_or_epi32(rounded, nans, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
}

}  // namespace

void linear_bf16_amx(const LinearTask& task) {
  multiply_task<Bf16>(task);
}

void linear_i8_amx(const LinearTask& task) {
  if (task.tokens <= kFewTileTokens) return linear_i8_avx512_vnni(task);
  task.x_groups ? multiply_in_groups<ExpandBytes>(task) : multiply_task<I8>(task);
}

void linear_i4_amx(const LinearTask& task) {
  if (task.tokens <= kFewTileTokens) return linear_i4_avx512_vnni(task);
  task.bf16_scales ? multiply_in_groups<ExpandNibbles<Bf16Scales>>(task)
                   : multiply_in_groups<ExpandNibbles<F16Scales>>(task);
}

void linear_t4_amx(const LinearTask& task) {
  if (task.tokens <= kFewTileTokens || task.cols % kTrellisGroup != 0) return linear_t4_avx512_vnni(task);
  multiply_in_groups<ExpandTrellis>(task);
}

void halve_amx(const HalveTask& task) {
  constexpr int64_t kHalves = kLine / 2;
  for (int64_t t = task.begin; t < task.end; ++t) {
    const float* x = task.x + t * task.x_stride;
    uint16_t* to = task.halves + t / kTileTokens * kTileTokens * task.stride + t % kTileTokens * kHalves;
    for (int64_t k = 0; k < task.stride; k += kHalves, to += kTileTokens * kHalves) {
      const __m256i first = to_bf16(load_sixteen(x, k, task.cols));
      _mm512_storeu_si512(to, _mm512_inserti64x4(_mm512_castsi256_si512(first), to_bf16(load_sixteen(x, k + 16, task.cols)), 1));
    }
  }
}

void quantize_amx(const QuantizeTilesTask& task) {
  const int64_t groups = ceil_div(task.cols, task.group);
  for (int64_t t = task.begin; t < task.end; ++t) {
    const float* x = task.x + t * task.x_stride;
    const int64_t tile = t / kTileTokens, in_tile = t % kTileTokens;
    int8_t* const row = task.tiles + tile * kTileTokens * task.stride + in_tile * kLine;
    const auto place = [row](int64_t k) { return row + k / kLine * kTileBytes + k % kLine; };
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t begin = g * task.group;
      const auto store = [&](int64_t k, __mmask16, __m128i codes) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(place(begin + k)), codes);
      };
      const float scale = quantize_group_512(x + begin, smaller(task.group, task.cols - begin), task.given_scale, store);
      (task.scale_tiles ? task.scale_tiles[(tile * groups + g) * kTileTokens + in_tile] : task.scales[t]) = scale;
    }
    for (int64_t k = ceil_div(task.cols, 16) * 16; k < task.stride; k += 16)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(place(k)), _mm_setzero_si128());
  }
}

}  // namespace lichen
