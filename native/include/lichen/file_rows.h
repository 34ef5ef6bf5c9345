// Rows of a matrix that are still in a file, and are read as they are packed: never all of them at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace lichen {

// A descriptor of its own, open as long as this is.
class File {
 public:
  // Takes a copy of `descriptor`; throws std::system_error where the system gives none. `name` is for messages.
  File(int descriptor, std::string name);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& name() const { return name_; }

  // 0, or the system's number of what went wrong; kEnded where the file ends before.
  int read(std::int64_t offset, std::int64_t bytes, char* to) const;

  static constexpr int kEnded = -1;

 private:
  int descriptor_;
  std::string name_;
};

// A file that cannot be read as far as it has to be.
struct ReadError : std::runtime_error {
  ReadError(const File& file, int fault);
};

struct FileRows {
  std::shared_ptr<const File> file;
  std::int64_t offset;     // of the first row
  std::int64_t row_bytes;  // rows lie one after the other
};

}  // namespace lichen
