// The bytes of a frame and of a record's header, as far as the bulk receiver looks at them.
//
//   frame:   0 bodyBytes u32 | 4 type u8 | 5 flags u8 | 6 zero u16 | 8 callId u32 | 12 zero u32
//   record:  0 'KOP1' | 4 headerCrc u32 | 8 payloadCrc u32 | 12 payloadBytes u32
//            16 pathBytes u16 | 18 path2Bytes u16 | 20 extBytes u16 | 22 nameBytes u8 | 23 kind u8
//            24 flags u16 | 26 hops u8 | 27 version u8 | 28 mode u32 | 32 seq u64 | 40 offset u64
//            48 ... 136 times, origin, sender, place of the payload
//            then name, path, path2, ext, then the payload
//
// Little endian. headerCrc covers bytes 8 to 136 and the names and ext behind them. The full
// layout belongs to the record codec in src/protocol; test/support/burst-frames.ts builds the same
// bytes a third time, so that a change in one place alone makes a test fail.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kangaroo {

constexpr size_t kFrameBytes = 16;
constexpr size_t kHeaderBytes = 136;
constexpr size_t kHeaderCrcStart = 8;
constexpr uint8_t kRecordMagic[4] = {'K', 'O', 'P', '1'};

inline uint64_t LoadLittle(const uint8_t* data, int bytes) {
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; i--) value = value << 8 | data[i];
  return value;
}

struct FramePrefix {
  uint32_t bodyBytes;
  uint8_t type;
  uint8_t flags;
  uint16_t zero;
  uint32_t callId;
  uint32_t zero2;

  explicit FramePrefix(const uint8_t* data)
      : bodyBytes(static_cast<uint32_t>(LoadLittle(data, 4))),
        type(data[4]),
        flags(data[5]),
        zero(static_cast<uint16_t>(LoadLittle(data + 6, 2))),
        callId(static_cast<uint32_t>(LoadLittle(data + 8, 4))),
        zero2(static_cast<uint32_t>(LoadLittle(data + 12, 4))) {}
};

struct RecordHeader {
  uint32_t headerCrc;
  uint32_t payloadCrc;
  uint32_t payloadBytes;
  size_t pathBytes;
  size_t path2Bytes;
  size_t extBytes;
  size_t nameBytes;
  uint8_t kind;
  uint16_t flags;
  uint8_t version;
  uint64_t offset;

  explicit RecordHeader(const uint8_t* data)
      : headerCrc(static_cast<uint32_t>(LoadLittle(data + 4, 4))),
        payloadCrc(static_cast<uint32_t>(LoadLittle(data + 8, 4))),
        payloadBytes(static_cast<uint32_t>(LoadLittle(data + 12, 4))),
        pathBytes(LoadLittle(data + 16, 2)),
        path2Bytes(LoadLittle(data + 18, 2)),
        extBytes(LoadLittle(data + 20, 2)),
        nameBytes(data[22]),
        kind(data[23]),
        flags(static_cast<uint16_t>(LoadLittle(data + 24, 2))),
        version(data[27]),
        offset(LoadLittle(data + 40, 8)) {}

  size_t NamesBytes() const { return nameBytes + pathBytes + path2Bytes + extBytes; }
};

}  // namespace kangaroo
