// Four lanes, and what moves them, as gcc (before 12) and clang say it: 0 to 3 are those of `a`, 4 to 7 those of `b`.
#pragma once

#include <stdint.h>

namespace lichen {
namespace {

typedef float F4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));

}  // namespace
}  // namespace lichen

#if defined(__clang__)
#define LICHEN_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define LICHEN_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, lichen::I4{__VA_ARGS__})
#endif
