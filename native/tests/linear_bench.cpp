// How fast linear layers run: gigabytes of weights read a second (decode) and operations a second
// (prefill), beside the memory's own read bandwidth.
//   linear_bench [--isa NAME] [--threads N] [--dtype f32|f16|bf16|i8|i8-128|i4|i4-32|...|t4|b8|b6|b4|q4_k|q6_k] [--pin]
//                [--shape ROWSxCOLS] [--tokens N,N,...] [--cpu-time]
// --cpu-time leaves out the time that other programs take of this one's processor: for one thread on a machine in use.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <time.h>
#endif

#include "lichen/inputs.h"
#include "lichen/linear.h"
#include "lichen/machine.h"

namespace {

using namespace lichen;

struct Shape {
  std::int64_t rows, cols;
};

constexpr std::int64_t kColdBytes = 192 << 20;  // well beyond a last-level cache

bool cpu_time = false;

double seconds() {
#if defined(__linux__)
  timespec now;
  if (cpu_time && clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0)
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
#endif
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The shortest of several runs: what the machine can do when nobody else uses it.
template <typename F>
double best_time(F&& run, double budget_seconds) {
  double best = 1e9;
  const double start = seconds();
  for (int i = 0; i < 5 || (seconds() - start < budget_seconds && i < 200); ++i) {
    const double begin = seconds();
    run();
    best = std::min(best, seconds() - begin);
  }
  return best;
}

double read_gb_s(ThreadPool& pool) {
  const std::vector<double> rates = read_rates(pool, 512 << 20, 15);
  return *std::max_element(rates.begin(), rates.end()) / 1e9;
}

struct Kind {
  Dtype dtype;
  const char* name;
  std::int64_t input_group = 0;
  std::int64_t group = 32;  // of weights in groups
  bool zeros = false;       // or shifts, of blocks
  std::optional<BlockType> stored{};
};

void measure(ThreadPool& pool, Isa isa, const Kind& kind, const Shape& shape,
             const std::vector<std::int64_t>& counts, double bandwidth) {
  const Dtype dtype = kind.dtype;
  std::mt19937 random(1);
  std::vector<char> weight(static_cast<std::size_t>(shape.rows * shape.cols * element_bytes(dtype)));
  for (std::size_t i = 0; i + 4 <= weight.size(); i += 4) {
    const float value = static_cast<float>(random() % 1000) * 1e-3f - 0.5f;
    std::memcpy(&weight[i], &value, 4);
    if (dtype == Dtype::f16 || dtype == Dtype::bf16) std::memcpy(&weight[i], "\x12\x3c\x13\xbc", 4);
  }
  const bool nibbles = dtype == Dtype::i4 || dtype == Dtype::b4, bytes_in_blocks = dtype == Dtype::b8 || dtype == Dtype::b6;
  if (nibbles || dtype == Dtype::b6)
    for (char& code : weight) code = static_cast<char>(code & 7);
  const auto groups = static_cast<std::size_t>(shape.rows * shape.cols / kind.group);
  std::vector<float> scales(groups, 0x1p-7f);
  const std::vector<std::int8_t> zeros(groups, 3);
  Weight given = {weight.data(), dtype, shape.rows, shape.cols};
  if (dtype == Dtype::i8 || nibbles || bytes_in_blocks) given.scales = scales.data();
  if (nibbles || bytes_in_blocks) given.group = kind.group;
  if (kind.zeros && dtype == Dtype::i4) given.zeros = zeros.data();
  if (kind.zeros && dtype == Dtype::b4) given.shifts = scales.data();
  if (dtype == Dtype::t4)  // units of any size would make sums of infinity
    for (std::size_t i = 0; i < weight.size(); i += 71) weight[i] = 100;
  given.input_group = kind.input_group;
  if (kind.stored)
    given = stored_weight(*kind.stored, reinterpret_cast<const std::uint8_t*>(weight.data()), shape.rows, shape.cols);
  const std::int64_t bytes = pack_linear(pool, given, isa)->nbytes();
  std::vector<std::unique_ptr<Linear>> copies;  // as many as it takes for each to be cold again
  for (std::int64_t i = 0; i < std::clamp<std::int64_t>(kColdBytes / bytes, 1, 200); ++i)
    copies.push_back(pack_linear(pool, given, isa));
  std::printf("%-9s %6ld x %-5ld", kind.name, static_cast<long>(shape.rows), static_cast<long>(shape.cols));
  for (std::int64_t tokens : counts) {
    AlignedBuffer x(static_cast<std::size_t>(tokens * shape.cols) * 4), y(static_cast<std::size_t>(tokens * shape.rows) * 4);
    for (std::int64_t i = 0; i < tokens * shape.cols; ++i) x.as<float>()[i] = static_cast<float>(i % 17) - 8;
    QuantizedBuffer buffer(tokens, shape.cols);
    const QuantizedRows quantized = buffer.rows();
    prepare_rows(*copies[0], x.as<float>(), shape.cols, 0, tokens, tokens, quantized);
    const std::int64_t chunks = linear_chunks(*copies[0], tokens);
    std::vector<ChunkRanges> work;
    for (std::size_t i = 0; i < copies.size(); ++i) work.emplace_back(pool.size());
    const std::size_t used = tokens >= 64 ? 1 + copies.size() / 16 : copies.size();
    const double time = best_time(
        [&] {
          for (ChunkRanges& ranges : work) ranges.reset(chunks, linear_in_ranges(*copies[0], tokens) ? pool.size() : 1);
          pool.run([&](int thread) {
            for (std::size_t i = 0; i < used; ++i) {
              for (std::int64_t chunk; (chunk = work[i].take(thread)) >= 0;)
                linear_chunk(*copies[i], x.as<float>(), shape.cols, &quantized, tokens, y.as<float>(),
                             shape.rows, false, chunk);
              pool.barrier();
            }
          });
        },
        0.25) / static_cast<double>(used);
    const double gb_s = static_cast<double>(copies[0]->nbytes()) / time / 1e9;
    const double gops = 2.0 * static_cast<double>(shape.rows * shape.cols * tokens) / time / 1e9;
    if (tokens < 64)
      std::printf(" | %2ld: %4.1f %3.0f%% %4.0f", static_cast<long>(tokens), gb_s, 100 * gb_s / bandwidth, gops);
    else
      std::printf(" | %2ld: %4.0f", static_cast<long>(tokens), gops);
    std::fflush(stdout);
  }
  std::printf("\n");
}

// "1,8,32"
std::vector<std::int64_t> numbers_of(const char* text) {
  std::vector<std::int64_t> numbers;
  for (char* end = nullptr; *text; text = *end ? end + 1 : end) numbers.push_back(std::strtol(text, &end, 10));
  return numbers;
}

// "4864x896"
Shape shape_of(const char* text) {
  char* end = nullptr;
  const std::int64_t rows = std::strtol(text, &end, 10);
  return {rows, *end ? std::strtol(end + 1, nullptr, 10) : rows};
}

}  // namespace

int main(int argc, char** argv) {
  const char* wanted = std::getenv("LICHEN_ISA");
  Isa isa = parse_isa(wanted ? wanted : "").value_or(supported_isas().back());
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  std::string only;
  std::vector<Shape> shapes = {{896, 896}, {4864, 896}, {896, 4864}, {151936, 896}};
  std::vector<std::int64_t> counts = {1, 2, 4, 8, 16, 32, 64, 128, 256};
  bool pin = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--pin") pin = true;
    if (option == "--cpu-time") cpu_time = true;
    if (i + 1 >= argc) break;
    if (option == "--isa") isa = parse_isa(argv[i + 1]).value_or(isa);
    if (option == "--threads") threads = std::atoi(argv[i + 1]);
    if (option == "--dtype") only = argv[i + 1];
    if (option == "--shape") shapes = {shape_of(argv[i + 1])};
    if (option == "--tokens") counts = numbers_of(argv[i + 1]);
  }
  ThreadPool pool(threads);
#if defined(__linux__)
  if (pin)
    pool.run([](int thread) {
      cpu_set_t cpus;
      CPU_ZERO(&cpus);
      CPU_SET(thread, &cpus);
      sched_setaffinity(0, sizeof cpus, &cpus);
    });
#endif
  const double bandwidth = read_gb_s(pool);
  std::printf("%s, %d threads, memory read %.1f GB/s\n", std::string(isa_name(isa)).c_str(), threads, bandwidth);
  std::printf("tokens: GB/s of weights, share of the read bandwidth, GOPS\n");
  // i8-128 and i4-32 (and so on) have scales for groups of inputs.
  const std::vector<Kind> kinds = {
      {Dtype::f32, "f32"}, {Dtype::f16, "f16"},   {Dtype::bf16, "bf16"},       {Dtype::i8, "i8"},
      {Dtype::i4, "i4"},   {Dtype::b8, "b8"},     {Dtype::b6, "b6"},           {Dtype::b4, "b4"}, {Dtype::i8, "i8-128", 128},
      {Dtype::i4, "i4-32", 32},      {Dtype::i4, "i4-64", 64, 64}, {Dtype::i4, "i4-128", 128, 128},
      {Dtype::t4, "t4", 128},
      {Dtype::i4, "i4-zeros", 0, 32, true}, {Dtype::i4, "i4-32-zeros", 32, 32, true},
      {Dtype::b4, "q4_k", 0, 32, true, BlockType::q4_k}, {Dtype::b6, "q6_k", 0, 16, false, BlockType::q6_k}};
  for (const Kind& kind : kinds)
    if (only.empty() || only == kind.name)
      for (const Shape& shape : shapes) measure(pool, isa, kind, shape, counts, bandwidth);
  return 0;
}
