/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The methods that speak to the whole pool: Serf.Keyring*, Serf.Query, Serf.Event. A question is
 * answered when all members have, or its time is over.
 */
#include <errno.h>
#include <pb_decode.h>
#include <string.h>

#include "base/log.h"
#include "member.pb.h"
#include "messages.h"
#include "rpc/rpc_methods.h"
#include "serfd_shell.h"
#include "wire/wire.h"

#define KEYS_TIMEOUT_MS  10000 /* at most; less when the caller's patience is shorter */
#define QUERY_TIMEOUT_MS 60000
#define ASK_MARGIN_MS    200
#define KEY_BYTES_MAX    700 /* of what an order names; a real key has 32 */
#define KEYS_SEEN_MAX    256 /* different ones in all answers */
#define QUERY_NODES_MAX  32
#define QUERY_TAGS_MAX   8
#define ASK_QUERY_MAX    1024 /* what gossip takes */

enum { KEY_TEXT_MAX = SEAL_TEXT_MAX - 1 };

struct serfd_ask {
    struct serfd *sd;
    struct serfd_ask *next;
    uint64_t id;
    struct bus_req *req; /* NULL: nobody waits any more */
    bool keys;           /* else a query */
    uint32_t n_replies, n_errors;
    steppe_SerfKeyringResponse keyring;
    steppe_SerfQueryResponse query;
};

static void ask_free(struct serfd_ask *ask)
{
    struct serfd_ask **at = &ask->sd->asks;

    while (*at && *at != ask)
        at = &(*at)->next;
    if (*at)
        *at = ask->next;
    pb_release(steppe_SerfKeyringResponse_fields, &ask->keyring);
    pb_release(steppe_SerfQueryResponse_fields, &ask->query);
    free(ask);
}

static void on_abort(struct bus_req *req)
{
    struct serfd_ask *ask = req->user;

    ask->req = NULL;
}

static void refuse(struct bus_req *req, int r)
{
    if (r == -EMSGSIZE)
        bus_req_error(req, 500, false, "query exceeds limit of %d bytes", ASK_QUERY_MAX);
    else
        bus_req_error(req, r == -EINVAL ? 400 : 500, r == -EBUSY, "%s",
                      r == -EBUSY ? "too many queries under way" : strerror(-r));
}

/* Asks; the request is answered later, or now when it cannot be asked. */
static void begin(struct serfd *sd, struct bus_req *req, const struct serf_query *q, bool keys)
{
    struct serfd_ask *ask = xcalloc(1, sizeof(*ask));
    struct serf_event ev = {.type = SERF_EV_QUERY, .query = q, .id = ++sd->next_ask};
    int r;

    *ask = (struct serfd_ask){.sd = sd, .next = sd->asks, .id = ev.id, .req = req, .keys = keys};
    sd->asks = ask;
    req->user = ask;
    req->on_abort = on_abort;
    r = serfd_step(sd, &ev);
    if (r) {
        req->on_abort = NULL;
        ask_free(ask);
        refuse(req, r);
    }
    serfd_settle(sd);
}

static int64_t patience_ms(const struct bus_req *req, int64_t most)
{
    int64_t left = (req->deadline.ns - clock_mono().ns) / NS_PER_MS - ASK_MARGIN_MS;

    return MAX((int64_t)1, MIN(left, most));
}

/* ---- keys ---- */

static void add_message(struct serfd_ask *ask, const char *from, struct span text)
{
    steppe_SerfKeyringResponse *k = &ask->keyring;

    k->messages = xrealloc(k->messages, (k->messages_count + 1u) * sizeof(*k->messages));
    k->messages[k->messages_count++] = (steppe_SerfKeyringResponse_MessagesEntry){
        xstrdup(from), xstrndup(text.len ? (const char *)text.p : "", text.len)};
    log_warn("gossip keys: a member says member=%s message=\"%.*s\"", from, (int)text.len,
             (const char *)text.p);
}

static void count_key(struct serfd_ask *ask, struct span key)
{
    steppe_SerfKeyringResponse *k = &ask->keyring;

    for (pb_size_t i = 0; i < k->keys_count; i++) {
        if (span_is(key, k->keys[i].key)) {
            k->keys[i].value++;
            return;
        }
    }
    if (k->keys_count == KEYS_SEEN_MAX || key.len == 0 || key.len > KEY_TEXT_MAX)
        return;
    k->keys = xrealloc(k->keys, (k->keys_count + 1u) * sizeof(*k->keys));
    k->keys[k->keys_count++] =
        (steppe_SerfKeyringResponse_KeysEntry){xstrndup((const char *)key.p, key.len), 1};
}

static void keys_heard(struct serfd_ask *ask, const char *from, struct span payload)
{
    struct mp_scratch scratch = {.used = 0};
    struct msg_key_response resp;
    struct mp_reader r;
    struct span key;
    uint32_t n = 0;

    ask->n_replies++;
    if (payload.len < 1 || payload.p[0] != SERF_MSG_KEY_RESPONSE ||
        !msg_get((struct span){payload.p + 1, payload.len - 1}, &msg_key_response_schema, &resp,
                 &scratch)) {
        ask->n_errors++;
        add_message(ask, from, SPAN_STR("its answer about keys is broken"));
        return;
    }
    ask->n_errors += !resp.result;
    if (!resp.result || resp.message.len)
        add_message(ask, from, resp.message);
    r = mp_reader_of(resp.keys);
    if (resp.keys.p && mp_get_list(&r, &n) == 0) {
        while (n-- > 0 && mp_get_raw(&r, &key) == 0)
            count_key(ask, key);
    }
}

/* Worded as Serf's key manager does. */
static void keys_end(struct serfd_ask *ask)
{
    uint32_t n = ask->keyring.num_nodes;

    if (ask->n_errors > 0)
        bus_req_error(ask->req, 500, false, "%u/%u nodes reported failure", ask->n_errors, n);
    else if (ask->n_replies != n)
        bus_req_error(ask->req, 500, true, "%u/%u nodes reported success", ask->n_replies, n);
    else
        serfd_reply(ask->req, steppe_SerfKeyringResponse_fields, &ask->keyring);
}

static void on_keyring(struct serfd *sd, struct bus_req *req, const char *query)
{
    struct serf_query q = {.name = query, .insist = true};
    steppe_SerfKeyringRequest msg;
    uint8_t raw[KEY_BYTES_MAX];
    struct msg_key_request key = {{raw, 0}};
    struct strbuf payload = STRBUF_INIT;
    struct errtext e;
    int r;

    if (!bus_req_decode(req, steppe_SerfKeyringRequest_fields, &msg, sizeof(msg)))
        return;
    r = seal_base64_decode(SPAN_STR(msg.key ? msg.key : ""), raw, sizeof(raw), &key.key.len, &e);
    if (r) {
        bus_req_error(req, 500, false, "%s", e.text);
    } else {
        msg_put(&payload, SERF_MSG_KEY_REQUEST, &msg_key_request_schema, &key);
        q.payload = span_of(&payload);
        q.relay = MIN(msg.relay_factor, (uint32_t)UINT8_MAX);
        q.timeout_ns = patience_ms(req, KEYS_TIMEOUT_MS) * NS_PER_MS;
        begin(sd, req, &q, true);
    }
    strbuf_fini(&payload);
    pb_release(steppe_SerfKeyringRequest_fields, &msg);
}

/* ---- queries ---- */

static void query_heard(struct serfd_ask *ask, const char *from, bool ack, struct span payload)
{
    steppe_SerfQueryResponse *q = &ask->query;
    steppe_SerfQueryReply *rep;

    if (ack) {
        q->acks = xrealloc(q->acks, (q->acks_count + 1u) * sizeof(*q->acks));
        q->acks[q->acks_count++] = xstrdup(from);
        return;
    }
    q->replies = xrealloc(q->replies, (q->replies_count + 1u) * sizeof(*q->replies));
    rep = &q->replies[q->replies_count++];
    *rep = (steppe_SerfQueryReply){.from = xstrdup(from)};
    rep->payload = xmalloc(PB_BYTES_ARRAY_T_ALLOCSIZE(payload.len));
    rep->payload->size = (pb_size_t)payload.len;
    if (payload.len)
        memcpy(rep->payload->bytes, payload.p, payload.len);
}

static void put_list(struct strbuf *out, size_t n, struct strbuf *items)
{
    mp_put_list(out, n);
    strbuf_add(out, items->data, items->len);
}

/* The filters of a query, encoded (gossip-wire.md 10.9). False: too many. */
static bool put_filters(const steppe_SerfQueryRequest *msg, struct strbuf *out)
{
    struct strbuf list = STRBUF_INIT, item = STRBUF_INIT;
    size_t n = 0;

    if (msg->nodes_count > QUERY_NODES_MAX || msg->tags_count > QUERY_TAGS_MAX)
        return false;
    if (msg->nodes_count > 0) {
        strbuf_addc(&item, 0);
        mp_put_list(&item, msg->nodes_count);
        for (pb_size_t i = 0; i < msg->nodes_count; i++)
            mp_put_str(&item, msg->nodes[i]);
        mp_put_raw(&list, span_of(&item));
        n++;
    }
    for (pb_size_t i = 0; i < msg->tags_count; i++) {
        struct msg_filter_tag f = {SPAN_STR(msg->tags[i].key ? msg->tags[i].key : ""),
                                   SPAN_STR(msg->tags[i].value ? msg->tags[i].value : "")};

        strbuf_reset(&item);
        msg_put(&item, 1, &msg_filter_tag_schema, &f);
        mp_put_raw(&list, span_of(&item));
        n++;
    }
    if (n > 0)
        put_list(out, n, &list);
    strbuf_fini(&list);
    strbuf_fini(&item);
    return true;
}

static void on_query(struct serfd *sd, struct bus_req *req)
{
    struct strbuf filters = STRBUF_INIT;
    steppe_SerfQueryRequest msg;
    struct serf_query q;

    if (!bus_req_decode(req, steppe_SerfQueryRequest_fields, &msg, sizeof(msg)))
        return;
    q = (struct serf_query){.name = msg.name ? msg.name : "",
                            .relay = MIN(msg.relay_factor, (uint32_t)UINT8_MAX),
                            .acks = msg.acks,
                            .timeout_ns = msg.timeout_ms * NS_PER_MS};
    if (msg.payload)
        q.payload = (struct span){msg.payload->bytes, msg.payload->size};
    q.timeout_ns = MIN(q.timeout_ns, patience_ms(req, QUERY_TIMEOUT_MS) * NS_PER_MS);
    if (!put_filters(&msg, &filters)) {
        bus_req_error(req, 400, false, "more than %d nodes or %d tags", QUERY_NODES_MAX,
                      QUERY_TAGS_MAX);
    } else if (strncmp(q.name, "_serf_", 6) == 0 && strcmp(q.name, "_serf_ping") != 0) {
        bus_req_error(req, 400, false, "queries cannot contain the '_serf_' prefix");
    } else {
        if (filters.len)
            q.filters = span_of(&filters);
        begin(sd, req, &q, false);
    }
    strbuf_fini(&filters);
    pb_release(steppe_SerfQueryRequest_fields, &msg);
}

/* ---- events ---- */

static void on_event(struct serfd *sd, struct bus_req *req)
{
    steppe_GenericResponse resp = {0};
    steppe_SerfEventRequest msg;
    struct serf_event ev;
    int r;

    if (!bus_req_decode(req, steppe_SerfEventRequest_fields, &msg, sizeof(msg)))
        return;
    ev = (struct serf_event){
        .type = SERF_EV_USER_EVENT, .name = msg.name ? msg.name : "", .coalesce = msg.coalesce};
    if (msg.payload)
        ev.data = (struct span){msg.payload->bytes, msg.payload->size};
    r = serfd_step(sd, &ev);
    serfd_settle(sd);
    pb_release(steppe_SerfEventRequest_fields, &msg);
    if (r == -EMSGSIZE)
        bus_req_error(req, 400, false, "user event exceeds limit of 512 bytes");
    else if (r)
        bus_req_error(req, 400, false, "a user event needs a name");
    else
        serfd_reply(req, steppe_GenericResponse_fields, &resp);
}

/* ---- what the core says ---- */

void serfd_ask_heard(struct serfd *sd, const struct serf_effect *fx, struct span data)
{
    struct serfd_ask *ask = sd->asks;
    size_t len;

    while (ask && ask->id != fx->id)
        ask = ask->next;
    if (!ask)
        return;
    if (fx->type == SERF_FX_REPLY) {
        len = strlen((const char *)data.p) + 1;
        if (!ask->keys)
            query_heard(ask, (const char *)data.p, fx->ack,
                        (struct span){data.p + len, data.len - len});
        else if (!fx->ack)
            keys_heard(ask, (const char *)data.p, (struct span){data.p + len, data.len - len});
        return;
    }
    ask->keyring.num_nodes = ask->query.num_nodes = (uint32_t)fx->number;
    if (ask->req) {
        ask->req->on_abort = NULL;
        if (ask->keys)
            keys_end(ask);
        else
            serfd_reply(ask->req, steppe_SerfQueryResponse_fields, &ask->query);
    }
    ask_free(ask);
}

bool serfd_ask_request(struct serfd *sd, struct bus_req *req)
{
    switch (req->env.method) {
    case RPC_SERF_KEYRING_LIST:
        on_keyring(sd, req, "_serf_list-keys");
        return true;
    case RPC_SERF_KEYRING_INSTALL:
        on_keyring(sd, req, "_serf_install-key");
        return true;
    case RPC_SERF_KEYRING_USE:
        on_keyring(sd, req, "_serf_use-key");
        return true;
    case RPC_SERF_KEYRING_REMOVE:
        on_keyring(sd, req, "_serf_remove-key");
        return true;
    case RPC_SERF_QUERY:
        on_query(sd, req);
        return true;
    case RPC_SERF_EVENT:
        on_event(sd, req);
        return true;
    default:
        return false;
    }
}

void serfd_ask_fini(struct serfd *sd)
{
    while (sd->asks)
        ask_free(sd->asks);
}
