// The product of int4 weights in groups, written once. Included after tile.inc.h inside each instruction
// set's anonymous namespace, with an Op for each set:
//
//   Ints, Floats          16 lanes, one output row a lane
//   Partial               sums of at most 32 columns, in the set's cheapest form
//   Codes                 8 columns of a panel, as two runs of four unsigned codes a lane
//   kPanels, kTokens      the register tile
//   offset                sum + zero points times minus the sum of a token's activations
//   open, add, close      integer sums of a block of 32 columns
//   scale_add             total + float(sum) * scale, in one rounding
//   add_scaled            total + part * a token's scale, in one rounding
//
// A group's sum is exact; a row is one chain of fused multiply-adds over its groups, first to last. Inputs
// have one scale a token, which comes last, or (Grouped) one for each group of the weight, which comes
// with it.

constexpr int64_t kBlock = 32;          // columns
constexpr int64_t kBytesAhead = 3072;   // of a panel that is read once, as it streams by

// What to prefetch while a tile works: a piece with every group.
struct Piece {
  const char* first;
  int64_t bytes_per_group;
};

template <class Op, int P, int T>
void add_block(const uint8_t* codes, int64_t panel_bytes, const int8_t* x, int64_t x_stride,
               const int32_t* minus_sums, bool offsets, const typename Op::Ints (&zeros)[P],
               typename Op::Ints (&sum)[T][P]) {
  typename Op::Partial partial[T][P];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      if (offsets) sum[t][p] = Op::offset(sum[t][p], zeros[p], minus_sums[t * (x_stride / kBlock)]);
      partial[t][p] = Op::open(sum[t][p]);
    }
  // Unrolled, gcc would put off all additions to the end, and the products would not fit the registers.
#pragma GCC unroll 1
  for (int64_t k = 0; k < kBlock; k += 8) {
    typename Op::Codes w[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) w[p] = Op::load(codes + p * panel_bytes + k * (kRows / 2));
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) partial[t][p] = Op::add(partial[t][p], w[p], x + t * x_stride + k);
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) sum[t][p] = Op::close(sum[t][p], partial[t][p]);
}

// T tokens times P panels, all columns: from the packed groups to the outputs.
template <class Op, bool Grouped, int P, int T>
void group_tile(const LinearTask& task, const char* panels, int64_t token, int64_t row,
                const Piece& ahead) {
  const int64_t blocks = task.group / kBlock, groups = task.cols / task.group;
  const int64_t header = kRows * (task.zeros ? 3 : 2);
  const int64_t group_bytes = header + task.group * (kRows / 2);
  const int8_t* x = task.signed_codes + token * task.code_stride;
  const int32_t* minus_sums = task.minus_sums + token * (task.code_stride / kBlock);

  const float* x_scales = task.x_scales + token * (Grouped ? groups : 1);

  typename Op::Floats total[T][P];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) total[t][p] = Op::nothing();

  for (int64_t g = 0; g < groups; ++g, panels += group_bytes) {
    for (int64_t i = 0; i < ahead.bytes_per_group; i += kLine)
      __builtin_prefetch(ahead.first + g * ahead.bytes_per_group + i);
    typename Op::Ints sum[T][P], zeros[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      zeros[p] = task.zeros ? Op::load_zeros(panels + p * task.panel_bytes + 2 * kRows) : Op::eight();
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) sum[t][p] = Op::none();
    }
    const auto* codes = reinterpret_cast<const uint8_t*>(panels + header);
    for (int64_t b = 0; b < blocks; ++b, x += kBlock, codes += kBlock * (kRows / 2)) {
      const bool offsets = !Grouped || b == 0;  // minus_sums are of whole groups there
      add_block<Op, P, T>(codes, task.panel_bytes, x, task.code_stride, minus_sums, offsets, zeros, sum);
      minus_sums += offsets;
    }
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const typename Op::Floats scales = Op::load_scales(panels + p * task.panel_bytes);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        if constexpr (Grouped) {
          const typename Op::Floats part = Op::scale_add(sum[t][p], scales, Op::nothing());
          total[t][p] = Op::add_scaled(part, x_scales[t * groups + g], total[t][p]);
        } else {
          total[t][p] = Op::scale_add(sum[t][p], scales, total[t][p]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      alignas(64) float values[kRows];
      Op::store(values, total[t][p]);
      for (int64_t r = 0; r < kRows && !Grouped; ++r) values[r] *= x_scales[t];
      finish_panel(values, task, token + t, row + p * kRows);
    }
}

// group_tile() with the number of tokens known only at run time: 1 <= tokens <= T.
template <class Op, bool Grouped, int P, int T>
void any_group_tile(int64_t tokens, const LinearTask& task, const char* panels, int64_t token,
                    int64_t row, const Piece& ahead) {
  if constexpr (T > 1) {
    if (tokens < T) return any_group_tile<Op, Grouped, P, T - 1>(tokens, task, panels, token, row, ahead);
  }
  group_tile<Op, Grouped, P, T>(task, panels, token, row, ahead);
}

// Few tokens: panel after panel, as they lie in memory.
template <class Op, bool Grouped>
void stream_panels(const LinearTask& task) {
  const int64_t group_bytes = task.panel_bytes / (task.cols / task.group);
  for (int64_t p = 0; p < task.panels; ++p) {
    const char* panel = task.weights + p * task.panel_bytes;
    any_group_tile<Op, Grouped, 1, Op::kTokens>(task.tokens, task, panel, 0, p * kRows,
                                       {panel + kBytesAhead, group_bytes});
  }
}

// Many tokens: each of the tiles prefetches its share of the next P panels. Returns the first panel
// that is left over.
template <class Op, bool Grouped, int P>
int64_t tile_panels(const LinearTask& task, int64_t panel) {
  const int64_t groups = task.cols / task.group;
  const int64_t tiles = ceil_div(task.tokens, Op::kTokens);
  const int64_t tile_tokens = task.tokens / tiles, longer_tiles = task.tokens % tiles;
  const int64_t share = ceil_div(P * task.panel_bytes / groups, tiles);
  for (; panel + P <= task.panels; panel += P) {
    const char* panels = task.weights + panel * task.panel_bytes;
    const bool more = panel + 2 * P <= task.stored_panels;
    int64_t token = 0;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t tokens = tile_tokens + (i < longer_tiles);
      const char* next = panels + P * task.panel_bytes + i * share * groups;
      any_group_tile<Op, Grouped, P, Op::kTokens>(tokens, task, panels, token, panel * kRows,
                                         {next, more ? share : 0});
      token += tokens;
    }
  }
  return panel;
}

template <class Op, bool Grouped>
void multiply_inputs(const LinearTask& task) {
  if (task.tokens <= Op::kTokens) return stream_panels<Op, Grouped>(task);
  const int64_t panel = tile_panels<Op, Grouped, Op::kPanels>(task, 0);
  if constexpr (Op::kPanels > 1) tile_panels<Op, Grouped, 1>(task, panel);
}

template <class Op>
void multiply_grouped(const LinearTask& task) {
  task.x_groups ? multiply_inputs<Op, true>(task) : multiply_inputs<Op, false>(task);
}
