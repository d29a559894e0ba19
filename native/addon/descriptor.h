// File descriptors that a call owns, and the loops every read, write and wait needs.
//
// A bulk call works on duplicates made on the main thread: when JavaScript closes its descriptor
// meanwhile and the number is given to another file, the call still has the file it was given.
// A duplicate shares the open file description, hence position, flags and pending fsync errors.
#pragma once

#include <cerrno>
#include <cstdint>
#include <ctime>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "failure.h"

namespace kangaroo {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&& other) noexcept {
    Close();
    fd_ = other.Release();
    return *this;
  }
  ~Descriptor() { Close(); }

  // A close-on-exec duplicate of fd; a failure is noted and get() is then -1.
  static Descriptor Duplicate(int fd, Failure* failure) {
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0 && !*failure) *failure = {errno, "dup", {}};
    return Descriptor(copy);
  }

  int get() const { return fd_; }

  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  // Linux frees the number whatever close answers, so that an error here must not be retried.
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  int fd_ = -1;
};

// A point on the monotonic clock, fixed when the call is made: time in the queue counts.
class Deadline {
 public:
  explicit Deadline(int64_t fromNowMs) : atNs_(NowNs() + fromNowMs * 1000000) {}

  // Rounded up, so that a wait never ends before the deadline; 0 when it has passed.
  int RemainingMs() const {
    const int64_t leftNs = atNs_ - NowNs();
    if (leftNs <= 0) return 0;
    const int64_t leftMs = (leftNs + 999999) / 1000000;
    return leftMs > kLongestPollMs ? kLongestPollMs : static_cast<int>(leftMs);
  }

  bool Passed() const { return atNs_ <= NowNs(); }

  static constexpr int64_t kMaxMs = 30LL * 24 * 3600 * 1000;

 private:
  static constexpr int kLongestPollMs = 3600 * 1000;

  static int64_t NowNs() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
  }

  int64_t atNs_;
};

// 0 when the descriptor is ready or broken (the next call on it will tell), ETIMEDOUT, or errno.
inline int WaitUntilReady(int fd, short events, const Deadline& deadline) {
  for (;;) {
    pollfd entry = {fd, events, 0};
    const int ready = poll(&entry, 1, deadline.RemainingMs());
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return errno;
    if (ready == 0 && deadline.Passed()) return ETIMEDOUT;
  }
}

// Writes everything or says why not: 0 or errno. A write of no bytes counts as a full disk.
inline int WriteFully(int fd, const uint8_t* data, size_t length, int64_t offset) {
  while (length > 0) {
    const ssize_t written = pwrite(fd, data, length, offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (written == 0) return ENOSPC;
    data += written;
    length -= static_cast<size_t>(written);
    offset += written;
  }
  return 0;
}

// Starts write-back of every 8 MiB window of the file that a write ending at `end` completed, so
// that a later fdatasync has little left to do. It is a hint: errors are not reported, the later
// fdatasync reports them.
inline void StartWriteback(int fd, int64_t begin, int64_t end) {
  constexpr int64_t kWindowBytes = 8 << 20;
  const int64_t from = begin / kWindowBytes * kWindowBytes;
  const int64_t to = end / kWindowBytes * kWindowBytes;
  if (to > from) sync_file_range(fd, from, to - from, SYNC_FILE_RANGE_WRITE);
}

}  // namespace kangaroo
