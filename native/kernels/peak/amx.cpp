// AMX: products of whole tiles, [16, 64 bytes] by [64 bytes, 16], added to [16, 16] sums of 32 bits.
// The system must have granted the tiles to this process.
#include <immintrin.h>

#include "kernels/peak/peak.h"

namespace lichen {
namespace {

constexpr int64_t kTiles = 6;  // of sums; two more hold the inputs

// Intel SDM volume 1, 18.3: the palette, then the bytes of a row and the rows of each tile.
struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Config) == 64, "ldtilecfg reads 64 bytes");

// Every thread has its own tiles. gcc 12 takes the instruction to read 8 bytes, and would drop the stores
// of the rest without the barrier.
inline __attribute__((always_inline)) void open_tiles(const Config& config) {
  asm volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
}

}  // namespace

int64_t peak_i8_amx(int64_t rounds) {
  const Config config;
  open_tiles(config);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbusd(0, 6, 7);
    _tile_dpbusd(1, 6, 7);
    _tile_dpbusd(2, 6, 7);
    _tile_dpbusd(3, 6, 7);
    _tile_dpbusd(4, 6, 7);
    _tile_dpbusd(5, 6, 7);
  }
  _tile_release();
  return rounds * kTiles * 2 * 16 * 16 * 64;
}

int64_t peak_bf16_amx(int64_t rounds) {
  const Config config;
  open_tiles(config);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 6, 7);
    _tile_dpbf16ps(1, 6, 7);
    _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7);
    _tile_dpbf16ps(4, 6, 7);
    _tile_dpbf16ps(5, 6, 7);
  }
  _tile_release();
  return rounds * kTiles * 2 * 16 * 16 * 32;
}

}  // namespace lichen
