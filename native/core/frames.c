/*
 * Frames on a connection: sent whole, received one at a time, DATA straight to where it belongs.
 *
 * All waiting is here: in slices, so that signals that end the process do end it, with PINGs while
 * an answer may take for ever, and with a deadline otherwise.
 */
#include "connection.h"
#include "crc32c.h"
#include "kernel.h"
#include "core.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define RECEIVE_BYTES (KG_LINK_BYTES - (16u << 10))
#define SEND_BYTES (16u << 10)
#define SLICE_MS 200
#define PING_EVERY_MS 10000
/* The server knows the deadline too; its own words about it are worth waiting for. */
#define GRACE_MS 500

static int send_all(struct kg_call *call, const uint8_t *bytes, size_t count);

/* Waits for `events`, or for the end of patience. */
static int wait_for(struct kg_call *call, short events) {
  struct kg_link *link = call->link;
  int64_t now = kg_now_ms();
  for (;;) {
    int64_t left = call->deadline_ms + GRACE_MS - now;
    if (!call->patient && left <= 0) return ETIMEDOUT;
    int64_t slice = call->patient || left > SLICE_MS ? SLICE_MS : left;
    struct pollfd one = {.fd = link->fd, .events = events};
    struct timespec span = {.tv_nsec = slice * 1000000};
    long ready = KG_KERNEL6(SYS_ppoll, &one, 1, &span, 0, 0, 0);
    if (ready > 0) return 0;
    kg_signals_yield(call->outer);
    now = kg_now_ms();
    if (!call->patient || events != POLLIN) continue;
    int64_t limit =
        kg_settings.timeout_ms > 2 * PING_EVERY_MS ? kg_settings.timeout_ms : 2 * PING_EVERY_MS;
    if (now - call->heard_ms > limit) return KG_LOST;
    if (now - call->heard_ms > PING_EVERY_MS && now - call->pinged_ms > PING_EVERY_MS) {
      uint8_t ping[KG_PREFIX_BYTES];
      call->pinged_ms = now;
      int problem = send_all(call, ping, kg_encode(ping, sizeof ping, KG_PING, 0, NULL));
      if (problem != 0) return problem;
    }
  }
}

static int send_all(struct kg_call *call, const uint8_t *bytes, size_t count) {
  while (count > 0) {
    long sent =
        KG_KERNEL6(SYS_sendto, call->link->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
    if (sent == -EAGAIN) {
      int problem = wait_for(call, POLLOUT);
      if (problem != 0) return problem;
      continue;
    }
    if (sent == -EINTR) continue;
    if (sent <= 0) return KG_LOST;
    bytes += sent;
    count -= (size_t)sent;
  }
  return 0;
}

int kg_send(struct kg_call *call, enum kg_message type, uint32_t call_id,
            const struct kg_value *values) {
  uint8_t *out = call->link->buffer + RECEIVE_BYTES;
  size_t bytes = kg_encode(out, SEND_BYTES, (uint8_t)type, call_id, values);
  if (bytes == 0) return ENAMETOOLONG;
  return send_all(call, out, bytes);
}

/* Receives at least one byte into [at, at + room). */
static int receive_some(struct kg_call *call, uint8_t *at, size_t room, size_t *got) {
  for (;;) {
    long count = KG_KERNEL6(SYS_recvfrom, call->link->fd, at, room, MSG_DONTWAIT, 0, 0);
    if (count > 0) {
      if (call->patient) call->heard_ms = kg_now_ms();
      *got = (size_t)count;
      return 0;
    }
    if (count == -EINTR) continue;
    if (count == -EFAULT) return EFAULT;
    if (count != -EAGAIN) return KG_LOST;
    int problem = wait_for(call, POLLIN);
    if (problem != 0) return problem;
  }
}

/* Has at least `need` bytes in the buffer. */
static int fill(struct kg_call *call, size_t need) {
  struct kg_link *link = call->link;
  if (need > RECEIVE_BYTES) return KG_LOST;
  if (link->begin == link->end) link->begin = link->end = 0;
  if (link->begin + need > RECEIVE_BYTES) {
    memmove(link->buffer, link->buffer + link->begin, link->end - link->begin);
    link->end -= link->begin;
    link->begin = 0;
  }
  while (link->end - link->begin < need) {
    size_t got;
    int problem = receive_some(call, link->buffer + link->end, RECEIVE_BYTES - link->end, &got);
    if (problem != 0) return problem;
    link->end += (uint32_t)got;
  }
  return 0;
}

/* Takes `count` bytes to `to`, or drops them when that is NULL. */
static int take(struct kg_call *call, uint8_t *to, uint32_t count, uint32_t *crc) {
  struct kg_link *link = call->link;
  while (count > 0) {
    uint32_t part = link->end - link->begin;
    const uint8_t *from = link->buffer + link->begin;
    if (part > 0) {
      if (part > count) part = count;
      if (to != NULL) memcpy(to, from, part);
      link->begin += part;
    } else if (to != NULL && count >= 4096) {
      size_t got;
      int problem = receive_some(call, to, count, &got);
      if (problem != 0) return problem;
      part = (uint32_t)got;
      from = to;
    } else {
      int problem = fill(call, 1);
      if (problem != 0) return problem;
      continue;
    }
    *crc = kg_crc32c(*crc, from, part);
    if (to != NULL) to += part;
    count -= part;
  }
  return 0;
}

/* The body of a DATA frame, to where the sink says. */
static int receive_data(struct kg_call *call, const struct kg_prefix *prefix) {
  struct kg_link *link = call->link;
  int problem = fill(call, 12);
  if (problem != 0) return problem;
  const uint8_t *at = link->buffer + link->begin;
  uint64_t offset = kg_u32_at(at) | (uint64_t)kg_u32_at(at + 4) << 32;
  uint32_t count = kg_u32_at(at + 8);
  uint32_t crc = kg_crc32c(0, at, 12);
  if (prefix->body_bytes < 12 || count > prefix->body_bytes - 12) return KG_LOST;
  link->begin += 12;
  uint32_t rest = prefix->body_bytes - 12 - count;
  while (count > 0 && problem == 0) {
    uint32_t room = count;
    uint8_t *to = call->sink(call->context, offset, &room);
    if (room > count || room == 0) room = count;
    problem = take(call, to, room, &crc);
    offset += room;
    count -= room;
  }
  if (problem == 0) problem = take(call, NULL, rest, &crc);
  if (problem == 0 && crc != prefix->body_crc) return KG_LOST;
  return problem;
}

int kg_receive(struct kg_call *call, uint32_t call_id, struct kg_prefix *prefix,
               const uint8_t **body) {
  struct kg_link *link = call->link;
  for (;;) {
    int problem = fill(call, KG_PREFIX_BYTES);
    if (problem != 0) return problem;
    if (kg_decode_prefix(link->buffer + link->begin, prefix) != 0) return KG_LOST;
    if (prefix->type == KG_DATA && prefix->call_id == call_id && call->sink != NULL) {
      link->begin += KG_PREFIX_BYTES;
      problem = receive_data(call, prefix);
      if (problem != 0) return problem;
      continue;
    }
    problem = fill(call, KG_PREFIX_BYTES + prefix->body_bytes);
    if (problem != 0) return problem;
    *body = link->buffer + link->begin + KG_PREFIX_BYTES;
    link->begin += KG_PREFIX_BYTES + prefix->body_bytes;
    if (kg_crc32c(0, *body, prefix->body_bytes) != prefix->body_crc) return KG_LOST;
    if (prefix->type == KG_PING) {
      uint8_t pong[KG_PREFIX_BYTES];
      problem = send_all(call, pong, kg_encode(pong, sizeof pong, KG_PONG, 0, NULL));
      if (problem != 0) return problem;
    } else if (prefix->call_id == call_id || (prefix->type == KG_ERROR && prefix->call_id == 0)) {
      return 0;
    }
  }
}
