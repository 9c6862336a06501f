/* SPDX-License-Identifier: MPL-2.0 */
/* A difference between two jobs, in lines for people, with marks for colours. */
#include <string.h>

#include "base/strbuf.h"
#include "commands.h"
#include "text.h"

#define DIFF_DEPTH_MAX 32 /* objects within objects; what is deeper is left out */

struct diff_widths {
    size_t field, marker;
};

static const struct {
    const char *type, *mark;
    size_t width;
} diff_marks[] = {
    {"Added", "[green]+[reset] ", 2},
    {"Deleted", "[red]-[reset] ", 2},
    {"Edited", "[light_yellow]+/-[reset] ", 4},
};

static const char *diff_mark(const json_t *diff, size_t *ret_width)
{
    for (size_t i = 0; i < ARRAY_LEN(diff_marks); i++) {
        if (strcmp(js_str(diff, "Type"), diff_marks[i].type) == 0) {
            *ret_width = diff_marks[i].width;
            return diff_marks[i].mark;
        }
    }
    *ret_width = 0;
    return "";
}

static void diff_widen_markers(struct diff_widths *w, const json_t *diffs)
{
    size_t i, width;
    json_t *d;

    json_array_foreach(diffs, i, d)
    {
        diff_mark(d, &width);
        w->marker = MAX(w->marker, width);
    }
}

static struct diff_widths diff_widths(const json_t *diff)
{
    const json_t *fields = js_get(diff, "Fields");
    struct diff_widths w = {0};
    size_t i;
    json_t *f;

    json_array_foreach(fields, i, f) w.field = MAX(w.field, strlen(js_str(f, "Name")));
    diff_widen_markers(&w, fields);
    diff_widen_markers(&w, js_get(diff, "Objects"));
    return w;
}

static void diff_spaces(struct strbuf *b, size_t n)
{
    strbuf_addf(b, "%*s", (int)n, "");
}

static void diff_add_annotations(struct strbuf *b, const json_t *annotations, const char *before)
{
    static const struct {
        const char *text, *color;
    } colors[] = {
        {"forces create", "[green]"},
        {"forces destroy", "[red]"},
        {"forces in-place update", "[cyan]"},
        {"forces create/destroy update", "[yellow]"},
    };
    size_t i;
    json_t *a;

    if (json_array_size(annotations) == 0)
        return;
    strbuf_adds(b, before);
    json_array_foreach(annotations, i, a)
    {
        const char *text = json_is_string(a) ? json_string_value(a) : "", *color = "";

        for (size_t k = 0; k < ARRAY_LEN(colors); k++) {
            if (strcmp(text, colors[k].text) == 0)
                color = colors[k].color;
        }
        strbuf_addf(b, "%s%s%s%s", i ? ", " : "", color, text, *color ? "[reset]" : "");
    }
    strbuf_addc(b, ')');
}

static void diff_add_field(struct strbuf *b, const json_t *f, size_t start, struct diff_widths w)
{
    _cleanup_(freep) char *old = text_quote(js_str(f, "Old")), *new = text_quote(js_str(f, "New"));
    const char *type = js_str(f, "Type"), *name = js_str(f, "Name");
    size_t width;
    const char *mark = diff_mark(f, &width);

    diff_spaces(b, start);
    strbuf_adds(b, mark);
    diff_spaces(b, w.marker - width);
    strbuf_addf(b, "%s: ", name);
    diff_spaces(b, w.field - strlen(name));
    if (strcmp(type, "Deleted") == 0)
        strbuf_adds(b, old);
    else if (strcmp(type, "Edited") == 0)
        strbuf_addf(b, "%s => %s", old, new);
    else
        strbuf_adds(b, new);
    diff_add_annotations(b, js_get(f, "Annotations"), " (");
}

static void diff_add_members(struct strbuf *b, const json_t *diff, size_t start,
                             struct diff_widths w, int depth);

static void diff_add_object(struct strbuf *b, const json_t *o, size_t start, struct diff_widths w,
                            int depth)
{
    size_t width;
    const char *mark = diff_mark(o, &width);
    size_t key = w.marker - width;

    diff_spaces(b, start);
    strbuf_adds(b, mark);
    diff_spaces(b, key);
    strbuf_addf(b, "%s {\n", js_str(o, "Name"));
    diff_add_members(b, o, start + key + 2, diff_widths(o), depth + 1);
    strbuf_addc(b, '\n');
    diff_spaces(b, start + width + key);
    strbuf_addc(b, '}');
}

/* Fields and objects, aligned, one a line without a newline after the last. */
static void diff_add_members(struct strbuf *b, const json_t *diff, size_t start,
                             struct diff_widths w, int depth)
{
    const json_t *fields = js_get(diff, "Fields"), *objects = js_get(diff, "Objects");
    size_t i, n = 0;
    json_t *v;

    if (depth > DIFF_DEPTH_MAX)
        return;
    json_array_foreach(fields, i, v)
    {
        strbuf_adds(b, n++ ? "\n" : "");
        diff_add_field(b, v, start, w);
    }
    json_array_foreach(objects, i, v)
    {
        strbuf_adds(b, n++ ? "\n" : "");
        diff_add_object(b, v, start, w, depth);
    }
}

static bool diff_is_edited(const json_t *diff)
{
    return strcmp(js_str(diff, "Type"), "Edited") == 0;
}

static bool diff_has_members(const json_t *diff)
{
    return json_array_size(js_get(diff, "Fields")) + json_array_size(js_get(diff, "Objects")) > 0;
}

static void diff_add_task(struct strbuf *b, const json_t *task, size_t start, size_t key,
                          bool verbose)
{
    _cleanup_(freep) char *name = text_quote(js_str(task, "Name"));
    const char *type = js_str(task, "Type");
    size_t width;
    const char *mark = diff_mark(task, &width);

    diff_spaces(b, start);
    strbuf_adds(b, mark);
    diff_spaces(b, key);
    strbuf_addf(b, "[bold]Task: %s", name);
    diff_add_annotations(b, js_get(task, "Annotations"), " [reset](");
    if (strcmp(type, "None") == 0 || (!diff_is_edited(task) && !verbose))
        return;
    strbuf_addc(b, '\n');
    diff_add_members(b, task, start + 2, diff_widths(task), 0);
}

static void diff_add_updates(struct strbuf *b, const json_t *updates)
{
    static const struct {
        const char *type, *color;
    } colors[] = {
        {"create", "[green]"},        {"destroy", "[red]"},
        {"migrate", "[blue]"},        {"in-place update", "[cyan]"},
        {"canary", "[light_yellow]"}, {"create/destroy update", "[yellow]"},
    };
    _cleanup_(freep) const char **types = js_keys(updates);

    if (!types[0]) {
        strbuf_adds(b, "[reset]\n");
        return;
    }
    strbuf_adds(b, " (");
    for (size_t i = 0; types[i]; i++) {
        const char *color = "";

        for (size_t k = 0; k < ARRAY_LEN(colors); k++) {
            if (strcmp(types[i], colors[k].type) == 0)
                color = colors[k].color;
        }
        strbuf_addf(b, "%s[reset]%s%lld %s", i ? ", " : "", color,
                    (long long)js_int(updates, types[i]), types[i]);
    }
    strbuf_adds(b, "[reset])\n");
}

static void diff_add_group(struct strbuf *b, const json_t *tg, size_t start, bool verbose)
{
    _cleanup_(freep) char *name = text_quote(js_str(tg, "Name"));
    const json_t *tasks = js_get(tg, "Tasks");
    struct diff_widths w = diff_widths(tg);
    size_t i, width;
    const char *mark = diff_mark(tg, &width);
    json_t *task;

    strbuf_adds(b, mark);
    diff_spaces(b, start);
    strbuf_addf(b, "[bold]Task Group: %s[reset]", name);
    diff_add_updates(b, js_get(tg, "Updates"));
    diff_widen_markers(&w, tasks);
    if ((diff_is_edited(tg) || verbose) && diff_has_members(tg)) {
        diff_add_members(b, tg, start + 2, w, 0);
        strbuf_addc(b, '\n');
    }
    json_array_foreach(tasks, i, task)
    {
        diff_mark(task, &width);
        diff_add_task(b, task, start + 2, w.marker - width, verbose);
        strbuf_addc(b, '\n');
    }
}

char *job_diff_text(const json_t *diff, bool verbose)
{
    _cleanup_(freep) char *id = text_quote(js_str(diff, "ID"));
    const json_t *groups = js_get(diff, "TaskGroups");
    struct diff_widths w = diff_widths(diff);
    struct strbuf b = STRBUF_INIT;
    size_t i, width;
    json_t *tg;

    strbuf_addf(&b, "%s[bold]Job: %s\n", diff_mark(diff, &width), id);
    diff_widen_markers(&w, groups);
    if ((diff_is_edited(diff) || verbose) && diff_has_members(diff)) {
        diff_add_members(&b, diff, 0, w, 0);
        strbuf_addc(&b, '\n');
    }
    json_array_foreach(groups, i, tg)
    {
        diff_mark(tg, &width);
        diff_add_group(&b, tg, w.marker - width, verbose);
        strbuf_addc(&b, '\n');
    }
    while (b.len > 0 && (b.data[b.len - 1] == '\n' || b.data[b.len - 1] == ' '))
        b.data[--b.len] = '\0';
    return strbuf_take(&b);
}
