// Attention's products on AMX: TDPBF16PS over a cache of float16 or int8. A cache of float32 stays in lanes, and so
// do the first positions: with few keys, expanding them for a single token costs more than products in tiles save.
//
// A query or a weight is split into two numbers of bf16, the nearest and the nearest to what that leaves, which hold
// 16 of its 24 bits; an element of float16 is exactly the sum of two, a code of int8 is one. So a product is three
// of them, or two: what is left out is that of the two smaller halves, at most 2^-16 of the whole and of either
// sign, where the cache's own rounding was 2^-12.
//
// A tile of 16 rows by 32 columns of dimensions (or keys) meets 32 of these by 16 keys (or dimensions). A sum is
// one chain over the steps of 32, in each the larger halves first. Blocks are at fixed positions, and keys that a
// row does not see have weight 0, which adds nothing: so a row's sums are its own.
#include "../vector/avx512.h"
#include "../vector/tiles.inc.h"
#include "attention.inc.h"
#include "lanes.inc.h"

namespace lichen {
namespace {

constexpr int64_t kTileFloats = 256;  // a kilobyte
constexpr int64_t kStep = 32;         // columns of the left-hand side that a tile holds
constexpr int64_t kBlockSteps = kAttentionBlock / kStep;
constexpr int64_t kLeftHalves = 2;
constexpr int kSums = kAttentionTileColumns / 16;  // tiles of sums: as many as hide how long one product takes

// --- Numbers of bf16, in the upper halves of floats ---

LICHEN_INLINE __m512i bits(F16 x) { return _mm512_castps_si512(x.all); }

// The nearest; NaN of the usual kind stays NaN.
LICHEN_INLINE __m512i larger_half(F16 x) {
  const __m512i rounded = _mm512_add_epi32(bits(x), _mm512_set1_epi32(0x8000));
  return _mm512_and_si512(rounded, _mm512_set1_epi32(-65536));
}

// What it leaves, exactly.
LICHEN_INLINE F16 remainder(F16 x) { return sub(x, {_mm512_castsi512_ps(larger_half(x))}); }

// Sixteen numbers, and sixteen behind them.
LICHEN_INLINE __m512i one_after_the_other(__m512i first, __m512i second) {
  const __m512i tens = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25,
                                        23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return _mm512_permutex2var_epi16(first, tens, second);
}

// Sixteen pairs.
LICHEN_INLINE __m512i in_pairs(__m512i first, __m512i second) {
  return _mm512_mask_blend_epi16(0xaaaaaaaau, _mm512_maskz_srli_epi32(0xffff, first, 16), second);
}

// --- Tiles ---

// What M tiles of rows and N of columns have to do with each other.
struct Product {
  const float* left;    // [M][steps][2 halves] tiles
  const float* right;   // [N][steps][Halves] tiles
  float* sums;          // [M * height][N * 16], rows sum_stride apart
  int64_t steps;        // that there are
  int64_t taken;        // from the first on
  int64_t height;
  int64_t sum_stride;
};

template <int I>
struct Number {
  static constexpr int value = I;
};

// work(m, n) for every tile of sums; its number is m N + n.
template <int M, int N, int Sum = 0, class Work>
LICHEN_INLINE void each_sum(const Work& work) {
  if constexpr (Sum < M * N) {
    work(Number<Sum / N>{}, Number<Sum % N>{});
    each_sum<M, N, Sum + 1>(work);
  }
}

// Both halves of a tile on the left are 4 and 5, of one on the right 6 and 7.
template <int Halves, int M, int N>
LICHEN_INLINE void add_step(const Product& p, int64_t step) {
  const float* left = p.left + step * kLeftHalves * kTileFloats;
  const float* right = p.right + step * Halves * kTileFloats;
  each_sum<M, N>([&](auto row, auto column) LICHEN_LAMBDA {
    constexpr int m = decltype(row)::value, n = decltype(column)::value, sum = m * N + n;
    if constexpr (n == 0) {
      Tiles::load<4>(left + m * p.steps * kLeftHalves * kTileFloats, 64);
      Tiles::load<5>(left + (m * p.steps * kLeftHalves + 1) * kTileFloats, 64);
    }
    if constexpr (m == 0 || N > 1) {
      Tiles::load<6>(right + n * p.steps * Halves * kTileFloats, 64);
      if constexpr (Halves == 2) Tiles::load<7>(right + (n * p.steps * Halves + 1) * kTileFloats, 64);
    }
    Tiles::dot_bf16<sum, 4, 6>();
    if constexpr (Halves == 2) Tiles::dot_bf16<sum, 4, 7>();
    Tiles::dot_bf16<sum, 5, 6>();
  });
}

// Adds to the sums, unless they are `fresh`.
template <int Halves, int M, int N>
void multiply(const Product& p, bool fresh) {
  const int64_t stride = p.sum_stride * static_cast<int64_t>(sizeof(float));
  each_sum<M, N>([&](auto row, auto column) LICHEN_LAMBDA {
    constexpr int m = decltype(row)::value, n = decltype(column)::value;
    fresh ? Tiles::zero<m * N + n>()
          : Tiles::load<m * N + n>(p.sums + m * p.height * p.sum_stride + n * 16, stride);
  });
  for (int64_t step = 0; step < p.taken; ++step) add_step<Halves, M, N>(p, step);
  each_sum<M, N>([&](auto row, auto column) LICHEN_LAMBDA {
    constexpr int m = decltype(row)::value, n = decltype(column)::value;
    Tiles::store<m * N + n>(p.sums + m * p.height * p.sum_stride + n * 16, stride);
  });
}

// multiply() with the number of tiles of rows known only at run time: 1 <= tiles <= M.
template <int Halves, int M, int N>
void any_multiply(int64_t tiles, const Product& p, bool fresh) {
  if constexpr (M > 1) {
    if (tiles < M) return any_multiply<Halves, M - 1, N>(tiles, p, fresh);
  }
  multiply<Halves, M, N>(p, fresh);
}

// --- Products of a task ---

template <typename T>
class InTiles : public Attention<InTiles<T>, T> {
  using Base = Attention<InTiles<T>, T>;
  using Base::task_, Base::rows_, Base::dim_, Base::queries_, Base::weights_, Base::partial_, Base::visible,
      Base::products_scratch_;
  static constexpr int kHalves = sizeof(T) == 1 ? 1 : 2;

 public:
  InTiles(const AttentionTask& task, float* scratch)
      : Base(task, scratch),
        dim_steps_((task.head_dim + kStep - 1) / kStep),
        tiles_((rows_ + 15) / 16),
        height_((rows_ + tiles_ - 1) / tiles_),
        left_queries_(products_scratch_),
        left_weights_(left_queries_ + tiles_ * dim_steps_ * kLeftHalves * kTileFloats),
        right_(left_weights_ + tiles_ * kBlockSteps * kLeftHalves * kTileFloats) {}

  void begin() const {
    Tiles::configure(tile_config(height_, 64));
    for (int64_t row = 0; row < rows_; ++row)
      lay_left(queries_ + row * dim_, dim_, row, dim_steps_, left_queries_);
  }

  void end() const { Tiles::release(); }

  void score(const Block<T>& block, int64_t start, int64_t first) const {
    const int64_t groups = (visible(rows_ - 1, start) + 15) / 16;
    for_columns(groups, first, [&](auto columns, int64_t g) LICHEN_LAMBDA {
      for (int64_t n = 0; n < columns.value; ++n)
        expand_keys(block.keys[g + n], block.values[g + n], right_ + n * dim_steps_ * kHalves * kTileFloats);
      multiply_rows<columns.value>(left_queries_, dim_steps_, dim_steps_, first, weights_ + g * 16, kAttentionBlock,
                                    true);
    });
  }

  void weigh(const Block<T>& block, const Block<T>& next, int64_t start, int64_t first) const {
    const int64_t taken = (visible(rows_ - 1, start) + kStep - 1) / kStep;
    lay_weights(start, first);
    for_columns(dim_ / 16, first, [&](auto columns, int64_t g) LICHEN_LAMBDA {
      bool broken = false;
      for (int64_t n = 0; n < columns.value; ++n) {
        float* right = right_ + n * kBlockSteps * kHalves * kTileFloats;
        broken |= expand_values(block, next, (g + n) * 16, start, first, right);
      }
      multiply_rows<columns.value>(left_weights_, kBlockSteps, taken, first, partial_.sums + g * 16, dim_, false);
      if (broken) break_rows(block, g * 16, columns.value * 16, start, first);
    });
  }

 private:
  // work(columns, g) for all groups of sixteen columns, several at a time where rows are few.
  template <class Work>
  LICHEN_INLINE void for_columns(int64_t groups, int64_t first, const Work& work) const {
    const int64_t tiles = tiles_ - first / height_;
    int64_t g = 0;
    if (tiles == 1)
      for (; g + kSums <= groups; g += kSums) work(Number<kSums>{}, g);
    if (tiles <= 2)
      for (; g + kSums / 2 <= groups; g += kSums / 2) work(Number<kSums / 2>{}, g);
    for (; g < groups; ++g) work(Number<1>{}, g);
  }

  // Tiles of rows from that of row `first` on, by N tiles of columns.
  template <int N>
  void multiply_rows(const float* left, int64_t steps, int64_t taken, int64_t first, float* sums,
                     int64_t sum_stride, bool fresh) const {
    constexpr int M = kSums / N;
    for (int64_t tile = first / height_; tile < tiles_; tile += M) {
      const Product product = {left + tile * steps * kLeftHalves * kTileFloats, right_, sums + tile * height_ * sum_stride,
                               steps, taken, height_, sum_stride};
      any_multiply<kHalves, M, N>(at_most(M, tiles_ - tile), product, fresh);
    }
  }

  // A row's first numbers, and zeros.
  void lay_left(const float* from, int64_t count, int64_t row, int64_t steps, float* left) const {
    float* to = left + row / height_ * steps * kLeftHalves * kTileFloats + row % height_ * 16;
    for (int64_t i = 0; i < steps * kStep; i += kStep, to += kLeftHalves * kTileFloats) {
      if (count - i >= kStep)
        lay_step(load(from + i), load(from + i + 16), to);
      else
        lay_step(first_of(from + i, count - i), first_of(from + i + 16, count - i - 16), to);
    }
  }

  LICHEN_INLINE static F16 first_of(const float* from, int64_t count) {
    return count > 0 ? load_first(from, at_most(count, 16)) : broadcast(0.0f);
  }

  // Any NaN, as the usual kind.
  LICHEN_INLINE static F16 usual(F16 x) {
    return {_mm512_mask_mov_ps(x.all, _mm512_cmp_ps_mask(x.all, x.all, _CMP_UNORD_Q), _mm512_set1_ps(__builtin_nanf("")))};
  }

  LICHEN_INLINE static void lay_step(F16 first, F16 second, float* to) {
    const F16 a = usual(first), b = usual(second);
    _mm512_storeu_si512(to, one_after_the_other(larger_half(a), larger_half(b)));
    _mm512_storeu_si512(to + kTileFloats, one_after_the_other(larger_half(remainder(a)), larger_half(remainder(b))));
  }

  void lay_weights(int64_t start, int64_t first) const {
    for (int64_t row = first / height_ * height_; row < rows_; ++row) {
      const int64_t seen = row < first ? 0 : visible(row, start);
      lay_left(weights_ + row * kAttentionBlock, seen, row, kBlockSteps, left_weights_);
    }
  }

  // Pair number `pair` of the right-hand side at `right`. What is left of a float16 is a number of bf16 as it is.
  LICHEN_INLINE static void lay_pair(F16 first, F16 second, int64_t pair, float* right) {
    float* to = right + pair / 16 * kHalves * kTileFloats + pair % 16 * 16;
    _mm512_storeu_si512(to, in_pairs(larger_half(first), larger_half(second)));
    if constexpr (kHalves == 2)
      _mm512_storeu_si512(to + kTileFloats, in_pairs(bits(remainder(first)), bits(remainder(second))));
  }

  // Sixteen keys [head_dim][16]; what is at the same place of `ahead` is prefetched.
  void expand_keys(const T* keys, const T* ahead, float* right) const {
    const F16 none = broadcast(0.0f);
    for (int64_t d = 0; d < dim_steps_ * kStep; d += 2) {
      __builtin_prefetch(ahead + d * 16, 0, 2);
      lay_pair(d < task_.head_dim ? load(keys + d * 16) : none,
               d + 1 < task_.head_dim ? load(keys + (d + 1) * 16) : none, d / 2, right);
    }
  }

  // Sixteen columns of a block's values from `column` on; zeros for keys that no row sees. Where rows see different
  // keys, NaN is left out, too, since 0 times that is not 0; then it says so.
  bool expand_values(const Block<T>& block, const Block<T>& next, int64_t column, int64_t start, int64_t first,
                     float* right) const {
    const int64_t seen = visible(rows_ - 1, start), seen_by_all = visible(first, start) / 16 * 16;
    for (int64_t g = 0; g < seen_by_all / 16; ++g) {
      const T *values = block.values[g] + column, *ahead = next.keys[g] + column;
      for (int64_t j = 0; j < 16; j += 2, values += 2 * dim_, ahead += 2 * dim_) {
        __builtin_prefetch(ahead, 0, 2);
        __builtin_prefetch(ahead + dim_, 0, 2);
        lay_pair(load(values), load(values + dim_), 8 * g + j / 2, right);
      }
    }
    __mmask16 numbers = 0xffff;
    const auto value = [&](int64_t j) LICHEN_LAMBDA {
      if (j >= seen) return broadcast(0.0f);
      const F16 there = load(block.values[j / 16] + j % 16 * dim_ + column);
      const __mmask16 ordered = _mm512_cmp_ps_mask(there.all, there.all, _CMP_ORD_Q);
      numbers &= ordered;
      return F16{_mm512_maskz_mov_ps(ordered, there.all)};
    };
    const int64_t end = (seen + kStep - 1) / kStep * kStep;
    for (int64_t j = seen_by_all; j < end; j += 2) lay_pair(value(j), value(j + 1), j / 2, right);
    return numbers != 0xffff;
  }

  // Makes NaN what expand_values() left out of the rows that see it.
  void break_rows(const Block<T>& block, int64_t column, int64_t columns, int64_t start, int64_t first) const {
    for (int64_t row = first; row < rows_; ++row)
      for (int64_t j = visible(first, start) / 16 * 16; j < visible(row, start); ++j)
        for (int64_t i = column; i < column + columns; i += 16) {
          const F16 value = load(block.values[j / 16] + j % 16 * dim_ + i);
          float* sums = partial_.sums + row * dim_ + i;
          store(sums, fma(value, broadcast(0.0f), load(sums)));
        }
  }

  const int64_t dim_steps_;    // of 32 dimensions
  const int64_t tiles_;        // of rows
  const int64_t height_;       // rows of each but perhaps the last
  float* const left_queries_;  // [tiles][dim_steps][2] tiles
  float* const left_weights_;  // [tiles][kBlockSteps][2] tiles
  float* const right_;         // up to kSums groups of sixteen columns of a block: [steps][kHalves] tiles each
};

template <>
class InTiles<float> : public InLanes<float> {
  using InLanes<float>::InLanes;
};

const AttentionKernels& kernels_for(const AttentionTask& task) {
  static constexpr AttentionKernels lanes = kernels_with<InLanes>(), tiles = kernels_with<InTiles>();
  return task.first_position < kAttentionNear ? lanes : tiles;
}

}  // namespace

extern const AttentionKernels attention_amx;
const AttentionKernels attention_amx = {
    [](const AttentionTask& task, float* scratch) { kernels_for(task).attend(task, scratch); },
    [](const AttentionTask& task, int64_t segment, float* partial, float* scratch) {
      kernels_for(task).attend_segment(task, segment, partial, scratch);
    },
    [](const AttentionTask& task, float* partials, int64_t stride) {
      kernels_for(task).join_segments(task, partials, stride);
    }};

}  // namespace lichen
