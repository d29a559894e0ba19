// The path jail and the calls beside it: names relative to a directory's descriptor.
//
// openBeneath resolves a whole path with openat2(2) and never leaves the directory: "..", absolute
// paths and symbolic links that lead out fail with EXDEV, magic links with ELOOP. The *At calls
// take one component, checked here, and do not follow a symbolic link in that place; they are safe
// when the directory's descriptor came from openBeneath. All of these calls are synchronous.
#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "arguments.h"
#include "descriptor.h"

namespace kangaroo {

namespace {

constexpr int64_t kModeBits = 07777;

// The kernel answers EAGAIN when a rename elsewhere made ".." uncertain; it is tried this often.
constexpr int kResolveAttempts = 64;

// The final component of a path: anything that could lead elsewhere is refused.
std::string Component(Arguments& arguments, Napi::Value value, const char* name) {
  std::string component = arguments.Path(value, name);
  if (arguments.failed()) return component;
  if (component.empty() || component == "." || component == ".." ||
      component.find('/') != std::string::npos) {
    arguments.Refuse(name, "must be one component of a path");
  }
  return component;
}

Napi::Value BigTime(Napi::Env env, const timespec& time) {
  return Napi::BigInt::New(env, static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec);
}

Napi::Value StatObject(Napi::Env env, const struct stat& facts) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("mode", Napi::Number::New(env, facts.st_mode));
  result.Set("size", Napi::Number::New(env, static_cast<double>(facts.st_size)));
  result.Set("ino", Napi::BigInt::New(env, static_cast<uint64_t>(facts.st_ino)));
  result.Set("dev", Napi::BigInt::New(env, static_cast<uint64_t>(facts.st_dev)));
  result.Set("mtimeNs", BigTime(env, facts.st_mtim));
  result.Set("atimeNs", BigTime(env, facts.st_atim));
  result.Set("nlink", Napi::Number::New(env, static_cast<double>(facts.st_nlink)));
  result.Set("uid", Napi::Number::New(env, facts.st_uid));
  result.Set("gid", Napi::Number::New(env, facts.st_gid));
  result.Set("blocks", Napi::Number::New(env, static_cast<double>(facts.st_blocks)));
  return result;
}

// An O_PATH descriptor refuses fchmod and futimens; its name under /proc reaches the same inode.
std::string ProcPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

}  // namespace

int OpenBeneath(int dirFd, const char* path, int flags, unsigned mode) {
  open_how how = {};
  how.flags = static_cast<unsigned>(flags) | O_CLOEXEC;
  // A FIFO without a reader would otherwise hold the caller for ever. Regular files do not care.
  if ((flags & O_PATH) == 0) how.flags |= O_NONBLOCK | O_NOCTTY;
  const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  how.mode = creates ? mode & kModeBits : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 1;; attempt++) {
    const long fd = syscall(SYS_openat2, dirFd, path, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == EINTR) continue;
    if (errno != EAGAIN || attempt == kResolveAttempts) return -1;
  }
}

namespace {

// openBeneath(dirFd, path, flags, mode): fd
Napi::Value OpenBeneathCall(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int dirFd = arguments.Descriptor(info[0], "dirFd");
  const std::string path = arguments.Path(info[1], "path");
  const int flags = static_cast<int>(arguments.Integer(info[2], "flags", 0, 0x7fffffff));
  const int64_t mode = arguments.OptionalInteger(info[3], "mode", 0, 0xffff, 0);
  if (arguments.failed()) return env.Undefined();
  const int fd = OpenBeneath(dirFd, path.c_str(), flags, static_cast<unsigned>(mode));
  if (fd < 0) return Throw(env, {errno, "openat2", path});
  return Napi::Number::New(env, fd);
}

// mkdirAt(dirFd, name, mode): void
Napi::Value MkdirAt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int dirFd = arguments.Descriptor(info[0], "dirFd");
  const std::string name = Component(arguments, info[1], "name");
  const int64_t mode = arguments.Integer(info[2], "mode", 0, 0xffff);
  if (arguments.failed()) return env.Undefined();
  if (mkdirat(dirFd, name.c_str(), static_cast<mode_t>(mode & kModeBits)) != 0) {
    return Throw(env, {errno, "mkdirat", name});
  }
  return env.Undefined();
}

// unlinkAt(dirFd, name, isDirectory): void
Napi::Value UnlinkAt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int dirFd = arguments.Descriptor(info[0], "dirFd");
  const std::string name = Component(arguments, info[1], "name");
  const bool isDirectory = arguments.Boolean(info[2], "isDirectory");
  if (arguments.failed()) return env.Undefined();
  if (unlinkat(dirFd, name.c_str(), isDirectory ? AT_REMOVEDIR : 0) != 0) {
    return Throw(env, {errno, "unlinkat", name});
  }
  return env.Undefined();
}

// renameAt(oldDirFd, oldName, newDirFd, newName, flags): void, renameat2(2)
Napi::Value RenameAt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int oldDirFd = arguments.Descriptor(info[0], "oldDirFd");
  const std::string oldName = Component(arguments, info[1], "oldName");
  const int newDirFd = arguments.Descriptor(info[2], "newDirFd");
  const std::string newName = Component(arguments, info[3], "newName");
  const int64_t flags = arguments.OptionalInteger(info[4], "flags", 0, 7, 0);
  if (arguments.failed()) return env.Undefined();
  // By number, because older C libraries have no wrapper for it.
  if (syscall(SYS_renameat2, oldDirFd, oldName.c_str(), newDirFd, newName.c_str(),
              static_cast<unsigned>(flags)) != 0) {
    return Throw(env, {errno, "renameat2", oldName});
  }
  return env.Undefined();
}

// statAt(dirFd, name): facts about the name itself, symbolic links not followed
Napi::Value StatAt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int dirFd = arguments.Descriptor(info[0], "dirFd");
  const std::string name = Component(arguments, info[1], "name");
  if (arguments.failed()) return env.Undefined();
  struct stat facts;
  if (fstatat(dirFd, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) {
    return Throw(env, {errno, "fstatat", name});
  }
  return StatObject(env, facts);
}

// statFd(fd): the same facts
Napi::Value StatFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  if (arguments.failed()) return env.Undefined();
  struct stat facts;
  if (fstat(fd, &facts) != 0) return Throw(env, {errno, "fstat", {}});
  return StatObject(env, facts);
}

// utimensFd(fd, atimeNs, mtimeNs): void; null leaves a time alone
Napi::Value UtimensFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  const timespec times[2] = {arguments.Nanoseconds(info[1], "atimeNs"),
                             arguments.Nanoseconds(info[2], "mtimeNs")};
  if (arguments.failed()) return env.Undefined();
  if (futimens(fd, times) == 0) return env.Undefined();
  if (errno != EBADF || fcntl(fd, F_GETFD) < 0 ||
      utimensat(AT_FDCWD, ProcPath(fd).c_str(), times, 0) != 0) {
    return Throw(env, {errno, "utimensat", {}});
  }
  return env.Undefined();
}

// utimensAt(dirFd, name, atimeNs, mtimeNs): void; of a symbolic link its own times
Napi::Value UtimensAt(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int dirFd = arguments.Descriptor(info[0], "dirFd");
  const std::string name = Component(arguments, info[1], "name");
  const timespec times[2] = {arguments.Nanoseconds(info[2], "atimeNs"),
                             arguments.Nanoseconds(info[3], "mtimeNs")};
  if (arguments.failed()) return env.Undefined();
  if (utimensat(dirFd, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return Throw(env, {errno, "utimensat", name});
  }
  return env.Undefined();
}

// chmodFd(fd, mode): void; also for an O_PATH descriptor
Napi::Value ChmodFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  const mode_t mode =
      static_cast<mode_t>(arguments.Integer(info[1], "mode", 0, 0xffff) & kModeBits);
  if (arguments.failed()) return env.Undefined();
  if (fchmod(fd, mode) == 0) return env.Undefined();
  if (errno != EBADF || fcntl(fd, F_GETFD) < 0 || chmod(ProcPath(fd).c_str(), mode) != 0) {
    return Throw(env, {errno, "fchmod", {}});
  }
  return env.Undefined();
}

const char* TypeName(unsigned char type) {
  switch (type) {
    case DT_REG: return "file";
    case DT_DIR: return "directory";
    case DT_LNK: return "symlink";
    case DT_FIFO: return "fifo";
    case DT_SOCK: return "socket";
    case DT_CHR: return "character-device";
    case DT_BLK: return "block-device";
    default: return "unknown";
  }
}

// linux_dirent64 of getdents64(2), which the C library does not declare everywhere.
constexpr size_t kEntryNextOffset = 8;
constexpr size_t kEntryLengthOffset = 16;
constexpr size_t kEntryTypeOffset = 18;
constexpr size_t kEntryNameOffset = 19;

// readDirFd(fd, max, restart = false): up to max entries from where the last call ended, as
// {name: Buffer, type}; none at the end. "." and ".." are left out. Continuing is seeking to the
// cookie of the last entry given, which the kernel keeps valid while the directory changes.
Napi::Value ReadDirFd(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  const size_t max = static_cast<size_t>(arguments.Integer(info[1], "max", 1, 1 << 20));
  const bool restart = arguments.OptionalBoolean(info[2], "restart", false);
  if (arguments.failed()) return env.Undefined();
  if (restart && lseek(fd, 0, SEEK_SET) < 0) return Throw(env, {errno, "lseek", {}});

  Napi::Array entries = Napi::Array::New(env);
  uint32_t count = 0;
  alignas(8) char buffer[32768];
  while (count < max) {
    const long filled = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    if (filled < 0) return Throw(env, {errno, "getdents64", {}});
    if (filled == 0) break;
    for (long at = 0; at < filled;) {
      const char* entry = buffer + at;
      const char* name = entry + kEntryNameOffset;
      uint16_t length = 0;
      std::memcpy(&length, entry + kEntryLengthOffset, sizeof length);
      at += length;
      if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
      Napi::Object item = Napi::Object::New(env);
      item.Set("name", Napi::Buffer<char>::Copy(env, name, std::strlen(name)));
      item.Set("type", TypeName(static_cast<unsigned char>(entry[kEntryTypeOffset])));
      entries.Set(count++, item);
      if (count == max && at < filled) {
        int64_t next = 0;
        std::memcpy(&next, entry + kEntryNextOffset, sizeof next);
        if (lseek(fd, next, SEEK_SET) < 0) return Throw(env, {errno, "lseek", {}});
        break;
      }
    }
  }
  return entries;
}

}  // namespace

}  // namespace kangaroo
