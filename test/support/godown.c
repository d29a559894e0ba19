/*
 * Cuts the power of a mounted ext4: EXT4_IOC_SHUTDOWN, as the kernel's fs/ext4/ext4.h has it.
 *
 *   godown MOUNTPOINT FLAG     1: the journal is flushed first, 2: it is not
 *
 * From then on every access to that file system fails with EIO, and what was not on its disk is
 * lost at the next mount. Needs root.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define SHUTDOWN _IOR('X', 125, unsigned int)

int main(int argc, char **argv) {
  unsigned int flag = argc > 2 ? (unsigned int)atoi(argv[2]) : 2;
  int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
  if (fd >= 0 && ioctl(fd, SHUTDOWN, &flag) == 0) return 0;
  perror("godown");
  return 1;
}
