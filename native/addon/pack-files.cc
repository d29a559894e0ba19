// listNames and packFiles: a directory of small files becomes records in the frame that is being
// filled, without an object, a string or a crossing for each of them.
//
// A file that is not plain, not small, not readable or not as long as it said is left to
// JavaScript, which goes the normal way with it and has the words for what is wrong. The records
// are what src/protocol/operation.ts writes; test/unit/client/pack.test.ts reads them back with it.
#include <napi.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "arguments.h"
#include "crc32c.h"
#include "descriptor.h"
#include "record.h"

namespace kangaroo {

namespace {

inline void StoreLittle(uint8_t* data, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>(value >> (8 * i));
}

// listNames(fd): of the entries behind those of the last call {files, others}: the names of plain
// files as bytes, a NUL behind each, and the others as readDirFd gives them. Null at the end.
Napi::Value ListNames(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  if (arguments.failed()) return env.Undefined();

  alignas(8) char buffer[32768];
  const long filled = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
  if (filled < 0) return Throw(env, {errno, "getdents64", {}});
  if (filled == 0) return env.Null();
  std::string files;
  Napi::Array others = Napi::Array::New(env);
  uint32_t count = 0;
  for (long at = 0; at < filled;) {
    const char* entry = buffer + at;
    const char* name = entry + kEntryNameOffset;
    uint16_t length = 0;
    std::memcpy(&length, entry + kEntryLengthOffset, sizeof length);
    at += length;
    if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
    const unsigned char type = static_cast<unsigned char>(entry[kEntryTypeOffset]);
    if (type == DT_REG) {
      files.append(name, std::strlen(name) + 1);
      continue;
    }
    Napi::Object item = Napi::Object::New(env);
    item.Set("name", Napi::Buffer<char>::Copy(env, name, std::strlen(name)));
    item.Set("type", TypeName(type));
    others.Set(count++, item);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("files", Napi::Buffer<char>::Copy(env, files.data(), files.size()));
  result.Set("others", others);
  return result;
}

struct Packing {
  int dirFd;
  Bytes names;
  Bytes head;  // header, server name and path of the directory, the same for all of its files
  uint64_t seq;
  uint8_t* out;
  size_t room;
  size_t payloadBytesMax;
  size_t pathBytesMax;

  size_t used = 0;
  size_t payloadBytes = 0;
  uint32_t files = 0;
};

enum class Outcome { kPacked, kFull, kOdd };

// Fills data with exactly `bytes` of the file; false when it has fewer or cannot be read.
bool ReadFully(int fd, uint8_t* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t got = pread(fd, data + done, bytes - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

// A file of /proc or the like says that it is empty when it is not.
bool IsEmpty(int fd) {
  uint8_t byte = 0;
  return pread(fd, &byte, 1, 0) == 0;
}

Outcome PackOne(Packing* packing, const char* name, size_t nameBytes) {
  const size_t pathBytes = packing->head.length - kHeaderBytes - packing->head.data[22] + nameBytes;
  if (pathBytes > packing->pathBytesMax) return Outcome::kOdd;
  const Descriptor file(openat(packing->dirFd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat facts = {};
  if (file.get() < 0 || fstat(file.get(), &facts) != 0 || !S_ISREG(facts.st_mode) ||
      facts.st_size > static_cast<off_t>(packing->payloadBytesMax)) {
    return Outcome::kOdd;
  }
  const size_t bytes = static_cast<size_t>(facts.st_size);
  const size_t headBytes = packing->head.length + nameBytes;
  if (headBytes + bytes > packing->room - packing->used) return Outcome::kFull;
  uint8_t* head = packing->out + packing->used;
  uint8_t* payload = head + headBytes;
  if (bytes == 0 ? !IsEmpty(file.get()) : !ReadFully(file.get(), payload, bytes)) {
    return Outcome::kOdd;
  }
  std::memcpy(head, packing->head.data, packing->head.length);
  std::memcpy(head + packing->head.length, name, nameBytes);
  StoreLittle(head + 8, Crc32c(payload, bytes), 4);
  StoreLittle(head + 12, bytes, 4);
  StoreLittle(head + 16, pathBytes, 2);
  StoreLittle(head + 28, facts.st_mode & 0777, 4);
  StoreLittle(head + 32, packing->seq + packing->files, 8);
  const int64_t mtimeNs = facts.st_mtim.tv_sec * int64_t{1000000000} + facts.st_mtim.tv_nsec;
  StoreLittle(head + 56, static_cast<uint64_t>(mtimeNs), 8);
  StoreLittle(head + 4, Crc32c(head + kHeaderCrcStart, headBytes - kHeaderCrcStart), 4);
  packing->used += headBytes + bytes;
  packing->payloadBytes += bytes;
  packing->files += 1;
  return Outcome::kPacked;
}

// packFiles(dirFd, names, from, head, seq, out, at, payloadBytesMax, pathBytesMax):
// {files, payloadBytes, next, end, isFull}
Napi::Value PackFiles(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  Packing packing = {};
  packing.dirFd = arguments.Descriptor(info[0], "dirFd");
  packing.names = arguments.Uint8(info[1], "names");
  const int64_t namesMax = static_cast<int64_t>(packing.names.length);
  size_t next = static_cast<size_t>(arguments.Integer(info[2], "from", 0, namesMax));
  packing.head = arguments.Uint8(info[3], "head");
  packing.seq = static_cast<uint64_t>(arguments.Offset(info[4], "seq"));
  const Bytes out = arguments.Uint8(info[5], "out");
  const int64_t outMax = static_cast<int64_t>(out.length);
  const size_t at = static_cast<size_t>(arguments.Integer(info[6], "at", 0, outMax));
  constexpr int64_t kMost = 1 << 20;
  packing.payloadBytesMax =
      static_cast<size_t>(arguments.Integer(info[7], "payloadBytesMax", 0, kMost));
  packing.pathBytesMax = static_cast<size_t>(arguments.Integer(info[8], "pathBytesMax", 0, 0xffff));
  const Bytes& head = packing.head;
  if (!arguments.failed() &&
      (head.length < kHeaderBytes || head.length < kHeaderBytes + head.data[22])) {
    arguments.Refuse("head", "must hold a header and a server name");
  }
  if (arguments.failed()) return env.Undefined();
  packing.out = const_cast<uint8_t*>(out.data) + at;
  packing.room = out.length - at;

  Outcome outcome = Outcome::kPacked;
  while (next < packing.names.length) {
    const char* name = reinterpret_cast<const char*>(packing.names.data) + next;
    const size_t nameBytes = strnlen(name, packing.names.length - next);
    // Without its NUL it is no name that listNames gave.
    if (nameBytes == 0 || next + nameBytes == packing.names.length) outcome = Outcome::kOdd;
    else outcome = PackOne(&packing, name, nameBytes);
    if (outcome != Outcome::kPacked) break;
    next += nameBytes + 1;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("files", Napi::Number::New(env, packing.files));
  result.Set("payloadBytes", Napi::Number::New(env, static_cast<double>(packing.payloadBytes)));
  result.Set("next", Napi::Number::New(env, static_cast<double>(next)));
  result.Set("end", Napi::Number::New(env, static_cast<double>(at + packing.used)));
  result.Set("isFull", Napi::Boolean::New(env, outcome == Outcome::kFull));
  return result;
}

}  // namespace

}  // namespace kangaroo
