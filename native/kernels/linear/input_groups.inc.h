// The product of int8 weights whose inputs have a scale for each group of columns, written once. Included after
// groups.inc.h inside each instruction set's anonymous namespace. An Op is as there, its Input signed codes, and:
//
//   open                  the sums of a group before its first product, from minus the sum of a token's codes there
//   add_scaled            total[16] + float(sum) * a group's scale, in one rounding
//
// Where instructions multiply unsigned by signed, the weights are code + 128: so 128 times the sum of a token's
// codes is too much, which `open` takes away before it is added, and nothing of the weight has to be read for it.
//
// A group's sum is exact; a row is one chain of fused multiply-adds over its groups, first to last, and then
// meets the scale of its weights.

// One group of T tokens times P panels, from its first column: adds to totals[t][P][16]. Not inlined: beside the
// loops around it, compilers keep some of the sums in memory.
template <class Op, int P, int T>
[[gnu::noinline]] void add_input_group(const char* weights, int64_t panel_bytes, const typename Op::Input* x,
                                       int64_t x_stride, int64_t steps, const int32_t* minus_sums,
                                       const float* x_scales, int64_t groups, float* totals,
                                       const Ahead& ahead, int64_t& line) {
  typename Op::Sum sum[T][P];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) sum[t][p] = Op::open(minus_sums[t * (x_stride / kBlock)]);
  add_steps<Op, P, T>(weights, panel_bytes, x, x_stride, steps, ahead, line, sum);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
      Op::add_scaled(sum[t][p], x_scales[t * groups], totals + (t * P + p) * kRows);
}

template <class Input>
const Input* inputs_in_groups(const LinearTask& task);
template <>
inline const int8_t* inputs_in_groups(const LinearTask& task) { return task.signed_codes; }
template <>
inline const int16_t* inputs_in_groups(const LinearTask& task) { return task.words; }

// T tokens times P panels, `steps` steps from `step` on, which `block` begins with: whole groups. totals[t][P][16].
template <class Op, int P, int T>
void input_group_tile(const LinearTask& task, const char* block, int64_t token, int64_t step,
                      int64_t steps, float* totals, const Ahead& ahead) {
  constexpr int64_t kStepBytes = kRows * Op::kDepth * sizeof(typename Op::Stored);
  const int64_t group_steps = task.group / Op::kDepth, groups = task.cols / task.group;
  const typename Op::Input* x = inputs_in_groups<typename Op::Input>(task) + token * task.code_stride;
  const int32_t* minus_sums = task.minus_sums + token * (task.code_stride / kBlock);
  const float* x_scales = task.x_scales + token * groups;
  if (step == 0)
    for (int64_t i = 0; i < T * P * kRows; ++i) totals[i] = 0;

  int64_t line = 0;
  for (int64_t end = step + steps; step < end; step += group_steps, block += group_steps * kStepBytes) {
    const int64_t g = step / group_steps;
    add_input_group<Op, P, T>(block, task.panel_bytes, x + g * task.group, task.code_stride, group_steps,
                              minus_sums + g, x_scales + g, groups, totals, ahead, line);
  }
}

// input_group_tile() with the number of tokens known only at run time: 1 <= tokens <= T.
template <class Op, int P, int T>
void any_input_group_tile(int64_t tokens, const LinearTask& task, const char* block, int64_t token,
                          int64_t step, int64_t steps, float* totals, const Ahead& ahead) {
  if constexpr (T > 1) {
    if (tokens < T)
      return any_input_group_tile<Op, P, T - 1>(tokens, task, block, token, step, steps, totals, ahead);
  }
  input_group_tile<Op, P, T>(task, block, token, step, steps, totals, ahead);
}

inline void finish_scaled(float* totals, const LinearTask& task, int64_t token, int64_t row) {
  const float* scales = task.scales + row;
  for (int64_t r = 0; r < kRows; ++r) totals[r] *= scales[r];
  finish_panel(totals, task, token, row);
}

// All panels of the task in groups of P, from `panel` on; returns the first panel that is left over.
template <class Op, int P>
int64_t multiply_input_groups(const LinearTask& task, int64_t panel, float* totals) {
  using Packed = typename Source<Op>::Packed;
  constexpr int64_t kStepBytes = kRows * Op::kDepth * sizeof(typename Packed::Stored);
  Source<Op> source;
  for (; panel + P <= task.panels; panel += P) {
    const bool more = panel + 2 * P <= task.stored_panels;
    const char* weights = task.weights + panel * task.panel_bytes;
    each_tile<Packed, P>(task, weights, more, task.group / Op::kDepth,
                         [&](int64_t tokens, int64_t token, int64_t step, int64_t steps, const Ahead& ahead) {
                           const char* block = source.take(weights + step * kStepBytes, steps, token == 0);
                           any_input_group_tile<Op, P, Op::kTokens>(tokens, task, block, token, step, steps,
                                                                    totals + token * P * kRows, ahead);
                         });
    for (int64_t t = 0; t < task.tokens; ++t)
      for (int64_t p = 0; p < P; ++p)
        finish_scaled(totals + (t * P + p) * kRows, task, t, (panel + p) * kRows);
  }
  return panel;
}

template <class Op>
void multiply_input_groups(const LinearTask& task) {
  alignas(64) float totals[kTaskTokens * Op::kPanels * kRows];
  const bool one_by_one = task.tokens <= kStreamTokens<Op>;
  const int64_t panel = one_by_one ? 0 : multiply_input_groups<Op, Op::kPanels>(task, 0, totals);
  if (Op::kPanels > 1 || one_by_one) multiply_input_groups<Op, 1>(task, panel, totals);
}
