#include "lichen/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

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

// What products and factors are done with.
Reserve& spare() {
  static Reserve all(16, std::size_t{128} << 20);
  return all;
}

}  // namespace

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

AlignedBuffer Reserve::find(std::size_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const auto& kept) { return kept.size() >= bytes; });
  if (found == kept_.end()) return {};
  AlignedBuffer taken = std::move(*found);
  kept_.erase(found);
  bytes_ -= taken.size();
  return taken;
}

AlignedBuffer Reserve::take(std::size_t bytes) {
  AlignedBuffer kept = find(bytes);
  return kept.empty() ? AlignedBuffer(bytes) : std::move(kept);
}

void Reserve::give(AlignedBuffer buffer) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  bytes_ += buffer.size();
  const auto larger = std::find_if(kept_.begin(), kept_.end(), [&](const auto& kept) { return kept.size() > buffer.size(); });
  kept_.insert(larger, std::move(buffer));
  for (; kept_.size() > most_pieces_ || bytes_ > most_bytes_; kept_.erase(kept_.begin())) bytes_ -= kept_.front().size();
}

Scratch::Scratch(std::size_t bytes) : memory_(spare().take(bytes)) {}

Scratch::~Scratch() {
  if (memory_.size() >= kHugePage) spare().give(std::move(memory_));
}

}  // namespace lichen
