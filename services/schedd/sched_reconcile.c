/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_reconcile.h"

#include <limits.h>
#include <string.h>

/* Where an allocation of the group under work belongs. */
enum set {
    SET_OUT,       /* does not count any more */
    SET_UNTAINTED, /* counts towards the group's count */
    SET_MIGRATE,
    SET_LOST,
    SET_RESCHEDULE, /* now */
};

struct item {
    struct sched_alloc *a;
    enum set set;
    bool later;           /* reschedule later */
    int64_t at;           /* when it may be replaced, if that is later */
    const char *followup; /* evaluation that looks at it then */
    bool replaced;        /* lost, and a want has its stop */
};

/* Indexes of names in use, ascending, each once. */
struct names {
    int32_t *index;
    bool *used;
    size_t n;
};

struct group {
    const struct sched_reconcile_in *in;
    struct sched_reconcile_out *out;
    const steppe_TaskGroup *tg;
    struct sched_desired_counts *counts;
    struct item *items;
    size_t n;
    struct names names;
    int64_t count;   /* wanted */
    bool lost_later; /* stop_after_client_disconnect: no replacement yet */
};

/* ---- output ---- */

static struct sched_stop *add_stop(struct group *g, const struct sched_alloc *a, const char *why)
{
    struct sched_stop *s = &g->out->stops[g->out->stops_n++];

    *s = (struct sched_stop){.alloc = a, .description = why};
    return s;
}

static void stop_item(struct group *g, struct item *it, const char *why)
{
    (void)add_stop(g, it->a, why);
    g->counts->stop++;
    it->set = SET_OUT;
}

static size_t count_set(const struct group *g, enum set set)
{
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++)
        n += g->items[i].set == set;
    return n;
}

/* ---- names ---- */

static void names_from(struct group *g, struct names *names, unsigned sets)
{
    names->index = SCHED_NEW_N(g->in->arena, int32_t, g->n);
    names->used = SCHED_NEW_N(g->in->arena, bool, g->n);
    names->n = 0;
    for (size_t i = 0; i < g->n; i++) { /* items are sorted by index */
        int32_t index = g->items[i].a->index;

        if (!(sets >> g->items[i].set & 1))
            continue;
        if (names->n > 0 && names->index[names->n - 1] == index)
            continue;
        names->index[names->n] = index;
        names->used[names->n++] = true;
    }
}

static void name_release(struct names *names, int32_t index)
{
    for (size_t i = 0; i < names->n; i++)
        if (names->index[i] == index)
            names->used[i] = false;
}

/* The n highest ones that are in use are released; the lowest of them comes back. */
static void names_highest(struct names *names, size_t n, bool *picked)
{
    for (size_t i = names->n; i > 0; i--) {
        picked[i - 1] = n > 0 && names->used[i - 1];
        if (picked[i - 1]) {
            names->used[i - 1] = false;
            n--;
        }
    }
}

static bool name_picked(const struct names *names, const bool *picked, int32_t index)
{
    for (size_t lo = 0, hi = names->n; lo < hi;) {
        size_t mid = (lo + hi) / 2;

        if (names->index[mid] == index)
            return picked[mid];
        if (names->index[mid] < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* ---- sorting into sets ---- */

static bool older(const struct sched_reconcile_in *in, const struct sched_alloc *a)
{
    return a->job_version < in->job->version || a->job_create_index < in->job->create_index;
}

/* On a node that is gone, or asked to move. */
static enum set by_node(const struct sched_reconcile_in *in, const struct sched_alloc *a)
{
    if (sched_alloc_terminal(a))
        return SET_UNTAINTED;
    if (a->migrate)
        return SET_MIGRATE;
    return in->node_lost(in->user, a) ? SET_LOST : SET_UNTAINTED;
}

/* What has ended counts no more, unless it is a success of a batch job. */
static enum set by_end(const struct sched_reconcile_in *in, const struct sched_alloc *a)
{
    if (in->batch) {
        if (a->desired != SCHED_RUN)
            return a->succeeded ? SET_UNTAINTED : SET_OUT;
        return a->client == SCHED_FAILED ? SET_RESCHEDULE : SET_UNTAINTED;
    }
    if (a->desired != SCHED_RUN || a->client == SCHED_COMPLETE || a->client == SCHED_LOST)
        return SET_OUT;
    return SET_RESCHEDULE;
}

/* It has not ended by itself: does its policy want another one, and when? */
static void by_policy(const struct sched_reconcile_in *in, struct item *it)
{
    const struct sched_alloc *a = it->a;
    struct sched_reschedule r = sched_alloc_reschedule(a);
    bool due = r.at - in->now <= SCHED_RESCHEDULE_WINDOW_NS;
    bool this_eval = strcmp(a->followup_eval_id, in->eval->id ? in->eval->id : "") == 0;

    /* Later: an allocation of an active deployment waits until its watcher says so. */
    if (a->force_reschedule || (r.eligible && (this_eval || due))) {
        it->set = SET_RESCHEDULE;
        return;
    }
    it->set = SET_UNTAINTED;
    it->later = r.eligible && !*a->followup_eval_id;
    it->at = r.at;
}

static void sort_in(struct group *g)
{
    const struct sched_reconcile_in *in = g->in;

    for (size_t i = 0; i < g->n; i++) {
        struct item *it = &g->items[i];

        if (in->batch && older(in, it->a) && sched_alloc_terminal(it->a)) {
            it->set = SET_OUT;
            g->counts->ignore++;
            continue;
        }
        it->set = by_node(in, it->a);
        if (it->set != SET_UNTAINTED)
            continue;
        if (*it->a->next_allocation && sched_alloc_terminal(it->a)) {
            it->set = SET_OUT; /* has its replacement already */
            continue;
        }
        it->set = by_end(in, it->a);
        if (it->set == SET_RESCHEDULE)
            by_policy(in, it);
    }
}

/* ---- follow-up evaluations ---- */

static char *new_id(const struct sched_reconcile_in *in)
{
    char id[UUID_TEXT_LEN + 1];

    uuid_from_prng(in->prng, id);
    return sched_arena_text(in->arena, id, UUID_TEXT_LEN);
}

static const char *add_followup(struct group *g, int64_t at)
{
    const struct sched_reconcile_in *in = g->in;
    steppe_Evaluation *e = &g->out->followups[g->out->followups_n++];

    *e = (steppe_Evaluation){.id = new_id(in),
                             .namespace = in->job->namespace,
                             .priority = in->job->priority,
                             .type = in->job->type,
                             .triggered_by = (char *)"alloc-failure",
                             .job_id = in->job->id,
                             .job_modify_index = in->job->modify_index,
                             .status = (char *)"pending",
                             .status_description = (char *)"created for delayed rescheduling",
                             .wait_until = at,
                             .previous_eval = in->eval->id,
                             .create_time = in->now,
                             .modify_time = in->now};
    return e->id;
}

static int by_time(const void *x, const void *y)
{
    const struct item *a = *(struct item *const *)x, *b = *(struct item *const *)y;

    return a->at != b->at ? (a->at < b->at ? -1 : 1) : strcmp(a->a->id, b->a->id);
}

/* Evaluations for the times at which allocations may be replaced; those close together share one.
 */
static void add_followups(struct group *g, struct item **list, size_t n)
{
    const char *eval = NULL;
    int64_t first = 0;

    if (n > 0)
        qsort(list, n, sizeof(struct item *), by_time);
    for (size_t i = 0; i < n; i++) {
        if (!eval || list[i]->at - first >= SCHED_FOLLOWUP_BATCH_NS) {
            first = list[i]->at;
            eval = add_followup(g, first);
        }
        list[i]->followup = eval;
    }
}

static void follow_up(struct group *g)
{
    struct item **later = SCHED_NEW_N(g->in->arena, struct item *, g->n);
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++)
        if (g->items[i].later)
            later[n++] = &g->items[i];
    add_followups(g, later, n);
    for (size_t i = 0; i < n; i++)
        g->out->notes[g->out->notes_n++] =
            (struct sched_stop){.alloc = later[i]->a, .followup = later[i]->followup};
}

/* How long a lost allocation with stop_after_client_disconnect may live on; 0 = not at all. */
static int64_t lost_grace(const struct sched_alloc *a)
{
    int64_t kill = INT64_C(5000000000);

    if (!a->tg || !a->tg->has_stop_after_client_disconnect ||
        a->tg->stop_after_client_disconnect <= 0)
        return 0;
    for (pb_size_t i = 0; i < a->tg->tasks_count; i++)
        kill = MAX(kill, a->tg->tasks[i].kill_timeout);
    return sched_time_add(a->tg->stop_after_client_disconnect, kill);
}

/* As long as one of them may live on, the group gets no replacements. */
static void follow_up_lost(struct group *g)
{
    struct item **later = SCHED_NEW_N(g->in->arena, struct item *, g->n);
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++) {
        struct item *it = &g->items[i];
        int64_t grace = it->set == SET_LOST ? lost_grace(it->a) : 0;

        if (grace <= 0)
            continue;
        it->at = sched_time_add(g->in->now, grace);
        later[n++] = it;
    }
    add_followups(g, later, n);
    g->lost_later = n > 0;
}

static struct sched_stop lost_stop(const struct item *it)
{
    return (struct sched_stop){
        .alloc = it->a, .description = SCHED_IS_LOST, .lost = true, .followup = it->followup};
}

/* Those without a replacement. */
static void stop_lost(struct group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        if (g->items[i].set != SET_LOST)
            continue;
        g->counts->stop++;
        if (!g->items[i].replaced)
            g->out->stops[g->out->stops_n++] = lost_stop(&g->items[i]);
    }
}

/* ---- too many ---- */

static bool same_spec(const struct sched_reconcile_in *in, const struct sched_alloc *a)
{
    return a->job_version == in->job->version && a->job_create_index == in->job->create_index;
}

static void stop_migrating(struct group *g, int64_t *remove)
{
    struct names names;
    bool *picked;

    names_from(g, &names, 1u << SET_MIGRATE);
    picked = SCHED_NEW_N(g->in->arena, bool, names.n);
    names_highest(&names, (size_t)*remove, picked);
    for (size_t i = 0; i<g->n && * remove> 0; i++) {
        struct item *it = &g->items[i];

        if (it->set != SET_MIGRATE || !name_picked(&names, picked, it->a->index))
            continue;
        stop_item(g, it, SCHED_NOT_NEEDED);
        name_release(&g->names, it->a->index);
        (*remove)--;
    }
}

static void stop_highest(struct group *g, int64_t *remove)
{
    bool *picked = SCHED_NEW_N(g->in->arena, bool, g->names.n);

    names_highest(&g->names, (size_t)*remove, picked);
    for (size_t i = g->n; i > 0 && *remove > 0; i--) {
        struct item *it = &g->items[i - 1];

        if (it->set != SET_UNTAINTED || sched_alloc_terminal(it->a) ||
            !name_picked(&g->names, picked, it->a->index))
            continue;
        stop_item(g, it, SCHED_NOT_NEEDED);
        (*remove)--;
    }
    /* Names may also be those of ended ones. */
    for (size_t i = g->n; i > 0 && *remove > 0; i--) {
        struct item *it = &g->items[i - 1];

        if (it->set != SET_UNTAINTED || sched_alloc_terminal(it->a))
            continue;
        stop_item(g, it, SCHED_NOT_NEEDED);
        (*remove)--;
    }
}

/* Is a worth more than b, which has its name? */
static bool keeps_name(const struct sched_reconcile_in *in, const struct sched_alloc *a,
                       const struct sched_alloc *b)
{
    if (same_spec(in, a) != same_spec(in, b))
        return same_spec(in, a);
    return a->create_index > b->create_index;
}

/*
 * Two of one name: of a plan that moved one from node to node, the leader took the new one and left
 * out the node of the old one. Nomad keeps both and stops the highest name instead. (Deployments: a
 * canary shares its name with what it is to replace, and is no twin.)
 */
static void stop_twins(struct group *g)
{
    struct item *kept = NULL;

    for (size_t i = 0; i < g->n; i++) {
        struct item *it = &g->items[i], *other = it;

        if (it->set != SET_UNTAINTED || sched_alloc_terminal(it->a))
            continue;
        if (!kept || strcmp(kept->a->name, it->a->name) != 0) {
            kept = it;
            continue;
        }
        if (keeps_name(g->in, it->a, kept->a)) {
            other = kept;
            kept = it;
        }
        stop_item(g, other, SCHED_NOT_NEEDED);
    }
}

static void stop_surplus(struct group *g)
{
    int64_t remove = (int64_t)(count_set(g, SET_UNTAINTED) + count_set(g, SET_MIGRATE)) - g->count;

    /* Deployments: canaries are stopped, or what they replace, before any other. */
    if (remove > 0)
        stop_migrating(g, &remove);
    if (remove > 0)
        stop_highest(g, &remove);
}

/* ---- changed specs ---- */

/* All allocations of one version give the same answer: it is asked for once. */
struct changed_memo {
    const steppe_Job *job;
    bool changed;
};

static bool spec_changed(struct group *g, const struct sched_alloc *a, struct changed_memo *memo)
{
    if (!a->job || !a->tg)
        return true;
    if (memo->job != a->job) {
        memo->job = a->job;
        memo->changed = sched_group_changed(g->in->job, a->job, g->counts->group);
    }
    return memo->changed;
}

static void want(struct group *g, const struct sched_want *w)
{
    g->out->wants[g->out->wants_n++] = *w;
}

/* Another one of the same name; with the stop of the former. */
static void want_instead(struct group *g, const struct item *it, struct sched_stop stop,
                         bool reschedule)
{
    struct sched_stop *s = SCHED_NEW(g->in->arena, struct sched_stop);

    *s = stop;
    want(g, &(struct sched_want){.tg = g->tg,
                                 .index = it->a->index,
                                 .name = it->a->name,
                                 .prev = it->a,
                                 .stop = s,
                                 .reschedule = reschedule});
}

static void update_changed(struct group *g)
{
    struct changed_memo memo = {0};

    for (size_t i = 0; i < g->n; i++) {
        struct item *it = &g->items[i];
        bool changed;

        if (it->set != SET_UNTAINTED)
            continue;
        if (same_spec(g->in, it->a)) {
            g->counts->ignore++;
            continue;
        }
        changed = spec_changed(g, it->a, &memo);
        if (!changed && sched_alloc_terminal(it->a)) {
            g->counts->ignore++;
        } else if (!changed && g->in->in_place(g->in->user, it->a, g->tg)) {
            g->counts->in_place++;
            g->out->updates[g->out->updates_n++] = (struct sched_update){it->a, g->tg};
        } else {
            /* Deployments: at most max_parallel of these at a time; without them all at once. */
            g->counts->destructive++;
            want(g, &(struct sched_want){.tg = g->tg,
                                         .index = it->a->index,
                                         .name = it->a->name,
                                         .prev = it->a,
                                         .destructive = true});
        }
    }
}

/* ---- too few ---- */

static void place_new(struct group *g, int64_t missing)
{
    int64_t room = SCHED_PLACE_MAX, index = 0;
    size_t at = 0;

    g->counts->place += missing;
    while (missing > 0 && room > 0 && index < g->count) {
        while (at < g->names.n && (g->names.index[at] < index || !g->names.used[at]))
            at++;
        if (at < g->names.n && g->names.index[at] == index) {
            index++;
            continue;
        }
        want(g, &(struct sched_want){.tg = g->tg, .index = (int32_t)index++});
        missing--;
        room--;
    }
    /* All names are taken (some twice): they are taken once more. */
    for (index = 0; missing > 0 && room > 0; index++, missing--, room--)
        want(g, &(struct sched_want){.tg = g->tg, .index = (int32_t)index});
    g->counts->place_cut = missing;
}

static void place_missing(struct group *g)
{
    int64_t existing = (int64_t)(count_set(g, SET_UNTAINTED) + count_set(g, SET_MIGRATE) +
                                 count_set(g, SET_RESCHEDULE));

    if (g->lost_later)
        return;
    for (size_t i = 0; i < g->n; i++) {
        struct item *it = &g->items[i];

        if (it->set != SET_RESCHEDULE)
            continue;
        want_instead(g, it, (struct sched_stop){.alloc = it->a, .description = SCHED_RESCHEDULED},
                     true);
        g->counts->place++;
        g->counts->stop++;
    }
    for (size_t i = 0; i < g->n && existing < g->count; i++) {
        struct item *it = &g->items[i];

        if (it->set != SET_LOST)
            continue;
        existing++;
        it->replaced = true;
        want_instead(g, it, lost_stop(it), false);
        g->counts->place++;
    }
    if (existing < g->count)
        place_new(g, g->count - existing);
}

static void migrate(struct group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        struct item *it = &g->items[i];

        if (it->set != SET_MIGRATE)
            continue;
        g->counts->migrate++;
        want_instead(g, it, (struct sched_stop){.alloc = it->a, .description = SCHED_MIGRATING},
                     false);
    }
}

/* ---- a group ---- */

/* Of a group that the job does not have any more (then also what ended by itself, as Nomad does),
 * or of a stopped job. */
static void stop_all(struct group *g)
{
    bool stopped = sched_job_stopped(g->in->job);

    for (size_t i = 0; i < g->n; i++) {
        struct sched_alloc *a = g->items[i].a;
        bool lost;

        if (a->desired != SCHED_RUN || (stopped && sched_alloc_terminal(a)))
            continue;
        lost = !sched_alloc_terminal(a) && !a->migrate && g->in->node_lost(g->in->user, a);
        add_stop(g, a, lost ? SCHED_IS_LOST : SCHED_NOT_NEEDED)->lost = lost;
        g->counts->stop++;
    }
}

static void reconcile_group(struct group *g)
{
    if (!g->tg || sched_job_stopped(g->in->job)) {
        stop_all(g);
        return;
    }
    g->count = MAX(g->tg->count, 0);
    sort_in(g);
    follow_up(g);
    names_from(g, &g->names,
               1u << SET_UNTAINTED | 1u << SET_MIGRATE | 1u << SET_RESCHEDULE | 1u << SET_LOST);
    follow_up_lost(g);
    stop_twins(g);
    stop_surplus(g);
    update_changed(g);
    place_missing(g);
    stop_lost(g);
    migrate(g);
}

/* ---- all ---- */

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* By group, index, age: the order in which all is done. */
static int by_name(const void *x, const void *y)
{
    const struct sched_alloc *a = x, *b = y;
    int r = strcmp(a->group, b->group);

    if (r == 0)
        r = compare_u64((uint64_t)a->index, (uint64_t)b->index);
    if (r == 0)
        r = compare_u64(a->create_index, b->create_index);
    return r ? r : strcmp(a->id, b->id);
}

/*
 * The servers wanted it stopped, and now its client will never say that it has: marked lost, lest
 * it counts as running for ever.
 */
static void stopped_on_lost_nodes(const struct sched_reconcile_in *in,
                                  struct sched_reconcile_out *out)
{
    for (size_t i = 0; i < in->allocs_n; i++) {
        const struct sched_alloc *a = &in->allocs[i];

        if (a->desired == SCHED_RUN || a->client > SCHED_RUNNING || !in->node_lost(in->user, a))
            continue;
        out->stops[out->stops_n++] =
            (struct sched_stop){.alloc = a, .description = SCHED_IS_LOST, .lost = true};
    }
}

static void prepare(const struct sched_reconcile_in *in, struct sched_reconcile_out *out)
{
    size_t n = in->allocs_n, groups = in->job ? in->job->task_groups_count : 0, places = 0;

    for (size_t i = 0; i < groups; i++)
        places += (size_t)MIN(MAX(in->job->task_groups[i].count, 0), SCHED_PLACE_MAX);
    *out = (struct sched_reconcile_out){
        .stops = SCHED_NEW_N(in->arena, struct sched_stop, 2 * n),
        .wants = SCHED_NEW_N(in->arena, struct sched_want, 2 * n + places),
        .updates = SCHED_NEW_N(in->arena, struct sched_update, n),
        .notes = SCHED_NEW_N(in->arena, struct sched_stop, n),
        .followups = SCHED_NEW_N(in->arena, steppe_Evaluation, 2 * n),
        .groups = SCHED_NEW_N(in->arena, struct sched_desired_counts, n + groups),
    };
}

/* The allocations of a group stand together: [from, returned). */
static size_t group_end(const struct sched_reconcile_in *in, size_t from, const char *name)
{
    while (from < in->allocs_n && strcmp(in->allocs[from].group, name) == 0)
        from++;
    return from;
}

static void run_group(const struct sched_reconcile_in *in, struct sched_reconcile_out *out,
                      const char *name, size_t from, size_t to)
{
    struct group g = {.in = in, .out = out, .n = to - from};

    g.tg = sched_job_group(in->job, name);
    g.counts = &out->groups[out->groups_n++];
    g.counts->group = name;
    g.counts->tg = g.tg;
    g.items = SCHED_NEW_N(in->arena, struct item, g.n);
    for (size_t i = 0; i < g.n; i++)
        g.items[i].a = &in->allocs[from + i];
    reconcile_group(&g);
}

/* Resources of what is replaced are free for the replacements: destructive updates go first. */
static void destructive_first(struct sched_arena *arena, struct sched_reconcile_out *out)
{
    struct sched_want *sorted = SCHED_NEW_N(arena, struct sched_want, out->wants_n);
    size_t n = 0;

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < out->wants_n; i++)
            if (out->wants[i].destructive == (pass == 0))
                sorted[n++] = out->wants[i];
    out->wants = sorted;
}

void sched_reconcile(const struct sched_reconcile_in *in, struct sched_reconcile_out *out)
{
    bool *done = SCHED_NEW_N(in->arena, bool, in->job ? in->job->task_groups_count : 0);

    prepare(in, out);
    if (in->allocs_n)
        qsort(in->allocs, in->allocs_n, sizeof(*in->allocs), by_name);
    stopped_on_lost_nodes(in, out);
    for (size_t i = 0; i < in->allocs_n;) {
        const char *name = in->allocs[i].group;
        size_t end = group_end(in, i, name);
        const steppe_TaskGroup *tg = sched_job_group(in->job, name);

        if (tg)
            done[tg - in->job->task_groups] = true;
        run_group(in, out, name, i, end);
        i = end;
    }
    for (pb_size_t i = 0; in->job && i < in->job->task_groups_count; i++) {
        const steppe_TaskGroup *tg = &in->job->task_groups[i];

        /* A name that is there twice is that of the first. */
        if (!done[i] && tg->name && sched_job_group(in->job, tg->name) == tg)
            run_group(in, out, tg->name, 0, 0);
    }
    destructive_first(in->arena, out);
}
