// The operations of kernels/vector/tiles.inc.h in plain C++, after the pseudocode of Intel's SDM (volume 2:
// LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBUSD, TDPBSSD, TDPBF16PS). What would be #UD there ends
// the program here. For tests: no real build includes this.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace lichen {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64);

inline void demand(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "an AMX instruction would be refused: %s\n", what);
  abort();
}

// The exponent's least value, below which numbers are flushed to a zero of their sign.
inline float flush(float value) { return fabsf(value) < 0x1p-126f ? copysignf(0.0f, value) : value; }

inline float widen_bf16(const uint8_t* from) {
  uint16_t half;
  memcpy(&half, from, sizeof half);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return flush(value);
}

struct Tiles {
  struct State {
    bool configured = false;
    TileConfig config = {};
    uint8_t data[8][16][64];
  };
  static State& state() {
    static thread_local State state;
    return state;
  }

  static void configure(const TileConfig& config) {
    demand(config.palette == 1 && config.start_row == 0, "palette 1 from row 0 on");
    for (uint8_t byte : config.reserved) demand(byte == 0, "reserved bytes");
    for (int t = 0; t < 16; ++t) {
      const int rows = config.rows[t], bytes = config.row_bytes[t];
      demand(t < 8 ? rows <= 16 && bytes <= 64 && (rows == 0) == (bytes == 0) : rows == 0 && bytes == 0,
             "the shape of a tile");
    }
    state().configured = true;
    state().config = config;
    memset(state().data, 0, sizeof state().data);
  }
  static void release() { state().configured = false; }

  static int rows(int t) {
    demand(state().configured && state().config.rows[t] > 0, "a tile without a shape");
    return state().config.rows[t];
  }
  static int bytes(int t) { return state().config.row_bytes[t]; }

  template <int T>
  static void zero() {
    rows(T);
    memset(state().data[T], 0, sizeof state().data[T]);
  }
  template <int T>
  static void load(const void* from, int64_t stride) {
    zero<T>();
    for (int r = 0; r < rows(T); ++r)
      memcpy(state().data[T][r], static_cast<const char*>(from) + r * stride, static_cast<size_t>(bytes(T)));
  }
  template <int T>
  static void store(void* to, int64_t stride) {
    for (int r = 0; r < rows(T); ++r)
      memcpy(static_cast<char*>(to) + r * stride, state().data[T][r], static_cast<size_t>(bytes(T)));
  }

  static void demand_product(int c, int a, int b) {
    demand(c != a && c != b && a != b, "three different tiles");
    demand(rows(c) == rows(a) && bytes(c) == bytes(b) && bytes(a) == 4 * rows(b), "shapes of a product");
  }
  template <typename Left>
  static void dot_bytes(int c, int a, int b) {
    demand_product(c, a, b);
    State& s = state();
    for (int m = 0; m < rows(c); ++m)
      for (int k = 0; k < bytes(a) / 4; ++k)
        for (int n = 0; n < bytes(c) / 4; ++n) {
          int32_t sum;
          memcpy(&sum, &s.data[c][m][4 * n], sizeof sum);
          for (int i = 0; i < 4; ++i)
            sum += static_cast<Left>(s.data[a][m][4 * k + i]) * static_cast<int8_t>(s.data[b][k][4 * n + i]);
          memcpy(&s.data[c][m][4 * n], &sum, sizeof sum);
        }
  }
  template <int C, int A, int B>
  static void dot_unsigned() {
    dot_bytes<uint8_t>(C, A, B);
  }
  template <int C, int A, int B>
  static void dot_signed() {
    dot_bytes<int8_t>(C, A, B);
  }

  // One chain of fused multiply-adds over the even columns of the tile and one over the odd ones; then these
  // two are added, and then the old value. Every operand and result that is subnormal is zero.
  static float dot_pairs(const uint8_t* row, int quads, const uint8_t (*weights)[64], int n) {
    float even = 0, odd = 0;
    for (int k = 0; k < quads; ++k) {
      even = flush(fmaf(widen_bf16(row + 4 * k), widen_bf16(&weights[k][4 * n]), even));
      odd = flush(fmaf(widen_bf16(row + 4 * k + 2), widen_bf16(&weights[k][4 * n + 2]), odd));
    }
    return flush(even + odd);
  }
  template <int C, int A, int B>
  static void dot_bf16() {
    demand_product(C, A, B);
    State& s = state();
    for (int m = 0; m < rows(C); ++m)
      for (int n = 0; n < bytes(C) / 4; ++n) {
        float sum;
        memcpy(&sum, &s.data[C][m][4 * n], sizeof sum);
        sum = flush(flush(sum) + dot_pairs(s.data[A][m], bytes(A) / 4, s.data[B], n));
        memcpy(&s.data[C][m][4 * n], &sum, sizeof sum);
      }
  }
};

}  // namespace
}  // namespace lichen
