// checkRecords: the lengths and checksums of all the records in the body of a frame, in one call.
//
// What it vouches for: the body is whole records one behind the other, no length is beyond the
// limits, every head and every payload that is there has its checksum. What the fields say, and the
// words for what is wrong, are the business of src/protocol/operation.ts.
#include <napi.h>

#include <cstring>

#include "arguments.h"
#include "crc32c.h"
#include "record.h"

namespace kangaroo {

namespace {

constexpr uint16_t kExternalFlag = 64;

struct RecordLimits {
  size_t payloadBytes;
  size_t pathBytes;
  size_t extensionBytes;
};

// The length of the sound record that data starts with, 0 when there is none.
size_t SoundRecordBytes(const uint8_t* data, size_t left, const RecordLimits& limits) {
  if (left < kHeaderBytes || std::memcmp(data, kRecordMagic, sizeof kRecordMagic) != 0) return 0;
  const RecordHeader header(data);
  if (header.payloadBytes > limits.payloadBytes || header.pathBytes > limits.pathBytes ||
      header.path2Bytes > limits.pathBytes || header.extBytes > limits.extensionBytes) {
    return 0;
  }
  const size_t headBytes = kHeaderBytes + header.NamesBytes();
  const size_t payloadBytes = (header.flags & kExternalFlag) == 0 ? header.payloadBytes : 0;
  if (headBytes + payloadBytes > left) return 0;
  if (Crc32c(data + kHeaderCrcStart, headBytes - kHeaderCrcStart) != header.headerCrc) return 0;
  if (payloadBytes > 0 && Crc32c(data + headBytes, payloadBytes) != header.payloadCrc) return 0;
  return headBytes + payloadBytes;
}

// checkRecords(body, payloadBytesMax, pathBytesMax, extensionBytesMax): boolean
Napi::Value CheckRecords(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const Bytes body = arguments.Uint8(info[0], "body");
  constexpr int64_t kMost = 1 << 30;
  RecordLimits limits = {};
  limits.payloadBytes =
      static_cast<size_t>(arguments.Integer(info[1], "payloadBytesMax", 0, kMost));
  limits.pathBytes = static_cast<size_t>(arguments.Integer(info[2], "pathBytesMax", 0, kMost));
  limits.extensionBytes =
      static_cast<size_t>(arguments.Integer(info[3], "extensionBytesMax", 0, kMost));
  if (arguments.failed()) return env.Undefined();
  for (size_t at = 0; at < body.length;) {
    const size_t bytes = SoundRecordBytes(body.data + at, body.length - at, limits);
    if (bytes == 0) return Napi::Boolean::New(env, false);
    at += bytes;
  }
  return Napi::Boolean::New(env, true);
}

}  // namespace

}  // namespace kangaroo
