/* SPDX-License-Identifier: MPL-2.0 */
#include "task/task_spec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum kind { TEXT, LIST, NUMBER, FLAG };

static const struct field {
    const char *key;
    enum kind kind;
    size_t offset;
} fields[] = {
#define FIELD(name, kind)                                                                          \
    {                                                                                              \
#name, kind, offsetof(struct task_spec, name)                                              \
    }
    FIELD(id, TEXT),
    FIELD(command, TEXT),
    FIELD(args, LIST),
    FIELD(env, LIST),
    FIELD(cwd, TEXT),
    FIELD(log_dir, TEXT),
    FIELD(log_name, TEXT),
    FIELD(log_max_files, NUMBER),
    FIELD(log_max_bytes, NUMBER),
    FIELD(stdout_path, TEXT),
    FIELD(stderr_path, TEXT),
    FIELD(set_user, FLAG),
    FIELD(uid, NUMBER),
    FIELD(gid, NUMBER),
    FIELD(groups, LIST),
    FIELD(cgroup, TEXT),
    FIELD(limits, FLAG),
    FIELD(memory_max, NUMBER),
    FIELD(memory_soft, NUMBER),
    FIELD(cpu_shares, NUMBER),
    FIELD(pids_max, NUMBER),
    FIELD(isolate, FLAG),
    FIELD(root, TEXT),
    FIELD(binds, LIST),
#undef FIELD
};

static void *at(const struct task_spec *s, const struct field *f)
{
    return (char *)s + f->offset;
}

void task_list_add(struct task_list *l, const char *text)
{
    if ((l->n & (l->n - 1)) == 0) /* at each power of two */
        l->items = xrealloc(l->items, (l->n ? l->n * 2 : 1) * sizeof(*l->items));
    l->items[l->n++] = xstrdup(text);
}

void task_list_fini(struct task_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (struct task_list){0};
}

/* A value is one line: newline and percent sign are escaped. */
static void add_line(struct strbuf *out, const char *key, const char *value)
{
    strbuf_adds(out, key);
    strbuf_addc(out, ' ');
    for (const char *p = value; *p; p++) {
        if (*p == '%')
            strbuf_adds(out, "%25");
        else if (*p == '\n')
            strbuf_adds(out, "%0A");
        else
            strbuf_addc(out, *p);
    }
    strbuf_addc(out, '\n');
}

static void add_field(struct strbuf *out, const struct task_spec *s, const struct field *f)
{
    const struct task_list *l;
    char number[24];

    switch (f->kind) {
    case TEXT:
        if (*(char **)at(s, f))
            add_line(out, f->key, *(char **)at(s, f));
        break;
    case LIST:
        l = at(s, f);
        for (size_t i = 0; i < l->n; i++)
            add_line(out, f->key, l->items[i]);
        break;
    case NUMBER:
        (void)snprintf(number, sizeof(number), "%" PRIu64, *(uint64_t *)at(s, f));
        add_line(out, f->key, number);
        break;
    case FLAG:
        add_line(out, f->key, *(bool *)at(s, f) ? "1" : "0");
        break;
    }
}

int task_spec_encode(const struct task_spec *s, struct strbuf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        add_field(out, s, &fields[i]);
    return strbuf_failed(out) ? -EMSGSIZE : 0;
}

static char *unescape(const char *p, size_t n)
{
    char *text = xmalloc(n + 1), *o = text;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '%' && i + 2 < n &&
            (memcmp(p + i, "%25", 3) == 0 || memcmp(p + i, "%0A", 3) == 0)) {
            *o++ = p[i + 1] == '2' ? '%' : '\n';
            i += 2;
        } else {
            *o++ = p[i];
        }
    }
    *o = 0;
    return text;
}

static int take_field(struct task_spec *s, const struct field *f, char *value)
{
    struct task_list *l;
    char *end;

    switch (f->kind) {
    case TEXT:
        free(*(char **)at(s, f));
        *(char **)at(s, f) = xstrdup(value);
        return 0;
    case LIST:
        l = at(s, f);
        if (l->n >= TASK_LIST_MAX)
            return -EBADMSG;
        task_list_add(l, value);
        return 0;
    case NUMBER:
        *(uint64_t *)at(s, f) = strtoull(value, &end, 10);
        return *end || !*value ? -EBADMSG : 0;
    case FLAG:
        *(bool *)at(s, f) = strcmp(value, "1") == 0;
        return 0;
    }
    return -EBADMSG;
}

static int take_line(struct task_spec *s, const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    size_t key = space ? (size_t)(space - line) : 0;

    if (!space || memchr(line, 0, len))
        return -EBADMSG;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (strlen(fields[i].key) == key && memcmp(fields[i].key, line, key) == 0) {
            _cleanup_(freep) char *value = unescape(space + 1, len - key - 1);

            return take_field(s, &fields[i], value);
        }
    }
    return 0; /* of a newer clientd */
}

int task_spec_decode(const char *text, size_t len, struct task_spec *ret, struct errtext *e)
{
    size_t pos = 0;
    unsigned line = 1;

    if (len > TASK_SPEC_MAX)
        return err_set(e, -EBADMSG, "the task's description has more than %u bytes", TASK_SPEC_MAX);
    for (; pos < len; line++) {
        const char *nl = memchr(text + pos, '\n', len - pos);
        size_t n = nl ? (size_t)(nl - text) - pos : len - pos;

        if (!nl || take_line(ret, text + pos, n) < 0) {
            task_spec_fini(ret);
            return err_set(e, -EBADMSG, "bad line %u in the task's description", line);
        }
        pos += n + 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].kind == TEXT && !*(char **)at(ret, &fields[i]))
            *(char **)at(ret, &fields[i]) = xstrdup("");
    return 0;
}

void task_spec_fini(struct task_spec *s)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (fields[i].kind == TEXT)
            free(*(char **)at(s, &fields[i]));
        else if (fields[i].kind == LIST)
            task_list_fini(at(s, &fields[i]));
    }
    *s = (struct task_spec){0};
}

/* ---- status ---- */

static const char *const phases[] = {[TASK_STARTING] = "starting",
                                     [TASK_RUNNING] = "running",
                                     [TASK_EXITED] = "exited",
                                     [TASK_FAILED] = "failed"};

void task_status_encode(const struct task_status *s, char out[static TASK_MESSAGE_MAX])
{
    int n = snprintf(out, TASK_MESSAGE_MAX,
                     "state=%s taskd=%" PRId64 " pid=%" PRId64 " started=%" PRId64 " ended=%" PRId64
                     " code=%" PRId64 " signal=%" PRId64
                     " oom=%d retry=%d killing=%d dropped=%" PRIu64 " error=%s",
                     phases[s->phase], s->taskd, s->pid, s->started_ns, s->ended_ns, s->code,
                     s->signal, s->oom, s->retry, s->killing, s->dropped, s->error);

    assert(n > 0 && n < (int)TASK_MESSAGE_MAX);
    for (char *p = out; *p; p++)
        if (*p == '\n')
            *p = ' ';
}

/* The number behind " KEY=", or 0. */
static int64_t number(const char *line, const char *end, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = strchr(line, ' '); p && p < end; p = strchr(p + 1, ' '))
        if (strncmp(p + 1, key, n) == 0 && p[n + 1] == '=')
            return strtoll(p + n + 2, NULL, 10);
    return 0;
}

int task_status_decode(const char *line, struct task_status *ret)
{
    const char *error = strstr(line, " error="); /* the last one: may hold anything */
    const char *end = error ? error : line + strlen(line);
    size_t i = 0, n = strcspn(line, " ");

    *ret = (struct task_status){0};
    if (strncmp(line, "state=", 6) != 0)
        return -EBADMSG;
    while (i < ARRAY_LEN(phases) &&
           (strlen(phases[i]) != n - 6 || strncmp(line + 6, phases[i], n - 6) != 0))
        i++;
    if (i == ARRAY_LEN(phases))
        return -EBADMSG;
    ret->phase = (enum task_phase)i;
    ret->taskd = number(line, end, "taskd");
    ret->pid = number(line, end, "pid");
    ret->started_ns = number(line, end, "started");
    ret->ended_ns = number(line, end, "ended");
    ret->code = number(line, end, "code");
    ret->signal = number(line, end, "signal");
    ret->oom = number(line, end, "oom") != 0;
    ret->retry = number(line, end, "retry") != 0;
    ret->killing = number(line, end, "killing") != 0;
    ret->dropped = (uint64_t)number(line, end, "dropped");
    if (error)
        (void)snprintf(ret->error, sizeof(ret->error), "%.*s", (int)strcspn(error + 7, "\n"),
                       error + 7);
    return 0;
}
