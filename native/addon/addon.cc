// kangaroo.node: the module's entry and the list of everything it exports.
//
// The whole addon is this one translation unit; each family of calls has its file. The TypeScript
// face, with every call's promise, is src/base/addon.ts. Change kInterfaceVersion there and here
// when a call changes its meaning, so that a stale build is refused and not misused.
#include <napi.h>

#include "failure.cc"
#include "crc32c.cc"
#include "files.cc"
#include "write-whole.cc"
#include "sync.cc"
#include "memory.cc"
#include "sockets.cc"
#include "check-records.cc"
#include "copy-in.cc"
#include "pack-files.cc"
#include "receive-block.cc"
#include "receive-burst.cc"
#include "send-frames.cc"
#include "board.cc"
#include "known.cc"

namespace kangaroo {

namespace {

constexpr int kInterfaceVersion = 4;

template <Napi::Value (*call)(const Napi::CallbackInfo&)>
void Export(Napi::Env env, Napi::Object& exports, const char* name) {
  exports.Set(name, Napi::Function::New<call>(env, name));
}

Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("interfaceVersion", Napi::Number::New(env, kInterfaceVersion));
  Export<Crc32cOfBytes>(env, exports, "crc32c");

  Export<OpenBeneathCall>(env, exports, "openBeneath");
  Export<MkdirAt>(env, exports, "mkdirAt");
  Export<UnlinkAt>(env, exports, "unlinkAt");
  Export<RenameAt>(env, exports, "renameAt");
  Export<StatAt>(env, exports, "statAt");
  Export<StatFd>(env, exports, "statFd");
  Export<UtimensFd>(env, exports, "utimensFd");
  Export<UtimensAt>(env, exports, "utimensAt");
  Export<ChmodFd>(env, exports, "chmodFd");
  Export<ReadDirFd>(env, exports, "readDirFd");
  Export<WriteWholeAt>(env, exports, "writeWholeAt");

  Export<SyncFs>(env, exports, "syncFs");
  Export<SyncFileRange>(env, exports, "syncFileRange");
  Export<Fallocate>(env, exports, "fallocate");
  Export<MapLargeFrom>(env, exports, "mapLargeFrom");

  Export<PeerCredentials>(env, exports, "peerCredentials");
  Export<SetSocketOption>(env, exports, "setSocketOption");
  Export<ShutdownSocket>(env, exports, "shutdownSocket");

  Export<CheckRecords>(env, exports, "checkRecords");
  Export<ListNames>(env, exports, "listNames");
  Export<PackFiles>(env, exports, "packFiles");
  Export<CopyIn>(env, exports, "copyIn");
  Export<ReceiveToFile>(env, exports, "receiveToFile");
  Export<ReceiveBurst>(env, exports, "receiveBurst");
  Export<SendFrames>(env, exports, "sendFrames");

  Export<MapShared>(env, exports, "mapShared");
  Export<InitializeLock>(env, exports, "initializeLock");
  Export<Lock>(env, exports, "lock");
  Export<Unlock>(env, exports, "unlock");
  Export<FutexWake>(env, exports, "futexWake");
  Export<KnowName>(env, exports, "knowName");
  Export<AskName>(env, exports, "askName");
  Export<KeepNames>(env, exports, "keepNames");
  Export<ClearNames>(env, exports, "clearNames");
  return exports;
}

}  // namespace

}  // namespace kangaroo

// The macro pastes this name into another and so takes no qualified one.
static Napi::Object InitializeKangaroo(Napi::Env env, Napi::Object exports) {
  return kangaroo::Initialize(env, exports);
}

NODE_API_MODULE(kangaroo, InitializeKangaroo)
