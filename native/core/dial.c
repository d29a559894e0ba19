/*
 * Finding a server, and the greeting.
 *
 * Candidates are those of src/client/locate.ts, but only Unix sockets: a server of this machine and
 * account shares memory with us, no other can. Who answers is asked of the kernel, not believed.
 */
#include "boards.h"
#include "connection.h"
#include "core.h"
#include "fate.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define HELLO_MAGIC 0x474e414b
#define PROTOCOL_VERSION 1
#define GREETING_MS 10000

static int never(const char *before, const char *server, const char *behind, int problem) {
  char text[700];
  return kg_fate_never(kg_fate_words(text, sizeof text, before, server, behind, NULL), problem);
}

/* The path of a Unix socket in an address; NULL when it is a TCP address. */
static const char *socket_path(const char *server) {
  if (strncmp(server, "unix:", 5) == 0) return server + 5;
  return strchr(server, '/') != NULL ? server : NULL;
}

/* A path that is too long for sockaddr_un goes by its directory's descriptor, which is *holder. */
static bool fill_address(const char *path, struct sockaddr_un *address, int *holder) {
  size_t length = strlen(path);
  address->sun_family = AF_UNIX;
  if (length < sizeof address->sun_path) {
    memcpy(address->sun_path, path, length + 1);
    return true;
  }
  const char *last = strrchr(path, '/');
  char directory[KG_PATH_MAX + 1];
  if (last == NULL || strlen(last) > 64 || (size_t)(last - path) >= sizeof directory) return false;
  memcpy(directory, path, (size_t)(last - path));
  directory[last - path] = '\0';
  *holder = kg_file_open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (*holder < 0) return false;
  char digits[12];
  unsigned at = sizeof digits, number = (unsigned)*holder;
  digits[--at] = '\0';
  do digits[--at] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  kg_fate_words(address->sun_path, sizeof address->sun_path, "/proc/self/fd/", digits + at, last,
                NULL);
  return true;
}

/* A connected socket, or a negative errno. */
static int connect_to(const char *path) {
  struct sockaddr_un address;
  memset(&address, 0, sizeof address);
  int holder = -1;
  if (!fill_address(path, &address, &holder)) return -ENOENT;
  int fd = (int)KG_KERNEL3(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0) {
    long problem = KG_KERNEL3(SYS_connect, fd, &address, sizeof address);
    if (problem < 0) {
      kg_close(fd);
      fd = (int)problem;
    }
  }
  if (holder >= 0) kg_close(holder);
  return fd;
}

/* Is the server one of our own account? */
static bool is_our_own(int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (KG_KERNEL6(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size, 0) != 0) return false;
  return peer.uid == (uid_t)KG_KERNEL0(SYS_geteuid);
}

static int take_over(struct kg_call *call, int fd) {
  struct stat facts;
  fd = kg_make_private(fd);
  if (KG_KERNEL2(SYS_fstat, fd, &facts) != 0) return KG_LOST;
  call->link->socket = facts.st_ino;
  call->link->begin = call->link->end = 0;
  call->link->fd = fd;
  return 0;
}

/* An ERROR in place of WELCOME: for good, or because it is about to stop. */
static int turned_away(const uint8_t *body, uint32_t bytes, const char *server) {
  struct kg_value said[3];
  const uint8_t *at = body;
  if (kg_decode(kg_fields(KG_ERROR), &at, body + bytes, said) != 0) return KG_LOST;
  if (said[0].count == 7 && memcmp(said[0].bytes, "VERSION", 7) == 0)
    return never("the server at ", server, " speaks another protocol version", EPROTO);
  if (said[0].count == 6 && memcmp(said[0].bytes, "DENIED", 6) == 0)
    return never("the server at ", server, " does not let us in", EACCES);
  return KG_LOST;
}

static int welcomed(struct kg_call *call, const uint8_t *body, uint32_t bytes, const char *server) {
  struct kg_value said[8];
  const uint8_t *at = body;
  if (kg_decode(kg_fields(KG_WELCOME), &at, body + bytes, said) != 0 || said[7].count == 0)
    return never("the server at ", server, " does not serve adapted programs", ENOTSUP);
  call->link->incarnation = said[3].number;
  return kg_board_meet(said[7].bytes, said[7].count);
}

static int greet(struct kg_call *call, const char *server) {
  static const char role[] = "client", method[] = "address", software[] = "kangaroo adapter";
  const struct kg_value hello[] = {
      KG_N(HELLO_MAGIC),
      KG_N(PROTOCOL_VERSION),
      KG_N(PROTOCOL_VERSION),
      KG_B(role, sizeof role - 1),
      KG_B(call->link->sender, 16),
      KG_B(method, sizeof method - 1),
      KG_B("", 0),
      KG_B(software, sizeof software - 1),
  };
  struct kg_prefix prefix;
  const uint8_t *body;
  int problem = kg_send(call, KG_HELLO, 1, hello);
  if (problem == 0) problem = kg_receive(call, 1, &prefix, &body);
  if (problem != 0) return KG_LOST;
  if (prefix.type == KG_ERROR) return turned_away(body, prefix.body_bytes, server);
  if (prefix.type != KG_WELCOME) return KG_LOST;
  return welcomed(call, body, prefix.body_bytes, server);
}

static int dial_one(struct kg_call *call, const char *server) {
  const char *path = socket_path(server);
  if (path == NULL)
    return never("the server ", server,
                 " is reached by TCP; only a server of this account on "
                 "this machine serves adapted programs: name its Unix socket",
                 EPROTONOSUPPORT);
  int fd = connect_to(path);
  if (fd == -EACCES || fd == -EPERM)
    return never("the server at ", server, " is not of this account", EACCES);
  if (fd == -EMFILE || fd == -ENFILE) return -fd;
  if (fd < 0) return KG_LOST;
  if (!is_our_own(fd)) {
    kg_close(fd);
    return never("the server at ", server, " is not of this account", EACCES);
  }
  int problem = take_over(call, fd);
  if (problem != 0) return problem;
  struct kg_call greeting = *call;
  int64_t greeting_ends = kg_now_ms() + GREETING_MS;
  greeting.patient = false;
  greeting.sink = NULL;
  if (call->patient || greeting_ends < call->deadline_ms) greeting.deadline_ms = greeting_ends;
  problem = greet(&greeting, server);
  if (problem != 0) kg_link_close(call->process, call->link);
  return problem;
}

int kg_dial(struct kg_call *call) {
  const struct kg_settings *settings = &kg_settings;
  if (settings->server[0] == '\0')
    return kg_fate_never("no server is named: set KANGAROO_SERVER to its Unix socket", ENOTCONN);
  int problem = dial_one(call, settings->server);
  if (problem == KG_LOST && settings->otherwise[0] != '\0')
    problem = dial_one(call, settings->otherwise);
  return problem;
}
