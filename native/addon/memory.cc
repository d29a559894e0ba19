// Memory of the process: what malloc keeps of blocks that were freed.
//
// glibc raises the size from which on it maps a block by itself to that of the largest freed so
// far, up to 32 MiB; after that such blocks lie on the heap, which only shrinks at its end.
// See mallopt(3).
#include <napi.h>

#include <malloc.h>

#include "arguments.h"

namespace kangaroo {

namespace {

// mapLargeFrom(bytes): void
Napi::Value MapLargeFrom(const Napi::CallbackInfo& info) {
  Arguments arguments(info.Env());
  const int64_t bytes = arguments.Integer(info[0], "bytes", 0, 0x7fffffff);
  if (arguments.failed()) return info.Env().Undefined();
#ifdef M_MMAP_THRESHOLD
  // Where it is refused everything works as before.
  mallopt(M_MMAP_THRESHOLD, static_cast<int>(bytes));
#else
  (void)bytes;
#endif
  return info.Env().Undefined();
}

}  // namespace

}  // namespace kangaroo
