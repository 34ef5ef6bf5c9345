#include "lichen/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

namespace lichen {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Anonymous memory whose start is a multiple of a huge page: map too much, give both ends back.
void* map_aligned(std::size_t bytes) {
  if (bytes > SIZE_MAX - kHugePage) throw std::bad_alloc();
  void* mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  char* const start = static_cast<char*>(mapped);
  const std::size_t before = (kHugePage - reinterpret_cast<std::uintptr_t>(start) % kHugePage) % kHugePage;
  if (before) munmap(start, before);
  munmap(start + before + bytes, kHugePage - before);
#if defined(MADV_HUGEPAGE)
  madvise(start + before, bytes, MADV_HUGEPAGE);  // a wish: refused where huge pages are off
#endif
  return start + before;
}

// What nobody uses at the moment, the smallest first.
struct Spare {
  static constexpr std::size_t kMostBytes = std::size_t{128} << 20;

  std::mutex mutex;
  std::vector<AlignedBuffer> memory;
  std::size_t bytes = 0;

  AlignedBuffer take(std::size_t wanted) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto found = std::find_if(memory.begin(), memory.end(), [&](const auto& m) { return m.size() >= wanted; });
    if (found == memory.end()) return {};
    AlignedBuffer taken = std::move(*found);
    memory.erase(found);
    bytes -= taken.size();
    return taken;
  }

  void give(AlignedBuffer buffer) {
    const std::lock_guard<std::mutex> lock(mutex);
    bytes += buffer.size();
    const auto larger = std::find_if(memory.begin(), memory.end(), [&](const auto& m) { return m.size() > buffer.size(); });
    memory.insert(larger, std::move(buffer));
    for (; bytes > kMostBytes; memory.erase(memory.begin())) bytes -= memory.front().size();
  }
};

Spare& spare() {
  static Spare all;
  return all;
}

}  // namespace

Scratch::Scratch(std::size_t bytes) : memory_(spare().take(bytes)) {
  if (memory_.empty()) memory_ = AlignedBuffer(bytes);
}

Scratch::~Scratch() {
  if (memory_.size() >= kHugePage) spare().give(std::move(memory_));
}

AlignedBuffer::AlignedBuffer(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  if (bytes >= kHugePage) {
    constexpr std::size_t kPage = 65536;  // a multiple of every page size in use
    if (bytes > SIZE_MAX - kPage) throw std::bad_alloc();
    mapped_ = (bytes + kPage - 1) / kPage * kPage;
    data_ = map_aligned(mapped_);
    return;
  }
  const std::size_t rounded = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
  data_ = std::aligned_alloc(kCacheLine, rounded);
  if (!data_) throw std::bad_alloc();
  std::memset(data_, 0, rounded);
}

AlignedBuffer::~AlignedBuffer() {
  if (mapped_) {
    munmap(data_, mapped_);
  } else {
    std::free(data_);
  }
}

}  // namespace lichen
