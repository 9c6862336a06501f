/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Simulated client nodes: one process that speaks the real RPC for thousands of them. Each
 * registers, sends heartbeats, asks by blocking query what it has to run, and says that it runs (or
 * has stopped) it; no task is started.
 *
 *     sim_nodes region=west server=127.0.1.1:4647 count=1000 [server=...] [cpu=4000] [memory=8192]
 *               [disk=100000] [dc=dc1] [class=CLASS] [name=NAME] [meta.KEY=VALUE...] [seed=1]
 * [first=0] [fail=PERCENT]
 *
 * Several servers: whoever does not answer makes all go on to the next one. Prints "ready" when all
 * have registered. Ends with SIGTERM.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/prng.h"
#include "base/strbuf.h"
#include "bus/bus.h"
#include "node.pb.h"
#include "rpc.pb.h"
#include "rpc/rpc_methods.h"
#include "state/alloc_view.h"
#include "wire/wire.h"

#define SERVERS_MAX 8
#define META_MAX    8
#define REGISTERING 64 /* at once */
#define GET_MAX     256
#define WAIT_MS     30000
#define RETRY_MS    300

struct alloc {
    char id[37];
    uint64_t index;
    bool running, ended, known, changed;
};

struct node {
    struct sim *sim;
    char id[37], secret[37];
    uint64_t index;
    struct alloc *allocs;
    size_t n, cap;
    bool registered, updating;
    uv_timer_t beat, retry, again;
};

struct sim {
    uv_loop_t loop;
    struct bus *bus;
    struct bus_client *servers[SERVERS_MAX];
    unsigned servers_n, at;
    const char *region, *dc, *class, *name;
    steppe_Node_MetaEntry meta[META_MAX];
    unsigned meta_n;
    struct node *nodes;
    unsigned count, started, registered, first, fail;
    long long cpu, memory, disk;
    uint64_t seed;
    struct prng prng;
};

static void ask(struct node *n);
static void enroll(struct node *n);

/* ---- calls ---- */

static void call(struct node *n, unsigned method, uint64_t min_index, const pb_msgdesc_t *fields,
                 const void *msg, bus_reply_fn *fn)
{
    struct sim *s = n->sim;
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_Request env = {.method = method, .timeout_ms = 15000};

    if (min_index) {
        env.min_index = min_index;
        env.wait_ms = WAIT_MS;
        env.timeout_ms = WAIT_MS + 5000;
    }
    (void)snprintf(env.region, sizeof(env.region), "%s", s->region);
    if (method != RPC_NODE_CLIENT_ALLOCS && method != RPC_ALLOCS_GET)
        uuid_make(env.idempotency_key);
    (void)wire_encode(fields, msg, &body);
    bus_client_call(s->servers[s->at], &env, body.data, body.len, 2000, fn, n);
}

static bool failed(struct node *n, int err, const steppe_Reply *rep)
{
    if (err == 0 && rep->code == 0)
        return false;
    if (err == -ECANCELED)
        return true;
    log_debug("node=%s: %s", n->id, err ? strerror(-err) : rep->error);
    if (err)
        n->sim->at = (n->sim->at + 1) % n->sim->servers_n;
    return true;
}

static void on_retry(uv_timer_t *t)
{
    struct node *n = t->data;

    if (n->registered)
        ask(n);
    else
        enroll(n);
}

static void retry(struct node *n)
{
    uv_timer_start(&n->retry, on_retry, RETRY_MS / 2 + prng_below(&n->sim->prng, RETRY_MS), 0);
}

/* ---- what it runs ---- */

static struct alloc *alloc_of(struct node *n, const char *id, size_t len)
{
    struct alloc *a;

    for (size_t i = 0; i < n->n; i++)
        if (strncmp(n->allocs[i].id, id, len) == 0)
            return &n->allocs[i];
    if (n->n == n->cap) {
        n->cap = n->cap ? n->cap * 2 : 16;
        n->allocs = xrealloc(n->allocs, n->cap * sizeof(*n->allocs));
    }
    a = &n->allocs[n->n++];
    *a = (struct alloc){0};
    (void)snprintf(a->id, sizeof(a->id), "%.*s", (int)len, id);
    return a;
}

static void on_updated(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                       size_t len);

static const char *status_of(const struct node *n, const struct alloc *a)
{
    if (!a->ended)
        return "running";
    return n->sim->fail && a->running ? "failed" : "complete";
}

/* Says what has changed, some at a time. */
static void update(struct node *n)
{
    steppe_Allocation *list = xcalloc(GET_MAX, sizeof(*list));
    steppe_Allocation_TaskStatesEntry *states = xcalloc(GET_MAX, sizeof(*states));
    steppe_NodeUpdateAllocRequest msg = {.node_id = n->id, .secret_id = n->secret, .allocs = list};
    int64_t now = clock_wall().ns;

    for (size_t i = 0; i < n->n && msg.allocs_count < GET_MAX && !n->updating; i++) {
        struct alloc *a = &n->allocs[i];
        steppe_Allocation_TaskStatesEntry *st = &states[msg.allocs_count];

        if (!a->changed)
            continue;
        a->changed = false;
        *st = (steppe_Allocation_TaskStatesEntry){
            .key = (char *)"t",
            .has_value = true,
            .value = {.state = (char *)(a->ended ? "dead" : "running"), .started_at = now}};
        st->value.finished_at = a->ended ? now : 0;
        st->value.failed = strcmp(status_of(n, a), "failed") == 0;
        list[msg.allocs_count++] = (steppe_Allocation){.id = a->id,
                                                       .node_id = n->id,
                                                       .client_status = (char *)status_of(n, a),
                                                       .task_states = st,
                                                       .task_states_count = 1};
    }
    if (msg.allocs_count) {
        n->updating = true;
        call(n, RPC_NODE_UPDATE_ALLOC, 0, steppe_NodeUpdateAllocRequest_fields, &msg, on_updated);
    }
    free(list);
    free(states);
}

static void on_again(uv_timer_t *t)
{
    update(t->data);
}

static void on_updated(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                       size_t len)
{
    struct node *n = user;

    n->updating = false;
    if (failed(n, err, rep)) {
        for (size_t i = 0; i < n->n; i++)
            n->allocs[i].changed = n->allocs[i].known; /* all once more: it does no harm */
        if (err != -ECANCELED)
            uv_timer_start(&n->again, on_again, RETRY_MS, 0);
        return;
    }
    update(n);
}

static void take(struct node *n, const uint8_t *item, size_t len)
{
    struct alloc_view v = {0};
    struct bytes id, desired;
    struct alloc *a;

    if (!alloc_view_add(&v, bytes_of(item, len)))
        return;
    id = v.text[steppe_Allocation_id_tag];
    desired = v.text[steppe_Allocation_desired_status_tag];
    a = alloc_of(n, (const char *)id.data, id.len);
    a->known = true;
    a->running = !bytes_eq(desired, bytes_text("stop")) && !bytes_eq(desired, bytes_text("evict"));
    if (a->ended)
        return;
    a->ended = !a->running || (n->sim->fail && prng_below(&n->sim->prng, 100) < n->sim->fail);
    a->changed = true;
}

static void on_got(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct node *n = user;
    struct wire_items it = {body, len};
    const uint8_t *item;
    size_t item_len;

    if (failed(n, err, rep)) {
        if (err != -ECANCELED) {
            n->index = 0;
            for (size_t i = 0; i < n->n; i++)
                n->allocs[i].index = 0; /* what was asked for is asked for again */
            retry(n);
        }
        return;
    }
    while (wire_items_next(&it, &item, &item_len))
        take(n, item, item_len);
    update(n);
    ask(n);
}

/* Those whose index is new are fetched; more than fit come with the next answer. */
static bool fetch(struct node *n, const steppe_ClientAllocsResponse *msg)
{
    char *ids[GET_MAX];
    steppe_AllocsGetRequest get = {.alloc_ids = ids};
    bool more = false;

    for (pb_size_t i = 0; i < msg->allocs_count; i++) {
        const steppe_ClientAlloc *c = &msg->allocs[i];
        struct alloc *a = alloc_of(n, c->alloc_id, 36);

        if (a->known && a->index == c->alloc_modify_index)
            continue;
        if (get.alloc_ids_count == GET_MAX) {
            more = true;
            break;
        }
        a->index = c->alloc_modify_index;
        ids[get.alloc_ids_count++] = c->alloc_id;
    }
    if (more)
        n->index = 0;
    if (get.alloc_ids_count == 0)
        return false;
    call(n, RPC_ALLOCS_GET, 0, steppe_AllocsGetRequest_fields, &get, on_got);
    return true;
}

static void on_allocs(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct node *n = user;
    steppe_ClientAllocsResponse msg;
    struct errtext e;

    if (err == -ECANCELED)
        return;
    if (failed(n, err, rep) ||
        wire_decode(steppe_ClientAllocsResponse_fields, body, len, &msg, sizeof(msg), &e) != 0) {
        retry(n);
        return;
    }
    n->index = rep->index;
    if (!fetch(n, &msg))
        ask(n);
    pb_release(steppe_ClientAllocsResponse_fields, &msg);
}

static void ask(struct node *n)
{
    steppe_ClientAllocsRequest msg = {.node_id = n->id, .secret_id = n->secret};

    call(n, RPC_NODE_CLIENT_ALLOCS, n->index, steppe_ClientAllocsRequest_fields, &msg, on_allocs);
}

/* ---- registration ---- */

static void on_beat(uv_timer_t *t);

static void set_beat(struct node *n, const uint8_t *body, size_t len)
{
    steppe_NodeUpdateResponse msg;
    int64_t ttl = NS_PER_SEC;
    struct errtext e;

    if (wire_decode(steppe_NodeUpdateResponse_fields, body, len, &msg, sizeof(msg), &e) == 0) {
        ttl = MAX(msg.heartbeat_ttl, NS_PER_SEC / 5);
        pb_release(steppe_NodeUpdateResponse_fields, &msg);
    }
    uv_timer_start(&n->beat, on_beat, (uint64_t)(ttl / NS_PER_MS * 2 / 3), 0);
}

static void on_beaten(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct node *n = user;

    if (err == -ECANCELED)
        return;
    if (failed(n, err, rep))
        uv_timer_start(&n->beat, on_beat, RETRY_MS, 0);
    else
        set_beat(n, body, len);
}

static void on_beat(uv_timer_t *t)
{
    struct node *n = t->data;
    steppe_NodeUpdateStatusRequest msg = {
        .node_id = n->id, .secret_id = n->secret, .status = (char *)"ready"};

    call(n, RPC_NODE_UPDATE_STATUS, 0, steppe_NodeUpdateStatusRequest_fields, &msg, on_beaten);
}

static void enroll_next(struct sim *s)
{
    if (s->started < s->count)
        enroll(&s->nodes[s->started++]);
}

static void on_enrolled(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                        size_t len)
{
    struct node *n = user;
    struct sim *s = n->sim;

    if (err == -ECANCELED)
        return;
    if (failed(n, err, rep)) {
        retry(n);
        return;
    }
    n->registered = true;
    if (++s->registered == s->count) {
        puts("ready");
        (void)fflush(stdout);
    }
    set_beat(n, body, len);
    ask(n);
    enroll_next(s);
}

static void enroll(struct node *n)
{
    struct sim *s = n->sim;
    steppe_Node_AttributesEntry attr[] = {
        {(char *)"driver.mock_driver", (char *)"1"},
        {(char *)"driver.raw_exec", (char *)"1"},
        {(char *)"kernel.name", (char *)"linux"},
        {(char *)"unique.network.ip-address", (char *)"127.0.0.1"}};
    char name[32], class[64];
    steppe_NodeRegisterRequest msg = {.has_node = true,
                                      .node = {.id = n->id,
                                               .secret_id = n->secret,
                                               .datacenter = (char *)s->dc,
                                               .name = name,
                                               .http_addr = (char *)"127.0.0.1:4646",
                                               .status = (char *)"ready",
                                               .computed_class = class,
                                               .node_class = (char *)s->class,
                                               .meta = s->meta,
                                               .meta_count = (pb_size_t)s->meta_n,
                                               .attributes = attr,
                                               .attributes_count = ARRAY_LEN(attr),
                                               .has_node_resources = true}};
    steppe_NodeResources *r = &msg.node.node_resources;

    /* Nodes of one process are alike, those of two are not. */
    (void)snprintf(class, sizeof(class), "v1:%llu", (unsigned long long)s->seed);
    if (s->name)
        (void)snprintf(name, sizeof(name), "%s", s->name);
    else
        (void)snprintf(name, sizeof(name), "sim-%u", (unsigned)(n - s->nodes) + s->first);
    r->has_cpu = r->has_memory = r->has_disk = true;
    r->cpu.cpu_shares = s->cpu;
    r->memory.memory_mb = s->memory;
    r->disk.disk_mb = s->disk;
    call(n, RPC_NODE_REGISTER, 0, steppe_NodeRegisterRequest_fields, &msg, on_enrolled);
}

/* ---- main ---- */

static const char *value_of(const char *arg, const char *key)
{
    size_t n = strlen(key);

    return strncmp(arg, key, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

/* meta.KEY=VALUE; the argument's bytes become the key's and the value's. */
static bool parse_meta(struct sim *s, const char *arg)
{
    char *key = xstrdup(arg), *value = strchr(key, '=');

    if (!value || s->meta_n == META_MAX)
        return false;
    *value = 0;
    s->meta[s->meta_n++] = (steppe_Node_MetaEntry){key, value + 1};
    return true;
}

static bool parse(struct sim *s, const char *arg)
{
    struct errtext e = {{0}};
    const char *v;
    char endpoint[128];

    if ((v = value_of(arg, "server")) && s->servers_n < SERVERS_MAX) {
        (void)snprintf(endpoint, sizeof(endpoint), "tcp://%s", v);
        if (bus_client_new(s->bus, endpoint, &s->servers[s->servers_n++], &e) == 0)
            return true;
        log_error("%s", e.text);
        return false;
    }
    if ((v = value_of(arg, "region")))
        s->region = v;
    else if ((v = value_of(arg, "dc")))
        s->dc = v;
    else if ((v = value_of(arg, "count")))
        s->count = (unsigned)strtoul(v, NULL, 10);
    else if ((v = value_of(arg, "first")))
        s->first = (unsigned)strtoul(v, NULL, 10);
    else if ((v = value_of(arg, "fail")))
        s->fail = (unsigned)strtoul(v, NULL, 10);
    else if ((v = value_of(arg, "cpu")))
        s->cpu = strtoll(v, NULL, 10);
    else if ((v = value_of(arg, "memory")))
        s->memory = strtoll(v, NULL, 10);
    else if ((v = value_of(arg, "disk")))
        s->disk = strtoll(v, NULL, 10);
    else if ((v = value_of(arg, "seed")))
        s->seed = strtoull(v, NULL, 10);
    else if ((v = value_of(arg, "name")))
        s->name = v;
    else if ((v = value_of(arg, "class")))
        s->class = v;
    else
        return strncmp(arg, "meta.", 5) == 0 && parse_meta(s, arg + 5);
    return true;
}

static void on_signal(uv_signal_t *sig, int number)
{
    exit(0); /* a crash is what servers have to live with anyway */
}

/* Ids depend on seed and number only: a second process can be the same nodes. */
static void make_nodes(struct sim *s)
{
    s->nodes = xcalloc(s->count ? s->count : 1, sizeof(*s->nodes));
    for (unsigned i = 0; i < s->count; i++) {
        struct node *n = &s->nodes[i];
        struct prng p;

        prng_seed(&p, s->seed * 1000003 + s->first + i);
        uuid_from_prng(&p, n->id);
        uuid_from_prng(&p, n->secret);
        n->sim = s;
        uv_timer_init(&s->loop, &n->beat);
        uv_timer_init(&s->loop, &n->retry);
        uv_timer_init(&s->loop, &n->again);
        n->beat.data = n->retry.data = n->again.data = n;
    }
}

int main(int argc, char **argv)
{
    struct sim s = {.region = "global",
                    .dc = "dc1",
                    .class = "",
                    .cpu = 4000,
                    .memory = 8192,
                    .disk = 100000,
                    .seed = 1};
    uv_signal_t term;

    log_init("sim_nodes", LOG_INFO);
    uv_loop_init(&s.loop);
    if (bus_new(&s.loop, &s.bus) < 0)
        return 1;
    for (int i = 1; i < argc; i++) {
        if (!parse(&s, argv[i])) {
            log_error("bad argument: %s", argv[i]);
            return 2;
        }
    }
    if (s.servers_n == 0) {
        log_error("server=IP:PORT is missing");
        return 2;
    }
    prng_seed(&s.prng, s.seed);
    make_nodes(&s);
    uv_signal_init(&s.loop, &term);
    uv_signal_start(&term, on_signal, SIGTERM);
    for (unsigned i = 0; i < REGISTERING; i++)
        enroll_next(&s);
    return uv_run(&s.loop, UV_RUN_DEFAULT);
}
