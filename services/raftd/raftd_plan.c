/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Plan.Submit: a plan is checked against the image as soon as it comes, and proposed; the image
 * shows its result at once, so that the next one is checked while this one is being written.
 * Several schedulers decide at the same time; here is where they meet, and no node takes more than
 * it has.
 *
 *     request -> (the image is still being read: waits) -> plan_verify() -> PLAN_APPLY -> answer
 *                                                                        -> nothing left: answer
 *
 * A large plan is written in pieces, one command each, because applying one takes the loop's time
 * on every server. Should the leader fail in between, a part of it is written, as if the rest had
 * not fitted: the evaluation is delivered again and sees that.
 *
 * A plan of which nothing is left tells its scheduler how new a state it must see before it tries
 * again; what is in the way may still be on its way to the disks, and then the answer waits for it.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "raftd_build.h"
#include "raftd_sched.h"
#include "wire/wire.h"

#define REFRESH_ROWS 2000 /* of the image, at one go: some milliseconds */
#define PIECE_ITEMS                                                                                \
    256 /* of a plan, in one command: so that applying it takes some milliseconds                  \
         */

/* ---- the image ---- */

/* 0, 1 when there is more to read, or an error that is logged. */
static int refresh(struct raftd_sched *s)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    int r = store_begin(s->rd->store, false, &t);

    if (r == 0)
        r = image_refresh(s->image, t, REFRESH_ROWS);
    if (r < 0) {
        log_error("cannot read allocations and nodes: %s", strerror(-r));
        image_reset(s->image);
        s->image_ready = false;
    }
    return r;
}

static void reread(void *user, const char *id)
{
    struct raftd_sched *s = user;
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    int r = store_begin(s->rd->store, false, &t);

    if (r == 0)
        r = image_reread(s->image, t, id);
    if (r < 0)
        log_error("cannot read an allocation: %s", strerror(-r));
}

/* ---- answers ---- */

/* Each plan gets one answer, by one of these. */
static void answered(struct raftd *rd, const struct bus_req *req)
{
    plan_load_give(&rd->sched->plan_load, req->body_len);
}

static void reply_error(struct raftd *rd, struct bus_req *req, unsigned code, bool retryable,
                        const char *text)
{
    answered(rd, req);
    if (rd->stopping)
        raftd_rpc_stopping(req);
    else
        bus_req_error(req, code, retryable, "%s", text);
}

static void reply_nothing(struct raftd *rd, struct bus_req *req, const struct strbuf *rejected,
                          uint64_t refresh_index)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_PlanResult more = {.refresh_index = refresh_index};
    steppe_Reply rep = {.index = refresh_index};

    strbuf_add(&body, rejected->data, rejected->len);
    (void)wire_encode(steppe_PlanResult_fields, &more, &body);
    raftd_rpc_meta(rd, &rep);
    answered(rd, req);
    bus_req_reply(req, &rep, body.data, body.len);
}

/* Those that waited for this plan: what was in their way is in the state now. */
static void answer_waiting(struct raftd *rd, uint64_t seq, uint64_t index)
{
    struct raftd_sched *s = rd->sched;
    struct plan_wait *w;

    while ((w = s->plan_waits) && w->seq <= seq) {
        s->plan_waits = w->next;
        if (!s->plan_waits)
            s->plan_waits_end = &s->plan_waits;
        reply_nothing(rd, w->req, &w->rejected, index);
        strbuf_fini(&w->rejected);
        free(w);
    }
}

/* ---- on their way ---- */

/* A plan that is being written, in one command or several. */
struct flight {
    struct bus_req *req; /* its body is the plan */
    uint64_t seq;
    unsigned left; /* commands */
    bool lost;     /* not all of it was, or will be, applied */
    unsigned code; /* of a refusal */
    char error[ERRTEXT_MAX];
    steppe_PlanResult result;
    struct strbuf rejected;
};

static void reply_flight(struct raftd *rd, struct flight *f)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_Reply rep = {.index = f->result.index};

    if (f->rejected.len)
        f->result.refresh_index = f->result.index;
    strbuf_add(&body, f->rejected.data, f->rejected.len);
    (void)wire_encode(steppe_PlanResult_fields, &f->result, &body);
    raftd_rpc_meta(rd, &rep);
    answered(rd, f->req);
    bus_req_reply(f->req, &rep, body.data, body.len);
}

/* One of its commands is through. After the last one: the answer. */
static void piece_done(struct raftd *rd, struct flight *f)
{
    struct raftd_sched *s = rd->sched;

    if (--f->left)
        return;
    s->plans_done = MAX(s->plans_done, f->seq);
    /* What was not written must not stay in the image. */
    if (f->lost && s->leading && s->image_ready)
        plan_each_id(bytes_of(f->req->body, f->req->body_len), reread, s);
    answer_waiting(rd, f->seq, fsm_applied_index(rd->fsm));
    if (rd->stopping || f->code)
        reply_error(rd, f->req, f->code, false, f->error);
    else if (f->lost)
        reply_error(rd, f->req, 500, true, "not all of the plan was written");
    else
        reply_flight(rd, f);
    strbuf_fini(&f->rejected);
    free(f);
}

static void piece_applied(struct raftd *rd, struct raftd_proposal *p,
                          const struct fsm_result *result)
{
    steppe_PlanResult part = steppe_PlanResult_init_zero;
    pb_istream_t in = pb_istream_from_buffer(result->body.data, result->body.len);
    struct flight *f = p->user;

    if (result->code != 0) {
        log_error("a checked plan was refused: %s", result->error);
        f->lost = true;
        f->code = result->code;
        (void)snprintf(f->error, sizeof(f->error), "%s", result->error);
    } else if (pb_decode(&in, steppe_PlanResult_fields, &part)) {
        f->result.index = MAX(f->result.index, result->index);
        f->result.placed += part.placed;
        f->result.stopped += part.stopped;
        pb_release(steppe_PlanResult_fields, &part);
    }
    piece_done(rd, f);
}

static void piece_dropped(struct raftd *rd, struct raftd_proposal *p)
{
    struct flight *f = p->user;

    f->lost = true;
    piece_done(rd, f);
}

/* ---- commands ---- */

/* The evaluation that a job wants whose allocations make room for others. */
static bool preemption_eval(struct raftd *rd, const struct plan_job *j, struct strbuf *out)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    char id[UUID_TEXT_LEN + 1];
    struct state_meta m = {0};
    struct state_job job;
    steppe_Evaluation ev;

    if (store_begin(rd->store, false, &t) < 0 ||
        state_job_row(t, j->namespace, j->id, &job, &m) != 0 || !m.found)
        return false;
    uuid_make(id);
    ev = (steppe_Evaluation){
        .id = id,
        .namespace = j->namespace,
        .priority = job.priority,
        .type = job.type,
        .triggered_by = (char *)"preemption",
        .job_id = j->id,
        .job_modify_index = job.modify_index,
        .status = (char *)"pending",
        .create_time = clock_wall().ns,
        .modify_time = clock_wall().ns,
    };
    return wire_encode(steppe_Evaluation_fields, &ev, out) == 0;
}

struct writing {
    struct raftd *rd;
    struct flight *f;
    const struct plan_head *head;
    const struct plan_verdict *v;
    struct raftd_proposal *pieces, **end;
    int error;
};

/* One piece as a command. Preempted jobs' evaluations go with the plan's only one. */
static int encode(struct writing *w, struct raftd_proposal *p, struct bytes piece)
{
    const struct plan_verdict *v = w->v;
    struct strbuf evals[PLAN_PREEMPTED_MAX] = {0};
    struct bytes blobs[2 + PLAN_PREEMPTED_MAX] = {
        piece, bytes_of(v->rejected_nodes.data, v->rejected_nodes.len)};
    steppe_PlanApplyCommand cmd = {0};
    size_t n = v->rejected ? 2 : 1;
    int r;

    COPY_TEXT(cmd.eval_id, w->head->eval_id);
    for (size_t i = 0; i < v->preempted_n; i++) {
        if (preemption_eval(w->rd, &v->preempted[i], &evals[i])) {
            n = MAX(n, (size_t)2);
            blobs[n++] = bytes_of(evals[i].data, evals[i].len);
        }
    }
    r = command_encode(&p->command, COMMAND_PLAN_APPLY, clock_wall(), NULL, &cmd, blobs, n);
    for (size_t i = 0; i < v->preempted_n; i++)
        strbuf_fini(&evals[i]);
    return r;
}

static void on_piece(void *user, struct bytes piece)
{
    struct writing *w = user;
    struct raftd_proposal *p = raftd_proposal_new(NULL, piece_applied);
    int r = encode(w, p, piece);

    if (r < 0 && w->error == 0)
        w->error = r;
    p->user = w->f;
    p->dropped = piece_dropped;
    *w->end = p;
    w->end = &p->next;
    w->f->left++;
}

static void propose(struct raftd *rd, struct bus_req *req, const struct plan_head *head,
                    struct plan_verdict *v)
{
    struct raftd_sched *s = rd->sched;
    struct writing w = {.rd = rd, .head = head, .v = v, .end = &w.pieces};
    struct raftd_proposal *p;

    w.f = xcalloc(1, sizeof(*w.f));
    w.f->req = req;
    w.f->seq = ++s->plans_seq;
    plan_split(bytes_of(req->body, req->body_len), PIECE_ITEMS, on_piece, &w);
    image_keep(s->image, fsm_applied_index(rd->fsm));
    w.f->rejected = v->rejected_nodes;
    v->rejected_nodes = STRBUF_INIT;
    if (w.error < 0) {
        w.f->code = 413;
        (void)snprintf(w.f->error, sizeof(w.f->error), "%s",
                       w.error == -EMSGSIZE ? "the plan is too large" : strerror(-w.error));
    }
    while ((p = w.pieces)) {
        w.pieces = p->next;
        p->next = NULL;
        if (w.error < 0)
            raftd_proposal_fail(rd, p, 413, false, "");
        else
            raftd_propose(rd, p);
    }
}

static void wait_for_others(struct raftd *rd, struct bus_req *req, struct plan_verdict *v)
{
    struct raftd_sched *s = rd->sched;
    struct plan_wait *w;

    if (s->plans_done == s->plans_seq) {
        reply_nothing(rd, req, &v->rejected_nodes, v->rejected ? fsm_applied_index(rd->fsm) : 0);
        return;
    }
    w = xcalloc(1, sizeof(*w));
    w->req = req;
    w->seq = s->plans_seq;
    w->rejected = v->rejected_nodes;
    v->rejected_nodes = STRBUF_INIT;
    *s->plan_waits_end = w;
    s->plan_waits_end = &w->next;
}

static void check(struct raftd *rd, struct bus_req *req)
{
    struct raftd_sched *s = rd->sched;
    struct bytes plan = bytes_of(req->body, req->body_len);
    struct plan_verdict v;
    struct plan_head head;
    struct errtext e;
    int r;

    if (!plan_head_read(plan, &head)) {
        reply_error(rd, req, 400, false, "broken plan");
        return;
    }
    if (!broker_holds(s->broker, head.eval_id, head.token)) {
        reply_error(rd, req, 409, false, "evaluation is not outstanding");
        return;
    }
    broker_renew(s->broker, head.eval_id, sched_now());
    r = plan_verify(s->image, plan, &v, &e);
    if (r < 0)
        reply_error(rd, req, 400, false, e.text);
    else if (v.nothing)
        wait_for_others(rd, req, &v);
    else
        propose(rd, req, &head, &v);
    plan_verdict_fini(&v);
}

/* ---- plans that come ---- */

void sched_plan(struct raftd *rd, struct bus_req *req)
{
    struct raftd_sched *s = rd->sched;
    struct plan_wait *w;

    if (!plan_load_take(&s->plan_load, req->body_len)) {
        bus_req_error(req, 429, true, "too many plans at once");
        return;
    }
    w = xcalloc(1, sizeof(*w));
    w->req = req;
    *s->plans_end = w;
    s->plans_end = &w->next;
    raftd_wake(rd);
}

void sched_plans_run(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;

    /* Also without plans: the changes of a turn of the loop are few. */
    if (image_index(s->image) != fsm_applied_index(rd->fsm)) {
        int r = refresh(s);

        if (r == 0)
            s->image_ready = true;
        else if (r > 0)
            raftd_wake(rd);
    }
    if (!s->image_ready)
        return;
    while (s->plans) {
        struct plan_wait *w = s->plans;

        s->plans = w->next;
        if (!s->plans)
            s->plans_end = &s->plans;
        check(rd, w->req);
        free(w);
    }
}

static void let_go(struct raftd *rd, struct plan_wait **list)
{
    while (*list) {
        struct plan_wait *w = *list;

        *list = w->next;
        reply_error(rd, w->req, 500, true, "leadership was lost before the plan was checked");
        strbuf_fini(&w->rejected);
        free(w);
    }
}

void sched_plans_drop(struct raftd *rd)
{
    struct raftd_sched *s = rd->sched;

    let_go(rd, &s->plans);
    let_go(rd, &s->plan_waits);
    s->plans_end = &s->plans;
    s->plan_waits_end = &s->plan_waits;
    s->plans_done = s->plans_seq;
    s->image_ready = false;
    image_reset(s->image);
}
