/* SPDX-License-Identifier: MPL-2.0 */
/* Client nodes: registration, status, eligibility, and the events that tell their story. */
#include "state/fsm_alloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "member.pb.h"
#include "rpc.pb.h"

#define NODE_EVENT_REGISTERED     "Node registered"
#define NODE_EVENT_REREGISTERED   "Node re-registered"
#define NODE_EVENT_HEARTBEAT_BACK "Node reregistered by heartbeat"
#define NODE_EVENT_ELIGIBLE       "Node marked as eligible for scheduling"
#define NODE_EVENT_INELIGIBLE     "Node marked as ineligible for scheduling"
#define FSM_PRIORITY_DEFAULT      50
#define NODE_EVENT_SUBSYSTEM      "Cluster"

static bool node_status_valid(const char *s)
{
    return strcmp(s, "initializing") == 0 || strcmp(s, "ready") == 0 || strcmp(s, "down") == 0;
}

static bool node_eligibility_valid(const char *s)
{
    return strcmp(s, "eligible") == 0 || strcmp(s, "ineligible") == 0;
}

static int64_t fsm_now_s(const struct fsm_ctx *c)
{
    return c->cmd->now.ns / NS_PER_SEC;
}

static void fsm_node_event(struct fsm_ctx *c, steppe_NodeRow *row, const char *message)
{
    steppe_NodeRowEvent *ev;

    if (row->events_count == STATE_NODE_EVENTS_MAX) {
        memmove(row->events, row->events + 1, (STATE_NODE_EVENTS_MAX - 1) * sizeof(row->events[0]));
        row->events_count--;
    }
    ev = &row->events[row->events_count++];
    *ev = (steppe_NodeRowEvent){.timestamp = fsm_now_s(c), .create_index = c->index};
    snprintf(ev->message, sizeof(ev->message), "%s", message);
    snprintf(ev->subsystem, sizeof(ev->subsystem), "%s", NODE_EVENT_SUBSYSTEM);
}

/* STORE_E_NOT_FOUND when there is none. */
static int fsm_node_read(struct fsm_ctx *c, struct bytes id, steppe_NodeRow *ret)
{
    struct bytes v;
    int r = store_get(c->t, STATE_NODES, id, &v);

    return r ? r : row_decode(steppe_NodeRow_fields, v, ret, sizeof(*ret));
}

static bool fsm_node_ready(const steppe_NodeRow *row)
{
    return strcmp(row->status, "ready") == 0 && strcmp(row->eligibility, "eligible") == 0;
}

/* what: created, deleted, registered, was_ready, is_ready. */
static void fsm_node_note(struct fsm_ctx *c, struct bytes id, struct fsm_change what)
{
    what.kind = FSM_CHANGE_NODE;
    memcpy(what.id, id.data, MIN(id.len, sizeof(what.id) - 1));
    fsm_note(c, &what);
}

/* was: the node's modify index before, 0 = it is new. */
static int fsm_node_write(struct fsm_ctx *c, struct bytes id, const steppe_NodeRow *row,
                          uint64_t was, struct bytes stub_fixed)
{
    uint8_t le[4], id16[16];
    int r;

    if (!row_uuid_read(id, id16))
        return err_trace(-EBADMSG);
    r = fsm_log_move(c, STATE_NODE_LOG, was, id16, (struct bytes){0});
    if (r)
        return err_trace(r);
    strbuf_reset(&c->f->row);
    r = row_encode(steppe_NodeRow_fields, row, &c->f->row);
    if (r == 0)
        r = store_put(c->t, STATE_NODES, id, strbuf_bytes(&c->f->row));
    fsm_touch(c, STATE_NODES, id);
    if (r)
        return err_trace(r);
    le32_write(le, (uint32_t)stub_fixed.len);
    strbuf_reset(&c->f->a);
    row_node_stub(&c->f->a, row);
    row_list_write(&c->f->row, bytes_of(le, 4), stub_fixed, strbuf_bytes(&c->f->a));
    return store_put(c->t, STATE_NODE_STUBS, id, strbuf_bytes(&c->f->row));
}

/* The rest of a change to a node that is there: its row, and its stub from the stored one. */
static int fsm_node_rewrite(struct fsm_ctx *c, struct bytes id, steppe_NodeRow *row)
{
    uint64_t was = row->modify_index;
    struct strbuf copy = STRBUF_INIT;
    struct bytes stub, fixed;
    int r = store_get(c->t, STATE_NODE_STUBS, id, &stub);

    if (r == 0)
        r = row_stub_fixed(stub, &fixed);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    strbuf_add(&copy, fixed.data, fixed.len); /* the first put may move it */
    row->modify_index = c->index;
    r = fsm_node_write(c, id, row, was, strbuf_bytes(&copy));
    strbuf_fini(&copy);
    return r;
}

/* Finds the node of a command, or refuses. */
static int fsm_node_find(struct fsm_ctx *c, const char *id, uint8_t buf[static STATE_KEY_MAX],
                         struct bytes *ret_key, steppe_NodeRow *ret)
{
    int r = STORE_E_NOT_FOUND;

    *ret_key = state_key_uuid(id, buf);
    if (ret_key->data)
        r = fsm_node_read(c, *ret_key, ret);
    if (r == STORE_E_NOT_FOUND)
        return fsm_refuse(c, 404, "node not found");
    return r;
}

static void fsm_node_reply(struct fsm_ctx *c, uint64_t modify_index)
{
    row_u64(c->body, steppe_NodeUpdateResponse_index_tag, c->index);
    row_u64(c->body, steppe_NodeUpdateResponse_node_modify_index_tag, modify_index);
}

/* ---- evaluations of all that has to do with a node ---- */

/*
 * A job all of whose allocations there have ended is evaluated, too, as Nomad does, but at most so
 * many of them at once: a node may have run thousands of short ones since the last collection.
 */
#define NODE_ENDED_JOBS_MAX 1024

/* Jobs, each once, in the order in which they were found. */
struct fsm_node_jobs {
    struct row_key *v;
    size_t n, cap;
    uint32_t *slots; /* open addressing: number in v + 1, 0 = free */
    size_t slots_n;  /* a power of two, more than twice as many as jobs */
};

static void fsm_node_jobs_fini(struct fsm_node_jobs *jobs)
{
    free(jobs->v);
    free(jobs->slots);
}

/* The slot of a job: its own, or a free one. */
static uint32_t *fsm_node_job_slot(struct fsm_node_jobs *jobs, struct bytes nsid)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    size_t at;

    for (size_t i = 0; i < nsid.len; i++)
        hash = (hash ^ nsid.data[i]) * UINT64_C(0x100000001b3);
    for (at = hash & (jobs->slots_n - 1); jobs->slots[at]; at = (at + 1) & (jobs->slots_n - 1)) {
        if (bytes_eq(row_key_bytes(&jobs->v[jobs->slots[at] - 1]), nsid))
            break;
    }
    return &jobs->slots[at];
}

static void fsm_node_jobs_grow(struct fsm_node_jobs *jobs)
{
    jobs->cap = jobs->cap ? jobs->cap * 2 : 16;
    jobs->v = xrealloc(jobs->v, jobs->cap * sizeof(*jobs->v));
    free(jobs->slots);
    jobs->slots_n = jobs->cap * 4;
    jobs->slots = xcalloc(jobs->slots_n, sizeof(*jobs->slots));
    for (size_t i = 0; i < jobs->n; i++)
        *fsm_node_job_slot(jobs, row_key_bytes(&jobs->v[i])) = (uint32_t)i + 1;
}

static void fsm_node_job_add(struct fsm_node_jobs *jobs, struct bytes nsid)
{
    struct row_key *key;
    uint32_t *slot;

    if (jobs->n == jobs->cap)
        fsm_node_jobs_grow(jobs);
    slot = fsm_node_job_slot(jobs, nsid);
    if (*slot)
        return;
    key = &jobs->v[jobs->n++];
    key->len = 0;
    key->failed = false;
    row_key_add(key, nsid.data, nsid.len);
    *slot = (uint32_t)jobs->n;
}

/* Calls fn for each allocation on the node until it returns non-zero, which is passed up. */
static int fsm_node_allocs_each(struct fsm_ctx *c, struct bytes id,
                                int (*fn)(void *user, const struct fsm_alloc *a), void *user)
{
    struct bytes key, value;
    struct store_cursor cur;
    struct fsm_alloc a;
    uint8_t node[16];
    int stop = 0, r;

    if (!row_uuid_read(id, node))
        return err_trace(-EBADMSG);
    r = store_scan(c->t, STATE_NODE_ALLOCS, bytes_of(node, 16), &cur);
    while (r == 0 && stop == 0 && (r = store_next(&cur, &key, &value)) == 0) {
        if (key.len != 32)
            continue; /* the node's own row */
        r = fsm_alloc_read(c, key.data + 16, &a);
        if (r == 0)
            stop = fn(user, &a);
    }
    store_scan_end(&cur);
    if (stop)
        return stop;
    return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
}

/* Jobs of allocations that have not ended on their client, and of those that have. */
struct fsm_node_found {
    struct fsm_node_jobs *jobs, ended;
};

static int fsm_node_job_note(void *user, const struct fsm_alloc *a)
{
    struct fsm_node_found *found = user;

    if (!alloc_client_terminal(alloc_view_client(&a->v)))
        fsm_node_job_add(found->jobs, row_key_bytes(&a->nsid));
    else if (found->ended.n < NODE_ENDED_JOBS_MAX)
        fsm_node_job_add(&found->ended, row_key_bytes(&a->nsid));
    return 0;
}

/* Jobs with allocations there, then every system job. */
static int fsm_node_jobs_find(struct fsm_ctx *c, struct bytes id, struct fsm_node_jobs *jobs)
{
    struct fsm_node_found found = {.jobs = jobs};
    struct bytes key, value;
    struct store_cursor cur;
    int r = fsm_node_allocs_each(c, id, fsm_node_job_note, &found);

    for (size_t i = 0; i < found.ended.n; i++)
        fsm_node_job_add(jobs, row_key_bytes(&found.ended.v[i]));
    fsm_node_jobs_fini(&found.ended);
    if (r)
        return r;
    r = store_scan(c->t, STATE_SYSTEM_JOBS, (struct bytes){0}, &cur);
    while (r == 0 && (r = store_next(&cur, &key, &value)) == 0)
        fsm_node_job_add(jobs, key);
    store_scan_end(&cur);
    return r == STORE_E_NOT_FOUND ? 0 : err_trace(r);
}

/* Where a reply says which evaluations were made. */
struct fsm_node_reply {
    uint32_t eval_ids, eval_create_index;
};

static int fsm_node_eval(struct fsm_ctx *c, struct bytes nsid, const char *eval_id,
                         const char *node_id)
{
    char ns[STATE_NAMESPACE_LEN_MAX + 1], job[STATE_JOB_ID_LEN_MAX + 1];
    struct bytes ns_bytes = fsm_nsid_ns(nsid), job_bytes = fsm_nsid_id(nsid);
    struct fsm_eval_new e = {
        .id = eval_id,
        .ns = ns,
        .job_id = job,
        .type = "service", /* a purged job's: its allocations are stopped by whoever looks */
        .triggered_by = "node-update",
        .priority = FSM_PRIORITY_DEFAULT,
        .node_id = node_id,
        .node_modify_index = c->index,
    };
    steppe_JobRow row;
    int r = fsm_job_read(c, nsid, &row);

    if (r < 0)
        return r;
    if (r == 0) {
        e.type = row.type;
        e.priority = row.priority;
        e.job_modify_index = row.modify_index;
    }
    snprintf(ns, sizeof(ns), "%.*s", (int)ns_bytes.len, (const char *)ns_bytes.data);
    snprintf(job, sizeof(job), "%.*s", (int)job_bytes.len, (const char *)job_bytes.data);
    r = fsm_eval_create(c, nsid, &e);
    return r ? r : fsm_job_refresh(c, nsid, NULL, 0, false);
}

/* One for each job, with ids from the seed; says in the reply which. Seed 0: none. */
static int fsm_node_evals(struct fsm_ctx *c, struct bytes id, uint64_t seed,
                          struct fsm_node_reply reply)
{
    struct fsm_node_jobs jobs = {0};
    char eval_id[UUID_TEXT_LEN + 1], node_id[UUID_TEXT_LEN + 1];
    struct prng prng;
    bool any = false;
    int r;

    if (!seed)
        return 0;
    snprintf(node_id, sizeof(node_id), "%.*s", (int)id.len, (const char *)id.data);
    prng_seed(&prng, seed);
    r = fsm_node_jobs_find(c, id, &jobs);
    for (size_t i = 0; r == 0 && i < jobs.n; i++) {
        struct bytes there;

        uuid_from_prng(&prng, eval_id);
        r = store_get(c->t, STATE_EVALS, bytes_text(eval_id), &there);
        if (r == 0)
            continue; /* a seed that came twice */
        if (r > 0)
            r = fsm_node_eval(c, row_key_bytes(&jobs.v[i]), eval_id, node_id);
        if (r == 0 && reply.eval_ids)
            row_text(c->body, reply.eval_ids, eval_id);
        any = true;
    }
    if (any && reply.eval_ids)
        row_u64(c->body, reply.eval_create_index, c->index);
    fsm_node_jobs_fini(&jobs);
    return err_trace(r);
}

static const struct fsm_node_reply node_update_reply = {
    steppe_NodeUpdateResponse_eval_ids_tag,
    steppe_NodeUpdateResponse_eval_create_index_tag,
};

/* Nomad's rule: a node that is down, or has become ready. */
static bool fsm_node_turns(const char *was, const char *is)
{
    return strcmp(is, "down") == 0 || (strcmp(is, "ready") == 0 && strcmp(was, "ready") != 0);
}

/* ---- register ---- */

/* Eligibility, creation and events stay with the node, the rest is as it says now. */
static int fsm_node_merge(struct fsm_ctx *c, struct bytes id, const steppe_NodeRegisterCommand *m,
                          steppe_NodeRow *row, uint64_t *ret_was)
{
    const char *status = m->status[0] ? m->status : "initializing";
    int r = fsm_node_read(c, id, row);

    if (r < 0)
        return r;
    if (r == 0 && row->secret_id[0] && strcmp(row->secret_id, m->secret_id) != 0)
        return fsm_refuse(c, 500, "node secret ID does not match. Not registering node.");
    if (r == STORE_E_NOT_FOUND) {
        *row = (steppe_NodeRow){.create_index = c->index};
        snprintf(row->eligibility, sizeof(row->eligibility), "%s",
                 m->eligibility[0] ? m->eligibility : "eligible");
        fsm_node_event(c, row, NODE_EVENT_REGISTERED);
    } else if (strcmp(row->status, "down") == 0 && strcmp(status, "down") != 0) {
        fsm_node_event(c, row, NODE_EVENT_REREGISTERED);
    }
    *ret_was = row->modify_index;
    memcpy(row->secret_id, m->secret_id, sizeof(row->secret_id));
    snprintf(row->status, sizeof(row->status), "%s", status);
    row->status_updated_at = fsm_now_s(c);
    row->modify_index = c->index;
    return 0;
}

int fsm_node_register(struct fsm_ctx *c)
{
    steppe_NodeRegisterCommand m;
    struct fsm_change what = {.registered = true};
    steppe_NodeRow row;
    char status_was[sizeof(row.status)] = "initializing";
    uint8_t buf[STATE_KEY_MAX];
    struct bytes id, old;
    uint64_t was = 0;
    int r = fsm_body(c, steppe_NodeRegisterCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    id = state_key_uuid(m.node_id, buf);
    if (!id.data)
        return fsm_refuse(c, 400, "missing node ID for client registration");
    if (!row_is_fields(c->cmd->blobs[0]) || !row_is_fields(c->cmd->blobs[1]))
        return fsm_refuse(c, 400, "missing node for client registration");
    if (m.status[0] && !node_status_valid(m.status))
        return fsm_refuse(c, 400, "invalid status for node");
    if (m.eligibility[0] && !node_eligibility_valid(m.eligibility))
        return fsm_refuse(c, 400, "invalid scheduling eligibility \"%s\"", m.eligibility);
    if (fsm_node_read(c, id, &row) == 0) {
        what.was_ready = fsm_node_ready(&row);
        memcpy(status_was, row.status, sizeof(status_was));
    }
    r = fsm_node_merge(c, id, &m, &row, &was);
    if (r)
        return r;
    r = store_get(c->t, STATE_NODE_SPECS, id, &old);
    if (r >= 0 && (r == STORE_E_NOT_FOUND || !bytes_eq(old, c->cmd->blobs[0])))
        r = store_put(c->t, STATE_NODE_SPECS, id, c->cmd->blobs[0]);
    if (r == 0)
        r = fsm_node_write(c, id, &row, was, c->cmd->blobs[1]);
    if (r)
        return err_trace(r);
    what.created = row.create_index == c->index;
    what.is_ready = fsm_node_ready(&row);
    fsm_node_note(c, id, what);
    fsm_node_reply(c, c->index);
    if (!fsm_node_turns(status_was, row.status))
        return 0;
    return fsm_node_evals(c, id, m.eval_seed, node_update_reply);
}

/* ---- the rest ---- */

int fsm_node_status(struct fsm_ctx *c)
{
    steppe_NodeStatusCommand m;
    steppe_NodeRow row;
    uint8_t buf[STATE_KEY_MAX];
    bool turns = false;
    struct bytes id;
    int r = fsm_body(c, steppe_NodeStatusCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    if (!node_status_valid(m.status))
        return fsm_refuse(c, 400, "invalid status for node");
    r = fsm_node_find(c, m.node_id, buf, &id, &row);
    if (r)
        return r;
    if (strcmp(row.status, m.status) != 0) {
        struct fsm_change what = {.was_ready = fsm_node_ready(&row)};

        turns = fsm_node_turns(row.status, m.status);
        if (m.event[0])
            fsm_node_event(c, &row, m.event);
        else if (strcmp(row.status, "down") == 0)
            fsm_node_event(c, &row, NODE_EVENT_HEARTBEAT_BACK);
        memcpy(row.status, m.status, sizeof(row.status));
        row.status_updated_at = fsm_now_s(c);
        r = fsm_node_rewrite(c, id, &row);
        if (r)
            return r;
        what.is_ready = fsm_node_ready(&row);
        fsm_node_note(c, id, what);
    }
    fsm_node_reply(c, row.modify_index);
    return turns ? fsm_node_evals(c, id, m.eval_seed, node_update_reply) : 0;
}

int fsm_node_eligibility(struct fsm_ctx *c)
{
    steppe_NodeEligibilityCommand m;
    struct fsm_change what = {0};
    steppe_NodeRow row;
    uint8_t buf[STATE_KEY_MAX];
    struct bytes id;
    int r = fsm_body(c, steppe_NodeEligibilityCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    if (!node_eligibility_valid(m.eligibility))
        return fsm_refuse(c, 500, "invalid scheduling eligibility \"%s\"", m.eligibility);
    r = fsm_node_find(c, m.node_id, buf, &id, &row);
    if (r || strcmp(row.eligibility, m.eligibility) == 0)
        return r; /* no change: a reply of zeros, as Nomad's */
    what.was_ready = fsm_node_ready(&row);
    fsm_node_event(c, &row,
                   strcmp(m.eligibility, "eligible") == 0 ? NODE_EVENT_ELIGIBLE
                                                          : NODE_EVENT_INELIGIBLE);
    memcpy(row.eligibility, m.eligibility, sizeof(row.eligibility));
    row.status_updated_at = fsm_now_s(c);
    r = fsm_node_rewrite(c, id, &row);
    if (r)
        return r;
    what.is_ready = fsm_node_ready(&row);
    fsm_node_note(c, id, what);
    row_u64(c->body, steppe_NodeEligibilityResponse_node_modify_index_tag, c->index);
    row_u64(c->body, steppe_NodeEligibilityResponse_index_tag, c->index);
    if (strcmp(row.eligibility, "eligible") != 0)
        return 0;
    return fsm_node_evals(
        c, id, m.eval_seed,
        (struct fsm_node_reply){steppe_NodeEligibilityResponse_eval_ids_tag,
                                steppe_NodeEligibilityResponse_eval_create_index_tag});
}

int fsm_node_evaluate(struct fsm_ctx *c)
{
    steppe_NodeEvaluateCommand m;
    steppe_NodeRow row;
    uint8_t buf[STATE_KEY_MAX];
    struct bytes id;
    int r = fsm_body(c, steppe_NodeEvaluateCommand_fields, &m, sizeof(m));

    if (r == 0)
        r = fsm_node_find(c, m.node_id, buf, &id, &row);
    if (r)
        return r;
    row_u64(c->body, steppe_NodeEvaluateResponse_node_modify_index_tag, row.modify_index);
    row_u64(c->body, steppe_NodeEvaluateResponse_index_tag, c->index);
    return fsm_node_evals(
        c, id, m.eval_seed,
        (struct fsm_node_reply){steppe_NodeEvaluateResponse_eval_ids_tag,
                                steppe_NodeEvaluateResponse_eval_create_index_tag});
}

static int fsm_node_delete(struct fsm_ctx *c, struct bytes id, const steppe_NodeRow *row)
{
    struct row_key log;
    uint8_t id16[16];
    int r;

    if (!row_uuid_read(id, id16))
        return err_trace(-EBADMSG);
    row_key_log(&log, row->modify_index, id16);
    r = store_del(c->t, STATE_NODE_LOG, row_key_bytes(&log));
    if (r == 0)
        r = fsm_note_deleted(c, STATE_NODES);
    if (r == 0)
        r = store_del(c->t, STATE_NODES, id);
    if (r == 0)
        r = store_del(c->t, STATE_NODE_SPECS, id);
    if (r == 0)
        r = store_del(c->t, STATE_NODE_STUBS, id);
    fsm_touch(c, STATE_NODES, id);
    if (r)
        return err_trace(r > 0 ? -EBADMSG : r);
    r = store_del(c->t, STATE_NODE_ALLOCS, bytes_of(id16, sizeof(id16)));
    if (r < 0)
        return err_trace(r);
    fsm_node_note(c, id, (struct fsm_change){.deleted = true, .was_ready = fsm_node_ready(row)});
    return 0;
}

static int fsm_node_is_busy(void *user, const struct fsm_alloc *a)
{
    (void)user;
    return !alloc_client_terminal(alloc_view_client(&a->v));
}

/* Down, and nothing lives there. */
int fsm_node_reap(struct fsm_ctx *c, const char *text)
{
    uint8_t buf[STATE_KEY_MAX];
    struct bytes id = state_key_uuid(text, buf);
    steppe_NodeRow row;
    int r;

    if (!id.data)
        return 0;
    r = fsm_node_read(c, id, &row);
    if (r || strcmp(row.status, "down") != 0)
        return r < 0 ? r : 0;
    r = fsm_node_allocs_each(c, id, fsm_node_is_busy, NULL);
    if (r == 0)
        r = fsm_node_delete(c, id, &row);
    return MIN(r, 0);
}

int fsm_node_deregister(struct fsm_ctx *c)
{
    steppe_NodeDeregisterCommand m;
    steppe_NodeRow row;
    uint8_t buf[STATE_KEY_MAX];
    struct bytes id;
    int r = fsm_body(c, steppe_NodeDeregisterCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    r = fsm_node_find(c, m.node_id, buf, &id, &row);
    if (r == 0)
        r = fsm_node_delete(c, id, &row);
    if (r)
        return r;
    row_u64(c->body, steppe_GenericResponse_index_tag, c->index);
    return fsm_node_evals(c, id, m.eval_seed, (struct fsm_node_reply){0});
}
