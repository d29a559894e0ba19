/*
 * Places in segments: see places.h.
 *
 * A segment is opened for each read: that costs little beside what is read at a time, and a
 * descriptor that was kept would keep the disk of a removed segment. Under the lock places are
 * copied out of the table and the segment is opened; the reading is done without it.
 */
#include "places.h"

#include "connection.h"
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* The server looks no further than ASK_MAX. */
#define ASK_MIN (1u << 20)
#define ASK_MAX (64u << 20)
#define QUIET_MIN_MS 10
#define QUIET_MAX_MS 1000
#define LOCK_MS 100
#define INODE_BITS ((1ull << 52) - 1)

/* Pieces behind one another in one segment, or of zeros, copied out of the table. */
#define RUN_PIECES 16
struct run {
  uint64_t incarnation;
  int64_t until_ms;
  uint32_t count;
  int fd; /* of the segment; -1: there is none, or it cannot be opened */
  bool has_file;
  struct {
    uint64_t at, bytes;
    bool is_zeros;
  } pieces[RUN_PIECES];
};

/* False: somebody has it for too long; then it is done without. */
static bool lock(struct kg_process *process) {
  uint32_t mine = (uint32_t)kg_pid(), holder = 0;
  for (int tries = 0; !atomic_compare_exchange_strong(&process->placing, &holder, mine); tries++) {
    if (tries == LOCK_MS) {
      /* A vfork child that was killed with it. */
      bool is_dead = holder != mine && holder != 0 && !kg_is_alive((int)holder);
      return is_dead && atomic_compare_exchange_strong(&process->placing, &holder, mine);
    }
    if (holder != 0) kg_futex_wait(&process->placing, holder, 1);
    holder = 0;
  }
  return true;
}

static void unlock(struct kg_process *process) { atomic_store(&process->placing, 0); }

static bool is_of(const struct kg_places *places, const struct kg_range *range) {
  return places->slot == range->ref.slot && places->generation == range->ref.generation &&
         places->board == (uintptr_t)range->board && places->board != 0;
}

static struct kg_places *places_of(const struct kg_range *range) {
  return &range->process->places[range->ref.slot % KG_PLACES_FILES];
}

static uint64_t incarnation_of(const struct kg_range *range) {
  return atomic_load(&range->board->header->incarnation);
}

/* The piece with the byte at `offset`; NULL: none. */
static const struct kg_place_piece *piece_at(const struct kg_places *places, uint64_t offset) {
  uint32_t low = 0, high = places->count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    const struct kg_place_piece *piece = &places->pieces[middle];
    if (offset < piece->offset)
      high = middle;
    else if (offset >= piece->offset + piece->bytes)
      low = middle + 1;
    else
      return piece;
  }
  return NULL;
}

static const struct kg_segment_file *segment_of(const struct kg_process *process, uint64_t number) {
  for (unsigned i = 0; i < KG_PLACES_SEGMENTS; i++)
    if (process->segments[i].number == number) return &process->segments[i];
  return NULL;
}

/* A descriptor of the file, if it is still that one; or the errno, negative. */
static int open_segment(const struct kg_segment_file *file) {
  struct stat facts;
  int fd = kg_file_open(file->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
  if (fd < 0) return fd;
  bool is_it = KG_KERNEL2(SYS_fstat, fd, &facts) == 0 && S_ISREG(facts.st_mode) &&
               facts.st_uid == (uid_t)KG_KERNEL0(SYS_geteuid) &&
               ((uint64_t)facts.st_ino & INODE_BITS) == file->ino;
  if (is_it) return fd;
  kg_close(fd);
  return -ENOENT;
}

/* Copies the pieces from `offset` on. False: the path of their segment was driven out. */
static bool copy_run(const struct kg_process *process, const struct kg_places *places,
                     const struct kg_place_piece *piece, uint64_t offset, struct run *run) {
  const struct kg_place_piece *end = places->pieces + places->count;
  uint64_t segment = 0, into = offset - piece->offset;
  run->count = 0;
  for (; piece < end && run->count < RUN_PIECES; piece++, into = 0) {
    if (piece->segment != 0 && segment != 0 && piece->segment != segment) break;
    if (piece->segment != 0) segment = piece->segment;
    run->pieces[run->count].at = piece->at + into;
    run->pieces[run->count].bytes = piece->bytes - into;
    run->pieces[run->count++].is_zeros = piece->segment == 0;
  }
  run->has_file = segment != 0;
  const struct kg_segment_file *file = segment == 0 ? NULL : segment_of(process, segment);
  if (segment != 0 && file == NULL) return false;
  run->fd = file == NULL ? -1 : open_segment(file);
  run->incarnation = places->incarnation;
  run->until_ms = places->until_ms;
  return true;
}

enum answer { NOWHERE, UNKNOWN, KNOWN };

/* What the table says of the byte at `offset`. NOWHERE: it is no use to ask now. */
static enum answer look(const struct kg_range *range, uint64_t offset, struct run *run) {
  struct kg_places *places = places_of(range);
  if (!is_of(places, range)) return UNKNOWN;
  int64_t now = kg_now_ms();
  bool is_good = places->version == atomic_load(&range->slot->version) && now < places->until_ms &&
                 places->incarnation == incarnation_of(range);
  const struct kg_place_piece *piece = is_good ? piece_at(places, offset) : NULL;
  if (piece == NULL) return now < atomic_load(&places->quiet_ms) ? NOWHERE : UNKNOWN;
  if (!copy_run(range->process, places, piece, offset, run)) return UNKNOWN;
  places->quiet_for_ms = 0;
  return KNOWN;
}

/* Takes over one row of an answer. False: there is no room for it, or it is no row. */
static bool add_row(struct kg_process *process, struct kg_places *places,
                    const struct kg_value row[6]) {
  if (places->count == KG_PLACES_PIECES || row[0].number != places->end) return false;
  uint64_t segment = row[2].number;
  if (row[5].count > 0) {
    const char *path = row[5].bytes;
    if (row[5].count > KG_PATH_MAX || path[0] != '/' || segment == 0) return false;
    struct kg_segment_file *file = (struct kg_segment_file *)segment_of(process, segment);
    if (file == NULL) file = &process->segments[process->next_segment++ % KG_PLACES_SEGMENTS];
    file->number = segment;
    file->ino = row[4].number;
    memcpy(file->path, path, row[5].count);
    file->path[row[5].count] = '\0';
  }
  places->pieces[places->count++] = (struct kg_place_piece){
      .offset = row[0].number, .at = row[3].number, .segment = segment, .bytes = row[1].number};
  places->end += row[1].number;
  return row[1].number > 0;
}

struct question {
  uint64_t from, bytes;
  uint64_t version, incarnation;
  int64_t asked_ms;
};

/* An answer into the table; with the lock. */
static void note(const struct kg_range *range, const struct question *question,
                 const struct kg_call *call, const struct kg_value *said) {
  struct kg_places *places = places_of(range);
  const uint8_t *at = call->rest;
  uint64_t named = range->process->next_segment;
  struct kg_value row[6];
  if (!is_of(places, range)) places->quiet_for_ms = 0;
  places->slot = range->ref.slot;
  places->generation = range->ref.generation;
  places->board = (uintptr_t)range->board;
  places->version = question->version;
  places->incarnation = question->incarnation;
  places->until_ms = question->asked_ms + (int64_t)said[1].number / 2;
  places->ask_bytes = question->bytes;
  places->end = question->from;
  places->count = 0;
  for (uint64_t i = 0; i < said[2].number; i++) {
    if (kg_decode(KG_PLACES_ROW, &at, call->rest_end, row) != 0) break;
    /* Those of this answer must not drive each other out. */
    if (range->process->next_segment - named == KG_PLACES_SEGMENTS) break;
    if (!add_row(range->process, places, row)) break;
  }
}

/* How far to ask: further each time, as long as nobody writes into the file. */
static void make_question(const struct kg_range *range, uint64_t offset, size_t count,
                          struct question *question) {
  const struct kg_places *places = places_of(range);
  question->version = atomic_load(&range->slot->version);
  question->incarnation = incarnation_of(range);
  question->asked_ms = kg_now_ms();
  uint64_t bytes = ASK_MIN;
  bool goes_on = is_of(places, range) && places->version == question->version;
  if (goes_on && places->ask_bytes >= ASK_MIN) bytes = places->ask_bytes * 8;
  while (bytes < count) bytes *= 2;
  question->bytes = bytes < ASK_MAX ? bytes : ASK_MAX;
  bool in_order = goes_on && offset == places->end;
  question->from = in_order ? offset : offset - offset % question->bytes;
}

/* Asks the server, without the lock, and notes what it says. An answer that does not reach as far
   as `offset` is one about nothing. */
static int ask(const struct kg_range *range, uint64_t signals, struct question *question) {
  struct kg_place place;
  int problem = kg_place_of(range->ref, &place);
  if (problem != 0) return problem;
  struct kg_value values[] = {KG_B(place.name, strlen(place.name)),
                              KG_B(place.path, strlen(place.path)), KG_N(question->from),
                              KG_N(question->bytes)};
  struct kg_value said[3];
  struct kg_call call;
  problem = kg_call_begin(&call, KG_FOR_CALLS);
  if (problem != 0) return problem;
  call.outer = signals;
  problem = kg_call(&call, KG_LOCATE, values, KG_PLACES, said);
  if (problem == 0 && lock(range->process)) {
    note(range, question, &call, said);
    unlock(range->process);
  }
  kg_call_end(&call);
  return problem;
}

/* Nothing came of it: GETs do for a while, for a longer one each time. */
static void be_quiet(const struct kg_range *range) {
  if (!lock(range->process)) return;
  struct kg_places *places = places_of(range);
  uint32_t quiet = places->quiet_for_ms * 2;
  if (quiet < QUIET_MIN_MS) quiet = QUIET_MIN_MS;
  if (quiet > QUIET_MAX_MS) quiet = QUIET_MAX_MS;
  places->quiet_for_ms = quiet;
  atomic_store(&places->quiet_ms, kg_now_ms() + quiet);
  places->count = 0;
  unlock(range->process);
}

/* Asks about `offset` until there is something known of it, or it is known that there is not. */
static bool find(const struct kg_range *range, uint64_t signals, uint64_t offset, size_t count,
                 struct run *run) {
  struct kg_process *process = range->process;
  struct question question;
  if (!lock(process)) return false;
  enum answer answer = look(range, offset, run);
  if (answer == UNKNOWN) make_question(range, offset, count, &question);
  unlock(process);
  for (int tries = 0; answer == UNKNOWN && tries < 2; tries++) {
    if (ask(range, signals, &question) != 0 || !lock(process)) return false;
    answer = look(range, offset, run);
    unlock(process);
    if (question.from == offset) break;
    /* Those before it may be elsewhere, or too many. */
    question.from = offset;
  }
  if (answer == UNKNOWN) be_quiet(range);
  return answer == KNOWN;
}

/* All of [at, at + count) or less. */
static size_t read_piece(int fd, uint8_t *bytes, size_t count, uint64_t at) {
  size_t done = 0;
  while (done < count) {
    long got = kg_file_pread(fd, bytes + done, count - done, at + done);
    if (got == -EINTR) continue;
    if (got <= 0) break;
    done += (size_t)got;
  }
  return done;
}

static size_t read_run(const struct run *run, uint8_t *bytes, size_t count) {
  size_t done = 0;
  if (run->has_file && run->fd < 0) return 0;
  for (uint32_t i = 0; i < run->count && done < count; i++) {
    size_t part = count - done;
    if (part > run->pieces[i].bytes) part = run->pieces[i].bytes;
    size_t got = part;
    if (!run->pieces[i].is_zeros)
      got = read_piece(run->fd, bytes + done, part, run->pieces[i].at);
    else
      memset(bytes + done, 0, part);
    done += got;
    if (got < part) break;
  }
  if (run->fd >= 0) kg_close(run->fd);
  return done;
}

bool kg_places_may(const struct kg_range *range) {
  const struct kg_places *places = places_of(range);
  return !is_of(places, range) || atomic_load(&places->quiet_ms) <= kg_now_ms();
}

size_t kg_places_read(const struct kg_range *range, uint64_t offset, void *bytes, size_t count) {
  struct run run;
  uint64_t signals = kg_signals_block();
  size_t got = 0;
  if (find(range, signals, offset, count, &run)) {
    got = read_run(&run, bytes, count);
    /* After a lease somebody may have punched them out, under our hands. */
    if (kg_now_ms() >= run.until_ms || incarnation_of(range) != run.incarnation) got = 0;
    if (got == 0) be_quiet(range);
  }
  kg_signals_restore(signals);
  return got;
}
