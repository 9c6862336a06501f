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
#include "wire/field.h"
#include "wire/wire.h"

#define DELIVERIES_MAX   64
#define WAIT_MAX_MS      60000u
#define EVALS_MAX        64 /* of one end: blobs of a command */
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

/* ---- given back ---- */

void sched_nack(struct raftd *rd, struct bus_req *req)
{
    steppe_GenericResponse ok = {.index = fsm_applied_index(rd->fsm)};
    steppe_EvalNackRequest msg;
    int r;

    if (!bus_req_decode(req, steppe_EvalNackRequest_fields, &msg, sizeof(msg)))
        return;
    r = broker_nack(rd->sched->broker, msg.eval_id, msg.token, sched_now());
    pb_release(steppe_EvalNackRequest_fields, &msg);
    if (r < 0) {
        bus_req_error(req, 409, false, "evaluation is not outstanding");
        return;
    }
    raftd_rpc_answer(rd, req, ok.index, steppe_GenericResponse_fields, &ok);
    raftd_wake(rd);
}

/* ---- done ---- */

/* A request of several ends, until all that is written of it is through. */
struct finish {
    struct bus_req *req;
    unsigned left; /* commands on their way, and one while they are being made */
    bool lost; /* leadership ended under one: the next leader knows nothing of these deliveries */
    steppe_EvalFinishResponse answer;
};

/* One delivery's end, while it is being written. */
struct end {
    struct finish *f;
    char eval_id[UUID_TEXT_LEN + 1], token[BROKER_TOKEN_LEN + 1];
};

static void finish_unref(struct raftd *rd, struct finish *f)
{
    if (--f->left)
        return;
    if (rd->stopping)
        raftd_rpc_stopping(f->req);
    else if (f->lost)
        bus_req_error(f->req, 500, true, "the update was written in part only: send it again");
    else
        raftd_rpc_answer(rd, f->req, fsm_applied_index(rd->fsm), steppe_EvalFinishResponse_fields,
                         &f->answer);
    free(f);
}

/* The broker gives it to nobody any more, but the next one of its job. */
static void acknowledge(struct raftd *rd, struct end *end, uint64_t index)
{
    if (broker_ack(rd->sched->broker, end->eval_id, end->token, index, sched_now()) == 0)
        end->f->answer.done++;
    end->f->answer.index = MAX(end->f->answer.index, index);
    raftd_wake(rd);
}

static void end_applied(struct raftd *rd, struct raftd_proposal *p, const struct fsm_result *result)
{
    struct end *end = p->user;

    if (result->code == 0)
        acknowledge(rd, end, result->index);
    else
        log_warn("an evaluation's end was refused eval=%s error=\"%s\"", end->eval_id,
                 result->error);
    finish_unref(rd, end->f);
    free(end);
}

static void end_dropped(struct raftd *rd, struct raftd_proposal *p)
{
    struct end *end = p->user;

    end->f->lost = true;
    finish_unref(rd, end->f);
    free(end);
}

static bool copy_text(struct bytes from, char *to, size_t cap)
{
    if (from.len >= cap)
        return false;
    memcpy(to, from.data, from.len);
    to[from.len] = 0;
    return true;
}

/* False: it is not one, or has too much in it. */
static bool read_end(struct bytes in, struct end *end, struct bytes evals[static EVALS_MAX],
                     size_t *ret_n)
{
    struct wire_field f;
    bool ok = true;

    while (ok && wire_field_next(&in, &f)) {
        if (f.tag == steppe_EvalEnd_eval_id_tag)
            ok = copy_text(f.data, end->eval_id, sizeof(end->eval_id));
        else if (f.tag == steppe_EvalEnd_token_tag)
            ok = copy_text(f.data, end->token, sizeof(end->token));
        else if (f.tag == steppe_EvalEnd_evals_tag && *ret_n < EVALS_MAX)
            evals[(*ret_n)++] = f.data;
        else
            ok = false;
    }
    return ok && in.len == 0;
}

/* Our clock, behind the evaluation's own fields: what stands last counts. */
static void stamp(struct bytes eval, struct strbuf *out)
{
    steppe_Evaluation times = {.create_time = clock_wall().ns, .modify_time = clock_wall().ns};
    struct bytes rest = eval;
    struct wire_field f;

    while (wire_field_next(&rest, &f)) {
        if (f.tag == steppe_Evaluation_create_time_tag)
            times.create_time = 0;
    }
    strbuf_add(out, eval.data, eval.len);
    (void)wire_encode(steppe_Evaluation_fields, &times, out);
}

/* Takes end over. */
static void write_end(struct raftd *rd, struct end *end, const struct bytes *evals, size_t n)
{
    struct raftd_proposal *p = raftd_proposal_new(NULL, end_applied);
    steppe_EvalUpdateCommand cmd = {.reason = "scheduler"};
    struct strbuf stamped[EVALS_MAX] = {0};
    struct bytes blobs[EVALS_MAX];
    int r;

    for (size_t i = 0; i < n; i++) {
        stamp(evals[i], &stamped[i]);
        blobs[i] = bytes_of(stamped[i].data, stamped[i].len);
    }
    r = command_encode(&p->command, COMMAND_EVAL_UPDATE, clock_wall(), NULL, &cmd, blobs, n);
    for (size_t i = 0; i < n; i++)
        strbuf_fini(&stamped[i]);
    if (r < 0) {
        log_warn("an evaluation's end is too large to be stored eval=%s", end->eval_id);
        raftd_proposal_fail(rd, p, 413, false, "");
        free(end);
        return;
    }
    end->f->left++;
    p->user = end;
    p->dropped = end_dropped;
    raftd_propose(rd, p);
}

static void finish_one(struct raftd *rd, struct finish *f, struct bytes in)
{
    struct end *end = xcalloc(1, sizeof(*end));
    struct bytes evals[EVALS_MAX];
    size_t n = 0;

    end->f = f;
    if (!read_end(in, end, evals, &n) ||
        !broker_holds(rd->sched->broker, end->eval_id, end->token)) {
        free(end);
    } else if (n > 0) {
        write_end(rd, end, evals, n);
    } else {
        acknowledge(rd, end, fsm_applied_index(rd->fsm));
        free(end);
    }
}

void sched_finish(struct raftd *rd, struct bus_req *req)
{
    struct bytes body = bytes_of(req->body, req->body_len), rest = body;
    struct wire_field end;
    struct finish *f;
    bool ok = true;
    unsigned n = 0;

    for (; ok && wire_field_next(&rest, &end); n++)
        ok = end.tag == steppe_EvalFinishRequest_ends_tag && end.wire == WIRE_BYTES;
    if (!ok || rest.len > 0 || n == 0 || n > DELIVERIES_MAX) {
        bus_req_error(req, 400, false, "not 1 to %d ends of evaluations", DELIVERIES_MAX);
        return;
    }
    f = xcalloc(1, sizeof(*f));
    f->req = req;
    f->left = 1;
    while (wire_field_next(&body, &end))
        finish_one(rd, f, end.data);
    finish_unref(rd, f);
}
