// The product, written once. Each instruction set's file includes this text inside its own anonymous
// namespace (so that no copy is shared between sets), after defining an Op for each weight type:
//
//   Stored, Input, Lane   element types of the packed weight, of the activations, of a sum
//   Sum                   16 lanes of Lane: one output row a lane
//   Weights, Inputs       kDepth columns of a panel, ready to multiply; of a token, spread over the lanes
//   kDepth                columns taken in one step
//   kPanels, kTokens      the register tile
//   load, spread, add_product, zero, load_sum, store_sum
//
// A product walks the panels in groups of kPanels, a group in blocks of columns, and a block in tiles of
// kTokens tokens. So each weight is read from memory once for all the tokens of a task: the first tile
// brings a block into the cache, the others find it there, and all of them together prefetch the next.

constexpr int64_t kRows = 16;
constexpr int64_t kLine = 64;
constexpr int64_t kStepsPerBurst = 4;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Bytes of one panel in one block of columns. A few tiles are limited by memory: short blocks leave it
// no pause. Many are limited by arithmetic, and gain from loading and storing the sums more rarely.
constexpr int64_t kMostBlockBytes = 16384;
inline int64_t block_bytes(int64_t tiles) { return tiles == 1 ? 2048 : tiles <= 6 ? 4096 : kMostBlockBytes; }

// What to prefetch while a tile works: `lines` cache lines from `first` on, in each of the panels, a
// burst of them every few steps.
struct Ahead {
  const char* first;
  int64_t lines;
  int64_t lines_per_burst;
};

// Adds the products of some steps. `line` counts the lines of `ahead` that are prefetched.
template <class Op, int P, int T>
[[gnu::always_inline]] inline void add_steps(const char* weights, int64_t panel_bytes,
                                             const typename Op::Input* x, int64_t x_stride, int64_t steps,
                                             const Ahead& ahead, int64_t& line,
                                             typename Op::Sum (&sum)[T][P]) {
  constexpr int64_t kStepBytes = kRows * Op::kDepth * sizeof(typename Op::Stored);
  for (int64_t step = 0; step < steps;) {
    const int64_t line_end = smaller(line + ahead.lines_per_burst, ahead.lines);
    for (; line < line_end; ++line)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
        __builtin_prefetch(ahead.first + p * panel_bytes + line * kLine);

    const int64_t step_end = smaller(step + kStepsPerBurst, steps);
    for (; step < step_end; ++step) {
      typename Op::Weights w[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p)
        w[p] = Op::load(reinterpret_cast<const typename Op::Stored*>(weights + p * panel_bytes +
                                                                     step * kStepBytes));
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const typename Op::Inputs in = Op::spread(x + t * x_stride + step * Op::kDepth);
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) sum[t][p] = Op::add_product(sum[t][p], w[p], in);
      }
    }
  }
}

template <class Op, int P, int T>
void tile(const char* weights, int64_t panel_bytes, const typename Op::Input* x, int64_t x_stride,
          int64_t steps, bool fresh, typename Op::Lane* sums, const Ahead& ahead) {
  typename Op::Sum sum[T][P];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
      sum[t][p] = fresh ? Op::zero() : Op::load_sum(sums + (t * P + p) * kRows);
  int64_t line = 0;
  add_steps<Op, P, T>(weights, panel_bytes, x, x_stride, steps, ahead, line, sum);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) Op::store_sum(sums + (t * P + p) * kRows, sum[t][p]);
}

// tile() with the number of tokens known only at run time: 1 <= tokens <= T.
template <class Op, int P, int T>
void any_tile(int64_t tokens, const char* weights, int64_t panel_bytes, const typename Op::Input* x,
              int64_t x_stride, int64_t steps, bool fresh, typename Op::Lane* sums,
              const Ahead& ahead) {
  if constexpr (T > 1) {
    if (tokens < T)
      return any_tile<Op, P, T - 1>(tokens, weights, panel_bytes, x, x_stride, steps, fresh, sums,
                                    ahead);
  }
  tile<Op, P, T>(weights, panel_bytes, x, x_stride, steps, fresh, sums, ahead);
}

// Every tile of P panels and all tokens: work(tokens, token, step, steps, ahead), in blocks of `whole` steps or
// several times as many. `more` panels follow.
template <class Op, int P, class Work>
void each_tile(const LinearTask& task, const char* weights, bool more, int64_t whole, const Work& work) {
  constexpr int64_t kStepBytes = kRows * Op::kDepth * sizeof(typename Op::Stored);
  const int64_t tiles = ceil_div(task.tokens, Op::kTokens);
  const int64_t tile_tokens = task.tokens / tiles, longer_tiles = task.tokens % tiles;
  const int64_t fitting = block_bytes(tiles) / kStepBytes;
  const int64_t block = fitting < whole ? whole : fitting - fitting % whole;
  const int64_t steps = ceil_div(task.cols, Op::kDepth);
  for (int64_t step = 0; step < steps; step += block) {
    const char* here = weights + step * kStepBytes;
    const int64_t count = smaller(block, steps - step);
    // Next comes the rest of these panels, or the start of the group behind them.
    const int64_t left = steps - step - count;
    const char* next = left > 0 ? here + count * kStepBytes : weights + P * task.panel_bytes;
    const int64_t next_steps = left > 0 ? smaller(block, left) : more ? smaller(block, steps) : 0;
    const int64_t lines = ceil_div(next_steps * kStepBytes, kLine);
    const int64_t tile_lines = ceil_div(lines, tiles);
    const int64_t lines_per_burst = ceil_div(tile_lines, ceil_div(count, kStepsPerBurst));
    int64_t token = 0;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t tokens = tile_tokens + (i < longer_tiles);
      const int64_t line = smaller(i * tile_lines, lines);
      const Ahead ahead = {next + line * kLine, smaller(tile_lines, lines - line), lines_per_burst};
      work(tokens, token, step, count, ahead);
      token += tokens;
    }
  }
}

// Where an Op reads a block of columns: as it lies in memory, unless a set says otherwise.
template <class Op>
struct Source {
  using Packed = Op;  // what it is in memory

  // `steps` steps of panels from `packed` on; for the first tile of tokens, or one behind it.
  const char* take(const char* packed, int64_t, bool) { return packed; }
};

// Sums of P panels over all columns, for every token: sums[token][P][16]. `more` panels follow.
template <class Op, int P>
void sum_group(const LinearTask& task, const char* weights, bool more, const typename Op::Input* x,
               int64_t x_stride, typename Op::Lane* sums) {
  using Packed = typename Source<Op>::Packed;
  constexpr int64_t kStepBytes = kRows * Op::kDepth * sizeof(typename Packed::Stored);
  Source<Op> source;
  each_tile<Packed, P>(task, weights, more, 1,
                       [&](int64_t tokens, int64_t token, int64_t step, int64_t steps, const Ahead& ahead) {
                         const char* block = source.take(weights + step * kStepBytes, steps, token == 0);
                         any_tile<Op, P, Op::kTokens>(tokens, block, task.panel_bytes,
                                                      x + token * x_stride + step * Op::kDepth, x_stride, steps,
                                                      step == 0, sums + token * P * kRows, ahead);
                       });
}

// Up to so many tokens panels are taken one by one, as they lie in memory, which then is up to a fifth faster than
// several at a time. Where weights have to be split or widened first, that takes longer than memory does for more
// than one token.
template <class Op>
constexpr bool kAsTheyLie = sizeof(typename Op::Weights) == kRows * Op::kDepth * sizeof(typename Op::Stored);
template <class Op>
constexpr int64_t kStreamTokens =
    !kAsTheyLie<Op> ? 1 : sizeof(typename Op::Stored) == 1 ? 2 * Op::kTokens : Op::kTokens;

// From the sums of one panel to its outputs, before bias. Every loop over 16 lanes is one vector.
inline void scale_panel(const float* sums, const LinearTask&, int64_t, int64_t, float* values) {
  for (int64_t r = 0; r < kRows; ++r) values[r] = sums[r];
}

// int32 sums of (q + 128) * w: the offset goes out exactly, then one multiply by both scales.
inline void scale_panel(const int32_t* sums, const LinearTask& task, int64_t token, int64_t row,
                        float* values) {
  const float x_scale = task.x_scales[token];
  const float* scales = task.scales + row;
  const int32_t* row_sums = task.row_sums + row;
  for (int64_t r = 0; r < kRows; ++r)
    values[r] = static_cast<float>(sums[r] - 128 * row_sums[r]) * (x_scale * scales[r]);
}

// An exact sum of q * w, where there is no offset to take away.
struct SignedSum {
  int32_t value;
};

inline void scale_panel(const SignedSum* sums, const LinearTask& task, int64_t token, int64_t row,
                        float* values) {
  const float x_scale = task.x_scales[token];
  const float* scales = task.scales + row;
  for (int64_t r = 0; r < kRows; ++r)
    values[r] = static_cast<float>(sums[r].value) * (x_scale * scales[r]);
}

inline void write_panel(const float* values, int64_t rows, bool accumulate, float* y) {
  if (accumulate) {
    for (int64_t r = 0; r < rows; ++r) y[r] = values[r] + y[r];
  } else {
    for (int64_t r = 0; r < rows; ++r) y[r] = values[r];
  }
}

template <class Lane>
void finish_panel(const Lane* sums, const LinearTask& task, int64_t token, int64_t row) {
  alignas(64) float values[kRows];
  scale_panel(sums, task, token, row, values);
  if (task.bias)
    for (int64_t r = 0; r < kRows; ++r) values[r] += task.bias[row + r];
  float* y = task.y + token * task.y_stride + row;
  if (row + kRows <= task.rows) {
    write_panel(values, kRows, task.accumulate, y);
  } else {
    write_panel(values, task.rows - row, task.accumulate, y);
  }
}

// All panels of the task in groups of P, from `panel` on; returns the first panel that is left over.
template <class Op, int P>
int64_t multiply_groups(const LinearTask& task, int64_t panel, const typename Op::Input* x,
                        int64_t x_stride, typename Op::Lane* sums) {
  for (; panel + P <= task.panels; panel += P) {
    const bool more = panel + 2 * P <= task.stored_panels;
    sum_group<Op, P>(task, task.weights + panel * task.panel_bytes, more, x, x_stride, sums);
    for (int64_t t = 0; t < task.tokens; ++t)
      for (int64_t p = 0; p < P; ++p)
        finish_panel(sums + (t * P + p) * kRows, task, t, (panel + p) * kRows);
  }
  return panel;
}

template <class Op>
void multiply(const LinearTask& task, const typename Op::Input* x, int64_t x_stride) {
  alignas(64) typename Op::Lane sums[kTaskTokens * Op::kPanels * kRows];
  const bool one_by_one = task.tokens <= kStreamTokens<Op>;
  const int64_t panel = one_by_one ? 0 : multiply_groups<Op, Op::kPanels>(task, 0, x, x_stride, sums);
  if (Op::kPanels > 1 || one_by_one) multiply_groups<Op, 1>(task, panel, x, x_stride, sums);
}
