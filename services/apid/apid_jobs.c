/* SPDX-License-Identifier: MPL-2.0 */
/* Jobs, evaluations, search. */
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "apid.h"
#include "base/zone.h"
#include "hcl/hcl.h"
#include "job.json.h"
#include "job/job.h"
#include "job/job_diff.h"
#include "job_diff.json.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/wire.h"

/* Decodes the JSON body, or sets the error answer. The caller releases on true. */
static bool decode_body(struct apid_req *r, const struct json_type *type, void *msg)
{
    struct errtext e = {{0}};

    if (!apid_read_body(r, true))
        return false;
    if (json_decode(type, r->body.data, r->body.len, msg, &e) < 0)
        return apid_error(r, 400, "%s", e.text);
    return true;
}

/* Where the job goes; it then says so itself. */
static bool choose_region(struct apid_req *r, steppe_JobRegisterRequest *req, steppe_Request *env)
{
    struct job_region_source src = {req->region, apid_param(r, "region"), r->a->ctx->conf->region};
    struct job_region to = job_region_select(&req->job, &src);
    char *job_region = xstrdup(to.job);

    if (strlen(to.request) >= sizeof(env->region)) {
        free(job_region);
        return apid_error(r, 400, "region name is longer than %zu bytes", sizeof(env->region) - 1);
    }
    (void)snprintf(env->region, sizeof(env->region), "%s", to.request);
    free(req->job.region);
    req->job.region = job_region;
    return true;
}

/* Namespaces: only the job's own counts on register (reference 3.1). */
static bool choose_namespace(struct apid_req *r, const steppe_Job *job, steppe_Request *env)
{
    const char *ns = job->namespace && job->namespace[0] ? job->namespace : "default";

    if (strlen(ns) >= sizeof(env->namespace))
        return apid_error(r, 400, "namespace is longer than %zu bytes", sizeof(env->namespace) - 1);
    (void)snprintf(env->namespace, sizeof(env->namespace), "%s", ns);
    return true;
}

/* An envelope holds the beginning of an error only: the whole of a long list is made here. */
static void whole_error(struct apid_req *r, steppe_Job *job)
{
    _cleanup_(strbuf_fini) struct strbuf errors = STRBUF_BOUND(1 << 16);
    const char *mark = strncmp(r->reply.error, "rpc error: ", 11) == 0 ? "rpc error: " : "";
    size_t n = strlen(mark), len = strlen(r->reply.error);

    if (!strstr(r->reply.error, " occurred:") ||
        (len > 2 && strcmp(r->reply.error + len - 2, "\n\n") == 0))
        return; /* no list, or all of it */
    job_canonicalize(job);
    job_implied_constraints(job);
    if (job_validate(job, zone_check, &errors) ||
        strncmp(errors.data, r->reply.error + n, 256) != 0)
        return; /* it was another one */
    strbuf_reset(&r->out);
    strbuf_addf(&r->out, "%s%s", mark, errors.data);
}

static void send_register(struct apid_req *r, steppe_JobRegisterRequest *req, const char *path_id)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!req->has_job) {
        apid_error(r, 400, "Job must be specified");
    } else if (!req->job.id || !req->job.id[0]) {
        apid_error(r, 400, "Job ID hasn't been provided");
    } else if (path_id && strcmp(path_id, req->job.id) != 0) {
        apid_error(r, 400, "Job ID does not match name");
    } else if (apid_env(r, RPC_JOB_REGISTER, &env) && choose_region(r, req, &env) &&
               choose_namespace(r, &req->job, &env)) {
        if (!apid_call_msg(r, &env, steppe_JobRegisterRequest_fields, req, &body, &len)) {
            whole_error(r, &req->job);
            return;
        }
        r->index_only = true;
        apid_render(r, &steppe_JobRegisterResponse_json, false, body, len);
    }
}

static void job_register(struct apid_req *r, const char *path_id)
{
    steppe_JobRegisterRequest req = {0};

    if (!decode_body(r, &steppe_JobRegisterRequest_json, &req))
        return;
    send_register(r, &req, path_id);
    pb_release(steppe_JobRegisterRequest_fields, &req);
}

void apid_jobs_register(struct apid_req *r)
{
    job_register(r, NULL);
}

static void job_deregister(struct apid_req *r, const char *id)
{
    steppe_JobDeregisterRequest msg = {.job_id = (char *)id};
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;
    bool bad;

    msg.purge = apid_param_bool(r, "purge", &bad);
    if (bad)
        return;
    msg.global = apid_param_bool(r, "global", &bad);
    if (bad || !apid_env(r, RPC_JOB_DEREGISTER, &env) ||
        !apid_call_msg(r, &env, steppe_JobDeregisterRequest_fields, &msg, &body, &len))
        return;
    r->index_only = true;
    apid_render(r, &steppe_JobDeregisterResponse_json, false, body, len);
}

/* What changed from each version to the newer one before it in the list; null when there is one. */
static int write_diffs(const void *body, size_t len, struct strbuf *out)
{
    struct wire_items it = {body, len, false};
    steppe_Job newer = {0}, older = {0};
    steppe_JobDiff diff;
    const uint8_t *p;
    size_t n, count;
    int err = 0;

    for (count = 0; err == 0 && wire_items_next(&it, &p, &n); count++) {
        err = wire_decode(steppe_Job_fields, p, n, &older, sizeof(older), NULL);
        if (err)
            break;
        if (count > 0)
            err = job_diff(&older, &newer, true, &diff);
        if (count > 0 && err == 0) {
            strbuf_addc(out, count > 1 ? ',' : '[');
            err = json_encode(&steppe_JobDiff_json, &diff, 0, out);
            pb_release(steppe_JobDiff_fields, &diff);
        }
        pb_release(steppe_Job_fields, &newer);
        newer = older;
        older = (steppe_Job){0};
    }
    pb_release(steppe_Job_fields, &newer);
    strbuf_adds(out, count > 1 ? "]" : "null");
    return it.bad ? -EBADMSG : err;
}

static void job_versions(struct apid_req *r, const char *id)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    bool bad, diffs;
    size_t len;

    diffs = apid_param_bool(r, "diffs", &bad);
    if (bad)
        return;
    apid_id_body(id, &req);
    if (!apid_env(r, RPC_JOB_VERSIONS, &env) || !apid_read(r, &env, req.data, req.len, &body, &len))
        return;
    r->meta = true;
    strbuf_adds(&r->out, "{\"Versions\":");
    if (json_encode_list(&steppe_Job_json, body, len, 0, &r->out) < 0) {
        apid_error(r, 500, "the server's answer cannot be read");
        return;
    }
    strbuf_adds(&r->out, ",\"Diffs\":");
    if (!diffs) {
        strbuf_adds(&r->out, "null");
    } else if (write_diffs(body, len, &r->out) < 0) {
        apid_error(r, 500, "the differences are too large");
        return;
    }
    strbuf_addf(&r->out, ",\"Index\":%llu,\"LastContact\":%llu,\"KnownLeader\":%s}",
                (unsigned long long)r->reply.index,
                (unsigned long long)r->reply.last_contact_ms * NS_PER_MS,
                r->reply.known_leader ? "true" : "false");
}

/* Sub-resources by their suffix: a job's id may hold slashes. */
enum job_part {
    JOB_SUMMARY_OF,
    JOB_VERSIONS_OF,
    JOB_EVALUATIONS_OF,
    JOB_ALLOCATIONS_OF,
    JOB_DEPLOYMENTS_OF,
    JOB_DEPLOYMENT_OF
};

static const struct {
    const char *suffix;
    enum job_part part;
    bool any_method; /* Nomad does not look at it */
} job_parts[] = {
    {"/summary", JOB_SUMMARY_OF, true},          {"/versions", JOB_VERSIONS_OF, true},
    {"/evaluations", JOB_EVALUATIONS_OF, false}, {"/allocations", JOB_ALLOCATIONS_OF, false},
    {"/deployments", JOB_DEPLOYMENTS_OF, false}, {"/deployment", JOB_DEPLOYMENT_OF, false},
};

static void job_part(struct apid_req *r, enum job_part part, const char *id)
{
    switch (part) {
    case JOB_SUMMARY_OF:
        apid_read_object(r, RPC_JOB_SUMMARY, id, &steppe_JobSummary_json, false);
        break;
    case JOB_VERSIONS_OF:
        job_versions(r, id);
        break;
    case JOB_EVALUATIONS_OF:
        apid_read_object(r, RPC_JOB_EVALUATIONS, id, &steppe_Evaluation_json, true);
        break;
    case JOB_ALLOCATIONS_OF:
        apid_job_allocations(r, id);
        break;
    case JOB_DEPLOYMENTS_OF:
        apid_job_deployments(r, id);
        break;
    case JOB_DEPLOYMENT_OF:
        apid_job_deployment(r, id);
        break;
    }
}

/* Actions on a job that are not there yet. Without this list they would be taken for job ids. */
static const char *const later_actions[] = {"/plan",   "/dispatch", "/revert",
                                            "/stable", "/scale",    "/periodic/force"};

static bool is_later_action(const char *id)
{
    size_t n = strlen(id);

    for (size_t i = 0; i < ARRAY_LEN(later_actions); i++) {
        size_t k = strlen(later_actions[i]);

        if (n > k && strcmp(id + n - k, later_actions[i]) == 0)
            return true;
    }
    return false;
}

static void send_evaluate(struct apid_req *r, const steppe_JobEvaluateRequest *msg)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!apid_env(r, RPC_JOB_EVALUATE, &env))
        return;
    if (!apid_call_msg(r, &env, steppe_JobEvaluateRequest_fields, msg, &body, &len)) {
        apid_uncoded(r, &env);
        return;
    }
    r->index_only = true;
    apid_render(r, &steppe_JobRegisterResponse_json, false, body, len);
}

/* The body may be left out. */
static void job_evaluate(struct apid_req *r, const char *id)
{
    steppe_JobEvaluateRequest msg = {0};
    struct errtext e = {{0}};

    if (!(r->method & (APID_PUT | APID_POST))) {
        apid_error(r, 405, "Invalid method");
        return;
    }
    if (!apid_read_body(r, false))
        return;
    if (r->body.len > 0 &&
        json_decode(&steppe_JobEvaluateRequest_json, r->body.data, r->body.len, &msg, &e) < 0) {
        apid_error(r, 400, "%s", e.text);
        return;
    }
    if (r->body.len == 0)
        msg.job_id = xstrdup(id);
    if (!msg.job_id || !msg.job_id[0])
        apid_error(r, 400, "Job ID must be specified");
    else if (strcmp(msg.job_id, id) != 0)
        apid_error(r, 400, "JobID not same as job name");
    else
        send_evaluate(r, &msg);
    pb_release(steppe_JobEvaluateRequest_fields, &msg);
}

void apid_job(struct apid_req *r)
{
    const char *id = apid_path_rest(r, "/v1/job/");
    _cleanup_(freep) char *head = NULL;

    if (is_later_action(id)) {
        bool get = r->method == APID_GET && apid_cut_suffix(id, "/scale", &head);

        if (!get && !(r->method & (APID_PUT | APID_POST)))
            apid_error(r, 405, "Invalid method");
        else
            apid_error(r, 501, "%s is not part of this release", strrchr(id, '/') + 1);
        return;
    }

    if (apid_cut_suffix(id, "/evaluate", &head)) {
        job_evaluate(r, head);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(job_parts); i++) {
        if (!apid_cut_suffix(id, job_parts[i].suffix, &head))
            continue;
        if (r->method == APID_GET || job_parts[i].any_method)
            job_part(r, job_parts[i].part, head);
        else
            apid_error(r, 405, "Invalid method");
        return;
    }
    switch (r->method) {
    case APID_GET:
        apid_read_object(r, RPC_JOB_GET, id, &steppe_Job_json, false);
        break;
    case APID_PUT:
    case APID_POST:
        job_register(r, id);
        break;
    case APID_DELETE:
        job_deregister(r, id);
        break;
    case APID_OTHER:
        apid_error(r, 405, "Invalid method");
        break;
    }
}

void apid_eval(struct apid_req *r)
{
    const char *rest = apid_path_rest(r, "/v1/evaluation/");
    _cleanup_(freep) char *id = NULL;

    if (apid_cut_suffix(rest, "/allocations", &id))
        apid_eval_allocations(r, id);
    else
        apid_read_object(r, RPC_EVAL_GET, rest, &steppe_Evaluation_json, false);
}

#define SEARCH_CONTEXTS                                                                            \
    "context must be one of [allocs jobs nodes evals deployment plugins volumes scaling_policy "   \
    "namespaces] or 'all' for all contexts; got \"\""

void apid_search(struct apid_req *r)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_SearchRequest msg = {0};
    steppe_SearchResponse whole = {0};
    steppe_Request env;
    size_t len;
    int err;

    if (!decode_body(r, &steppe_SearchRequest_json, &msg))
        return;
    if (!msg.context || !msg.context[0]) {
        pb_release(steppe_SearchRequest_fields, &msg);
        if (!apid_env(r, RPC_SEARCH_PREFIX, &env))
            return;
        apid_error(r, 400, SEARCH_CONTEXTS);
        apid_uncoded(r, &env);
        return;
    }
    err = wire_encode(steppe_SearchRequest_fields, &msg, &req);
    pb_release(steppe_SearchRequest_fields, &msg);
    if (err < 0) {
        apid_error(r, 413, "the request is too large");
        return;
    }
    if (!apid_env(r, RPC_SEARCH_PREFIX, &env) ||
        !apid_read(r, &env, req.data, req.len, &body, &len))
        return;
    r->meta = true;
    /* What the state does not know: another part of the message, behind the first. */
    whole.last_contact = (int64_t)r->reply.last_contact_ms * NS_PER_MS;
    whole.known_leader = r->reply.known_leader;
    strbuf_reset(&req);
    strbuf_add(&req, body ? body : (uint8_t *)"", len);
    (void)wire_encode(steppe_SearchResponse_fields, &whole, &req);
    apid_render(r, &steppe_SearchResponse_json, false, req.data, req.len);
}

/* ---- texts to jobs, without the cluster ---- */

/* The job text of a JobHCL request as API JSON. */
static bool parse_hcl(struct apid_req *r, const steppe_JobsParseRequest *req, steppe_Job *ret)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_BOUND(JSON_TEXT_MAX);
    struct hcl_error he = {0};
    struct errtext e = {{0}};

    if (hcl_job_to_json(req->job_hcl, strlen(req->job_hcl), req->hclv1 ? HCL_1 : HCL_2, &text,
                        &he) < 0)
        return apid_error(r, 400, "%s", he.text);
    if (json_decode(&steppe_Job_json, text.data, text.len, ret, &e) < 0)
        return apid_error(r, 400, "%s", e.text);
    return true;
}

void apid_jobs_parse(struct apid_req *r)
{
    steppe_JobsParseRequest req = {0};
    steppe_Job job = {0};

    if (!decode_body(r, &steppe_JobsParseRequest_json, &req))
        return;
    if (!req.job_hcl || !req.job_hcl[0]) {
        apid_error(r, 400, "Job spec is empty");
    } else if (parse_hcl(r, &req, &job)) {
        if (req.canonicalize)
            job_api_canonicalize(&job);
        if (json_encode(&steppe_Job_json, &job,
                        JSON_VIEW_API | (req.canonicalize ? JSON_DEFAULTS : 0) |
                            (apid_pretty(r) ? JSON_PRETTY : 0),
                        &r->out) < 0)
            apid_error(r, 500, "the job cannot be written as JSON");
        pb_release(steppe_Job_fields, &job);
    }
    pb_release(steppe_JobsParseRequest_fields, &req);
}

/* Texts that end with NUL as a JSON list. */
static void add_error_items(const struct strbuf *items, struct strbuf *out)
{
    const char *p = items->data, *end = p + items->len;

    strbuf_addc(out, '[');
    for (; p < end; p += strlen(p) + 1) {
        if (p > items->data)
            strbuf_addc(out, ',');
        json_string_encode(p, strlen(p), 0, out);
    }
    strbuf_addc(out, ']');
}

static void validate(struct apid_req *r, steppe_Job *job)
{
    struct strbuf errors = STRBUF_BOUND(1 << 16), warnings = STRBUF_BOUND(1 << 16);
    struct strbuf items = STRBUF_BOUND(1 << 16);
    bool valid;

    job_canonicalize(job);
    job_implied_constraints(job);
    valid = job_validate_items(job, zone_check, &errors, &items);
    job_warnings(job, false, &warnings);
    strbuf_adds(&r->out, "{\"DriverConfigValidated\":true,\"ValidationErrors\":");
    if (valid)
        strbuf_adds(&r->out, "null");
    else
        add_error_items(&items, &r->out);
    strbuf_adds(&r->out, ",\"Error\":");
    json_string_encode(valid ? "" : errors.data, valid ? 0 : errors.len, 0, &r->out);
    strbuf_adds(&r->out, ",\"Warnings\":");
    json_string_encode(warnings.data ? warnings.data : "", warnings.len, 0, &r->out);
    strbuf_addc(&r->out, '}');
    strbuf_fini(&errors);
    strbuf_fini(&items);
    strbuf_fini(&warnings);
}

void apid_validate_job(struct apid_req *r)
{
    steppe_JobRegisterRequest req = {0};

    if (!decode_body(r, &steppe_JobRegisterRequest_json, &req))
        return;
    if (!req.has_job)
        apid_error(r, 400, "Job must be specified");
    else if (req.job.namespace && !req.job.namespace[0])
        apid_error(r, 500, "mismatched request namespace in request: \"default\", \"\"");
    else
        validate(r, &req.job);
    pb_release(steppe_JobRegisterRequest_fields, &req);
}
