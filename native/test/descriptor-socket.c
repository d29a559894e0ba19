/* A descriptor that comes over a socket is the sender's open file. */
#include "check.h"
#include <sys/socket.h>

union control {
  char bytes[CMSG_SPACE(sizeof(int))];
  struct cmsghdr align;
};

static void test(void) {
  int pair[2], fd;
  char byte = 'x';
  union control control = {.bytes = {0}};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  pid_t child = fork();
  if (child == 0) {
    fd = open(in("f"), O_RDWR | O_CREAT, 0644);
    CHECK(write(fd, "from child", 10) == 10 && lseek(fd, 5, SEEK_SET) == 5);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    CHECK(sendmsg(pair[0], &message, 0) == 1);
    _exit(0);
  }
  ended_well(child);
  CHECK(recvmsg(pair[1], &message, 0) == 1);
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  char bytes[16];
  CHECK(read(fd, bytes, sizeof bytes) == 5 && memcmp(bytes, "child", 5) == 0);
  CHECK(write(fd, "!", 1) == 1);
  HOLDS("f", "from child!");
}
