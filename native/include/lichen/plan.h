// A model's forward pass, compiled once and run step by step.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lichen/batch.h"
#include "lichen/cpu.h"
#include "lichen/elementwise.h"
#include "lichen/inputs.h"
#include "lichen/linear.h"
#include "lichen/memory.h"
#include "lichen/norm.h"
#include "lichen/threads.h"

namespace lichen {

class Phase;
class RowPhase;
enum class Domain;
struct Matrix;

// Operations are appended in order; `output` or `finish` ends the plan, and then it can be stepped. Values are
// float32 matrices [rows, width] whose memory is reused once they are dead. Every method throws
// std::invalid_argument, in words, for what does not fit together.
class Plan {
 public:
  using Value = int;
  using Weights = std::vector<float>;
  using Product = std::pair<std::shared_ptr<const Linear>, Value>;

  Plan(std::shared_ptr<ThreadPool> pool, Isa isa, std::int64_t max_tokens);
  ~Plan();

  Value value(std::int64_t width);

  void embedding(std::shared_ptr<const Linear> table, Value out);
  // Rows that each step is handed in, for a plan that is part of a model: Batch::inputs.
  void input(Value out);
  void rms_norm(Value x, Value out, Weights weight, float epsilon);
  void layer_norm(Value x, Value out, Weights weight, Weights bias, float epsilon);
  // Products of one input in one phase. Weights that read it in the same form (see Input) share it; those
  // that read codes must agree on their scales.
  void linear(Value x, const std::vector<Product>& products, bool accumulate);
  // out = silu(gate x) * (up x), two products of one shape that read the same form of x.
  void gated(Value x, const std::shared_ptr<const Linear>& gate, const std::shared_ptr<const Linear>& up, Value out);
  // The input of a product that no kernel makes in integers, see fake_quantize_row.
  void fake_quantize(Value x, Value out, float scale, std::int64_t group);
  void rope(Value x, std::int64_t heads, std::int64_t head_dim, const Weights& inverse_frequencies,
            float scale, bool interleaved);
  void attention(Value q, Value k, Value v, Value out, std::int64_t layer, std::int64_t heads,
                 std::int64_t kv_heads, std::int64_t head_dim, float scale,
                 const Weights& key_units = {});
  void silu_mul(Value gate, Value up, Value out);
  void gelu(Value x, Value out, bool approximate);
  void add(Value x, Value y, Value out);
  // Keeps the rows that the step asks for; what follows works on these.
  void select_rows(Value x, Value out);
  // Rows of x, as it is now, that each step hands out, one for every token: Batch::taps.
  void tap(Value x);
  void output(Value x);
  // Ends a plan that has taps alone.
  void finish();

  std::int64_t output_width() const;
  const std::vector<std::int64_t>& input_widths() const { return input_widths_; }
  const std::vector<std::int64_t>& tap_widths() const { return tap_widths_; }

  // A product of every step: of all its tokens, or of the rows that it asks for only.
  struct ProductInfo {
    std::shared_ptr<const Linear> weight;
    bool every_token;
  };
  const std::vector<ProductInfo>& products() const { return products_; }
  // out: float[batch.row_count][output_width], where there is an output. One step at a time; a second caller waits.
  void step(Cache& cache, const Batch& batch, float* out);

  // Seconds that threads worked in each kind of phase, and were "waiting" for others at its end, since
  // the plan was made; summed over threads.
  std::map<std::string, double> profile() const;
  // Sets all memory of values, as a former step might have left it.
  void fill(float value);

 private:
  struct ValueInfo {
    std::int64_t width;
    std::int64_t stride = 0;      // in floats
    Domain domain;
    int first_phase = -1;         // that writes it; -1: none yet
    int last_phase = -1;          // that reads or writes it
    std::int64_t offset = 0;      // of its memory, in floats
  };
  struct Angles {                 // cos and sin of a rope, made in the first phase for every token
    Weights inverse_frequencies;
    float scale;
    AlignedBuffer table;          // [max_tokens][2][pairs]
  };
  struct CacheShape {
    std::int64_t layers = 0, kv_heads = 0, head_dim = 0;
  };

  ValueInfo& info(Value value);
  ValueInfo& read(Value value);
  ValueInfo& write(Value value, std::int64_t width);
  void touch(Value value);
  void require_open() const;
  void require_tokens(const char* operation) const;
  RowPhase& row_phase();
  const Angles& angles(const Weights& inverse_frequencies, float scale);
  void prepare(Value x, const std::shared_ptr<const Linear>& linear);
  void open_products(Value x, const std::vector<std::shared_ptr<const Linear>>& weights);
  void place_values();
  void check_cache(const Cache& cache) const;

  const std::shared_ptr<ThreadPool> pool_;
  const Isa isa_;
  const std::int64_t max_tokens_;
  const NormKernels& norm_;
  const ElementwiseKernels& elementwise_;

  std::vector<ValueInfo> values_;
  std::vector<std::unique_ptr<Phase>> phases_;
  std::vector<ProductInfo> products_;
  std::vector<std::unique_ptr<Angles>> angles_;
  RowPhase* open_rows_ = nullptr;  // the last phase, when row operations can still join it
  Domain domain_;
  std::vector<std::int64_t> input_widths_, tap_widths_;
  Value output_ = -1;
  bool finished_ = false;
  std::int64_t vocabulary_ = 0;
  CacheShape cache_shape_;
  std::int64_t code_columns_ = 0;
  std::int64_t scratch_stride_ = 0;

  AlignedBuffer arena_, scratch_, partials_;
  QuantizedBuffer quantized_;
  std::vector<Matrix> matrices_;
  std::vector<std::vector<double>> seconds_;  // [threads][phases + 1], the last for waiting
  mutable std::mutex stepping_;
};

}  // namespace lichen
