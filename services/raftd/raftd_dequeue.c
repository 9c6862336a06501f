/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Schedulers ask for work and say what became of it. A dequeue waits here until there is something
 * or its time is over. One whose asker has gone is answered into the void: the worker's next
 * dequeue gives back what it never got.
 */
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd_sched.h"
#include "rpc.pb.h"
#include "wire/wire.h"

#define DELIVERIES_MAX   64
#define WAIT_MAX_MS      60000u
#define ANSWER_MARGIN_MS 20 /* before the caller's own deadline */

/* Takes up to max evaluations out of the broker. */
static unsigned take(struct raftd *rd, const struct sched_waiter *w, steppe_EvalDelivery *out)
{
    struct broker *b = rd->sched->broker;
    unsigned n = 0;

    while (n < w->max) {
        struct broker_delivery d;
        char token[UUID_TEXT_LEN + 1];

        uuid_make(token);
        if (!broker_dequeue(b, w->types, w->worker, token, sched_now(), &d))
            break;
        if (!sched_eval_read(rd, d.id, &out[n].eval)) { /* deleted a moment ago */
            (void)broker_ack(b, d.id, d.token, 0, sched_now());
            continue;
        }
        out[n].has_eval = true;
        out[n].token = xstrdup(d.token);
        out[n++].wait_index = d.wait_index;
    }
    return n;
}

/* False: there is nothing for it. */
static bool serve(struct raftd *rd, const struct sched_waiter *w)
{
    _cleanup_(freep) steppe_EvalDelivery *deliveries = NULL;
    steppe_EvalDequeueResponse msg = {0};

    if (!broker_any_ready(rd->sched->broker, w->types))
        return false;
    deliveries = xcalloc(w->max, sizeof(*deliveries));
    msg.deliveries = deliveries;
    msg.deliveries_count = (pb_size_t)take(rd, w, deliveries);
    if (msg.deliveries_count == 0)
        return false;
    raftd_rpc_answer(rd, w->req, fsm_applied_index(rd->fsm), steppe_EvalDequeueResponse_fields,
                     &msg);
    for (pb_size_t i = 0; i < msg.deliveries_count; i++) {
        pb_release(steppe_Evaluation_fields, &deliveries[i].eval);
        free(deliveries[i].token);
    }
    return true;
}

static void reply_empty(struct raftd *rd, struct bus_req *req)
{
    steppe_EvalDequeueResponse none = {0};

    raftd_rpc_answer(rd, req, fsm_applied_index(rd->fsm), steppe_EvalDequeueResponse_fields, &none);
}

static struct sched_waiter *remove_next(struct raftd_sched *s, struct sched_waiter **at)
{
    struct sched_waiter *w = *at;

    *at = w->next;
    if (!*at)
        s->waiting_end = at;
    s->waiting_n--;
    return w;
}

void sched_serve(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;
    struct sched_waiter **at = &s->waiting;

    while (*at && broker_any_ready(s->broker, ~0u)) {
        if (serve(rd, *at))
            free(remove_next(s, at));
        else
            at = &(*at)->next;
    }
}

void sched_expire(struct raftd *rd, int64_t now_ns)
{
    struct raftd_sched *s = rd->sched;
    struct sched_waiter **at = &s->waiting;

    while (*at) {
        struct sched_waiter *w;

        if ((*at)->until_ns > now_ns) {
            at = &(*at)->next;
            continue;
        }
        w = remove_next(s, at);
        reply_empty(rd, w->req);
        free(w);
    }
}

void sched_let_go(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;

    while (s->waiting) {
        struct sched_waiter *w = remove_next(s, &s->waiting);

        raftd_rpc_hold(rd, w->req);
        free(w);
    }
}

/* A worker waits once: what it asked before came by a way that is gone. */
static void drop_former(struct raftd *rd, const char *worker)
{
    struct raftd_sched *s = rd->sched;
    struct sched_waiter **at = &s->waiting;

    while (worker[0] && *at) {
        struct sched_waiter *w;

        if (strcmp((*at)->worker, worker) != 0) {
            at = &(*at)->next;
            continue;
        }
        w = remove_next(s, at);
        reply_empty(rd, w->req);
        free(w);
    }
}

static unsigned parse_types(const steppe_EvalDequeueRequest *msg)
{
    enum broker_type t;
    unsigned mask = 0;

    for (pb_size_t i = 0; i < msg->types_count; i++) {
        if (broker_type_parse(msg->types[i], &t))
            mask |= 1u << t;
    }
    return mask;
}

static void start(struct raftd *rd, struct bus_req *req, const steppe_EvalDequeueRequest *msg)
{
    struct raftd_sched *s = rd->sched;
    struct sched_waiter w = {.req = req, .types = parse_types(msg)}, *waiting;
    int64_t wait = MIN(req->env.wait_ms, WAIT_MAX_MS) * NS_PER_MS, now = sched_now();
    size_t lost;

    w.max = MAX(1u, MIN(msg->max, (uint32_t)DELIVERIES_MAX));
    (void)snprintf(w.worker, sizeof(w.worker), "%s", msg->worker ? msg->worker : "");
    w.until_ns = MIN(now + wait, req->deadline.ns - ANSWER_MARGIN_MS * NS_PER_MS);
    drop_former(rd, w.worker);
    lost = broker_give_back(s->broker, w.worker, (const char *const *)msg->holding,
                            msg->holding_count, now);
    if (lost)
        log_info("evaluations that did not reach their worker go again worker=%s n=%zu", w.worker,
                 lost);
    if (serve(rd, &w))
        return;
    if (w.until_ns <= now) {
        reply_empty(rd, req);
        return;
    }
    if (s->waiting_n == SCHED_WAITING_MAX) {
        bus_req_error(req, 429, true, "too many schedulers wait for work");
        return;
    }
    waiting = xmalloc(sizeof(*waiting));
    *waiting = w;
    *s->waiting_end = waiting;
    s->waiting_end = &waiting->next;
    s->waiting_n++;
    if (lost)
        raftd_wake(rd);
}

void sched_dequeue(struct raftd *rd, struct bus_req *req)
{
    steppe_EvalDequeueRequest msg;

    if (!bus_req_decode(req, steppe_EvalDequeueRequest_fields, &msg, sizeof(msg)))
        return;
    start(rd, req, &msg);
    pb_release(steppe_EvalDequeueRequest_fields, &msg);
}

/* ---- what became of it ---- */

static void finish(struct raftd *rd, struct bus_req *req, bool done)
{
    steppe_GenericResponse ok = {.index = fsm_applied_index(rd->fsm)};
    struct broker *b = rd->sched->broker;
    steppe_EvalAckRequest msg;
    int r;

    if (!bus_req_decode(req, steppe_EvalAckRequest_fields, &msg, sizeof(msg)))
        return;
    r = done ? broker_ack(b, msg.eval_id, msg.token, ok.index, sched_now())
             : broker_nack(b, msg.eval_id, msg.token, sched_now());
    pb_release(steppe_EvalAckRequest_fields, &msg);
    if (r < 0) {
        bus_req_error(req, 409, false, "evaluation is not outstanding");
        return;
    }
    raftd_rpc_answer(rd, req, fsm_applied_index(rd->fsm), steppe_GenericResponse_fields, &ok);
    raftd_wake(rd);
}

void sched_ack(struct raftd *rd, struct bus_req *req)
{
    finish(rd, req, true);
}

void sched_nack(struct raftd *rd, struct bus_req *req)
{
    finish(rd, req, false);
}
