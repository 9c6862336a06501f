/* SPDX-License-Identifier: MPL-2.0 */
/* Asks the leader's broker for evaluations and works on several of them at a time. */
#include "schedd_shell.h"

#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "rpc/rpc_methods.h"
#include "sched_match.h"
#include "schedd.h"
#include "wire/wire.h"

#define CALL_MS       15000
#define DIAL_MS       5000
#define ASK_WAIT_MS   10000 /* a dequeue waits so long for work */
#define ASK_MIN_MS    50    /* after a failed one, doubling */
#define ASK_MAX_MS    2000
#define STATE_WAIT_MS 3 /* until the state is looked at again */
#define TURN_NS       (2 * NS_PER_MS)
#define AHEAD_NS      (100 * NS_PER_MS) /* of work, taken at once */
#define RUN_FIRST_NS  (10 * NS_PER_MS)  /* what an attempt may take, before the first one */

static char *const all_types[] = {(char *)"service", (char *)"batch", (char *)"system"};

static void ask(struct schedd *d);

/* ---- calls ---- */

static steppe_Request envelope(const struct schedd *d, unsigned method)
{
    steppe_Request env = {.method = method, .timeout_ms = CALL_MS};

    (void)snprintf(env.region, sizeof(env.region), "%s", d->ctx->conf->region);
    return env;
}

void schedd_call(struct schedd *d, unsigned method, const void *body, size_t len, bus_reply_fn *fn,
                 void *user)
{
    steppe_Request env = envelope(d, method);

    bus_client_call(d->routerd, &env, body, len, DIAL_MS, fn, user);
}

/* ---- running ---- */

static struct schedd_item *free_item(struct schedd *d)
{
    for (unsigned i = 0; i < d->slots; i++)
        if (d->items[i].stage == SCHEDD_FREE)
            return &d->items[i];
    return NULL;
}

static void on_run_timer(uv_timer_t *t);

static bool run_item(struct schedd *d, struct schedd_item *it)
{
    int64_t began = clock_mono().ns;
    bool ran = schedd_item_run(it);

    if (ran)
        d->run_ns += (clock_mono().ns - began - d->run_ns) / 8;
    return ran;
}

/* What is ready, but not for long at a time, so that answers are heard in between. */
static void on_idle(uv_idle_t *idle)
{
    struct schedd *d = idle->data;
    int64_t until = clock_mono().ns + TURN_NS;
    bool waiting = false;
    unsigned i;

    for (i = 0; i < d->slots; i++) {
        if (d->items[i].stage != SCHEDD_READY)
            continue;
        if (!run_item(d, &d->items[i]))
            waiting = true;
        else if (clock_mono().ns >= until)
            break;
    }
    schedd_ends_send(d);
    if (i < d->slots)
        return;
    uv_idle_stop(idle);
    if (waiting && !d->stopping)
        uv_timer_start(&d->run_timer, on_run_timer, STATE_WAIT_MS, 0);
    ask(d);
}

static void on_run_timer(uv_timer_t *t)
{
    struct schedd *d = t->data;

    uv_idle_start(&d->idle, on_idle);
}

void schedd_wake(struct schedd *d)
{
    if (d->stopping)
        schedd_check_stopped(d);
    else
        uv_idle_start(&d->idle, on_idle);
}

/* ---- asking for work ---- */

static void on_ask_timer(uv_timer_t *t)
{
    ask(t->data);
}

static void ask_later(struct schedd *d)
{
    uint64_t ms = MIN((uint64_t)ASK_MIN_MS << MIN(d->ask_failures, 8u), (uint64_t)ASK_MAX_MS);

    d->ask_failures++;
    uv_update_time(d->ctx->loop);
    uv_timer_start(&d->ask_timer, on_ask_timer, ms, 0);
}

static void take(struct schedd *d, steppe_EvalDequeueResponse *msg)
{
    for (pb_size_t i = 0; i < msg->deliveries_count; i++) {
        struct schedd_item *it = free_item(d);

        if (!it || !msg->deliveries[i].has_eval)
            break; /* what we do not hold goes to another one */
        schedd_item_start(it, &msg->deliveries[i]);
    }
}

static void on_work(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct schedd *d = user;
    steppe_EvalDequeueResponse msg;
    struct errtext e;

    d->asking = false;
    if (d->stopping)
        return;
    if (err || rep->code ||
        wire_decode(steppe_EvalDequeueResponse_fields, body, len, &msg, sizeof(msg), &e) != 0) {
        log_debug("no evaluations to be had error=\"%s\"", err ? strerror(-err) : rep->error);
        ask_later(d);
        return;
    }
    d->ask_failures = 0;
    take(d, &msg);
    pb_release(steppe_EvalDequeueResponse_fields, &msg);
    schedd_wake(d);
}

/* One dequeue at a time, when there is room. More than is done soon is left to others. */
static void ask(struct schedd *d)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_Request env = envelope(d, RPC_EVAL_DEQUEUE);
    char *holding[SCHEDD_ITEMS_MAX];
    steppe_EvalDequeueRequest msg = {.types = d->types,
                                     .types_count = (pb_size_t)d->types_n,
                                     .worker = d->worker,
                                     .holding = holding};

    if (d->asking || d->stopping || uv_is_active((uv_handle_t *)&d->ask_timer))
        return;
    for (unsigned i = 0; i < d->slots; i++) {
        if (d->items[i].stage == SCHEDD_FREE)
            msg.max++;
        else
            holding[msg.holding_count++] = d->items[i].eval.id;
    }
    msg.max = (uint32_t)MIN(msg.max, MAX(AHEAD_NS / MAX(d->run_ns, INT64_C(1)), INT64_C(1)));
    if (msg.max == 0)
        return;
    d->asking = true;
    env.wait_ms = ASK_WAIT_MS;
    (void)wire_encode(steppe_EvalDequeueRequest_fields, &msg, &body);
    bus_client_call(d->routerd, &env, body.data, body.len, DIAL_MS, on_work, d);
}

/* ---- life ---- */

static void set_types(struct schedd *d, const struct conf_list *wanted)
{
    d->types = xcalloc(ARRAY_LEN(all_types), sizeof(*d->types));
    for (size_t i = 0; i < ARRAY_LEN(all_types); i++) {
        bool on = wanted->n == 0;

        for (size_t k = 0; k < wanted->n; k++)
            on |= strcmp(wanted->items[k], all_types[i]) == 0;
        if (on)
            d->types[d->types_n++] = all_types[i];
    }
}

static void init_handles(struct schedd *d)
{
    uv_timer_init(d->ctx->loop, &d->ask_timer);
    uv_timer_init(d->ctx->loop, &d->run_timer);
    uv_idle_init(d->ctx->loop, &d->idle);
    d->ask_timer.data = d->run_timer.data = d->idle.data = d;
    d->handles = 3;
}

int schedd_init(struct svc_ctx *ctx, struct errtext *e)
{
    _cleanup_(freep) char *endpoint = conf_run_ipc(ctx->conf, "routerd.sock");
    _cleanup_(freep) char *page = conf_run_path(ctx->conf, "raftd.status");
    struct schedd *d = xcalloc(1, sizeof(*d));
    int r;

    ctx->user = d;
    d->ctx = ctx;
    d->slots =
        (unsigned)MIN(ctx->conf->server.num_schedulers * SCHEDD_PER_WORKER, SCHEDD_ITEMS_MAX);
    d->run_ns = RUN_FIRST_NS;
    for (unsigned i = 0; i < SCHEDD_ITEMS_MAX; i++)
        d->items[i].d = d;
    set_types(d, &ctx->conf->server.enabled_schedulers);
    (void)snprintf(d->worker, sizeof(d->worker), "%s/0", ctx->node_id);
    d->status = state_status_reader_new(page);
    d->image = image_new(IMAGE_NODES);
    d->regexps = sched_regexps_new();
    prng_seed(&d->prng, random_u64());
    init_handles(d);
    r = bus_client_new(ctx->bus, endpoint, &d->routerd, e);
    if (r < 0)
        return r;
    svc_ready(ctx);
    if (d->types_n > 0)
        ask(d);
    return 0;
}

/* What was begun is brought to its end or given back, so that nobody waits for our lease. */
void schedd_stop(struct svc_ctx *ctx)
{
    struct schedd *d = ctx->user;

    d->stopping = true;
    uv_timer_stop(&d->ask_timer);
    uv_timer_stop(&d->run_timer);
    uv_idle_stop(&d->idle);
    schedd_ends_send(d);
    for (unsigned i = 0; i < d->slots; i++)
        if (d->items[i].stage == SCHEDD_READY)
            schedd_item_nack(&d->items[i], "this scheduler stops");
    schedd_check_stopped(d);
}

void schedd_check_stopped(struct schedd *d)
{
    if (d->gone)
        return;
    for (unsigned i = 0; i < d->slots; i++)
        if (d->items[i].stage != SCHEDD_FREE)
            return;
    svc_stopped(d->ctx);
}

static void free_schedd(struct schedd *d)
{
    for (unsigned i = 0; i < SCHEDD_ITEMS_MAX; i++) {
        struct schedd_item *it = &d->items[i];

        schedd_job_release(it);
        pb_release(steppe_Evaluation_fields, &it->eval);
        sched_arena_fini(&it->arena);
        strbuf_fini(&it->plan);
    }
    sched_arena_fini(&d->spare);
    if (d->ends)
        strbuf_fini(&d->ends->body);
    free(d->ends);
    free(d->types);
    free(d);
}

static void on_closed(uv_handle_t *h)
{
    struct schedd *d = h->data;

    if (--d->handles == 0)
        free_schedd(d);
}

void schedd_fini(struct svc_ctx *ctx)
{
    struct schedd *d = ctx->user;

    if (!d)
        return;
    ctx->user = NULL;
    d->stopping = d->gone = true;
    bus_client_free(d->routerd); /* ends all calls; what came of that is sent to nobody */
    d->store = store_free(d->store);
    state_status_reader_free(d->status);
    image_free(d->image);
    sched_regexps_free(d->regexps);
    uv_close((uv_handle_t *)&d->ask_timer, on_closed);
    uv_close((uv_handle_t *)&d->run_timer, on_closed);
    uv_close((uv_handle_t *)&d->idle, on_closed);
}
