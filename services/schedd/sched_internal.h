/* SPDX-License-Identifier: MPL-2.0 */
/* The inside of the scheduler: one evaluation under work. */
#pragma once

#include "sched_core.h"
#include "sched_match.h"

/* ---- counts of property values: spreads and distinct_property ---- */

struct sched_value {
    const char *text;
    uint32_t existing, proposed, cleared; /* allocations: there, planned, to be stopped */
};

/* One attribute over the nodes of a group's (or the job's) allocations. */
struct sched_property {
    const char *target;
    const char *group;  /* NULL: all groups of the job */
    uint64_t allowed;   /* distinct_property */
    const char *broken; /* text when it cannot be used at all */
    struct sched_value *values;
    uint32_t values_n, values_cap;
    uint32_t *table; /* open addressing: number of value + 1 */
    uint32_t table_cap;
    int32_t *of_node; /* by slot: 0 = not looked up, -1 = has none, else number of value + 1 */
    bool bounds_known, any;
    uint32_t min, max; /* uses of a value, of those that are used */
};

struct sched_target_count {
    const char *value;
    double desired;
};

struct sched_spread {
    struct sched_property property;
    int32_t weight;
    struct sched_target_count *targets; /* "*": all others */
    size_t targets_n;
};

/* ---- a group, made ready ---- */

struct sched_port_ask {
    const char *label, *host_network;
    int32_t value, to; /* value 0: any */
    bool fixed;
    int32_t task; /* -1: the group's network */
};

enum sched_class_state { SCHED_CLASS_UNKNOWN, SCHED_CLASS_NO, SCHED_CLASS_YES };

struct sched_group {
    const steppe_TaskGroup *tg;
    uint32_t number;
    struct image_use use; /* without ports and cores */
    int32_t cores;        /* of all tasks */
    struct sched_port_ask *ports;
    size_t ports_n;
    bool too_many_ports;      /* beyond IMAGE_USE_PORTS_MAX: fits nowhere */
    const char *network_mode; /* NULL: asks for no network */
    const steppe_Constraint **constraints;
    size_t constraints_n;
    const char **drivers;
    size_t drivers_n;
    const steppe_Affinity **affinities;
    size_t affinities_n;
    double affinity_sum;
    double *affinity_of; /* by slot: score + 2, 0 = not known yet */
    struct sched_spread *spreads;
    size_t spreads_n;
    double spread_weights; /* sum */
    struct sched_property *distinct;
    size_t distinct_n;
    bool distinct_hosts, escaped, devices;
    uint32_t *here;   /* by slot: live allocations of this group */
    uint8_t *classes; /* by class number: enum sched_class_state */
    struct bytes
        resources;       /* AllocatedResources, encoded, when neither ports nor cores are in it */
    struct bytes common; /* fields that all its placements share, encoded */
    struct sched_metric *failed; /* of the first placement that failed */
    int64_t queued;
};

struct sched_offer {
    const struct sched_port_ask *ask;
    int32_t value;
    const char *address;
};

/* A node that could take it. */
struct sched_option {
    uint32_t node;
    struct sched_scores scores;
    struct sched_offer *offers; /* one per port ask */
    uint16_t *cores;
    int32_t cores_n;
    int64_t core_mhz;
    struct image_id *victims;
    int32_t *victim_priorities;
    size_t victims_n;
};

/* ---- the plan ---- */

/* For preemption's penalty: how many of a group are preempted by this plan. */
struct sched_preempted {
    uint32_t job, group;
    int32_t n;
};

#define SCHED_OPTIONS 8 /* at once: the best one, three that are kept for worse times, one new */

struct sched_ctx {
    const struct sched_in *in;
    struct sched_arena *arena;
    struct sched_out *out;
    struct image *im;
    bool batch, system;
    const char *ns, *job_id;

    struct sched_group *groups;
    size_t groups_n;
    uint32_t slots;
    uint32_t *job_here; /* by slot: live allocations of the job */

    /* Candidates: ready nodes in the job's datacenters. */
    uint32_t *nodes;
    uint32_t nodes_n, nodes_offset, nodes_mixed; /* mixed: so many are in random order already */
    struct strbuf scratch;
    struct bytes available; /* nodes_available, encoded */

    /* Classes: a number for each computed class met. */
    int32_t *class_of; /* by slot: number + 1, 0 = not known */
    const char **class_names;
    uint8_t *job_classes;
    uint32_t classes_n, classes_cap;
    bool job_escaped, distinct_hosts;
    struct sched_property *distinct; /* of the job */
    size_t distinct_n;

    struct sched_metric metric;

    struct sched_option options[SCHED_OPTIONS];
    bool options_busy[SCHED_OPTIONS];

    struct strbuf *plan; /* placements and preemptions are written as they are found */
    struct sched_stop *stops;
    size_t stops_n, stops_cap, placed_cap, preempted_n, preempted_cap;
    struct sched_preempted *preempted;
    steppe_Evaluation *evals; /* to be written with the plan */
    size_t evals_n;
};

/* What one search wants besides the group. */
struct sched_ask {
    const struct sched_alloc *prev; /* nodes where it failed get a penalty; NULL = none */
    uint32_t only;                  /* this node and no other; IMAGE_NONE = all */
    bool preempt;
};

/* ---- sched_group.c ---- */

/* Groups, candidates and counts, from in. */
void sched_ctx_init(struct sched_ctx *c);
struct sched_group *sched_ctx_group(struct sched_ctx *c, const char *name); /* or NULL */
/* An allocation of the job appears on a node or leaves it: counts. */
void sched_ctx_count(struct sched_ctx *c, struct sched_group *g, uint32_t node, int change);
/* Takes back a change of -1. */
void sched_ctx_uncount_stop(struct sched_ctx *c, struct sched_group *g, uint32_t node);

/* ---- sched_property.c ---- */

void sched_property_init(struct sched_ctx *c, struct sched_property *p);
/* The value's number on a node, -1 when it has none. */
int32_t sched_property_on(struct sched_ctx *c, struct sched_property *p, uint32_t node);
uint32_t sched_value_used(const struct sched_value *v);
/* NULL when one more may go there, else the text of the metric. */
const char *sched_property_refuses(struct sched_ctx *c, struct sched_property *p, uint32_t node);
void sched_spreads_init(struct sched_ctx *c, struct sched_group *g);
double sched_spread_score(struct sched_ctx *c, struct sched_group *g, uint32_t node);

/* ---- sched_feasible.c ---- */

/* Says in the metric why not. */
bool sched_feasible(struct sched_ctx *c, struct sched_group *g, const struct image_node *n);

/* ---- sched_net.c ---- */

/* The address of a node's network of that name; NULL when it has none. */
const char *sched_net_address(const steppe_Node *n, const char *host_network);
bool sched_net_mode_there(const steppe_Node *n, const char *mode);
/* Ports for all asks into offers; false: text says why. */
bool sched_net_offer(struct sched_ctx *c, const struct sched_group *g, const struct image_node *n,
                     struct sched_offer *offers, struct errtext *e);

/* ---- sched_preempt.c ---- */

/*
 * Victims that make room on the node: those that hold fixed ports, and for cpu, memory and disk.
 * They are appended to the option and stopped in the image (the caller undoes that). False when it
 * cannot be done.
 */
bool sched_preempt_ports(struct sched_ctx *c, const struct sched_group *g,
                         const struct image_node *n, struct sched_option *o);
bool sched_preempt_room(struct sched_ctx *c, const struct image_node *n,
                        const struct image_use *use, struct sched_option *o);
double sched_preempt_score(const struct sched_option *o);
/* The plan preempts it. */
void sched_preempt_note(struct sched_ctx *c, const struct image_alloc *a);

/* ---- sched_select.c ---- */

/*
 * The best node; NULL when there is none. The metric is that of the search, the option is good
 * until the next one.
 */
struct sched_option *sched_select(struct sched_ctx *c, struct sched_group *g,
                                  const struct sched_ask *ask);

/* ---- sched_plan.c ---- */

/*
 * A plan has bounds. Full: new placements wait for the next one; those that replace others have as
 * much room again. Brim-full: also updates in place, and what a system job replaces.
 */
#define SCHED_PLAN_BYTES (6u << 20) /* or SCHED_PLACE_MAX placements */
bool sched_plan_full(const struct sched_ctx *c);
bool sched_plan_brimful(const struct sched_ctx *c);
#define SCHED_STOPS_MAX 32768 /* besides those of what is replaced */

void sched_plan_begin(struct sched_ctx *c);
void sched_plan_stop(struct sched_ctx *c, const struct sched_stop *s);
/* Takes the option: into the plan, the image and the counts. */
void sched_plan_place(struct sched_ctx *c, struct sched_group *g, const struct sched_option *o,
                      const struct sched_want *w);
/* An allocation stays, for the new version of its job. */
void sched_plan_update(struct sched_ctx *c, struct sched_group *g, const struct sched_alloc *a);
/* Stops and evaluations; sets out->noop. */
void sched_plan_end(struct sched_ctx *c);

/* ---- sched_resources.c ---- */

/* What an option means for the group's tasks; o NULL: without ports and cores. In the arena. */
steppe_AllocatedResources *sched_resources(struct sched_ctx *c, const struct sched_group *g,
                                           const struct sched_option *o);
struct bytes sched_resources_encode(struct sched_ctx *c, const steppe_AllocatedResources *r);

/* ---- sched_generic.c, sched_system.c ---- */

void sched_run_generic(struct sched_ctx *c);
void sched_run_system(struct sched_ctx *c);
/* Down or gone. */
bool sched_node_lost(const struct image *im, const char *node_id);
/* Would the group fit on the allocation's node in its place? */
bool sched_fits_in_place(struct sched_ctx *c, struct sched_group *g, const struct sched_alloc *a);
/* Stops it in plan, image and counts. */
void sched_stop_alloc(struct sched_ctx *c, const struct sched_stop *s);
/* The search found nothing: the group's failure. */
void sched_failed(struct sched_ctx *c, struct sched_group *g);
/* One for the same job. */
steppe_Evaluation sched_eval_like(const struct sched_in *in, struct sched_arena *arena,
                                  const char *trigger, const char *status);
