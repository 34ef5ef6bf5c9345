// What one step works on: some tokens of each of several sequences.
#pragma once

#include <cstdint>

#include "lichen/cache.h"

namespace lichen {

// Sequence s owns tokens starts[s] .. starts[s + 1] - 1, at consecutive positions; its keys and values
// are in pages[s][0], pages[s][1], ... (entries past the last position are not read).
struct Batch {
  const std::int32_t* ids;        // [tokens]
  const std::int32_t* positions;  // [tokens]
  const std::int32_t* starts;     // [sequences + 1]
  const std::int32_t* pages;      // [sequences][pages_per_sequence]
  const std::int32_t* rows;       // [row_count]: tokens whose output is wanted
  std::int64_t tokens;
  std::int64_t sequences;
  std::int64_t pages_per_sequence;
  std::int64_t row_count;
  const float* const* inputs = nullptr;  // of Plan::input, in order: [tokens][width]
  float* const* taps = nullptr;          // of Plan::tap, likewise
};

// Throws std::invalid_argument, in words, unless every number is in range, the positions of a sequence
// are consecutive, and no two sequences write the same page. A vocabulary of 0 is of a plan that looks no
// ids up.
void check_batch(const Batch& batch, const Cache& cache, std::int64_t max_tokens,
                 std::int64_t vocabulary);

}  // namespace lichen
