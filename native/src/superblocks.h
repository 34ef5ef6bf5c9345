// Scales that are small integers times a unit: GGUF's K types, whose superblocks of 256 columns share one.
#pragma once

#include <cstdint>
#include <vector>

#include "lichen/threads.h"

namespace lichen {

constexpr std::int64_t kSuperblockColumns = 256;

// Whether `count` scales are whole multiples, -128 to 127, of a number of float16; if so, its bits.
bool find_unit(const float* scales, std::int64_t count, std::uint16_t* unit);

// The multiple of a unit that was found.
std::int8_t multiple_of(float scale, std::uint16_t unit);

// The units of scales[superblocks][count]; empty where one has none.
std::vector<std::uint16_t> find_units(ThreadPool& pool, const float* scales, std::int64_t superblocks, std::int64_t count);

}  // namespace lichen
