// copyIn: a file or a stream into a file, block by block, with the CRC-32C of every block.
//
// The bytes pass through one block buffer that stays in the processor's cache: read a piece, sum
// it, write it. A source that ends early gives a short copy, not an error, and so does the
// deadline; whatever was read has been written then.
#include <napi.h>

#include <unistd.h>

#include <vector>

#include "arguments.h"
#include "block-buffer.h"
#include "crc32c.h"
#include "descriptor.h"
#include "job.h"

namespace kangaroo {

namespace {

class CopyInJob : public Job {
 public:
  CopyInJob(Napi::Env env, Arguments& arguments, const Napi::Object& options)
      : Job(env, "kangaroo.copyIn"),
        deadline_(arguments.OptionalInteger(arguments.Get(options, "deadlineMs"), "deadlineMs", 0,
                                            Deadline::kMaxMs, Deadline::kMaxMs)) {
    const int source = arguments.Descriptor(arguments.Get(options, "source"), "source");
    const int target = arguments.Descriptor(arguments.Get(options, "target"), "target");
    sourceOffset_ = arguments.Integer(arguments.Get(options, "sourceOffset"), "sourceOffset", -1,
                                      kMaxSafeInteger);
    targetOffset_ = arguments.Offset(arguments.Get(options, "targetOffset"), "targetOffset");
    length_ = arguments.Offset(arguments.Get(options, "length"), "length");
    blockBytes_ = static_cast<size_t>(
        arguments.Integer(arguments.Get(options, "blockBytes"), "blockBytes", 1, kMaxBlockBytes));
    earlyWriteback_ = arguments.OptionalBoolean(arguments.Get(options, "earlyWriteback"),
                                                "earlyWriteback", false);
    if (arguments.failed()) return;
    source_ = Descriptor::Duplicate(source, &failure_);
    target_ = Descriptor::Duplicate(target, &failure_);
  }

 protected:
  void Work() override {
    BlockBuffer buffer;
    if (buffer.data() == nullptr) return Fail(ENOMEM, "read");
    while (done_ < length_ && stop_ == kLength && !failure_) {
      const int64_t left = length_ - done_;
      const size_t want = left < static_cast<int64_t>(blockBytes_) ? static_cast<size_t>(left)
                                                                   : blockBytes_;
      CopyBlock(buffer.data(), want);
      if (stop_ == kLength && deadline_.Passed()) stop_ = done_ < length_ ? kDeadline : kLength;
    }
  }

  Napi::Value Result(Napi::Env env) override {
    Napi::Uint32Array crcs = Napi::Uint32Array::New(env, crcs_.size());
    for (size_t i = 0; i < crcs_.size(); i++) crcs[i] = crcs_[i];
    Napi::Object result = Napi::Object::New(env);
    result.Set("bytes", Napi::Number::New(env, static_cast<double>(done_)));
    result.Set("crcs", crcs);
    result.Set("stop", stop_ == kLength ? "length" : stop_ == kEnd ? "end" : "deadline");
    return result;
  }

  void Explain(Napi::Env env, Napi::Error& error) override {
    error.Set("bytes", Napi::Number::New(env, static_cast<double>(done_)));
  }

 private:
  enum Stop { kLength, kEnd, kDeadline };

  // A block is moved in pieces that fit the second-level cache twice, once for each copy.
  static constexpr size_t kPieceBytes = 256 << 10;

  void CopyBlock(uint8_t* buffer, size_t want) {
    uint32_t crc = 0;
    size_t got = 0;
    while (got < want && stop_ == kLength) {
      const size_t left = want - got;
      const size_t piece = ReadPiece(buffer, left < kPieceBytes ? left : kPieceBytes, got);
      if (failure_) return;
      crc = Crc32c(buffer, piece, crc);
      const int error = WriteFully(target_.get(), buffer, piece, targetOffset_ + done_ + got);
      if (error != 0) return Fail(error, "pwrite");
      got += piece;
    }
    if (got == 0) return;
    crcs_.push_back(crc);
    const int64_t begin = targetOffset_ + done_;
    done_ += static_cast<int64_t>(got);
    if (earlyWriteback_) StartWriteback(target_.get(), begin, targetOffset_ + done_);
  }

  // Up to `want` bytes into the buffer; less only at the end, the deadline or a failure.
  size_t ReadPiece(uint8_t* buffer, size_t want, size_t gotBefore) {
    const bool stream = sourceOffset_ < 0;
    size_t got = 0;
    while (got < want) {
      if (stream) {
        const int error = WaitUntilReady(source_.get(), POLLIN, deadline_);
        if (error == ETIMEDOUT) return stop_ = kDeadline, got;
        if (error != 0) return Fail(error, "poll"), got;
      }
      const int64_t at = sourceOffset_ + done_ + static_cast<int64_t>(gotBefore + got);
      const ssize_t bytes = stream ? read(source_.get(), buffer + got, want - got)
                                   : pread(source_.get(), buffer + got, want - got, at);
      if (bytes < 0) {
        if (errno == EINTR || (stream && errno == EAGAIN)) continue;
        return Fail(errno, stream ? "read" : "pread"), got;
      }
      if (bytes == 0) return stop_ = kEnd, got;
      got += static_cast<size_t>(bytes);
    }
    return got;
  }

  Deadline deadline_;
  Descriptor source_;
  Descriptor target_;
  int64_t sourceOffset_ = 0;
  int64_t targetOffset_ = 0;
  int64_t length_ = 0;
  size_t blockBytes_ = 0;
  bool earlyWriteback_ = false;
  Stop stop_ = kLength;
  int64_t done_ = 0;
  std::vector<uint32_t> crcs_;
};

// copyIn(options): Promise<{bytes, crcs, stop}>
Napi::Value CopyIn(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const Napi::Object options = arguments.Object(info[0], "options");
  if (arguments.failed()) return info.Env().Undefined();
  return StartJob<CopyInJob>(info.Env(), arguments, options);
}

}  // namespace

}  // namespace kangaroo
