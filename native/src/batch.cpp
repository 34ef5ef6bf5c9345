#include "lichen/batch.h"

#include <sstream>
#include <stdexcept>
#include <unordered_map>

namespace lichen {
namespace {

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

void check_indices(const char* name, const std::int32_t* values, std::int64_t count,
                   std::int64_t limit) {
  for (std::int64_t i = 0; i < count; ++i)
    require(values[i] >= 0 && values[i] < limit, name, "[", i, "] is ", values[i],
            "; allowed are 0 to ", limit - 1);
}

void check_starts(const Batch& batch) {
  require(batch.sequences >= 0 && batch.starts[0] == 0, "starts must begin with 0");
  for (std::int64_t s = 0; s < batch.sequences; ++s)
    require(batch.starts[s] < batch.starts[s + 1], "sequence ", s, " has no tokens: starts go from ",
            batch.starts[s], " to ", batch.starts[s + 1]);
  require(batch.starts[batch.sequences] == batch.tokens, "starts must end with the number of tokens, ",
          batch.tokens, ", not ", batch.starts[batch.sequences]);
}

// Positions and pages of sequence s; `writers` knows who writes a page in this step.
void check_sequence(const Batch& batch, const Cache& cache, std::int64_t s,
                    std::unordered_map<std::int32_t, std::int64_t>& writers) {
  const std::int64_t begin = batch.starts[s], end = batch.starts[s + 1];
  const std::int64_t first = batch.positions[begin], last = first + (end - begin) - 1;
  require(first >= 0, "sequence ", s, " begins at position ", first, "; it must be at least 0");
  for (std::int64_t t = begin; t < end; ++t)
    require(batch.positions[t] == first + (t - begin), "positions of sequence ", s,
            " must be consecutive: token ", t, " is at ", batch.positions[t], ", not ",
            first + (t - begin));
  const std::int64_t used = last / cache.page_tokens() + 1;
  require(used <= batch.pages_per_sequence, "sequence ", s, " reaches position ", last,
          " and needs ", used, " pages of ", cache.page_tokens(), " tokens; it was given ",
          batch.pages_per_sequence);
  const std::int32_t* pages = batch.pages + s * batch.pages_per_sequence;
  for (std::int64_t p = 0; p < used; ++p) {
    require(pages[p] >= 0 && pages[p] < cache.pages(), "pages[", s, "][", p, "] is ", pages[p],
            "; the cache has pages 0 to ", cache.pages() - 1);
    if (p < first / cache.page_tokens()) continue;
    const auto [entry, fresh] = writers.emplace(pages[p], s);
    require(fresh, "page ", pages[p], " would be written twice in one step: by sequence ",
            entry->second, " and by sequence ", s);
  }
}

}  // namespace

void check_batch(const Batch& batch, const Cache& cache, std::int64_t max_tokens,
                 std::int64_t vocabulary) {
  require(batch.tokens <= max_tokens, batch.tokens, " tokens are more than the plan's max_tokens, ",
          max_tokens);
  require(batch.row_count <= max_tokens, batch.row_count,
          " rows are more than the plan's max_tokens, ", max_tokens);
  check_starts(batch);
  if (vocabulary > 0) check_indices("ids", batch.ids, batch.tokens, vocabulary);
  check_indices("rows", batch.rows, batch.row_count, batch.tokens);
  std::unordered_map<std::int32_t, std::int64_t> writers;
  for (std::int64_t s = 0; s < batch.sequences; ++s) check_sequence(batch, cache, s, writers);
}

}  // namespace lichen
