/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Allocations: how one changes, what clients say about theirs, what servers wish. Metrics and
 * resources are in a row that a change does not touch.
 */
#include "state/fsm_alloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "job.pb.h"
#include "member.pb.h"
#include "rpc.pb.h"

#define T(field) steppe_Allocation_##field##_tag

/* ---- reading ---- */

int fsm_alloc_read(struct fsm_ctx *c, const uint8_t id[static 16], struct fsm_alloc *ret)
{
    struct bytes key = bytes_of(id, 16), row, ns, job;
    struct row_key pair;
    int r = store_get(c->t, STATE_ALLOCS, key, &ret->placed);

    if (r)
        return r;
    memcpy(ret->id, id, 16);
    memset(&ret->v, 0, sizeof(ret->v));
    if (!alloc_view_add(&ret->v, ret->placed))
        return err_trace(-EBADMSG);
    ret->placed_v = ret->v;
    if (!row_uuid_read(ret->v.text[T(node_id)], ret->node) ||
        !row_uuid_read(ret->v.text[T(eval_id)], ret->eval))
        return err_trace(-EBADMSG);
    row_key_pair(&pair, ret->node, id);
    r = store_get(c->t, STATE_NODE_ALLOCS, row_key_bytes(&pair), &row);
    if (r == 0)
        r = row_node_alloc(row, &ret->changed);
    if (r || !alloc_view_add(&ret->v, ret->changed))
        return err_trace(r < 0 ? r : -EBADMSG);
    ns = ret->v.text[T(namespace)];
    job = ret->v.text[T(job_id)];
    ret->nsid.len = 0;
    ret->nsid.failed = false;
    row_key_add(&ret->nsid, ns.data, ns.len);
    row_key_add(&ret->nsid, "", 1);
    row_key_add(&ret->nsid, job.data, job.len);
    return 0;
}

/* ---- writing ---- */

int fsm_log_move(struct fsm_ctx *c, enum state_table log, uint64_t was, const uint8_t id[static 16],
                 struct bytes value)
{
    struct row_key key;

    if (was && was != c->index) {
        int r;

        row_key_log(&key, was, id);
        r = store_del(c->t, log, row_key_bytes(&key));
        if (r < 0)
            return err_trace(r);
    }
    row_key_log(&key, c->index, id);
    return store_put(c->t, log, row_key_bytes(&key), value);
}

int fsm_alloc_log(struct fsm_ctx *c, uint64_t was, const uint8_t id[static 16], bool live,
                  uint64_t alloc_modify_index)
{
    uint8_t value[9] = {live};

    be64_write(value + 1, alloc_modify_index);
    return fsm_log_move(c, STATE_ALLOC_LOG, was, id, bytes_of(value, sizeof(value)));
}

int fsm_note_deleted(struct fsm_ctx *c, enum state_table table)
{
    uint8_t key[2] = {(uint8_t)table, 'g'}, be[8];

    be64_write(be, c->index);
    return store_put(c->t, STATE_INDEXES, bytes_of(key, sizeof(key)), bytes_of(be, sizeof(be)));
}

void fsm_alloc_touch(struct fsm_ctx *c, const uint8_t id[static 16], const uint8_t node[static 16],
                     const uint8_t eval[static 16], struct bytes nsid, bool for_client)
{
    uint8_t any[STATE_NODE_ALLOCS_ANY_LEN];

    memcpy(any, node, 16);
    any[16] = STATE_NODE_ALLOCS_ANY;
    fsm_touch(c, STATE_ALLOCS, bytes_of(id, 16));
    fsm_touch(c, STATE_NODE_ALLOCS, bytes_of(any, sizeof(any)));
    if (for_client)
        fsm_touch(c, STATE_NODE_ALLOCS, bytes_of(node, 16));
    fsm_touch(c, STATE_EVAL_ALLOCS, bytes_of(eval, 16));
    fsm_touch(c, STATE_JOB_ALLOCS, nsid);
}

static void fsm_text_field(struct strbuf *b, uint32_t tag, struct bytes v, bool even_empty)
{
    if (v.len || even_empty)
        row_bytes(b, tag, v);
}

/* The row in NODE_ALLOCS: all that can change, whether it did or not. */
static void fsm_alloc_changed_row(struct fsm_ctx *c, const struct fsm_alloc *a,
                                  const struct fsm_alloc_patch *p, struct strbuf *out)
{
    static const uint8_t texts[] = {
        T(desired_status),          T(desired_description), T(client_status),
        T(client_description),      T(next_allocation),     T(followup_eval_id),
        T(preempted_by_allocation),
    };
    uint64_t by_server = p->by_client || p->quiet ? a->v.num[T(alloc_modify_index)] : c->index;
    struct bytes status = a->v.text[T(deployment_status)];
    uint8_t be[ROW_NODE_ALLOC_HEAD];

    be64_write(be, by_server);
    strbuf_reset(out);
    strbuf_add(out, be, sizeof(be));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        unsigned tag = texts[i];
        struct bytes v = p->text[tag].data ? p->text[tag] : a->v.text[tag];

        fsm_text_field(out, tag, v, a->placed_v.text[tag].len > 0);
    }
    fsm_text_field(out, T(desired_transition),
                   p->text[T(desired_transition)].data ? p->text[T(desired_transition)]
                                                       : a->v.text[T(desired_transition)],
                   false);
    if (p->text[T(deployment_status)].data || p->fresh_deployment_status)
        status = p->text[T(deployment_status)];
    fsm_text_field(out, T(deployment_status), status, false);
    row_copy_fields(out, p->task_states_in.data ? p->task_states_in : a->changed,
                    ROW_TAG(T(task_states)));
    row_u64(out, T(modify_index), c->index);
    row_u64(out, T(alloc_modify_index), by_server);
    row_u64(out, T(modify_time), (uint64_t)c->cmd->now.ns);
}

/* What the observer and the job hear. */
int fsm_alloc_tell(struct fsm_ctx *c, const struct fsm_alloc *a, const struct fsm_alloc_move *m)
{
    struct bytes nsid = row_key_bytes(&a->nsid);
    struct fsm_change ch = {
        .kind = FSM_CHANGE_ALLOC,
        .namespace = fsm_nsid_ns(nsid),
        .job_id = fsm_nsid_id(nsid),
        .created = m->created,
        .deleted = m->deleted,
        .was_live = m->was_live,
        .is_live = m->is_live,
    };

    row_uuid_text(a->id, ch.id);
    row_uuid_text(a->node, ch.node_id);
    fsm_note(c, &ch);
    return fsm_works_move(c, nsid, m);
}

int fsm_alloc_change(struct fsm_ctx *c, struct fsm_alloc *a, const struct fsm_alloc_patch *p)
{
    struct strbuf *row = &c->f->row;
    struct fsm_alloc_move m = {
        .group = a->v.text[T(task_group)],
        .job_create_index = a->v.num[T(job_create_index)],
        .was = alloc_view_client(&a->v),
        .was_live = alloc_view_live(&a->v),
    };
    uint64_t was = a->v.num[T(modify_index)];
    struct alloc_view now = a->v;
    struct bytes changed;
    struct row_key pair;
    int r;

    fsm_alloc_changed_row(c, a, p, row);
    r = row_node_alloc(strbuf_bytes(row), &changed);
    if (r)
        return r;
    (void)alloc_view_add(&now, changed);
    m.is = alloc_view_client(&now);
    m.is_live = alloc_view_live(&now);
    row_key_pair(&pair, a->node, a->id);
    r = fsm_alloc_tell(c, a, &m); /* before the first write: the view ends there */
    if (r == 0)
        r = store_put(c->t, STATE_NODE_ALLOCS, row_key_bytes(&pair), strbuf_bytes(row));
    if (r == 0)
        r = fsm_alloc_log(c, was, a->id, m.is_live, now.num[T(alloc_modify_index)]);
    fsm_alloc_touch(c, a->id, a->node, a->eval, row_key_bytes(&a->nsid),
                    !p->by_client && !p->quiet);
    return r ? err_trace(r) : 0;
}

/* ---- lists within a command ---- */

static int fsm_each(struct fsm_ctx *c, struct bytes list, uint32_t tag, const char *what,
                    int (*fn)(struct fsm_ctx *c, struct bytes item))
{
    struct wire_field f;
    int r = 0;

    while (r == 0 && wire_field_next(&list, &f)) {
        if (f.tag != tag)
            continue;
        if (f.wire != WIRE_BYTES)
            return fsm_refuse(c, 400, "broken %s", what);
        r = fn(c, f.data);
    }
    return r == 0 && list.len ? fsm_refuse(c, 400, "broken %s", what) : r;
}

/* ---- clients ---- */

static int fsm_client_check(struct fsm_ctx *c, struct bytes item)
{
    enum alloc_client_status status;
    struct alloc_view v = {0};
    uint8_t id[16];

    if (!alloc_view_add(&v, item) || !row_uuid_read(v.text[T(id)], id))
        return fsm_refuse(c, 400, "broken allocation in a client's update");
    if (!alloc_client_parse(v.text[T(client_status)], &status))
        return fsm_refuse(c, 400, "invalid client status \"%.*s\"",
                          (int)MIN(v.text[T(client_status)].len, 32),
                          v.text[T(client_status)].data);
    return 0;
}

/* A verdict that is new, or turns from healthy to unhealthy, counts for the deployment. */
static void fsm_client_health_count(struct fsm_ctx *c, const struct fsm_alloc *a,
                                    const steppe_AllocDeploymentStatus *was,
                                    const steppe_AllocDeploymentStatus *now)
{
    struct fsm_deployed what = {.timestamp = now->timestamp};

    if (!now->has_healthy)
        return;
    if (!was->has_healthy) {
        what.healthy = now->healthy;
        what.unhealthy = !now->healthy;
    } else if (was->healthy && !now->healthy) {
        what.healthy = -1;
        what.unhealthy = 1;
    }
    fsm_works_deployed(c, a->v.text[T(deployment_id)], a->v.text[T(task_group)], &what);
}

/* Health is the client's, whether it is a canary the server's. */
static int fsm_client_health(struct fsm_ctx *c, const struct fsm_alloc *a, struct bytes said,
                             struct strbuf *out)
{
    struct bytes old = a->v.text[T(deployment_status)];
    steppe_AllocDeploymentStatus was, now;

    if (row_decode(steppe_AllocDeploymentStatus_fields, said, &now, sizeof(now)) ||
        row_decode(steppe_AllocDeploymentStatus_fields, old, &was, sizeof(was)))
        return 0; /* a broken one changes nothing */
    fsm_client_health_count(c, a, &was, &now);
    was.has_healthy = now.has_healthy;
    was.healthy = now.healthy;
    was.timestamp = now.timestamp;
    was.modify_index = c->index;
    return row_encode(steppe_AllocDeploymentStatus_fields, &was, out);
}

static int fsm_client_apply(struct fsm_ctx *c, struct bytes item)
{
    struct fsm_alloc_patch p = {.by_client = true};
    struct strbuf health = STRBUF_INIT;
    struct alloc_view v = {0};
    struct fsm_alloc a;
    uint8_t id[16];
    int r;

    (void)alloc_view_add(&v, item);
    (void)row_uuid_read(v.text[T(id)], id);
    r = fsm_alloc_read(c, id, &a);
    if (r == STORE_E_NOT_FOUND)
        return 0; /* collected meanwhile */
    if (r || memcmp(a.node, c->f->a.data, 16) != 0)
        return r;
    if (v.text[T(task_states)].data) /* none said: as they were */
        p.task_states_in = item;
    p.text[T(client_status)] = v.text[T(client_status)];
    p.text[T(client_description)] =
        v.text[T(client_description)].data ? v.text[T(client_description)] : bytes_text("");
    if (v.text[T(deployment_status)].data) {
        r = fsm_client_health(c, &a, v.text[T(deployment_status)], &health);
        p.text[T(deployment_status)] = strbuf_bytes(&health);
    }
    if (r == 0)
        r = fsm_alloc_change(c, &a, &p);
    strbuf_fini(&health);
    return r;
}

int fsm_alloc_client_update(struct fsm_ctx *c)
{
    struct bytes evals = c->cmd->blobs_n > 1 ? c->cmd->blobs[1] : (struct bytes){0};
    steppe_AllocClientUpdateCommand m;
    uint8_t node[16];
    int r = fsm_body(c, steppe_AllocClientUpdateCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    if (!row_uuid_read(bytes_text(m.node_id), node))
        return fsm_refuse(c, 400, "missing node ID for an update of allocations");
    r = fsm_each(c, c->cmd->blobs[0], steppe_NodeUpdateAllocRequest_allocs_tag, "client's update",
                 fsm_client_check);
    if (r == 0)
        r = fsm_each(c, evals, 1, "list of evaluations", fsm_eval_check);
    if (r)
        return r;
    strbuf_reset(&c->f->a);
    strbuf_add(&c->f->a, node, sizeof(node));
    r = fsm_each(c, c->cmd->blobs[0], steppe_NodeUpdateAllocRequest_allocs_tag, "",
                 fsm_client_apply);
    if (r == 0)
        r = fsm_works_flush(c);
    if (r == 0)
        r = fsm_each(c, evals, 1, "", fsm_eval_put);
    if (r == 0)
        row_u64(c->body, steppe_GenericResponse_index_tag, c->index);
    return r;
}

/* ---- wishes ---- */

static int fsm_transition_check(struct fsm_ctx *c, struct bytes item)
{
    steppe_DesiredTransition wish;
    struct alloc_view v = {0};
    uint8_t id[16];

    if (!alloc_view_add(&v, item) || !row_uuid_read(v.text[T(id)], id) ||
        row_decode(steppe_DesiredTransition_fields, v.text[T(desired_transition)], &wish,
                   sizeof(wish)))
        return fsm_refuse(c, 400, "broken allocation in a transition");
    return 0;
}

static int fsm_transition_apply(struct fsm_ctx *c, struct bytes item)
{
    struct fsm_alloc_patch p = {.quiet = true};
    struct strbuf merged = STRBUF_INIT;
    struct alloc_view v = {0};
    steppe_DesiredTransition was, wish;
    struct fsm_alloc a;
    uint8_t id[16];
    int r;

    (void)alloc_view_add(&v, item);
    (void)row_uuid_read(v.text[T(id)], id);
    r = fsm_alloc_read(c, id, &a);
    if (r)
        return r > 0 ? 0 : r;
    if (row_decode(steppe_DesiredTransition_fields, a.v.text[T(desired_transition)], &was,
                   sizeof(was)))
        memset(&was, 0, sizeof(was));
    (void)row_decode(steppe_DesiredTransition_fields, v.text[T(desired_transition)], &wish,
                     sizeof(wish));
    if (wish.has_migrate) {
        was.has_migrate = true;
        was.migrate = wish.migrate;
    }
    if (wish.has_reschedule) {
        was.has_reschedule = true;
        was.reschedule = wish.reschedule;
    }
    if (wish.has_force_reschedule) {
        was.has_force_reschedule = true;
        was.force_reschedule = wish.force_reschedule;
    }
    r = row_encode(steppe_DesiredTransition_fields, &was, &merged);
    p.text[T(desired_transition)] = bytes_of(merged.data ? merged.data : "", merged.len);
    if (r == 0)
        r = fsm_alloc_change(c, &a, &p);
    strbuf_fini(&merged);
    return r;
}

/* The id of the first evaluation of a list. */
static struct bytes fsm_first_eval_id(struct bytes evals)
{
    struct wire_field f;

    if (!wire_field_next(&evals, &f) || f.wire != WIRE_BYTES)
        return (struct bytes){0};
    for (struct bytes rest = f.data; wire_field_next(&rest, &f);) {
        if (f.tag == steppe_Evaluation_id_tag)
            return f.data;
    }
    return (struct bytes){0};
}

static void fsm_transition_reply(struct fsm_ctx *c, const steppe_AllocTransitionCommand *m,
                                 struct bytes evals)
{
    struct bytes id = fsm_first_eval_id(evals);

    if (!m->job_reply) {
        if (id.len)
            row_bytes(c->body, steppe_AllocStopResponse_eval_id_tag, id);
        row_u64(c->body, steppe_AllocStopResponse_index_tag, c->index);
        return;
    }
    if (id.len)
        row_bytes(c->body, steppe_JobRegisterResponse_eval_id_tag, id);
    row_u64(c->body, steppe_JobRegisterResponse_eval_create_index_tag, c->index);
    row_u64(c->body, steppe_JobRegisterResponse_job_modify_index_tag, m->job_modify_index);
    row_u64(c->body, steppe_JobRegisterResponse_index_tag, c->index);
}

int fsm_alloc_transition(struct fsm_ctx *c)
{
    struct bytes evals = c->cmd->blobs_n > 1 ? c->cmd->blobs[1] : (struct bytes){0};
    steppe_AllocTransitionCommand m;
    int r = fsm_body(c, steppe_AllocTransitionCommand_fields, &m, sizeof(m));

    if (r == 0)
        r = fsm_each(c, c->cmd->blobs[0], steppe_AllocsResponse_allocs_tag, "list of allocations",
                     fsm_transition_check);
    if (r == 0)
        r = fsm_each(c, evals, 1, "list of evaluations", fsm_eval_check);
    if (r == 0)
        r = fsm_each(c, c->cmd->blobs[0], steppe_AllocsResponse_allocs_tag, "",
                     fsm_transition_apply);
    if (r == 0)
        r = fsm_works_flush(c);
    if (r == 0)
        r = fsm_each(c, evals, 1, "", fsm_eval_put);
    if (r == 0)
        fsm_transition_reply(c, &m, evals);
    return r;
}
