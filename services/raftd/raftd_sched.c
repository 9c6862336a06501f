/* SPDX-License-Identifier: MPL-2.0 */
#include "raftd_sched.h"

#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd_build.h"
#include "state/state_config.h"
#include "wire/field.h"
#include "wire/wire.h"

#define RESTORE_ROWS       2000 /* looked at, and evaluations woken, in a turn of the loop */
#define MINUTE_NS          (60 * NS_PER_SEC)
#define FOLLOW_UP_WAIT_NS  (60 * NS_PER_SEC)  /* as Nomad: a minute, */
#define FOLLOW_UP_RANGE_NS (300 * NS_PER_SEC) /* and up to five more */
#define EVALS_PER_COMMAND  64

int64_t sched_now(void)
{
    return clock_mono().ns;
}

/* ---- lists ---- */

static void id_list_add(struct id_list *l, const char *id)
{
    if (l->n && strcmp(l->v[l->n - 1], id) == 0)
        return;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->v = xrealloc(l->v, l->cap * sizeof(*l->v));
    }
    (void)snprintf(l->v[l->n++], sizeof(*l->v), "%s", id);
}

static void id_list_fini(struct id_list *l)
{
    free(l->v);
    *l = (struct id_list){0};
}

static int cmp_id(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void id_list_unique(struct id_list *l)
{
    size_t n = 0;

    qsort(l->v, l->n, sizeof(*l->v), cmp_id);
    for (size_t i = 0; i < l->n; i++) {
        if (n == 0 || strcmp(l->v[n - 1], l->v[i]) != 0)
            memmove(l->v[n++], l->v[i], sizeof(*l->v));
    }
    l->n = n;
}

/* ---- evaluations ---- */

bool sched_eval_read(struct raftd *rd, const char *id, steppe_Evaluation *ret)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    struct state_meta m = {0};
    struct errtext e;

    if (store_begin(rd->store, false, &t) < 0 || state_eval_get(t, id, &body, &m, &e) != 0 ||
        !m.found)
        return false;
    return wire_decode(steppe_Evaluation_fields, body.data, body.len, ret, sizeof(*ret), &e) == 0;
}

static void sched_propose_evals(struct raftd *rd, const steppe_Evaluation *evals, size_t n,
                                const char *reason)
{
    for (size_t at = 0; at < n; at += EVALS_PER_COMMAND) {
        struct strbuf bodies[EVALS_PER_COMMAND] = {0};
        struct bytes blobs[EVALS_PER_COMMAND];
        size_t part = MIN(n - at, (size_t)EVALS_PER_COMMAND);
        steppe_EvalUpdateCommand cmd = {0};

        COPY_TEXT(cmd.reason, reason);
        for (size_t i = 0; i < part; i++) {
            (void)wire_encode(steppe_Evaluation_fields, &evals[at + i], &bodies[i]);
            blobs[i] = bytes_of(bodies[i].data, bodies[i].len);
        }
        raftd_write_own(rd, COMMAND_EVAL_UPDATE, &cmd, blobs, part);
        for (size_t i = 0; i < part; i++)
            strbuf_fini(&bodies[i]);
    }
}

static void enqueue(struct raftd_sched *s, const steppe_Evaluation *ev, bool woken)
{
    struct broker_eval e = {
        .namespace = ev->namespace ? ev->namespace : "default",
        .job_id = ev->job_id ? ev->job_id : "",
        .priority = ev->priority,
        .create_index = ev->create_index,
        .modify_index = ev->modify_index,
        .delay_ns =
            woken ? 0 : broker_delay(ev->wait, ev->wait_until, ev->create_time, clock_wall().ns),
    };

    if (!ev->id || !broker_type_parse(ev->type, &e.type)) {
        log_warn("an evaluation of a type that no scheduler knows eval=%s type=%s",
                 ev->id ? ev->id : "", ev->type ? ev->type : "");
        return;
    }
    (void)snprintf(e.id, sizeof(e.id), "%s", ev->id);
    if (broker_enqueue(s->broker, &e, woken, sched_now()) < 0)
        log_error("too many evaluations under way, one waits for the next leader eval=%s", e.id);
}

static void on_woken(void *user, const char *eval_id)
{
    struct raftd_sched *s = user;

    id_list_add(&s->woken, eval_id);
}

/* An evaluation as it is in the state now. */
static void take_eval(struct raftd_sched *s, const steppe_Evaluation *ev)
{
    enum state_eval_status status;
    char twin[37];

    if (!ev->id || !ev->status || !state_eval_status_parse(ev->status, &status))
        return;
    switch (status) {
    case STATE_EVAL_PENDING:
        enqueue(s, ev, false);
        break;
    case STATE_EVAL_BLOCKED:
        (void)blocked_add(s->blocked, ev, twin);
        if (twin[0])
            id_list_add(&s->twins, twin);
        break;
    default:
        broker_forget(s->broker, ev->id);
        blocked_remove(s->blocked, ev->id);
    }
}

/* ---- changes of the state ---- */

static void eval_changed(struct raftd_sched *s, const struct fsm_change *c)
{
    steppe_Evaluation ev;
    struct errtext e;

    if (c->deleted || c->eval_is >= STATE_EVAL_COMPLETE) {
        broker_forget(s->broker, c->id);
        blocked_remove(s->blocked, c->id);
        return;
    }
    if (wire_decode(steppe_Evaluation_fields, c->text.data, c->text.len, &ev, sizeof(ev), &e) < 0)
        return;
    take_eval(s, &ev);
    pb_release(steppe_Evaluation_fields, &ev);
}

static void on_change(void *user, const struct fsm_change *c)
{
    struct raftd_sched *s = user;
    char ns[STATE_NAMESPACE_LEN_MAX + 1], job[STATE_JOB_ID_LEN_MAX + 1];

    switch (c->kind) {
    case FSM_CHANGE_EVAL:
        eval_changed(s, c);
        break;
    case FSM_CHANGE_ALLOC:
        if (c->was_live && !c->is_live) {
            id_list_add(&s->room, c->node_id);
            s->room_index = MAX(s->room_index, c->index);
        }
        break;
    case FSM_CHANGE_NODE:
        if (!c->deleted && c->is_ready && (!c->was_ready || c->registered)) {
            id_list_add(&s->room, c->id);
            s->room_index = MAX(s->room_index, c->index);
        }
        break;
    case FSM_CHANGE_JOB:
        if (!c->stopped && !c->deleted)
            break;
        (void)snprintf(ns, sizeof(ns), "%.*s", (int)c->namespace.len,
                       (const char *)c->namespace.data);
        (void)snprintf(job, sizeof(job), "%.*s", (int)c->job_id.len, (const char *)c->job_id.data);
        blocked_untrack(s->blocked, ns,
                        job); /* the stop's own evaluation cancels it in the state */
        break;
    case FSM_CHANGE_CONFIG:
        break;
    }
}

/* The class that a node computed of itself; "" when it has none. */
static void class_of(struct store_txn *t, const char *node_id, char *out, size_t cap)
{
    struct wire_field f;
    struct bytes row;

    out[0] = 0;
    if (store_get(t, STATE_NODE_SPECS, bytes_text(node_id), &row) != 0)
        return;
    while (wire_field_next(&row, &f)) {
        if (f.tag == steppe_Node_computed_class_tag && f.wire == WIRE_BYTES) {
            (void)snprintf(out, cap, "%.*s", (int)MIN(f.data.len, cap), (const char *)f.data.data);
            return;
        }
    }
}

#define CLASSES_MAX 32 /* told apart in one go; there are few, or each node has its own */

/* True once for each class. */
static bool first_of(char (*seen)[256], size_t *n, const char *class)
{
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(seen[i], class) == 0)
            return false;
    }
    if (*n < CLASSES_MAX)
        (void)snprintf(seen[(*n)++], sizeof(*seen), "%s", class);
    return true;
}

/* Nodes got room: whoever waits for one of their classes goes again. */
static void spread_room(struct raftd_sched *s)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    char seen[CLASSES_MAX][256], class[256];
    size_t n = 0;

    if (s->room.n == 0 || store_begin(s->rd->store, false, &t) < 0)
        return;
    id_list_unique(&s->room);
    for (size_t i = 0; i < s->room.n; i++) {
        class_of(t, s->room.v[i], class, sizeof(class));
        if (first_of(seen, &n, class))
            blocked_unblock(s->blocked, class, s->room_index, sched_now());
    }
    s->room.n = 0;
}

static void spread_woken(struct raftd_sched *s)
{
    size_t n = MIN(s->woken.n, (size_t)RESTORE_ROWS);

    for (size_t i = 0; i < n; i++) {
        steppe_Evaluation ev;

        if (!sched_eval_read(s->rd, s->woken.v[s->woken.n - n + i], &ev))
            continue;
        if (ev.status && (strcmp(ev.status, "blocked") == 0 || strcmp(ev.status, "pending") == 0))
            enqueue(s, &ev, true);
        pb_release(steppe_Evaluation_fields, &ev);
    }
    s->woken.n -= n;
}

static void cancel_twins(struct raftd_sched *s)
{
    struct id_list list = s->twins;

    s->twins = (struct id_list){0};
    for (size_t i = 0; i < list.n; i++) {
        steppe_Evaluation ev;
        char text[STATE_JOB_ID_LEN_MAX + 64];

        if (!sched_eval_read(s->rd, list.v[i], &ev))
            continue;
        if (ev.status && strcmp(ev.status, "blocked") == 0) {
            free(ev.status);
            free(ev.status_description);
            (void)snprintf(text, sizeof(text), "existing blocked evaluation exists for job \"%s\"",
                           ev.job_id ? ev.job_id : "");
            ev.status = xstrdup("canceled");
            ev.status_description = xstrdup(text);
            ev.modify_time = clock_wall().ns;
            sched_propose_evals(s->rd, &ev, 1, "duplicate of a blocked evaluation");
        }
        pb_release(steppe_Evaluation_fields, &ev);
    }
    id_list_fini(&list);
}

/* ---- failed deliveries ---- */

static void write_failed(struct raftd_sched *s, steppe_Evaluation *ev)
{
    struct raftd *rd = s->rd;
    char id[UUID_TEXT_LEN + 1], text[64];
    steppe_Evaluation both[2];

    uuid_make(id);
    (void)snprintf(text, sizeof(text), "evaluation reached delivery limit (%d)",
                   BROKER_DELIVERIES_MAX);
    both[1] = (steppe_Evaluation){
        .id = id,
        .namespace = ev->namespace,
        .priority = ev->priority,
        .type = ev->type,
        .triggered_by = (char *)"failed-follow-up",
        .job_id = ev->job_id,
        .job_modify_index = ev->job_modify_index,
        .status = (char *)"pending",
        .wait = FOLLOW_UP_WAIT_NS + (int64_t)prng_below(&rd->prng, FOLLOW_UP_RANGE_NS),
        .previous_eval = ev->id,
        .create_time = clock_wall().ns,
        .modify_time = clock_wall().ns,
    };
    both[0] = *ev;
    both[0].status = (char *)"failed";
    both[0].status_description = text;
    both[0].next_eval = id;
    both[0].modify_time = clock_wall().ns;
    log_warn("%s eval=%s job=%s", text, ev->id, ev->job_id ? ev->job_id : "");
    sched_propose_evals(rd, both, 2, "delivery limit");
}

static void reap_failed(struct raftd_sched *s)
{
    const char *id;

    while ((id = broker_failed(s->broker))) {
        steppe_Evaluation ev;

        if (!sched_eval_read(s->rd, id, &ev)) {
            char gone[37];

            (void)snprintf(gone, sizeof(gone), "%s", id);
            broker_forget(s->broker, gone);
            continue;
        }
        write_failed(s, &ev);
        pb_release(steppe_Evaluation_fields, &ev);
    }
}

/* ---- the state's evaluations, when leadership begins ---- */

/* The next rows of JOB_EVALS, which say which evaluations have not ended. */
static int restore_some(struct raftd_sched *s, struct store_txn *t, struct store_cursor *c)
{
    struct bytes key, value;
    int r = store_scan(t, STATE_JOB_EVALS, bytes_of(NULL, 0), c);

    if (r == 0)
        r = store_seek(c, bytes_of(s->restore_at, s->restore_at_len), &key, &value);
    for (unsigned n = 0; r == 0; n++) {
        if (n == RESTORE_ROWS) {
            memcpy(s->restore_at, key.data, key.len);
            s->restore_at_len = key.len;
            return 0;
        }
        if (value.len == 1 && value.data[0] < STATE_EVAL_COMPLETE && key.len > UUID_TEXT_LEN) {
            char id[UUID_TEXT_LEN + 1];
            steppe_Evaluation ev;

            memcpy(id, key.data + key.len - UUID_TEXT_LEN, UUID_TEXT_LEN);
            id[UUID_TEXT_LEN] = 0;
            if (sched_eval_read(s->rd, id, &ev)) {
                take_eval(s, &ev);
                pb_release(steppe_Evaluation_fields, &ev);
            }
        }
        r = store_next(c, &key, &value);
    }
    s->restoring = false;
    return r == STORE_E_NOT_FOUND ? 0 : r;
}

static void restore(struct raftd_sched *s)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    struct store_cursor c = {0};
    int r = store_begin(s->rd->store, false, &t);

    if (r == 0)
        r = restore_some(s, t, &c);
    store_scan_end(&c);
    if (r < 0) {
        s->restoring = false;
        log_error("cannot read the evaluations: %s", strerror(-r));
    } else if (!s->restoring) {
        struct broker_stats st;

        broker_stats(s->broker, &st);
        log_info("evaluations ready=%zu pending=%zu delayed=%zu blocked=%zu", st.ready_all,
                 st.pending, st.delayed, blocked_count(s->blocked));
    }
}

/* ---- the loop ---- */

void raftd_sched_run(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;

    if (!s || !s->leading)
        return;
    if (s->restoring)
        restore(s);
    spread_room(s);
    spread_woken(s);
    cancel_twins(s);
    reap_failed(s);
    sched_plans_run(rd);
    sched_serve(rd);
    if (s->restoring || s->woken.n)
        raftd_wake(rd);
}

static void on_tick(uv_timer_t *t)
{
    struct raftd_sched *s = t->data;
    int64_t now = sched_now();

    broker_tick(s->broker, now);
    if (now >= s->minute_ns) {
        s->minute_ns = now + MINUTE_NS;
        blocked_unblock_failed(s->blocked);
        blocked_prune(s->blocked, now);
    }
    sched_expire(s->rd, now);
    sched_gc_tick(s->rd, now);
    raftd_wake(s->rd);
}

static uint64_t last_change(struct raftd *rd)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    uint64_t nodes = 0, allocs = 0;

    if (store_begin(rd->store, false, &t) < 0 || state_table_index(t, STATE_NODES, &nodes) < 0 ||
        state_table_index(t, STATE_ALLOCS, &allocs) < 0)
        return UINT64_MAX;
    return MAX(nodes, allocs);
}

/* A region's first leader writes what its configuration says of the schedulers, unless that is what
 * everybody takes anyway. */
static void write_settings(struct raftd *rd)
{
    const struct conf_sched *c = &rd->ctx->conf->server.sched;
    bool spread = c->algorithm && strcmp(c->algorithm, "spread") == 0;
    steppe_SchedulerConfiguration config = {
        .scheduler_algorithm = (char *)(spread ? "spread" : "binpack"),
        .memory_oversubscription_enabled = c->memory_oversubscription,
        .has_preemption_config = true,
        .preemption_config = {c->preempt_system, c->preempt_batch, c->preempt_service},
    };
    steppe_ConfigPutCommand cmd = {.name = STATE_CONFIG_SCHEDULER, .cas = true};
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    _cleanup_(strbuf_fini) struct strbuf value = STRBUF_INIT;
    struct bytes blob;

    if (c->algorithm && !spread && strcmp(c->algorithm, "binpack") != 0)
        log_warn("invalid scheduler algorithm: %s", c->algorithm);
    if (!spread && c->preempt_system && !c->preempt_batch && !c->preempt_service &&
        !c->memory_oversubscription)
        return;
    if (store_begin(rd->store, false, &t) < 0 ||
        store_get(t, STATE_CONFIGS, bytes_text(STATE_CONFIG_SCHEDULER), &blob) !=
            STORE_E_NOT_FOUND ||
        state_scheduler_encode(&config, &value) < 0)
        return;
    blob = bytes_of(value.data, value.len);
    raftd_write_own(rd, COMMAND_CONFIG_PUT, &cmd, &blob, 1);
}

void raftd_sched_lead(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;

    s->leading = s->restoring = true;
    s->restore_at_len = 0;
    s->minute_ns = sched_now() + MINUTE_NS;
    blocked_start(s->blocked, last_change(rd));
    sched_gc_lead(rd);
    fsm_observe(rd->fsm, on_change, s);
    write_settings(rd);
    uv_timer_start(&s->tick, on_tick, SCHED_TICK_MS, SCHED_TICK_MS);
    raftd_wake(rd);
}

void raftd_sched_unlead(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;

    if (!s || !s->leading)
        return;
    s->leading = false;
    fsm_observe(rd->fsm, NULL, NULL);
    uv_timer_stop(&s->tick);
    broker_flush(s->broker);
    blocked_flush(s->blocked);
    s->woken.n = s->twins.n = s->room.n = 0;
    sched_let_go(rd);
    sched_plans_drop(rd);
}

void raftd_sched_member_failed(struct raftd *rd, const char *node_id)
{
    struct raftd_sched *s = rd->sched;
    char prefix[BROKER_WORKER_MAX + 1];

    if (!s->leading || !node_id[0])
        return;
    (void)snprintf(prefix, sizeof(prefix), "%s/", node_id);
    if (broker_give_back_all(s->broker, prefix, sched_now()))
        raftd_wake(rd);
}

void raftd_sched_counts(const struct raftd *rd, struct state_status *st)
{
    const struct raftd_sched *s = rd->sched;
    struct broker_stats b;

    if (!s || !s->leading)
        return;
    broker_stats(s->broker, &b);
    st->counts[STATE_STATUS_N_BLOCKED] = blocked_count(s->blocked);
    st->counts[STATE_STATUS_N_ESCAPED] = blocked_escaped_count(s->blocked);
    st->counts[STATE_STATUS_N_BATCH_READY] = b.ready[BROKER_BATCH];
    st->counts[STATE_STATUS_N_SERVICE_READY] = b.ready[BROKER_SERVICE];
    st->counts[STATE_STATUS_N_SYSTEM_READY] = b.ready[BROKER_SYSTEM];
    st->counts[STATE_STATUS_N_BEHIND] = b.pending;
    st->counts[STATE_STATUS_N_READY] = b.ready_all;
    st->counts[STATE_STATUS_N_UNACKED] = b.out;
    st->counts[STATE_STATUS_N_WAITING] = b.delayed;
    st->counts[STATE_STATUS_N_HEARTBEATS] = raftd_nodes_count(rd);
    st->counts[STATE_STATUS_N_PLANS] = s->plan_load.plans;
}

bool raftd_sched_request(struct raftd *rd, struct bus_req *req)
{
    switch (req->env.method) {
    case RPC_EVAL_DEQUEUE:
        sched_dequeue(rd, req);
        return true;
    case RPC_EVAL_FINISH:
        sched_finish(rd, req);
        return true;
    case RPC_EVAL_NACK:
        sched_nack(rd, req);
        return true;
    case RPC_SYSTEM_GC:
        sched_gc_request(rd, req);
        return true;
    case RPC_PLAN_SUBMIT:
        sched_plan(rd, req);
        return true;
    default:
        return false;
    }
}

void raftd_sched_new(struct raftd *rd)
{
    struct raftd_sched *s = xcalloc(1, sizeof(*s));

    s->rd = rd;
    s->broker = broker_new();
    s->blocked = blocked_new(on_woken, s);
    s->waiting_end = &s->waiting;
    s->plans_end = &s->plans;
    s->plan_waits_end = &s->plan_waits;
    s->image = image_new(0);
    uv_timer_init(rd->ctx->loop, &s->tick);
    s->tick.data = s;
    rd->sched = s;
    sched_gc_new(rd);
}

static void free_sched(uv_handle_t *h)
{
    free(h->data);
}

void raftd_sched_free(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;

    if (!s)
        return;
    sched_plans_drop(rd);
    image_free(s->image);
    sched_gc_free(rd);
    rd->sched = NULL;
    while (s->waiting) {
        struct sched_waiter *w = s->waiting;

        s->waiting = w->next;
        raftd_rpc_stopping(w->req);
        free(w);
    }
    broker_free(s->broker);
    blocked_free(s->blocked);
    id_list_fini(&s->woken);
    id_list_fini(&s->twins);
    id_list_fini(&s->room);
    uv_close((uv_handle_t *)&s->tick, free_sched);
}
