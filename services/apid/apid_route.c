/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The routes, and what is the same for all: wrong method, missing slash, unknown path. A path that
 * ends in '/' takes everything below it, as in Go's ServeMux; the longest such wins.
 */
#include <stdio.h>
#include <string.h>

#include "alloc.json.h"
#include "apid.h"
#include "job.json.h"
#include "node.json.h"

#define WRITE     (APID_PUT | APID_POST)
#define ANY       (APID_GET | WRITE | APID_DELETE)
#define ANY_OTHER (ANY | APID_OTHER)

/* clang-format off */
static const struct apid_route routes[] = {
    /* path                           methods          handler                 or a plain read: RPC, item type, list */
    {"/v1/jobs",                      APID_GET,        NULL,                   RPC_JOB_LIST,  &steppe_JobListStub_json,  true},
    {"/v1/jobs",                      WRITE,           apid_jobs_register},
    {"/v1/jobs/parse",                WRITE,           apid_jobs_parse},
    {"/v1/validate/job",              WRITE,           apid_validate_job},
    {"/v1/job/",                      ANY,             apid_job},
    {"/v1/evaluations",               APID_GET,        NULL,                   RPC_EVAL_LIST, &steppe_Evaluation_json,   true},
    {"/v1/evaluation/",               APID_GET,        apid_eval},
    {"/v1/allocations",               APID_GET,        apid_allocations},
    {"/v1/allocation/",               ANY_OTHER,       apid_allocation},
    {"/v1/deployments",               APID_GET,        NULL,                   RPC_DEPLOYMENT_LIST, &steppe_Deployment_json, true},
    {"/v1/deployment/",               ANY_OTHER,       apid_deployment},
    {"/v1/search",                    WRITE,           apid_search},
    {"/v1/nodes",                     APID_GET,        apid_nodes},
    {"/v1/node/",                     ANY,             apid_node},
    {"/v1/client/stats",              ANY_OTHER,       apid_client_stats},
    {"/v1/client/gc",                 ANY_OTHER,       apid_client_gc},
    {"/v1/client/fs/",                ANY_OTHER,       apid_client_fs},
    {"/v1/client/allocation/",        ANY_OTHER,       apid_client_allocation},
    {"/v1/regions",                   APID_GET,        apid_regions},
    {"/v1/status/leader",             APID_GET,        apid_status},
    {"/v1/status/peers",              APID_GET,        apid_status},
    {"/v1/agent/self",                APID_GET,        apid_agent_self},
    {"/v1/agent/members",             APID_GET,        apid_agent_members},
    {"/v1/agent/servers",             APID_GET,        apid_agent_servers},
    {"/v1/agent/servers",             WRITE,          apid_agent_servers_set},
    {"/v1/agent/health",              APID_GET,        apid_agent_health},
    {"/v1/agent/join",                WRITE,           apid_agent_join},
    {"/v1/agent/join/check",          APID_GET | WRITE, apid_agent_join_check},
    {"/v1/agent/region/leave",        WRITE,           apid_agent_region},
    {"/v1/agent/region/remove",       WRITE,           apid_agent_region},
    {"/v1/agent/force-leave",         WRITE,           apid_agent_force_leave},
    {"/v1/agent/keyring/",            ANY,             apid_agent_keyring},
    {"/v1/operator/raft/configuration", APID_GET,      apid_raft_configuration},
    {"/v1/operator/raft/peer",        APID_DELETE,     apid_raft_peer},
    {"/v1/operator/scheduler/configuration", APID_GET | WRITE, apid_scheduler_config},
    {"/v1/system/gc",                 APID_PUT,        apid_system_gc},
    {"/v1/system/reconcile/summaries", APID_PUT,       apid_system_reconcile},
    {"/v1/metrics",                   APID_GET,        apid_metrics},
    {"/ui/",                          APID_GET,        apid_ui},
};
/* clang-format on */

/* Nomad's, and not there yet, with all below them: a text says more than an empty 404. */
static const char *const not_yet[] = {
    "/v1/acl",        "/v1/agent/monitor",      "/v1/event/stream",      "/v1/namespace",
    "/v1/namespaces", "/v1/operator/autopilot", "/v1/operator/snapshot", "/v1/plugins",
    "/v1/scaling",    "/v1/search/fuzzy",       "/v1/volumes",
};

/* Paths whose wrong method is answered otherwise than with 405 and a text (reference 1.2). */
static const struct {
    const char *path;
    int status;
    const char *text;
} wrong_method[] = {
    {"/v1/operator/raft/configuration", 405, ""},
    {"/v1/operator/raft/peer", 404, "Invalid method"},
};

const char *apid_path_rest(const struct apid_req *r, const char *prefix)
{
    return r->path + strlen(prefix);
}

bool apid_cut_suffix(const char *s, const char *suffix, char **ret_head)
{
    size_t n = strlen(s), k = strlen(suffix);

    if (n < k || strcmp(s + n - k, suffix) != 0)
        return false;
    *ret_head = xstrndup(s, n - k);
    return true;
}

static bool path_matches(const struct apid_route *route, const char *path)
{
    size_t n = strlen(route->path);

    if (route->path[n - 1] == '/')
        return strncmp(route->path, path, n) == 0;
    return strcmp(route->path, path) == 0;
}

/* The path itself, with the slash that it lacks, is a route. */
static bool lacks_slash(const char *path)
{
    size_t n = strlen(path);

    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const char *p = routes[i].path;

        if (strlen(p) == n + 1 && p[n] == '/' && strncmp(p, path, n) == 0)
            return true;
    }
    return false;
}

static bool is_not_yet(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(not_yet); i++) {
        size_t n = strlen(not_yet[i]);

        if (strncmp(path, not_yet[i], n) == 0 && (path[n] == '/' || !path[n]))
            return true;
    }
    return false;
}

static void plain_read(struct apid_req *r, const struct apid_route *route)
{
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    if (!apid_env(r, route->rpc, &env) || !apid_read(r, &env, NULL, 0, &body, &len))
        return;
    r->meta = true;
    apid_render(r, route->type, route->list, body, len);
}

static void refuse_method(struct apid_req *r)
{
    for (size_t i = 0; i < ARRAY_LEN(wrong_method); i++) {
        if (strcmp(wrong_method[i].path, r->path) == 0) {
            apid_error(r, wrong_method[i].status, "%s", wrong_method[i].text);
            return;
        }
    }
    apid_error(r, 405, "Invalid method");
}

static void redirect(struct apid_req *r, int status, const char *to, const char *query)
{
    r->status = status;
    r->location = xasprintf("%s%s%s", to, query ? "?" : "", query ? query : "");
    r->content_type = "text/html; charset=utf-8";
    strbuf_addf(&r->out, "<a href=\"%s\">%s</a>.\n\n", to,
                mg_get_response_code_text(r->conn, status));
}

void apid_route(struct apid_req *r)
{
    const struct apid_route *found = NULL;
    bool path_known = false;

    for (size_t i = 0; i < ARRAY_LEN(routes) && !found; i++) {
        if (!path_matches(&routes[i], r->path))
            continue;
        path_known = true;
        if (routes[i].methods & r->method)
            found = &routes[i];
    }
    if (found && found->fn) {
        found->fn(r);
    } else if (found) {
        plain_read(r, found);
    } else if (path_known) {
        refuse_method(r);
    } else if (is_not_yet(r->path)) {
        apid_error(r, 501, "%s is not part of this release", r->path);
    } else if (strcmp(r->path, "/") == 0) {
        redirect(r, 307, "/ui/", r->info->query_string);
    } else if (lacks_slash(r->path)) {
        _cleanup_(freep) char *to = xasprintf("%s/", r->path);

        redirect(r, 301, to, r->info->query_string);
    } else {
        r->status = 404;
    }
}

void apid_read_object(struct apid_req *r, unsigned method, const char *id,
                      const struct json_type *type, bool list)
{
    _cleanup_(strbuf_fini) struct strbuf req = STRBUF_INIT;
    _cleanup_(freep) uint8_t *body = NULL;
    steppe_Request env;
    size_t len;

    apid_id_body(id, &req);
    if (!apid_env(r, method, &env) || !apid_read(r, &env, req.data, req.len, &body, &len))
        return;
    r->meta = true;
    apid_render(r, type, list, body, len);
}
