// receiveBurst: a stream of large write blocks from a socket into one file.
//
// Takes frames as long as each holds exactly one record of the wanted kind for the wanted path
// with a payload; checks the header's and the payload's CRC-32C; writes the payload to the
// record's offset, or behind the one before. It stops at the first frame that is something else,
// is damaged, does not fit or could not be written, and when nothing more is coming just now.
//
// What it promises: no payload byte is written unless both checksums fit. `leftover` begins at
// the first frame that was not accepted, complete as far as it has been read, so that JavaScript
// goes on from there as if it had read the bytes itself. The one exception is a block that the
// deadline or the peer's close cut short: nothing can follow on that connection, its bytes are
// dropped.
//
// Reading goes a little beyond the wanted byte, so that the next header comes with this payload.
#include <napi.h>

#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <string>
#include <vector>

#include "arguments.h"
#include "block-buffer.h"
#include "crc32c.h"
#include "descriptor.h"
#include "job.h"
#include "record.h"

namespace kangaroo {

namespace {

// Beyond this, a frame's names are left to JavaScript; it bounds `leftover` too.
constexpr size_t kMaxNamesBytes = (16 << 10);
constexpr size_t kLargePayloadBytes = 64 << 10;
constexpr size_t kLookaheadLargeBytes = 256;
constexpr size_t kLookaheadSmallBytes = 32 << 10;
constexpr size_t kMaxBurstBlocks = 65536;

static_assert(kFrameBytes + kHeaderBytes + kMaxNamesBytes + kMaxBlockBytes + kLookaheadSmallBytes <=
                  BlockBuffer::kBytes,
              "a whole frame and what is read beyond it must fit");

// The wire as seen through one buffer: bytes [begin, end) have been read and not consumed. Bytes
// that JavaScript had read come first, then the socket's.
class FrameWindow {
 public:
  enum Outcome { kReady, kIdle, kClosed, kDeadline, kFailed };

  FrameWindow(uint8_t* buffer, int socket, Bytes head, const Deadline& deadline)
      : buffer_(buffer), socket_(socket), head_(head), deadline_(deadline) {}

  const uint8_t* data() const { return buffer_ + begin_; }
  size_t available() const { return end_ - begin_; }
  int error() const { return error_; }
  void Consume(size_t bytes) { begin_ += bytes; }

  // Waits for `need` bytes, only for a moment: kIdle when they do not come at once.
  Outcome ExpectSoon(size_t need, size_t lookahead) {
    while (available() < need) {
      const Outcome outcome = ReadMore(need + lookahead, false);
      if (outcome != kReady) return outcome;
    }
    return kReady;
  }

  // One read towards `want` bytes, waiting for it until the deadline if need be.
  Outcome ReadOnce(size_t want) { return ReadMore(want, true); }

  std::string Leftover() const {
    std::string rest(reinterpret_cast<const char*>(data()), available());
    rest.append(reinterpret_cast<const char*>(head_.data), head_.length);
    return rest;
  }

 private:
  // A sender that is at work has the next bytes ready within this time.
  static constexpr long kIdleNs = 200 * 1000;

  Outcome ReadMore(size_t want, bool patient) {
    MakeRoom(want);
    const size_t space = want - available();
    if (head_.length > 0) {
      const size_t taken = head_.length < space ? head_.length : space;
      std::memcpy(buffer_ + end_, head_.data, taken);
      head_.data += taken;
      head_.length -= taken;
      end_ += taken;
      return kReady;
    }
    bool waited = false;
    for (;;) {
      const ssize_t bytes = recv(socket_, buffer_ + end_, space, MSG_DONTWAIT);
      if (bytes > 0) {
        end_ += static_cast<size_t>(bytes);
        return kReady;
      }
      if (bytes == 0) return kClosed;
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        error_ = errno;
        return kFailed;
      }
      if (!patient && waited) return kIdle;
      waited = true;
      const Outcome outcome = patient ? WaitLong() : WaitShort();
      if (outcome != kReady) return outcome;
    }
  }

  Outcome WaitLong() {
    const int error = WaitUntilReady(socket_, POLLIN, deadline_);
    if (error == ETIMEDOUT) return kDeadline;
    error_ = error;
    return error == 0 ? kReady : kFailed;
  }

  Outcome WaitShort() {
    pollfd entry = {socket_, POLLIN, 0};
    const timespec moment = {0, kIdleNs};
    return ppoll(&entry, 1, &moment, nullptr) > 0 ? kReady : kIdle;
  }

  void MakeRoom(size_t want) {
    if (begin_ + want <= BlockBuffer::kBytes && begin_ != end_) return;
    if (begin_ != end_) std::memmove(buffer_, buffer_ + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }

  uint8_t* const buffer_;
  const int socket_;
  Bytes head_;
  const Deadline& deadline_;
  size_t begin_ = 0;
  size_t end_ = 0;
  int error_ = 0;
};

class ReceiveBurstJob : public Job {
 public:
  ReceiveBurstJob(Napi::Env env, Arguments& arguments, const Napi::Object& options)
      : Job(env, "kangaroo.receiveBurst"),
        deadline_(arguments.Integer(arguments.Get(options, "deadlineMs"), "deadlineMs", 0,
                                    Deadline::kMaxMs)) {
    const int socket = arguments.Descriptor(arguments.Get(options, "socket"), "socket");
    const int file = arguments.Descriptor(arguments.Get(options, "file"), "file");
    ReadMode(arguments, options);
    ReadTemplate(arguments, options);
    kind_ = arguments.Integer(arguments.Get(options, "kind"), "kind", 0, 0xff);
    version_ = arguments.OptionalInteger(arguments.Get(options, "version"), "version", 0, 0xff, -1);
    flagsAllowed_ =
        arguments.Integer(arguments.Get(options, "flagsAllowed"), "flagsAllowed", 0, 0xffff);
    maxBlocks_ = static_cast<size_t>(
        arguments.Integer(arguments.Get(options, "maxBlocks"), "maxBlocks", 1, kMaxBurstBlocks));
    putsType_ = arguments.Integer(arguments.Get(options, "putsType"), "putsType", 0, 0xff);
    earlyWriteback_ = arguments.OptionalBoolean(arguments.Get(options, "earlyWriteback"),
                                                "earlyWriteback", true);
    const Napi::Value head = arguments.Get(options, "head");
    if (!Arguments::IsAbsent(head)) {
      head_ = arguments.Uint8(head, "head");
      if (!arguments.failed()) headHold_ = Napi::Persistent(head.As<Napi::Object>());
    }
    if (arguments.failed()) return;
    socket_ = Descriptor::Duplicate(socket, &failure_);
    file_ = Descriptor::Duplicate(file, &failure_);
  }

 protected:
  void Work() override {
    BlockBuffer buffer;
    if (buffer.data() == nullptr) return Fail(ENOMEM, "recv");
    FrameWindow window(buffer.data(), socket_.get(), head_, deadline_);
    while (stop_ == nullptr) TakeFrame(window);
    if (!cutShort_) leftover_ = window.Leftover();
  }

  Napi::Value Result(Napi::Env env) override {
    Napi::Object result = Napi::Object::New(env);
    const size_t count = placed_.size();
    Napi::Array records = Napi::Array::New(env, count);
    Napi::Float64Array placed = Napi::Float64Array::New(env, count);
    Napi::Uint32Array callIds = Napi::Uint32Array::New(env, count);
    Napi::ArrayBuffer bytes = Napi::ArrayBuffer::New(env, records_.size());
    if (!records_.empty()) std::memcpy(bytes.Data(), records_.data(), records_.size());
    for (size_t i = 0; i < count; i++) {
      const size_t end = i + 1 < count ? recordStarts_[i + 1] : records_.size();
      records.Set(static_cast<uint32_t>(i), Napi::Uint8Array::New(env, end - recordStarts_[i],
                                                                  bytes, recordStarts_[i]));
      placed[i] = static_cast<double>(placed_[i]);
      callIds[i] = callIds_[i];
    }
    result.Set("records", records);
    result.Set("placed", placed);
    result.Set("callIds", callIds);
    result.Set("leftover", Napi::Buffer<char>::Copy(env, leftover_.data(), leftover_.size()));
    result.Set("stop", stop_);
    if (cause_) result.Set("error", MakeError(env, cause_).Value());
    return result;
  }

 private:
  void ReadMode(Arguments& arguments, const Napi::Object& options) {
    const std::string mode = arguments.Text(arguments.Get(options, "mode"), "mode");
    append_ = mode == "append";
    if (!append_ && mode != "at-offset") arguments.Refuse("mode", "must be at-offset or append");
    if (!append_) return;
    position_ = arguments.Offset(arguments.Get(options, "fileOffset"), "fileOffset");
    capacityLeft_ = arguments.Offset(arguments.Get(options, "capacityBytes"), "capacityBytes");
  }

  void ReadTemplate(Arguments& arguments, const Napi::Object& options) {
    const Napi::Value given = arguments.Get(options, "template");
    if (Arguments::IsAbsent(given)) return;
    const Bytes bytes = arguments.Uint8(given, "template");
    if (arguments.failed()) return;
    hasTemplate_ = true;
    template_.assign(reinterpret_cast<const char*>(bytes.data), bytes.length);
    templateNameBytes_ = arguments.OptionalInteger(arguments.Get(options, "templateNameBytes"),
                                                   "templateNameBytes", 0, 0xff, -1);
  }

  // Takes one whole frame, or sets stop_ and leaves the window at the frame's first byte.
  void TakeFrame(FrameWindow& window) {
    if (placed_.size() == maxBlocks_) return Stop("max");
    if (!Expect(window, kFrameBytes)) return;
    const FramePrefix frame(window.data());
    if (frame.type != putsType_ || frame.flags != 0 || frame.zero != 0 || frame.zero2 != 0 ||
        frame.bodyBytes <= kHeaderBytes) {
      return Stop("mismatch");
    }
    if (!Expect(window, kFrameBytes + kHeaderBytes)) return;
    const RecordHeader header(window.data() + kFrameBytes);
    if (!FitsHeader(frame, header, window.data() + kFrameBytes)) return Stop("mismatch");
    const size_t payloadAt = kFrameBytes + kHeaderBytes + header.NamesBytes();
    if (!Expect(window, payloadAt)) return;
    if (!FitsNames(header, window.data() + kFrameBytes + kHeaderBytes)) return Stop("mismatch");
    const uint8_t* summed = window.data() + kFrameBytes + kHeaderCrcStart;
    const size_t summedBytes = payloadAt - kFrameBytes - kHeaderCrcStart;
    if (Crc32c(summed, summedBytes) != header.headerCrc) return StopCorrupt();
    if (append_ && header.payloadBytes > capacityLeft_) return Stop("full");
    if (!ReceivePayload(window, header, payloadAt)) return;
    WritePayload(window, frame, header, payloadAt);
  }

  bool FitsHeader(const FramePrefix& frame, const RecordHeader& header, const uint8_t* data) const {
    return std::memcmp(data, kRecordMagic, sizeof kRecordMagic) == 0 && header.kind == kind_ &&
           (version_ < 0 || header.version == version_) && (header.flags & ~flagsAllowed_) == 0 &&
           header.payloadBytes > 0 && header.payloadBytes <= kMaxBlockBytes &&
           header.NamesBytes() <= kMaxNamesBytes &&
           frame.bodyBytes == kHeaderBytes + header.NamesBytes() + header.payloadBytes &&
           (append_ || header.offset <= static_cast<uint64_t>(kMaxSafeInteger) - kMaxBlockBytes);
  }

  bool FitsNames(const RecordHeader& header, const uint8_t* names) const {
    if (!hasTemplate_) return true;
    if (templateNameBytes_ >= 0 && static_cast<size_t>(templateNameBytes_) != header.nameBytes) {
      return false;
    }
    return header.nameBytes + header.pathBytes == template_.size() &&
           std::memcmp(names, template_.data(), template_.size()) == 0;
  }

  // The checksum follows the bytes as they come, while they are still in the cache.
  bool ReceivePayload(FrameWindow& window, const RecordHeader& header, size_t payloadAt) {
    const size_t frameBytes = payloadAt + header.payloadBytes;
    const size_t lookahead =
        header.payloadBytes > kLargePayloadBytes ? kLookaheadLargeBytes : kLookaheadSmallBytes;
    uint32_t crc = 0;
    size_t summedTo = payloadAt;
    for (;;) {
      const size_t have = window.available() < frameBytes ? window.available() : frameBytes;
      if (have > summedTo) {
        crc = Crc32c(window.data() + summedTo, have - summedTo, crc);
        summedTo = have;
      }
      if (have == frameBytes) break;
      const FrameWindow::Outcome outcome = window.ReadOnce(frameBytes + lookahead);
      if (outcome == FrameWindow::kReady) continue;
      cutShort_ = true;
      StopAt(outcome, window.error());
      return false;
    }
    if (crc == header.payloadCrc) return true;
    StopCorrupt();
    return false;
  }

  void WritePayload(FrameWindow& window, const FramePrefix& frame, const RecordHeader& header,
                    size_t payloadAt) {
    const int64_t offset = append_ ? position_ : static_cast<int64_t>(header.offset);
    const int error =
        WriteFully(file_.get(), window.data() + payloadAt, header.payloadBytes, offset);
    if (error != 0) {
      cause_ = {error, "pwrite", {}};
      return Stop("error");
    }
    const int64_t end = offset + header.payloadBytes;
    if (earlyWriteback_) StartWriteback(file_.get(), offset, end);
    if (append_) {
      position_ = end;
      capacityLeft_ -= header.payloadBytes;
    }
    placed_.push_back(offset);
    callIds_.push_back(frame.callId);
    recordStarts_.push_back(records_.size());
    records_.insert(records_.end(), window.data() + kFrameBytes, window.data() + payloadAt);
    window.Consume(payloadAt + header.payloadBytes);
  }

  bool Expect(FrameWindow& window, size_t need) {
    const FrameWindow::Outcome outcome = window.ExpectSoon(need, kLookaheadLargeBytes);
    if (outcome != FrameWindow::kReady) StopAt(outcome, window.error());
    return outcome == FrameWindow::kReady;
  }

  void StopAt(FrameWindow::Outcome outcome, int error) {
    switch (outcome) {
      case FrameWindow::kIdle: return Stop("idle");
      case FrameWindow::kDeadline: return Stop("deadline");
      case FrameWindow::kClosed: return Stop("closed");
      default: cause_ = {error, "recv", {}}; return Stop("closed");
    }
  }

  void StopCorrupt() {
    cause_ = {EBADMSG, "receiveBurst", {}};
    Stop("corrupt");
  }

  void Stop(const char* why) { stop_ = why; }

  Deadline deadline_;
  Descriptor socket_;
  Descriptor file_;
  bool append_ = false;
  int64_t position_ = 0;
  int64_t capacityLeft_ = 0;
  bool hasTemplate_ = false;
  std::string template_;
  int64_t templateNameBytes_ = -1;
  int64_t kind_ = 0;
  int64_t version_ = -1;
  int64_t flagsAllowed_ = 0;
  size_t maxBlocks_ = 0;
  int64_t putsType_ = 0;
  bool earlyWriteback_ = true;
  Bytes head_;
  Napi::ObjectReference headHold_;

  std::vector<uint8_t> records_;
  std::vector<size_t> recordStarts_;
  std::vector<int64_t> placed_;
  std::vector<uint32_t> callIds_;
  std::string leftover_;
  const char* stop_ = nullptr;
  bool cutShort_ = false;
  Failure cause_;
};

// receiveBurst(options): Promise<{records, placed, callIds, leftover, stop, error?}>
Napi::Value ReceiveBurst(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const Napi::Object options = arguments.Object(info[0], "options");
  if (arguments.failed()) return info.Env().Undefined();
  return StartJob<ReceiveBurstJob>(info.Env(), arguments, options);
}

}  // namespace

}  // namespace kangaroo
