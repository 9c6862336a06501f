/* SPDX-License-Identifier: MPL-2.0 */
/* Deployments: written with a plan, counting what becomes of their allocations. */
#include "state/fsm_alloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc.pb.h"

/* ---- rows ---- */

static bool fsm_deployment_ids(const steppe_Deployment *d, uint8_t id[static 16],
                               struct row_key *nsid)
{
    row_key_job(nsid, d->namespace ? d->namespace : "", d->job_id ? d->job_id : "");
    return d->id && row_uuid_read(bytes_text(d->id), id) && !nsid->failed;
}

static int fsm_deployment_read(struct fsm_ctx *c, const uint8_t id[static 16],
                               steppe_Deployment *ret)
{
    struct bytes v;
    int r = store_get(c->t, STATE_DEPLOYMENTS, bytes_of(id, 16), &v);

    return r ? r : row_decode(steppe_Deployment_fields, v, ret, sizeof(*ret));
}

static void fsm_deployment_key(struct row_key *key, struct bytes nsid, uint64_t create_index,
                               const uint8_t id[static 16])
{
    uint8_t be[8];

    be64_write(be, create_index);
    row_key_of_job(key, nsid);
    row_key_add(key, be, sizeof(be));
    row_key_add(key, id, 16);
}

static int fsm_deployment_write(struct fsm_ctx *c, const uint8_t id[static 16], struct bytes nsid,
                                const steppe_Deployment *d)
{
    struct row_key key;
    int r;

    strbuf_reset(&c->f->row);
    r = row_encode(steppe_Deployment_fields, d, &c->f->row);
    if (r == 0)
        r = store_put(c->t, STATE_DEPLOYMENTS, bytes_of(id, 16), strbuf_bytes(&c->f->row));
    fsm_deployment_key(&key, nsid, d->create_index, id);
    if (r == 0)
        r = store_put(c->t, STATE_JOB_DEPLOYMENTS, row_key_bytes(&key), (struct bytes){0});
    fsm_touch(c, STATE_DEPLOYMENTS, bytes_of(id, 16));
    fsm_touch(c, STATE_JOB_DEPLOYMENTS, nsid);
    return err_trace(r);
}

/* ---- with a plan ---- */

int fsm_deployment_check(struct fsm_ctx *c, struct bytes deployment)
{
    steppe_Deployment d, old;
    struct row_key nsid, old_nsid;
    uint8_t id[16], old_id[16];
    bool ok;
    int r;

    if (row_decode(steppe_Deployment_fields, deployment, &d, sizeof(d)))
        return fsm_refuse(c, 400, "broken deployment");
    ok = fsm_deployment_ids(&d, id, &nsid);
    row_release(steppe_Deployment_fields, &d);
    if (!ok)
        return fsm_refuse(c, 400, "deployment without a valid ID or job");
    r = fsm_deployment_read(c, id, &old);
    if (r)
        return r < 0 ? r : 0;
    ok = fsm_deployment_ids(&old, old_id, &old_nsid) &&
         bytes_eq(row_key_bytes(&nsid), row_key_bytes(&old_nsid));
    row_release(steppe_Deployment_fields, &old);
    return ok ? 0 : fsm_refuse(c, 400, "the deployment is of another job");
}

int fsm_deployment_put(struct fsm_ctx *c, struct bytes deployment)
{
    steppe_Deployment d, old;
    struct row_key nsid;
    uint8_t id[16];
    int r = row_decode(steppe_Deployment_fields, deployment, &d, sizeof(d));

    if (r)
        return r;
    (void)fsm_deployment_ids(&d, id, &nsid);
    r = fsm_deployment_read(c, id, &old);
    d.create_index = r == 0 ? old.create_index : c->index;
    d.modify_index = c->index;
    if (r == 0)
        row_release(steppe_Deployment_fields, &old);
    if (r >= 0)
        r = fsm_deployment_write(c, id, row_key_bytes(&nsid), &d);
    row_release(steppe_Deployment_fields, &d);
    return r;
}

/* ---- what becomes of its allocations ---- */

static steppe_DeploymentState *fsm_deployment_group(steppe_Deployment *d, struct bytes group)
{
    for (size_t i = 0; i < d->task_groups_count; i++) {
        const char *key = d->task_groups[i].key;

        if (key && bytes_eq(bytes_text(key), group)) {
            d->task_groups[i].has_value = true;
            return &d->task_groups[i].value;
        }
    }
    return NULL;
}

/* The time by which more must be healthy moves with each that becomes healthy. */
static void fsm_deployment_progress(struct fsm_ctx *c, steppe_DeploymentState *s,
                                    const struct fsm_deployed *what)
{
    int64_t by;

    if (s->progress_deadline <= 0)
        return;
    if (what->placed && s->require_progress_by == 0)
        s->require_progress_by = c->cmd->now.ns + s->progress_deadline;
    by = what->healthy > 0 ? what->timestamp + s->progress_deadline : 0;
    if (by > s->require_progress_by)
        s->require_progress_by = by;
}

static void fsm_canary_add(steppe_DeploymentState *s, const char *alloc_id)
{
    if (s->placed_canaries_count == PB_SIZE_MAX)
        return;
    s->placed_canaries =
        xrealloc(s->placed_canaries, (s->placed_canaries_count + 1u) * sizeof(*s->placed_canaries));
    s->placed_canaries[s->placed_canaries_count++] = xstrdup(alloc_id);
}

int fsm_deployment_count(struct fsm_ctx *c, struct bytes deployment_id, struct bytes group,
                         const struct fsm_deployed *what)
{
    steppe_DeploymentState *s;
    steppe_Deployment d;
    struct row_key nsid;
    uint8_t id[16];
    int r;

    if ((!what->placed && !what->healthy && !what->unhealthy) || !row_uuid_read(deployment_id, id))
        return 0;
    r = fsm_deployment_read(c, id, &d);
    if (r)
        return r < 0 ? r : 0;
    s = fsm_deployment_group(&d, group);
    if (s && fsm_deployment_ids(&d, id, &nsid)) {
        s->placed_allocs += what->placed;
        s->healthy_allocs += what->healthy;
        s->unhealthy_allocs += what->unhealthy;
        if (what->canary)
            fsm_canary_add(s, what->canary);
        fsm_deployment_progress(c, s, what);
        d.modify_index = c->index;
        r = fsm_deployment_write(c, id, row_key_bytes(&nsid), &d);
    }
    row_release(steppe_Deployment_fields, &d);
    return r;
}

/* ---- the end ---- */

static bool fsm_deployment_active(const steppe_Deployment *d)
{
    static const char *const active[] = {"running",    "paused",  "blocked",
                                         "unblocking", "pending", "initializing"};

    for (size_t i = 0; i < ARRAY_LEN(active); i++) {
        if (d->status && strcmp(d->status, active[i]) == 0)
            return true;
    }
    return false;
}

int fsm_deployment_reap(struct fsm_ctx *c, const char *text)
{
    struct row_key nsid, key;
    steppe_Deployment d;
    uint8_t id[16];
    int r;

    if (!row_uuid_read(bytes_text(text), id))
        return 0;
    r = fsm_deployment_read(c, id, &d);
    if (r)
        return r < 0 ? r : 0;
    if (!fsm_deployment_active(&d) && fsm_deployment_ids(&d, id, &nsid)) {
        fsm_deployment_key(&key, row_key_bytes(&nsid), d.create_index, id);
        r = store_del(c->t, STATE_DEPLOYMENTS, bytes_of(id, 16));
        if (r == 0)
            r = store_del(c->t, STATE_JOB_DEPLOYMENTS, row_key_bytes(&key));
        fsm_touch(c, STATE_DEPLOYMENTS, bytes_of(id, 16));
        fsm_touch(c, STATE_JOB_DEPLOYMENTS, row_key_bytes(&nsid));
    }
    row_release(steppe_Deployment_fields, &d);
    return err_trace(r > 0 ? -EBADMSG : r);
}
