#include "lichen/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <new>
#include <sstream>
#include <stdexcept>

#include "phases.h"

namespace lichen {
namespace {

constexpr std::int64_t kAlignment = 16;  // floats: values, rows and scratch start on a cache line

std::int64_t aligned(std::int64_t floats) {
  return (floats + kAlignment - 1) / kAlignment * kAlignment;
}

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

// Charges the time since the last charge to one of `seconds`.
class Clock {
 public:
  explicit Clock(double* seconds) : seconds_(seconds) {}
  void charge(std::size_t entry) {
    const auto now = std::chrono::steady_clock::now();
    seconds_[entry] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }

 private:
  double* seconds_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Brings what a thread reads next nearer while it waits: a few lines at a time, and no more than leaves most of
// a level-2 cache to others.
class ReadAhead {
 public:
  void aim(const Span& at) {
    if (at.first == first_) return;
    first_ = next_ = at.first;
    end_ = at.first + std::min<std::int64_t>(at.bytes, 64 << 10);
  }
  void some() {
    for (int i = 0; i < 4 && next_ < end_; ++i, next_ += kCacheLine) __builtin_prefetch(next_, 0, 2);
  }

 private:
  const char *first_ = nullptr, *next_ = nullptr, *end_ = nullptr;
};

// What all threads do together, and what one of them does before they go on.
struct Part {
  std::size_t phase;
  std::int64_t chunks;
  int ranges;
  std::vector<std::size_t> alone;  // phases of one chunk, that come next
};

using Phases = std::vector<std::unique_ptr<Phase>>;

std::vector<Part> parts_of(const Phases& phases, Step& step) {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const std::int64_t chunks = phases[i]->prepare(step);
    if (chunks == 1 && !parts.empty())
      parts.back().alone.push_back(i);
    else if (chunks != 0)
      parts.push_back({i, chunks, phases[i]->in_ranges(step) ? step.threads : 1, {}});
  }
  return parts;
}

// The weights that a thread will start with in the next part, from `part` on, that reads any; none where it cannot
// be told.
Span next_weights(const Phases& phases, const std::vector<Part>& parts, std::size_t part, const Step& step,
                  int thread) {
  for (; part < parts.size(); ++part) {
    const Phase& phase = *phases[parts[part].phase];
    if (!phase.reads_weights()) continue;
    const std::int64_t chunk = ChunkRanges::first(parts[part].chunks, parts[part].ranges, thread);
    return phase.in_ranges(step) && chunk < parts[part].chunks ? phase.weights(step, chunk) : Span{};
  }
  return {};
}

std::size_t float_bytes(std::int64_t floats) {
  return static_cast<std::size_t>(floats) * sizeof(float);
}

std::int64_t size_of(const Plan::Weights& weights) {
  return static_cast<std::int64_t>(weights.size());
}

}  // namespace

Plan::Plan(std::shared_ptr<ThreadPool> pool, Isa isa, std::int64_t max_tokens)
    : pool_(std::move(pool)),
      isa_(isa),
      max_tokens_(max_tokens),
      norm_(norm_kernels(isa)),
      elementwise_(elementwise_kernels(isa)),
      domain_(Domain::tokens) {
  require(max_tokens >= 1 && max_tokens <= (1 << 24), "max_tokens must be 1 to ", 1 << 24, ", not ",
          max_tokens);
}

Plan::~Plan() = default;

// --- Values ---------------------------------------------------------------------------------------

Plan::Value Plan::value(std::int64_t width) {
  require_open();
  require(width >= 1 && width <= (1 << 24), "the width of a value must be 1 to ", 1 << 24, ", not ",
          width);
  ValueInfo made;
  made.width = width;
  made.stride = aligned(width);
  made.domain = domain_;
  values_.push_back(made);
  return static_cast<Value>(values_.size()) - 1;
}

Plan::ValueInfo& Plan::info(Value value) {
  require(value >= 0 && value < static_cast<Value>(values_.size()), "there is no value ", value,
          " in this plan");
  return values_[static_cast<std::size_t>(value)];
}

Plan::ValueInfo& Plan::read(Value value) {
  ValueInfo& found = info(value);
  require(found.first_phase >= 0, "value ", value, " is read before anything is written to it");
  require(found.domain == domain_, "value ", value,
          " belongs to the rows before select_rows; what follows cannot read it");
  return found;
}

// A value gets its domain when it is first written.
Plan::ValueInfo& Plan::write(Value value, std::int64_t width) {
  ValueInfo& found = info(value);
  require(found.width == width, "value ", value, " has width ", found.width,
          "; this operation writes ", width);
  if (found.first_phase < 0) found.domain = domain_;
  require(found.domain == domain_, "value ", value, " belongs to the rows before select_rows");
  return found;
}

// Notes that the last phase works on a value.
void Plan::touch(Value value) {
  ValueInfo& found = info(value);
  const int phase = static_cast<int>(phases_.size()) - 1;
  if (found.first_phase < 0) found.first_phase = phase;
  found.last_phase = phase;
}

void Plan::require_open() const {
  require(!finished_, "the plan has its output; nothing can be added");
}

void Plan::require_tokens(const char* operation) const {
  require(domain_ == Domain::tokens, operation, " needs every token; it must come before select_rows");
}

// Memory by intervals of phases, first fit: a value may take the place of one that is dead since an
// earlier phase (within one phase threads are at different rows).
void Plan::place_values() {
  std::vector<ValueInfo*> placed;
  std::int64_t end = 0;
  for (ValueInfo& value : values_) {
    if (value.first_phase < 0) continue;
    const std::int64_t size = value.stride * max_tokens_;
    std::vector<ValueInfo*> alive;
    for (ValueInfo* other : placed)
      if (other->last_phase >= value.first_phase && other->first_phase <= value.last_phase)
        alive.push_back(other);
    std::sort(alive.begin(), alive.end(),
              [](const ValueInfo* a, const ValueInfo* b) { return a->offset < b->offset; });
    for (const ValueInfo* other : alive) {
      if (value.offset + size <= other->offset) break;
      value.offset = std::max(value.offset, other->offset + other->stride * max_tokens_);
    }
    end = std::max(end, value.offset + size);
    placed.push_back(&value);
  }
  arena_ = AlignedBuffer(float_bytes(end));
  for (const ValueInfo& value : values_)
    matrices_.push_back({arena_.as<float>() + value.offset, value.stride});
}

// --- Operations -----------------------------------------------------------------------------------

RowPhase& Plan::row_phase() {
  if (!open_rows_) {
    auto phase = std::make_unique<RowPhase>(domain_);
    open_rows_ = phase.get();
    phases_.push_back(std::move(phase));
  }
  return *open_rows_;
}

void Plan::embedding(std::shared_ptr<const Linear> table, Value out) {
  require_open();
  require_tokens("embedding");
  write(out, table->cols);
  vocabulary_ = vocabulary_ == 0 ? table->rows : std::min(vocabulary_, table->rows);
  row_phase().add("embedding", [table, out](const Step& step, std::int64_t row) {
    unpack_row(*table, step.batch.ids[row], step.values[out].row(row));
  });
  touch(out);
}

void Plan::input(Value out) {
  require_open();
  require_tokens("input");
  const std::int64_t width = info(out).width;
  write(out, width);
  row_phase().add("input", [=, number = input_widths_.size()](const Step& step, std::int64_t row) {
    std::memcpy(step.values[out].row(row), step.batch.inputs[number] + row * width,
                float_bytes(width));
  });
  touch(out);
  input_widths_.push_back(width);
}

void Plan::rms_norm(Value x, Value out, Weights weight, float epsilon) {
  require_open();
  const std::int64_t width = read(x).width;
  write(out, width);
  require(size_of(weight) == width, "rms_norm of width ", width, " got a weight of ", weight.size());
  row_phase().add("rms_norm", [=, norm = norm_.rms_norm, weight = std::move(weight)](
                                  const Step& step, std::int64_t row) {
    norm(step.values[x].row(row), step.values[out].row(row), weight.data(), epsilon, width);
  });
  touch(x);
  touch(out);
}

void Plan::layer_norm(Value x, Value out, Weights weight, Weights bias, float epsilon) {
  require_open();
  const std::int64_t width = read(x).width;
  write(out, width);
  require(size_of(weight) == width && size_of(bias) == width, "layer_norm of width ", width,
          " got a weight of ", weight.size(), " and a bias of ", bias.size());
  row_phase().add("layer_norm", [=, norm = norm_.layer_norm, weight = std::move(weight),
                                 bias = std::move(bias)](const Step& step, std::int64_t row) {
    norm(step.values[x].row(row), step.values[out].row(row), weight.data(), bias.data(), epsilon,
         width);
  });
  touch(x);
  touch(out);
}

void Plan::prepare(Value x, const std::shared_ptr<const Linear>& linear) {
  code_columns_ = std::max(code_columns_, code_stride(linear->cols));
  const Input input = input_of(*linear);
  const char* name = input == Input::codes ? "quantize" : input == Input::wide ? "widen" : "halve";
  row_phase().add(name, [=, domain = domain_](const Step& step, std::int64_t row) {
    const Matrix& from = step.values[x];
    prepare_rows(*linear, from.data, from.stride, row, row + 1, step.count(domain), step.quantized);
  });
  touch(x);
}

// Checks products of one input, and prepares what they read of it.
void Plan::open_products(Value x, const std::vector<std::shared_ptr<const Linear>>& weights) {
  require_open();
  const std::int64_t width = read(x).width;
  std::map<Input, std::shared_ptr<const Linear>> readers;
  for (const auto& linear : weights) {
    require(linear->cols == width, "linear: the input has width ", width, ", the weight ",
            linear->cols, " columns");
    require(linear->isa == isa_, "linear: the weight was packed for ", isa_name(linear->isa),
            ", the plan runs ", isa_name(isa_));
    auto& [input, reader] = *readers.emplace(input_of(*linear), linear).first;
    require(input != Input::codes || (reader->input_scale == linear->input_scale &&
                                      reader->input_group == linear->input_group),
            "linear: two products would quantize value ", x, " with different scales");
    if (linear->dtype == Dtype::t4) reader = linear;  // which reads rests, too
  }
  for (const auto& [input, linear] : readers)
    if (input != Input::floats) prepare(x, linear);
  for (const auto& linear : weights) products_.push_back({linear, domain_ == Domain::tokens});
}

void Plan::linear(Value x, const std::vector<Product>& products, bool accumulate) {
  require_open();
  require(!products.empty(), "linear needs at least one (weight, out)");
  read(x);
  std::vector<LinearPhase::Product> checked;
  std::vector<std::shared_ptr<const Linear>> weights;
  for (const auto& [linear, out] : products) {
    require(out != x, "linear cannot write its own input, value ", x);
    if (accumulate) read(out);
    write(out, linear->rows);
    for (const LinearPhase::Product& other : checked)
      require(other.out != out, "linear: two products would write value ", out);
    checked.push_back({linear, out});
    weights.push_back(linear);
  }
  open_products(x, weights);
  phases_.push_back(std::make_unique<LinearPhase>(domain_, x, checked, accumulate));
  open_rows_ = nullptr;
  touch(x);
  for (const LinearPhase::Product& product : checked) touch(product.out);
}

void Plan::gated(Value x, const std::shared_ptr<const Linear>& gate, const std::shared_ptr<const Linear>& up,
                 Value out) {
  require_open();
  read(x);
  require(out != x, "gated cannot write its own input, value ", x);
  if (!cut_alike(*gate, *up)) {
    const Value left = value(gate->rows), right = value(up->rows);
    linear(x, {{gate, left}, {up, right}}, false);
    return silu_mul(left, right, out);
  }
  write(out, gate->rows);
  open_products(x, {gate, up});
  scratch_stride_ = std::max(scratch_stride_, aligned(GatedPhase::scratch(*gate, max_tokens_)));
  phases_.push_back(std::make_unique<GatedPhase>(domain_, x, gate, up, out, elementwise_.silu_mul));
  open_rows_ = nullptr;
  touch(x);
  touch(out);
}

// Angles are products in float32, as transformers makes them; their cosines are taken in double.
const Plan::Angles& Plan::angles(const Weights& inverse_frequencies, float scale) {
  for (const auto& known : angles_)
    if (known->scale == scale && known->inverse_frequencies == inverse_frequencies) return *known;
  const std::int64_t pairs = size_of(inverse_frequencies);
  angles_.push_back(std::make_unique<Angles>(
      Angles{inverse_frequencies, scale, AlignedBuffer(float_bytes(max_tokens_ * 2 * pairs))}));
  Angles* made = angles_.back().get();
  // An embedding or an input: nothing else can begin.
  auto* first = static_cast<RowPhase*>(phases_.front().get());
  first->add("angles", [made, pairs](const Step& step, std::int64_t row) {
    float* cos = made->table.as<float>() + row * 2 * pairs;
    for (std::int64_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(step.batch.positions[row]) *
                          made->inverse_frequencies[static_cast<std::size_t>(i)];
      cos[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * made->scale;
      cos[pairs + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * made->scale;
    }
  });
  return *made;
}

void Plan::rope(Value x, std::int64_t heads, std::int64_t head_dim,
                const Weights& inverse_frequencies, float scale, bool interleaved) {
  require_open();
  require_tokens("rope");
  const std::int64_t width = read(x).width;
  const std::int64_t pairs = size_of(inverse_frequencies);
  require(heads >= 1 && head_dim >= 1 && heads * head_dim == width, "rope: ", heads, " heads of ",
          head_dim, " are not the width ", width, " of value ", x);
  require(pairs >= 1 && 2 * pairs <= head_dim, "rope: ", pairs,
          " inverse frequencies do not fit heads of ", head_dim);
  const Angles* made = &angles(inverse_frequencies, scale);
  const auto rotate = interleaved ? elementwise_.rope_interleaved : elementwise_.rope_halves;
  row_phase().add("rope", [=](const Step& step, std::int64_t row) {
    const float* cos = made->table.as<float>() + row * 2 * pairs;
    rotate(step.values[x].row(row), heads, head_dim, pairs, cos, cos + pairs);
  });
  touch(x);
}

void Plan::attention(Value q, Value k, Value v, Value out, std::int64_t layer, std::int64_t heads,
                     std::int64_t kv_heads, std::int64_t head_dim, float scale,
                     const Weights& key_units) {
  require_open();
  require_tokens("attention");
  require(layer >= 0 && kv_heads >= 1 && head_dim >= 1 && heads >= 1 && heads % kv_heads == 0,
          "attention: layer ", layer, ", ", heads, " heads, ", kv_heads, " KV heads of ", head_dim,
          "; heads must be a multiple of KV heads");
  require(read(q).width == heads * head_dim, "attention: q has width ", info(q).width, ", not ",
          heads * head_dim);
  require(read(k).width == kv_heads * head_dim && read(v).width == kv_heads * head_dim,
          "attention: k and v have widths ", info(k).width, " and ", info(v).width, ", not ",
          kv_heads * head_dim);
  write(out, heads * head_dim);
  require(cache_shape_.layers == 0 ||
              (cache_shape_.kv_heads == kv_heads && cache_shape_.head_dim == head_dim),
          "attention: every layer must have the same KV heads and head_dim");
  cache_shape_ = {std::max(cache_shape_.layers, layer + 1), kv_heads, head_dim};

  require(key_units.empty() || size_of(key_units) == kv_heads * head_dim, "attention: ",
          key_units.size(), " key units, not ", kv_heads * head_dim);
  Weights factors = key_units;
  for (float& factor : factors) {
    require(factor > 0 && std::isfinite(1.0f / factor), "attention: a key unit is not above 0");
    factor = 1.0f / factor;
  }

  row_phase().add("cache", [=](const Step& step, std::int64_t row) {
    const std::int64_t size = step.cache.page_tokens();
    const std::int64_t position = step.batch.positions[row];
    const std::int32_t* pages =
        step.batch.pages + step.sequences[row] * step.batch.pages_per_sequence;
    step.cache.write(layer, pages[position / size], position % size, step.values[k].row(row),
                     step.values[v].row(row), factors.empty() ? nullptr : factors.data());
  });
  touch(k);
  touch(v);
  const AttentionShape shape = {layer, heads, kv_heads, head_dim, scale, key_units};
  scratch_stride_ = std::max(scratch_stride_, aligned(shape.scratch()));
  phases_.push_back(std::make_unique<AttentionPhase>(attention_kernels(isa_), shape, q, out));
  open_rows_ = nullptr;
  touch(q);
  touch(out);
}

void Plan::fake_quantize(Value x, Value out, float scale, std::int64_t group) {
  require_open();
  const std::int64_t width = read(x).width;
  require(x != out, "fake_quantize cannot write its own input, value ", x);
  require(std::isfinite(scale) && scale >= 0, "fake_quantize: the scale must be positive, or 0");
  require(group >= 0 && (group == 0 || width % group == 0), "fake_quantize: groups of ", group,
          " do not divide width ", width);
  write(out, width);
  row_phase().add("fake_quantize", [=](const Step& step, std::int64_t row) {
    fake_quantize_row(step.values[x].row(row), width, scale, group, step.values[out].row(row));
  });
  touch(x);
  touch(out);
}

void Plan::silu_mul(Value gate, Value up, Value out) {
  require_open();
  const std::int64_t width = read(gate).width;
  require(read(up).width == width, "silu_mul: gate and up have widths ", width, " and ",
          info(up).width);
  write(out, width);
  row_phase().add("silu_mul", [=, f = elementwise_.silu_mul](const Step& step, std::int64_t row) {
    f(step.values[gate].row(row), step.values[up].row(row), step.values[out].row(row), width);
  });
  touch(gate);
  touch(up);
  touch(out);
}

void Plan::gelu(Value x, Value out, bool approximate) {
  require_open();
  const std::int64_t width = read(x).width;
  write(out, width);
  const auto f = approximate ? elementwise_.gelu_tanh : elementwise_.gelu_exact;
  row_phase().add("gelu", [=](const Step& step, std::int64_t row) {
    f(step.values[x].row(row), step.values[out].row(row), width);
  });
  touch(x);
  touch(out);
}

void Plan::add(Value x, Value y, Value out) {
  require_open();
  const std::int64_t width = read(x).width;
  require(read(y).width == width, "add: the inputs have widths ", width, " and ", info(y).width);
  write(out, width);
  row_phase().add("add", [=, f = elementwise_.add](const Step& step, std::int64_t row) {
    f(step.values[x].row(row), step.values[y].row(row), step.values[out].row(row), width);
  });
  touch(x);
  touch(y);
  touch(out);
}

void Plan::select_rows(Value x, Value out) {
  require_open();
  require_tokens("select_rows");
  const std::int64_t width = read(x).width;
  require(info(out).first_phase < 0, "select_rows: value ", out, " is already written");
  domain_ = Domain::rows;
  open_rows_ = nullptr;
  write(out, width);
  row_phase().add("select_rows", [=](const Step& step, std::int64_t row) {
    std::memcpy(step.values[out].row(row), step.values[x].row(step.batch.rows[row]),
                float_bytes(width));
  });
  touch(x);
  touch(out);
}

void Plan::tap(Value x) {
  require_open();
  require_tokens("tap");
  const std::int64_t width = read(x).width;
  row_phase().add("tap", [=, number = tap_widths_.size()](const Step& step, std::int64_t row) {
    std::memcpy(step.batch.taps[number] + row * width, step.values[x].row(row), float_bytes(width));
  });
  touch(x);
  tap_widths_.push_back(width);
}

void Plan::output(Value x) {
  require_open();
  read(x);
  if (domain_ == Domain::tokens) {
    const Value selected = value(info(x).width);
    select_rows(x, selected);
    x = selected;
  }
  ValueInfo& result = info(x);
  result.stride = result.width;  // it is written where the caller wants it
  result.first_phase = -1;
  output_ = x;
  finish();
}

void Plan::finish() {
  require_open();
  require(output_ >= 0 || !tap_widths_.empty(), "a plan needs an output, or values that are tapped");
  finished_ = true;
  place_values();
  quantized_ = QuantizedBuffer(max_tokens_, code_columns_);
  scratch_ = AlignedBuffer(float_bytes(scratch_stride_ * pool_->size()));
  seconds_.assign(static_cast<std::size_t>(pool_->size()), std::vector<double>(phases_.size() + 1));
}

// --- Steps ----------------------------------------------------------------------------------------

std::int64_t Plan::output_width() const {
  require(output_ >= 0, "the plan has no output yet");
  return values_[static_cast<std::size_t>(output_)].width;
}

void Plan::check_cache(const Cache& cache) const {
  require(cache_shape_.layers == 0 ||
              (cache.layers() >= cache_shape_.layers && cache.kv_heads() == cache_shape_.kv_heads &&
               cache.head_dim() == cache_shape_.head_dim),
          "the plan needs a cache of ", cache_shape_.layers, " layers, ", cache_shape_.kv_heads,
          " KV heads of ", cache_shape_.head_dim, "; this one has ", cache.layers(), ", ",
          cache.kv_heads(), ", ", cache.head_dim());
}

void Plan::step(Cache& cache, const Batch& batch, float* out) {
  require(finished_, "the plan has no output yet");
  require((input_widths_.empty() || batch.inputs) && (tap_widths_.empty() || batch.taps),
          "the plan has ", input_widths_.size(), " inputs and ", tap_widths_.size(),
          " taps; the step has no memory for them");
  check_cache(cache);
  check_batch(batch, cache, max_tokens_, vocabulary_);
  const std::lock_guard<std::mutex> lock(stepping_);

  std::vector<std::int64_t> sequences;
  for (std::int64_t s = 0; s < batch.sequences; ++s)
    sequences.insert(sequences.end(),
                     static_cast<std::size_t>(batch.starts[s + 1] - batch.starts[s]), s);
  if (output_ >= 0) matrices_[static_cast<std::size_t>(output_)].data = out;
  Step step = {batch,
               cache,
               matrices_.data(),
               quantized_.rows(),
               sequences.data(),
               pool_->size(),
               scratch_.as<float>(),
               scratch_stride_,
               nullptr,
               0,
               {}};
  const std::vector<Part> parts = parts_of(phases_, step);
  if (partials_.size() < float_bytes(step.partial_floats))
    partials_ = AlignedBuffer(float_bytes(step.partial_floats));
  step.partials = partials_.as<float>();
  ChunkRanges ranges(step.threads);  // of the part at work
  if (!parts.empty()) ranges.reset(parts[0].chunks, parts[0].ranges);

  pool_->run([&](int thread) {
    Clock clock(seconds_[static_cast<std::size_t>(thread)].data());
    ReadAhead ahead;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      for (std::int64_t chunk; (chunk = ranges.take(thread)) >= 0;)
        phases_[parts[i].phase]->run(step, chunk, thread);
      clock.charge(parts[i].phase);
      ahead.aim(next_weights(phases_, parts, i + 1, step, thread));
      pool_->barrier([&] { ahead.some(); },
                     [&] {
                       for (const std::size_t phase : parts[i].alone) {
                         phases_[phase]->run(step, 0, thread);
                         clock.charge(phase);
                       }
                       if (i + 1 < parts.size()) ranges.reset(parts[i + 1].chunks, parts[i + 1].ranges);
                     });
      clock.charge(phases_.size());
    }
  });
}

std::map<std::string, double> Plan::profile() const {
  const std::lock_guard<std::mutex> lock(stepping_);
  std::map<std::string, double> total;
  for (const std::vector<double>& seconds : seconds_) {
    for (std::size_t i = 0; i < phases_.size(); ++i) total[phases_[i]->name()] += seconds[i];
    total["waiting"] += seconds.back();
  }
  return total;
}

void Plan::fill(float value) {
  const std::lock_guard<std::mutex> lock(stepping_);
  std::fill_n(arena_.as<float>(), arena_.size() / sizeof(float), value);
}

}  // namespace lichen
