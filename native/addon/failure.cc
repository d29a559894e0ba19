// Names and texts of errno values, and the JavaScript Error made of them.
//
// The table is libuv's own (the macro of uv.h, expanded at compile time, no symbol of libuv is
// linked), so that codes and texts are the ones Node prints. Linux knows a few that libuv has no
// name for; those a file server meets are added below.
#include "failure.h"

#include <uv.h>

#include <cerrno>

namespace kangaroo {

namespace {

struct ErrorText {
  int number;
  const char* name;
  const char* text;
};

constexpr ErrorText kErrorTexts[] = {
#define KANGAROO_ERROR_TEXT(name, text) {-UV_##name, #name, text},
    UV_ERRNO_MAP(KANGAROO_ERROR_TEXT)
#undef KANGAROO_ERROR_TEXT
    {EDQUOT, "EDQUOT", "disk quota exceeded"},
    {ESTALE, "ESTALE", "stale file handle"},
    {EBADMSG, "EBADMSG", "bad message"},
    {ENOLCK, "ENOLCK", "no locks available"},
    {EREMOTEIO, "EREMOTEIO", "remote input/output error"},
    // Newer versions of libuv name this one themselves; the first match wins.
    {ENODATA, "ENODATA", "no data available"},
};

const ErrorText* FindErrorText(int number) {
  for (const ErrorText& entry : kErrorTexts) {
    if (entry.number == number) return &entry;
  }
  return nullptr;
}

}  // namespace

const char* ErrorName(int number) {
  const ErrorText* entry = FindErrorText(number);
  return entry == nullptr ? "EUNKNOWN" : entry->name;
}

Napi::Error MakeError(Napi::Env env, const Failure& failure) {
  const ErrorText* entry = FindErrorText(failure.number);
  std::string message = ErrorName(failure.number);
  message += ": ";
  message += entry == nullptr ? "system error " + std::to_string(failure.number) : entry->text;
  message += ", ";
  message += failure.syscall;
  if (!failure.path.empty()) message += " '" + failure.path + "'";

  Napi::Error error = Napi::Error::New(env, message);
  error.Set("errno", Napi::Number::New(env, -failure.number));
  error.Set("code", Napi::String::New(env, ErrorName(failure.number)));
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  if (!failure.path.empty()) error.Set("path", Napi::String::New(env, failure.path));
  return error;
}

Napi::Value Throw(Napi::Env env, const Failure& failure) {
  MakeError(env, failure).ThrowAsJavaScriptException();
  return env.Undefined();
}

}  // namespace kangaroo
