// One call on the thread pool that answers with a Promise.
//
// Work() runs on a pool thread and touches no JavaScript; it leaves its answer in the object, or
// a Failure. Result() and Explain() run on the main thread afterwards. A failure that is known
// before the start (a bad descriptor) skips Work() and rejects in the same way.
#pragma once

#include <napi.h>

#include <optional>

#include "arguments.h"
#include "failure.h"

namespace kangaroo {

class Job : public Napi::AsyncWorker {
 public:
  Napi::Value Start() {
    deferred_.emplace(Env());
    Napi::Promise promise = deferred_->Promise();
    Queue();
    return promise;
  }

  // Ends a job that was never started.
  void Discard() { Destroy(); }

 protected:
  Job(Napi::Env env, const char* name) : Napi::AsyncWorker(env, name) {}

  virtual void Work() = 0;
  virtual Napi::Value Result(Napi::Env env) = 0;
  // Adds to a rejection what had been done when the failure came.
  virtual void Explain(Napi::Env, Napi::Error&) {}

  void Fail(int number, const char* syscall) { failure_ = {number, syscall, {}}; }

  Failure failure_;

 private:
  void Execute() final {
    if (!failure_) Work();
  }

  void OnOK() final {
    Napi::Env env = Env();
    if (!failure_) {
      deferred_->Resolve(Result(env));
      return;
    }
    Napi::Error error = MakeError(env, failure_);
    Explain(env, error);
    deferred_->Reject(error.Value());
  }

  std::optional<Napi::Promise::Deferred> deferred_;
};

// Makes and starts a job whose constructor reads its options; a TypeError stays pending and nothing
// starts then.
template <typename SomeJob>
Napi::Value StartJob(Napi::Env env, Arguments& arguments, const Napi::Object& options) {
  SomeJob* job = new SomeJob(env, arguments, options);
  if (!arguments.failed()) return job->Start();
  job->Discard();
  return env.Undefined();
}

}  // namespace kangaroo
