/*
 * Directory streams: opendir and its family, and getdents64, for directories of ours.
 *
 * A DIR of ours is an element of a fixed array, so that any other DIR pointer is told apart by its
 * address alone. A listing is fetched page by page as it is read and kept until rewinddir, so a
 * position is an offset in what was fetched, good for seekdir as long as the stream lives. For
 * getdents64 the position is the placeholder's own offset, as it is for a directory of the kernel.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"
#include "processes.h"

REAL(DIR *, opendir, (const char *path));
REAL(DIR *, fdopendir, (int fd));
REAL(struct dirent *, readdir, (DIR * stream));
REAL(int, readdir_r, (DIR * stream, struct dirent *entry, struct dirent **result));
REAL(long, telldir, (DIR * stream));
REAL(void, seekdir, (DIR * stream, long position));
REAL(void, rewinddir, (DIR * stream));
REAL(int, dirfd, (DIR * stream));
REAL(int, closedir, (DIR * stream));
REAL(ssize_t, getdents64, (int fd, void *buffer, size_t size));
REAL(ssize_t, getdirentries, (int fd, char *buffer, size_t size, off_t *base));
REAL(off_t, lseek, (int fd, off_t offset, int whence));

_Static_assert(sizeof(struct dirent) == sizeof(struct dirent64), "one shape of entry");

#define STREAMS_MAX 1024
#define LISTINGS_MAX 16
#define ENTRY_HEAD offsetof(struct dirent, d_name)

/* What was fetched of a directory: entries as getdents64 has them, one behind the other. */
struct listing {
  struct kg_file file;
  char *bytes;
  size_t used, room;
  bool begun, more;
  int problem;
  char after[KG_NAME_MAX + 1];
};

struct stream {
  bool taken;
  int fd;
  pthread_mutex_t lock;
  struct listing listing;
  size_t position;
  struct dirent entry;
};
static struct stream streams[STREAMS_MAX];
static pthread_mutex_t streams_lock = PTHREAD_MUTEX_INITIALIZER;

/* Listings of descriptors that are read by getdents64, by the placeholder they belong to. */
static struct {
  uint64_t dev, ino, used_at;
  struct listing listing;
} listings[LISTINGS_MAX];
static uint64_t listings_clock;

static inline struct stream *fake(DIR *stream) {
  uintptr_t at = (uintptr_t)stream - (uintptr_t)streams;
  return at < sizeof streams ? (struct stream *)stream : NULL;
}

void kg_stream_fork(bool before) {
  if (before)
    pthread_mutex_lock(&streams_lock);
  else
    pthread_mutex_unlock(&streams_lock);
}

static void listing_clear(struct listing *listing, const struct kg_file *file) {
  struct kg_file copy = *file;
  free(listing->bytes);
  *listing = (struct listing){.file = copy, .more = true};
}

static void add_entry(void *context, const char *name, const struct kg_facts *facts) {
  static const unsigned char types[] = {DT_UNKNOWN, DT_REG, DT_DIR, DT_LNK, DT_UNKNOWN};
  struct listing *listing = context;
  size_t length = strlen(name);
  size_t size = (ENTRY_HEAD + length + 1 + 7) & ~(size_t)7;
  if (length > KG_NAME_MAX || listing->problem) return;
  if (listing->used + size > listing->room) {
    size_t room = listing->room ? listing->room * 2 : 4096;
    char *bytes = realloc(listing->bytes, room);
    if (!bytes) {
      listing->problem = ENOMEM;
      return;
    }
    listing->bytes = bytes;
    listing->room = room;
  }
  struct dirent *entry = (struct dirent *)(listing->bytes + listing->used);
  memset(entry, 0, size);
  entry->d_ino = facts->ino ? facts->ino : 1;
  entry->d_reclen = (unsigned short)size;
  entry->d_type = facts->kind <= KG_OTHER ? types[facts->kind] : DT_UNKNOWN;
  listing->used += size;
  entry->d_off = (off_t)listing->used;
  memcpy(entry->d_name, name, length + 1);
  memcpy(listing->after, name, length + 1);
}

/* Fetches one more page; false at the end, or with `problem`. */
__attribute__((noinline)) static bool listing_grow(struct listing *listing) {
  struct kg_place place;
  if (!listing->more || listing->problem) return false;
  int problem = kg_place_open(&listing->file, &place);
  if (!problem && !listing->begun) {
    struct kg_facts facts = {.kind = KG_DIRECTORY};
    problem = kg_facts_open(&listing->file, &facts);
    facts.kind = KG_DIRECTORY;
    add_entry(listing, ".", &facts);
    add_entry(listing, "..", &facts);
    listing->after[0] = 0;
    listing->begun = true;
  }
  if (!problem) problem = kg_list(&place, listing->after, &listing->more, add_entry, listing);
  if (problem == ESTALE) {
    /* The directory was removed: it reads as empty, like one of the kernel's. */
    listing->more = false;
    problem = 0;
  }
  if (!listing->problem) listing->problem = problem;
  return listing->problem == 0;
}

/* The entry at `position`, or NULL: the end, or an error in the listing. */
static struct dirent *listing_at(struct listing *listing, size_t position) {
  while (position >= listing->used)
    if (!listing_grow(listing)) return NULL;
  return (struct dirent *)(listing->bytes + position);
}

/* A descriptor of ours becomes a stream; NULL with errno, and the descriptor stays open then. */
static DIR *stream_of(int fd, struct kg_file *file) {
  struct stream *stream = NULL;
  if (file->kind != KG_DIRECTORY) {
    errno = ENOTDIR;
    return NULL;
  }
  pthread_mutex_lock(&streams_lock);
  for (int i = 0; i < STREAMS_MAX && !stream; i++)
    if (!streams[i].taken) stream = &streams[i];
  if (stream) stream->taken = true;
  pthread_mutex_unlock(&streams_lock);
  if (!stream) {
    errno = EMFILE;
    return NULL;
  }
  stream->fd = fd;
  stream->position = 0;
  pthread_mutex_init(&stream->lock, NULL);
  listing_clear(&stream->listing, file);
  return (DIR *)stream;
}

__attribute__((noinline)) static DIR *open_directory(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return NULL;
  DIR *stream = fdopendir(fd);
  if (!stream) {
    int problem = errno;
    close(fd);
    errno = problem;
  }
  return stream;
}

CAUGHT DIR *opendir(const char *path) {
  if (!kg_plainly_local(AT_FDCWD, path)) return open_directory(path);
  return PASS(opendir)(path);
}

CAUGHT DIR *fdopendir(int fd) {
  struct kg_file *file = ours(fd);
  if (!file) return CALL(fdopendir)(fd);
  int64_t start = kg_begun();
  DIR *stream = stream_of(fd, file);
  kg_done("opendir", file, 0, start);
  return stream;
}

static struct dirent *next_entry(struct stream *stream, struct dirent *copy) {
  int64_t start = kg_begun();
  pthread_mutex_lock(&stream->lock);
  struct dirent *entry = listing_at(&stream->listing, stream->position);
  if (entry) {
    stream->position = (size_t)entry->d_off;
    memcpy(copy, entry, ENTRY_HEAD + strlen(entry->d_name) + 1);
  }
  int problem = stream->listing.problem;
  pthread_mutex_unlock(&stream->lock);
  if (!entry && problem) errno = problem;
  if (start) kg_done("readdir", ours(stream->fd), 0, start);
  return entry ? copy : NULL;
}

CAUGHT struct dirent *readdir(DIR *given) {
  struct stream *stream = fake(given);
  return stream ? next_entry(stream, &stream->entry) : CALL(readdir)(given);
}

CAUGHT struct dirent64 *readdir64(DIR *given) { return (struct dirent64 *)readdir(given); }

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
CAUGHT int readdir_r(DIR *given, struct dirent *entry, struct dirent **result) {
  struct stream *stream = fake(given);
  if (!stream) return CALL(readdir_r)(given, entry, result);
  *result = next_entry(stream, entry);
  return *result ? 0 : stream->listing.problem;
}

CAUGHT int readdir64_r(DIR *given, struct dirent64 *entry, struct dirent64 **result) {
  return readdir_r(given, (struct dirent *)entry, (struct dirent **)result);
}

CAUGHT long telldir(DIR *given) {
  struct stream *stream = fake(given);
  return stream ? (long)stream->position : CALL(telldir)(given);
}

CAUGHT void seekdir(DIR *given, long position) {
  struct stream *stream = fake(given);
  if (!stream) {
    CALL(seekdir)(given, position);
    return;
  }
  pthread_mutex_lock(&stream->lock);
  if (position >= 0 && (size_t)position <= stream->listing.used)
    stream->position = (size_t)position;
  pthread_mutex_unlock(&stream->lock);
}

CAUGHT void rewinddir(DIR *given) {
  struct stream *stream = fake(given);
  if (!stream) {
    CALL(rewinddir)(given);
    return;
  }
  pthread_mutex_lock(&stream->lock);
  listing_clear(&stream->listing, &stream->listing.file);
  stream->position = 0;
  pthread_mutex_unlock(&stream->lock);
}

CAUGHT int dirfd(DIR *given) {
  struct stream *stream = fake(given);
  return stream ? stream->fd : CALL(dirfd)(given);
}

CAUGHT int closedir(DIR *given) {
  struct stream *stream = fake(given);
  if (!stream) return CALL(closedir)(given);
  int fd = stream->fd;
  free(stream->listing.bytes);
  stream->listing = (struct listing){0};
  pthread_mutex_destroy(&stream->lock);
  pthread_mutex_lock(&streams_lock);
  stream->taken = false;
  pthread_mutex_unlock(&streams_lock);
  return close(fd);
}

/* The listing of a descriptor, begun anew when its offset is 0. Under the lock. */
static struct listing *listing_of(const struct kg_file *file, off_t position) {
  int oldest = 0;
  listings_clock++;
  for (int i = 0; i < LISTINGS_MAX; i++) {
    if (listings[i].dev == file->dev && listings[i].ino == file->ino && listings[i].used_at) {
      listings[i].used_at = listings_clock;
      if (position == 0) listing_clear(&listings[i].listing, file);
      return &listings[i].listing;
    }
    if (listings[i].used_at < listings[oldest].used_at) oldest = i;
  }
  listings[oldest].dev = file->dev;
  listings[oldest].ino = file->ino;
  listings[oldest].used_at = listings_clock;
  listing_clear(&listings[oldest].listing, file);
  return &listings[oldest].listing;
}

static ssize_t copy_entries(struct listing *listing, off_t *position, char *buffer, size_t size) {
  size_t done = 0;
  struct dirent *entry;
  while ((entry = listing_at(listing, (size_t)*position)) != NULL) {
    if (done + entry->d_reclen > size) break;
    memcpy(buffer + done, entry, entry->d_reclen);
    done += entry->d_reclen;
    *position = entry->d_off;
  }
  if (done > 0) return (ssize_t)done;
  if (listing->problem) return kg_fail(listing->problem);
  return entry ? kg_fail(EINVAL) : 0;
}

static ssize_t read_entries(int fd, const struct kg_file *file, char *buffer, size_t size) {
  if (file->kind != KG_DIRECTORY) return kg_fail(ENOTDIR);
  off_t position = CALL(lseek)(fd, 0, SEEK_CUR);
  if (position < 0) return -1;
  pthread_mutex_lock(&streams_lock);
  ssize_t done = copy_entries(listing_of(file, position), &position, buffer, size);
  pthread_mutex_unlock(&streams_lock);
  if (done > 0) CALL(lseek)(fd, position, SEEK_SET);
  return done;
}

CAUGHT ssize_t getdents64(int fd, void *buffer, size_t size) {
  struct kg_file *file = ours(fd);
  if (!file) return CALL(getdents64)(fd, buffer, size);
  int64_t start = kg_begun();
  ssize_t done = read_entries(fd, file, buffer, size);
  kg_done("getdents64", file, 0, start);
  return done;
}

CAUGHT ssize_t getdirentries(int fd, char *buffer, size_t size, off_t *base) {
  struct kg_file *file = ours(fd);
  if (!file) return CALL(getdirentries)(fd, buffer, size, base);
  off_t position = CALL(lseek)(fd, 0, SEEK_CUR);
  ssize_t done = read_entries(fd, file, buffer, size);
  if (done >= 0) *base = position;
  return done;
}

CAUGHT ssize_t getdirentries64(int fd, char *buffer, size_t size, off64_t *base) {
  return getdirentries(fd, buffer, size, base);
}
