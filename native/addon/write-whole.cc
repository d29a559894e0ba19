// writeWholeAt: a small file in one crossing from JavaScript.
//
// Open beneath the directory, empty it if asked, write everything, set mode and times. When a step
// fails the descriptor is closed and the error names that step's system call; what was written
// before it stays, as after any write that broke off. Only regular files are written.
#include <napi.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arguments.h"
#include "descriptor.h"
#include "files.h"

namespace kangaroo {

namespace {

struct WholeWrite {
  int dirFd;
  std::string path;
  int flags;
  unsigned mode;
  Bytes data;
  int64_t offset;
  bool truncate;
  timespec times[2];
  int64_t chmodMode;  // -1: leave it
  bool keepOpen;
};

// Opens and tells whether the file is new. A new file is the common case, so O_EXCL comes first;
// a file that appears or goes between the two attempts starts the round again.
int OpenOrCreate(const WholeWrite& write, bool* created) {
  constexpr int kRounds = 4;
  const char* path = write.path.c_str();
  *created = false;
  if ((write.flags & O_CREAT) == 0) return OpenBeneath(write.dirFd, path, write.flags, 0);
  for (int round = 0; round < kRounds; round++) {
    int fd = OpenBeneath(write.dirFd, path, write.flags | O_EXCL, write.mode);
    if (fd >= 0) {
      *created = true;
      return fd;
    }
    if (errno != EEXIST || (write.flags & O_EXCL) != 0) return -1;
    fd = OpenBeneath(write.dirFd, path, write.flags & ~O_CREAT, 0);
    if (fd >= 0 || errno != ENOENT) return fd;
  }
  // A symbolic link to a name that is not there yet: O_EXCL sees the link, the plain open nothing.
  const int fd = OpenBeneath(write.dirFd, path, write.flags, write.mode);
  *created = fd >= 0;
  return fd;
}

Failure Perform(const WholeWrite& write, Descriptor* file, struct stat* facts, bool* created) {
  *file = Descriptor(OpenOrCreate(write, created));
  const int fd = file->get();
  if (fd < 0) return {errno, "openat2", write.path};
  if (fstat(fd, facts) != 0) return {errno, "fstat", write.path};
  if (!S_ISREG(facts->st_mode)) return {EINVAL, "openat2", write.path};
  if (write.truncate && facts->st_size != 0 && ftruncate(fd, 0) != 0) {
    return {errno, "ftruncate", write.path};
  }
  const int error = WriteFully(fd, write.data.data, write.data.length, write.offset);
  if (error != 0) return {error, "pwrite", write.path};
  // A new file was mostly made with it.
  const bool hasMode = *created && (facts->st_mode & 07777) == write.chmodMode;
  const bool setsMode = write.chmodMode >= 0 && !hasMode;
  if (setsMode && fchmod(fd, static_cast<mode_t>(write.chmodMode)) != 0) {
    return {errno, "fchmod", write.path};
  }
  const bool setsTimes =
      write.times[0].tv_nsec != UTIME_OMIT || write.times[1].tv_nsec != UTIME_OMIT;
  if (setsTimes && futimens(fd, write.times) != 0) return {errno, "futimens", write.path};
  return {};
}

// writeWholeAt(dirFd, path, flags, mode, data, offset, truncate, mtimeNs, atimeNs, chmodMode,
// keepOpen): {fd, dev, ino, created}, or undefined when it is not kept open
Napi::Value WriteWholeAt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  WholeWrite write;
  write.dirFd = arguments.Descriptor(info[0], "dirFd");
  write.path = arguments.Path(info[1], "path");
  write.flags = static_cast<int>(arguments.Integer(info[2], "flags", 0, 0x7fffffff));
  write.mode = static_cast<unsigned>(arguments.Integer(info[3], "mode", 0, 0xffff));
  write.data = arguments.Uint8(info[4], "data");
  write.offset = arguments.Offset(info[5], "offset");
  write.truncate = arguments.Boolean(info[6], "truncate");
  write.times[1] = arguments.Nanoseconds(info[7], "mtimeNs");
  write.times[0] = arguments.Nanoseconds(info[8], "atimeNs");
  write.chmodMode = arguments.OptionalInteger(info[9], "chmodMode", 0, 07777, -1);
  write.keepOpen = arguments.OptionalBoolean(info[10], "keepOpen", true);
  if (arguments.failed()) return env.Undefined();

  Descriptor file;
  struct stat facts = {};
  bool created = false;
  const Failure failure = Perform(write, &file, &facts, &created);
  if (failure) return Throw(env, failure);
  if (!write.keepOpen) return env.Undefined();
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", Napi::Number::New(env, file.Release()));
  result.Set("dev", Napi::BigInt::New(env, static_cast<uint64_t>(facts.st_dev)));
  result.Set("ino", Napi::BigInt::New(env, static_cast<uint64_t>(facts.st_ino)));
  result.Set("created", Napi::Boolean::New(env, created));
  return result;
}

}  // namespace

}  // namespace kangaroo
