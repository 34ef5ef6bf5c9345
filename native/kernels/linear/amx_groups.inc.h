// int4 in groups on AMX. A block of a panel's columns is expanded to signed bytes, its zero points taken away,
// in the first-level cache, once for all tokens of a task. Then each group's sums, for 16 tokens, are a tile
// of products of signed bytes, exact, which goes through memory into 16 registers of totals: one chain of
// fused multiply-adds over the groups, as in groups.inc.h. So a group costs 16 stores and 16 additions
// however few its columns are, and small groups cost most. int8 whose inputs have scales for groups goes the
// same way: input_groups.inc.h says what it is.

constexpr int64_t kColumnsPerBlock = 1024;  // expanded, 16 KiB of a panel
constexpr int64_t kInFlight = 4;            // tiles of sums
constexpr int64_t kTileRows = kTileTokens;

struct Workspace {
  alignas(64) int8_t codes[kColumnsPerBlock * kRows];  // [column/4][16][4]: a block, less its zero points
  alignas(64) float scales[kColumnsPerBlock / kBlock][kRows];
  alignas(64) int32_t sums[kInFlight][kTileRows][kRows];
  alignas(64) float totals[kTaskTokens / kTileRows][kTileRows][kRows];
};

// A block of one panel's groups, from nibbles to signed bytes.
template <class Scales>
struct ExpandNibbles {
  static constexpr bool kScales = true;  // whether groups of the weight have scales
  static void expand(const LinearTask& task, const char* group, int64_t groups, Workspace& work);
};

template <class Scales>
void ExpandNibbles<Scales>::expand(const LinearTask& task, const char* group, int64_t groups, Workspace& work) {
  using Op = Int4In512<Scales>;
  const int64_t header = kRows * (task.zeros ? 3 : 2);
  int8_t* to = work.codes;
  for (int64_t g = 0; g < groups; ++g) {
    _mm512_store_ps(work.scales[g], Op::load_scales(group));
    const __m512i zeros = task.zeros ? Op::load_zeros(group + 2 * kRows) : Op::eight();
    const __m512i bytes = _mm512_mullo_epi32(zeros, _mm512_set1_epi32(0x01010101));
    const char* codes = group + header;
    for (int64_t k = 0; k < task.group; k += 8, codes += kLine, to += 2 * kLine) {
      const auto pair = Op::load(reinterpret_cast<const uint8_t*>(codes));
      _mm512_store_si512(to, _mm512_sub_epi8(pair.first, bytes));
      _mm512_store_si512(to + kLine, _mm512_sub_epi8(pair.second, bytes));
    }
    group = codes;
  }
}

// From code + 128 to the code.
struct ExpandBytes {
  static constexpr bool kScales = false;
  static void expand(const LinearTask& task, const char* group, int64_t groups, Workspace& work) {
    const __m512i flip = _mm512_set1_epi8(-128);
    for (int64_t at = 0; at < groups * task.group * kRows; at += kLine)
      _mm512_store_si512(work.codes + at, _mm512_xor_si512(_mm512_load_si512(group + at), flip));
  }
};

// From trellis codes to the multiples of their units.
struct ExpandTrellis {
  static constexpr bool kScales = true;
  static void expand(const LinearTask& task, const char* group, int64_t groups, Workspace& work) {
    using Words = TrellisIn512::Words;
    Words last = {};
    // The codes before a group end where it begins, but for the first of a panel.
    if ((group - task.weights) % task.panel_bytes != 0) {
      load_lanes(group - kLine, last);
      last &= 0x11111111u;
    }
    char* to = reinterpret_cast<char*>(work.codes);
    for (int64_t g = 0; g < groups; ++g) {
      const PanelGroup here = panel_group(group, kTrellisGroup);
      widen_units(here.units, work.scales[g]);
      each_block<TrellisIn512>(here, 0, last, [&](int64_t, const Words& first, const Words& second, const Words& by) {
        keep_bytes<TrellisIn512::L, 0>(to, first, second, by);
        to += 2 * kLine;
      });
      group = here.next();
    }
  }
};

// A tile of tokens and the groups of one block that it meets.
struct Meeting {
  const char* x;   // tiles of 64 columns, from the first group on
  int64_t group;   // columns
  int64_t groups;
  const float* x_scales;  // [groups][16]; null where tokens have one scale
  Piece ahead;
};

// The sums of group g, in tile C.
template <int C>
[[gnu::always_inline]] inline void sum_group(Meeting meeting, int64_t g, Workspace& work) {
  const int64_t depth = smaller(meeting.group, kLine);
  Tiles::zero<C>();
  for (int64_t k = g * meeting.group; k < (g + 1) * meeting.group; k += depth) {
    Tiles::load<4 + C % 2>(meeting.x + k / kLine * kTileBytes + k % kLine, kLine);
    Tiles::load<6 + C % 2>(work.codes + k * kRows, kLine);
    Tiles::dot_signed<C, 4 + C % 2, 6 + C % 2>();
  }
}

// total += float(sums) * scales of group g, whose sums are in tile C; then C takes its next group.
template <class Op, int C>
[[gnu::always_inline]] inline void add_group(Meeting meeting, int64_t g, Workspace& work,
                                             __m512 (&total)[kTileRows]) {
  if (g >= meeting.groups) return;
  Tiles::store<C>(work.sums[C], kLine);
  if (g + kInFlight < meeting.groups) sum_group<C>(meeting, g + kInFlight, work);
  for (int64_t i = 0; i < meeting.ahead.bytes_per_group; i += kLine)
    __builtin_prefetch(meeting.ahead.first + g * meeting.ahead.bytes_per_group + i, 0, 2);
  const __m512 scales = _mm512_load_ps(work.scales[Op::kScales ? g : 0]);
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) {
    const __m512 sums = _mm512_cvtepi32_ps(_mm512_load_si512(work.sums[C][r]));
    if (meeting.x_scales) {
      const __m512 part = Op::kScales ? _mm512_mul_ps(sums, scales) : sums;
      total[r] = _mm512_fmadd_ps(part, _mm512_set1_ps(meeting.x_scales[g * kTileRows + r]), total[r]);
    } else {
      total[r] = _mm512_fmadd_ps(sums, scales, total[r]);
    }
  }
}

// Four groups are on their way at any time, so that products, stores and additions overlap.
template <class Op>
void add_groups(Meeting meeting, bool fresh, Workspace& work, float (*totals)[kRows]) {
  __m512 total[kTileRows];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) total[r] = fresh ? _mm512_setzero_ps() : _mm512_load_ps(totals[r]);
  sum_group<0>(meeting, 0, work);
  if (meeting.groups > 1) sum_group<1>(meeting, 1, work);
  if (meeting.groups > 2) sum_group<2>(meeting, 2, work);
  if (meeting.groups > 3) sum_group<3>(meeting, 3, work);
  for (int64_t g = 0; g < meeting.groups; g += kInFlight) {
    add_group<Op, 0>(meeting, g, work, total);
    add_group<Op, 1>(meeting, g + 1, work, total);
    add_group<Op, 2>(meeting, g + 2, work, total);
    add_group<Op, 3>(meeting, g + 3, work, total);
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r) _mm512_store_ps(totals[r], total[r]);
}

// One panel: work.totals[tile][16][16] over all groups. `more` panels follow.
template <class Op>
void total_panel(const LinearTask& task, const char* panel, bool more, Workspace& work) {
  const int64_t groups = task.cols / task.group, group_bytes = task.panel_bytes / groups;
  const int64_t block = kColumnsPerBlock / task.group, tiles = ceil_div(task.tokens, kTileRows);
  const int64_t share = ceil_div(group_bytes, tiles);  // of the next block, that a tile fetches
  for (int64_t g = 0; g < groups; g += block) {
    const int64_t count = smaller(block, groups - g);
    const char* next = panel + (g + count) * group_bytes;
    const bool last = !more && g + count == groups;
    Op::expand(task, panel + g * group_bytes, count, work);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const float* x_scales = task.x_groups ? task.x_scale_tiles + (tile * groups + g) * kTileRows : nullptr;
      const char* x = task.tiles + tile * task.tile_bytes + g * task.group / kLine * kTileBytes;
      add_groups<Op>({x, task.group, count, x_scales, {next + tile * share * count, last ? 0 : share}},
                 g == 0, work, work.totals[tile]);
    }
  }
}

template <class Op>
void multiply_in_groups(const LinearTask& task) {
  Workspace work;
  __builtin_memset(work.sums, 0, sizeof work.sums);  // rows below the height of a tile are never stored
  Tiles::configure(tile_config(smaller(task.tokens, kTileRows), smaller(task.group, kLine)));
  for (int64_t p = 0; p < task.panels; ++p) {
    total_panel<Op>(task, task.weights + p * task.panel_bytes, p + 1 < task.stored_panels, work);
    for (int64_t t = 0; t < task.tokens; ++t) {
      float* total = work.totals[t / kTileRows][t % kTileRows];
      for (int64_t r = 0; r < kRows && !task.x_groups; ++r) total[r] *= task.x_scales[t];
      Op::kScales ? finish_panel(total, task, t, p * kRows) : finish_scaled(total, task, t, p * kRows);
    }
  }
  Tiles::release();
}
