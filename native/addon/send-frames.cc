// sendFrames: buffers and parts of files to a socket, in order, without copying the files.
//
// Neighbouring buffers leave in one sendmsg; a file follows by sendfile(2), and the bytes before
// it carry MSG_MORE so that a small header does not travel alone. The socket must be non-blocking
// (every socket of Node is). JavaScript must have nothing of its own queued on the socket
// meanwhile, must not change the buffers before the Promise settles, and must not change the
// parts of files until the peer has them: sendfile lends the page cache, it does not copy it.
#include <napi.h>

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <unordered_map>
#include <vector>

#include "arguments.h"
#include "descriptor.h"
#include "job.h"

namespace kangaroo {

namespace {

constexpr uint32_t kMaxChunks = 65536;

class SendFramesJob : public Job {
 public:
  SendFramesJob(Napi::Env env, Arguments& arguments, const Napi::Object& options)
      : Job(env, "kangaroo.sendFrames"),
        deadline_(arguments.Integer(arguments.Get(options, "deadlineMs"), "deadlineMs", 0,
                                    Deadline::kMaxMs)) {
    const int socket = arguments.Descriptor(arguments.Get(options, "socket"), "socket");
    const Napi::Value list = arguments.Get(options, "chunks");
    if (arguments.failed()) return;
    AddChunks(arguments, list);
    if (arguments.failed()) return;
    socket_ = Descriptor::Duplicate(socket, &failure_);
    // sendfile has no MSG_DONTWAIT: on a blocking socket it would ignore the deadline.
    if (!failure_ && (fcntl(socket, F_GETFL) & O_NONBLOCK) == 0) Fail(EINVAL, "sendfile");
  }

 protected:
  void Work() override {
    size_t next = 0;
    while (next < chunks_.size() && !failure_) {
      Chunk& chunk = chunks_[next];
      if (chunk.length == 0) {
        next++;
      } else if (chunk.data != nullptr) {
        SendBytes(next);
      } else {
        SendFile(chunk);
      }
    }
  }

  Napi::Value Result(Napi::Env env) override {
    Napi::Object result = Napi::Object::New(env);
    result.Set("sent", Napi::Number::New(env, static_cast<double>(sent_)));
    return result;
  }

  void Explain(Napi::Env env, Napi::Error& error) override {
    error.Set("sent", Napi::Number::New(env, static_cast<double>(sent_)));
  }

 private:
  struct Chunk {
    const uint8_t* data;  // nullptr: a file
    int file;
    int64_t offset;
    int64_t length;  // still to send
  };

  static constexpr size_t kMaxVectors = 64;
  static constexpr int64_t kMaxSendfileBytes = 1 << 30;

  void AddChunks(Arguments& arguments, Napi::Value list) {
    if (list.IsEmpty() || !list.IsArray()) return arguments.Refuse("chunks", "must be an array");
    const Napi::Array chunks = list.As<Napi::Array>();
    const uint32_t count = chunks.Length();
    if (count > kMaxChunks) return arguments.Refuse("chunks", "has too many elements");
    chunks_.reserve(count);
    for (uint32_t i = 0; i < count && !arguments.failed(); i++) {
      const Napi::Value element = chunks.Get(i);
      AddChunk(arguments, arguments.Object(element, "chunk"));
    }
  }

  void AddChunk(Arguments& arguments, const Napi::Object& chunk) {
    const Napi::Value value = arguments.Get(chunk, "bytes");
    if (!Arguments::IsAbsent(value)) {
      const Bytes bytes = arguments.Uint8(value, "bytes");
      if (arguments.failed() || bytes.length == 0) return;
      holds_.push_back(Napi::Persistent(value.As<Napi::Object>()));
      chunks_.push_back({bytes.data, -1, 0, static_cast<int64_t>(bytes.length)});
      return;
    }
    const int file = arguments.Descriptor(arguments.Get(chunk, "file"), "file");
    const int64_t offset = arguments.Offset(arguments.Get(chunk, "offset"), "offset");
    const int64_t length = arguments.Offset(arguments.Get(chunk, "length"), "length");
    if (!arguments.failed()) chunks_.push_back({nullptr, OwnFile(file), offset, length});
  }

  // One duplicate for each file, however many parts of it are sent.
  int OwnFile(int file) {
    auto found = files_.find(file);
    if (found == files_.end()) {
      found = files_.emplace(file, Descriptor::Duplicate(file, &failure_)).first;
    }
    return found->second.get();
  }

  void SendBytes(size_t first) {
    iovec vectors[kMaxVectors];
    size_t count = 0;
    size_t last = first;
    for (; last < chunks_.size() && count < kMaxVectors; last++) {
      const Chunk& chunk = chunks_[last];
      if (chunk.length == 0) continue;
      if (chunk.data == nullptr) break;
      vectors[count++] = {const_cast<uint8_t*>(chunk.data), static_cast<size_t>(chunk.length)};
    }
    msghdr message = {};
    message.msg_iov = vectors;
    message.msg_iovlen = count;
    const int more = last < chunks_.size() ? MSG_MORE : 0;
    const ssize_t bytes = sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT | more);
    if (bytes < 0) return HandleError("send");
    sent_ += bytes;
    int64_t left = bytes;
    for (size_t i = first; left > 0; i++) {
      Chunk& chunk = chunks_[i];
      const int64_t taken = chunk.length < left ? chunk.length : left;
      chunk.data += taken;
      chunk.length -= taken;
      left -= taken;
    }
  }

  void SendFile(Chunk& chunk) {
    off_t offset = chunk.offset;
    const int64_t want = chunk.length < kMaxSendfileBytes ? chunk.length : kMaxSendfileBytes;
    const ssize_t bytes = sendfile(socket_.get(), chunk.file, &offset, static_cast<size_t>(want));
    if (bytes < 0) return HandleError("sendfile");
    // The file is shorter than promised: the frame cannot be completed.
    if (bytes == 0) return Fail(ENODATA, "sendfile");
    sent_ += bytes;
    chunk.offset += bytes;
    chunk.length -= bytes;
  }

  void HandleError(const char* syscall) {
    if (errno == EINTR) return;
    if (errno != EAGAIN) return Fail(errno, syscall);
    const int error = WaitUntilReady(socket_.get(), POLLOUT, deadline_);
    if (error != 0) Fail(error, syscall);
  }

  Deadline deadline_;
  Descriptor socket_;
  std::vector<Chunk> chunks_;
  std::vector<Napi::ObjectReference> holds_;
  std::unordered_map<int, Descriptor> files_;
  int64_t sent_ = 0;
};

// sendFrames(options): Promise<{sent}>
Napi::Value SendFrames(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const Napi::Object options = arguments.Object(info[0], "options");
  if (arguments.failed()) return info.Env().Undefined();
  return StartJob<SendFramesJob>(info.Env(), arguments, options);
}

}  // namespace

}  // namespace kangaroo
