/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The HTTP side of the command line: one server address, its options, and calls that give a JSON
 * document or an error text as Nomad's client words it. Only status 200 is success.
 */
#pragma once

#include <jansson.h>

#include "base/base.h"
#include "base/err.h"

#define CLIENT_RESPONSE_MAX   ((size_t)256 << 20) /* bytes of one answer */
#define CLIENT_CONNECT_MAX_MS 30000L
#define CLIENT_TOTAL_MAX_MS   120000L
#define CLIENT_LEADER_MAX_MS  15000L /* a server holds a request without leader for 5 s */
#define CLIENT_PARAMS_MAX     34
#define CLIENT_ADDRESSES_MAX  (CLIENT_PARAMS_MAX - 2) /* beside region and namespace */

struct flags;
struct strbuf;

struct client_conf {
    const char *address, *region, *namespace, *token, *http_auth; /* borrowed, "" when unset */
    const char *ca_cert, *ca_path, *client_cert, *client_key, *tls_server_name;
    bool insecure;
};

struct client {
    struct client_conf conf;
    char *scheme, *host, *user; /* parts of the address; user is "name:password" or NULL */
    void *curl;                 /* CURL *, kept for its connection */
    char *error;                /* text of the last failed call, never NULL after a failure */
};

/* STEPPE_<name>, then NOMAD_<name>; "" when neither is set. Borrowed. */
const char *client_env(const char *name);

/* Environment first, then the flags of the table client_flags that were given. */
void client_conf_load(struct client_conf *conf, const struct flags *flags);

/* -EINVAL with a text when the address cannot be one. */
int client_init(struct client *c, const struct client_conf *conf, struct errtext *e);
void client_fini(struct client *c);

struct client_param {
    char *name, *value;
};
/* Query parameters; setting a name again replaces it. */
struct client_params {
    struct client_param p[CLIENT_PARAMS_MAX];
    size_t n;
};
/* The client's region and namespace. */
void client_default_params(const struct client *c, struct client_params *p);
void client_params_set(struct client_params *p, const char *name, const char *value);
void client_params_add(struct client_params *p, const char *name, const char *value);
void client_params_fini(struct client_params *p);

/* "a=1&b=%2F", sorted by name, escaped like a Go query. malloc'ed. */
char *client_params_text(const struct client_params *p);
/* Percent escapes and '+' of a query resolved; cut at a NUL. malloc'ed. */
char *client_unescape(const char *s, size_t len);
/* One segment of a path, as Go's url.PathEscape. malloc'ed. */
char *client_escape_path(const char *segment);

/*
 * Calls METHOD path (already escaped) with the client's region and namespace, overridden by the
 * pairs of `const char *name, *value` up to a NULL name; a NULL value leaves that pair out. body
 * (may be NULL) is sent as JSON. *ret (new reference; NULL pointer: body of the answer ignored)
 * is set on success only. Failure: negative, text in c->error.
 */
int client_call(struct client *c, const char *method, const char *path, const json_t *body,
                json_t **ret, ...) __attribute__((sentinel));

/* The same with more parameters as they are in `params`, to which the caller has added the client's
 * own. */
int client_call_params(struct client *c, const char *method, const char *path, const json_t *body,
                       struct client_params *params, json_t **ret);

/* Only these parameters, a body and an answer that are any text. *ret is malloc'ed. */
int client_call_text(struct client *c, const char *method, const char *path, const char *body,
                     struct client_params *params, char **ret);

/*
 * GETs any http or https address, following redirections; nothing of the client's own (token,
 * region, certificates) is sent. The text is added to `out`, up to its bound: -EFBIG beyond.
 * Failure: negative, and *ret_error (malloc'ed) says why.
 */
int client_download(const char *url, struct strbuf *out, char **ret_error);

/*
 * GETs an answer of any length and duration: `data` gets each piece of a body of status 200, `idle`
 * is called about once a second; false from either ends the call with success. On an error, and
 * when the stream was cut, c->error has the text.
 */
typedef bool client_data_fn(void *user, const char *data, size_t len);
typedef bool client_idle_fn(void *user);
int client_stream(struct client *c, const char *path, struct client_params *params,
                  client_data_fn *data, client_idle_fn *idle, void *user);

/*
 * GETs /v1/status/leader for every region at the same time. leaders[i] or errors[i] (malloc'ed) is
 * set; waits CLIENT_LEADER_MAX_MS at most.
 */
void client_leaders(struct client *c, const char *const *regions, size_t n, char **leaders,
                    char **errors);
