// Products of blocks of codes with inputs in 16 bits, written once. Included after tile.inc.h inside each
// instruction set's anonymous namespace, with an Op for each set, which multiplies unsigned codes by such inputs:
//
//   Floats                16 lanes, one output row a lane
//   Line                  64 bytes of a panel: 4 columns in bytes, 8 in halves of bytes, or 16 in pairs of bits
//   Weights               4 columns of a panel, ready to multiply
//   Sums                  of products, in the set's cheapest form
//   kPanelTokens          tokens that are multiplied at once from a panel as it is stored; kFewTokens, up to which
//                         number of them that is faster
//   kPanels, kTokens      the register tile for more
//   kHoldsTotals          whether its registers have room for the floats, too
//   load_line, low, high  a line; the lower or the upper half of each byte
//   with_pairs            halves of bytes with pair number q of a line's bits above them
//   widen                 the weights of a line of bytes
//   Kept, kKept, keep, load_kept, hold     weights in memory, kKept elements; and that they stay in a register
//   open, add, close      sums that begin with one number; and products of 4 columns; as floats
//   load_scales, load_multiples, load_floats, store, nothing, times, add_scaled
//
// Four columns of an input are two words of 32 bits, in the form that a set multiplies (see widen.inc.h). 32 columns
// of it share a scale. The sum of a step, which is 32 columns or the 16 of smaller blocks, is exact: it is at most
// 32 * 255 * 32639. An output is one chain, step after step:
//
//   total = fma(float(sum) * scale, input scale, total), and then where blocks have shifts
//   total = fma(shift, float(sum of the input) * input scale, total)

constexpr int64_t kSharing = 32;      // columns of an input that share a scale
constexpr int64_t kSummed = 16;       // columns of an input that have a sum
constexpr int64_t kWideAhead = 3072;  // bytes: of a panel that is read once, as it streams by

// How codes lie: kLines lines hold kColumns columns, of which four() gives numbers 4 q to 4 q + 3, each plus zero().

// Codes of 8 bits, as code + 128.
template <class Op>
struct WideBytes {
  static constexpr int64_t kLines = 1, kColumns = 4;
  static int32_t zero(const LinearTask&) { return 128; }
  static typename Op::Line four(const char* from, int) { return Op::load_line(from); }
};

// Codes of 4 bits, from 0 on where blocks have shifts, else as code + 8. Columns k and k + 4 share a byte.
template <class Op>
struct WideNibbles {
  static constexpr int64_t kLines = 1, kColumns = 8;
  static int32_t zero(const LinearTask& task) { return task.shifts ? 0 : 8; }
  static typename Op::Line four(const char* from, int q) {
    const typename Op::Line line = Op::load_line(from);
    return q == 0 ? Op::low(line) : Op::high(line);
  }
};

// Codes of 6 bits, likewise, else as code + 32: two lines of their lower 4 bits, and one of the upper 2 of all.
template <class Op>
struct WideSixes {
  static constexpr int64_t kLines = 3, kColumns = 16;
  static int32_t zero(const LinearTask& task) { return task.shifts ? 0 : 32; }
  static typename Op::Line four(const char* from, int q) {
    const typename Op::Line line = Op::load_line(from + q / 2 * kLine);
    return Op::with_pairs(q % 2 == 0 ? Op::low(line) : Op::high(line), Op::load_line(from + 2 * kLine), q);
  }
};

// Where things are in a panel, and columns of a step. Where scales have units, a superblock has them before its
// groups; else all groups are one, and nothing is before them.
struct WideLayout {
  bool units;
  int64_t step, superblock, units_bytes, shifts_at, codes_at, group_bytes;

  WideLayout(const LinearTask& task, int64_t lines, int64_t columns)
      : units(task.scale_type == ScaleType::multiples),
        step(task.group == kSummed ? kSummed : kSharing),
        superblock(units ? 256 : task.cols),
        units_bytes(units ? kRows * (task.shifts ? 4 : 2) : 0),
        shifts_at(kRows * (units ? 1 : task.scale_type == ScaleType::f32 ? 4 : 2)),
        codes_at(shifts_at + (task.shifts ? kRows * (units ? 1 : 4) : 0)),
        group_bytes(codes_at + ceil_div(task.group, columns) * lines * kLine) {}
};

template <class Op>
void widen_scales(const LinearTask& task, const WideLayout& layout, const char* superblock, const char* group,
                  float* scales, float* shifts) {
  if (layout.units) {
    Op::store(scales, Op::times(Op::load_multiples(group), Op::load_scales(superblock, ScaleType::f16)));
    if (task.shifts)
      Op::store(shifts, Op::times(Op::load_multiples(group + layout.shifts_at),
                                  Op::load_scales(superblock + 2 * kRows, ScaleType::f16)));
  } else {
    Op::store(scales, Op::load_scales(group, task.scale_type));
    if (task.shifts) Op::store(shifts, Op::load_floats(reinterpret_cast<const float*>(group + layout.shifts_at)));
  }
}

// The inputs of some tokens at one step.
struct WideStep {
  const int8_t* words;
  const float* scales;
  const int32_t* sums;
  int64_t stride, step;

  WideStep(const LinearTask& task, int64_t token, int64_t column, int64_t columns)
      : words(task.wide + 2 * (token * task.code_stride + column)),
        scales(task.x_scales + (token * task.code_stride + column) / kSharing),
        sums(task.wide_sums + (token * task.code_stride + column) / kSummed),
        stride(task.code_stride),
        step(columns) {}

  const int8_t* word(int64_t t) const { return words + 2 * t * stride; }
  float scale(int64_t t) const { return scales[t * (stride / kSharing)]; }
  int32_t sum(int64_t t) const {
    const int32_t* at = sums + t * (stride / kSummed);
    return step == kSummed ? at[0] : at[0] + at[1];
  }
};

// Adds one panel's sums of a step to a token's total.
template <class Op>
[[gnu::always_inline]] inline typename Op::Floats add_step(const typename Op::Sums& sum, const WideStep& in, int64_t t,
                                                           const float* scales, const float* shifts,
                                                           typename Op::Floats total) {
  const float scale = in.scale(t);
  total = Op::add_scaled(Op::times(Op::close(sum), Op::load_floats(scales)), scale, total);
  if (shifts) total = Op::add_scaled(Op::load_floats(shifts), static_cast<float>(in.sum(t)) * scale, total);
  return total;
}

// --- Few tokens: panel after panel, as they lie in memory ---

template <class Op, class Codes, int T>
void wide_panel(const LinearTask& task, const char* panel, int64_t row, int64_t token) {
  const WideLayout layout(task, Codes::kLines, Codes::kColumns);
  const int32_t zero = Codes::zero(task);
  alignas(64) float scales[kRows], shifts[kRows], totals[T][kRows];
  typename Op::Floats total[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) Op::store(totals[t], total[t] = Op::nothing());

  const char* superblock = panel;
  int64_t superblock_end = 0;
  for (int64_t group = 0; group < task.cols; group += task.group, panel += layout.group_bytes) {
    if (group == superblock_end) {
      superblock = panel;
      superblock_end += layout.superblock;
      panel += layout.units_bytes;
    }
    widen_scales<Op>(task, layout, superblock, panel, scales, shifts);
    for (int64_t i = 0; i < layout.codes_at; i += kLine) __builtin_prefetch(panel + i + kWideAhead);
    const char* codes = panel + layout.codes_at;
    for (int64_t k = group; k < group + task.group; k += layout.step) {
      const WideStep in(task, token, k, layout.step);
      typename Op::Sums sum[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) sum[t] = Op::open(-zero * in.sum(t));
      const int64_t columns = smaller(layout.step, group + task.group - k);
#pragma GCC unroll 1
      for (int64_t i = 0; i < columns; i += Codes::kColumns, codes += Codes::kLines * kLine) {
        for (int64_t line = 0; line < Codes::kLines; ++line) __builtin_prefetch(codes + line * kLine + kWideAhead);
#pragma GCC unroll 4
        for (int q = 0; q < Codes::kColumns / 4; ++q) {
          const typename Op::Weights w = Op::widen(Codes::four(codes, q));
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t) sum[t] = Op::add(sum[t], w, in.word(t) + 2 * i + 8 * q);
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        if constexpr (Op::kHoldsTotals)
          total[t] = add_step<Op>(sum[t], in, t, scales, task.shifts ? shifts : nullptr, total[t]);
        else
          Op::store(totals[t], add_step<Op>(sum[t], in, t, scales, task.shifts ? shifts : nullptr,
                                            Op::load_floats(totals[t])));
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    if constexpr (Op::kHoldsTotals) Op::store(totals[t], total[t]);
    finish_panel(totals[t], task, token + t, row);
  }
}

// wide_panel() with the number of tokens known only at run time: 1 <= tokens <= T.
template <class Op, class Codes, int T>
void any_wide_panel(int64_t tokens, const LinearTask& task, const char* panel, int64_t row, int64_t token) {
  if constexpr (T > 1) {
    if (tokens < T) return any_wide_panel<Op, Codes, T - 1>(tokens, task, panel, row, token);
  }
  wide_panel<Op, Codes, T>(task, panel, row, token);
}

template <class Op, class Codes>
void stream_wide(const LinearTask& task) {
  const int64_t tiles = ceil_div(task.tokens, Op::kPanelTokens);
  for (int64_t p = 0; p < task.panels; ++p)
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t token = task.tokens * i / tiles, tokens = task.tokens * (i + 1) / tiles - token;
      any_wide_panel<Op, Codes, Op::kPanelTokens>(tokens, task, task.weights + p * task.panel_bytes, p * kRows, token);
    }
}

// --- Many tokens: a stretch of columns of up to four panels is expanded once for all of them ---

constexpr int64_t kWidePanels = 4;
constexpr int64_t kWideStretch = 256;  // columns

// What a token brings to a step beside its words.
struct WideEntry {
  int32_t offset;  // what its sums begin with
  float scale;
  float sum;       // of the input, as floats
};

template <class Op>
struct WideWorkspace {
  static constexpr int64_t kSteps = kWideStretch / kSummed;
  alignas(64) typename Op::Kept codes[kWideStretch / 4][kWidePanels][Op::kKept];
  alignas(64) float scales[kSteps][kWidePanels][kRows];
  alignas(64) float shifts[kSteps][kWidePanels][kRows];
  WideEntry entries[kTaskTokens][kSteps];
  alignas(64) float totals[kTaskTokens][kWidePanels][kRows];
};

// Columns of a task, [begin, end), in steps.
struct WideStretch {
  int64_t begin, end, step;
};

// A stretch of one panel.
template <class Op, class Codes>
void expand_stretch(const LinearTask& task, const char* panel, const WideStretch& stretch, int64_t p,
                    WideWorkspace<Op>& work) {
  const WideLayout layout(task, Codes::kLines, Codes::kColumns);
  for (int64_t k = stretch.begin, at = 0; k < stretch.end; k += stretch.step, ++at) {
    const int64_t in_group = k % task.group, of_superblock = layout.superblock / task.group * layout.group_bytes;
    const char* superblock = panel + k / layout.superblock * (layout.units_bytes + of_superblock);
    const char* group = superblock + layout.units_bytes + k % layout.superblock / task.group * layout.group_bytes;
    widen_scales<Op>(task, layout, superblock, group, work.scales[at][p], work.shifts[at][p]);
    const char* codes = group + layout.codes_at + in_group / Codes::kColumns * Codes::kLines * kLine;
    const int64_t columns = smaller(stretch.step, stretch.end - k);
    for (int64_t i = 0; i < columns; i += Codes::kColumns, codes += Codes::kLines * kLine)
#pragma GCC unroll 4
      for (int q = 0; q < Codes::kColumns / 4; ++q)
        Op::keep(work.codes[(k - stretch.begin + i) / 4 + q][p], Op::widen(Codes::four(codes, q)));
  }
}

template <class Op>
void note_inputs(const LinearTask& task, const WideStretch& stretch, int32_t zero, WideWorkspace<Op>& work) {
  for (int64_t t = 0; t < task.tokens; ++t)
    for (int64_t k = stretch.begin, at = 0; k < stretch.end; k += stretch.step, ++at) {
      const WideStep in(task, t, k, stretch.step);
      work.entries[t][at] = {-zero * in.sum(0), in.scale(0), static_cast<float>(in.sum(0)) * in.scale(0)};
    }
}

// The exact sums of `columns` columns; goes on to the next.
template <class Op, int P, int T>
[[gnu::always_inline]] inline void sum_columns(const typename Op::Kept*& codes, const int8_t*& x, int64_t x_stride,
                                               int64_t columns, typename Op::Sums (&sum)[T][P]) {
  constexpr int64_t kToNext = kWidePanels * Op::kKept;  // from 4 columns to the next
#pragma GCC unroll 1
  for (const int8_t* end = x + 2 * columns; x < end; x += 8, codes += kToNext) {
    typename Op::Weights w[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      w[p] = Op::load_kept(codes + p * Op::kKept);
      Op::hold(w[p]);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) sum[t][p] = Op::add(sum[t][p], w[p], x + t * x_stride);
  }
}

// T tokens times P panels. Not inlined: beside other loops, compilers keep some of the sums in memory.
template <class Op, bool Shifts, int P, int T>
[[gnu::noinline]] void wide_tile(const LinearTask& task, const WideStretch& stretch, int64_t token, int64_t panel,
                                 WideWorkspace<Op>& work) {
  using Floats = typename Op::Floats;
  constexpr int64_t kOfToken = WideWorkspace<Op>::kSteps;
  const typename Op::Kept* codes = work.codes[0][panel];
  const int64_t x_stride = 2 * task.code_stride;
  const int8_t* x = task.wide + token * x_stride + 2 * stretch.begin;
  const WideEntry* entry = work.entries[token];
  const float* scales = work.scales[0][panel];
  const float* shifts = work.shifts[0][panel];
  float* totals = work.totals[token][panel];
  Floats total[T][P];
  if constexpr (Op::kHoldsTotals)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) total[t][p] = Op::load_floats(totals + (t * kWidePanels + p) * kRows);

  for (int64_t left = stretch.end - stretch.begin; left > 0; left -= stretch.step, ++entry) {
    typename Op::Sums sum[T][P];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) sum[t][p] = Op::open(entry[t * kOfToken].offset);
    sum_columns<Op, P, T>(codes, x, x_stride, smaller(stretch.step, left), sum);
    if constexpr (!Op::kHoldsTotals) asm volatile("" ::: "memory");  // else they would be moved, to spill others
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const Floats scale = Op::load_floats(scales + p * kRows);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        float* at = totals + (t * kWidePanels + p) * kRows;
        Floats next = Op::kHoldsTotals ? total[t][p] : Op::load_floats(at);
        next = Op::add_scaled(Op::times(Op::close(sum[t][p]), scale), entry[t * kOfToken].scale, next);
        if constexpr (Shifts)
          next = Op::add_scaled(Op::load_floats(shifts + p * kRows), entry[t * kOfToken].sum, next);
        total[t][p] = next;
        if constexpr (!Op::kHoldsTotals) Op::store(at, next);
      }
    }
    scales += kWidePanels * kRows;
    if constexpr (Shifts) shifts += kWidePanels * kRows;
  }
  if constexpr (Op::kHoldsTotals)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) Op::store(totals + (t * kWidePanels + p) * kRows, total[t][p]);
}

// wide_tile() with the number of tokens known only at run time: 1 <= tokens <= T.
template <class Op, bool Shifts, int P, int T>
void any_wide_tile(int64_t tokens, const LinearTask& task, const WideStretch& stretch, int64_t token, int64_t panel,
                   WideWorkspace<Op>& work) {
  if constexpr (T > 1) {
    if (tokens < T) return any_wide_tile<Op, Shifts, P, T - 1>(tokens, task, stretch, token, panel, work);
  }
  wide_tile<Op, Shifts, P, T>(task, stretch, token, panel, work);
}

template <class Op, bool Shifts>
void multiply_wide_stretch(const LinearTask& task, const WideStretch& stretch, int64_t panels,
                           WideWorkspace<Op>& work) {
  constexpr int P = Op::kPanels, T = Op::kTokens;
  const int64_t tiles = ceil_div(task.tokens, T);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t token = task.tokens * i / tiles, tokens = task.tokens * (i + 1) / tiles - token;
    int64_t p = 0;
    for (; p + P <= panels; p += P) any_wide_tile<Op, Shifts, P, T>(tokens, task, stretch, token, p, work);
    if constexpr (P > 1)
      for (; p < panels; ++p) any_wide_tile<Op, Shifts, 1, T>(tokens, task, stretch, token, p, work);
  }
}

// Some panels, at most four, from their codes to the outputs of all tokens.
template <class Op, class Codes>
void multiply_wide_panels(const LinearTask& task, int64_t panel, int64_t panels, WideWorkspace<Op>& work) {
  const int64_t step = WideLayout(task, Codes::kLines, Codes::kColumns).step;
  __builtin_memset(work.totals, 0, task.tokens * sizeof work.totals[0]);
  for (int64_t begin = 0; begin < task.cols; begin += kWideStretch) {
    const WideStretch stretch = {begin, smaller(begin + kWideStretch, task.cols), step};
    for (int64_t p = 0; p < panels; ++p)
      expand_stretch<Op, Codes>(task, task.weights + (panel + p) * task.panel_bytes, stretch, p, work);
    note_inputs(task, stretch, Codes::zero(task), work);
    task.shifts ? multiply_wide_stretch<Op, true>(task, stretch, panels, work)
                : multiply_wide_stretch<Op, false>(task, stretch, panels, work);
  }
  for (int64_t t = 0; t < task.tokens; ++t)
    for (int64_t p = 0; p < panels; ++p) finish_panel(work.totals[t][p], task, t, (panel + p) * kRows);
}

template <class Op, class Codes>
void multiply_wide(const LinearTask& task) {
  if (task.tokens <= Op::kFewTokens) return stream_wide<Op, Codes>(task);
  WideWorkspace<Op> work;
  for (int64_t p = 0; p < task.panels; p += kWidePanels)
    multiply_wide_panels<Op, Codes>(task, p, smaller(kWidePanels, task.panels - p), work);
}
