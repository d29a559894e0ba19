/* The kernel's aio by system call, on a file of the directory and a local one in one submission. */
#include "check.h"
#include <linux/aio_abi.h>
#include <sys/syscall.h>

static void test(void) {
  aio_context_t context = 0;
  char back[16] = "", local_name[] = "/tmp/aio-XXXXXX";
  int fd = open(in("f"), O_RDWR | O_CREAT, 0644), local = mkstemp(local_name);
  CHECK(local >= 0 && unlink(local_name) == 0);
  CHECK(syscall(SYS_io_setup, 8, &context) == 0);
  struct iocb write_it = {.aio_fildes = (uint32_t)fd, .aio_lio_opcode = IOCB_CMD_PWRITE};
  write_it.aio_buf = (uintptr_t) "written";
  write_it.aio_nbytes = 7;
  write_it.aio_offset = 2;
  write_it.aio_data = 1;
  struct iocb other = write_it;
  other.aio_fildes = (uint32_t)local;
  other.aio_data = 2;
  struct iocb read_it = write_it;
  read_it.aio_lio_opcode = IOCB_CMD_PREAD;
  read_it.aio_buf = (uintptr_t)back;
  read_it.aio_nbytes = sizeof back;
  read_it.aio_data = 3;
  struct iocb *list[] = {&other, &write_it, &other};
  CHECK(syscall(SYS_io_submit, context, 3, list) == 3);
  struct io_event events[4];
  CHECK(syscall(SYS_io_getevents, context, 3, 3, events, NULL) == 3);
  for (int i = 0; i < 3; i++) CHECK(events[i].res == 7);
  list[0] = &read_it;
  CHECK(syscall(SYS_io_submit, context, 1, list) == 1);
  CHECK(syscall(SYS_io_getevents, context, 1, 1, events, NULL) == 1);
  CHECK(events[0].data == 3 && events[0].obj == (uintptr_t)&read_it && events[0].res == 7);
  CHECK(memcmp(back, "written", 7) == 0 && read_it.aio_fildes == (uint32_t)fd);
  CHECK(syscall(SYS_io_destroy, context) == 0);
}
