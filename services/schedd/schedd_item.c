/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One evaluation from its delivery to its acknowledgement:
 *
 *     READY -- plan --> SUBMIT -- taken --> FINISH -- written and acknowledged --> FREE
 *       ^                 | a part was taken, or more is left
 *       +-----------------+
 *
 * What ends in the same turn of the loop goes to the leader in one request. Whatever goes wrong on
 * the way to the leader: the item is dropped. The state has what it got, and the evaluation is
 * delivered again.
 */
#include "schedd.h"

#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "rpc/rpc_methods.h"
#include "sched_match.h"
#include "sched_pb.h"
#include "wire/wire.h"

#define LEASE_NS     (INT64_C(50) * NS_PER_SEC)
#define FINISH_TRIES 4
#define ENDS_BYTES   (1u << 20) /* of a request, roughly */

void schedd_item_start(struct schedd_item *it, steppe_EvalDelivery *delivery)
{
    assert(it->stage == SCHEDD_FREE);
    it->stage = SCHEDD_READY;
    it->eval = delivery->eval;
    delivery->eval = (steppe_Evaluation)steppe_Evaluation_init_zero;
    (void)snprintf(it->token, sizeof(it->token), "%s", sched_text(delivery->token));
    it->min_index = delivery->wait_index;
    it->deadline_ns = clock_mono().ns + LEASE_NS;
    it->retry = (struct sched_retry){0};
    it->in = (struct sched_in){0};
    it->has_out = false;
    it->arena = it->d->spare;
    it->d->spare = (struct sched_arena){0};
}

static void release(struct schedd_item *it)
{
    struct schedd *d = it->d;

    schedd_job_release(it);
    pb_release(steppe_Evaluation_fields, &it->eval);
    it->eval = (steppe_Evaluation)steppe_Evaluation_init_zero;
    strbuf_fini(&it->plan);
    sched_arena_reset(&it->arena);
    if (d->spare.spare)
        sched_arena_fini(&it->arena);
    else
        d->spare = it->arena;
    it->arena = (struct sched_arena){0};
    it->stage = SCHEDD_FREE;
}

void schedd_item_drop(struct schedd_item *it)
{
    struct schedd *d = it->d;

    release(it);
    schedd_wake(d);
}

/* ---- given back ---- */

static void on_nacked(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct schedd_item *it = user;

    if (err || rep->code)
        log_debug("an evaluation was not taken back eval=%s error=\"%s\"", it->eval.id,
                  err ? strerror(-err) : rep->error);
    schedd_item_drop(it);
}

void schedd_item_nack(struct schedd_item *it, const char *why)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_EvalNackRequest msg = {.eval_id = it->eval.id, .token = it->token};

    log_warn("an evaluation is given back eval=%s job=%s error=\"%s\"", sched_text(it->eval.id),
             sched_text(it->eval.job_id), why);
    it->stage = SCHEDD_NACK;
    (void)wire_encode(steppe_EvalNackRequest_fields, &msg, &body);
    schedd_call(it->d, RPC_EVAL_NACK, body.data, body.len, on_nacked, it);
}

/* ---- ended ---- */

static void send_ends(struct schedd_ends *e);

static void on_ended(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct schedd_ends *e = user;
    bool written = err == 0 && rep->code == 0;

    if (!written) {
        log_debug("the ends of evaluations were not written n=%u error=\"%s\"", e->n,
                  err ? strerror(-err) : rep->error);
        if (!e->d->stopping && (err != 0 || rep->retryable) && ++e->tries < FINISH_TRIES) {
            send_ends(e);
            return;
        }
    }
    for (unsigned i = 0; i < e->n; i++)
        schedd_item_drop(e->items[i]);
    strbuf_fini(&e->body);
    free(e);
}

static void send_ends(struct schedd_ends *e)
{
    schedd_call(e->d, RPC_EVAL_FINISH, e->body.data, e->body.len, on_ended, e);
}

void schedd_ends_send(struct schedd *d)
{
    if (d->ends)
        send_ends(TAKE_PTR(d->ends));
}

static void finish(struct schedd_item *it, bool given_up)
{
    struct schedd *d = it->d;
    struct schedd_ends *e = d->ends;
    size_t begun;

    if (!e) {
        e = d->ends = xcalloc(1, sizeof(*e));
        e->d = d;
    }
    it->stage = SCHEDD_FINISH;
    it->in.now = clock_wall().ns;
    begun = sched_pb_begin(&e->body, steppe_EvalFinishRequest_ends_tag);
    sched_finish(&it->in, &it->arena, it->has_out ? &it->out : NULL, given_up, &e->body);
    sched_pb_end(&e->body, begun);
    e->items[e->n++] = it;
    if (d->stopping || e->body.len > ENDS_BYTES)
        schedd_ends_send(d);
    else
        schedd_wake(d);
}

/* ---- planned ---- */

static void on_result(struct schedd_item *it, const steppe_PlanResult *res)
{
    const char *type = it->in.job ? it->in.job->type : it->eval.type;
    bool whole = sched_taken(&it->out, res), progress = res->placed + res->stopped > 0;

    if (!whole)
        schedd_correct_image(it->d, it, res);
    log_debug("plan eval=%s job=%s placed=%u stopped=%u rejected=%u refresh=%llu", it->eval.id,
              it->eval.job_id, res->placed, res->stopped, res->rejected_nodes_count,
              (unsigned long long)res->refresh_index);
    it->min_index = MAX(it->min_index, MAX(res->index, res->refresh_index));
    if (whole && !it->out.more) {
        finish(it, false);
    } else if (it->d->stopping) {
        schedd_item_nack(it, "this scheduler stops");
    } else if (whole || sched_retry_next(&it->retry, type, progress)) {
        it->deadline_ns = clock_mono().ns + LEASE_NS;
        it->stage = SCHEDD_READY;
        schedd_wake(it->d);
    } else {
        log_info("an evaluation has failed: others were faster each time eval=%s job=%s",
                 it->eval.id, it->eval.job_id);
        finish(it, true);
    }
}

static void on_submitted(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                         size_t len)
{
    struct schedd_item *it = user;
    steppe_PlanResult res;
    struct errtext e = {{0}};

    if (err == 0 && rep->code == 0 &&
        wire_decode(steppe_PlanResult_fields, body, len, &res, sizeof(res), &e) == 0) {
        on_result(it, &res);
        pb_release(steppe_PlanResult_fields, &res);
        return;
    }
    /* Taken or not: nobody knows. The state does. */
    it->d->image_doubtful = true;
    if (err == 0 && rep->code >= 400 && rep->code < 500 && rep->code != 409 && rep->code != 429) {
        schedd_item_nack(it, rep->error);
        return;
    }
    log_debug("a plan's fate is not known eval=%s error=\"%s\"", it->eval.id,
              err         ? strerror(-err)
              : rep->code ? rep->error
                          : e.text);
    schedd_item_drop(it);
}

bool schedd_item_run(struct schedd_item *it)
{
    struct schedd *d = it->d;

    assert(it->stage == SCHEDD_READY);
    if (clock_mono().ns > it->deadline_ns) {
        schedd_item_drop(it);
        return true;
    }
    switch (schedd_attempt(d, it)) {
    case SCHEDD_LATER:
        return false;
    case SCHEDD_BROKEN:
        schedd_item_nack(it, "its state cannot be read");
        return true;
    case SCHEDD_LOADED:
        break;
    }
    if (it->out.noop) {
        finish(it, false);
    } else {
        it->stage = SCHEDD_SUBMIT;
        schedd_call(d, RPC_PLAN_SUBMIT, it->plan.data, it->plan.len, on_submitted, it);
    }
    return true;
}
