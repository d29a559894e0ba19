// The board: memory that the server shares with other processes (native/core/board.h).
//
// Node has no shared maps, no process-shared mutex and no futex. Plain loads, stores and exchanges
// are not here: V8's Atomics do them on the ArrayBuffer that mapShared gives. A lock is waited for
// on the main thread, so its caller names a deadline; its holders keep it for microseconds.
#include <napi.h>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

#include "arguments.h"
#include "failure.h"

namespace kangaroo {

namespace {

// Bytes [offset, offset + size) of an ArrayBuffer, or null with a TypeError pending.
uint8_t* Place(Arguments& arguments, Napi::Value buffer, Napi::Value offset, size_t size,
               size_t alignment) {
  const int64_t at = arguments.Offset(offset, "offset");
  if (arguments.failed()) return nullptr;
  if (buffer.IsEmpty() || !buffer.IsArrayBuffer()) {
    arguments.Refuse("buffer", "must be an ArrayBuffer");
    return nullptr;
  }
  Napi::ArrayBuffer memory = buffer.As<Napi::ArrayBuffer>();
  const size_t length = memory.ByteLength();
  if (length < size || static_cast<size_t>(at) > length - size || at % alignment != 0) {
    arguments.Refuse("offset", "must be aligned and within the buffer");
    return nullptr;
  }
  return static_cast<uint8_t*>(memory.Data()) + at;
}

// mapShared(fd, bytes): ArrayBuffer over the first `bytes` of the file, unmapped when it is
// collected. The file must be that long for as long as the memory is used: SIGBUS ends a process.
Napi::Value MapShared(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  const size_t bytes = static_cast<size_t>(arguments.Integer(info[1], "bytes", 1, 1LL << 32));
  if (arguments.failed()) return env.Undefined();
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return Throw(env, {errno, "mmap", {}});
  return Napi::ArrayBuffer::New(env, memory, bytes,
                                [bytes](Napi::BasicEnv, void* data) { munmap(data, bytes); });
}

// initializeLock(buffer, offset): void; a process-shared, robust mutex
Napi::Value InitializeLock(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  uint8_t* place = Place(arguments, info[0], info[1], sizeof(pthread_mutex_t), 16);
  if (arguments.failed()) return env.Undefined();
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int problem =
      pthread_mutex_init(reinterpret_cast<pthread_mutex_t*>(place), &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (problem != 0) return Throw(env, {problem, "pthread_mutex_init", {}});
  return env.Undefined();
}

// lock(buffer, offset, timeoutMs): boolean; false: somebody has held it until the deadline. What
// the last holder left half done when it died is the callers' business: they are not told.
Napi::Value Lock(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  uint8_t* place = Place(arguments, info[0], info[1], sizeof(pthread_mutex_t), 16);
  const int64_t timeoutMs = arguments.Integer(info[2], "timeoutMs", 0, 60000);
  if (arguments.failed()) return env.Undefined();
  timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  const int64_t ns = until.tv_nsec + timeoutMs % 1000 * 1000000;
  until.tv_sec += timeoutMs / 1000 + ns / 1000000000;
  until.tv_nsec = ns % 1000000000;
  auto* mutex = reinterpret_cast<pthread_mutex_t*>(place);
  int problem = pthread_mutex_timedlock(mutex, &until);
  if (problem == EOWNERDEAD) problem = pthread_mutex_consistent(mutex);
  if (problem == ETIMEDOUT) return Napi::Boolean::New(env, false);
  if (problem != 0) return Throw(env, {problem, "pthread_mutex_timedlock", {}});
  return Napi::Boolean::New(env, true);
}

// unlock(buffer, offset): void
Napi::Value Unlock(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  uint8_t* place = Place(arguments, info[0], info[1], sizeof(pthread_mutex_t), 16);
  if (arguments.failed()) return env.Undefined();
  const int problem = pthread_mutex_unlock(reinterpret_cast<pthread_mutex_t*>(place));
  if (problem != 0) return Throw(env, {problem, "pthread_mutex_unlock", {}});
  return env.Undefined();
}

// futexWake(buffer, offset): void; everybody, in any process, who waits there
Napi::Value FutexWake(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  uint8_t* place = Place(arguments, info[0], info[1], sizeof(uint32_t), sizeof(uint32_t));
  if (arguments.failed()) return env.Undefined();
  if (syscall(SYS_futex, place, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0) < 0) {
    return Throw(env, {errno, "futex", {}});
  }
  return env.Undefined();
}

}  // namespace

}  // namespace kangaroo
