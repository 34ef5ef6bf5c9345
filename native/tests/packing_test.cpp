// Weights packed from their file: the same bytes as from memory, on any number of threads, and what is said of a file
// that is too short.
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "checks.h"
#include "lichen/linear.h"

namespace {

using namespace lichen;

constexpr std::int64_t kRows = 83, kCols = 512, kOffset = 40;  // the last panel is part padding

// A file without a name, with the bytes behind kOffset.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::vector<char>& bytes) : stream_(std::tmpfile()) {
    if (!stream_) throw std::runtime_error("no temporary file can be made");
    const std::string before(static_cast<std::size_t>(kOffset), '?');
    std::size_t written = std::fwrite(before.data(), 1, before.size(), stream_);
    written += std::fwrite(bytes.data(), 1, bytes.size(), stream_);
    if (std::fflush(stream_) != 0 || written != before.size() + bytes.size())
      throw std::runtime_error("the temporary file cannot be written");
  }
  ~TemporaryFile() { std::fclose(stream_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int descriptor() const { return fileno(stream_); }
  bool cut_to(std::int64_t bytes) const { return ftruncate(descriptor(), bytes) == 0; }

 private:
  std::FILE* stream_;
};

struct Kind {
  std::string name;
  Weight weight;           // without data
  std::int64_t row_bytes;  // as given and as stored; of nibbles as stored
};

bool same_bytes(const AlignedBuffer& a, const AlignedBuffer& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.as<char>(), b.as<char>(), a.size()) == 0);
}

bool same(const Linear& a, const Linear& b) {
  return same_bytes(a.weights, b.weights) && same_bytes(a.scales, b.scales) && same_bytes(a.row_sums, b.row_sums);
}

// As pack_linear takes codes from memory: one a byte.
std::vector<char> unpacked(const std::vector<char>& nibbles) {
  std::vector<char> codes;
  for (const char byte : nibbles)
    for (const int code : {byte & 15, byte >> 4 & 15}) codes.push_back(static_cast<char>(code - 8));
  return codes;
}

Weight in_file(const Kind& kind, const FileRows& rows) {
  Weight weight = kind.weight;
  weight.data = nullptr;
  weight.in_file = &rows;
  return weight;
}

void test_kind(Checks& checks, Isa isa, const Kind& kind) {
  std::mt19937 random(1);
  std::vector<char> bytes(static_cast<std::size_t>(kRows * kind.row_bytes));
  const unsigned mask = takes_codes(kind.weight.dtype) ? 0xff : 0x3f;  // any codes; small floats, as scales of blocks
  for (char& byte : bytes) byte = static_cast<char>(random() & mask);
  const TemporaryFile stored(bytes);
  const FileRows rows = {std::make_shared<File>(stored.descriptor(), "weights.bin"), kOffset, kind.row_bytes};
  const std::vector<char> codes = kind.weight.nibbles ? unpacked(bytes) : bytes;
  Weight given = kind.weight;
  given.data = codes.data();
  given.nibbles = false;
  ThreadPool one(1);
  const auto wanted = pack_linear(one, given, isa);
  const std::string what = kind.name + " on " + std::string(isa_name(isa));
  for (int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    checks.expect(same(*pack_linear(pool, in_file(kind, rows), isa), *wanted),
                  what + " with " + std::to_string(threads) + " threads");
  }
  checks.expect(stored.cut_to(kOffset + kRows * kind.row_bytes - 1), what + ": the file can be cut");
  try {
    ThreadPool pool(2);
    pack_linear(pool, in_file(kind, rows), isa);
    checks.expect(false, what + ": a file that is too short was packed");
  } catch (const ReadError& error) {
    checks.expect(std::string(error.what()).find("weights.bin: is shorter than it says") == 0,
                  what + ": '" + error.what() + "'");
  }
}

}  // namespace

int main(int argc, char** argv) {
  Checks checks;
  const std::vector<float> scales(static_cast<std::size_t>(kRows * kCols / 32), 0.25f);
  const Weight codes = {nullptr, Dtype::i8, kRows, kCols, scales.data()};
  Weight grouped = codes, nibbles = codes;
  grouped.input_group = 128;
  nibbles.dtype = Dtype::i4;
  nibbles.group = 32;
  nibbles.nibbles = true;
  const std::vector<Kind> kinds = {
      {"f32", {nullptr, Dtype::f32, kRows, kCols}, kCols * 4},
      {"f16", {nullptr, Dtype::f16, kRows, kCols}, kCols * 2},
      {"bf16", {nullptr, Dtype::bf16, kRows, kCols}, kCols * 2},
      {"i8", codes, kCols},
      {"i8 with scales for groups of inputs", grouped, kCols},
      {"i4", nibbles, kCols / 2},
      {"q8_0", stored_weight(BlockType::q8_0, nullptr, kRows, kCols), kCols / 32 * layout_of(BlockType::q8_0).bytes},
      {"q6_k", stored_weight(BlockType::q6_k, nullptr, kRows, kCols), kCols / 256 * layout_of(BlockType::q6_k).bytes},
      {"q4_k", stored_weight(BlockType::q4_k, nullptr, kRows, kCols), kCols / 256 * layout_of(BlockType::q4_k).bytes}};
  for (const Isa isa : chosen_isas(argc, argv))
    for (const Kind& kind : kinds) test_kind(checks, isa, kind);
  try {
    const File none(-1, "nothing.bin");
    checks.expect(false, "a descriptor that is not open is taken");
  } catch (const std::system_error& error) {
    checks.expect(std::string(error.what()).find("nothing.bin") == 0, error.what());
  }
  return checks.finish();
}
