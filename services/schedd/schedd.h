/* SPDX-License-Identifier: MPL-2.0 */
/* The inside of schedd: evaluations under work, this node's state, and the calls to the leader. */
#pragma once

#include <uv.h>

#include "bus/bus.h"
#include "image/image.h"
#include "rpc.pb.h"
#include "sched_core.h"
#include "state/state_status.h"
#include "state/store.h"
#include "svc/svc.h"

#define SCHEDD_ITEMS_MAX  64
#define SCHEDD_PER_WORKER 16 /* items for each of server.num_schedulers */

enum schedd_stage {
    SCHEDD_FREE,
    SCHEDD_READY,  /* runs as soon as the state is new enough */
    SCHEDD_SUBMIT, /* its plan is with the leader */
    SCHEDD_FINISH, /* what is left of it is being written, which acknowledges it, too */
    SCHEDD_NACK,
};

struct schedd;

/* Items that end together: one request. */
struct schedd_ends {
    struct schedd *d;
    struct schedd_item *items[SCHEDD_ITEMS_MAX];
    unsigned n, tries;
    struct strbuf body; /* EvalFinishRequest */
};

/* An evaluation under work. */
struct schedd_item {
    struct schedd *d;
    enum schedd_stage stage;
    steppe_Evaluation eval;
    char token[65];
    uint64_t min_index;  /* of the state to look at */
    int64_t deadline_ns; /* monotonic: its lease ends soon after */
    struct sched_retry retry;
    struct sched_arena arena;
    struct sched_in in; /* of the last attempt; job is owned */
    struct sched_out out;
    bool has_out;
    struct strbuf plan;
};

struct schedd {
    struct svc_ctx *ctx;
    struct bus_client *routerd;
    struct state_status_reader *status;
    struct store *store;
    uint64_t generation;
    struct image *image;
    bool image_doubtful; /* it may show what the state never got: read anew */
    struct sched_regexps *regexps;
    struct prng prng;
    char worker[64];
    char **types;
    size_t types_n;

    struct schedd_item items[SCHEDD_ITEMS_MAX];
    unsigned slots;           /* of items that are used */
    struct sched_arena spare; /* an unused one, so that most evaluations cost no malloc */
    struct schedd_ends *ends; /* what has ended in this turn; NULL: nothing */
    int64_t run_ns;           /* what an attempt takes, lately */
    bool asking;              /* a dequeue is under way */
    bool stopping, gone;      /* gone: no more calls */
    unsigned ask_failures;
    uv_timer_t ask_timer, run_timer;
    uv_idle_t idle;   /* runs evaluations, then sends what has ended, then asks for more */
    unsigned handles; /* open ones */
};

/* ---- schedd_store.c ---- */

enum schedd_load {
    SCHEDD_LOADED,
    SCHEDD_LATER,  /* the state is not there or not new enough yet */
    SCHEDD_BROKEN, /* it cannot be read */
};
/*
 * One attempt of the item: image and allocations as the state has them now, the scheduler's run on
 * them. Fills in, out and plan.
 */
enum schedd_load schedd_attempt(struct schedd *d, struct schedd_item *it);
/* The leader left out nodes of the item's plan: the image forgets what it took for done there. */
void schedd_correct_image(struct schedd *d, const struct schedd_item *it,
                          const steppe_PlanResult *res);
void schedd_job_release(struct schedd_item *it);

/* ---- schedd_item.c ---- */

/* Takes a delivery over (its evaluation and token are moved). */
void schedd_item_start(struct schedd_item *it, steppe_EvalDelivery *delivery);
/* Takes the next step with the state as it is. False: it has to wait. */
bool schedd_item_run(struct schedd_item *it);
/* Forgets it: the broker gives it to somebody else with our next dequeue. */
void schedd_item_drop(struct schedd_item *it);
/* It failed here: the broker counts that. */
void schedd_item_nack(struct schedd_item *it, const char *why);
/* Sends what has ended since the last time. */
void schedd_ends_send(struct schedd *d);

/* ---- schedd_shell.c ---- */

/* A slot became free, an item is ready or has ended. */
void schedd_wake(struct schedd *d);
/* While stopping: says so when nothing is under way any more. */
void schedd_check_stopped(struct schedd *d);
void schedd_call(struct schedd *d, unsigned method, const void *body, size_t len, bus_reply_fn *fn,
                 void *user);
