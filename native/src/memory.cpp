#include "lichen/memory.h"

#include <sys/mman.h>

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

}  // namespace lichen
