// Reads JavaScript values strictly, so that no call can crash or be misunderstood.
//
// The first value that does not fit leaves a TypeError pending; from then on every reader answers
// with a harmless zero, and the caller asks `failed()` once before it does anything. Numbers must
// be integers within the given bounds: 64-bit offsets travel as JavaScript safe integers,
// nanoseconds as BigInt, names of files as bytes (a string is taken as UTF-8).
#pragma once

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <ctime>
#include <string>

namespace kangaroo {

constexpr int64_t kMaxSafeInteger = 9007199254740991;  // 2^53 - 1
constexpr int64_t kMaxDescriptor = 0x7fffffff;
constexpr size_t kMaxPathBytes = 4096;  // PATH_MAX, with the final NUL byte

struct Bytes {
  const uint8_t* data = nullptr;
  size_t length = 0;
};

class Arguments {
 public:
  explicit Arguments(Napi::Env env) : env_(env) {}

  bool failed() const { return failed_; }

  int64_t Integer(Napi::Value value, const char* name, int64_t min, int64_t max) {
    if (failed_) return 0;
    if (value.IsEmpty() || !value.IsNumber()) return Refuse(name, "must be a number"), 0;
    const double number = value.As<Napi::Number>().DoubleValue();
    if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) ||
        std::floor(number) != number) {
      const std::string bounds = std::to_string(min) + " to " + std::to_string(max);
      return Refuse(name, "must be an integer from " + bounds), 0;
    }
    return static_cast<int64_t>(number);
  }

  int64_t OptionalInteger(Napi::Value value, const char* name, int64_t min, int64_t max,
                          int64_t otherwise) {
    if (failed_ || IsAbsent(value)) return otherwise;
    return Integer(value, name, min, max);
  }

  int Descriptor(Napi::Value value, const char* name) {
    return static_cast<int>(Integer(value, name, 0, kMaxDescriptor));
  }

  int64_t Offset(Napi::Value value, const char* name) {
    return Integer(value, name, 0, kMaxSafeInteger);
  }

  bool Boolean(Napi::Value value, const char* name) {
    if (failed_) return false;
    if (value.IsEmpty() || !value.IsBoolean()) return Refuse(name, "must be a boolean"), false;
    return value.As<Napi::Boolean>().Value();
  }

  bool OptionalBoolean(Napi::Value value, const char* name, bool otherwise) {
    if (failed_ || IsAbsent(value)) return otherwise;
    return Boolean(value, name);
  }

  // The memory belongs to JavaScript: it is good for this call, or while a reference is held.
  Bytes Uint8(Napi::Value value, const char* name) {
    Bytes bytes;
    if (failed_) return bytes;
    napi_typedarray_type type = napi_int8_array;
    void* data = nullptr;
    if (value.IsEmpty() || !value.IsTypedArray() ||
        napi_get_typedarray_info(env_, value, &type, &bytes.length, &data, nullptr, nullptr) !=
            napi_ok ||
        type != napi_uint8_array) {
      Refuse(name, "must be a Uint8Array");
      return Bytes();
    }
    bytes.data = static_cast<const uint8_t*>(data);
    return bytes;
  }

  // A path or name as bytes: a Uint8Array as it is, a string as UTF-8; never a NUL byte in it.
  std::string Path(Napi::Value value, const char* name) {
    if (failed_) return std::string();
    std::string path;
    if (!value.IsEmpty() && value.IsString()) {
      path = value.As<Napi::String>().Utf8Value();
    } else {
      const Bytes bytes = Uint8(value, name);
      if (failed_) return std::string();
      path.assign(reinterpret_cast<const char*>(bytes.data), bytes.length);
    }
    if (path.find('\0') != std::string::npos) {
      Refuse(name, "must not contain a NUL byte");
      return std::string();
    }
    return path;
  }

  // Nanoseconds since 1970 as BigInt; null or undefined leaves that time of the file alone.
  timespec Nanoseconds(Napi::Value value, const char* name) {
    timespec time = {0, UTIME_OMIT};
    if (failed_ || IsAbsent(value)) return time;
    if (!value.IsBigInt()) return Refuse(name, "must be a bigint or null"), time;
    bool lossless = false;
    const int64_t ns = value.As<Napi::BigInt>().Int64Value(&lossless);
    if (!lossless) return Refuse(name, "must fit into 64 bits"), time;
    constexpr int64_t kSecond = 1000000000;
    int64_t rest = ns % kSecond;
    if (rest < 0) rest += kSecond;
    time.tv_sec = (ns - rest) / kSecond;
    time.tv_nsec = rest;
    return time;
  }

  Napi::Object Object(Napi::Value value, const char* name) {
    if (!failed_ && (value.IsEmpty() || !value.IsObject())) Refuse(name, "must be an object");
    return failed_ ? Napi::Object::New(env_) : value.As<Napi::Object>();
  }

  // A property of an options object; nothing is asked any more once a value was refused.
  Napi::Value Get(const Napi::Object& object, const char* name) {
    return failed_ ? Napi::Value() : object.Get(name);
  }

  std::string Text(Napi::Value value, const char* name) {
    if (failed_) return std::string();
    if (value.IsEmpty() || !value.IsString()) {
      Refuse(name, "must be a string");
      return std::string();
    }
    return value.As<Napi::String>().Utf8Value();
  }

  static bool IsAbsent(Napi::Value value) {
    return !value.IsEmpty() && (value.IsUndefined() || value.IsNull());
  }

  void Refuse(const char* name, const std::string& rule) {
    if (failed_) return;
    failed_ = true;
    // A getter of the caller's object may have thrown already; that error is the better one.
    if (env_.IsExceptionPending()) return;
    Napi::TypeError error = Napi::TypeError::New(env_, std::string(name) + " " + rule);
    error.Set("code", Napi::String::New(env_, "ERR_INVALID_ARG_TYPE"));
    error.ThrowAsJavaScriptException();
  }

 private:
  Napi::Env env_;
  bool failed_ = false;
};

}  // namespace kangaroo
