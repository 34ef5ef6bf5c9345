// The AMX instructions that the kernels use, with the number of a tile as a template argument (the
// compilers' intrinsics take literals only). A tile is 16 rows of 64 bytes. Written as assembly so that the
// compiler knows what each one reads and writes: gcc 12's _tile_loadconfig claims to read 8 of its 64 bytes,
// and its _tile_loadd no memory at all, so that it may drop or move the stores that filled them.
// native/tests/tiles_emulated.inc.h has the same in plain C++, for tests on processors without AMX: with
// -DLICHEN_EMULATE_AMX in CMAKE_CXX_FLAGS, the whole engine offers `amx` wherever there is AVX512-VNNI.
#if defined(LICHEN_EMULATE_AMX)
#include "tests/tiles_emulated.inc.h"
#else

#include <stdint.h>

namespace lichen {
namespace {

struct alignas(64) TileConfig {  // Intel SDM volume 1, 18.2: palette 1
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

struct Tiles {
  static void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
  // Back to the initial state, which the system need not save when it switches threads: 8 KiB each time.
  static void release() { asm volatile("tilerelease"); }

  template <int T>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  template <int T>
  static void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(T), "r"(from), "r"(stride) : "memory");
  }
  template <int T>
  static void store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(T), "r"(to), "r"(stride) : "memory");
  }
  // C += A B, for A of unsigned and B of signed bytes; of signed bytes both; of pairs of bf16.
  template <int C, int A, int B>
  static void dot_unsigned() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
  template <int C, int A, int B>
  static void dot_signed() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
  template <int C, int A, int B>
  static void dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};

}  // namespace
}  // namespace lichen
#endif

namespace lichen {
namespace {

// Sums are tiles 0 to 3, left-hand sides 4 and 5, right-hand sides 6 and 7. `depth` bytes of columns make a step.
inline TileConfig tile_config(int64_t height, int64_t depth) {
  TileConfig config = {};
  config.palette = 1;
  for (int t = 0; t < 6; ++t) config.rows[t] = static_cast<uint8_t>(height);
  for (int t = 6; t < 8; ++t) config.rows[t] = static_cast<uint8_t>(depth / 4);
  for (int t = 0; t < 8; ++t) config.row_bytes[t] = static_cast<uint16_t>(t == 4 || t == 5 ? depth : 64);
  return config;
}

}  // namespace
}  // namespace lichen
