// The product of int4 weights in groups with many tokens, written once. Included after groups.inc.h inside the
// anonymous namespace of each instruction set that multiplies unsigned bytes by signed ones, with an Op as there,
// that also has
//
//   kFewTokens            up to here, groups.inc.h is faster
//   Bytes, no_bytes, add_bytes      4 columns of a panel as signed bytes; sums of these in bytes
//   spread_zeros, less    codes less their zero points
//
// and a Product:
//
//   Ints, Floats, Partial, none, open, close, scale_add, add_scaled     as in groups.inc.h
//   kPanels, kTokens      the register tile
//   kHoldsTotals          whether its registers have room for the floats, too
//   kExact                columns whose products a Partial holds, or 0: any number
//   kOnce                 whether a Partial holds those of a group
//   load, hold            4 columns of a panel, and that they stay in a register: else gcc reads them for each token
//   spread                4 columns of a token in all lanes
//   add                   a Partial and the products of 4 columns
//   scaled                float(sum) * scale
//
// A stretch of columns of up to four panels is expanded once for all tokens of a task, into memory that stays in the
// nearest cache: codes less their zero points, as signed bytes, and scales as floats. Inputs meet them as q + 128: so
// 128 times the sum of a group's weights is too much. As that does not depend on the token, it is where the sums of
// every token start from, and a group costs a token nothing but its products and its scales.
//
// Every output is the same chain as in groups.inc.h.

constexpr int64_t kMostPanels = 4;
constexpr int64_t kStretch = 256;                        // columns: 16 KiB of four panels
constexpr int64_t kStepBytes = kMostPanels * kRows * 4;  // from 4 columns to the next

struct ExpandedGroup {
  alignas(64) int32_t offsets[kMostPanels][kRows];  // -128 * the sum of the weights
  alignas(64) float scales[kMostPanels][kRows];
};

struct Workspace {
  alignas(64) int8_t codes[kStretch / 4][kMostPanels][kRows][4];
  ExpandedGroup groups[kStretch / kBlock];
  alignas(64) float totals[kTaskTokens][kMostPanels][kRows];
};

// Group g of a stretch, of panel p.
template <class Op, class Product>
void expand_group(const LinearTask& task, const char* group, int64_t g, int64_t p, Workspace& work) {
  constexpr uint8_t k128[4] = {128, 128, 128, 128};
  const auto inputs = Product::spread(k128);
  Op::store(work.groups[g].scales[p], Op::load_scales(group));
  const auto zeros = Op::spread_zeros(task.zeros ? Op::load_zeros(group + 2 * kRows) : Op::eight());
  const auto* codes = reinterpret_cast<const uint8_t*>(group + kRows * (task.zeros ? 3 : 2));
  int8_t* to = &work.codes[g * task.group / 4][p][0][0];
  auto sum = Product::none();
  for (int64_t begin = 0; begin < task.group; begin += kBlock) {
    auto bytes = Op::no_bytes();  // of 8 columns each: at most 8 * 15
#pragma GCC unroll 4
    for (int64_t k = 0; k < kBlock; k += 8, codes += kRows * 4, to += 2 * kStepBytes) {
      const auto w = Op::less(Op::load(codes), zeros);
      Product::store_bytes(to, w.first);
      Product::store_bytes(to + kStepBytes, w.second);
      bytes = Op::add_bytes(bytes, Op::add_bytes(w.first, w.second));
    }
    sum = Product::close(sum, Product::add(Product::open(sum), bytes, inputs));
  }
  Product::store_ints(work.groups[g].offsets[p], Product::minus(sum));
}

// Some groups of columns that are expanded, from column `begin` on.
struct Stretch {
  int64_t begin, groups;
};

// Adds the products of some columns, and goes on to the next.
template <class Product, int P, int T>
[[gnu::always_inline]] inline void add_columns(const int8_t*& codes, int64_t columns, const uint8_t*& x,
                                               int64_t x_stride, typename Product::Partial (&partial)[T][P]) {
#pragma GCC unroll 1
  for (const uint8_t* end = x + columns; x < end; x += 4, codes += kStepBytes) {
    typename Product::Bytes w[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      w[p] = Product::load(codes + p * kRows * 4);
      Product::hold(w[p]);
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const auto in = Product::spread(x + t * x_stride);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) partial[t][p] = Product::add(partial[t][p], w[p], in);
    }
  }
}

// The exact sums of one group; goes on to the next.
template <class Product, int P, int T>
[[gnu::always_inline]] inline void sum_group(const int32_t* offsets, const int8_t*& codes, int64_t group,
                                             const uint8_t*& x, int64_t x_stride,
                                             typename Product::Ints (&sum)[T][P]) {
  constexpr int64_t kExact = Product::kExact;
  const uint8_t* end = x + group;
  bool first = true;
  do {
    typename Product::Partial partial[T][P];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) partial[t][p] = Product::open(Product::load_ints(offsets + p * kRows));
    add_columns<Product, P, T>(codes, kExact ? kExact : group, x, x_stride, partial);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const auto before = first ? Product::load_ints(offsets + p * kRows) : sum[t][p];
        sum[t][p] = Product::close(before, partial[t][p]);
      }
    first = false;
  } while (!Product::kOnce && x < end);
}

// T tokens times P panels, from `panel` on. Not inlined: beside other loops, compilers keep some of the sums in
// memory; and one pointer for all that belongs to a group, as they would put a second one in a vector register.
template <class Product, bool Grouped, int P, int T>
[[gnu::noinline]] void expanded_tile(const LinearTask& task, const Stretch& stretch, int64_t token, int64_t panel,
                                     Workspace& work) {
  using Floats = typename Product::Floats;
  const int64_t group = task.group, x_stride = task.code_stride, x_groups = task.cols / task.group;
  const uint8_t* x = task.codes + token * x_stride + stretch.begin;
  const float* x_scales = Grouped ? task.x_scales + token * x_groups + stretch.begin / group : nullptr;
  const int8_t* codes = &work.codes[0][panel][0][0];
  const char* of_group = reinterpret_cast<const char*>(work.groups[0].offsets[panel]);
  constexpr int64_t kToScales = sizeof(ExpandedGroup::offsets);
  float* totals = work.totals[token][panel];
  Floats total[T][P];
  if constexpr (Product::kHoldsTotals)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) total[t][p] = Product::load_floats(totals + (t * kMostPanels + p) * kRows);

  for (const uint8_t* end = x + stretch.groups * group; x < end; of_group += sizeof(ExpandedGroup)) {
    typename Product::Ints sum[T][P];
    sum_group<Product, P, T>(reinterpret_cast<const int32_t*>(of_group), codes, group, x, x_stride, sum);
    if constexpr (!Product::kHoldsTotals) asm volatile("" ::: "memory");  // else they would be moved, to spill others
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const Floats scales = Product::load_floats(reinterpret_cast<const float*>(of_group + kToScales) + p * kRows);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        float* at = totals + (t * kMostPanels + p) * kRows;
        const Floats before = Product::kHoldsTotals ? total[t][p] : Product::load_floats(at);
        if constexpr (Grouped)
          total[t][p] = Product::add_scaled(Product::scaled(sum[t][p], scales), x_scales[t * x_groups], before);
        else
          total[t][p] = Product::scale_add(sum[t][p], scales, before);
        if constexpr (!Product::kHoldsTotals) Product::store(at, total[t][p]);
      }
    }
    if constexpr (Grouped) ++x_scales;
  }
  if constexpr (Product::kHoldsTotals)
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) Product::store(totals + (t * kMostPanels + p) * kRows, total[t][p]);
}

// expanded_tile() with the number of tokens known only at run time: 1 <= tokens <= T.
template <class Product, bool Grouped, int P, int T>
void any_expanded_tile(int64_t tokens, const LinearTask& task, const Stretch& stretch, int64_t token, int64_t panel,
                       Workspace& work) {
  if constexpr (T > 1) {
    if (tokens < T)
      return any_expanded_tile<Product, Grouped, P, T - 1>(tokens, task, stretch, token, panel, work);
  }
  expanded_tile<Product, Grouped, P, T>(task, stretch, token, panel, work);
}

// The next stretch of some panels, to be brought nearer in pieces.
struct Next {
  const char* first;
  int64_t panels, panel_bytes, lines;

  void fetch(int64_t piece, int64_t pieces) const {
    for (int64_t line = lines * piece / pieces; line < lines * (piece + 1) / pieces; ++line)
      for (int64_t p = 0; p < panels; ++p) __builtin_prefetch(first + p * panel_bytes + line * kLine, 0, 2);
  }
};

// One stretch times all tokens, in tiles.
template <class Product, bool Grouped>
void multiply_stretch(const LinearTask& task, const Stretch& stretch, int64_t panels, const Next& next,
                      Workspace& work) {
  constexpr int P = Product::kPanels, T = Product::kTokens;
  const int64_t tiles = ceil_div(task.tokens, T);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t token = task.tokens * i / tiles, tokens = task.tokens * (i + 1) / tiles - token;
    next.fetch(i, tiles);
    int64_t p = 0;
    for (; p + P <= panels; p += P) any_expanded_tile<Product, Grouped, P, T>(tokens, task, stretch, token, p, work);
    if constexpr (P > 1)
      for (; p < panels; ++p) any_expanded_tile<Product, Grouped, 1, T>(tokens, task, stretch, token, p, work);
  }
}

// Some panels, at most four, from the packed groups to the outputs of all tokens.
template <class Op, class Product, bool Grouped>
void multiply_panels(const LinearTask& task, int64_t panel, int64_t panels, Workspace& work) {
  const int64_t groups = task.cols / task.group, group_bytes = task.panel_bytes / groups;
  const int64_t most = kStretch / task.group;
  const char* first = task.weights + panel * task.panel_bytes;
  const auto from = [&](int64_t g) {
    return Next{first + g * group_bytes, panels, task.panel_bytes,
                ceil_div(smaller(most, groups - g) * group_bytes, kLine)};
  };
  from(0).fetch(0, 1);
  __builtin_memset(work.totals, 0, task.tokens * sizeof work.totals[0]);
  for (int64_t g = 0; g < groups; g += most) {
    const Stretch stretch = {g * task.group, smaller(most, groups - g)};
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t i = 0; i < stretch.groups; ++i)
        expand_group<Op, Product>(task, first + p * task.panel_bytes + (g + i) * group_bytes, i, p, work);
    multiply_stretch<Product, Grouped>(task, stretch, panels, from(smaller(g + most, groups)), work);
  }
  for (int64_t t = 0; t < task.tokens; ++t)
    for (int64_t p = 0; p < panels; ++p) {
      float* total = work.totals[t][p];
      for (int64_t r = 0; r < kRows && !Grouped; ++r) total[r] *= task.x_scales[t];
      finish_panel(total, task, t, (panel + p) * kRows);
    }
}

template <class Op, class Product, bool Grouped>
void multiply_expanded(const LinearTask& task) {
  Workspace work;
  for (int64_t panel = 0; panel < task.panels; panel += kMostPanels)
    multiply_panels<Op, Product, Grouped>(task, panel, smaller(kMostPanels, task.panels - panel), work);
}

template <class Op, class Product>
void multiply_int4(const LinearTask& task) {
  if (task.tokens <= Op::kFewTokens) return multiply_grouped<Op>(task);
  task.x_groups ? multiply_expanded<Op, Product, true>(task) : multiply_expanded<Op, Product, false>(task);
}
