/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of services and their checks. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "job_validate.h"

#define DUR(ns) duration_format((ns), (char[DURATION_TEXT_MAX]){0})

/* Letters, digits and inner dashes, at most 63, with each ${...} counting as the word ENV-VAR. */
static bool name_is_valid(const char *name)
{
    const char *end;
    size_t len = 0;
    char last = '-';

    while (*name) {
        end = name[0] == '$' && name[1] == '{' ? strchr(name, '}') : NULL;
        if (end && end > name + 2) {
            len += 7;
            last = 'R';
            name = end + 1;
            continue;
        }
        if (!isalnum((unsigned char)*name) && (*name != '-' || len == 0))
            return false;
        last = *name++;
        len++;
    }
    return len > 0 && len <= 63 && last != '-';
}

static bool on_update_is_valid(const char *s)
{
    return job_text_empty(s) || job_text_is(s, "ignore") || job_text_is(s, "require_healthy") ||
           job_text_is(s, "ignore_warnings");
}

static bool requires_port(const steppe_ServiceCheck *c)
{
    return job_text_is(c->type, "grpc") || job_text_is(c->type, "http") ||
           job_text_is(c->type, "tcp");
}

/* Each of these gives the first thing that is wrong, or nothing: buf stays "". */
static bool check_type_error(const steppe_ServiceCheck *c, char *buf, size_t size)
{
    const char *type = job_text(c->type), *path = job_text(c->path);

    if (strcasecmp(type, "grpc") == 0 || strcasecmp(type, "tcp") == 0)
        return false;
    if (strcasecmp(type, "http") == 0) {
        if (!*path)
            (void)snprintf(buf, size, "http type must have a valid http path");
        else if (isalpha((unsigned char)*path) && path[strcspn(path, ":/?#")] == ':')
            (void)snprintf(buf, size, "http type must have a relative http path");
    } else if (strcasecmp(type, "script") == 0) {
        if (job_text_empty(c->command))
            (void)snprintf(buf, size, "script type must have a valid script path");
    } else {
        (void)snprintf(buf, size,
                       "invalid type (%s), must be one of \"http\", \"tcp\", or \"script\" type",
                       JOB_QUOTE(type));
    }
    return *buf;
}

static bool check_time_error(const steppe_ServiceCheck *c, char *buf, size_t size)
{
    if (c->interval == 0)
        (void)snprintf(buf, size,
                       "missing required value interval. Interval cannot be less than 1s");
    else if (c->interval < NS_PER_SEC)
        (void)snprintf(buf, size, "interval (%s) cannot be lower than 1s", DUR(c->interval));
    else if (c->timeout == 0)
        (void)snprintf(buf, size, "missing required value timeout. Timeout cannot be less than 1s");
    else if (c->timeout < NS_PER_SEC)
        (void)snprintf(buf, size, "timeout (%s) is lower than required minimum timeout 1s",
                       DUR(c->timeout));
    return *buf;
}

static bool check_words_error(const steppe_ServiceCheck *c, char *buf, size_t size)
{
    const char *status = job_text(c->initial_status), *mode = job_text(c->address_mode);

    if (*status && strcmp(status, "passing") != 0 && strcmp(status, "warning") != 0 &&
        strcmp(status, "critical") != 0)
        (void)snprintf(buf, size,
                       "invalid initial check state (%s), must be one of \"passing\", \"warning\", "
                       "\"critical\" or empty",
                       status);
    else if (strcmp(mode, "auto") == 0)
        (void)snprintf(buf, size, "invalid address_mode \"auto\" - auto only valid for services");
    else if (*mode && strcmp(mode, "host") != 0 && strcmp(mode, "driver") != 0 &&
             strcmp(mode, "alloc") != 0)
        (void)snprintf(buf, size, "invalid address_mode %s", JOB_QUOTE(mode));
    else if (!on_update_is_valid(c->on_update))
        (void)snprintf(buf, size,
                       "on_update must be \"require_healthy\", \"ignore_warnings\", or \"ignore\"; "
                       "got %s",
                       JOB_QUOTE(c->on_update));
    else if (c->expose && strcasecmp(job_text(c->type), "grpc") != 0 &&
             strcasecmp(job_text(c->type), "http") != 0)
        (void)snprintf(buf, size, "expose may only be set on HTTP or gRPC checks");
    return *buf;
}

static bool check_counts_error(const steppe_ServiceCheck *c, char *buf, size_t size)
{
    if (c->success_before_passing > 0 && !requires_port(c))
        (void)snprintf(buf, size, "success_before_passing not supported for check of type %s",
                       JOB_QUOTE(c->type));
    else if (c->failures_before_critical > 0 && !requires_port(c))
        (void)snprintf(buf, size, "failures_before_critical not supported for check of type %s",
                       JOB_QUOTE(c->type));
    return *buf;
}

static bool check_restart_error(const steppe_ServiceCheck *c, char *buf, size_t size)
{
    const steppe_CheckRestart *r = &c->check_restart;

    if (!c->has_check_restart)
        return false;
    if (job_text_is(c->on_update, "ignore"))
        (void)snprintf(buf, size,
                       "on_update value \"ignore\" is not compatible with check_restart");
    else if (!r->ignore_warnings && job_text_is(c->on_update, "ignore_warnings"))
        (void)snprintf(buf, size,
                       "on_update value \"ignore_warnings\" not supported with check_restart "
                       "ignore_warnings value \"false\"");
    return *buf;
}

static void check_validate(const steppe_ServiceCheck *c, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    char why[512] = "";

    if (check_type_error(c, why, sizeof(why)) || check_time_error(c, why, sizeof(why)) ||
        check_words_error(c, why, sizeof(why)) || check_counts_error(c, why, sizeof(why)) ||
        check_restart_error(c, why, sizeof(why))) {
        job_errors_add(e, "Check %s invalid: %s", job_text(c->name), why);
        return;
    }
    if (!c->has_check_restart)
        return;
    if (c->check_restart.limit < 0)
        job_errors_add(&own, "limit must be greater than or equal to 0 but found %d",
                       c->check_restart.limit);
    if (c->check_restart.grace < 0)
        job_errors_add(&own, "grace period must be greater than or equal to 0 but found %lld",
                       (long long)c->check_restart.grace);
    job_errors_nest(e, &own, "Check %s invalid: ", job_text(c->name));
}

static void connect_validate(const steppe_Service *s, struct job_errors *e)
{
    const steppe_ConsulConnect *c = &s->connect;

    if (c->has_sidecar_service + c->native + c->has_gateway != 1)
        job_errors_add(e, "Consul Connect must be exclusively native, make use of a sidecar, or "
                          "represent a Gateway");
    else if (c->has_gateway)
        job_gateway_validate(&c->gateway, e);
    if (c->native && job_text_empty(s->task_name))
        job_errors_add(e, "Service %s is Connect Native and requires setting the task",
                       job_text(s->name));
}

void job_service_validate(const steppe_Service *s, struct job_errors *e)
{
    const char *mode = job_text(s->address_mode);
    size_t i;

    if (!name_is_valid(job_text(s->name)))
        job_errors_add(e,
                       "Service name must be valid per RFC 1123 and can contain only alphanumeric "
                       "characters or dashes: %s",
                       JOB_QUOTE(s->name));
    if (*mode && strcmp(mode, "auto") != 0 && strcmp(mode, "host") != 0 &&
        strcmp(mode, "driver") != 0 && strcmp(mode, "alloc") != 0)
        job_errors_add(e, "Service address_mode must be \"auto\", \"host\", or \"driver\"; not %s",
                       JOB_QUOTE(mode));
    if (!on_update_is_valid(s->on_update))
        job_errors_add(e,
                       "Service on_update must be \"require_healthy\", \"ignore_warnings\", or "
                       "\"ignore\"; not %s",
                       JOB_QUOTE(s->on_update));
    for (i = 0; i < s->checks_count; i++) {
        const steppe_ServiceCheck *c = &s->checks[i];

        if (job_text_empty(s->port_label) && job_text_empty(c->port_label) && requires_port(c))
            job_errors_add(
                e,
                "Check %s invalid: check requires a port but neither check nor service %s "
                "have a port",
                job_text(c->name), JOB_QUOTE(s->name));
        else if (job_text_is(c->type, "tcp") && s->has_connect && s->connect.has_sidecar_service)
            job_errors_add(
                e, "Check %s invalid: tcp checks are not valid for Connect enabled services",
                job_text(c->name));
        else
            check_validate(c, e);
    }
    if (s->has_connect)
        connect_validate(s, e);
}

/* ---- Services of a group ---- */

static bool same_service(const steppe_Service *a, const steppe_Service *b)
{
    return job_text_is(a->name, b->name) && job_text_is(a->port_label, b->port_label);
}

/* Do any of the first n tasks' services, or the first m of the group's own, equal s? */
static bool service_taken(const steppe_TaskGroup *g, const steppe_Service *s)
{
    size_t i, j;

    for (i = 0; i < g->tasks_count; i++)
        for (j = 0; j < g->tasks[i].services_count; j++) {
            if (&g->tasks[i].services[j] == s)
                return false;
            if (same_service(&g->tasks[i].services[j], s))
                return true;
        }
    for (i = 0; i < g->services_count && &g->services[i] != s; i++)
        if (same_service(&g->services[i], s))
            return true;
    return false;
}

static void group_check_validate(const steppe_TaskGroup *g, const steppe_Service *s,
                                 const steppe_ServiceCheck *c, struct job_errors *e)
{
    size_t i;

    if (job_text_empty(c->task_name))
        return;
    if (!job_text_is(c->type, "script") && !job_text_is(c->type, "grpc"))
        job_errors_add(e, "Check %s invalid: only script and gRPC checks should have tasks",
                       job_text(c->name));
    if (job_text_is(c->address_mode, "driver"))
        job_errors_add(
            e,
            "Check %s invalid: cannot use address_mode=\"driver\", only checks defined in a "
            "\"task\" service block can use this mode",
            JOB_QUOTE(s->name));
    for (i = 0; i < g->tasks_count; i++)
        if (job_text_is(g->tasks[i].name, c->task_name))
            return;
    job_errors_add(e, "Check %s invalid: refers to non-existent task %s", job_text(c->name),
                   c->task_name);
}

void job_group_services_validate(const steppe_TaskGroup *g, struct job_errors *e)
{
    size_t i, j;

    for (i = 0; i < g->tasks_count; i++)
        for (j = 0; j < g->tasks[i].services_count; j++)
            if (service_taken(g, &g->tasks[i].services[j]))
                job_errors_add(e, "Service %s is duplicate",
                               job_text(g->tasks[i].services[j].name));
    for (i = 0; i < g->services_count; i++) {
        const steppe_Service *s = &g->services[i];
        _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;

        job_service_validate(s, &own);
        job_errors_nest(e, &own, "Service[%zu] %s validation failed: ", i, job_text(s->name));
        if (own.n)
            continue;
        if (job_text_is(s->address_mode, "driver"))
            job_errors_add(
                e,
                "service %s cannot use address_mode=\"driver\", only services defined in a "
                "\"task\" block can use this mode",
                JOB_QUOTE(s->name));
        if (service_taken(g, s))
            job_errors_add(e, "Service %s is duplicate", job_text(s->name));
        for (j = 0; j < s->checks_count; j++)
            group_check_validate(g, s, &s->checks[j], e);
    }
}

void job_script_checks_validate(const steppe_TaskGroup *g, struct job_errors *e)
{
    size_t i, j;

    for (i = 0; i < g->services_count; i++) {
        const steppe_Service *s = &g->services[i];

        for (j = 0; job_text_empty(s->task_name) && j < s->checks_count; j++)
            if (job_text_is(s->checks[j].type, "script") && job_text_empty(s->checks[j].task_name))
                job_errors_add(e, "Service [%s]->%s or Check %s must specify task parameter",
                               job_text(g->name), job_text(s->name), job_text(s->checks[j].name));
    }
}

/* ---- Services of a task: the ports they name must exist ---- */

/* Which port label a service needs. At most UINT16_MAX services with as many checks each. */
struct need {
    const char *label;
    const char *service;
};

struct needs {
    struct need *list;
    size_t len;
    size_t cap;
};

#define NEEDS_MAX 4096

static void needs_add(struct needs *n, const char *label, const char *service)
{
    size_t i;

    for (i = 0; i < n->len; i++)
        if (job_text_is(n->list[i].label, label) && job_text_is(n->list[i].service, service))
            return;
    if (n->len == NEEDS_MAX)
        return;
    if (n->len == n->cap) {
        n->cap = MAX(n->cap * 2, (size_t)8);
        n->list = xrealloc(n->list, n->cap * sizeof(*n->list));
    }
    n->list[n->len++] = (struct need){label, job_text(service)};
}

static int need_cmp(const void *a, const void *b)
{
    const struct need *x = a, *y = b;
    int c = strcmp(x->label, y->label);

    return c ? c : strcmp(x->service, y->service);
}

static bool is_number(const char *s)
{
    if (*s == '-' || *s == '+')
        s++;
    return *s && s[strspn(s, "0123456789")] == 0;
}

static bool network_has_label(const steppe_NetworkResource *n, const char *label)
{
    size_t i;

    for (i = 0; i < n->reserved_ports_count; i++)
        if (job_text_is(n->reserved_ports[i].label, label))
            return true;
    for (i = 0; i < n->dynamic_ports_count; i++)
        if (job_text_is(n->dynamic_ports[i].label, label))
            return true;
    return false;
}

static bool label_exists(const steppe_Task *t, const steppe_TaskGroup *g, const char *label)
{
    size_t i;

    if (g->networks_count && network_has_label(&g->networks[0], label))
        return true;
    for (i = 0; i < t->resources.networks_count; i++)
        if (network_has_label(&t->resources.networks[i], label))
            return true;
    return false;
}

static void needs_validate(struct needs *n, const steppe_Task *t, const steppe_TaskGroup *g,
                           struct job_errors *e)
{
    size_t i, j, k;

    if (n->len)
        qsort(n->list, n->len, sizeof(*n->list), need_cmp);
    for (i = 0; i < n->len; i = j) {
        _cleanup_(strbuf_fini) struct strbuf names = STRBUF_BOUND(1024);

        for (j = i; j < n->len && strcmp(n->list[j].label, n->list[i].label) == 0; j++)
            ;
        if (label_exists(t, g, n->list[i].label))
            continue;
        for (k = i; k < j; k++)
            strbuf_addf(&names, "%s%s", k > i ? ", " : "", n->list[k].service);
        job_errors_add(e, "port label %s referenced by services %s does not exist",
                       JOB_QUOTE(n->list[i].label), names.data ? names.data : "");
    }
}

static void task_check_validate(const steppe_Service *s, const steppe_ServiceCheck *c,
                                struct needs *n, struct job_errors *e)
{
    const char *port = job_text_empty(c->port_label) ? job_text(s->port_label) : c->port_label;
    const char *mode = job_text(c->address_mode);

    if (strcmp(mode, "alloc") == 0)
        job_errors_add(
            e,
            "check %s cannot use address_mode=\"alloc\", only checks defined in a \"group\" "
            "service block can use this mode",
            JOB_QUOTE(s->name));
    if (!requires_port(c))
        return;
    if (!*port)
        job_errors_add(e, "check %s is missing a port", JOB_QUOTE(c->name));
    else if (!is_number(port))
        needs_add(n, port, s->name);
    else if (strcmp(mode, "driver") != 0)
        job_errors_add(e,
                       "check %s cannot use a numeric port %s without setting "
                       "address_mode=\"driver\"",
                       JOB_QUOTE(c->name), port);
    else if (*port == '-' || port[strspn(port, "+0")] == 0)
        job_errors_add(e, "check %s has invalid numeric port %s", JOB_QUOTE(c->name), port);
}

static void task_service_validate(const steppe_Task *t, size_t i, struct needs *n,
                                  struct job_errors *e)
{
    const steppe_Service *s = &t->services[i];
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    size_t j, k;

    job_service_validate(s, &own);
    job_errors_nest(e, &own, "service[%zu] %s validation failed: ", i, JOB_QUOTE(s->name));
    if (job_text_is(s->address_mode, "alloc"))
        job_errors_add(e,
                       "service %s cannot use address_mode=\"alloc\", only services defined in a "
                       "\"group\" block can use this mode",
                       JOB_QUOTE(s->name));
    for (j = 0; j < i; j++)
        if (same_service(&t->services[j], s)) {
            job_errors_add(e, "service %s is duplicate", JOB_QUOTE(s->name));
            break;
        }
    if (!job_text_empty(s->port_label) &&
        !(job_text_is(s->address_mode, "driver") && is_number(s->port_label)))
        needs_add(n, s->port_label, s->name);
    if (s->has_connect)
        job_errors_add(
            e,
            "service %s cannot have \"connect\" block, only services defined in a \"group\" "
            "block can",
            JOB_QUOTE(s->name));
    for (j = 0; j < s->checks_count; j++) {
        for (k = 0; k < j && !job_text_is(s->checks[k].name, s->checks[j].name); k++)
            ;
        if (k < j)
            job_errors_add(e, "check %s is duplicate", JOB_QUOTE(s->checks[j].name));
        task_check_validate(s, &s->checks[j], n, e);
    }
}

void job_task_services_validate(const steppe_Task *t, const steppe_TaskGroup *g,
                                struct job_errors *e)
{
    struct needs n = {NULL, 0, 0};
    size_t i;

    for (i = 0; i < t->services_count; i++)
        task_service_validate(t, i, &n, e);
    needs_validate(&n, t, g, e);
    free(n.list);
}
