// Socket calls that Node does not offer: who is at the other end, options, and a wake-up.
//
// shutdownSocket ends both directions at once: a bulk call that is waiting on its own duplicate
// of the socket wakes up and fails, which closing the socket in JavaScript alone would not do.
#include <napi.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "arguments.h"
#include "failure.h"

namespace kangaroo {

namespace {

struct SocketOption {
  const char* name;
  int level;
  int option;
};

constexpr SocketOption kSocketOptions[] = {
    {"notsent-lowat", IPPROTO_TCP, TCP_NOTSENT_LOWAT},
    {"user-timeout-ms", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {"no-delay", IPPROTO_TCP, TCP_NODELAY},
    {"send-buffer", SOL_SOCKET, SO_SNDBUF},
    {"receive-buffer", SOL_SOCKET, SO_RCVBUF},
};

// peerCredentials(fd): {pid, uid, gid} as they were when the peer connected, unix(7)
Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  if (arguments.failed()) return env.Undefined();
  int domain = 0;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) {
    return Throw(env, {errno, "getsockopt", {}});
  }
  // Other families answer with uid -1 and no error, which must not pass for an account.
  if (domain != AF_UNIX) return Throw(env, {EOPNOTSUPP, "getsockopt", {}});
  ucred peer = {};
  length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    return Throw(env, {errno, "getsockopt", {}});
  }
  // A socket that is not connected answers pid 0 and uid -1 likewise.
  if (peer.pid == 0 && peer.uid == static_cast<uid_t>(-1)) {
    return Throw(env, {ENOTCONN, "getsockopt", {}});
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", Napi::Number::New(env, peer.pid));
  result.Set("uid", Napi::Number::New(env, peer.uid));
  result.Set("gid", Napi::Number::New(env, peer.gid));
  return result;
}

// setSocketOption(fd, name, value): void
Napi::Value SetSocketOption(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Arguments arguments(env);
  const int fd = arguments.Descriptor(info[0], "fd");
  const std::string name = arguments.Text(info[1], "option");
  const int value = static_cast<int>(arguments.Integer(info[2], "value", 0, 0x7fffffff));
  if (arguments.failed()) return env.Undefined();
  for (const SocketOption& option : kSocketOptions) {
    if (name != option.name) continue;
    if (setsockopt(fd, option.level, option.option, &value, sizeof value) != 0) {
      return Throw(env, {errno, "setsockopt", name});
    }
    return env.Undefined();
  }
  arguments.Refuse("option", "is not known: " + name);
  return env.Undefined();
}

// shutdownSocket(fd): void; a socket that is not connected any more is no error
Napi::Value ShutdownSocket(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const int fd = arguments.Descriptor(info[0], "fd");
  if (arguments.failed()) return info.Env().Undefined();
  if (shutdown(fd, SHUT_RDWR) != 0 && errno != ENOTCONN) {
    return Throw(info.Env(), {errno, "shutdown", {}});
  }
  return info.Env().Undefined();
}

}  // namespace

}  // namespace kangaroo
