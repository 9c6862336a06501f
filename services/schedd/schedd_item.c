/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One evaluation from its delivery to its acknowledgement:
 *
 *     READY -- plan --> SUBMIT -- taken --> FINISH -- written --> ACK -- FREE
 *       ^                 | a part was taken, or more is left
 *       +-----------------+
 *
 * Whatever goes wrong on the way to the leader: the item is dropped. The state has what it got, and
 * the evaluation is delivered again.
 */
#include "schedd.h"

#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "rpc/rpc_methods.h"
#include "sched_match.h"
#include "wire/wire.h"

#define LEASE_NS     (INT64_C(50) * NS_PER_SEC)
#define FINISH_TRIES 4

static void finish(struct schedd_item *it, bool given_up);

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
}

static void release(struct schedd_item *it)
{
    schedd_job_release(it);
    pb_release(steppe_Evaluation_fields, &it->eval);
    it->eval = (steppe_Evaluation)steppe_Evaluation_init_zero;
    sched_arena_reset(&it->arena);
    if (it->plan.cap > SCHED_ARENA_KEEP)
        strbuf_fini(&it->plan);
    it->stage = SCHEDD_FREE;
}

void schedd_item_drop(struct schedd_item *it)
{
    struct schedd *d = it->d;

    release(it);
    schedd_wake(d);
}

/* ---- acknowledged ---- */

static void on_acked(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct schedd_item *it = user;

    if (err || rep->code)
        log_debug("an acknowledgement was not taken eval=%s error=\"%s\"", it->eval.id,
                  err ? strerror(-err) : rep->error);
    schedd_item_drop(it);
}

static void acknowledge(struct schedd_item *it, unsigned method)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    steppe_EvalAckRequest msg = {.eval_id = it->eval.id, .token = it->token};

    it->stage = SCHEDD_ACK;
    (void)wire_encode(steppe_EvalAckRequest_fields, &msg, &body);
    schedd_call(it->d, method, body.data, body.len, on_acked, it);
}

void schedd_item_nack(struct schedd_item *it, const char *why)
{
    log_warn("an evaluation is given back eval=%s job=%s error=\"%s\"", sched_text(it->eval.id),
             sched_text(it->eval.job_id), why);
    acknowledge(it, RPC_EVAL_NACK);
}

/* ---- written ---- */

static void send_finish(struct schedd_item *it);

static void on_finished(void *user, int err, const steppe_Reply *rep, const uint8_t *body,
                        size_t len)
{
    struct schedd_item *it = user;

    if (err == 0 && rep->code == 0) {
        acknowledge(it, RPC_EVAL_ACK);
        return;
    }
    log_debug("an evaluation's end was not written eval=%s error=\"%s\"", it->eval.id,
              err ? strerror(-err) : rep->error);
    if (it->d->stopping || (err == 0 && !rep->retryable) || ++it->tries == FINISH_TRIES)
        schedd_item_drop(it);
    else
        send_finish(it);
}

static void send_finish(struct schedd_item *it)
{
    schedd_call(it->d, it->end == SCHED_END_REBLOCK ? RPC_EVAL_REBLOCK : RPC_EVAL_UPDATE,
                it->body.data, it->body.len, on_finished, it);
}

static void finish(struct schedd_item *it, bool given_up)
{
    it->stage = SCHEDD_FINISH;
    it->tries = 0;
    it->in.now = clock_wall().ns;
    strbuf_reset(&it->body);
    it->end = sched_finish(&it->in, &it->arena, it->has_out ? &it->out : NULL, given_up, &it->body);
    send_finish(it);
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
