// The loops that find what a machine can do at most. Plain data only: compiled under every set's flags.
#pragma once

#include <stdint.h>

namespace lichen {

// Multiplies and adds in registers, `rounds` times over, and returns how many operations that were: two
// for a product that is added. Nothing is read from memory, so nothing but the processor limits it.
using PeakLoop = int64_t (*)(int64_t rounds);

int64_t peak_i8_portable(int64_t rounds);
int64_t peak_bf16_portable(int64_t rounds);
int64_t peak_i8_avx2(int64_t rounds);
int64_t peak_bf16_avx2(int64_t rounds);
int64_t peak_i8_avx512(int64_t rounds);
int64_t peak_bf16_avx512(int64_t rounds);
int64_t peak_i8_avx512_vnni(int64_t rounds);
int64_t peak_i8_avx_vnni(int64_t rounds);
int64_t peak_bf16_avx512_bf16(int64_t rounds);
int64_t peak_i8_amx(int64_t rounds);
int64_t peak_bf16_amx(int64_t rounds);
int64_t peak_i8_neon(int64_t rounds);
int64_t peak_bf16_neon(int64_t rounds);
int64_t peak_i8_neon_dotprod(int64_t rounds);
int64_t peak_i8_neon_i8mm(int64_t rounds);

}  // namespace lichen
