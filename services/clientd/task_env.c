/* SPDX-License-Identifier: MPL-2.0 */
#include "task_env.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define EXPANDED_MAX (1u << 20) /* bytes of one text after replacing */

/* Never inherited from the agent: its own secrets (Nomad's list), and what only concerns it. */
static const char withheld[] =
    "CONSUL_TOKEN,CONSUL_HTTP_TOKEN,VAULT_TOKEN,NOMAD_LICENSE,AWS_ACCESS_KEY_ID,"
    "AWS_SECRET_ACCESS_KEY,AWS_SESSION_TOKEN,GOOGLE_APPLICATION_CREDENTIALS";

/* ---- maps ---- */

static size_t find(const struct env_map *m, const char *key, bool *ret_there)
{
    size_t lo = 0, hi = m->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (strcmp(m->pairs[mid].key, key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_there = lo < m->n && strcmp(m->pairs[lo].key, key) == 0;
    return lo;
}

static void put(struct env_map *m, const char *key, const char *value)
{
    bool there;
    size_t i = find(m, key, &there);

    if (there) {
        char *copy = xstrdup(value);

        free(m->pairs[i].value);
        m->pairs[i].value = copy;
        return;
    }
    if ((m->n & (m->n - 1)) == 0)
        m->pairs = xrealloc(m->pairs, (m->n ? m->n * 2 : 1) * sizeof(*m->pairs));
    memmove(m->pairs + i + 1, m->pairs + i, (m->n - i) * sizeof(*m->pairs));
    m->pairs[i] = (struct env_pair){xstrdup(key), xstrdup(value)};
    m->n++;
}

static void putf(struct env_map *m, const char *key, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void putf(struct env_map *m, const char *key, const char *fmt, ...)
{
    char value[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    put(m, key, value);
}

static void map_fini(struct env_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->pairs[i].key);
        free(m->pairs[i].value);
    }
    free(m->pairs);
    *m = (struct env_map){0};
}

/* A name of a variable out of any text: what cannot be in one becomes an underscore. */
static char *clean(const char *prefix, const char *name, bool upper)
{
    char *key = xasprintf("%s%s", prefix, name);

    for (char *p = key + strlen(prefix); *p; p++) {
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '.')
            *p = '_';
        if (upper)
            *p = (char)toupper((unsigned char)*p);
    }
    return key;
}

static void put_clean(struct env_map *m, const char *prefix, const char *name, const char *value)
{
    _cleanup_(freep) char *key = clean(prefix, name, false);

    put(m, key, value);
}

/* ---- lookups in an allocation ---- */

const steppe_TaskGroup *alloc_group(const steppe_Allocation *a)
{
    for (pb_size_t i = 0; a->has_job && i < a->job.task_groups_count; i++) {
        const steppe_TaskGroup *g = &a->job.task_groups[i];

        if (g->name && a->task_group && strcmp(g->name, a->task_group) == 0)
            return g;
    }
    return NULL;
}

const steppe_AllocatedTaskResources *alloc_resources(const steppe_Allocation *a, const char *task)
{
    if (!a->has_allocated_resources)
        return NULL;
    for (pb_size_t i = 0; i < a->allocated_resources.tasks_count; i++) {
        const steppe_AllocatedResources_TasksEntry *t = &a->allocated_resources.tasks[i];

        if (t->key && strcmp(t->key, task) == 0)
            return &t->value;
    }
    return NULL;
}

/* ---- what a task gets ---- */

static bool inherited(const char *name, size_t len, const char *list)
{
    if (len > 7 && strncmp(name, "STEPPE_", 7) == 0)
        return false;
    if (len > 6 && strncmp(name, "NOMAD_", 6) == 0)
        return false; /* of an agent that is itself a task */
    for (const char *p = list; *p; p += strspn(p, ", ")) {
        size_t n = strcspn(p, ", ");

        if (n == len && memcmp(p, name, len) == 0)
            return false;
        p += n;
    }
    return true;
}

static void add_host(struct task_env *e, char *const *host, const char *list)
{
    for (; host && *host; host++) {
        size_t n = strcspn(*host, "=");

        if ((*host)[n] == '=' && n > 0 && inherited(*host, n, list)) {
            _cleanup_(freep) char *key = xstrndup(*host, n);

            put(&e->vars, key, *host + n + 1);
        }
    }
}

static void add_node(struct task_env *e, const steppe_Node *n, const char *region)
{
    const struct {
        const char *key, *value;
    } facts[] = {{"node.unique.id", n->id},
                 {"node.unique.name", n->name},
                 {"node.datacenter", n->datacenter},
                 {"node.class", n->node_class},
                 {"node.region", region}};

    for (size_t i = 0; i < ARRAY_LEN(facts); i++)
        put(&e->node, facts[i].key, facts[i].value ? facts[i].value : "");
    for (pb_size_t i = 0; i < n->attributes_count; i++) {
        _cleanup_(freep) char *key = xasprintf("attr.%s", n->attributes[i].key);

        put(&e->node, key, n->attributes[i].value);
    }
    for (pb_size_t i = 0; i < n->meta_count; i++) {
        _cleanup_(freep) char *key = xasprintf("meta.%s", n->meta[i].key);

        put(&e->node, key, n->meta[i].value);
    }
}

static void add_port(struct task_env *e, const char *label, const char *ip, int value, int to)
{
    char host[16], addr[128];

    (void)snprintf(host, sizeof(host), "%d", value);
    (void)snprintf(addr, sizeof(addr), strchr(ip, ':') ? "[%s]:%d" : "%s:%d", ip, value);
    put_clean(&e->vars, "NOMAD_IP_", label, ip);
    put_clean(&e->vars, "NOMAD_HOST_IP_", label, ip);
    put_clean(&e->vars, "NOMAD_ADDR_", label, addr);
    put_clean(&e->vars, "NOMAD_HOST_ADDR_", label, addr);
    put_clean(&e->vars, "NOMAD_HOST_PORT_", label, host);
    if (to > 0)
        (void)snprintf(host, sizeof(host), "%d", to);
    put_clean(&e->vars, "NOMAD_PORT_", label, host);
}

static void add_network(struct task_env *e, const steppe_NetworkResource *n, const char *prefix)
{
    const steppe_Port *const lists[] = {n->reserved_ports, n->dynamic_ports};
    const pb_size_t counts[] = {n->reserved_ports_count, n->dynamic_ports_count};

    for (size_t l = 0; l < 2; l++)
        for (pb_size_t i = 0; i < counts[l]; i++) {
            const steppe_Port *p = &lists[l][i];
            _cleanup_(freep) char *label = xasprintf("%s%s", prefix, p->label ? p->label : "");

            add_port(e, label, n->ip ? n->ip : "", p->value, p->to);
        }
}

static void add_ports(struct task_env *e, const struct task_env_input *in)
{
    const steppe_AllocatedResources *r = &in->alloc->allocated_resources;
    const steppe_AllocatedSharedResources *s = &r->shared;

    if (!in->alloc->has_allocated_resources)
        return;
    for (pb_size_t i = 0; i < r->tasks_count; i++) {
        const steppe_AllocatedResources_TasksEntry *t = &r->tasks[i];
        bool own = strcmp(t->key, in->task->name) == 0;
        _cleanup_(freep) char *prefix = own ? xstrdup("") : xasprintf("%s_", t->key);

        for (pb_size_t k = 0; k < t->value.networks_count; k++)
            add_network(e, &t->value.networks[k], prefix);
    }
    for (pb_size_t i = 0; i < s->networks_count; i++)
        add_network(e, &s->networks[i], "");
    for (pb_size_t i = 0; i < s->ports_count; i++)
        add_port(e, s->ports[i].label ? s->ports[i].label : "",
                 s->ports[i].host_ip ? s->ports[i].host_ip : "", s->ports[i].value, s->ports[i].to);
}

static void add_resources(struct task_env *e, const struct task_env_input *in)
{
    const steppe_AllocatedTaskResources *r = alloc_resources(in->alloc, in->task->name);

    if (!r)
        return;
    putf(&e->vars, "NOMAD_CPU_LIMIT", "%lld", (long long)r->cpu.cpu_shares);
    putf(&e->vars, "NOMAD_MEMORY_LIMIT", "%lld", (long long)r->memory.memory_mb);
    if (r->memory.memory_max_mb > 0)
        putf(&e->vars, "NOMAD_MEMORY_MAX_LIMIT", "%lld", (long long)r->memory.memory_max_mb);
    if (r->cpu.reserved_cores_count > 0) {
        _cleanup_(strbuf_fini) struct strbuf list = STRBUF_INIT;

        for (pb_size_t i = 0; i < r->cpu.reserved_cores_count; i++)
            strbuf_addf(&list, "%s%u", i ? "," : "", r->cpu.reserved_cores[i]);
        put(&e->vars, "NOMAD_CPU_CORES", list.data);
    }
}

static void add_names(struct task_env *e, const struct task_env_input *in)
{
    const steppe_Allocation *a = in->alloc;
    const steppe_Job *j = &a->job;
    const char *index = a->name ? strrchr(a->name, '[') : NULL;
    char number[16] = "";
    const struct {
        const char *key, *value;
    } facts[] = {{"NOMAD_ALLOC_DIR", in->alloc_dir},
                 {"NOMAD_TASK_DIR", in->task_dir},
                 {"NOMAD_SECRETS_DIR", in->secrets_dir},
                 {"NOMAD_ALLOC_ID", a->id},
                 {"NOMAD_ALLOC_NAME", a->name},
                 {"NOMAD_ALLOC_INDEX", number},
                 {"NOMAD_TASK_NAME", in->task->name},
                 {"NOMAD_GROUP_NAME", a->task_group},
                 {"NOMAD_JOB_ID", a->job_id},
                 {"NOMAD_JOB_NAME", j->name},
                 {"NOMAD_JOB_PARENT_ID", j->parent_id && j->parent_id[0] ? j->parent_id : NULL},
                 {"NOMAD_DC", in->node->datacenter},
                 {"NOMAD_REGION", j->region},
                 {"NOMAD_NAMESPACE", a->namespace}};

    if (index)
        (void)snprintf(number, sizeof(number), "%.*s",
                       (int)MIN(strcspn(index + 1, "]"), (size_t)15), index + 1);
    for (size_t i = 0; i < ARRAY_LEN(facts); i++)
        if (facts[i].value)
            put(&e->vars, facts[i].key, facts[i].value);
}

static void add_meta(struct task_env *e, const char *key, const char *value)
{
    _cleanup_(freep) char *as_is = clean("NOMAD_META_", key, false);
    _cleanup_(freep) char *upper = clean("NOMAD_META_", key, true);
    _cleanup_(freep) char *text = task_env_replace(e, value);

    put(&e->vars, as_is, text);
    put(&e->vars, upper, text);
}

void task_env_build(struct task_env *e, const struct task_env_input *in)
{
    const steppe_Job *j = &in->alloc->job;

    *e = (struct task_env){0};
    add_host(e, in->host, in->withheld ? in->withheld : withheld);
    add_node(e, in->node, j->region);
    add_names(e, in);
    add_resources(e, in);
    add_ports(e, in);
    /* The nearest wins: task over group over job. */
    for (pb_size_t i = 0; i < j->meta_count; i++)
        add_meta(e, j->meta[i].key, j->meta[i].value);
    for (pb_size_t i = 0; i < in->group->meta_count; i++)
        add_meta(e, in->group->meta[i].key, in->group->meta[i].value);
    for (pb_size_t i = 0; i < in->task->meta_count; i++)
        add_meta(e, in->task->meta[i].key, in->task->meta[i].value);
    for (pb_size_t i = 0; i < in->task->env_count; i++) {
        _cleanup_(freep) char *key = task_env_replace(e, in->task->env[i].key);
        _cleanup_(freep) char *value = task_env_replace(e, in->task->env[i].value);

        put_clean(&e->vars, "", key, value);
    }
}

void task_env_fini(struct task_env *e)
{
    map_fini(&e->vars);
    map_fini(&e->node);
}

const char *task_env_get(const struct task_env *e, const char *name)
{
    bool there;
    size_t i = find(&e->node, name, &there);

    if (there)
        return e->node.pairs[i].value;
    if (strncmp(name, "env.", 4) == 0)
        name += 4;
    i = find(&e->vars, name, &there);
    return there ? e->vars.pairs[i].value : NULL;
}

static size_t name_length(const char *p)
{
    size_t n = 0;

    while (isalnum((unsigned char)p[n]) || (p[n] && strchr("_-.", p[n])))
        n++;
    return n;
}

char *task_env_replace(const struct task_env *e, const char *text)
{
    struct strbuf out = STRBUF_BOUND(EXPANDED_MAX);
    const char *p = text ? text : "";

    while (*p) {
        size_t n = strncmp(p, "${", 2) == 0 ? name_length(p + 2) : 0;
        const char *value = NULL;

        if (n > 0 && p[2 + n] == '}') {
            _cleanup_(freep) char *name = xstrndup(p + 2, n);

            value = task_env_get(e, name);
        }
        if (value) {
            strbuf_adds(&out, value);
            p += n + 3;
        } else {
            strbuf_addc(&out, *p++);
        }
    }
    return strbuf_take(&out);
}
