/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Requests to this node: over the connection that it keeps open to a server of its region, and from
 * this node's own gateway (RUN_DIR/clientd.sock). A request becomes a struct cstream that a handler
 * answers in parts. Everything runs on the loop's thread.
 */
#pragma once

#include "alloc_api.h"
#include "client.pb.h"
#include "clientd_fs_path.h"
#include "svc/svc.h"

#define CSTREAMS_MAX 512           /* under way at one time; beyond: 429 */
#define CPART_MAX    (48u * 1024)  /* bytes of data in a part; nanopb counts bytes in 16 bits */
#define CMESSAGE_MAX (3u << 20)    /* of an answer that is one message */
#define CPART_COST   256u          /* of a part beside its data, as the reader counts */
#define CWINDOW      (256u * 1024) /* cost that may be under way to a reader */

struct conn;

/* node_id and secret are borrowed; allocs too. */
int clientd_conn_new(struct svc_ctx *ctx, const char *node_id, const char *secret,
                     struct allocs *allocs, struct conn **ret, struct errtext *e);
/* The servers know the node now: no reason to wait with the next try. */
void clientd_conn_registered(struct conn *c);
/* Ends everything under way. */
struct conn *clientd_conn_free(struct conn *c);

/* A request that is being answered. */
struct cstream {
    struct conn *conn;
    steppe_ClientCall call; /* owned; texts may be NULL */
    bool canceled;          /* nobody wants the rest; what is sent is dropped */
    void *user;             /* the handler's */
    /* Room came, or it was canceled: then it ends the stream before it returns. A handler that does
     * not answer at once must set it. */
    void (*wake)(struct cstream *s);

    /* the connection's own */
    uint64_t number, seq, sent, consumed;
    bool local;
    struct bus_req *req; /* local: to be answered */
    int64_t heard_ns;
    struct cstream *prev, *next;
};

/* A full part may be sent now. Else wake() comes when it may. */
bool cstream_room(const struct cstream *s);
/* Sends a part; data may be NULL (a heartbeat). */
void cstream_send(struct cstream *s, const void *data, size_t len, const char *file, int64_t offset,
                  const char *file_event);
/* Sends the end and frees s: code 0, or a status with its text. */
void cstream_end(struct cstream *s, unsigned code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Sends a message, in as many parts as it takes, and the end. */
void cstream_end_msg(struct cstream *s, const pb_msgdesc_t *fields, const void *msg);
struct allocs *cstream_allocs(const struct cstream *s);
struct svc_ctx *cstream_ctx(const struct cstream *s);

/* ---- handlers: each takes the stream ---- */

typedef void cstream_handler(struct cstream *s);
cstream_handler clientd_fs_list, clientd_fs_stat, clientd_fs_read, clientd_fs_stream,
    clientd_fs_logs, clientd_host_stats, clientd_alloc_stats, clientd_alloc_restart,
    clientd_alloc_signal, clientd_alloc_gc, clientd_gc_all;

/* The allocation of the call; NULL: the stream has ended with an error. */
struct alloc *cstream_alloc(struct cstream *s);
