/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The HTTP gateway. civetweb's threads run the handlers; a handler calls through the gate (one
 * connection of the loop's thread to routerd, another to the own raftd for writes while that leads)
 * and waits, or, for a stale read of the own region, reads the state of this node's raftd itself.
 * What is in which file:
 *
 *     apid_shell.c    start, stop, civetweb's callbacks
 *     apid_http.c     one request: path, parameters, body; one answer: headers, compression
 *     apid_route.c    the route table and what is the same for all routes
 *     apid_call.c     RPC calls, local reads, errors -> status codes
 *     apid_cache.c    JSON of a body that was rendered before
 *     apid_stream.c   answers in parts: of node clients, to slow readers
 *     apid_client.c   /v1/client/...: files, logs, statistics, restart, signal
 *     apid_jobs.c, apid_nodes.c, apid_allocs.c, apid_agent.c, apid_metrics.c    handlers
 */
#pragma once

#include <civetweb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/strbuf.h"
#include "bus/bus.h"
#include "client.pb.h"
#include "json/json.h"
#include "rpc/rpc_methods.h"
#include "state/state_status.h"
#include "state/store.h"
#include "svc/svc.h"

#define APID_PARAMS_MAX  64
#define APID_PATH_MAX    8192
#define APID_CALL_MS     30000u /* an RPC without a wait of its own */
#define APID_WAIT_MAX_MS 300000u
#define APID_DIAL_MS     8000u                   /* routerd may be restarting */
#define APID_SHARE_MS    1000u                   /* a stale read joins one sent up to so long ago */
#define APID_NEVER_MS    UINT64_C(9223372036000) /* a last contact this old never was */

struct apid_cache;
struct apid_limits;

struct apid {
    struct svc_ctx *ctx;
    struct bus_gate *gate; /* to routerd */
    struct bus_gate
        *raftd; /* to this node's raftd, for writes while that leads; NULL on a client */
    struct bus_gate *client_gate; /* to this node's own clientd; NULL when there is none */
    atomic_bool stopping;
    atomic_int large_bodies; /* requests that hold one */
    struct mg_context *http;
    struct state_status_reader *status; /* NULL on a pure client node */
    pthread_rwlock_t store_lock;
    struct store *store; /* this node's state, read-only; NULL until it is there */
    uint64_t store_generation;
    atomic_llong store_retry_ns; /* CLOCK_MONOTONIC: not opened again before */
    struct apid_cache *cache;
    struct apid_limits *limits;
    char start_error[ERRTEXT_MAX]; /* what civetweb said first, when it did not start */
    atomic_ullong requests, request_ns, local_reads, cache_hits, errors;
};

/* ---- apid_http.c ---- */

enum apid_method { APID_GET = 1, APID_PUT = 2, APID_POST = 4, APID_DELETE = 8, APID_OTHER = 16 };

struct apid_param {
    char *key, *value;
};

struct apid_req {
    struct apid *a;
    struct mg_connection *conn;
    const struct mg_request_info *info;
    enum apid_method method;
    char *path; /* decoded */
    struct apid_param params[APID_PARAMS_MAX];
    size_t params_n;
    struct strbuf body; /* of the request, when a handler asked for it */
    bool large_body;    /* it counts */
    char *arena;        /* decoded parameters */

    /* the answer */
    int status; /* 200 unless set */
    struct strbuf out;
    const char *content_type; /* NULL: JSON for 200, text for errors */
    const char *location;
    bool meta;       /* send the three X-Nomad headers */
    bool index_only; /* ... only X-Nomad-Index */
    bool close;
    bool streamed;         /* the answer was sent as it came: nothing is left to send */
    struct strbuf headers; /* more lines for the answer's head, each with its end */
    steppe_Reply reply;    /* of the call: what the headers say */
};

/* Takes the request apart. False: the answer is set already. */
bool apid_req_parse(struct apid_req *r);
void apid_req_fini(struct apid_req *r);
/* Value of a query parameter, NULL when it is not there. */
const char *apid_param(const struct apid_req *r, const char *key);
/* Go's ParseBool on a parameter; false when it is not there. A bad one sets the error answer and
 * *ret_bad. */
bool apid_param_bool(struct apid_req *r, const char *key, bool *ret_bad);
bool apid_pretty(const struct apid_req *r);
/* Reads the body up to the limit. False: the answer is set. required: an empty one is an error. */
bool apid_read_body(struct apid_req *r, bool required);
/* Sets an error answer. Returns false, for `return apid_error(...)`. */
bool apid_error(struct apid_req *r, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
void apid_send(struct apid_req *r);
/* The head of an answer whose body comes in chunks (apid_stream.c). False: the reader is gone. */
bool apid_send_head(struct apid_req *r, const char *content_type, bool chunked);

/* ---- apid_call.c ---- */

/* The envelope for a request: region, namespace, token and query options from its parameters.
 * False: the answer is set (bad index or wait). */
bool apid_env(struct apid_req *r, unsigned method, steppe_Request *env);
/* Calls and waits. True: *ret_body (malloc'ed) is the answer's; r->reply its envelope. False: the
 * error answer is set. */
bool apid_call(struct apid_req *r, const steppe_Request *env, const void *body, size_t len,
               uint8_t **ret_body, size_t *ret_len);
/* The call has failed with a status that Nomad does not give the errors of this method: it is 500,
 * and marked when another server found it. */
void apid_uncoded(struct apid_req *r, const steppe_Request *env);
/* Same with a nanopb message as the body. */
bool apid_call_msg(struct apid_req *r, const steppe_Request *env, const pb_msgdesc_t *fields,
                   const void *msg, uint8_t **ret_body, size_t *ret_len);
/* A read: from this node's state when it may be, else by call. Same results. */
bool apid_read(struct apid_req *r, const steppe_Request *env, const void *body, size_t len,
               uint8_t **ret_body, size_t *ret_len);
/* Renders an encoded message, or a list's items, as the answer. */
bool apid_render(struct apid_req *r, const struct json_type *type, bool list, const void *body,
                 size_t len);
/* Body of the *SpecificRequest messages: the object's id. */
void apid_id_body(const char *id, struct strbuf *out);

/* ---- apid_stream.c ---- */

/* Asks a node client and answers with the message that it sends: a list's items or one object; type
 * NULL: what it sends is dropped. False: the error answer is set. */
bool apid_client_ask(struct apid_req *r, const steppe_ClientCall *call,
                     const struct json_type *type, bool list);
enum apid_stream_form {
    APID_STREAM_RAW,       /* the files' bytes */
    APID_STREAM_UNTRUSTED, /* the same, with headers that keep browsers from taking it for a page */
    APID_STREAM_FRAMES     /* Nomad's frames: JSON objects one behind the other */
};
/* Asks a node client and passes the bytes of files on as they come, for as long as they come. */
void apid_client_stream(struct apid_req *r, const steppe_ClientCall *call,
                        enum apid_stream_form form, const char *content_type);
/* One frame; the heartbeat for a part without anything. */
void apid_frame(const steppe_ClientPart *part, struct strbuf *out);

/* ---- apid_cache.c ---- */

struct apid_cache *apid_cache_new(void);
struct apid_cache *apid_cache_free(struct apid_cache *c);
/* Appends the JSON that was made of these bytes before. */
bool apid_cache_get(struct apid_cache *c, const struct json_type *type, unsigned how,
                    const void *body, size_t len, struct strbuf *out);
void apid_cache_put(struct apid_cache *c, const struct json_type *type, unsigned how,
                    const void *body, size_t len, const char *json, size_t json_len);

/* ---- apid_route.c ---- */

/* Answers one request: sets status, headers and out of r. */
void apid_route(struct apid_req *r);

typedef void apid_handler(struct apid_req *r);
struct apid_route {
    const char *path; /* exact, or a prefix when it ends in '/' */
    unsigned methods; /* enum apid_method bits */
    apid_handler *fn; /* NULL: a plain read described by the rest */
    enum rpc_method rpc;
    const struct json_type *type;
    bool list;
};

/* ---- handlers ---- */

apid_handler apid_jobs_register, apid_jobs_parse, apid_validate_job, apid_job, apid_eval,
    apid_search, apid_node, apid_client_stats, apid_client_gc, apid_client_fs,
    apid_client_allocation, apid_regions, apid_status, apid_agent_self, apid_agent_members,
    apid_agent_servers, apid_agent_health, apid_agent_join, apid_agent_join_check,
    apid_agent_servers_set, apid_agent_region, apid_agent_force_leave, apid_agent_keyring,
    apid_raft_configuration, apid_raft_peer, apid_scheduler_config, apid_system_gc, apid_metrics,
    apid_ui;

apid_handler apid_nodes, apid_allocations, apid_allocation, apid_deployment, apid_system_reconcile;
void apid_job_allocations(struct apid_req *r, const char *id);
void apid_job_deployments(struct apid_req *r, const char *id);
/* The newest one, or null. */
void apid_job_deployment(struct apid_req *r, const char *id);
void apid_eval_allocations(struct apid_req *r, const char *id);
void apid_node_allocations(struct apid_req *r, const char *id);

/* What is behind `prefix` in the path. */
const char *apid_path_rest(const struct apid_req *r, const char *prefix);
/* If s ends with suffix, cuts it off (a copy) into *ret_head and says true. */
bool apid_cut_suffix(const char *s, const char *suffix, char **ret_head);
/* A read of the object `id` rendered as `type`. */
void apid_read_object(struct apid_req *r, unsigned method, const char *id,
                      const struct json_type *type, bool list);
