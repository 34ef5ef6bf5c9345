// Aligned, zeroed memory for weights, activations and the key/value cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace lichen {

inline constexpr std::size_t kCacheLine = 64;

struct Span {
  const char* first = nullptr;
  std::int64_t bytes = 0;
};

// Zero-filled memory that starts on a cache line and becomes resident only where it is touched.
// Large buffers ask for huge pages (with 4 KiB pages a streaming product loses up to a fifth of the
// read bandwidth) and go on without them where the system refuses.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t bytes);  // throws std::bad_alloc
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    AlignedBuffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  std::size_t size() const { return size_; }  // bytes
  bool empty() const { return size_ == 0; }

  template <typename T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }

 private:
  void swap(AlignedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
  }

  void* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t mapped_ = 0;  // bytes that were mapped; 0: the buffer came from the heap
};

// Memory that somebody is done with, kept for who wants as much next: the system would zero fresh pages.
class Reserve {
 public:
  // Keeps at most so many pieces of so many bytes together; the smallest go first.
  explicit Reserve(std::size_t pieces, std::size_t bytes = SIZE_MAX) : most_pieces_(pieces), most_bytes_(bytes) {
    kept_.reserve(pieces + 1);
  }

  AlignedBuffer take(std::size_t bytes);  // of any content; throws std::bad_alloc
  void give(AlignedBuffer buffer) noexcept;

 private:
  AlignedBuffer find(std::size_t bytes);

  const std::size_t most_pieces_, most_bytes_;
  std::mutex mutex_;
  std::vector<AlignedBuffer> kept_;  // the smallest first
  std::size_t bytes_ = 0;
};

// Memory for one call, of any content: of hundreds of products in a row each has that of the one before.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes);  // throws std::bad_alloc
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <typename T>
  T* as() {
    return memory_.as<T>();
  }
  template <typename T>
  const T* as() const {
    return memory_.as<T>();
  }

 private:
  AlignedBuffer memory_;
};

}  // namespace lichen
