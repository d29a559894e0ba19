/*
 * random-ops SEED STEPS PROCESSES SUBJECT ORACLE: the same random calls on two directories, whose
 * results must be the same: return value, errno, bytes read, offset, size. The first directory is
 * below /kangaroo, the second a local one.
 *
 * Several processes take turns, handing a token round that holds the state of the random numbers,
 * so a seed repeats a run call by call. Each has open files of its own; some forks use what they
 * inherit. What is known to be different (an open file whose name is gone) is left out, by the
 * count of opens of each inode, which all share. Status 1 with the last calls on standard error
 * when the two differ, 2 when the test itself cannot go on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAMES = 7, HANDLES = 8, OPENS = 256, TAIL = 24, LARGEST = 3 << 19, PROCESSES_MAX = 16 };

struct token {
  uint64_t random;
  long step;
  int done;
};
struct handle {
  int subject, oracle;
  ino_t ino;
};
struct opens {
  ino_t ino;
  int count;
};

static const char *const names[NAMES] = {"a", "b", "c", "d", "e", "dir/f", "dir/g"};
static struct token token;
static struct handle handles[HANDLES];
static struct opens *opens; /* shared by all processes */
static int roots[2];
static const char *root_paths[2];
static char lines[TAIL][160];
static long line_count;
static unsigned char out[LARGEST], in[2][LARGEST];
static int who;

static uint64_t next_random(void) {
  uint64_t z = (token.random += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}
static unsigned below(unsigned bound) { return (unsigned)(next_random() % bound); }
static int one_in(unsigned n) { return below(n) == 0; }

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  va_list list;
  va_start(list, format);
  int at = snprintf(lines[line_count % TAIL], 160, "%ld process %d: ", token.step, who);
  vsnprintf(lines[line_count % TAIL] + at, (size_t)(160 - at), format, list);
  line_count++;
  va_end(list);
}

__attribute__((noreturn, format(printf, 1, 2))) static void different(const char *format, ...) {
  va_list list;
  va_start(list, format);
  for (long i = line_count > TAIL ? line_count - TAIL : 0; i < line_count; i++)
    fprintf(stderr, "%s\n", lines[i % TAIL]);
  fprintf(stderr, "DIFFERENT (subject, oracle): ");
  vfprintf(stderr, format, list);
  fprintf(stderr, "\n");
  va_end(list);
  _exit(1);
}

static void same(long subject, int subject_error, long oracle, int oracle_error) {
  if (subject == oracle && (subject >= 0 || subject_error == oracle_error)) return;
  different("returned %ld (%s), %ld (%s)", subject, subject < 0 ? strerror(subject_error) : "",
            oracle, oracle < 0 ? strerror(oracle_error) : "");
}

/* Does `call` with `root` and `h` for both sides and compares. */
#define BOTH(call)                                      \
  ({                                                    \
    long result_[2];                                    \
    int error_[2];                                      \
    for (int side = 0; side < 2; side++) {              \
      errno = 0;                                        \
      result_[side] = (long)(call);                     \
      error_[side] = errno;                             \
    }                                                   \
    same(result_[0], error_[0], result_[1], error_[1]); \
    result_[1];                                         \
  })
#define FD(handle) (side == 0 ? (handle)->subject : (handle)->oracle)

static struct opens *opens_of(ino_t ino) {
  struct opens *free_place = 0;
  for (int i = 0; i < OPENS; i++) {
    if (opens[i].count > 0 && opens[i].ino == ino) return &opens[i];
    if (opens[i].count == 0 && free_place == 0) free_place = &opens[i];
  }
  if (free_place == 0) _exit(2);
  free_place->ino = ino;
  return free_place;
}

/* Is what the oracle has under this name open anywhere? */
static int is_open(const char *name) {
  struct stat st;
  if (fstatat(roots[1], name, &st, 0) != 0) return 0;
  for (int i = 0; i < OPENS; i++)
    if (opens[i].count > 0 && opens[i].ino == st.st_ino) return 1;
  return 0;
}

static const char *full(int side, const char *name) {
  static char path[2][4400];
  snprintf(path[side], sizeof path[side], "%s/%s", root_paths[side], name);
  return path[side];
}

/* As full, beside it. */
static const char *other_full(int side, const char *name) {
  static char path[4400];
  snprintf(path, sizeof path, "%s/%s", root_paths[side], name);
  return path;
}

static size_t some_bytes(void) {
  unsigned kind = below(40);
  if (kind < 24) return below(120);
  if (kind < 34) return below(5000);
  if (kind < 38) return below(40000);
  if (kind < 39) return below(300000);
  return below(LARGEST);
}

static size_t fill(void) {
  size_t bytes = some_bytes();
  uint64_t x = next_random();
  for (size_t i = 0; i < bytes; i++) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    out[i] = (unsigned char)(x >> 56);
  }
  return bytes;
}

static off_t somewhere(void) { return one_in(12) ? (off_t)below(3000000) : (off_t)below(60000); }

static struct handle *any_handle(void) {
  unsigned start = below(HANDLES);
  for (unsigned i = 0; i < HANDLES; i++) {
    struct handle *h = &handles[(start + i) % HANDLES];
    if (h->subject >= 0) return h;
  }
  return 0;
}

static struct handle *free_handle(void) {
  for (int i = 0; i < HANDLES; i++)
    if (handles[i].subject < 0) return &handles[i];
  return 0;
}

static void keep(struct handle *h, int subject, int oracle) {
  struct stat st;
  if (fstat(oracle, &st) != 0) _exit(2);
  h->subject = subject;
  h->oracle = oracle;
  h->ino = st.st_ino;
  opens_of(st.st_ino)->count++;
}

static void op_open(void) {
  struct handle *h = free_handle();
  if (h == 0) return;
  const char *name = names[below(NAMES)];
  int flags = (int)below(3);
  if (!one_in(4)) flags |= O_CREAT;
  if (one_in(10)) flags |= O_EXCL;
  if (one_in(6)) flags |= O_TRUNC;
  if (one_in(4)) flags |= O_APPEND;
  if (one_in(4)) flags |= O_CLOEXEC;
  if ((flags & O_ACCMODE) == O_RDONLY) flags &= ~O_TRUNC;
  if ((flags & O_CREAT) == 0) flags &= ~O_EXCL;
  say("open %s flags %o", name, flags);
  int fds[2], errors[2];
  for (int side = 0; side < 2; side++) {
    errno = 0;
    fds[side] = open(full(side, name), flags, 0640);
    errors[side] = errno;
  }
  same(fds[0] < 0 ? -1 : 0, errors[0], fds[1] < 0 ? -1 : 0, errors[1]);
  if (fds[0] >= 0) keep(h, fds[0], fds[1]);
}

static void op_close(struct handle *h) {
  say("close %d", h->subject);
  BOTH(close(FD(h)));
  opens_of(h->ino)->count--;
  h->subject = h->oracle = -1;
}

static void op_dup(struct handle *h) {
  struct handle *other = free_handle();
  if (other == 0) return;
  say("dup %d", h->subject);
  int subject = dup(h->subject), oracle = dup(h->oracle);
  if (subject < 0 || oracle < 0) different("dup %d, %d", subject, oracle);
  keep(other, subject, oracle);
}

static void compare_bytes(long got) {
  for (long i = 0; i < got; i++)
    if (in[0][i] != in[1][i])
      different("byte %ld of %ld is %02x, %02x", i, got, in[0][i], in[1][i]);
}

static void op_read(struct handle *h) {
  size_t bytes = some_bytes();
  off_t at = somewhere();
  unsigned how = below(3);
  size_t cut = bytes / 3;
  say("%s %d, %zu bytes at %ld",
      how == 0   ? "read"
      : how == 1 ? "pread"
                 : "readv",
      h->subject, bytes, (long)at);
  long got = BOTH(({
    struct iovec parts[2] = {{in[side], cut}, {in[side] + cut, bytes - cut}};
    how == 0   ? read(FD(h), in[side], bytes)
    : how == 1 ? pread(FD(h), in[side], bytes, at)
               : readv(FD(h), parts, 2);
  }));
  compare_bytes(got);
}

static void op_write(struct handle *h) {
  size_t bytes = fill();
  off_t at = somewhere();
  unsigned how = below(5);
  size_t cut = bytes / 3;
  say("%s %d, %zu bytes at %ld",
      how < 3    ? "write"
      : how == 3 ? "pwrite"
                 : "writev",
      h->subject, bytes, (long)at);
  BOTH(({
    struct iovec parts[3] = {{out, cut}, {0, 0}, {out + cut, bytes - cut}};
    how < 3    ? write(FD(h), out, bytes)
    : how == 3 ? pwrite(FD(h), out, bytes, at)
               : writev(FD(h), parts, 3);
  }));
}

static void op_seek(struct handle *h) {
  int whence = (int)below(3);
  off_t by = somewhere() - (one_in(3) ? 40000 : 0);
  say("lseek %d by %ld whence %d", h->subject, (long)by, whence);
  BOTH(lseek(FD(h), by, whence));
}

static void op_facts(struct handle *h) {
  say("fstat %d", h->subject);
  struct stat st[2];
  BOTH(fstat(FD(h), &st[side]));
  if (st[0].st_size != st[1].st_size || st[0].st_mode != st[1].st_mode)
    different("size %ld mode %o, size %ld mode %o", (long)st[0].st_size, st[0].st_mode,
              (long)st[1].st_size, st[1].st_mode);
}

static void op_cut(struct handle *h) {
  off_t size = somewhere();
  say("ftruncate %d to %ld", h->subject, (long)size);
  BOTH(ftruncate(FD(h), size));
}

static void op_stat(void) {
  const char *name = names[below(NAMES)];
  say("stat %s", name);
  struct stat st[2] = {{0}, {0}};
  long got = BOTH(stat(full(side, name), &st[side]));
  if (got == 0 && (st[0].st_size != st[1].st_size || st[0].st_mode != st[1].st_mode))
    different("size %ld mode %o, size %ld mode %o", (long)st[0].st_size, st[0].st_mode,
              (long)st[1].st_size, st[1].st_mode);
}

static void op_name(void) {
  const char *name = names[below(NAMES)], *other = names[below(NAMES)];
  switch (below(5)) {
  case 0:
    if (is_open(name)) return;
    say("unlink %s", name);
    BOTH(unlink(full(side, name)));
    return;
  case 1:
    if (name == other || is_open(other)) return;
    say("rename %s to %s", name, other);
    BOTH(rename(full(side, name), other_full(side, other)));
    return;
  case 2: {
    off_t size = somewhere();
    say("truncate %s to %ld", name, (long)size);
    BOTH(truncate(full(side, name), size));
    return;
  }
  case 3: {
    mode_t mode = 0600 | below(0100);
    say("chmod %s %o", name, mode);
    BOTH(chmod(full(side, name), mode));
    return;
  }
  default:
    say("access %s", name);
    BOTH(access(full(side, name), F_OK));
  }
}

/* A child goes on with what it has inherited; its parent's offsets have moved then. */
static void op_fork(void) {
  say("fork");
  fflush(stderr);
  pid_t pid = fork();
  if (pid < 0) _exit(2);
  if (pid == 0) {
    for (int i = 0; i < 4; i++) {
      struct handle *h = any_handle();
      if (h == 0) break;
      if (one_in(2))
        op_write(h);
      else
        op_read(h);
    }
    _exit(0);
  }
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || status != 0) _exit(WIFEXITED(status) ? 1 : 2);
  next_random();
}

static void one_op(void) {
  struct handle *h = any_handle();
  unsigned kind = below(100);
  if (h == 0 || kind < 14)
    op_open();
  else if (kind < 24)
    op_close(h);
  else if (kind < 46)
    op_write(h);
  else if (kind < 66)
    op_read(h);
  else if (kind < 74)
    op_seek(h);
  else if (kind < 79)
    op_facts(h);
  else if (kind < 82)
    op_cut(h);
  else if (kind < 84)
    op_dup(h);
  else if (kind < 89)
    op_stat();
  else if (kind < 97)
    op_name();
  else if (kind < 98)
    op_fork();
  else if (one_in(4)) {
    say("fsync %d", h->subject);
    BOTH(fsync(FD(h)));
  }
}

static void take_turns(int from, int to, long steps) {
  while (read(from, &token, sizeof token) == sizeof token && !token.done) {
    for (unsigned turn = 1 + below(12); turn > 0 && token.step < steps; turn--) {
      token.step++;
      one_op();
    }
    token.done = token.step >= steps;
    if (!token.done && write(to, &token, sizeof token) != sizeof token) _exit(2);
    if (token.done) break;
  }
  /* Whoever is next may have ended already. */
  token.done = 1;
  if (write(to, &token, sizeof token) < 0 && errno != EPIPE) _exit(2);
}

/* Everything below both, byte by byte, by a process that has seen nothing of it. */
static void compare_all(void) {
  say("in the end");
  for (int i = 0; i < NAMES; i++) {
    say("%s in the end", names[i]);
    int fds[2] = {open(full(0, names[i]), O_RDONLY), open(full(1, names[i]), O_RDONLY)};
    if ((fds[0] < 0) != (fds[1] < 0)) different("%s: open %d, %d", names[i], fds[0], fds[1]);
    if (fds[1] < 0) continue;
    for (;;) {
      long got = BOTH(read(fds[side], in[side], LARGEST));
      if (got <= 0) break;
      compare_bytes(got);
    }
    close(fds[0]);
    close(fds[1]);
  }
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  token.random = strtoull(argv[1], 0, 10);
  long steps = atol(argv[2]);
  int processes = atoi(argv[3]);
  if (processes < 1 || processes > PROCESSES_MAX) return 2;
  for (int side = 0; side < 2; side++) {
    root_paths[side] = argv[4 + side];
    roots[side] = open(argv[4 + side], O_RDONLY | O_DIRECTORY);
    if (roots[side] < 0 || mkdirat(roots[side], "dir", 0755) != 0) return perror(argv[4 + side]), 2;
  }
  signal(SIGPIPE, SIG_IGN);
  opens = mmap(0, OPENS * sizeof *opens, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < HANDLES; i++) handles[i].subject = handles[i].oracle = -1;
  int pipes[PROCESSES_MAX][2];
  for (int i = 0; i < processes; i++)
    if (pipe2(pipes[i], O_CLOEXEC) != 0) return 2;
  for (who = 0; who < processes; who++) {
    pid_t pid = fork();
    if (pid < 0) return 2;
    if (pid == 0) {
      int from = pipes[who][0], to = pipes[(who + 1) % processes][1];
      for (int i = 0; i < processes; i++) {
        if (pipes[i][0] != from) close(pipes[i][0]);
        if (pipes[i][1] != to) close(pipes[i][1]);
      }
      take_turns(from, to, steps);
      _exit(0);
    }
  }
  if (write(pipes[0][1], &token, sizeof token) != sizeof token) return 2;
  for (int i = 0; i < processes; i++) {
    close(pipes[i][1]);
    if (i > 0) close(pipes[i][0]);
  }
  int worst = 0, status;
  while (wait(&status) > 0) {
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
    if (WIFSIGNALED(status)) fprintf(stderr, "killed by signal %d\n", WTERMSIG(status));
    if (code == 1 || (code == 2 && worst == 0)) worst = code;
  }
  if (worst != 0) return worst;
  compare_all();
  return 0;
}
