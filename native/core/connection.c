/*
 * The pool of connections, and the call that outlives a lost one: see connection.h.
 *
 * The state of a connection: free (user 0) or taken; closed (fd -1) or open; the owner's or, after
 * a vfork, somebody else's. A vfork child never takes an open one of its parent; the parent takes
 * back what a child left, without closing the number, which is not the child's any more.
 */
#include "connection.h"

#include "core.h"
#include "failure.h"
#include "fate.h"
#include "grant.h"
#include "kernel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static const struct {
  unsigned from, to;
} places[] = {
    [KG_FOR_CALLS] = {1, KG_LINK_PUSH},
    [KG_FOR_GRANTS] = {KG_LINK_GRANT, KG_LINK_GRANT + 1},
    [KG_FOR_PUSHES] = {KG_LINK_PUSH, KG_LINKS},
};

static void make_new(struct kg_link *link, int pid) {
  link->owner = pid;
  link->fd = -1;
  link->seq = link->answered = 0;
  link->begin = link->end = 0;
  kg_random(link->sender, sizeof link->sender);
}

/* Is the number still the socket we opened? A program may have closed it behind our back. */
static bool is_intact(const struct kg_link *link) {
  struct stat facts;
  if (KG_KERNEL2(SYS_fstat, link->fd, &facts) != 0) return false;
  return S_ISSOCK(facts.st_mode) && (uint64_t)facts.st_ino == link->socket;
}

/* Takes one that is free, an open one if there is. */
static struct kg_link *take_link(struct kg_process *process, enum kg_purpose purpose, int pid) {
  for (int pass = 0; pass < 3; pass++) {
    for (unsigned i = places[purpose].from; i < places[purpose].to; i++) {
      struct kg_link *link = &process->links[i];
      int user = atomic_load(&link->user);
      bool is_mine = link->owner == pid && link->fd >= 0;
      if (pass == 0 && (user != 0 || !is_mine)) continue;
      if (pass == 1 && user != 0) continue;
      if (pass == 2 && (user == 0 || user == pid || kg_is_alive(user))) continue;
      bool is_hosts = link->owner == process->pid && link->fd >= 0;
      if (is_hosts && pid != process->pid) continue;
      if (!atomic_compare_exchange_strong(&link->user, &user, pid)) continue;
      if (link->owner != pid || pass == 2)
        make_new(link, pid);
      else if (link->fd >= 0 && !is_intact(link))
        make_new(link, pid);
      link->buffer = kg_link_memory(i);
      return link;
    }
  }
  return NULL;
}

int kg_call_begin(struct kg_call *call, enum kg_purpose purpose) {
  *call = (struct kg_call){.timeout_at = -1, .signals = kg_signals_block()};
  call->outer = call->signals;
  call->process = kg_process();
  call->deadline_ms = kg_now_ms() + kg_settings.timeout_ms;
  int pid = kg_pid();
  if (pid != call->process->pid && !kg_is_guest(call->process)) pid = call->process->pid;
  if (pid != call->process->pid && purpose == KG_FOR_GRANTS) purpose = KG_FOR_CALLS;
  for (;;) {
    uint32_t freed = atomic_load(&call->process->freed);
    call->link = take_link(call->process, purpose, pid);
    if (call->link != NULL) break;
    kg_futex_wait(&call->process->freed, freed, 50);
    kg_signals_yield(call->outer);
  }
  if (call->link->buffer != NULL) return 0;
  kg_call_end(call);
  return ENOMEM;
}

void kg_call_end(struct kg_call *call) {
  atomic_store(&call->link->user, 0);
  atomic_fetch_add(&call->process->freed, 1);
  /* Whoever waits for a connection looks again by itself soon; a wake is a call of the kernel. */
  kg_signals_restore(call->signals);
}

static bool has_hung_up(int fd) {
  struct pollfd one = {.fd = fd, .events = POLLRDHUP};
  struct timespec no_time = {0};
  return KG_KERNEL6(SYS_ppoll, &one, 1, &no_time, 0, 0, 0) > 0 &&
         (one.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

void kg_link_close(struct kg_process *process, struct kg_link *link) {
  if (link->fd < 0) return;
  bool may_close = is_intact(link), has_grants = link == &process->links[KG_LINK_GRANT];
  if (has_grants) {
    /* Its end would give back what is being filled: while the server is there it is left open. */
    kg_grant_drop(process);
    may_close = may_close && has_hung_up(link->fd);
  }
  if (may_close) kg_close_private(link->fd);
  /* Who came again under the same id would end what was left open. */
  else if (has_grants)
    make_new(link, link->owner);
  link->fd = -1;
  link->begin = link->end = 0;
}

/* A process that ends. What is in use by other threads ends with them; the connection of the grants
   is not closed here, since one of them may still be filling a piece. */
void kg_farewell(void) {
  struct kg_process *process = kg_process();
  int pid = kg_pid();
  uint64_t signals = kg_signals_block();
  for (unsigned i = 0; i < KG_LINKS && pid == process->pid; i++) {
    struct kg_link *link = &process->links[i];
    int user = 0;
    uint8_t bye[KG_PREFIX_BYTES];
    if (link->owner != pid || link->fd < 0) continue;
    if (!atomic_compare_exchange_strong(&link->user, &user, pid)) continue;
    if (link->owner == pid && link->fd >= 0 && is_intact(link) && !kg_is_dirty()) {
      size_t bytes = kg_encode(bye, sizeof bye, KG_BYE, 0, NULL);
      KG_KERNEL6(SYS_sendto, link->fd, bye, bytes, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
      if (i != KG_LINK_GRANT) {
        kg_close_private(link->fd);
        make_new(link, pid);
      }
    }
    atomic_store(&link->user, 0);
  }
  kg_signals_restore(signals);
}

static void tell_waiting(struct kg_call *call) {
  if (call->is_told || kg_now_ms() - call->lost_ms < 10000) return;
  call->is_told = true;
  char text[600];
  const char *server = kg_settings.server;
  kg_fate_tell(kg_fate_words(text, sizeof text, "waiting for the server at ", server, NULL));
}

int kg_call_connect(struct kg_call *call) {
  int64_t pause_ms = 20;
  while (call->link->fd < 0) {
    int problem = kg_dial(call);
    int64_t now = kg_now_ms();
    if (problem == 0) break;
    if (problem != KG_LOST) return problem;
    if (call->lost_ms == 0) call->lost_ms = now;
    int64_t until = call->patient ? call->lost_ms + kg_settings.timeout_ms : call->deadline_ms;
    if (now >= until) return ETIMEDOUT;
    tell_waiting(call);
    kg_signals_yield(call->outer);
    kg_sleep_ms(pause_ms < until - now ? pause_ms : until - now);
    if (pause_ms < 1000) pause_ms *= 2;
  }
  call->lost_ms = 0;
  return 0;
}

bool kg_call_connect_once(struct kg_call *call) {
  return call->link->fd >= 0 || kg_dial(call) == 0;
}

void kg_call_tell(struct kg_call *call, enum kg_message type) {
  if (kg_send(call, type, 0, NULL) != 0) kg_link_close(call->process, call->link);
}

/* What an ERROR frame says: 0 to ask again, else the errno. */
static int refused(struct kg_call *call, const uint8_t *body, uint32_t bytes, bool of_call) {
  struct kg_value said[3];
  const uint8_t *at = body;
  if (kg_decode(kg_fields(KG_ERROR), &at, body + bytes, said) != 0 || !of_call) return KG_LOST;
  bool again;
  int problem = kg_failure(said[0].bytes, said[0].count, said[1].bytes, said[1].count, &again);
  bool is_away = said[0].count == 7 && memcmp(said[0].bytes, "NOT_YET", 7) == 0;
  if (is_away && call->away != 0) return call->away;
  if (again) return 0;
  if (problem == EHOSTUNREACH && call->numbered) {
    char reason[400];
    size_t length = said[1].count < sizeof reason ? said[1].count : sizeof reason - 1;
    memcpy(reason, said[1].bytes, length);
    reason[length] = '\0';
    kg_fate_never(reason, problem);
  }
  return problem;
}

/* One exchange over a connection that is there. */
static int exchange(struct kg_call *call, enum kg_message type, struct kg_value *values,
                    enum kg_message answer, struct kg_value *reply) {
  struct kg_link *link = call->link;
  if (call->timeout_at >= 0) {
    int64_t left = call->deadline_ms - kg_now_ms();
    values[call->timeout_at].number = call->patient ? UINT32_MAX : left < 1 ? 1 : (uint64_t)left;
    if (!call->patient && left >= UINT32_MAX) values[call->timeout_at].number = UINT32_MAX - 1;
  }
  call->heard_ms = kg_now_ms();
  link->call_id = link->call_id % INT32_MAX + 1;
  uint32_t call_id = link->call_id;
  int problem = kg_send(call, type, call_id, values);
  while (problem == 0) {
    struct kg_prefix prefix;
    const uint8_t *body;
    problem = kg_receive(call, call_id, &prefix, &body);
    if (problem != 0) break;
    call->rest_end = body + prefix.body_bytes;
    if (prefix.type == KG_PROGRESS) continue;
    if (prefix.type == KG_ERROR) {
      problem = refused(call, body, prefix.body_bytes, prefix.call_id == call_id);
      return problem == 0 ? EAGAIN : problem;
    }
    call->rest = body;
    if (prefix.type != answer) return KG_LOST;
    if (kg_decode(kg_fields((uint8_t)answer), &call->rest, call->rest_end, reply) != 0)
      return KG_LOST;
    return 0;
  }
  /* An answer that comes too late would be taken for another's. */
  kg_link_close(call->process, link);
  return problem;
}

int kg_call(struct kg_call *call, enum kg_message type, struct kg_value *values,
            enum kg_message answer, struct kg_value *reply) {
  struct kg_link *link = call->link;
  int64_t pause_ms = 50;
  if (call->numbered) values[0].number = ++link->seq;
  for (;;) {
    int problem = kg_call_connect(call);
    if (problem != 0) return problem;
    problem = exchange(call, type, values, answer, reply);
    if (problem == 0 || (problem != KG_LOST && problem != EAGAIN)) {
      if (call->numbered && link->fd >= 0) link->answered = link->seq;
      return problem;
    }
    int64_t now = kg_now_ms();
    if (problem == KG_LOST)
      kg_link_close(call->process, link);
    else
      call->lost_ms = call->lost_ms == 0 ? now : call->lost_ms;
    int64_t until = call->patient ? call->lost_ms + kg_settings.timeout_ms : call->deadline_ms;
    if (problem == EAGAIN) {
      if (now >= until) return ETIMEDOUT;
      kg_signals_yield(call->outer);
      kg_sleep_ms(pause_ms < until - now ? pause_ms : until - now);
      if (pause_ms < 1000) pause_ms *= 2;
    }
  }
}
