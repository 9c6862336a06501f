/* SPDX-License-Identifier: MPL-2.0 */
/*
 * All allocations of the node: learned from the servers, run, told about, kept on disk, collected.
 * What other parts of clientd may ask is in alloc_api.h.
 *
 *     allocs.c       the set: finding, adding, updating, ending, what people ask for
 *     allocs_run.c   effects of the core -> drivers and folders; events of drivers -> the core
 *     allocs_disk.c  state on disk, and taking it up again
 *     allocs_sync.c  servers <-> allocations
 *     allocs_gc.c    collecting ended ones
 */
#pragma once

#include "alloc_api.h"
#include "allocs_core.h"
#include "bus/bus.h"
#include "driver.h"
#include "svc/svc.h"

#define ALLOCS_MAX 16384 /* on one node; more are not taken */

struct alloc_run {
    struct alloc *al;
    size_t task;
    const struct driver *driver;
    struct driver_task *dt; /* NULL: nothing runs */
    char *failure;          /* could not be started: told to the core when the loop turns */
    enum task_ev_type failure_type;
    bool failure_retry;
    /* the sample before, for percentages */
    uint64_t user_ns, system_ns;
    int64_t sampled;
};

struct alloc {
    struct allocs *owner;
    char *dir;       /* ALLOC_DIR/ID */
    char *state_dir; /* STATE_DIR/allocs/ID */
    steppe_Allocation alloc;
    struct alloc_core core;
    struct alloc_run *runs; /* core.n */
    bool waits_for_servers; /* restored after a boot: it may have been placed elsewhere meanwhile */
    bool unsaved;           /* the disk did not take the last change: once more later */
    bool unsynced;          /* its file has to be synced before a task starts */
    bool moved;             /* the disk of the one before was taken over */
    bool forgotten;         /* the servers have it no more: collect it when it is ended */
    bool dirty, sending;    /* has news for the servers; they are under way */
    bool told_end;          /* they know that it ended */
    char told_status[16];   /* client status that they were told last */
    char *refused;          /* why it cannot even be set up: it has no tasks here, and has failed */
    int64_t ended_at;       /* wall clock; 0 = not terminal */
};

/* An allocation that is none of our business (any more), as the servers listed it. */
struct alloc_seen {
    char id[37];
    uint64_t index;
};

struct allocs {
    struct svc_ctx *ctx;
    struct driver_ctx drivers;
    struct cgroup_host cgroups;
    struct bus_client *routerd;
    const char *node_id, *secret;
    const steppe_Node *node; /* as it is told to the servers; for ${attr...} */
    char boot_id[40];
    struct alloc **items;
    size_t n;
    struct alloc_seen *seen; /* by id */
    size_t seen_n;
    uv_timer_t tick, watch, update, gc, soon, silence;
    unsigned removing; /* folders, on worker threads */
    unsigned open;     /* timers and removals that still point here */
    uint64_t index;    /* of the last list */
    int64_t told_at;   /* monotonic: of the last update */
    int64_t heard_at;  /* of the last heartbeat that was answered */
    bool heard;        /* the servers answered since the start */
    bool updating, stopping;
    uint64_t watch_call, update_call;
    unsigned watch_failures, update_failures;
    size_t fetch_max; /* allocations asked for at once: fewer after a failure, they may be large */
    void (*on_quiet)(void *user); /* nothing runs any more */
    void *on_quiet_user;
};

/* node is borrowed and may change (allocs_set_node). Takes up what is on disk. -errno with a text.
 */
int allocs_new(struct svc_ctx *ctx, struct bus_client *routerd, const char *node_id,
               const char *secret, struct allocs **ret, struct errtext *e);
void allocs_set_node(struct allocs *a, const steppe_Node *node);
/* The node is registered: asks for its allocations from now on. */
void allocs_begin(struct allocs *a);
/* A heartbeat was answered. */
void allocs_heard(struct allocs *a);
/* Ends all tasks (a -dev node); fn is called when nothing runs, maybe at once. */
void allocs_end_all(struct allocs *a, void (*fn)(void *user), void *user);
/* Leaves all tasks running. a is freed when the loop has closed its timers. */
struct allocs *allocs_free(struct allocs *a);

/* ---- between the files ---- */

/* Makes the core, its rules and runs for al->alloc. -EINVAL with a text for what cannot be run. */
int alloc_set_up(struct alloc *al, struct errtext *e);
struct alloc *alloc_new(struct allocs *a, const char *id);
/* Takes msg over (it is released or kept). */
void allocs_take(struct allocs *a, steppe_Allocation *msg);
void allocs_remove(struct allocs *a, struct alloc *al); /* out of the set; freed */

void alloc_feed(struct alloc *al, size_t task, struct task_ev *ev);
void alloc_look(struct alloc *al);
void alloc_attach(struct alloc *al);
char *alloc_run_folder(const struct alloc *al, size_t task);
void allocs_arm(struct allocs *a); /* the next tick */

int alloc_save(struct alloc *al, bool whole, bool sync);
void allocs_restore(struct allocs *a);
void allocs_tell(struct allocs *a); /* soon, with what else there is */
void allocs_sync_stop(struct allocs *a);
void allocs_gc(struct allocs *a);
/* Removes it and its folders when nothing of it runs. */
void alloc_collect(struct alloc *al);
/* Is this entry of STATE_DIR/allocs what an earlier clientd was about to remove? Then it is now. */
bool alloc_go_on_collecting(struct allocs *a, const char *entry);
void allocs_unref(struct allocs *a); /* one of `open` is done; frees with the last */
