// The product of trellis codes (lichen/trellis.h) with inputs in int8 that have a scale for each group, written once.
// Included after groups.inc.h inside each instruction set's anonymous namespace, with an Op for each set:
//
//   L, kParts             Lanes of the set's own width, a row a lane; so many are the 16 rows of a panel
//   widen                 bytes of a part's rows
//   Sum, none             of the rows of a part, exact
//   kTokens               the tile
//   kLines                lines of 64 bytes that a block of 8 columns is kept in
//   keep                  puts a block there, from levels and steps
//   kOffsets, offset      whether kept sums start from an offset for each row, and what a block adds to it
//   open, add_kept        kept sums: from a row's offsets and minus the sum of the group's inputs; and a block
//   Input, inputs         what kept blocks meet: q or q + 128
//   finish                total + float(sum) * units * an input's scale, as in groups.inc.h
//
// and where few tokens are multiplied as codes are decoded, up to kFewTokens of them:
//
//   steps                 the lowest three bits of each lane plus 1, in both halves of it
//   corrections           16 times minus the sums of inputs that a block's levels are too high by, as add takes them
//   add                   a block's levels, steps and inputs
//
// A group's sum is exact in int32; an output is one chain of fused multiply-adds over its groups, first to last.

constexpr int64_t kTrellisBlocks = kTrellisGroup / kTrellisBlock;
constexpr int64_t kTrellisAhead = 3072;  // bytes: of panels, which are read one after the other, as they stream by

// 32-bit lanes in so many bytes, and the same as halves of them.
template <int Bytes>
struct Lanes;
template <>
struct Lanes<16> {
  typedef uint32_t Words __attribute__((vector_size(16)));
  typedef uint16_t Halves __attribute__((vector_size(16)));
};
template <>
struct Lanes<32> {
  typedef uint32_t Words __attribute__((vector_size(32)));
  typedef uint16_t Halves __attribute__((vector_size(32)));
};
template <>
struct Lanes<64> {
  typedef uint32_t Words __attribute__((vector_size(64)));
  typedef uint16_t Halves __attribute__((vector_size(64)));
};

// Columns 0 to 3 and 4 to 7 of each row in bytes, 0 to 31. `last` are the lowest bits of the block before, then this one.
// The code before one in an upper half of a byte is in its lower half, that before one in a lower half a byte ahead.
template <class Vector>
[[gnu::always_inline]] inline void decode_levels(const Vector& codes, Vector& last, Vector& first, Vector& second) {
  const Vector lowest = codes & 0x11111111u;
  const Vector before = lowest << 4 | last >> 28;
  const Vector turned = codes ^ (lowest << 12 | last >> 20);
  first = ((turned + turned) & 0x1e1e1e1eu) | (before & 0x01010101u);
  second = (turned >> 3 & 0x1e1e1e1eu) | (codes & 0x01010101u);
  last = lowest;
}

template <class Vector>
[[gnu::always_inline]] inline void load_lanes(const void* from, Vector& lanes) {
  __builtin_memcpy(&lanes, from, sizeof lanes);
}

template <class Vector>
[[gnu::always_inline]] inline void store_lanes(void* to, const Vector& lanes) {
  __builtin_memcpy(to, &lanes, sizeof lanes);
}

// A group in a panel: { units [16], a byte each; steps [3 or 6][16]; codes [blocks][16][4] }.
struct PanelGroup {
  const char* units;
  int64_t blocks;

  int64_t steps_bytes() const { return blocks > kTrellisBlocks / 2 ? 6 : 3; }
  const char* codes() const { return units + kRows * (1 + steps_bytes()); }
  const char* next() const { return codes() + blocks * kLine; }
};

inline PanelGroup panel_group(const char* at, int64_t columns) {
  return {at, smaller(columns, kTrellisGroup) / kTrellisBlock};
}

// The steps of 8 blocks, 3 bits each from the lowest, each less 1; of rows from `row` on.
template <class Op>
[[gnu::always_inline]] inline void load_steps(const PanelGroup& group, int64_t half, int64_t row,
                                              typename Op::L::Words& steps) {
  const char* bytes = group.units + kRows * (1 + 3 * half) + row;
  steps = Op::widen(bytes) | Op::widen(bytes + kRows) << 8 | Op::widen(bytes + 2 * kRows) << 16;
}

// Levels less the middle one times steps, which lie in both halves of a lane; as signed bytes, each plus `Added`.
template <class L, int Added>
[[gnu::always_inline]] inline void scale_levels(const typename L::Words& levels, const typename L::Words& steps,
                                                typename L::Words& bytes) {
  using Halves = typename L::Halves;
  using Words = typename L::Words;
  const Halves by = (Halves)steps, base = by * static_cast<uint16_t>(kTrellisMiddle) - static_cast<uint16_t>(Added);
  const Halves even = (Halves)(levels & 0x00ff00ffu) * by - base, odd = (Halves)(levels >> 8 & 0x00ff00ffu) * by - base;
  bytes = ((Words)even & 0x00ff00ffu) | ((Words)odd << 8 & 0xff00ff00u);
}

// A block as signed bytes, each plus `Added`, in two lines.
template <class L, int Added>
[[gnu::always_inline]] inline void keep_bytes(char* to, const typename L::Words& first, const typename L::Words& second,
                                              const typename L::Words& steps) {
  typename L::Words bytes;
  scale_levels<L, Added>(first, steps, bytes);
  store_lanes(to, bytes);
  scale_levels<L, Added>(second, steps, bytes);
  store_lanes(to + kLine, bytes);
}

// Each block of a group, for the rows of a part from `row` on: visit(block, first, second, steps). `last` as in
// decode_levels.
template <class Op, class Visit>
[[gnu::always_inline]] inline void each_block(const PanelGroup& group, int64_t row, typename Op::L::Words& last,
                                              const Visit& visit) {
  using Words = typename Op::L::Words;
  Words steps = {};
  for (int64_t b = 0; b < group.blocks; ++b) {
    if (b % 8 == 0) load_steps<Op>(group, b / 8, row, steps);
    const Words one = (steps & 7u) + 1u, by = one | one << 16;
    steps = steps >> 3;
    Words codes, first, second;
    load_lanes(group.codes() + b * kLine + row * 4, codes);
    decode_levels(codes, last, first, second);
    visit(b, first, second, by);
  }
}

inline void widen_units(const char* bytes, float* units) {
  for (int64_t r = 0; r < kRows; ++r) {
    const uint32_t bits = kSmallestUnit + (static_cast<uint32_t>(static_cast<uint8_t>(bytes[r])) << kUnitShift);
    __builtin_memcpy(units + r, &bits, sizeof bits);
  }
}

// --- Many tokens: groups are kept, decoded, for all of them ---

template <class Op>
struct KeptGroup {
  alignas(64) char blocks[kTrellisBlocks][Op::kLines][kLine];
  alignas(64) int32_t offsets[kRows];
  alignas(64) float units[kRows];
};

// Decodes one group; `last` [16] are the lowest bits of the codes before it, then of its own.
template <class Op>
void keep_group(const PanelGroup& group, uint32_t* last, KeptGroup<Op>& kept) {
  using Words = typename Op::L::Words;
  constexpr int64_t kLanes = sizeof(Words) / 4;
  widen_units(group.units, kept.units);
  for (int64_t row = 0; row < kRows; row += kLanes) {
    Words before, offset = {};
    load_lanes(last + row, before);
    each_block<Op>(group, row, before, [&](int64_t b, const Words& first, const Words& second, const Words& by) {
      __builtin_prefetch(group.codes() + b * kLine + row * 4 + kTrellisAhead);
      Op::keep(&kept.blocks[b][0][row * 4], first, second, by);
      if constexpr (Op::kOffsets) offset += Op::offset(first, second, by);
    });
    store_lanes(last + row, before);
    store_lanes(kept.offsets + row, offset);
  }
}

// One group of T tokens.
template <class Op, int T>
[[gnu::noinline]] void trellis_tile(const LinearTask& task, const KeptGroup<Op>& kept, int64_t blocks, int64_t g,
                                    int64_t token, float (*totals)[kRows]) {
  constexpr int64_t kLanes = kRows / Op::kParts;
  const int64_t groups = ceil_div(task.cols, kTrellisGroup);
  const typename Op::Input* x = Op::inputs(task) + token * task.code_stride + g * kTrellisGroup;
  const int32_t* minus_sums = task.minus_sums + token * (task.code_stride / kBlock) + g;
  typename Op::Sum sum[T][Op::kParts];
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < Op::kParts; ++p)
      sum[t][p] = Op::open(kept.offsets + p * kLanes, minus_sums[t * (task.code_stride / kBlock)]);
#pragma GCC unroll 1
  for (int64_t b = 0; b < blocks; ++b)
    Op::template add_kept<T>(kept.blocks[b][0], x + b * kTrellisBlock, task.code_stride, sum);
#pragma GCC unroll 12
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < Op::kParts; ++p)
      Op::finish(sum[t][p], kept.units + p * kLanes, task.x_scales[(token + t) * groups + g],
                 totals[token + t] + p * kLanes);
}

template <class Op, int T>
void any_trellis_tile(int64_t tokens, const LinearTask& task, const KeptGroup<Op>& kept, int64_t blocks, int64_t g,
                      int64_t token, float (*totals)[kRows]) {
  if constexpr (T > 1) {
    if (tokens < T) return any_trellis_tile<Op, T - 1>(tokens, task, kept, blocks, g, token, totals);
  }
  trellis_tile<Op, T>(task, kept, blocks, g, token, totals);
}

template <class Op>
void multiply_kept_trellis(const LinearTask& task) {
  KeptGroup<Op> kept;
  alignas(64) float totals[kTaskTokens][kRows];
  alignas(64) uint32_t last[kRows];
  const int64_t tiles = ceil_div(task.tokens, Op::kTokens);
  for (int64_t p = 0; p < task.panels; ++p) {
    __builtin_memset(totals, 0, task.tokens * sizeof totals[0]);
    __builtin_memset(last, 0, sizeof last);
    const char* at = task.weights + p * task.panel_bytes;
    for (int64_t g = 0; g * kTrellisGroup < task.cols; ++g) {
      const PanelGroup group = panel_group(at, task.cols - g * kTrellisGroup);
      keep_group<Op>(group, last, kept);
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t token = task.tokens * i / tiles, tokens = task.tokens * (i + 1) / tiles - token;
        any_trellis_tile<Op, Op::kTokens>(tokens, task, kept, group.blocks, g, token, totals);
      }
      at = group.next();
    }
    for (int64_t t = 0; t < task.tokens; ++t) finish_panel(totals[t], task, t, p * kRows);
  }
}

// --- Few tokens: multiplied as they are decoded ---

template <class Op, int T>
void stream_trellis(const LinearTask& task) {
  using Words = typename Op::L::Words;
  constexpr int64_t kLanes = kRows / Op::kParts;
  constexpr int H = Op::kParts;
  const int64_t groups = ceil_div(task.cols, kTrellisGroup);
  alignas(64) int32_t corrections[T][kTrellisBlocks];
  for (int64_t p = 0; p < task.panels; ++p) {
    alignas(64) float totals[T][kRows] = {}, units[kRows];
    Words last[H] = {};
    const char* at = task.weights + p * task.panel_bytes;
    for (int64_t g = 0; g < groups; ++g) {
      const PanelGroup group = panel_group(at, task.cols - g * kTrellisGroup);
      const int8_t* x = task.signed_codes + g * kTrellisGroup;
      for (int64_t line = 0; line < 2; ++line) __builtin_prefetch(group.units + kTrellisAhead + line * kLine);
      widen_units(group.units, units);
      typename Op::Sum sum[T][H];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        Op::corrections(x + t * task.code_stride, group.blocks, corrections[t]);
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) sum[t][h] = Op::none();
      }
      for (int64_t half = 0; half * 8 < group.blocks; ++half) {
        const char* codes = group.codes() + half * 8 * kLine;
        const int64_t blocks = smaller(8, group.blocks - half * 8);
        Words steps[H];
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h) load_steps<Op>(group, half, h * kLanes, steps[h]);
#pragma GCC unroll 1
        for (int64_t b = 0; b < blocks; ++b, codes += kLine, x += kTrellisBlock) {
          __builtin_prefetch(codes + kTrellisAhead);
#pragma GCC unroll 4
          for (int h = 0; h < H; ++h) {
            Words stored, first, second;
            load_lanes(codes + h * kLanes * 4, stored);
            decode_levels(stored, last[h], first, second);
            const auto by = Op::steps(steps[h]);
            steps[h] = steps[h] >> 3;
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t)
              sum[t][h] = Op::add(sum[t][h], first, second, by, x + t * task.code_stride, corrections[t][half * 8 + b]);
          }
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
        for (int h = 0; h < H; ++h)
          Op::finish(sum[t][h], units + h * kLanes, task.x_scales[t * groups + g], totals[t] + h * kLanes);
      at = group.next();
    }
    for (int64_t t = 0; t < T; ++t) finish_panel(totals[t], task, t, p * kRows);
  }
}

template <class Op, int T>
void stream_any_trellis(const LinearTask& task) {
  if constexpr (T > 1) {
    if (task.tokens < T) return stream_any_trellis<Op, T - 1>(task);
  }
  stream_trellis<Op, T>(task);
}

template <class Op>
void multiply_trellis(const LinearTask& task) {
  if constexpr (Op::kFewTokens > 0) {
    if (task.tokens <= Op::kFewTokens) return stream_any_trellis<Op, Op::kFewTokens>(task);
  }
  multiply_kept_trellis<Op>(task);
}
