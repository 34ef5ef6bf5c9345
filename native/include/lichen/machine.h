// What this machine can do at most: the limits that a model's speed is held against.
#pragma once

#include <cstdint>
#include <vector>

#include "lichen/cpu.h"
#include "lichen/threads.h"

namespace lichen {

// Bytes a second that all threads together read of `bytes` of memory in huge pages, from its first byte
// to its last; one rate for each repetition. `bytes` should be several times the last-level cache.
// Throws std::bad_alloc.
std::vector<double> read_rates(ThreadPool& pool, std::int64_t bytes, int repetitions);

enum class Peak { i8, bf16 };

// Operations a second of all threads together in the set's own multiply-adds (two operations each), from
// registers to registers; one rate for each repetition. A set that cannot multiply bf16 widens it to
// float32 first, as the kernels do; one without int8 products takes those of 16 bits.
std::vector<double> peak_rates(ThreadPool& pool, Isa isa, Peak peak, int repetitions);

}  // namespace lichen
