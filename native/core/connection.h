/*
 * Calls to the server. A process has a small pool of connections; a call takes one that is free and
 * has it alone. Lost connections are made again, and what was asked is asked again under its old
 * number, until the time is over. Private to native/core.
 *
 *   struct kg_call call;
 *   int problem = kg_call_begin(&call, KG_FOR_CALLS);
 *   if (problem == 0) problem = kg_call(&call, KG_STAT, values, KG_FOUND, reply);
 *   ... reply's text is in the connection's buffer until ...
 *   kg_call_end(&call);
 *
 * Signals are blocked from begin to end.
 */
#ifndef KANGAROO_CONNECTION_H
#define KANGAROO_CONNECTION_H

#include "process.h"
#include "wire.h"

enum kg_purpose { KG_FOR_CALLS, KG_FOR_GRANTS, KG_FOR_PUSHES };

struct kg_call {
  struct kg_process *process;
  struct kg_link *link;
  uint64_t signals;    /* what was blocked before */
  uint64_t outer;      /* the same, before any of our functions blocked more */
  int64_t deadline_ms; /* no longer than that */
  /* No deadline while the server is there: for answers that wait for room, or for a network. */
  bool patient;
  bool numbered;    /* the first field is the number of the request */
  int away;         /* what a destination that is away comes to at once; 0: ask again */
  int timeout_at;   /* the field that says how long we wait; -1: none */
  bool is_told;     /* a person was told that we wait */
  int64_t lost_ms;  /* since when there is no server; 0: there is one */
  int64_t heard_ms; /* when it was heard last */
  int64_t pinged_ms;
  /* Where the bytes of DATA at that offset of the file go, and how many may; NULL: nowhere. */
  uint8_t *(*sink)(void *context, uint64_t offset, uint32_t *room);
  void *context;
  const uint8_t *rest;     /* what is behind the fields of the answer, */
  const uint8_t *rest_end; /* up to there */
};

/* 0, or an errno value: then there is nothing to end. */
int kg_call_begin(struct kg_call *call, enum kg_purpose purpose);
int kg_call(struct kg_call *call, enum kg_message type, struct kg_value *values,
            enum kg_message answer, struct kg_value *reply);
void kg_call_end(struct kg_call *call);

/* Makes sure that there is a connection, waiting for a server as a call does. */
int kg_call_connect(struct kg_call *call);
/* Sends a frame that has no answer; nothing is said when it does not arrive. `dial` once if need
   be. Returns whether there is a connection. */
bool kg_call_connect_once(struct kg_call *call);
void kg_call_tell(struct kg_call *call, enum kg_message type);

/* dial.c: connects and greets. 0; -1: try again later; else an errno value for good. */
int kg_dial(struct kg_call *call);
/* Closes it; no more is taken of its grants. */
void kg_link_close(struct kg_process *process, struct kg_link *link);

/* frames.c: frames over the call's link. Each returns 0, an errno value, or KG_LOST. */
#define KG_LOST (-1)
int kg_send(struct kg_call *call, enum kg_message type, uint32_t call_id,
            const struct kg_value *values);
/* The next frame that belongs to `call_id`; its body is [*body, *body + prefix->body_bytes). */
int kg_receive(struct kg_call *call, uint32_t call_id, struct kg_prefix *prefix,
               const uint8_t **body);

#endif
