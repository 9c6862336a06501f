/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/zone.h"
#include "job/job.h"
#include "raftd_build.h"
#include "state/state_config.h"
#include "wire/wire.h"

static void set_text(char **field, const char *value)
{
    free(*field);
    *field = xstrdup(value);
}

static void make_id(void *ctx, char out[static 37])
{
    (void)ctx;
    uuid_make(out);
}

static bool has_scaling(const steppe_Job *job)
{
    for (pb_size_t i = 0; i < job->task_groups_count; i++) {
        if (job->task_groups[i].has_scaling)
            return true;
    }
    return false;
}

/* The stored job in full, decoded. The caller releases when it says true. */
static bool read_job(struct store_txn *t, const struct building *b, const steppe_Job *job,
                     steppe_Job *ret)
{
    _cleanup_(strbuf_fini) struct strbuf body = STRBUF_INIT;
    struct state_meta meta = {0};

    return state_job_get(t, b->namespace, job->id, &body, &meta) == 0 && meta.found &&
           wire_decode(steppe_Job_fields, body.data, body.len, ret, sizeof(*ret), NULL) == 0;
}

/* What depends on the job that is there now: forbidden changes, ids that stay. */
static enum built check_stored(struct building *b, steppe_Job *job)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    steppe_Job old = {0}, full;
    struct state_meta meta = {0};
    struct state_job row;
    int r = store_begin(b->rd->store, false, &t);

    if (r == 0)
        r = state_job_row(t, b->namespace, job->id, &row, &meta);
    if (r < 0)
        return raftd_build_error(b, 500, "cannot read the state: %s", strerror(-r));
    if (meta.found) {
        old.type = row.type;
        old.has_periodic = row.periodic;
        old.has_parameterized_job = row.parameterized;
        old.dispatched = row.dispatched;
    }
    if (job_update_check(meta.found ? &old : NULL, job, &b->e) < 0) {
        b->code = 500;
        return BUILT_ERROR;
    }
    if (!has_scaling(job))
        return BUILT_COMMAND;
    if (meta.found && read_job(t, b, job, &full)) {
        job_scaling_ids_set(&full, job, make_id, NULL);
        pb_release(steppe_Job_fields, &full);
    } else {
        job_scaling_ids_set(NULL, job, make_id, NULL);
    }
    return BUILT_COMMAND;
}

/* May tasks of this region use more than their memory, up to memory_max? */
static bool oversubscribes(struct raftd *rd)
{
    _cleanup_(store_abortp) struct store_txn *t = NULL;
    steppe_SchedulerConfiguration config;
    struct state_meta meta;
    bool on;

    if (store_begin(rd->store, false, &t) < 0 || state_scheduler_config(t, &config, &meta) < 0)
        return false;
    on = config.memory_oversubscription_enabled;
    pb_release(steppe_SchedulerConfiguration_fields, &config);
    return on;
}

/* Canonical form, implied constraints, validation. */
static enum built prepare(struct building *b, steppe_Job *job)
{
    struct strbuf errors = STRBUF_BOUND(ERRTEXT_MAX * 4), warnings = STRBUF_BOUND(1 << 16);
    enum built built = BUILT_COMMAND;

    set_text(&job->region, b->rd->ctx->conf->region);
    set_text(&job->namespace, b->namespace);
    job_canonicalize(job);
    job_implied_constraints(job);
    if (!job_validate(job, zone_check, &errors))
        built = raftd_build_error(b, 500, "%s", errors.data ? errors.data : "invalid job");
    else
        job_warnings(job, oversubscribes(b->rd), &warnings);
    if (built == BUILT_COMMAND && warnings.len > 0)
        b->p->warnings = strbuf_take(&warnings);
    strbuf_fini(&errors);
    strbuf_fini(&warnings);
    return built;
}

/* Spec, list row and counts as bytes: applying never decodes the spec. */
static int encode_parts(const steppe_Job *job, struct strbuf *spec, struct strbuf *stub,
                        struct strbuf *summary)
{
    steppe_JobListStub row;
    steppe_JobSummary counts;
    int r = wire_encode(steppe_Job_fields, job, spec);

    job_stub_make(job, NULL, &row);
    row.status = NULL;
    row.status_description = NULL;
    row.stop = false;
    row.has_job_summary = false;
    row.create_index = row.modify_index = row.job_modify_index = 0;
    row.submit_time = 0;
    if (r == 0)
        r = wire_encode(steppe_JobListStub_fields, &row, stub);
    job_summary_init(job, &counts);
    if (r == 0)
        r = wire_encode(steppe_JobSummary_fields, &counts, summary);
    pb_release(steppe_JobSummary_fields, &counts);
    return r;
}

static enum built encode_register(struct building *b, const steppe_JobRegisterRequest *req)
{
    const steppe_Job *job = &req->job;
    _cleanup_(strbuf_fini) struct strbuf spec = STRBUF_BOUND(COMMAND_LEN_MAX);
    _cleanup_(strbuf_fini) struct strbuf stub = STRBUF_BOUND(COMMAND_LEN_MAX);
    _cleanup_(strbuf_fini) struct strbuf summary = STRBUF_BOUND(COMMAND_LEN_MAX);
    steppe_JobRegisterCommand cmd = {
        .priority = job->priority,
        .periodic = job_is_periodic(job),
        .parameterized = job_is_parameterized(job),
        .dispatched = job->dispatched,
        .stop = job->stop,
        .enforce_index = req->enforce_index,
        .job_modify_index = req->job_modify_index,
    };
    struct bytes blobs[3];

    job_spec_clear((steppe_Job *)job);
    if (encode_parts(job, &spec, &stub, &summary) < 0)
        return raftd_build_error(b, 413, "the job is too large to be stored");
    COPY_TEXT(cmd.namespace, job->namespace);
    COPY_TEXT(cmd.job_id, job->id);
    COPY_TEXT(cmd.type, job->type);
    uuid_make(cmd.eval_id);
    blobs[0] = bytes_of(spec.data, spec.len);
    blobs[1] = bytes_of(stub.data, stub.len);
    blobs[2] = bytes_of(summary.data, summary.len);
    return raftd_build_command(b, COMMAND_JOB_REGISTER, &cmd, blobs, ARRAY_LEN(blobs));
}

enum built raftd_build_job_register(struct building *b, void *msg)
{
    steppe_JobRegisterRequest *req = msg;
    steppe_Job *job = &req->job;
    enum built built;

    if (!req->has_job)
        return raftd_build_error(b, 400, "Job must be specified");
    if (!job->id || !job->id[0])
        return raftd_build_error(b, 400, "Job ID hasn't been provided");
    if (strlen(job->id) > STATE_JOB_ID_LEN_MAX)
        return raftd_build_error(b, 400, "Job ID is longer than %d bytes", STATE_JOB_ID_LEN_MAX);
    if (strcmp(b->namespace, "default") != 0)
        return raftd_build_error(b, 500, "job \"%s\" is in nonexistent namespace \"%s\"", job->id,
                                 b->namespace);
    built = prepare(b, job);
    if (built == BUILT_COMMAND)
        built = check_stored(b, job);
    return built == BUILT_COMMAND ? encode_register(b, req) : built;
}

enum built raftd_build_job_deregister(struct building *b, void *msg)
{
    steppe_JobDeregisterRequest *req = msg;
    steppe_JobDeregisterCommand cmd = {.purge = req->purge};

    if (!req->job_id || !req->job_id[0])
        return raftd_build_error(b, 400, "missing job ID for deregistering");
    if (strlen(req->job_id) >= sizeof(cmd.job_id))
        return raftd_build_error(b, 400, "Job ID is longer than %d bytes", STATE_JOB_ID_LEN_MAX);
    COPY_TEXT(cmd.namespace, b->namespace);
    COPY_TEXT(cmd.job_id, req->job_id);
    uuid_make(cmd.eval_id);
    return raftd_build_command(b, COMMAND_JOB_DEREGISTER, &cmd, NULL, 0);
}
