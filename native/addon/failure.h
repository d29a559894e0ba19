// What went wrong in a system call, and how it becomes a JavaScript Error.
//
// A Failure is made on any thread; only MakeError touches JavaScript. The Error has the form of
// Node's own system errors: message "ENOENT: no such file or directory, openat2 'a/b'", and the
// properties errno (negative), code, syscall and, where a name is known, path.
#pragma once

#include <napi.h>

#include <string>

namespace kangaroo {

struct Failure {
  int number = 0;  // errno, positive; 0 means that nothing failed
  const char* syscall = "";
  std::string path;

  explicit operator bool() const { return number != 0; }
};

// The symbol of an errno ("ENOENT"), or "EUNKNOWN".
const char* ErrorName(int number);

Napi::Error MakeError(Napi::Env env, const Failure& failure);

// Leaves the Error pending and returns undefined, so that a function can `return Throw(...)`.
Napi::Value Throw(Napi::Env env, const Failure& failure);

}  // namespace kangaroo
