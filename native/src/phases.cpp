#include "phases.h"

#include <algorithm>

namespace lichen {

const std::vector<TokenTile>& Step::tiles_of(std::int64_t tokens) {
  for (const auto& [size, tiles_of_size] : tiles)
    if (size == tokens) return tiles_of_size;
  std::vector<TokenTile> made;
  for (std::int64_t s = 0; s < batch.sequences; ++s)
    for (std::int64_t first = batch.starts[s]; first < batch.starts[s + 1]; first += tokens)
      made.push_back({s, first, std::min<std::int64_t>(tokens, batch.starts[s + 1] - first)});
  const auto cost = [this](const TokenTile& tile) {
    return tile.count * (batch.positions[tile.first] + 1);
  };
  std::stable_sort(made.begin(), made.end(), [&](const TokenTile& a, const TokenTile& b) {
    return cost(a) > cost(b);
  });
  return tiles.emplace_back(tokens, std::move(made)).second;
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
  for (const Product& product : products_) {
    const std::int64_t chunks = linear_chunks(*product.linear, rows);
    if (chunk >= chunks) {
      chunk -= chunks;
      continue;
    }
    const Matrix& x = step.values[x_];
    const Matrix& y = step.values[product.out];
    linear_chunk(*product.linear, x.data, x.stride, &step.quantized, rows, y.data, y.stride,
                 accumulate_, chunk);
    return;
  }
}

std::int64_t AttentionShape::tile_tokens() const {
  return std::max<std::int64_t>(1, kAttentionRows / group());
}

std::int64_t AttentionShape::scratch() const {
  return attention_scratch(tile_tokens() * group(), head_dim);
}

AttentionPhase::AttentionPhase(AttentionKernel kernel, const AttentionShape& shape, int q, int out)
    : Phase(Domain::tokens), kernel_(kernel), shape_(shape), q_(q), out_(out) {}

std::int64_t AttentionPhase::prepare(Step& step) const {
  return static_cast<std::int64_t>(step.tiles_of(shape_.tile_tokens()).size()) * shape_.kv_heads;
}

void AttentionPhase::run(const Step& step, std::int64_t chunk, int thread) const {
  const auto& entry = std::find_if(step.tiles.begin(), step.tiles.end(), [this](const auto& tiles) {
    return tiles.first == shape_.tile_tokens();
  });
  const TokenTile& tile = entry->second[static_cast<std::size_t>(chunk / shape_.kv_heads)];
  const std::int64_t head = chunk % shape_.kv_heads;
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
  kernel_(task, step.scratch + thread * step.scratch_stride);
}

}  // namespace lichen
