/* SPDX-License-Identifier: MPL-2.0 */
/*
 * raw_exec runs a command as it is; exec the same between fences: namespaces, a root folder of its
 * own, limits, another user. Both are a task_spec for taskd.
 */
#include <errno.h>
#include <grp.h>
#include <pb_decode.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "client_state.json.h"
#include "client_state.pb.h"
#include "driver.h"
#include "json/json.h"
#include "task/task_spec.h"
#include "task_proc.h"

#define MIB          (UINT64_C(1) << 20)
#define GROUPS_MAX   64
#define PIDS_DEFAULT 4096u

extern char **environ;

/* What tasks of exec see of the machine, as in Nomad. */
static const char *const chroot_default[] = {
    "/bin", "/etc", "/lib", "/lib32", "/lib64", "/run/resolvconf", "/sbin", "/usr"};

static int set_user(const char *name, struct task_spec *s, struct errtext *e)
{
    gid_t groups[GROUPS_MAX];
    int n = GROUPS_MAX;
    const struct passwd *pw = getpwnam(name);
    char number[24];

    if (!pw)
        return err_set(e, -ENOENT,
                       "failed to launch command with executor: Failed to identify user %s: user: "
                       "unknown user %s",
                       name, name);
    if (getgrouplist(name, pw->pw_gid, groups, &n) < 0)
        n = GROUPS_MAX;
    s->set_user = true;
    s->uid = pw->pw_uid;
    s->gid = pw->pw_gid;
    for (int i = 0; i < n && i < GROUPS_MAX; i++) {
        (void)snprintf(number, sizeof(number), "%u", (unsigned)groups[i]);
        task_list_add(&s->groups, number);
    }
    return 0;
}

static void bind_folder(struct task_spec *s, const char *from, const char *to, bool ro)
{
    _cleanup_(freep) char *text =
        xasprintf("%s %s\t%s", ro ? "ro" : "rw", from, to + strspn(to, "/"));

    if (access(from, F_OK) == 0)
        task_list_add(&s->binds, text);
}

static uint64_t pids_max(const struct conf *conf)
{
    for (size_t i = 0; i < conf->plugins.n; i++)
        if (strcmp(conf->plugins.keys[i], "exec.pids_max") == 0)
            return strtoull(conf->plugins.values[i], NULL, 10);
    return PIDS_DEFAULT;
}

static void isolate(const struct driver_request *rq, const char *task_dir, struct task_spec *s)
{
    const struct conf_map *chroot_env = &rq->ctx->conf->client.chroot_env;
    const steppe_AllocatedTaskResources *res = alloc_resources(rq->alloc, rq->task->name);
    _cleanup_(freep) char *shared = xasprintf("%s/alloc", rq->alloc_dir);

    s->isolate = true;
    s->root = xstrdup(task_dir);
    s->cwd = xstrdup("/");
    for (size_t i = 0; i < chroot_env->n; i++)
        bind_folder(s, chroot_env->keys[i], chroot_env->values[i], true);
    for (size_t i = 0; chroot_env->n == 0 && i < ARRAY_LEN(chroot_default); i++)
        bind_folder(s, chroot_default[i], chroot_default[i], true);
    bind_folder(s, shared, "/alloc", false);
    if (!s->cgroup[0] || !res)
        return;
    s->limits = true;
    s->cpu_shares = (uint64_t)MAX(res->cpu.cpu_shares, INT64_C(0));
    s->memory_max = (uint64_t)MAX(res->memory.memory_mb, INT64_C(0)) * MIB;
    if (res->memory.memory_max_mb > res->memory.memory_mb) {
        s->memory_soft = s->memory_max;
        s->memory_max = (uint64_t)res->memory.memory_max_mb * MIB;
    }
    s->pids_max = pids_max(rq->ctx->conf);
}

static int read_config(const struct driver_request *rq, const struct task_env *env,
                       struct task_spec *s, struct errtext *e)
{
    steppe_DriverConfig c = {0};
    const char *text = rq->task->config ? rq->task->config : "{}";
    int r = json_decode(&steppe_DriverConfig_json, text, strlen(text), &c, e);

    if (r < 0)
        return err_prefix(e, r, "invalid config");
    if (!c.command || !c.command[0])
        r = err_set(e, -EINVAL,
                    "failed to parse config: missing required argument; The argument "
                    "\"command\" is required, but no definition was found.");
    s->command = task_env_replace(env, c.command);
    for (pb_size_t i = 0; i < c.args_count; i++) {
        _cleanup_(freep) char *arg = task_env_replace(env, c.args[i]);

        task_list_add(&s->args, arg);
    }
    pb_release(steppe_DriverConfig_fields, &c);
    return r;
}

static void add_env(const struct task_env *env, struct task_spec *s)
{
    for (size_t i = 0; i < env->vars.n; i++) {
        _cleanup_(freep) char *pair =
            xasprintf("%s=%s", env->vars.pairs[i].key, env->vars.pairs[i].value);

        task_list_add(&s->env, pair);
    }
}

static const char *env_denylist(const struct conf *conf)
{
    for (size_t i = 0; i < conf->client.options.n; i++)
        if (strcmp(conf->client.options.keys[i], "env.denylist") == 0 ||
            strcmp(conf->client.options.keys[i], "env.blacklist") == 0)
            return conf->client.options.values[i];
    return NULL;
}

static int make_spec(const struct driver *d, const struct driver_request *rq, struct task_spec *s,
                     struct errtext *e)
{
    _cleanup_(freep) char *task_dir = xasprintf("%s/%s", rq->alloc_dir, rq->task->name);
    _cleanup_(freep) char *shared = xasprintf("%s/alloc", rq->alloc_dir);
    _cleanup_(freep) char *local = xasprintf("%s/local", task_dir);
    _cleanup_(freep) char *secrets = xasprintf("%s/secrets", task_dir);
    const char *user = rq->task->user && rq->task->user[0] ? rq->task->user : NULL;
    const steppe_LogConfig *logs = &rq->task->log_config;
    struct task_env_input in = {rq->alloc,
                                rq->group,
                                rq->task,
                                rq->node,
                                d->isolates ? "/alloc" : shared,
                                d->isolates ? "/local" : local,
                                d->isolates ? "/secrets" : secrets,
                                env_denylist(rq->ctx->conf),
                                environ};
    struct task_env env;
    int r;

    task_env_build(&env, &in);
    s->id = xasprintf("%s/%s", rq->alloc->id, rq->task->name);
    s->log_dir = xasprintf("%s/alloc/logs", rq->alloc_dir);
    s->log_name = xstrdup(rq->task->name);
    s->log_max_files =
        rq->task->has_log_config && logs->has_max_files ? (uint64_t)MAX(logs->max_files, 1) : 10;
    s->log_max_bytes = (rq->task->has_log_config && logs->has_max_file_size_mb
                            ? (uint64_t)MAX(logs->max_file_size_mb, 1)
                            : 10) *
                       MIB;
    s->cgroup = driver_group(d, rq);
    if (d->isolates)
        isolate(rq, task_dir, s);
    else
        s->cwd = xstrdup(task_dir);
    r = read_config(rq, &env, s, e);
    if (r == 0 && (user || d->isolates))
        r = set_user(user ? user : "nobody", s, e);
    add_env(&env, s);
    task_env_fini(&env);
    return r;
}

static int start(const struct driver *d, const struct driver_request *rq, struct driver_task **ret,
                 struct errtext *e)
{
    struct task_spec s = {0};
    int r = make_spec(d, rq, &s, e);

    if (r < 0) {
        task_spec_fini(&s);
        return r;
    }
    return task_proc_start(d, rq, &s, ret, e);
}

/* ---- raw_exec ---- */

static bool raw_fingerprint(const struct driver_ctx *ctx, steppe_Node *node,
                            const char **ret_health)
{
    if (ctx->conf->dev || driver_option(ctx->conf, "driver.raw_exec.enable") ||
        driver_option(ctx->conf, "raw_exec.enabled"))
        return true;
    *ret_health = "disabled";
    return false;
}

static int raw_start(const struct driver_request *rq, struct driver_task **ret, struct errtext *e)
{
    const char *why;

    if (!raw_fingerprint(rq->ctx, NULL, &why))
        return err_set(e, -EPERM, "raw_exec is disabled on this node");
    return start(&driver_raw_exec, rq, ret, e);
}

static int raw_attach(const struct driver_request *rq, struct driver_task **ret, struct errtext *e)
{
    return task_proc_attach(&driver_raw_exec, rq, ret, e);
}

const struct driver driver_raw_exec = {
    .name = "raw_exec",
    .fingerprint = raw_fingerprint,
    .start = raw_start,
    .attach = raw_attach,
    .signal = task_proc_signal,
    .kill = task_proc_kill,
    .force = task_proc_force,
    .usage = task_proc_usage,
    .release = task_proc_release,
    .detach = task_proc_detach,
};

/* ---- exec ---- */

static bool exec_fingerprint(const struct driver_ctx *ctx, steppe_Node *node,
                             const char **ret_health)
{
    if (geteuid() != 0) {
        *ret_health = "Driver must run as root";
        return false;
    }
    if (ctx->cgroups->version == CGROUP_NONE) {
        *ret_health = "Failed to discover cgroup mount point";
        return false;
    }
    return true;
}

static int exec_start(const struct driver_request *rq, struct driver_task **ret, struct errtext *e)
{
    return start(&driver_exec, rq, ret, e);
}

static int exec_attach(const struct driver_request *rq, struct driver_task **ret, struct errtext *e)
{
    return task_proc_attach(&driver_exec, rq, ret, e);
}

const struct driver driver_exec = {
    .name = "exec",
    .isolates = true,
    .fingerprint = exec_fingerprint,
    .start = exec_start,
    .attach = exec_attach,
    .signal = task_proc_signal,
    .kill = task_proc_kill,
    .force = task_proc_force,
    .usage = task_proc_usage,
    .release = task_proc_release,
    .detach = task_proc_detach,
};
