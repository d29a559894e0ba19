// What programs may believe of names: rows of the board, written by the server (core/known.h). The
// caller holds the lock of the board.
#include <napi.h>

#include <ctime>
#include <string>

#include "../core/known.h"
#include "arguments.h"

namespace kangaroo {

namespace {

constexpr int64_t kLeaseMaxMs = 60000;
constexpr uint8_t kUnsure = 1;
constexpr uint8_t kDirectory = 2;

int64_t MonotonicMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// A board with rows, or null with a TypeError pending.
void* BoardOf(Arguments& arguments, Napi::Value buffer) {
  if (arguments.failed()) return nullptr;
  if (!buffer.IsEmpty() && buffer.IsArrayBuffer()) {
    Napi::ArrayBuffer memory = buffer.As<Napi::ArrayBuffer>();
    if (kg_known_fits(memory.Data(), memory.ByteLength())) return memory.Data();
  }
  arguments.Refuse("buffer", "must be the memory of a board");
  return nullptr;
}

// Bytes of a string of which every character is one.
std::string Latin1(Arguments& arguments, Napi::Value value, const char* name) {
  if (arguments.failed()) return std::string();
  size_t length = 0;
  if (value.IsEmpty() || !value.IsString() ||
      napi_get_value_string_latin1(value.Env(), value, nullptr, 0, &length) != napi_ok) {
    arguments.Refuse(name, "must be a string");
    return std::string();
  }
  std::string text(length, '\0');
  napi_get_value_string_latin1(value.Env(), value, &text[0], length + 1, &length);
  return text;
}

kg_keys KeysOf(Arguments& arguments, const Napi::CallbackInfo& info) {
  const std::string name = Latin1(arguments, info[1], "name");
  const std::string path = Latin1(arguments, info[2], "path");
  return kg_keys_of(name.data(), name.size(), path.data(), path.size());
}

// knowName(buffer, name, path, known): void
Napi::Value KnowName(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  void* board = BoardOf(arguments, info[0]);
  const kg_keys keys = KeysOf(arguments, info);
  Napi::Object given = arguments.Object(info[3], "known");
  const auto number = [&](const char* name, int64_t max) {
    return arguments.Integer(arguments.Get(given, name), name, 0, max);
  };
  kg_known known = {};
  known.kind = static_cast<uint8_t>(number("kind", 255));
  known.size = static_cast<uint64_t>(number("size", kMaxSafeInteger));
  known.mode = static_cast<uint32_t>(number("mode", 07777));
  const timespec time = arguments.Nanoseconds(arguments.Get(given, "mtimeNs"), "mtimeNs");
  known.mtime_ns = static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
  known.slot = static_cast<uint32_t>(number("slot", UINT32_MAX));
  known.generation = static_cast<uint32_t>(number("generation", UINT32_MAX));
  known.flags = arguments.Boolean(arguments.Get(given, "isUnsure"), "isUnsure") ? kUnsure : 0;
  const int64_t lease = number("leaseMs", kLeaseMaxMs);
  const int64_t names = number("namesLeaseMs", kLeaseMaxMs);
  if (arguments.failed()) return env.Undefined();
  const int64_t now = MonotonicMs();
  known.until_ms = lease == 0 ? 0 : now + lease;
  known.names_until_ms = names == 0 ? 0 : now + names;
  // What is asked about a directory does not say less about the names in it.
  kg_known before;
  if (names == 0 && known.kind == kDirectory && kg_known_row(board, keys.name, &before) &&
      before.kind == kDirectory) {
    known.names_until_ms = before.names_until_ms;
    known.flags |= before.flags;
  }
  kg_known_put(board, keys.name, &known);
  return env.Undefined();
}

// askName(buffer, name, path): void
Napi::Value AskName(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  void* board = BoardOf(arguments, info[0]);
  const kg_keys keys = KeysOf(arguments, info);
  if (arguments.failed()) return env.Undefined();
  kg_known_ask(board, keys.name);
  return env.Undefined();
}

// keepNames(buffer, name, path, leaseMs): boolean
Napi::Value KeepNames(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  void* board = BoardOf(arguments, info[0]);
  const kg_keys keys = KeysOf(arguments, info);
  const int64_t lease = arguments.Integer(info[3], "leaseMs", 0, kLeaseMaxMs);
  if (arguments.failed()) return env.Undefined();
  kg_known known;
  const bool is_known = kg_known_row(board, keys.name, &known) && known.names_until_ms != 0;
  if (is_known) {
    known.names_until_ms = MonotonicMs() + lease;
    kg_known_put(board, keys.name, &known);
  }
  return Napi::Boolean::New(env, is_known);
}

// clearNames(buffer): void
Napi::Value ClearNames(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  void* board = BoardOf(arguments, info[0]);
  if (arguments.failed()) return env.Undefined();
  kg_known_clear(board);
  return env.Undefined();
}

}  // namespace

}  // namespace kangaroo
