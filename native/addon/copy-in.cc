// copyIn: a file or a stream into a file, block by block, with the CRC-32C of every block.
//
// The bytes pass through a block buffer that stays in the processor's cache: read a piece, sum it,
// write it. Of a file that is written back early two lanes take the blocks in turn: while one
// writes, or waits for the disk to take the bytes, the other reads and sums. A source that ends
// early gives a short copy, not an error, and so does the deadline; whatever of a stream was read
// has been written then. What follows the bytes that are reported may have been written as well.
#include <napi.h>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
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
    Lane other{this, {}, {}};
    Lane own{this, {}, {}};
    pthread_t thread;
    // Who wants no early write-back is in no hurry to end: others work on the blocks meanwhile.
    const bool isShared = sourceOffset_ >= 0 && earlyWriteback_ &&
                          length_ / kBlocksToShare >= BlockBytes() &&
                          pthread_create(&thread, nullptr, RunOther, &other) == 0;
    RunLane(own);
    if (isShared) pthread_join(thread, nullptr);
    PutTogether(own, other);
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

  // A block as a lane left it; it is whole unless it has a stop or a failure.
  struct Block {
    int64_t index;
    size_t bytes = 0;
    uint32_t crc = 0;
    Stop stop = kLength;
    Failure failure;
  };

  struct Lane {
    CopyInJob* job;
    std::vector<Block> blocks;
    BlockBuffer buffer;
  };

  // A block is moved in pieces that fit the second-level cache twice, once for each copy.
  static constexpr size_t kPieceBytes = 256 << 10;
  // Fewer are copied before a second thread would have begun.
  static constexpr int64_t kBlocksToShare = 4;

  static void* RunOther(void* lane) {
    static_cast<Lane*>(lane)->job->RunLane(*static_cast<Lane*>(lane));
    return nullptr;
  }

  int64_t BlockBytes() const { return static_cast<int64_t>(blockBytes_); }

  // Takes the next block, and the next, until one of the lanes has come to an end.
  void RunLane(Lane& lane) {
    while (!isOver_) {
      Block block{next_++, 0, 0, kLength, {}};
      const int64_t begin = block.index * BlockBytes();
      if (begin >= length_) return;
      if (lane.buffer.data() == nullptr) {
        block.failure = {ENOMEM, "read", {}};
      } else {
        CopyBlock(lane.buffer.data(), begin, block);
      }
      const bool isLast = length_ - begin <= BlockBytes();
      if (block.stop == kLength && !isLast && deadline_.Passed()) block.stop = kDeadline;
      if (block.stop != kLength || block.failure) isOver_ = true;
      lane.blocks.push_back(block);
    }
  }

  // Blocks are taken in order, so up to the first that is not whole all of them are there.
  void PutTogether(Lane& own, const Lane& other) {
    std::vector<Block>& blocks = own.blocks;
    blocks.insert(blocks.end(), other.blocks.begin(), other.blocks.end());
    std::sort(blocks.begin(), blocks.end(),
              [](const Block& a, const Block& b) { return a.index < b.index; });
    for (const Block& block : blocks) {
      failure_ = block.failure;
      if (failure_) return;
      stop_ = block.stop;
      if (block.bytes > 0) crcs_.push_back(block.crc);
      done_ += static_cast<int64_t>(block.bytes);
      if (stop_ != kLength) return;
    }
  }

  void CopyBlock(uint8_t* buffer, int64_t begin, Block& block) {
    const int64_t left = length_ - begin;
    const size_t want = left < BlockBytes() ? static_cast<size_t>(left) : blockBytes_;
    const int64_t target = targetOffset_ + begin;
    while (block.bytes < want && block.stop == kLength) {
      const int64_t at = static_cast<int64_t>(block.bytes);
      const size_t most = std::min(want - block.bytes, kPieceBytes);
      const size_t piece = ReadPiece(buffer, most, begin + at, block);
      if (block.failure) return;
      block.crc = Crc32c(buffer, piece, block.crc);
      const int error = WriteFully(target_.get(), buffer, piece, target + at);
      if (error != 0) {
        block.failure = {error, "pwrite", {}};
        return;
      }
      block.bytes += piece;
    }
    if (block.bytes == 0 || !earlyWriteback_) return;
    // Block by block, since the one before may still be in the other lane. No more than a hint.
    const off64_t bytes = static_cast<off64_t>(block.bytes);
    sync_file_range(target_.get(), target, bytes, SYNC_FILE_RANGE_WRITE);
  }

  // Up to `want` bytes into the buffer; less only at the end, the deadline or a failure.
  size_t ReadPiece(uint8_t* buffer, size_t want, int64_t from, Block& block) {
    const bool stream = sourceOffset_ < 0;
    size_t got = 0;
    while (got < want) {
      if (stream) {
        const int error = WaitUntilReady(source_.get(), POLLIN, deadline_);
        if (error == ETIMEDOUT) return block.stop = kDeadline, got;
        if (error != 0) return block.failure = {error, "poll", {}}, got;
      }
      const int64_t at = sourceOffset_ + from + static_cast<int64_t>(got);
      const ssize_t bytes = stream ? read(source_.get(), buffer + got, want - got)
                                   : pread(source_.get(), buffer + got, want - got, at);
      if (bytes < 0) {
        if (errno == EINTR || (stream && errno == EAGAIN)) continue;
        return block.failure = {errno, stream ? "read" : "pread", {}}, got;
      }
      if (bytes == 0) return block.stop = kEnd, got;
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
  // The next block that a lane takes; no more of them once one came to an end.
  std::atomic<int64_t> next_{0};
  std::atomic<bool> isOver_{false};
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
