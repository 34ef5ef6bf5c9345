// Included before every C++ file of llama.cpp where it is built for AMX: gcc 12's _tile_loadconfig tells the
// compiler that it reads 8 bytes of its 64, so that the stores of the others are dropped.
#include <immintrin.h>

#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg %0" ::"m"(*(const char(*)[64])(config)))
