/* SPDX-License-Identifier: MPL-2.0 */
/* alloc logs and alloc fs: files of an allocation, read through any server. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "alloc.h"
#include "base/clock.h"
#include "base/prng.h"
#include "commands.h"
#include "frames.h"
#include "text.h"

#define TAIL_LINES      10
#define TAIL_LINE_BYTES 120 /* of a line, on average: how far before the end -n begins to look */
#define TAIL_MAX        (INT64_C(1) << 30)
#define TAIL_IDLE_NS    NS_PER_SEC /* so long without data: all is there that will be */

/* ---- what is shown of a file ---- */

struct tail {
    bool on, by_lines;
    int64_t lines, bytes; /* to look back */
};

/* From -tail, -n and -c; false after saying what is wrong. */
static bool tail_from_flags(struct cli *cli, struct tail *ret, const char *both)
{
    const char *n = flags_str(&cli->flags, "n"), *c = flags_str(&cli->flags, "c");
    int64_t lines = TAIL_LINES, bytes = 0;
    char *end;

    *ret = (struct tail){.on = flags_bool(&cli->flags, "tail")};
    if (!ret->on)
        return true;
    if (*n && *c) {
        ui_error(cli, "%s", both);
        return false;
    }
    errno = 0;
    if (*n)
        lines = strtoll(n, &end, 10);
    else if (*c)
        bytes = strtoll(c, &end, 10);
    else
        end = "";
    if (*end || errno || lines < 0 || bytes < 0 || lines > TAIL_MAX / TAIL_LINE_BYTES ||
        bytes > TAIL_MAX) {
        ui_error(cli, "Invalid size is specified");
        return false;
    }
    ret->by_lines = !*c;
    ret->lines = lines;
    ret->bytes = *c ? bytes : lines * TAIL_LINE_BYTES;
    return true;
}

/* Bytes on their way to stdout; with -n they are held until the last lines are known. */
struct shown {
    struct cli *cli;
    struct frames frames;
    bool framed, holding, broken;
    int64_t lines, hold_max;
    struct strbuf held;
    struct mono_ns last;
};

static void shown_release(struct shown *s)
{
    size_t at = tail_start(s->held.data ? s->held.data : "", s->held.len, (size_t)s->lines);

    s->holding = false;
    if (s->held.len > at)
        (void)fwrite(s->held.data + at, 1, s->held.len - at, s->cli->out);
    strbuf_fini(&s->held);
    (void)fflush(s->cli->out);
}

static void shown_add(void *user, const char *data, size_t len)
{
    struct shown *s = user;

    s->last = clock_mono();
    if (!s->holding) {
        (void)fwrite(data, 1, len, s->cli->out);
        (void)fflush(s->cli->out);
        return;
    }
    strbuf_add(&s->held, data, len);
    if ((int64_t)s->held.len >= s->hold_max)
        shown_release(s);
}

static bool shown_on_data(void *user, const char *data, size_t len)
{
    struct shown *s = user;

    if (!s->framed)
        shown_add(s, data, len);
    else if (frames_feed(&s->frames, data, len, shown_add, s) < 0)
        s->broken = true;
    return !s->broken && !ferror(s->cli->out);
}

static bool shown_on_idle(void *user)
{
    struct shown *s = user;

    if (s->holding && clock_mono().ns - s->last.ns >= TAIL_IDLE_NS)
        shown_release(s);
    return !ferror(s->cli->out);
}

/* Who follows a file ends that with Ctrl-C: no failure. All that came is out already. */
static void on_interrupt(int sig)
{
    (void)sig;
    _exit(0);
}

static void end_by_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM};

    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        if (signal(signals[i], on_interrupt) == SIG_IGN)
            signal(signals[i], SIG_IGN); /* as background jobs want it */
    }
}

/* Streams an answer to stdout. `what` begins the text of an error. */
static int show(struct cli *cli, const char *path, struct client_params *params, bool framed,
                const struct tail *tail, const char *what)
{
    struct shown s = {.cli = cli,
                      .frames = FRAMES_INIT,
                      .framed = framed,
                      .holding = tail->on && tail->by_lines,
                      .lines = tail->lines,
                      .hold_max = tail->bytes,
                      .held = STRBUF_INIT,
                      .last = clock_mono()};
    int r = client_stream(&cli->client, path, params, shown_on_data, shown_on_idle, &s);

    if (s.holding)
        shown_release(&s);
    if (ferror(cli->out)) /* whoever read us has had enough */
        r = 0;
    else if (s.broken || (r == 0 && frames_cut(&s.frames)))
        r = -EPROTO;
    if (s.broken)
        ui_error(cli, "%s: the server sent something that is no part of a file", what);
    else if (r < 0)
        ui_error(cli, "%s: %s", what,
                 r == -EPROTO && !cli_error(cli) ? "unexpected EOF" : cli_error(cli));
    strbuf_fini(&s.held);
    frames_fini(&s.frames);
    return r < 0;
}

/* ---- which allocation ---- */

/* -job: one of the job's allocations, a running one if there is one. malloc'ed, NULL: said. */
static char *alloc_of_job(struct cli *cli, const char *job)
{
    _cleanup_(freep) char *path = job_path(job, "/allocations"), *quoted = text_quote(job);
    _cleanup_(json_decrefp) json_t *allocs = NULL, *running = json_array();
    const json_t *a, *from;
    size_t i;

    if (client_call(&cli->client, "GET", path, NULL, &allocs, "all", "false", NULL) < 0 ||
        json_array_size(allocs) == 0) {
        ui_error(cli, "Error fetching allocations: job %s doesn't exist or it has no allocations",
                 quoted);
        return NULL;
    }
    json_array_foreach(allocs, i, a)
    {
        if (strcmp(js_str(a, "ClientStatus"), "running") == 0)
            json_array_append(running, (json_t *)a);
    }
    from = json_array_size(running) > 0 ? running : allocs;
    a = json_array_get(from, random_u64() % json_array_size(from));
    return xstrdup(js_str(a, "ID"));
}

/* The allocation that the first argument names. NULL: said. */
static json_t *alloc_of_args(struct cli *cli)
{
    _cleanup_(freep) char *id = NULL;

    id = flags_bool(&cli->flags, "job") ? alloc_of_job(cli, cli->argv[0]) : xstrdup(cli->argv[0]);
    return id ? alloc_lookup(cli, id, "Alloc ID", NULL) : NULL;
}

static int usage_without_id(struct cli *cli)
{
    return ui_usage(cli, flags_bool(&cli->flags, "job") ? "A job ID is required"
                                                        : "An allocation ID is required");
}

static void params_set_int(struct client_params *p, const char *name, int64_t n)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%lld", (long long)n);
    client_params_set(p, name, text);
}

/* ---- logs ---- */

/* -task, the second argument, or the only task. NULL: said. */
static const char *logs_task(struct cli *cli, const json_t *alloc)
{
    const char *task = flags_str(&cli->flags, "task");
    _cleanup_(freep) char *error = NULL;

    if (*task) {
        error = alloc_task_missing(alloc, task);
    } else if (cli->argc >= 2) {
        task = cli->argv[1];
        if (!*task) {
            ui_error(cli, "Task name required");
            return NULL;
        }
    } else {
        task = alloc_only_task(alloc, &error);
    }
    if (!error)
        return task;
    ui_error(cli, "Failed to validate task: %s", error);
    return NULL;
}

int cmd_alloc_logs(struct cli *cli)
{
    bool follow = flags_bool(&cli->flags, "f");
    _cleanup_(client_params_fini) struct client_params params = {0};
    _cleanup_(json_decrefp) json_t *alloc = NULL;
    _cleanup_(freep) char *path = NULL;
    const char *task;
    struct tail tail;

    if (cli->argc < 1)
        return usage_without_id(cli);
    if (cli->argc > 2)
        return ui_usage(cli, "This command takes one or two arguments");
    if (!cli_client(cli))
        return 1;
    alloc = alloc_of_args(cli);
    task = alloc ? logs_task(cli, alloc) : NULL;
    if (!task || !tail_from_flags(cli, &tail, "Both -n and -c set"))
        return 1;
    path = xasprintf("/v1/client/fs/logs/%s", js_str(alloc, "ID"));
    client_default_params(&cli->client, &params);
    client_params_set(&params, "follow", follow ? "true" : "false");
    client_params_set(&params, "task", task);
    client_params_set(&params, "type", flags_bool(&cli->flags, "stderr") ? "stderr" : "stdout");
    client_params_set(&params, "origin", tail.on ? "end" : "start");
    params_set_int(&params, "offset", tail.bytes);
    if (follow)
        end_by_signals();
    return show(cli, path, &params, true, &tail,
                tail.on ? "Error tailing file" : "Error reading file");
}

/* ---- fs ---- */

/* A GET of client/fs/WHAT/ID with the path; NULL after saying why not. */
static json_t *fs_call(struct cli *cli, const json_t *alloc, const char *what, const char *file,
                       const char *error)
{
    _cleanup_(freep) char *path = xasprintf("/v1/client/fs/%s/%s", what, js_str(alloc, "ID"));
    json_t *ret = NULL;

    if (client_call(&cli->client, "GET", path, NULL, &ret, "path", file, NULL) == 0)
        return ret;
    ui_error(cli, "%s%s", error, cli_error(cli));
    return NULL;
}

static void fs_add_row(struct cli *cli, struct table *t, const json_t *file, bool type)
{
    struct wall_ns when;
    _cleanup_(freep) char *time =
        text_time_parse(js_str(file, "ModTime"), &when) ? text_time(when) : xstrdup("");
    _cleanup_(freep) char *size = flags_bool(&cli->flags, "H")
                                      ? xasprintf("%lld", (long long)js_int(file, "Size"))
                                      : text_bytes(js_uint(file, "Size"));

    table_row(t, "%s|%s|%s|%s%s%s%s", js_str(file, "FileMode"), size, time,
              type ? js_str(file, "ContentType") : "", type ? "|" : "", js_str(file, "Name"),
              js_bool(file, "IsDir") ? "/" : "");
}

static int fs_print_stat(struct cli *cli, const json_t *file)
{
    _cleanup_(table_fini) struct table t = {0};

    if (cli_wants_data(cli))
        return cli_print_data(cli, file);
    table_row(&t, "Mode|Size|Modified Time|Content Type|Name");
    fs_add_row(cli, &t, file, true);
    ui_table(cli, &t, TABLE_LIST);
    return 0;
}

static int fs_print_list(struct cli *cli, const json_t *alloc, const char *path)
{
    _cleanup_(json_decrefp) json_t *files =
        fs_call(cli, alloc, "ls", path, "Error listing alloc dir: ");
    _cleanup_(table_fini) struct table t = {0};
    const json_t *file;
    size_t i;

    if (!files)
        return 1;
    if (cli_wants_data(cli))
        return cli_print_data(cli, files);
    table_row(&t, "Mode|Size|Modified Time|Name");
    json_array_foreach(files, i, file) fs_add_row(cli, &t, file, false);
    ui_table(cli, &t, TABLE_LIST);
    return 0;
}

static int fs_print_file(struct cli *cli, const json_t *alloc, const char *file, int64_t size)
{
    bool follow = flags_bool(&cli->flags, "f");
    _cleanup_(client_params_fini) struct client_params params = {0};
    _cleanup_(freep) char *path = NULL;
    struct tail tail;

    if (!tail_from_flags(cli, &tail, "Both -n and -c are not allowed"))
        return 1;
    tail.bytes = MIN(tail.bytes, size);
    client_default_params(&cli->client, &params);
    client_params_set(&params, "path", file);
    if (follow) {
        client_params_set(&params, "origin", tail.on ? "end" : "start");
        params_set_int(&params, "offset", tail.bytes);
    } else if (tail.on) {
        params_set_int(&params, "offset", size - tail.bytes);
        params_set_int(&params, "limit", -1);
        tail.bytes = TAIL_MAX; /* the lines are known when all is there */
    }
    path = xasprintf("/v1/client/fs/%s/%s",
                     follow    ? "stream"
                     : tail.on ? "readat"
                               : "cat",
                     js_str(alloc, "ID"));
    if (follow)
        end_by_signals();
    return show(cli, path, &params, follow, &tail,
                tail.on ? "Error tailing file" : "Error reading file");
}

int cmd_alloc_fs(struct cli *cli)
{
    const char *path = cli->argc == 2 ? cli->argv[1] : "/";
    _cleanup_(json_decrefp) json_t *alloc = NULL, *file = NULL;

    if (cli->argc < 1)
        return usage_without_id(cli);
    if (cli->argc > 2)
        return ui_usage(cli, "This command takes one or two arguments: <allocation> [<path>]");
    if (!cli_client(cli))
        return 1;
    alloc = alloc_of_args(cli);
    if (!alloc)
        return 1;
    file = fs_call(cli, alloc, "stat", path, "");
    if (!file)
        return 1;
    if (js_bool(file, "IsDir") && !flags_bool(&cli->flags, "stat"))
        return fs_print_list(cli, alloc, path);
    if (flags_bool(&cli->flags, "stat") || cli_wants_data(cli))
        return fs_print_stat(cli, file);
    return fs_print_file(cli, alloc, path, js_int(file, "Size"));
}
