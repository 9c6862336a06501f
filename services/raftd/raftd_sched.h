/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The leader's part in scheduling: the eval broker, blocked evaluations, the image that plans are
 * checked against. Internal to the files that share it:
 *
 *     raftd_sched.c    life with the leadership; changes of the state -> broker, blocked, commands
 *     raftd_dequeue.c  schedulers ask for work and say what became of it
 *     raftd_plan.c     plans: checked, proposed, answered
 *     raftd_gc.c       what is of no use any more is deleted
 */
#pragma once

#include "blocked_core.h"
#include "broker_core.h"
#include "image/image.h"
#include "job.pb.h"
#include "plan_core.h"
#include "raftd.h"

#define SCHED_WAITING_MAX 4096 /* dequeues that wait; more are answered with 429 */
#define SCHED_TICK_MS     100

/* Ids of evaluations or nodes, to be looked at once the batch is through. */
struct id_list {
    char (*v)[37];
    size_t n, cap;
};

/* A dequeue that waits for work. */
struct sched_waiter {
    struct sched_waiter *next;
    struct bus_req *req;
    unsigned types, max;
    char worker[BROKER_WORKER_MAX + 1];
    int64_t until_ns;
};

/* A plan that waits for the image, or for other plans to be written. */
struct plan_wait {
    struct plan_wait *next;
    struct bus_req *req;
    uint64_t seq;           /* of the last one that it waits for */
    struct strbuf rejected; /* of its answer */
};

struct raftd_sched {
    struct raftd *rd;
    bool leading;
    struct broker *broker;
    struct blocked *blocked;
    struct id_list woken; /* evaluations that go again */
    struct id_list twins; /* duplicates, to be canceled */
    struct id_list room;  /* nodes on which there is more room */
    uint64_t room_index;
    bool restoring; /* the state's evaluations are still being read */
    uint8_t restore_at[STATE_KEY_MAX];
    size_t restore_at_len;
    struct sched_waiter *waiting, **waiting_end;
    size_t waiting_n;
    struct image *image;
    bool image_ready;                     /* it has been read once; from then on it follows */
    struct plan_wait *plans, **plans_end; /* not checked yet */
    struct plan_wait *plan_waits, **plan_waits_end; /* nothing is left of them */
    struct plan_load plan_load;                     /* all plans that have no answer yet */
    uint64_t plans_seq, plans_done;                 /* given out; the last one that is through */
    struct sched_gc *gc;
    uv_timer_t tick;
    int64_t minute_ns; /* when the next look at what happens once a minute is due */
};

/* ---- raftd_sched.c ---- */

/* An evaluation of the state, to be released with pb_release(). False: none, or not readable. */
bool sched_eval_read(struct raftd *rd, const char *id, steppe_Evaluation *ret);
int64_t sched_now(void);

/* ---- raftd_dequeue.c ---- */

void sched_dequeue(struct raftd *rd, struct bus_req *req);
void sched_finish(struct raftd *rd, struct bus_req *req);
void sched_nack(struct raftd *rd, struct bus_req *req);
/* Gives what is ready to those that wait for it, in the order in which they came. */
void sched_serve(struct raftd *rd);
/* Answers those that have waited long enough. */
void sched_expire(struct raftd *rd, int64_t now_ns);
/* Leadership is lost: who waits here goes on to the next leader. */
void sched_let_go(struct raftd *rd);

/* ---- raftd_plan.c ---- */

void sched_plan(struct raftd *rd, struct bus_req *req);
/* Lets the image follow the state, checks what came. */
void sched_plans_run(struct raftd *rd);
/* Leadership is lost, or the process stops: the image goes, those that wait are answered. */
void sched_plans_drop(struct raftd *rd);

/* ---- raftd_gc.c ---- */

void sched_gc_new(struct raftd *rd);
void sched_gc_lead(struct raftd *rd);
void sched_gc_tick(struct raftd *rd, int64_t now_ns);
/* System.GarbageCollect: starts a pass without thresholds. Takes req. */
void sched_gc_request(struct raftd *rd, struct bus_req *req);
void sched_gc_free(struct raftd *rd);
