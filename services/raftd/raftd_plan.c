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
 * A plan of which nothing is left tells its scheduler how new a state it must see before it tries
 * again; what is in the way may still be on its way to the disks, and then the answer waits for it.
 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "plan_core.h"
#include "raftd_build.h"
#include "raftd_sched.h"
#include "wire/wire.h"

#define REFRESH_ROWS 4000 /* of the image, at one go: some milliseconds */

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

/* The plan is not written after all: the image goes back to what the state has. */
static void plan_lost(struct raftd *rd, struct raftd_proposal *p)
{
    struct raftd_sched *s = rd->sched;

    if (s && s->leading && s->image_ready && p->req)
        plan_each_id(bytes_of(p->req->body, p->req->body_len), reread, s);
}

/* ---- answers ---- */

static void reply_nothing(struct raftd *rd, struct bus_req *req, const struct strbuf *rejected,
                          uint64_t refresh_index)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_PlanResult more = {.refresh_index = refresh_index};
    steppe_Reply rep = {.index = refresh_index};

    strbuf_add(&body, rejected->data, rejected->len);
    (void)wire_encode(steppe_PlanResult_fields, &more, &body);
    raftd_rpc_meta(rd, &rep);
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

static void plan_applied(struct raftd *rd, struct raftd_proposal *p,
                         const struct fsm_result *result)
{
    struct raftd_sched *s = rd->sched;

    s->plans_done = MAX(s->plans_done, p->seq);
    if (result->code != 0) {
        log_error("a checked plan was refused: %s", result->error);
        plan_lost(rd, p);
    }
    if (p->more.len && result->code == 0) {
        steppe_PlanResult refresh_at = {.refresh_index = result->index};

        (void)wire_encode(steppe_PlanResult_fields, &refresh_at, &p->more);
    }
    answer_waiting(rd, p->seq, result->index);
    raftd_proposal_reply(rd, p, result, &p->more);
}

static void plan_dropped(struct raftd *rd, struct raftd_proposal *p)
{
    struct raftd_sched *s = rd->sched;

    plan_lost(rd, p);
    if (!s)
        return;
    s->plans_done = MAX(s->plans_done, p->seq);
    answer_waiting(rd, p->seq, fsm_applied_index(rd->fsm));
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

static int encode(struct raftd *rd, struct raftd_proposal *p, const struct plan_head *head,
                  const struct plan_verdict *v)
{
    struct strbuf evals[PLAN_PREEMPTED_MAX] = {0};
    struct bytes blobs[2 + PLAN_PREEMPTED_MAX] = {
        bytes_of(p->req->body, p->req->body_len),
        bytes_of(v->rejected_nodes.data, v->rejected_nodes.len)};
    steppe_PlanApplyCommand cmd = {0};
    size_t n = v->rejected ? 2 : 1;
    int r;

    COPY_TEXT(cmd.eval_id, head->eval_id);
    for (size_t i = 0; i < v->preempted_n; i++) {
        if (preemption_eval(rd, &v->preempted[i], &evals[i])) {
            n = MAX(n, (size_t)2);
            blobs[n++] = bytes_of(evals[i].data, evals[i].len);
        }
    }
    r = command_encode(&p->command, COMMAND_PLAN_APPLY, clock_wall(), p->req->env.idempotency_key,
                       &cmd, blobs, n);
    for (size_t i = 0; i < v->preempted_n; i++)
        strbuf_fini(&evals[i]);
    return r;
}

static void propose(struct raftd *rd, struct bus_req *req, const struct plan_head *head,
                    const struct plan_verdict *v)
{
    struct raftd_sched *s = rd->sched;
    struct raftd_proposal *p = raftd_proposal_new(req, plan_applied);
    int r = encode(rd, p, head, v);

    if (r < 0) {
        image_undo(s->image, 0);
        raftd_proposal_fail(rd, p, 413, false,
                            r == -EMSGSIZE ? "the plan is too large" : strerror(-r));
        return;
    }
    image_keep(s->image, fsm_applied_index(rd->fsm));
    strbuf_add(&p->more, v->rejected_nodes.data, v->rejected_nodes.len);
    p->dropped = plan_dropped;
    p->seq = ++s->plans_seq;
    raftd_propose(rd, p);
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
        bus_req_error(req, 400, false, "broken plan");
        return;
    }
    if (!broker_holds(s->broker, head.eval_id, head.token)) {
        bus_req_error(req, 409, false, "evaluation is not outstanding");
        return;
    }
    broker_renew(s->broker, head.eval_id, sched_now());
    r = plan_verify(s->image, plan, &v, &e);
    if (r < 0)
        bus_req_error(req, 400, false, "%s", e.text);
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

    if (s->plans_held == SCHED_PLANS_MAX || s->plans_seq - s->plans_done >= SCHED_PLANS_MAX) {
        bus_req_error(req, 429, true, "too many plans at once");
        return;
    }
    w = xcalloc(1, sizeof(*w));
    w->req = req;
    *s->plans_end = w;
    s->plans_end = &w->next;
    s->plans_held++;
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
        s->plans_held--;
        check(rd, w->req);
        free(w);
    }
}

static void let_go(struct raftd *rd, struct plan_wait **list, bool stopping)
{
    while (*list) {
        struct plan_wait *w = *list;

        *list = w->next;
        if (stopping)
            raftd_rpc_stopping(w->req);
        else
            bus_req_error(w->req, 500, true, "leadership was lost before the plan was checked");
        strbuf_fini(&w->rejected);
        free(w);
    }
}

void sched_plans_drop(struct raftd *rd, bool stopping)
{
    struct raftd_sched *s = rd->sched;

    let_go(rd, &s->plans, stopping);
    let_go(rd, &s->plan_waits, stopping);
    s->plans_end = &s->plans;
    s->plan_waits_end = &s->plan_waits;
    s->plans_held = 0;
    s->plans_done = s->plans_seq;
    s->image_ready = false;
    image_reset(s->image);
}
