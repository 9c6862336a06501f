/* SPDX-License-Identifier: MPL-2.0 */
/* Defaults of services, their checks and Connect. */
#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "job_canon.h"

static int entry_cmp(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;

    return strcmp(x ? x : "", y ? y : "");
}

void job_map_sort(void *entries, size_t n, size_t size)
{
    size_t i;

    for (i = 1; i < n; i++) /* the JSON decoder has sorted it already */
        if (entry_cmp((char *)entries + (i - 1) * size, (char *)entries + i * size) > 0) {
            qsort(entries, n, size, entry_cmp);
            return;
        }
}

void job_string_default(char **s, const char *value)
{
    if (!*s)
        *s = xstrdup(value);
}

void job_string_plain(char **s)
{
    if (*s && !**s)
        job_string_clear(s);
}

void job_string_clear(char **s)
{
    free(*s);
    *s = NULL;
}

static const char *text(const char *s)
{
    return s ? s : "";
}

/* The value of ${NAME}, or NULL to leave it for the client. */
static const char *name_variable(const struct job_service_owner *o, const char *name, size_t len,
                                 const char *base)
{
    static const char *const names[] = {"JOB", "TASKGROUP", "TASK", "BASE"};
    const char *const values[] = {text(o->job->name), text(o->group->name),
                                  o->task ? text(o->task->name) : "group", base};
    size_t i;

    for (i = 0; i < ARRAY_LEN(names); i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return values[i];
    return NULL;
}

/* ${JOB}, ${TASKGROUP}, ${TASK} and ${BASE} in a service's name. */
static void name_interpolate(steppe_Service *s, const struct job_service_owner *o)
{
    _cleanup_(freep) char *base = NULL;
    struct strbuf out = STRBUF_INIT;
    const char *p = s->name, *end, *value;

    if (!strstr(p, "${"))
        return;
    base = xasprintf("%s-%s-%s", text(o->job->name), text(o->group->name),
                     o->task ? text(o->task->name) : "group");
    while (*p) {
        end = p[0] == '$' && p[1] == '{' ? strchr(p, '}') : NULL;
        value = end ? name_variable(o, p + 2, (size_t)(end - p - 2), base) : NULL;
        if (value) {
            strbuf_adds(&out, value);
            p = end + 1;
        } else {
            strbuf_addc(&out, *p++);
        }
    }
    free(s->name);
    s->name = strbuf_take(&out);
}

/* The service's check_restart under the check's own. */
static void check_restart_merge(steppe_ServiceCheck *c, const steppe_Service *s)
{
    if (s->has_check_restart && !c->has_check_restart) {
        c->has_check_restart = true;
        c->check_restart = s->check_restart;
    } else if (s->has_check_restart) {
        if (c->check_restart.limit <= 0)
            c->check_restart.limit = s->check_restart.limit;
        JOB_DEFAULT_FROM(&c->check_restart, &s->check_restart, grace);
        if (s->check_restart.ignore_warnings)
            c->check_restart.ignore_warnings = true;
    }
    if (c->has_check_restart)
        JOB_DEFAULT(&c->check_restart, grace, NS_PER_SEC);
}

static void check_defaults(steppe_ServiceCheck *c, const steppe_Service *s)
{
    check_restart_merge(c, s);
    if (!c->on_update && s->on_update)
        c->on_update = xstrdup(s->on_update);
    JOB_SORT_MAP(c->header, c->header_count);
    c->success_before_passing = MAX(c->success_before_passing, 0);
    c->failures_before_critical = MAX(c->failures_before_critical, 0);
}

static void sidecar_task_defaults(steppe_SidecarTask *t)
{
    JOB_SORT_MAP(t->env, t->env_count);
    JOB_SORT_MAP(t->meta, t->meta_count);
    t->has_resources = true;
    job_resources_defaults(&t->resources);
    t->has_log_config = true;
    job_log_defaults(&t->log_config);
    JOB_DEFAULT(t, kill_timeout, 5 * NS_PER_SEC);
    JOB_DEFAULT(t, shutdown_delay, 0);
}

static void gateway_defaults(steppe_ConsulGateway *g)
{
    size_t i;

    if (g->has_proxy) {
        JOB_DEFAULT(&g->proxy, connect_timeout, 5 * NS_PER_SEC);
        JOB_SORT_MAP(g->proxy.envoy_gateway_bind_addresses,
                     g->proxy.envoy_gateway_bind_addresses_count);
    }
    if (g->has_ingress)
        for (i = 0; i < g->ingress.listeners_count; i++)
            job_string_default(&g->ingress.listeners[i].protocol, "tcp");
}

void job_service_defaults(steppe_Service *s, const struct job_service_owner *o)
{
    size_t i;

    if (!s->name && o->task)
        s->name =
            xasprintf("%s-%s-%s", text(o->job->name), text(o->group->name), text(o->task->name));
    else if (!s->name)
        s->name = xasprintf("%s-%s", text(o->job->name), text(o->group->name));
    job_string_default(&s->address_mode, "auto");
    job_string_default(&s->on_update, "require_healthy");
    JOB_SORT_MAP(s->meta, s->meta_count);
    JOB_SORT_MAP(s->canary_meta, s->canary_meta_count);
    if (s->has_connect && s->connect.has_sidecar_task)
        sidecar_task_defaults(&s->connect.sidecar_task);
    if (s->has_connect && s->connect.has_gateway)
        gateway_defaults(&s->connect.gateway);
    if (s->has_check_restart)
        JOB_DEFAULT(&s->check_restart, grace, NS_PER_SEC);
    for (i = 0; i < s->checks_count; i++)
        check_defaults(&s->checks[i], s);
}

/* ---- What a server does beyond ---- */

static void check_store(steppe_ServiceCheck *c, const steppe_Service *s, bool of_task)
{
    job_string_clear(&c->id);
    if (!c->name)
        c->name = xasprintf("service: \"%s\" check", text(s->name));
    if (of_task) {
        c->expose = false;
        job_string_clear(&c->task_name);
    } else { /* 1.1.0 loses them here; kept so for equal answers */
        c->success_before_passing = c->failures_before_critical = 0;
    }
}

static void gateway_store(steppe_ConsulGateway *g)
{
    size_t i;

    for (i = 0; i < g->proxy.envoy_gateway_bind_addresses_count; i++)
        job_string_clear(&g->proxy.envoy_gateway_bind_addresses[i].value.name);
    job_config_store(&g->proxy.config);
}

void job_service_store(steppe_Service *s, const struct job_service_owner *o)
{
    size_t i;

    job_string_clear(&s->id);
    if (o->task)
        job_string_clear(&s->task_name);
    name_interpolate(s, o);
    job_string_default(&s->namespace, "default");
    if (s->has_connect && s->connect.has_sidecar_service)
        job_config_store(&s->connect.sidecar_service.proxy.config);
    if (s->has_connect && s->connect.has_sidecar_task) {
        job_config_store(&s->connect.sidecar_task.config);
        job_resources_store(&s->connect.sidecar_task.resources);
    }
    if (s->has_connect && s->connect.has_gateway)
        gateway_store(&s->connect.gateway);
    for (i = 0; i < s->checks_count; i++)
        check_store(&s->checks[i], s, o->task != NULL);
    s->has_check_restart = false; /* merged */
    s->check_restart = (steppe_CheckRestart){0};
}
