/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The message plane on a libuv loop: requests and replies over ZeroMQ, with deadlines, bounded
 * queues and prompt errors when a peer goes away. One thread (the loop's) unless said.
 *
 * On the wire a message is [hop id, 8 bytes][envelope][body]. A server is a ROUTER bound to one or
 * more endpoints, a client a DEALER connected to one. A request's deadline travels as what is left
 * of it (Request.timeout_ms).
 */
#pragma once

#include <uv.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/err.h"
#include "envelope.pb.h"

#define BUS_BODY_MAX           (64u << 20) /* bytes of one body */
#define BUS_TIMEOUT_DEFAULT_MS 10000u
#define BUS_PENDING_MAX        65536u /* requests under way of one client, and of one server */
#define BUS_PENDING_BYTES_MAX                                                                      \
    (256u << 20) /* of their bodies, in a server; one alone may have more */

struct bus;
/* A ZeroMQ context on the loop, which is the caller's. -errno. */
int bus_new(uv_loop_t *loop, struct bus **ret_bus);
struct bus *bus_free(struct bus *bus); /* after all servers and clients of it */

/* ---- server ---- */

struct bus_server;

/* A request being answered. The handler owns it until bus_req_reply() or bus_req_drop(). */
struct bus_req {
    struct bus_server *server;
    steppe_Request env;  /* no pointers inside */
    const uint8_t *body; /* valid as long as the request */
    size_t body_len;
    struct mono_ns deadline; /* arrival + timeout_ms */
    void *user;              /* the handler's */
    /* Called once if the request is finished by someone else: the server closes. May be NULL. */
    void (*on_abort)(struct bus_req *req);
};

typedef void bus_request_fn(void *user, struct bus_req *req);

/* Binds (ipc endpoints need a lock file held by the caller, see svc.h). -errno with a text. */
int bus_server_new(struct bus *bus, const char *endpoint, bus_request_fn *fn, void *user,
                   struct bus_server **ret, struct errtext *e);
int bus_server_bind(struct bus_server *s, const char *endpoint, struct errtext *e); /* one more */
struct bus_server *bus_server_free(struct bus_server *s);

/*
 * The body of req as a message; pb_release(fields, msg) is the caller's. false: it is none, the
 * peer has been told (400) and req is gone.
 */
bool bus_req_decode(struct bus_req *req, const pb_msgdesc_t *fields, void *msg, size_t msg_size);
/*
 * Sends the answer and frees req (unless rep->more: then req stays for the next part). 0, or why it
 * was not sent: -EHOSTUNREACH the peer is gone, -EAGAIN it does not read. Only who sends many parts
 * need care.
 */
int bus_req_reply(struct bus_req *req, const steppe_Reply *rep, const void *body, size_t len);
/* Same with a whole message as the body; 500 when that fits no body. *rep has code 0. */
void bus_req_answer(struct bus_req *req, const steppe_Reply *rep, const pb_msgdesc_t *fields,
                    const void *msg);
/* Same with an error: code as in Reply.code, formatted text. */
void bus_req_error(struct bus_req *req, unsigned code, bool retryable, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* Frees without an answer (one-way messages). */
void bus_req_drop(struct bus_req *req);

/* ---- client ---- */

struct bus_client;

/*
 * err 0: a reply (rep->more: called again). Otherwise rep is NULL and err says what happened:
 *   -ETIMEDOUT    no answer within timeout_ms (it may have been carried out)
 *   -ECONNRESET   the connection broke after it was sent (it may have been carried out)
 *   -ECONNREFUSED no connection: nothing was sent
 *   -ENOBUFS      the queue is full: nothing was sent
 *   -ECANCELED    bus_client_free()
 */
typedef void bus_reply_fn(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                          size_t len);

/* Connects in the background and for ever. */
int bus_client_new(struct bus *bus, const char *endpoint, struct bus_client **ret,
                   struct errtext *e);
struct bus_client *
bus_client_free(struct bus_client *c); /* calls what is pending with -ECANCELED */

/*
 * Sends; fn is called exactly once without `more` (never from within this call). env->timeout_ms 0
 * means BUS_TIMEOUT_DEFAULT_MS. A request made while there is no connection waits for one up to
 * connect_wait_ms (0: fails at once with -ECONNREFUSED). Returns an id for bus_client_cancel().
 */
uint64_t bus_client_call(struct bus_client *c, const steppe_Request *env, const void *body,
                         size_t len, unsigned connect_wait_ms, bus_reply_fn *fn, void *user);
/* Forgets the request: fn will not be called. */
void bus_client_cancel(struct bus_client *c, uint64_t id);
/* One-way: no reply is expected; dropped when there is no connection (returns -ECONNREFUSED). */
int bus_client_send(struct bus_client *c, const steppe_Request *env, const void *body, size_t len);

/* ---- publish / subscribe of "something changed, this is its version now" ---- */

struct bus_pub;
struct bus_sub;
typedef void bus_sub_fn(void *user, uint64_t version);

/* Binds, connects: -errno with a text. */
int bus_pub_new(struct bus *bus, const char *endpoint, struct bus_pub **ret, struct errtext *e);
/* Announces; the current version is repeated each second, so that a late or cut-off reader learns
 * it. */
void bus_pub_version(struct bus_pub *p, uint64_t version);
struct bus_pub *bus_pub_free(struct bus_pub *p);
/* fn is called for each announcement heard, repeats included. */
int bus_sub_new(struct bus *bus, const char *endpoint, bus_sub_fn *fn, void *user,
                struct bus_sub **ret, struct errtext *e);
struct bus_sub *bus_sub_free(struct bus_sub *s);

/* ---- calls from other threads ---- */

/*
 * A gate lets threads without a loop call through a client of the loop's thread and wait. The
 * caller blocks until the answer or the deadline. On 0, *ret_body (malloc'ed, may be NULL) and
 * *ret_len are the caller's.
 *
 * Equal calls (envelope and body byte for byte) may share one request. Joining one that is still to
 * be sent never shows a caller less than a request of its own; joining one on its way can show
 * what was true up to the gate's share_max_ms before the call.
 */
enum bus_share {
    BUS_SHARE_NOT,  /* writes, blocking queries */
    BUS_SHARE_NEXT, /* with those that are sent together with it: consistent reads */
    BUS_SHARE_ANY,  /* also with one that was sent already: stale reads */
};

struct bus_gate;
/* Takes the client over. */
struct bus_gate *bus_gate_new(struct bus *bus, struct bus_client *client, unsigned share_max_ms);
/* Wakes all callers with -ECANCELED, frees the client and waits until no caller is inside; later
 * calls fail at once. */
void bus_gate_close(struct bus_gate *g);
/* Closes, too. No call may be made after. */
struct bus_gate *bus_gate_free(struct bus_gate *g);
int bus_gate_call(struct bus_gate *g, const steppe_Request *env, const void *body, size_t len,
                  unsigned connect_wait_ms, enum bus_share share, steppe_Reply *ret_rep,
                  uint8_t **ret_body, size_t *ret_len);

/*
 * A call whose answer comes in parts, read by a thread without a loop. Its parts wait here until
 * they are read, up to BUS_STREAM_QUEUE_MAX bytes of memory (a part has more than 1 KiB beside its
 * data): keeping the sender below that is the business of who asks (credit).
 */
#define BUS_STREAM_QUEUE_MAX (4u << 20)
struct bus_stream;
/* Sends the request. Never NULL; a closed gate shows in bus_stream_next(). */
struct bus_stream *bus_stream_open(struct bus_gate *g, const steppe_Request *env, const void *body,
                                   size_t len, unsigned connect_wait_ms);
/* A descriptor that is readable while bus_stream_next() has something to say. */
int bus_stream_fd(const struct bus_stream *s);
/*
 * 1: a part (ret_rep->more) or the end; *ret_body as in bus_gate_call(). 0: nothing yet. Below 0 as
 * in bus_reply_fn, or -ENOBUFS when the parts were not read in time: the stream is over.
 */
int bus_stream_next(struct bus_stream *s, steppe_Reply *ret_rep, uint8_t **ret_body,
                    size_t *ret_len);
/* Forgets the request if it is not over. NULL is fine. Returns NULL. */
struct bus_stream *bus_stream_free(struct bus_stream *s);
/* One-way, as bus_client_send(), but without telling whether it was sent. */
void bus_gate_send(struct bus_gate *g, const steppe_Request *env, const void *body, size_t len);
