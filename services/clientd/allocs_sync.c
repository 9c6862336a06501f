/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The node's allocations by blocking query, whole ones for what is new or changed; news of them in
 * batches. While no server answers nothing happens to what runs.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "allocs.h"
#include "base/log.h"
#include "base/prng.h"
#include "rpc.pb.h"
#include "rpc/rpc_methods.h"
#include "wire/wire.h"

#define WAIT_MS       60000u
#define CALL_MS       15000u
#define DIAL_MS       5000u
#define RETRY_MIN_MS  250
#define RETRY_MAX_MS  5000
#define BATCH_MS      200  /* news gather so long */
#define URGENT_MS     5    /* a new client status only so long, and */
#define URGENT_GAP_MS 50   /* so long after the last news */
#define FETCH_MAX     64u  /* whole allocations in one answer */
#define TELL_MAX      128u /* allocations in one update */

static uint64_t call(struct allocs *a, unsigned method, steppe_Request *env,
                     const pb_msgdesc_t *fields, const void *msg, bus_reply_fn *fn)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;

    env->method = method;
    (void)snprintf(env->region, sizeof(env->region), "%s", a->ctx->conf->region);
    (void)wire_encode(fields, msg, &body);
    return bus_client_call(a->routerd, env, body.data, body.len, DIAL_MS, fn, a);
}

static uint64_t backoff(unsigned failures)
{
    uint64_t ms = MIN((uint64_t)RETRY_MIN_MS << MIN(failures, 10u), (uint64_t)RETRY_MAX_MS);

    return ms / 2 + random_u64() % ms;
}

/* ---- what to run ---- */

static void watch(struct allocs *a);

static void on_watch(uv_timer_t *t)
{
    watch(t->data);
}

static void watch_again(struct allocs *a, uint64_t ms)
{
    if (!a->stopping)
        uv_timer_start(&a->watch, on_watch, ms, 0);
}

static void watch_failed(struct allocs *a, const char *why)
{
    if (a->watch_failures++ == 0)
        log_warn("cannot learn this node's allocations, will try again: %s", why);
    watch_again(a, backoff(a->watch_failures));
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct alloc_seen *)a)->id, ((const struct alloc_seen *)b)->id);
}

static const struct alloc_seen *find_seen(const struct alloc_seen *list, size_t n, const char *id)
{
    struct alloc_seen key = {.index = 0};

    (void)snprintf(key.id, sizeof(key.id), "%s", id);
    return n ? bsearch(&key, list, n, sizeof(*list), by_id) : NULL;
}

/* Allocations that the servers have no more (collected, or their job purged) are ended and removed.
 */
static void drop_missing(struct allocs *a, const struct alloc_seen *list, size_t n)
{
    for (size_t i = a->n; i-- > 0;) {
        struct alloc *al = a->items[i];

        if (find_seen(list, n, al->alloc.id))
            continue;
        al->forgotten = true;
        al->told_end = true;
        al->waits_for_servers = false;
        if (!al->core.stopped) {
            al->core.stopped = true;
            alloc_look(al);
        }
        if (alloc_terminal(al))
            alloc_collect(al);
    }
}

/* The list again: what was new in it must not be lost. */
static void fetch_failed(struct allocs *a, const char *why)
{
    a->index = 0;
    a->seen_n = 0;
    a->fetch_max = MAX(a->fetch_max / 4, (size_t)1);
    watch_failed(a, why);
}

static void on_fetched(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                       size_t len)
{
    struct allocs *a = user;
    steppe_AllocsResponse m = {0};
    struct errtext e = {{0}};

    a->watch_call = 0;
    if (a->stopping)
        return;
    if (err != 0 || rep->code != 0) {
        fetch_failed(a, err ? strerror(-err) : rep->error);
        return;
    }
    if (wire_decode(steppe_AllocsResponse_fields, body, len, &m, sizeof(m), &e) < 0) {
        fetch_failed(a, e.text);
        return;
    }
    a->fetch_max = FETCH_MAX;
    for (pb_size_t i = 0; i < m.allocs_count; i++)
        allocs_take(a, &m.allocs[i]);
    m.allocs_count = 0; /* each was handed over */
    pb_release(steppe_AllocsResponse_fields, &m);
    allocs_arm(a);
    watch(a);
}

/* Of the ids that the last list had new; the rest follows with the next list. */
static void fetch(struct allocs *a, char **ids, size_t n)
{
    steppe_AllocsGetRequest m = {.alloc_ids = ids, .alloc_ids_count = (pb_size_t)n};
    steppe_Request env = {.timeout_ms = CALL_MS};

    a->watch_call = call(a, RPC_ALLOCS_GET, &env, steppe_AllocsGetRequest_fields, &m, on_fetched);
}

static void take_list(struct allocs *a, const steppe_ClientAllocsResponse *m, uint64_t index)
{
    struct alloc_seen *list = xcalloc(m->allocs_count + 1u, sizeof(*list));
    char *wanted[FETCH_MAX];
    size_t n = 0, wanted_n = 0;
    bool more = false;

    for (pb_size_t i = 0; i < m->allocs_count; i++)
        if (m->allocs[i].alloc_id) {
            (void)snprintf(list[n].id, sizeof(list[n].id), "%s", m->allocs[i].alloc_id);
            list[n++].index = m->allocs[i].alloc_modify_index;
        }
    qsort(list, n, sizeof(*list), by_id);
    for (size_t i = 0; i < n; i++) {
        const struct alloc_seen *old = find_seen(a->seen, a->seen_n, list[i].id);

        if (old && old->index == list[i].index)
            continue;
        if (wanted_n == MIN(MAX(a->fetch_max, (size_t)1), (size_t)FETCH_MAX)) {
            more = true;
            list[i].index = 0; /* still to be fetched */
            continue;
        }
        wanted[wanted_n++] = list[i].id;
    }
    drop_missing(a, list, n);
    free(a->seen);
    a->seen = list;
    a->seen_n = n;
    a->index = more ? 0 : index;
    if (wanted_n > 0)
        fetch(a, wanted, wanted_n);
    else
        watch(a);
}

static void on_list(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct allocs *a = user;
    steppe_ClientAllocsResponse m = {0};
    struct errtext e = {{0}};
    uint64_t index = rep ? rep->index : 0;

    a->watch_call = 0;
    if (a->stopping)
        return;
    if (err != 0 || rep->code != 0) {
        watch_failed(a, err ? strerror(-err) : rep->error);
        return;
    }
    if (wire_decode(steppe_ClientAllocsResponse_fields, body, len, &m, sizeof(m), &e) < 0) {
        watch_failed(a, e.text);
        return;
    }
    if (a->watch_failures > 0)
        log_info("servers answer again: allocations are up to date");
    a->watch_failures = 0;
    if (index < a->index) { /* another life of the region: nothing of the old numbers counts */
        a->index = 0;
        a->seen_n = 0;
    }
    if (!a->heard)
        log_debug("the servers listed this node's allocations: %u", m.allocs_count);
    a->heard = true;
    take_list(a, &m, index);
    pb_release(steppe_ClientAllocsResponse_fields, &m);
    allocs_tell(a); /* what happened before they were heard */
}

static void watch(struct allocs *a)
{
    steppe_ClientAllocsRequest m = {.node_id = (char *)a->node_id, .secret_id = (char *)a->secret};
    steppe_Request env = {
        .timeout_ms = WAIT_MS + CALL_MS, .min_index = a->index, .wait_ms = WAIT_MS};

    if (a->stopping || a->watch_call)
        return;
    uv_timer_stop(&a->watch);
    a->watch_call =
        call(a, RPC_NODE_CLIENT_ALLOCS, &env, steppe_ClientAllocsRequest_fields, &m, on_list);
}

void allocs_begin(struct allocs *a)
{
    if (a->watch_call == 0)
        watch(a);
    allocs_tell(a);
}

/* ---- what became of it ---- */

/* Nomad's client status and its description; borrowed. */
static const char *alloc_status(const struct alloc *al, const char **ret_description)
{
    if (!al->refused)
        return alloc_core_status(&al->core, ret_description);
    *ret_description = al->refused;
    return "failed";
}

/* What the servers are told of it: borrows from al. */
static void alloc_summary(const struct alloc *al, steppe_Allocation *ret)
{
    const struct alloc_core *c = &al->core;
    const char *text;

    *ret = (steppe_Allocation){.id = al->alloc.id, .node_id = al->alloc.node_id};
    ret->client_status = (char *)alloc_status(al, &text);
    ret->client_description = (char *)text;
    ret->task_states = xcalloc(c->n, sizeof(*ret->task_states));
    ret->task_states_count = (pb_size_t)c->n;
    for (size_t i = 0; i < c->n; i++)
        ret->task_states[i] = (steppe_Allocation_TaskStatesEntry){(char *)c->tasks[i].rules.name,
                                                                  true, c->tasks[i].state};
    if (c->health.known) {
        ret->has_deployment_status = ret->deployment_status.has_healthy = true;
        ret->deployment_status.healthy = c->health.healthy;
        ret->deployment_status.timestamp = c->health.at_ns;
    }
}

static void on_update(uv_timer_t *t);

static void update_in(struct allocs *a, uint64_t ms)
{
    bool waiting = uv_is_active((uv_handle_t *)&a->update);

    if (a->stopping || (waiting && uv_timer_get_due_in(&a->update) <= ms))
        return;
    uv_update_time(a->ctx->loop);
    uv_timer_start(&a->update, on_update, ms, 0);
}

/* Has somebody to know it now? A status that they do not know; other events gather. */
static bool is_urgent(const struct alloc *al)
{
    const char *text;

    return al->dirty && strcmp(alloc_status(al, &text), al->told_status) != 0;
}

static void tell_in(struct allocs *a)
{
    int64_t left = URGENT_GAP_MS - (clock_mono().ns - a->told_at) / NS_PER_MS;
    bool urgent = false;

    for (size_t i = 0; i < a->n && !urgent; i++)
        urgent = is_urgent(a->items[i]);
    if (!urgent)
        update_in(a, BATCH_MS);
    else
        update_in(a, (uint64_t)MAX(left, (int64_t)URGENT_MS));
}

static void on_told(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct allocs *a = user;
    bool ok = err == 0 && rep->code == 0, more = false;

    a->update_call = 0;
    a->updating = false;
    if (a->stopping)
        return;
    for (size_t i = 0; i < a->n; i++) {
        struct alloc *al = a->items[i];

        if (al->sending) {
            al->sending = false;
            al->dirty = al->dirty || !ok;
            if (ok && !al->dirty && alloc_terminal(al) && !al->told_end) {
                al->told_end = true;
                (void)alloc_save(al, false, false);
            }
        }
        more = more || al->dirty;
    }
    if (ok) {
        a->update_failures = 0;
        if (more)
            tell_in(a);
        return;
    }
    if (a->update_failures++ == 0)
        log_warn("cannot tell the servers of this node's allocations, will try again: %s",
                 err ? strerror(-err) : rep->error);
    update_in(a, backoff(a->update_failures));
}

static void on_update(uv_timer_t *t)
{
    struct allocs *a = t->data;
    steppe_Allocation list[TELL_MAX];
    steppe_NodeUpdateAllocRequest m = {
        .node_id = (char *)a->node_id, .secret_id = (char *)a->secret, .allocs = list};
    steppe_Request env = {.timeout_ms = CALL_MS};

    if (a->updating)
        return;
    for (size_t i = 0; i < a->n && m.allocs_count < TELL_MAX; i++) {
        struct alloc *al = a->items[i];

        if (!al->dirty || al->forgotten || al->waits_for_servers)
            continue;
        al->dirty = false;
        al->sending = true;
        alloc_summary(al, &list[m.allocs_count]);
        (void)snprintf(al->told_status, sizeof(al->told_status), "%s",
                       list[m.allocs_count++].client_status);
    }
    if (m.allocs_count == 0)
        return;
    a->updating = true;
    a->told_at = clock_mono().ns;
    uuid_make(env.idempotency_key);
    a->update_call =
        call(a, RPC_NODE_UPDATE_ALLOC, &env, steppe_NodeUpdateAllocRequest_fields, &m, on_told);
    for (pb_size_t i = 0; i < m.allocs_count; i++)
        free(list[i].task_states);
}

void allocs_tell(struct allocs *a)
{
    if (a->heard && !a->updating)
        tell_in(a);
}

void allocs_sync_stop(struct allocs *a)
{
    if (a->watch_call)
        bus_client_cancel(a->routerd, a->watch_call);
    if (a->update_call)
        bus_client_cancel(a->routerd, a->update_call);
    a->watch_call = a->update_call = 0;
}
