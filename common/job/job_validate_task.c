/* SPDX-License-Identifier: MPL-2.0 */
/* Validation of tasks. */
#include <ctype.h>
#include <string.h>

#include "job_validate.h"

/*
 * Does PATH, seen from `depth` directories below an allocation's own, lead out of it? "..", ".",
 * and doubled slashes count as the file system counts them.
 */
static bool path_escapes(const char *path, int depth)
{
    const char *p = job_text(path), *end;

    for (; *p; p = end) {
        end = p + strcspn(p, "/");
        if (end - p == 2 && p[0] == '.' && p[1] == '.') {
            if (--depth < 0)
                return true; /* the allocation's parent is not its own, nor what is beside it */
        } else if (end > p && !(end - p == 1 && *p == '.')) {
            depth++;
        }
        while (*end == '/')
            end++;
    }
    return false;
}

static void devices_validate(const steppe_Resources *r, struct job_errors *e)
{
    size_t i, j;

    for (i = 0; i < r->devices_count; i++) {
        const steppe_RequestedDevice *d = &r->devices[i];
        _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;

        if (job_text_empty(d->name))
            job_errors_add(&own, "device name must be given as one of the following: type, "
                                 "vendor/type, or vendor/type/name");
        for (j = 0; j < d->constraints_count; j++) {
            _cleanup_(job_errors_fini) struct job_errors one = JOB_ERRORS_INIT;
            const char *op = job_text(d->constraints[j].operand);

            if (strncmp(op, "distinct_", 9) == 0) {
                job_errors_add(&own,
                               "Constraint %zu validation failed: using unsupported operand %s",
                               j + 1, JOB_QUOTE(op));
                continue;
            }
            job_constraint_validate(&d->constraints[j], &one);
            job_errors_nest(&own, &one, "Constraint %zu validation failed: ", j + 1);
        }
        job_affinities_validate(d->affinities, d->affinities_count, false, &own);
        job_errors_nest(e, &own, "device %zu failed validation: ", i + 1);
    }
}

static void resources_validate(const steppe_Resources *r, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    _cleanup_(job_errors_fini) struct job_errors least = JOB_ERRORS_INIT;

    if (r->cores > 0 && r->cpu > 0)
        job_errors_add(&own, "Task can only ask for 'cpu' or 'cores' resource, not both.");
    if (r->cpu < 1 && r->cores == 0)
        job_errors_add(&least, "minimum CPU value is 1; got %d", r->cpu);
    if (r->memory_mb < 10)
        job_errors_add(&least, "minimum MemoryMB value is 10; got %d", r->memory_mb);
    job_errors_nest(&own, &least, "%s", "");
    devices_validate(r, &own);
    if (r->memory_max_mb != 0 && r->memory_max_mb < r->memory_mb)
        job_errors_add(&own, "MemoryMaxMB value (%d) should be larger than MemoryMB value (%d)",
                       r->memory_max_mb, r->memory_mb);
    job_errors_nest(e, &own, "%s", "");
}

static void logs_validate(const steppe_Task *t, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;

    if (t->log_config.max_files < 1)
        job_errors_add(&own, "minimum number of files is 1; got %d", t->log_config.max_files);
    if (t->log_config.max_file_size_mb < 1)
        job_errors_add(&own, "minimum file size is 1MB; got %d", t->log_config.max_file_size_mb);
    job_errors_nest(e, &own, "%s", "");
}

static bool has_variable(const char *s)
{
    const char *p = strstr(s, "${");

    return p && strchr(p, '}') > p + 2;
}

static void checksum_validate(const char *value, struct job_errors *e)
{
    static const struct {
        const char *name;
        size_t digits;
    } types[] = {{"md5", 32}, {"sha1", 40}, {"sha256", 64}, {"sha512", 128}};
    const char *colon, *digest;
    char type[64];
    size_t i, n;

    if (has_variable(value))
        return;
    while (isspace((unsigned char)*value))
        value++;
    n = strlen(value);
    while (n && isspace((unsigned char)value[n - 1]))
        n--;
    if (n == 0) {
        job_errors_add(e, "checksum value cannot be empty");
        return;
    }
    colon = memchr(value, ':', n);
    if (!colon || memchr(colon + 1, ':', (size_t)(value + n - colon - 1)) ||
        (size_t)(colon - value) >= sizeof(type)) {
        job_errors_add(e, "checksum must be given as \"type:value\"; got %s", JOB_QUOTE(value));
        return;
    }
    memcpy(type, value, (size_t)(colon - value));
    type[colon - value] = 0;
    digest = colon + 1;
    n -= (size_t)(digest - value);
    for (i = 0; i < n; i++)
        if (!isxdigit((unsigned char)digest[i])) {
            job_errors_add(e, "invalid checksum: encoding/hex: invalid byte: U+%04X '%c'",
                           (unsigned char)digest[i], digest[i]);
            return;
        }
    if (n % 2) {
        job_errors_add(e, "invalid checksum: encoding/hex: odd length hex string");
        return;
    }
    for (i = 0; i < ARRAY_LEN(types); i++)
        if (strcmp(types[i].name, type) == 0) {
            if (n != types[i].digits)
                job_errors_add(e, "invalid %s checksum: %.*s", type, (int)n, digest);
            return;
        }
    job_errors_add(e, "unsupported checksum type: %s", type);
}

static void artifacts_validate(const steppe_Task *t, struct job_errors *e)
{
    size_t i, j;

    for (i = 0; i < t->artifacts_count; i++) {
        const steppe_TaskArtifact *a = &t->artifacts[i];
        _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;

        if (job_text_empty(a->getter_source))
            job_errors_add(&own, "source must be specified");
        if (!job_text_empty(a->getter_mode) && !job_text_is(a->getter_mode, "any") &&
            !job_text_is(a->getter_mode, "file") && !job_text_is(a->getter_mode, "dir"))
            job_errors_add(&own, "invalid artifact mode %s; must be one of: any, file, dir",
                           JOB_QUOTE(a->getter_mode));
        if (path_escapes(a->relative_dest, 1))
            job_errors_add(&own, "destination escapes allocation directory");
        for (j = 0; j < a->getter_options_count; j++)
            if (job_text_is(a->getter_options[j].key, "checksum"))
                checksum_validate(job_text(a->getter_options[j].value), &own);
        job_errors_nest(e, &own, "Artifact %zu validation failed: ", i + 1);
    }
}

static void vault_validate(const steppe_Vault *v, struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;
    size_t i;

    if (v->policies_count == 0)
        job_errors_add(&own, "Policy list cannot be empty");
    for (i = 0; i < v->policies_count; i++)
        if (job_text_is(v->policies[i], "root"))
            job_errors_add(&own, "Can not specify \"root\" policy");
    if (job_text_is(v->change_mode, "signal")) {
        if (job_text_empty(v->change_signal))
            job_errors_add(&own, "Signal must be specified when using change mode \"signal\"");
    } else if (!job_text_is(v->change_mode, "noop") && !job_text_is(v->change_mode, "restart")) {
        job_errors_add(&own, "Unknown change mode %s", JOB_QUOTE(v->change_mode));
    }
    job_errors_nest(e, &own, "Vault validation failed: ");
}

static void perms_validate(const char *perms, struct job_errors *e)
{
    const char *p = job_text(perms);
    bool range = false;
    unsigned v = 0;

    for (; *p; p++) {
        if (*p < '0' || *p > '7')
            break;
        v = v * 8 + (unsigned)(*p - '0');
        range = range || v > 07777;
        v &= 07777;
    }
    if (*p || range)
        job_errors_add(e, "Failed to parse %s as octal: strconv.ParseUint: parsing %s: %s",
                       JOB_QUOTE(perms), JOB_QUOTE(perms),
                       *p ? "invalid syntax" : "value out of range");
}

static void template_validate(const steppe_Template *t, struct job_errors *e)
{
    if (job_text_empty(t->source_path) && job_text_empty(t->embedded_tmpl))
        job_errors_add(e, "Must specify a source path or have an embedded template");
    if (job_text_empty(t->dest_path))
        job_errors_add(e, "Must specify a destination for the template");
    if (path_escapes(t->dest_path, 1))
        job_errors_add(e, "destination escapes allocation directory");
    if (job_text_is(t->change_mode, "signal")) {
        if (job_text_empty(t->change_signal))
            job_errors_add(e, "Must specify signal value when change mode is signal");
        if (t->envvars)
            job_errors_add(e, "cannot use signals with env var templates");
    } else if (!job_text_is(t->change_mode, "noop") && !job_text_is(t->change_mode, "restart")) {
        job_errors_add(e,
                       "Invalid change mode. Must be one of the following: noop, signal, restart");
    }
    if (t->splay < 0)
        job_errors_add(e, "Must specify positive splay value");
    perms_validate(t->perms, e);
}

static void templates_validate(const steppe_Task *t, struct job_errors *e)
{
    size_t i, j;

    for (i = 0; i < t->templates_count; i++) {
        _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;

        template_validate(&t->templates[i], &own);
        job_errors_nest(e, &own, "Template %zu validation failed: ", i + 1);
        for (j = 0; j < i; j++)
            if (job_text_is(t->templates[j].dest_path, t->templates[i].dest_path))
                break;
        if (j < i)
            job_errors_add(e, "Template %zu has same destination as %zu", i + 1, j + 1);
    }
}

static void constraints_validate(const steppe_Task *t, struct job_errors *e)
{
    size_t i;

    for (i = 0; i < t->constraints_count; i++) {
        const steppe_Constraint *c = &t->constraints[i];
        _cleanup_(job_errors_fini) struct job_errors own = JOB_ERRORS_INIT;

        job_constraint_validate(c, &own);
        job_errors_nest(e, &own, "Constraint %zu validation failed: ", i + 1);
        if (job_text_is(c->operand, "distinct_hosts") ||
            job_text_is(c->operand, "distinct_property"))
            job_errors_add(e, "Constraint %zu has disallowed Operand at task level: %s", i + 1,
                           c->operand);
    }
}

static void hooks_validate(const steppe_Task *t, struct job_errors *e)
{
    static const char *const hooks[] = {"prestart", "poststart", "poststop"};
    const char *hook = job_text(t->lifecycle.hook);
    size_t i;

    if (t->has_dispatch_payload && path_escapes(t->dispatch_payload.file, 2))
        job_errors_add(e, "Dispatch Payload validation failed: destination escapes allocation "
                          "directory");
    if (!t->has_lifecycle)
        return;
    for (i = 0; i < ARRAY_LEN(hooks); i++)
        if (strcmp(hook, hooks[i]) == 0)
            return;
    job_errors_add(e, "Lifecycle validation failed: %s%s",
                   *hook ? "invalid hook: " : "no lifecycle hook provided", hook);
}

static void mounts_validate(const steppe_Task *t, struct job_errors *e)
{
    const steppe_TaskCSIPluginConfig *csi = &t->csi_plugin_config;
    size_t i;

    for (i = 0; i < t->volume_mounts_count; i++) {
        const char *mode = job_text(t->volume_mounts[i].propagation_mode);

        if (*mode && strcmp(mode, "private") != 0 && strcmp(mode, "host-to-task") != 0 &&
            strcmp(mode, "bidirectional") != 0)
            job_errors_add(e, "Volume Mount (%zu) has an invalid propagation mode: \"%s\"", i,
                           mode);
    }
    if (!t->has_csi_plugin_config)
        return;
    if (job_text_empty(csi->id))
        job_errors_add(e, "CSIPluginConfig must have a non-empty PluginID");
    if (!job_text_is(csi->type, "node") && !job_text_is(csi->type, "controller") &&
        !job_text_is(csi->type, "monolith"))
        job_errors_add(e,
                       "CSIPluginConfig PluginType must be one of 'node', 'controller', or "
                       "'monolith', got: \"%s\"",
                       job_text(csi->type));
}

void job_task_validate(const steppe_Task *t, const steppe_TaskGroup *g, bool system,
                       struct job_errors *e)
{
    _cleanup_(job_errors_fini) struct job_errors services = JOB_ERRORS_INIT;
    int64_t log_mb = (int64_t)t->log_config.max_files * t->log_config.max_file_size_mb;

    if (job_text_empty(t->name))
        job_errors_add(e, "Missing task name");
    else if (strpbrk(t->name, "/\\"))
        job_errors_add(e, "Task name cannot include slashes");
    if (job_text_empty(t->driver))
        job_errors_add(e, "Missing task driver");
    if (t->kill_timeout < 0)
        job_errors_add(e, "KillTimeout must be a positive value");
    if (t->shutdown_delay < 0)
        job_errors_add(e, "ShutdownDelay must be a positive value");
    resources_validate(&t->resources, e);
    logs_validate(t, e);
    constraints_validate(t, e);
    job_affinities_validate(t->affinities, t->affinities_count, system, e);
    job_task_services_validate(t, g, &services);
    job_errors_nest(e, &services, "%s", "");
    if (g->ephemeral_disk.size_mb <= log_mb)
        job_errors_add(e, "log storage (%lld MB) must be less than requested disk capacity (%d MB)",
                       (long long)log_mb, g->ephemeral_disk.size_mb);
    artifacts_validate(t, e);
    if (t->has_vault)
        vault_validate(&t->vault, e);
    templates_validate(t, e);
    hooks_validate(t, e);
    mounts_validate(t, e);
}
