// The one call of the jail that other families use: opening a path beneath a directory.
#pragma once

namespace kangaroo {

// A close-on-exec descriptor, or -1 and errno. `path` ends with NUL.
int OpenBeneath(int dirFd, const char* path, int flags, unsigned mode);

}  // namespace kangaroo
