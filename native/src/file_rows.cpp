#include "lichen/file_rows.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace lichen {

File::File(int descriptor, std::string name)
    : descriptor_(fcntl(descriptor, F_DUPFD_CLOEXEC, 0)), name_(std::move(name)) {
  if (descriptor_ < 0) throw std::system_error(errno, std::generic_category(), name_);
}

File::~File() { close(descriptor_); }

int File::read(std::int64_t offset, std::int64_t bytes, char* to) const {
  while (bytes > 0) {
    const ssize_t got = pread(descriptor_, to, static_cast<std::size_t>(bytes), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return kEnded;
    offset += got;
    bytes -= got;
    to += got;
  }
  return 0;
}

ReadError::ReadError(const File& file, int fault)
    : std::runtime_error(file.name() + (fault == File::kEnded
                                            ? ": is shorter than it says; fetch the model again"
                                            : ": cannot be read (" + std::generic_category().message(fault) + ")")) {}

}  // namespace lichen
