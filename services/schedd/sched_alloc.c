/* SPDX-License-Identifier: MPL-2.0 */
#include "sched_alloc.h"

#include <errno.h>
#include <string.h>

#include "sched_pb.h"

#define EVENTS_MAX 1024

static bool is_word(struct bytes b, const char *word)
{
    return b.len == strlen(word) && memcmp(b.data, word, b.len) == 0;
}

static enum sched_desired desired_of(struct bytes b)
{
    if (is_word(b, "stop"))
        return SCHED_STOP;
    return is_word(b, "evict") ? SCHED_EVICT : SCHED_RUN;
}

static enum sched_client client_of(struct bytes b)
{
    static const char *const words[] = {"pending", "running", "complete", "failed", "lost"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (is_word(b, words[i]))
            return (enum sched_client)i;
    return SCHED_PENDING;
}

static int32_t index_of(const char *name)
{
    const char *open = strrchr(name, '[');
    long n = open ? strtol(open + 1, NULL, 10) : 0;

    return n >= 0 && n <= INT32_MAX ? (int32_t)n : 0;
}

static void read_transition(struct sched_alloc *a, struct bytes in, bool *bad)
{
    struct wire_field f;

    while (sched_pb_next(&in, &f, bad)) {
        if (f.tag == steppe_DesiredTransition_migrate_tag)
            a->migrate = f.num;
        else if (f.tag == steppe_DesiredTransition_reschedule_tag)
            a->reschedule = f.num;
        else if (f.tag == steppe_DesiredTransition_force_reschedule_tag)
            a->force_reschedule = f.num;
    }
}

/* One entry of task_states. */
static void read_state(struct sched_alloc *a, struct bytes in, bool *bad)
{
    struct wire_field f;
    bool failed = false, dead = false;
    int64_t finished = 0;

    while (sched_pb_next(&in, &f, bad)) {
        struct bytes value = f.data;
        struct wire_field s;

        if (f.tag != 2 || f.wire != WIRE_BYTES) /* of a map entry: 1 key, 2 value */
            continue;
        while (sched_pb_next(&value, &s, bad)) {
            if (s.tag == steppe_TaskState_failed_tag)
                failed = s.num;
            else if (s.tag == steppe_TaskState_finished_at_tag)
                finished = (int64_t)s.num;
            else if (s.tag == steppe_TaskState_state_tag && s.wire == WIRE_BYTES)
                dead = is_word(s.data, "dead");
        }
    }
    a->finished = MAX(a->finished, finished);
    a->succeeded &= dead && !failed;
}

static void read_event(struct sched_arena *arena, struct sched_event *e, struct bytes in, bool *bad)
{
    struct wire_field f;

    *e = (struct sched_event){.prev_alloc_id = "", .prev_node_id = ""};
    while (sched_pb_next(&in, &f, bad)) {
        if (f.tag == steppe_RescheduleEvent_reschedule_time_tag)
            e->time = (int64_t)f.num;
        else if (f.tag == steppe_RescheduleEvent_delay_tag)
            e->delay = (int64_t)f.num;
        else if (f.tag == steppe_RescheduleEvent_prev_alloc_id_tag)
            e->prev_alloc_id = sched_arena_text(arena, f.data.data, f.data.len);
        else if (f.tag == steppe_RescheduleEvent_prev_node_id_tag)
            e->prev_node_id = sched_arena_text(arena, f.data.data, f.data.len);
    }
}

static void read_tracker(struct sched_arena *arena, struct sched_alloc *a, struct bytes in,
                         bool *bad)
{
    struct bytes count = in;
    struct wire_field f;
    size_t n = 0;

    while (sched_pb_next(&count, &f, bad))
        n += f.tag == steppe_RescheduleTracker_events_tag && f.wire == WIRE_BYTES;
    n = MIN(n, (size_t)EVENTS_MAX);
    a->events = SCHED_NEW_N(arena, struct sched_event, n);
    a->events_n = 0;
    while (a->events_n < n && sched_pb_next(&in, &f, bad))
        if (f.tag == steppe_RescheduleTracker_events_tag && f.wire == WIRE_BYTES)
            read_event(arena, &a->events[a->events_n++], f.data, bad);
}

/* Texts: where each goes. */
static const char **text_of(struct sched_alloc *a, uint32_t tag)
{
    switch (tag) {
    case steppe_Allocation_id_tag:
        return &a->id;
    case steppe_Allocation_name_tag:
        return &a->name;
    case steppe_Allocation_node_id_tag:
        return &a->node_id;
    case steppe_Allocation_task_group_tag:
        return &a->group;
    case steppe_Allocation_deployment_id_tag:
        return &a->deployment_id;
    case steppe_Allocation_next_allocation_tag:
        return &a->next_allocation;
    case steppe_Allocation_followup_eval_id_tag:
        return &a->followup_eval_id;
    default:
        return NULL;
    }
}

static void read_number(struct sched_alloc *a, const struct wire_field *f)
{
    switch (f->tag) {
    case steppe_Allocation_create_index_tag:
        a->create_index = f->num;
        break;
    case steppe_Allocation_modify_index_tag:
        a->modify_index = f->num;
        break;
    case steppe_Allocation_create_time_tag:
        a->create_time = (int64_t)f->num;
        break;
    case steppe_Allocation_modify_time_tag:
        a->modify_time = (int64_t)f->num;
        break;
    case steppe_Allocation_job_version_tag:
        a->job_version = f->num;
        break;
    case steppe_Allocation_job_create_index_tag:
        a->job_create_index = f->num;
        break;
    default:
        break;
    }
}

static void read_bytes(struct sched_arena *arena, struct sched_alloc *a, const struct wire_field *f,
                       bool *states, bool *bad)
{
    const char **text = text_of(a, f->tag);

    if (text) {
        *text = sched_arena_text(arena, f->data.data, f->data.len);
        return;
    }
    switch (f->tag) {
    case steppe_Allocation_desired_status_tag:
        a->desired = desired_of(f->data);
        break;
    case steppe_Allocation_client_status_tag:
        a->client = client_of(f->data);
        break;
    case steppe_Allocation_desired_transition_tag:
        read_transition(a, f->data, bad);
        break;
    case steppe_Allocation_task_states_tag:
        *states = true;
        read_state(a, f->data, bad);
        break;
    case steppe_Allocation_reschedule_tracker_tag:
        read_tracker(arena, a, f->data, bad);
        break;
    case steppe_Allocation_allocated_resources_tag:
        a->resources = f->data;
        break;
    default:
        break;
    }
}

struct reading {
    struct sched_arena *arena;
    bool states, bad;
};

static void read_part(struct reading *r, struct bytes in, struct sched_alloc *a)
{
    struct wire_field f;
    bool fresh = true;

    while (sched_pb_next(&in, &f, &r->bad)) {
        if (f.tag == steppe_Allocation_task_states_tag && fresh) {
            /* A later piece's states replace those of the former. */
            a->succeeded = true;
            a->finished = 0;
            fresh = false;
        }
        if (f.wire == WIRE_BYTES)
            read_bytes(r->arena, a, &f, &r->states, &r->bad);
        else
            read_number(a, &f);
    }
}

int sched_alloc_read(struct sched_arena *arena, struct bytes placed, struct bytes changed,
                     struct sched_alloc *ret)
{
    struct reading r = {.arena = arena};

    *ret = (struct sched_alloc){.id = "",
                                .name = "",
                                .node_id = "",
                                .group = "",
                                .deployment_id = "",
                                .next_allocation = "",
                                .followup_eval_id = "",
                                .placed = placed,
                                .changed = changed,
                                .succeeded = true};
    read_part(&r, placed, ret);
    read_part(&r, changed, ret);
    ret->succeeded &= r.states;
    ret->index = index_of(ret->name);
    return r.bad || !*ret->id ? -EBADMSG : 0;
}

void sched_alloc_mend_times(struct sched_alloc *a, int64_t now)
{
    if (a->modify_time > now)
        a->modify_time = now;
    if (a->finished > now || (a->finished > 0 && a->finished < a->create_time))
        a->finished = a->modify_time;
}

const steppe_TaskGroup *sched_job_group(const steppe_Job *job, const char *name)
{
    for (pb_size_t i = 0; job && i < job->task_groups_count; i++)
        if (job->task_groups[i].name && strcmp(job->task_groups[i].name, name) == 0)
            return &job->task_groups[i];
    return NULL;
}

/* ---- rescheduling ---- */

static int64_t fail_time(const struct sched_alloc *a)
{
    return a->finished > 0 ? a->finished : a->modify_time;
}

static const steppe_ReschedulePolicy *policy_of(const struct sched_alloc *a)
{
    return a->tg && a->tg->has_reschedule_policy ? &a->tg->reschedule_policy : NULL;
}

static int64_t next_delay(const struct sched_alloc *a, const steppe_ReschedulePolicy *p)
{
    const struct sched_event *e = a->events;
    size_t n = a->events_n;
    const char *function = p->delay_function ? p->delay_function : "";
    int64_t delay = p->delay;

    if (n == 0)
        return delay;
    if (strcmp(function, "exponential") == 0) {
        delay = sched_time_add(e[n - 1].delay, e[n - 1].delay);
    } else if (strcmp(function, "fibonacci") == 0) {
        /* A series that reached its ceiling and was reset begins anew. */
        if (n >= 2 && e[n - 2].delay == p->max_delay && e[n - 1].delay == p->delay)
            delay = e[n - 1].delay;
        else if (n >= 2)
            delay = sched_time_add(e[n - 1].delay, e[n - 2].delay);
    } else {
        return delay;
    }
    if (p->max_delay > 0 && delay > p->max_delay) {
        delay = p->max_delay;
        if (fail_time(a) - e[n - 1].time > delay)
            delay = p->delay; /* it ran well for long enough */
    }
    return delay;
}

struct sched_reschedule sched_alloc_reschedule(const struct sched_alloc *a)
{
    const steppe_ReschedulePolicy *p = policy_of(a);
    struct sched_reschedule r = {0};
    int64_t failed = fail_time(a);
    int32_t attempted = 0;

    if (!p)
        return r;
    r.delay = next_delay(a, p);
    r.at = sched_time_add(failed, r.delay);
    if (a->desired == SCHED_STOP || a->client != SCHED_FAILED || failed == 0)
        return r;
    r.eligible = p->unlimited || (p->attempts > 0 && a->events_n == 0);
    if (p->attempts > 0 && a->events_n > 0) {
        for (size_t i = 0; i < a->events_n; i++)
            attempted += failed - a->events[i].time < p->interval;
        r.eligible = attempted < p->attempts && r.delay < p->interval;
    }
    return r;
}

struct sched_event *sched_alloc_tracker(struct sched_arena *arena, const struct sched_alloc *prev,
                                        int64_t now, size_t *ret_n)
{
    struct sched_event *out = SCHED_NEW_N(arena, struct sched_event, prev->events_n + 1);
    const steppe_ReschedulePolicy *p = policy_of(prev);
    size_t n = 0, first = 0;

    if (!(p && p->attempts > 0) && prev->events_n > SCHED_EVENTS_PAST)
        first = prev->events_n - SCHED_EVENTS_PAST;
    for (size_t i = first; i < prev->events_n; i++) {
        const struct sched_event *e = &prev->events[i];

        if (p && p->attempts > 0 && !(p->interval > 0 && now - e->time <= p->interval))
            continue;
        out[n++] = *e;
    }
    out[n++] = (struct sched_event){.time = now,
                                    .delay = sched_alloc_reschedule(prev).delay,
                                    .prev_alloc_id = prev->id,
                                    .prev_node_id = prev->node_id};
    *ret_n = n;
    return out;
}
