// AMX: int8 and bf16 in tiles of 16 rows of activations by 16 rows of a weight, and int4 through int8.
//
// A packed panel is a run of right-hand tiles as it lies: 16 times four bytes of columns for each of its 16
// rows is a kilobyte. The left-hand tile is 16 rows of activations by the same 64 bytes. Two by two of them
// make four tiles of sums, so that two tiles are loaded for every two products; a block of columns is short
// enough for the first-level cache to hold both sides, and the next block of the weight is fetched to the
// second level meanwhile.
//
// bf16: an output is one chain of tile sums, 32 columns each as TDPBF16PS adds them. That order does not depend
// on the number of tokens, so all numbers of them come here. Integer sums are exact in any order, so few tokens
// go to the VNNI kernels, which are tuned to stream.
#include <immintrin.h>

#include "kernels/linear/kernel.h"

#if defined(LICHEN_EMULATE_AMX)
#include "tests/tiles_emulated.inc.h"
#else
#include "kernels/linear/tiles.inc.h"
#endif

namespace lichen {
namespace {

#include "kernels/linear/int4_512.inc.h"
#include "kernels/linear/tile.inc.h"
#include "kernels/linear/groups.inc.h"
#include "kernels/linear/input_groups.inc.h"

// With up to so many tokens the VNNI kernels wait for memory, not for arithmetic.
constexpr int64_t kFewTokensInt8 = 6, kFewTokensInt4 = 6;

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kStepsPerBlock = 10;  // 20 KiB of activations and 20 of weights

// Sums are tiles 0 to 3, activations 4 and 5, weights 6 and 7. `depth` bytes of columns make a step.
TileConfig tile_config(int64_t height, int64_t depth) {
  TileConfig config = {};
  config.palette = 1;
  for (int t = 0; t < 6; ++t) config.rows[t] = static_cast<uint8_t>(height);
  for (int t = 6; t < 8; ++t) config.rows[t] = static_cast<uint8_t>(depth / 4);
  for (int t = 0; t < 8; ++t) config.row_bytes[t] = static_cast<uint16_t>(t == 4 || t == 5 ? depth : kLine);
  return config;
}

// Rows of activations, cut in tiles of one height. The last tile overlaps the one before rather than be
// shorter, so that one configuration serves a whole task; each tile has sums of its own.
struct Rows {
  const char* data;
  int64_t stride;  // bytes
  int64_t count;

  int64_t height() const { return smaller(count, kTileRows); }
  int64_t tiles() const { return ceil_div(count, kTileRows); }
  int64_t start(int64_t tile) const { return smaller(tile * kTileRows, count - height()); }
  const char* tile(int64_t tile, int64_t column_byte) const {
    return data + start(tile) * stride + column_byte;
  }
};

// The next block of the weight, fetched a few lines at a time in each of its panels.
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

struct I8 {
  using Lane = int32_t;

  template <int C, int A, int B>
  static void dot() {
    Tiles::dot_unsigned<C, A, B>();
  }
};

struct Bf16 {
  using Lane = float;

  template <int C, int A, int B>
  static void dot() {
    Tiles::dot_bf16<C, A, B>();
  }
};

// The M by P tiles of sums, which lie in memory as [M][16][P][16].
template <int M, int P>
void zero_sums() {
  Tiles::zero<0>();
  if constexpr (P > 1) Tiles::zero<1>();
  if constexpr (M > 1) Tiles::zero<2>();
  if constexpr (M > 1 && P > 1) Tiles::zero<3>();
}

template <int M, int P, typename Lane>
void load_sums(const Lane* sums) {
  Tiles::load<0>(sums, P * kLine);
  if constexpr (P > 1) Tiles::load<1>(sums + kRows, P * kLine);
  if constexpr (M > 1) Tiles::load<2>(sums + kTileRows * P * kRows, P * kLine);
  if constexpr (M > 1 && P > 1) Tiles::load<3>(sums + kTileRows * P * kRows + kRows, P * kLine);
}

template <int M, int P, typename Lane>
void store_sums(Lane* sums) {
  Tiles::store<0>(sums, P * kLine);
  if constexpr (P > 1) Tiles::store<1>(sums + kRows, P * kLine);
  if constexpr (M > 1) Tiles::store<2>(sums + kTileRows * P * kRows, P * kLine);
  if constexpr (M > 1 && P > 1) Tiles::store<3>(sums + kTileRows * P * kRows + kRows, P * kLine);
}

// A block of columns: M tiles of rows, from `tile` on, times P panels. Not inlined: the loop needs most of
// the general registers.
template <class Op, int M, int P>
[[gnu::noinline]] void sum_tiles(const Rows& rows, int64_t tile, int64_t column_byte, const char* weights,
               int64_t panel_bytes, int64_t steps, bool fresh, typename Op::Lane* sums, Next& following) {
  Next next = following;
  const char* first = rows.tile(tile, column_byte);
  const char* second = rows.tile(tile + M - 1, column_byte);
  const int64_t stride = rows.stride;
  fresh ? zero_sums<M, P>() : load_sums<M, P>(sums);
  for (int64_t step = 0; step < steps; ++step) {
    next.fetch<P>(panel_bytes);
    Tiles::load<6>(weights + step * kTileBytes, kLine);
    Tiles::load<4>(first + step * kLine, stride);
    Op::template dot<0, 4, 6>();
    if constexpr (P > 1) {
      Tiles::load<7>(weights + panel_bytes + step * kTileBytes, kLine);
      Op::template dot<1, 4, 7>();
    }
    if constexpr (M > 1) {
      Tiles::load<5>(second + step * kLine, stride);
      Op::template dot<2, 5, 6>();
    }
    if constexpr (M > 1 && P > 1) Op::template dot<3, 5, 7>();
  }
  store_sums<M, P>(sums);
  following = next;
}

// A block of columns for all rows.
template <class Op, int P>
void sum_block(const Rows& rows, int64_t column_byte, const char* weights, int64_t panel_bytes,
               int64_t steps, bool fresh, typename Op::Lane* sums, Next next) {
  constexpr int64_t kTileSums = kTileRows * P * kRows;
  const int64_t tiles = rows.tiles();
  next.lines_per_step = ceil_div(next.lines, steps * ceil_div(tiles, 2));
  int64_t tile = 0;
  for (; tile + 2 <= tiles; tile += 2)
    sum_tiles<Op, 2, P>(rows, tile, column_byte, weights, panel_bytes, steps, fresh,
                        sums + tile * kTileSums, next);
  if (tile < tiles)
    sum_tiles<Op, 1, P>(rows, tile, column_byte, weights, panel_bytes, steps, fresh,
                        sums + tile * kTileSums, next);
}

// Sums of P panels over all columns: sums[tile][16][P][16]. `more` panels follow. Columns that do not fill
// a step are padded with zeros.
template <class Op, int P>
void sum_panels(const Rows& rows, const char* weights, int64_t panel_bytes, bool more,
                typename Op::Lane* sums) {
  const int64_t steps = panel_bytes / kTileBytes, rest = panel_bytes % kTileBytes;
  const int64_t blocks = ceil_div(steps, kStepsPerBlock);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t step = steps * b / blocks, count = steps * (b + 1) / blocks - step;
    const char* here = weights + step * kTileBytes;
    const bool last = b + 1 == blocks;
    const char* next = last ? weights + P * panel_bytes : here + count * kTileBytes;
    const int64_t lines = last && !more ? 0 : count * kTileRows;
    sum_block<Op, P>(rows, step * kLine, here, panel_bytes, count, b == 0, sums, {next, lines, 0});
  }
  if (rest == 0) return;
  alignas(64) char padded[P * kTileBytes] = {};
  for (int p = 0; p < P; ++p)
    __builtin_memcpy(padded + p * kTileBytes, weights + p * panel_bytes + steps * kTileBytes,
                     static_cast<size_t>(rest));
  sum_block<Op, P>(rows, steps * kLine, padded, kTileBytes, 1, steps == 0, sums, {padded, 0, 0});
}

// All panels of the task in groups of P, from `panel` on; returns the first panel that is left over.
template <class Op, int P>
int64_t multiply_panels(const LinearTask& task, const Rows& rows, int64_t panel,
                        typename Op::Lane* sums) {
  for (; panel + P <= task.panels; panel += P) {
    const bool more = panel + 2 * P <= task.stored_panels;
    sum_panels<Op, P>(rows, task.weights + panel * task.panel_bytes, task.panel_bytes, more, sums);
    for (int64_t tile = 0; tile < rows.tiles(); ++tile) {
      const int64_t start = rows.start(tile);
      for (int64_t r = tile * kTileRows - start; r < rows.height(); ++r)
        for (int64_t p = 0; p < P; ++p)
          finish_panel(sums + ((tile * kTileRows + r) * P + p) * kRows, task, start + r, (panel + p) * kRows);
    }
  }
  return panel;
}

template <class Op>
void multiply_tiles(const LinearTask& task, const void* x, int64_t stride) {
  alignas(64) typename Op::Lane sums[kTaskTokens * 2 * kRows];
  const Rows rows = {static_cast<const char*>(x), stride, task.tokens};
  Tiles::configure(tile_config(rows.height(), kLine));
  const int64_t panel = multiply_panels<Op, 2>(task, rows, 0, sums);
  multiply_panels<Op, 1>(task, rows, panel, sums);
  Tiles::release();
}

#include "kernels/linear/amx_groups.inc.h"

// The nearest number of bf16, ties to even; a NaN stays one.
inline uint16_t to_bf16(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 0x40 : rounded);
}

}  // namespace

void linear_bf16_amx(const LinearTask& task) {
  multiply_tiles<Bf16>(task, task.halves, task.code_stride * 2);
}

void linear_i8_amx(const LinearTask& task) {
  if (task.tokens <= kFewTokensInt8) return linear_i8_avx512_vnni(task);
  task.x_groups ? multiply_in_groups<ExpandBytes>(task)
                : multiply_tiles<I8>(task, task.codes, task.code_stride);
}

void linear_i4_amx(const LinearTask& task) {
  if (task.tokens <= kFewTokensInt4) return linear_i4_avx512_vnni(task);
  task.bf16_scales ? multiply_in_groups<ExpandNibbles<Bf16Scales>>(task)
                   : multiply_in_groups<ExpandNibbles<F16Scales>>(task);
}

void halve_amx(const HalveTask& task) {
  for (int64_t t = 0; t < task.tokens; ++t) {
    const float* x = task.x + t * task.x_stride;
    uint16_t* halves = task.halves + t * task.stride;
    for (int64_t k = 0; k < task.cols; ++k) halves[k] = to_bf16(x[k]);
    for (int64_t k = task.cols; k < task.stride; ++k) halves[k] = 0;
  }
}

}  // namespace lichen
