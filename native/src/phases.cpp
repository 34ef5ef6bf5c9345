#include "phases.h"

#include <algorithm>

namespace lichen {

const Tiling* Step::find_tiling(std::int64_t tile_tokens) const {
  for (const Tiling& made : tilings)
    if (made.tile_tokens == tile_tokens) return &made;
  return nullptr;
}

const Tiling& Step::tiling(std::int64_t tile_tokens, std::int64_t kv_heads) {
  if (const Tiling* made = find_tiling(tile_tokens)) return *made;
  std::vector<TokenTile> tiles;
  for (std::int64_t s = 0; s < batch.sequences; ++s)
    for (std::int64_t first = batch.starts[s]; first < batch.starts[s + 1]; first += tiles.back().count) {
      const std::int64_t position = batch.positions[first];
      const bool near = position < kAttentionNear;
      const std::int64_t most = near ? std::min(tile_tokens, kAttentionNear - position) : kAttentionFarTokens * tile_tokens;
      tiles.push_back({s, first, std::min(most, batch.starts[s + 1] - first), 0, 1});
    }
  const auto cost = [this](const TokenTile& tile) {
    return tile.count * (batch.positions[tile.first] + 1);
  };
  std::stable_sort(tiles.begin(), tiles.end(), [&](const TokenTile& a, const TokenTile& b) {
    return cost(a) > cost(b);
  });
  constexpr std::int64_t kTasksPerThread = 8;
  const auto count = static_cast<std::int64_t>(tiles.size());
  const bool share_segments = count * kv_heads < kTasksPerThread * threads;
  std::vector<std::int64_t> tile_of;
  for (std::int64_t i = 0; i < count; ++i) {
    TokenTile& tile = tiles[static_cast<std::size_t>(i)];
    tile.first_piece = static_cast<std::int64_t>(tile_of.size());
    if (share_segments) tile.pieces = attention_segments(batch.positions[tile.first], tile.count);
    tile_of.insert(tile_of.end(), static_cast<std::size_t>(tile.pieces), i);
  }
  auto done = std::make_unique<std::atomic<int>[]>(static_cast<std::size_t>(count * kv_heads));
  tilings.push_back({tile_tokens, std::move(tiles), std::move(tile_of), std::move(done)});
  return tilings.back();
}

void RowPhase::add(const std::string& name, Operation operation) {
  name_ += (name_.empty() ? "" : "+") + name;
  operations_.push_back(std::move(operation));
}

std::int64_t RowPhase::rows_per_chunk(const Step& step) const {
  constexpr std::int64_t kChunksPerThread = 4;
  return std::clamp<std::int64_t>(step.count(domain()) / (step.threads * kChunksPerThread), 1, 16);
}

std::int64_t RowPhase::prepare(Step& step) const {
  const std::int64_t size = rows_per_chunk(step);
  return (step.count(domain()) + size - 1) / size;
}

void RowPhase::run(const Step& step, std::int64_t chunk, int) const {
  const std::int64_t size = rows_per_chunk(step);
  const std::int64_t end = std::min((chunk + 1) * size, step.count(domain()));
  for (std::int64_t row = chunk * size; row < end; ++row)
    for (const Operation& operation : operations_) operation(step, row);
}

LinearPhase::LinearPhase(Domain domain, int x, std::vector<Product> products, bool accumulate)
    : Phase(domain), x_(x), products_(std::move(products)), accumulate_(accumulate) {}

std::int64_t LinearPhase::prepare(Step& step) const {
  std::int64_t chunks = 0;
  for (const Product& product : products_)
    chunks += linear_chunks(*product.linear, step.count(domain()));
  return chunks;
}

void LinearPhase::run(const Step& step, std::int64_t chunk, int) const {
  const std::int64_t rows = step.count(domain());
  const Place at = place(rows, chunk);
  const Matrix& x = step.values[x_];
  const Matrix& y = step.values[at.product.out];
  linear_chunk(*at.product.linear, x.data, x.stride, &step.quantized, rows, y.data, y.stride,
               accumulate_, at.chunk);
}

bool LinearPhase::in_ranges(const Step& step) const {
  return std::all_of(products_.begin(), products_.end(), [&](const Product& product) {
    return linear_in_ranges(*product.linear, step.count(domain()));
  });
}

Span LinearPhase::weights(const Step& step, std::int64_t chunk) const {
  const std::int64_t rows = step.count(domain());
  const Place at = place(rows, chunk);
  return linear_weights(*at.product.linear, rows, at.chunk);
}

LinearPhase::Place LinearPhase::place(std::int64_t rows, std::int64_t chunk) const {
  std::size_t product = 0;
  for (; product + 1 < products_.size(); ++product) {
    const std::int64_t chunks = linear_chunks(*products_[product].linear, rows);
    if (chunk < chunks) break;
    chunk -= chunks;
  }
  return {products_[product], chunk};
}

GatedPhase::GatedPhase(Domain domain, int x, std::shared_ptr<const Linear> gate, std::shared_ptr<const Linear> up,
                       int out, SiluMul silu_mul)
    : Phase(domain), x_(x), gate_(std::move(gate)), up_(std::move(up)), out_(out), silu_mul_(silu_mul) {}

std::int64_t GatedPhase::prepare(Step& step) const { return linear_chunks(*gate_, step.count(domain())); }

std::int64_t GatedPhase::scratch(const Linear& gate, std::int64_t most_tokens) {
  return 2 * linear_chunk_floats(gate, most_tokens);
}

void GatedPhase::run(const Step& step, std::int64_t chunk, int thread) const {
  const std::int64_t tokens = step.count(domain());
  const Matrix &x = step.values[x_], &out = step.values[out_];
  const Chunk at = linear_place(*gate_, tokens, chunk);
  const std::int64_t stride = (at.rows + kPanelRows - 1) / kPanelRows * kPanelRows;
  float* const gated = step.scratch + thread * step.scratch_stride;
  float* const up = gated + at.tokens * stride;
  linear_chunk_at(*gate_, x.data, x.stride, &step.quantized, tokens, gated, stride, false, at);
  linear_chunk_at(*up_, x.data, x.stride, &step.quantized, tokens, up, stride, false, at);
  constexpr std::int64_t kRowsAhead = 8;  // while a row is computed, these come to be written
  for (std::int64_t t = 0; t < at.tokens; ++t) {
    const std::int64_t ahead = std::min(t + kRowsAhead, at.tokens - 1);
    for (std::int64_t r = 0; r < at.rows; r += kCacheLine / static_cast<std::int64_t>(sizeof(float)))
      __builtin_prefetch(out.row(at.token + ahead) + at.row + r, 1);
    silu_mul_(gated + t * stride, up + t * stride, out.row(at.token + t) + at.row, at.rows);
  }
}

bool GatedPhase::in_ranges(const Step& step) const { return linear_in_ranges(*gate_, step.count(domain())); }

Span GatedPhase::weights(const Step& step, std::int64_t chunk) const {
  return linear_weights(*gate_, step.count(domain()), chunk);
}

std::int64_t AttentionShape::tile_tokens() const {
  return std::max<std::int64_t>(1, kAttentionRows / group());
}

std::int64_t AttentionShape::scratch() const {
  return attention_scratch(kAttentionFarTokens * tile_tokens() * group(), head_dim);
}

std::int64_t AttentionShape::partial() const {
  return attention_partial(kAttentionFarTokens * tile_tokens() * group(), head_dim);
}

AttentionPhase::AttentionPhase(const AttentionKernels& kernels, const AttentionShape& shape, int q,
                               int out)
    : Phase(Domain::tokens), kernels_(kernels), shape_(shape), q_(q), out_(out) {}

std::int64_t AttentionPhase::prepare(Step& step) const {
  const Tiling& tiling = step.tiling(shape_.tile_tokens(), shape_.kv_heads);
  const std::int64_t chunks = static_cast<std::int64_t>(tiling.tile_of.size()) * shape_.kv_heads;
  if (tiling.tile_of.size() > tiling.tiles.size())
    step.partial_floats = std::max(step.partial_floats, chunks * shape_.partial());
  return chunks;
}

AttentionTask AttentionPhase::task(const Step& step, const TokenTile& tile, std::int64_t head) const {
  const std::int64_t column = head * shape_.group() * shape_.head_dim;
  const Batch& batch = step.batch;
  AttentionTask task;
  task.cache = step.cache.view(shape_.layer, head,
                               batch.pages + tile.sequence * batch.pages_per_sequence);
  task.q = step.values[q_].row(tile.first) + column;
  task.out = step.values[out_].row(tile.first) + column;
  task.q_stride = step.values[q_].stride;
  task.out_stride = step.values[out_].stride;
  task.tokens = tile.count;
  task.group = shape_.group();
  task.head_dim = shape_.head_dim;
  task.first_position = batch.positions[tile.first];
  task.scale = shape_.scale;
  const bool in_units = step.cache.type() == CacheType::i8 && !shape_.key_units.empty();
  task.key_units = in_units ? shape_.key_units.data() + head * shape_.head_dim : nullptr;
  return task;
}

// A chunk is a piece of a tile, with one KV head. Who does a tile's last piece joins them all.
void AttentionPhase::run(const Step& step, std::int64_t chunk, int thread) const {
  const Tiling& tiling = *step.find_tiling(shape_.tile_tokens());
  const std::int64_t piece = chunk / shape_.kv_heads, head = chunk % shape_.kv_heads;
  const std::int64_t index = tiling.tile_of[static_cast<std::size_t>(piece)];
  const TokenTile& tile = tiling.tiles[static_cast<std::size_t>(index)];
  const AttentionTask work = task(step, tile, head);
  float* const scratch = step.scratch + thread * step.scratch_stride;
  if (tile.pieces == 1) return kernels_.attend(work, scratch);

  const std::int64_t size = shape_.partial();
  kernels_.attend_segment(work, piece - tile.first_piece, step.partials + chunk * size, scratch);
  std::atomic<int>& done = tiling.done[static_cast<std::size_t>(index * shape_.kv_heads + head)];
  if (done.fetch_add(1, std::memory_order_acq_rel) + 1 < tile.pieces) return;
  done.store(0, std::memory_order_relaxed);  // for the next layer
  const std::int64_t first_chunk = tile.first_piece * shape_.kv_heads + head;
  kernels_.join_segments(work, step.partials + first_chunk * size, shape_.kv_heads * size);
}

}  // namespace lichen
