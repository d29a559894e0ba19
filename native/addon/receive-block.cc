// receiveToFile: one block from a socket into a file, whole and verified, or not at all.
//
// Exactly `length` bytes are taken: first those JavaScript had already read (`head`), the rest
// from the socket, never one byte more. The checksum over all of them is compared before the
// first byte is written. A block whose write fails has been consumed nevertheless, and the error
// says so, so that the connection can go on.
#include <napi.h>

#include <sys/socket.h>

#include <cstring>

#include "arguments.h"
#include "block-buffer.h"
#include "crc32c.h"
#include "descriptor.h"
#include "job.h"

namespace kangaroo {

namespace {

class ReceiveBlockJob : public Job {
 public:
  ReceiveBlockJob(Napi::Env env, Arguments& arguments, const Napi::Object& options)
      : Job(env, "kangaroo.receiveToFile"),
        deadline_(arguments.Integer(arguments.Get(options, "deadlineMs"), "deadlineMs", 0,
                                    Deadline::kMaxMs)) {
    const int socket = arguments.Descriptor(arguments.Get(options, "socket"), "socket");
    const int file = arguments.Descriptor(arguments.Get(options, "file"), "file");
    fileOffset_ = arguments.Offset(arguments.Get(options, "fileOffset"), "fileOffset");
    length_ = static_cast<size_t>(
        arguments.Integer(arguments.Get(options, "length"), "length", 0, kMaxBlockBytes));
    expected_ = static_cast<uint32_t>(
        arguments.Integer(arguments.Get(options, "crc"), "crc", 0, 0xffffffff));
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
    received_ = head_.length < length_ ? head_.length : length_;
    if (received_ > 0) std::memcpy(buffer.data(), head_.data, received_);
    crc_ = Crc32c(buffer.data(), received_);
    while (received_ < length_) {
      if (!ReceiveMore(buffer.data())) return;
    }
    if (crc_ != expected_) return;
    const int error = WriteFully(file_.get(), buffer.data(), length_, fileOffset_);
    if (error == 0) return;
    consumed_ = true;
    Fail(error, "pwrite");
  }

  Napi::Value Result(Napi::Env env) override {
    Napi::Object result = Napi::Object::New(env);
    result.Set("received", Napi::Number::New(env, static_cast<double>(received_)));
    result.Set("crcOk", Napi::Boolean::New(env, crc_ == expected_));
    result.Set("crc", Napi::Number::New(env, crc_));
    return result;
  }

  void Explain(Napi::Env env, Napi::Error& error) override {
    error.Set("received", Napi::Number::New(env, static_cast<double>(received_)));
    error.Set("consumed", Napi::Boolean::New(env, consumed_));
    error.Set("closed", Napi::Boolean::New(env, closed_));
  }

 private:
  bool ReceiveMore(uint8_t* buffer) {
    const ssize_t bytes =
        recv(socket_.get(), buffer + received_, length_ - received_, MSG_DONTWAIT);
    if (bytes > 0) {
      crc_ = Crc32c(buffer + received_, static_cast<size_t>(bytes), crc_);
      received_ += static_cast<size_t>(bytes);
      return true;
    }
    if (bytes == 0) {
      closed_ = true;
      Fail(ECONNRESET, "recv");
      return false;
    }
    if (errno == EINTR) return true;
    if (errno != EAGAIN) {
      closed_ = errno == ECONNRESET;
      Fail(errno, "recv");
      return false;
    }
    const int error = WaitUntilReady(socket_.get(), POLLIN, deadline_);
    if (error != 0) Fail(error, "recv");
    return error == 0;
  }

  Deadline deadline_;
  Descriptor socket_;
  Descriptor file_;
  int64_t fileOffset_ = 0;
  size_t length_ = 0;
  uint32_t expected_ = 0;
  Bytes head_;
  Napi::ObjectReference headHold_;
  size_t received_ = 0;
  uint32_t crc_ = 0;
  bool consumed_ = false;
  bool closed_ = false;
};

// receiveToFile(options): Promise<{received, crcOk, crc}>
Napi::Value ReceiveToFile(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const Napi::Object options = arguments.Object(info[0], "options");
  if (arguments.failed()) return info.Env().Undefined();
  return StartJob<ReceiveBlockJob>(info.Env(), arguments, options);
}

}  // namespace

}  // namespace kangaroo
