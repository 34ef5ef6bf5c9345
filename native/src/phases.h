// The phases of a step. All threads work on one phase, chunk by chunk, and meet before the next; what is one chunk
// is done by the last to come.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lichen/attention.h"
#include "lichen/batch.h"
#include "lichen/elementwise.h"
#include "lichen/inputs.h"
#include "lichen/linear.h"

namespace lichen {

// Which rows a value has: one for every token of the step, or one for every row asked for.
enum class Domain { tokens, rows };

// A value's memory during a step: [rows of its domain][stride].
struct Matrix {
  float* data = nullptr;
  std::int64_t stride = 0;

  float* row(std::int64_t i) const { return data + i * stride; }
};

// Consecutive tokens of one sequence; where there are fewer tiles than could keep the threads busy,
// the segments of each are shared out too, as pieces first_piece, first_piece + 1, ...
struct TokenTile {
  std::int64_t sequence;
  std::int64_t first;
  std::int64_t count;
  std::int64_t first_piece;
  std::int64_t pieces;
};

// The step's tokens in tiles, those with most keys to attend first.
struct Tiling {
  std::int64_t tile_tokens;            // at most, near the beginning (kAttentionNear)
  std::vector<TokenTile> tiles;
  std::vector<std::int64_t> tile_of;   // [pieces]
  // [tiles][KV heads]: pieces of the phase at work that are done
  std::unique_ptr<std::atomic<int>[]> done;
};

// What the phases of one step share.
struct Step {
  const Batch& batch;
  Cache& cache;
  const Matrix* values;
  QuantizedRows quantized;            // the input of the linear phase that comes next
  const std::int64_t* sequences;      // [tokens]: the sequence that owns it
  int threads;
  float* scratch;                     // [threads][scratch_stride], for attention
  std::int64_t scratch_stride;
  float* partials;                    // [partial_floats], for attention that is shared out
  std::int64_t partial_floats;        // the most that a phase needs
  std::vector<Tiling> tilings;

  std::int64_t count(Domain domain) const {
    return domain == Domain::tokens ? batch.tokens : batch.row_count;
  }
  const Tiling* find_tiling(std::int64_t tile_tokens) const;
  const Tiling& tiling(std::int64_t tile_tokens, std::int64_t kv_heads);  // made the first time
};

class Phase {
 public:
  explicit Phase(Domain domain) : domain_(domain) {}
  virtual ~Phase() = default;

  Domain domain() const { return domain_; }
  virtual std::string name() const = 0;
  // Called once by one thread: how many chunks there are in this step.
  virtual std::int64_t prepare(Step& step) const = 0;
  virtual void run(const Step& step, std::int64_t chunk, int thread) const = 0;
  // Whether each thread should walk a range of chunks of its own; the weights from a chunk on.
  virtual bool in_ranges(const Step&) const { return false; }
  virtual bool reads_weights() const { return false; }
  virtual Span weights(const Step&, std::int64_t) const { return {}; }

 private:
  const Domain domain_;
};

// Operations that work on each row by itself, one after the other while the row is in the cache.
class RowPhase : public Phase {
 public:
  using Operation = std::function<void(const Step& step, std::int64_t row)>;

  using Phase::Phase;
  void add(const std::string& name, Operation operation);
  std::string name() const override { return name_; }
  std::int64_t prepare(Step& step) const override;
  void run(const Step& step, std::int64_t chunk, int thread) const override;

 private:
  std::int64_t rows_per_chunk(const Step& step) const;

  std::string name_;
  std::vector<Operation> operations_;
};

// Several products of one input.
class LinearPhase : public Phase {
 public:
  struct Product {
    std::shared_ptr<const Linear> linear;
    int out;
  };

  LinearPhase(Domain domain, int x, std::vector<Product> products, bool accumulate);
  std::string name() const override { return "linear"; }
  std::int64_t prepare(Step& step) const override;
  void run(const Step& step, std::int64_t chunk, int thread) const override;
  bool in_ranges(const Step& step) const override;
  bool reads_weights() const override { return true; }
  Span weights(const Step& step, std::int64_t chunk) const override;

 private:
  // A chunk of the phase, as one of a product.
  struct Place {
    const Product& product;
    std::int64_t chunk;
  };
  Place place(std::int64_t rows, std::int64_t chunk) const;

  const int x_;
  const std::vector<Product> products_;
  const bool accumulate_;
};

// silu(gate x) * (up x), chunk by chunk: both products of all tokens would not stay in any cache.
class GatedPhase : public Phase {
 public:
  using SiluMul = decltype(ElementwiseKernels::silu_mul);

  // The two are cut alike.
  GatedPhase(Domain domain, int x, std::shared_ptr<const Linear> gate, std::shared_ptr<const Linear> up, int out,
             SiluMul silu_mul);
  std::string name() const override { return "linear"; }
  std::int64_t prepare(Step& step) const override;
  void run(const Step& step, std::int64_t chunk, int thread) const override;
  bool in_ranges(const Step& step) const override;
  bool reads_weights() const override { return true; }
  Span weights(const Step& step, std::int64_t chunk) const override;
  static std::int64_t scratch(const Linear& gate, std::int64_t most_tokens);  // floats for one chunk

 private:
  const int x_;
  const std::shared_ptr<const Linear> gate_, up_;
  const int out_;
  const SiluMul silu_mul_;
};

struct AttentionShape {
  std::int64_t layer;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  float scale;
  std::vector<float> key_units;  // [kv_heads][head_dim] or empty; an int8 cache holds multiples of them

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t tile_tokens() const;  // tokens of one task, near the beginning
  std::int64_t scratch() const;      // floats for any task
  std::int64_t partial() const;      // floats of a segment of any task
};

// Attention over the cache, which already holds the step's own keys and values.
class AttentionPhase : public Phase {
 public:
  AttentionPhase(const AttentionKernels& kernels, const AttentionShape& shape, int q, int out);
  std::string name() const override { return "attention"; }
  std::int64_t prepare(Step& step) const override;
  void run(const Step& step, std::int64_t chunk, int thread) const override;

 private:
  AttentionTask task(const Step& step, const TokenTile& tile, std::int64_t head) const;

  const AttentionKernels& kernels_;
  const AttentionShape shape_;
  const int q_, out_;
};

}  // namespace lichen
