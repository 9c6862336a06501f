/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the leader's collector found to be of no use any more. It looked some time ago: what is in
 * use again by now stays.
 */
#include "state/fsm_alloc.h"

#include <errno.h>
#include <string.h>

#include "job.pb.h"
#include "member.pb.h"
#include "rpc.pb.h"

#define T(field) steppe_Allocation_##field##_tag

/* ---- allocations ---- */

static int fsm_reap_alloc_rows(struct fsm_ctx *c, const struct fsm_alloc *a, uint64_t modify_index)
{
    struct row_key job, node, eval, log;
    struct bytes id = bytes_of(a->id, 16);
    int r = store_del(c->t, STATE_ALLOCS, id);

    row_key_job_alloc(&job, row_key_bytes(&a->nsid), a->id);
    row_key_pair(&node, a->node, a->id);
    row_key_pair(&eval, a->eval, a->id);
    row_key_log(&log, modify_index, a->id);
    if (r == 0)
        r = store_del(c->t, STATE_JOB_ALLOCS, row_key_bytes(&job));
    if (r == 0)
        r = store_del(c->t, STATE_NODE_ALLOCS, row_key_bytes(&node));
    if (r == 0)
        r = store_del(c->t, STATE_EVAL_ALLOCS, row_key_bytes(&eval));
    if (r == 0)
        r = store_del(c->t, STATE_ALLOC_LOG, row_key_bytes(&log));
    return err_trace(r > 0 ? -EBADMSG : r);
}

/* Its client must hear that it is gone: the list gets an index of its own. */
static int fsm_reap_tell_client(struct fsm_ctx *c, const uint8_t node[static 16])
{
    char text[37];
    struct bytes row;
    uint8_t be[8];
    int r;

    row_uuid_text(node, text);
    r = store_get(c->t, STATE_NODES, bytes_text(text), &row);
    if (r)
        return r > 0 ? 0 : r;
    be64_write(be, c->index);
    return store_put(c->t, STATE_NODE_ALLOCS, bytes_of(node, 16), bytes_of(be, sizeof(be)));
}

static int fsm_reap_alloc(struct fsm_ctx *c, const char *text)
{
    struct fsm_alloc_move m = {.deleted = true};
    uint64_t modify_index;
    struct fsm_alloc a;
    uint8_t id[16];
    int r;

    if (!row_uuid_read(bytes_text(text), id))
        return 0;
    r = fsm_alloc_read(c, id, &a);
    if (r || alloc_view_live(&a.v))
        return r < 0 ? r : 0;
    modify_index = a.v.num[T(modify_index)];
    fsm_spec_use(c, row_key_bytes(&a.nsid), a.v.num[T(job_create_index)], a.v.num[T(job_version)],
                 -1);
    m.group = a.v.text[T(task_group)];
    r = fsm_alloc_tell(c, &a, &m);
    if (r == 0)
        r = fsm_reap_alloc_rows(c, &a, modify_index);
    if (r == 0)
        r = fsm_reap_tell_client(c, a.node);
    if (r == 0)
        r = fsm_note_deleted(c, STATE_ALLOCS);
    fsm_alloc_touch(c, a.id, a.node, a.eval, row_key_bytes(&a.nsid), true);
    return err_trace(r);
}

/* ---- the command ---- */

static int fsm_reap_job(struct fsm_ctx *c, const char *ns, const char *id)
{
    struct fsm_tally tally;
    steppe_JobRow row;
    struct row_key key;
    struct bytes nsid;
    int r;

    row_key_job(&key, ns, id);
    if (key.failed)
        return 0;
    nsid = row_key_bytes(&key);
    r = fsm_job_read(c, nsid, &row);
    if (r || row.status != STATE_JOB_DEAD)
        return r < 0 ? r : 0;
    r = fsm_tally_read(c, nsid, &tally);
    if (r || tally.live || tally.open)
        return r;
    return fsm_job_forget(c, nsid, &row);
}

static int fsm_reap_jobs(struct fsm_ctx *c, const steppe_ReapList *list)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->jobs_count; i++) {
        const steppe_ReapJob *job = &list->jobs[i];

        r = fsm_reap_job(c, job->namespace ? job->namespace : "", job->job_id ? job->job_id : "");
    }
    return r;
}

static int fsm_reap_all(struct fsm_ctx *c, const steppe_ReapList *list)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->eval_ids_count; i++)
        r = fsm_eval_reap(c, list->eval_ids[i] ? list->eval_ids[i] : "");
    for (size_t i = 0; r == 0 && i < list->alloc_ids_count; i++)
        r = fsm_reap_alloc(c, list->alloc_ids[i] ? list->alloc_ids[i] : "");
    if (r == 0)
        r = fsm_works_flush(c);
    if (r == 0)
        r = fsm_reap_jobs(c, list);
    for (size_t i = 0; r == 0 && i < list->deployment_ids_count; i++)
        r = fsm_deployment_reap(c, list->deployment_ids[i] ? list->deployment_ids[i] : "");
    for (size_t i = 0; r == 0 && i < list->node_ids_count; i++)
        r = fsm_node_reap(c, list->node_ids[i] ? list->node_ids[i] : "");
    return r;
}

int fsm_reap(struct fsm_ctx *c)
{
    steppe_ReapCommand m;
    steppe_ReapList list;
    int r = fsm_body(c, steppe_ReapCommand_fields, &m, sizeof(m));

    if (r)
        return r;
    if (row_decode(steppe_ReapList_fields, c->cmd->blobs[0], &list, sizeof(list)))
        return fsm_refuse(c, 400, "broken REAP command");
    r = fsm_reap_all(c, &list);
    row_release(steppe_ReapList_fields, &list);
    if (r == 0)
        row_u64(c->body, steppe_GenericResponse_index_tag, c->index);
    return r;
}
