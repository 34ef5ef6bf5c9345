// What the products of two panels of rounded columns are, for each instruction set (lichen/moment.h).
#pragma once

#include <stdint.h>

namespace lichen {

enum class Isa;  // lichen/cpu.h

constexpr int64_t kMomentLines = 32;    // columns of an input in a panel
constexpr int64_t kMomentTokens = 256;  // at most, of a panel
constexpr int kMomentLargest = 63;      // the largest code

// Columns of an input, codes times scales; tokens in eights, those past the last one zeros.
struct MomentPanel {
  const int8_t* codes;      // [tokens / 4][kMomentLines][4]
  const uint8_t* raised;    // the same, and 64 more
  const int32_t* raise;     // [kMomentLines], what products with raised codes have too much: 64 times the sum of codes
  const float* scales;      // [kMomentLines]
};

// c[i][j] += sum over tokens of a's column i times b's column j: exact in integers, times (scale * scale) in
// float32. Rows of c are `stride` apart.
using MomentKernel = void (*)(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride);

MomentKernel moment_kernel(Isa isa);

#define LICHEN_DECLARE(isa) \
  void moment_##isa(const MomentPanel& a, const MomentPanel& b, int64_t tokens, float* c, int64_t stride)
LICHEN_DECLARE(portable);
LICHEN_DECLARE(avx2);
LICHEN_DECLARE(avx_vnni);
LICHEN_DECLARE(avx512);
LICHEN_DECLARE(avx512_vnni);
LICHEN_DECLARE(neon);
LICHEN_DECLARE(neon_dotprod);
#undef LICHEN_DECLARE

}  // namespace lichen
