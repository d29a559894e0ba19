/*
 * The C core: Kangaroo files for programs, without any knowledge of how calls are caught. The
 * preload library stands on it, a trap agent is to.
 *
 * Every function returns 0 or an errno value and leaves `errno` alone, unless it says otherwise. It
 * calls the kernel by the functions of kernel.h only, never by a name of libc that may be caught,
 * takes no memory from malloc, and is safe in signal handlers and between threads: signals are
 * blocked while it holds a lock. What a lost server means is decided here (fate.c).
 */
#ifndef KANGAROO_CORE_H
#define KANGAROO_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KG_NAME_MAX 255
#define KG_PATH_MAX 4096

/* A file: server name, and path below its export directory (no leading '/', "" is the root). */
struct kg_place {
  char name[KG_NAME_MAX + 1];
  char path[KG_PATH_MAX + 1];
};

/* Which open file: a slot of the board, as it was given out. */
struct kg_ref {
  uint32_t slot;
  uint32_t generation;
};

enum kg_kind { KG_ABSENT = 0, KG_FILE = 1, KG_DIRECTORY = 2, KG_SYMLINK = 3, KG_OTHER = 4 };

struct kg_facts {
  enum kg_kind kind;
  uint64_t size;
  uint32_t mode; /* permission bits; the papers' benevolent default where nobody knows */
  int64_t mtime_ns;
  uint64_t ino; /* stable: a hash of name and path */
};

/* settings.c: the environment, read once at the start (environ may be gone later). */
struct kg_settings {
  char server[4096];                 /* KANGAROO_SERVER and its defaults: unix:/path or host:port */
  int64_t timeout_ms;                /* KANGAROO_TIMEOUT, 300 s */
  bool fsync_is_commit;              /* KANGAROO_FSYNC=commit */
  char report[4096];                 /* KANGAROO_REPORT, "" for none */
  char mounts[16384];                /* KANGAROO_MOUNTS */
  char directory[KG_PATH_MAX + 512]; /* KANGAROO_CWD: a working directory below /kangaroo, or "" */
  char verdict[4096];   /* KANGAROO_VERDICT: where `kangaroo run` looks for what killed it */
  char otherwise[4096]; /* the second of the default servers, or "" */
};
extern struct kg_settings kg_settings;
void kg_settings_read(char *const *environment);

/* names.c */
enum kg_where {
  KG_ELSEWHERE, /* not ours: use the path as it was given */
  KG_HERE,      /* ours: *place */
  KG_MAPPED,    /* a mount leads to a local path: *local */
  KG_TOP,       /* "/kangaroo" itself: a directory of server names */
  KG_BAD,       /* ours, and no good: errno in *problem (ENAMETOOLONG, ENOENT) */
};
struct kg_located {
  enum kg_where where;
  int problem;
  bool slash; /* the path ends with '/': it must be a directory */
  struct kg_place place;
  char local[KG_PATH_MAX];
};
/*
 * `base` is the virtual directory that relative paths start from ("/kangaroo/NAME/dir"), NULL when
 * they are not ours. Cheap for paths that are not ours: it looks at the first bytes.
 */
void kg_locate(const char *path, const char *base, struct kg_located *out);

/* files.c: each of these is one exchange with the server at most. */
enum {
  KG_OPEN_CREATE = 1,
  KG_OPEN_EXCLUSIVE = 2,
  KG_OPEN_TRUNCATE = 4,
  KG_OPEN_WRITE = 8,
  KG_OPEN_DIRECTORY = 16,
};
int kg_open(const struct kg_place *place, uint32_t flags, uint32_t mode, struct kg_ref *ref,
            struct kg_facts *facts);
/* Does the ref stand for that file still? To be asked once others can see who has it open. */
bool kg_is_current(struct kg_ref ref);
int kg_stat(const struct kg_place *place, struct kg_facts *facts);
/* One page of names after `after` ("" at the start). `each` is called for every one of them. */
int kg_list(const struct kg_place *place, const char *after, bool *more,
            void (*each)(void *context, const char *name, const struct kg_facts *facts),
            void *context);
enum kg_change_kind {
  KG_MKDIR = 1,
  KG_RMDIR = 2,
  KG_UNLINK = 3,
  KG_RENAME = 4,
  KG_SET = 5, /* attributes of an existing file or directory */
  KG_CUT = 6, /* truncate an existing file */
};
struct kg_change {
  enum kg_change_kind kind;
  uint32_t flags; /* of KG_SET: KG_SET_*; of KG_RENAME: 1 = RENAME_NOREPLACE */
  uint32_t mode;
  uint64_t size;
  int64_t mtime_ns;
  int64_t atime_ns;
};
/* `to` is for KG_RENAME, with the same name of the server (else EXDEV); NULL otherwise. */
int kg_change(const struct kg_place *place, const struct kg_place *to,
              const struct kg_change *change);

/* The id, in hex, of the board that new refs are of: placeholders carry it. */
int kg_board_id(char hex[33]);
/* What an open file is called now. */
int kg_place_of(struct kg_ref ref, struct kg_place *place);
/* What is known of an open file: from the board, asking only when somebody else changed it. */
int kg_facts_of(struct kg_ref ref, struct kg_facts *facts);

/*
 * Writes all of it at `offset`, or at the end of the file with append, whose new end is *end then.
 * Returns when a reader of the same server would see it; never for want of a network.
 */
int kg_write(struct kg_ref ref, const void *bytes, size_t count, uint64_t offset, bool append,
             uint64_t *end);
/* Reads up to `count` bytes; *got is 0 at the end of the file. */
int kg_read(struct kg_ref ref, void *bytes, size_t count, uint64_t offset, size_t *got);
int kg_truncate(struct kg_ref ref, uint64_t size);
int kg_set(struct kg_ref ref, uint32_t flags, uint32_t mode, int64_t mtime_ns, int64_t atime_ns);

/* Barriers. The place may be a directory. */
int kg_push(const struct kg_place *place);
int kg_commit(void);
/* Tells the server that this process sends it nothing again, if all of it is committed. */
void kg_farewell(void);
/* Was anything written or changed here since the last commit? */
bool kg_is_dirty(void);

/* The program is about to handle a signal that can come at any time. */
void kg_note_handler(void);

/* Called in the child of a fork: its connections and grants are its parent's. */
void kg_after_fork(void);
/* Is this number of a descriptor one of our own, which a program must not close? */
bool kg_is_private(int fd);
/* The lowest of them that is at least `from`, or -1. */
int kg_next_private(int from);

#endif
