/* SPDX-License-Identifier: MPL-2.0 */
/* What the tests of the scheduler share: nodes, jobs and allocations in few words, and a run. */
#pragma once

#include "rpc.pb.h"
#include "sched_core.h"

#define SCHED_TEST_NOW INT64_C(1800000000000000000)

/* The world of a test: an image of nodes, one job, its allocations. */
struct world {
    struct image *im;
    struct sched_arena arena;
    struct sched_regexps *re;
    struct prng prng;
    struct sched_in in;
    struct sched_out out;
    struct strbuf plan_bytes, body;
    steppe_Plan plan;      /* decoded, of the last run */
    steppe_EvalEnd update; /* of the last finish */
    bool has_plan, has_update;
    steppe_Job job;
    steppe_TaskGroup groups[4];
    steppe_Task tasks[4][2];
    steppe_Job before; /* as it was, see world_new_version() */
    steppe_TaskGroup groups_before[4];
    steppe_Task tasks_before[4][2];
    char *dcs[2];
    steppe_Evaluation eval;
    struct sched_alloc allocs[64];
    steppe_Allocation alloc_msgs[64];
    struct strbuf alloc_bytes[64];
    size_t allocs_n;
};

void world_init(struct world *w);
void world_fini(struct world *w);

/* "00000000-0000-4000-8000-0000000000NN"; one of 16 buffers. */
const char *test_uuid(unsigned n);

struct test_node {
    unsigned n;                                       /* of its id */
    int64_t cpu, memory, disk;                        /* 0: 4000, 8192, 100000 */
    const char *dc, *class, *computed_class, *status; /* NULL: dc1, "", v1:1, ready */
    const char *attr[8];                              /* key, value, ... */
    const char *meta[8];
    const char *driver; /* NULL: raw_exec */
    bool ineligible;
    uint32_t cores; /* reservable ones */
};
void world_node(struct world *w, const struct test_node *n);

/* A group with one task: raw_exec, cpu 500, memory 256, disk 300. */
steppe_TaskGroup *world_group(struct world *w, const char *name, int count);
/* An allocation of the world's job, in list and (if live) image. */
steppe_Allocation *world_alloc(struct world *w, unsigned id, const char *group, int index,
                               unsigned node);
/* After changes to allocations by their pointers: encodes them and reads them as the state would.
 */
void world_load(struct world *w);
/* After world_load(): the allocations stay those of the job as it is now, and the job, which may be
 * changed then, becomes a newer version. */
void world_new_version(struct world *w);
/* An allocation of another job, in the image only. */
void world_other(struct world *w, unsigned id, unsigned node, int priority, struct image_use use);

/* One attempt; w->plan is what came out, unless more than 1,000 placements did. */
void world_run(struct world *w);
void world_finish(struct world *w, bool given_up);

/* How many placements of the plan went to the node. */
unsigned placed_on(const struct world *w, unsigned node);
/* The score of a node in the first placement's metric; -100 when it is not there. */
double score_on(const struct world *w, unsigned node, const char *name);
const steppe_AllocMetric *failed_metric(const struct world *w, const char *group);
int count_in(const void *entries, size_t n, const char *key); /* of a map<string, int32> */
