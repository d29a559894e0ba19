// Durability and space: what Node has no call for.
//
// syncFs waits for the disk and runs on the thread pool; the others only start something or change
// metadata and are made at once. See syncfs(2), sync_file_range(2), fallocate(2).
#include <napi.h>

#include <fcntl.h>
#include <unistd.h>

#include "arguments.h"
#include "descriptor.h"
#include "job.h"

namespace kangaroo {

namespace {

class SyncFsJob : public Job {
 public:
  SyncFsJob(Napi::Env env, int fd) : Job(env, "kangaroo.syncFs") {
    fd_ = Descriptor::Duplicate(fd, &failure_);
  }

 protected:
  void Work() override {
    if (syncfs(fd_.get()) != 0) Fail(errno, "syncfs");
  }

  Napi::Value Result(Napi::Env env) override { return env.Undefined(); }

 private:
  Descriptor fd_;
};

// syncFs(fd): Promise<void>
Napi::Value SyncFs(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const int fd = arguments.Descriptor(info[0], "fd");
  if (arguments.failed()) return info.Env().Undefined();
  return (new SyncFsJob(info.Env(), fd))->Start();
}

// syncFileRange(fd, offset, length, flags): void
Napi::Value SyncFileRange(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const int fd = arguments.Descriptor(info[0], "fd");
  const int64_t offset = arguments.Offset(info[1], "offset");
  const int64_t length = arguments.Offset(info[2], "length");
  const int64_t flags = arguments.Integer(info[3], "flags", 0, 7);
  if (arguments.failed()) return info.Env().Undefined();
  if (sync_file_range(fd, offset, length, static_cast<unsigned>(flags)) != 0) {
    return Throw(info.Env(), {errno, "sync_file_range", {}});
  }
  return info.Env().Undefined();
}

// fallocate(fd, mode, offset, length): void
Napi::Value Fallocate(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const int fd = arguments.Descriptor(info[0], "fd");
  const int64_t mode = arguments.Integer(info[1], "mode", 0, 0xff);
  const int64_t offset = arguments.Offset(info[2], "offset");
  const int64_t length = arguments.Offset(info[3], "length");
  if (arguments.failed()) return info.Env().Undefined();
  while (fallocate(fd, static_cast<int>(mode), offset, length) != 0) {
    if (errno != EINTR) return Throw(info.Env(), {errno, "fallocate", {}});
  }
  return info.Env().Undefined();
}

}  // namespace

}  // namespace kangaroo
