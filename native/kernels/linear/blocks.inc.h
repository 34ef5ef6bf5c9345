// Products in float32 of integer codes whose inputs stay floats, written once. Included after tile.inc.h
// inside each instruction set's anonymous namespace, after an Op for each number of bits:
//
//   Floats                16 lanes, one output row a lane
//   kColumns              columns of a panel that are stored together, in 64 bytes
//   load_scales           16 scales of a ScaleType, widened
//   load_floats, nothing  16 floats; 16 zeros
//   expand                kColumns columns: w = code * scale + shift, in one rounding, to [kColumns][16]
//
// A stretch of columns is expanded to float32 once for all tokens of a task, into memory that stays in the
// nearest cache, and multiplied from there as float32 weights are. So every output has the bits of the
// float32 product with the dequantized weight.

// Columns expanded at a time: what is read once should not wait long, what is read often may be longer.
constexpr int64_t kFewColumns = 64, kManyColumns = 128;

// Columns [begin, begin + count) of one panel to out[count][16]; up to kColumns - 1 more may be written.
template <class Op>
void expand_panel(const LinearTask& task, const char* panel, int64_t begin, int64_t count,
                  int64_t bytes_ahead, float* out) {
  const int64_t scale_bytes = kRows * (task.scale_type == ScaleType::f32 ? 4 : 2);
  const int64_t header = scale_bytes + (task.shifts ? kRows * 4 : 0);
  const int64_t group_bytes = header + ceil_div(task.group, Op::kColumns) * kLine;
  for (int64_t k = begin; k < begin + count;) {
    const int64_t in_group = k % task.group;
    const char* group = panel + k / task.group * group_bytes;
    const typename Op::Floats scale = Op::load_scales(group, task.scale_type);
    const typename Op::Floats shift = task.shifts ? Op::load_floats(group + scale_bytes) : Op::nothing();
    const int64_t end = smaller(k + task.group - in_group, begin + count);
    const char* codes = group + header + in_group / Op::kColumns * kLine;
    for (; k < end; k += Op::kColumns, codes += kLine) {
      __builtin_prefetch(codes + bytes_ahead);
      Op::expand(codes, scale, shift, task.shifts, out + (k - begin) * kRows);
    }
    k = end;
  }
}

// From P panels to the outputs of all tokens.
template <class Op, class F32, int P>
void multiply_panels(const LinearTask& task, int64_t panel, float* expanded, float* sums) {
  const int64_t tiles = ceil_div(task.tokens, F32::kTokens);
  const int64_t tile_tokens = task.tokens / tiles, longer_tiles = task.tokens % tiles;
  const int64_t stretch = tiles == 1 ? kFewColumns : kManyColumns;
  const int64_t bytes_ahead = tiles == 1 ? 3072 : 6144;
  constexpr int64_t kPanelFloats = (kManyColumns + Op::kColumns) * kRows;
  for (int64_t begin = 0; begin < task.cols; begin += stretch) {
    const int64_t count = smaller(stretch, task.cols - begin);
    for (int64_t p = 0; p < P; ++p)
      expand_panel<Op>(task, task.weights + (panel + p) * task.panel_bytes, begin, count, bytes_ahead,
                       expanded + p * kPanelFloats);
    int64_t token = 0;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t tokens = tile_tokens + (i < longer_tiles);
      any_tile<F32, P, F32::kTokens>(tokens, reinterpret_cast<const char*>(expanded),
                                     kPanelFloats * 4, task.x + token * task.x_stride + begin,
                                     task.x_stride, count, begin == 0, sums + token * P * kRows,
                                     {nullptr, 0, 0});
      token += tokens;
    }
  }
  for (int64_t t = 0; t < task.tokens; ++t)
    for (int64_t p = 0; p < P; ++p)
      finish_panel(sums + (t * P + p) * kRows, task, t, (panel + p) * kRows);
}

template <class Op, class F32>
void multiply_blocks(const LinearTask& task) {
  constexpr int P = F32::kPanels;
  alignas(64) float sums[kTaskTokens * P * kRows];
  alignas(64) float expanded[P * (kManyColumns + Op::kColumns) * kRows];
  int64_t panel = 0;
  for (; panel + P <= task.panels; panel += P) multiply_panels<Op, F32, P>(task, panel, expanded, sums);
  for (; panel < task.panels; ++panel) multiply_panels<Op, F32, 1>(task, panel, expanded, sums);
}
