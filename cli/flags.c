/* SPDX-License-Identifier: MPL-2.0 */
/* Go's flag syntax over tables of flags. */
#include "flags.h"

#include <errno.h>
#include <string.h>

#include "text.h"

void flags_add_table(struct flags *f, const struct flag_def *defs, size_t n)
{
    assert(f->n_tables < FLAG_TABLES_MAX);
    f->tables[f->n_tables++] = (struct flag_table){defs, n};
}

const struct flag_def *flags_find(const struct flags *f, const char *name, size_t len)
{
    for (size_t t = 0; t < f->n_tables; t++) {
        for (size_t i = 0; i < f->tables[t].n; i++) {
            const struct flag_def *def = &f->tables[t].defs[i];

            if (strlen(def->name) == len && memcmp(def->name, name, len) == 0)
                return def;
        }
    }
    return NULL;
}

bool flags_parse_bool(const char *text, bool *ret)
{
    static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *ret = strcmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

/* One word that begins with a dash. *i moves on when the value is the next word. */
static int flags_parse_word(struct flags *f, int argc, char **argv, int *i, struct errtext *e)
{
    const char *word = argv[*i];
    const char *name = word + (word[1] == '-' ? 2 : 1);
    const char *eq = strchr(name, '=');
    size_t len = eq ? (size_t)(eq - name) : strlen(name);
    const struct flag_def *def;
    bool on = true;

    if (len == 0 || name[0] == '-')
        return err_set(e, -EINVAL, "bad flag syntax: %s", word);
    def = flags_find(f, name, len);
    if (!def)
        return err_set(e, -EINVAL, "flag provided but not defined: -%.*s", (int)len, name);
    if (f->n_set == FLAGS_SET_MAX)
        return err_set(e, -EINVAL, "more than %d flags", FLAGS_SET_MAX);

    if (def->type == FLAG_BOOL) {
        if (eq && !flags_parse_bool(eq + 1, &on)) {
            _cleanup_(freep) char *quoted = text_quote(eq + 1);

            return err_set(e, -EINVAL, "invalid boolean value %s for -%s: parse error", quoted,
                           def->name);
        }
    } else if (!eq) {
        if (*i + 1 >= argc)
            return err_set(e, -EINVAL, "flag needs an argument: -%s", def->name);
        (*i)++;
    }
    f->set[f->n_set].def = def;
    f->set[f->n_set].on = on;
    f->set[f->n_set].value = def->type == FLAG_BOOL ? "" : eq ? eq + 1 : argv[*i];
    f->n_set++;
    return 0;
}

int flags_parse(struct flags *f, int argc, char **argv, int *ret_used, struct errtext *e)
{
    int i;

    for (i = 0; i < argc; i++) {
        int r;

        if (argv[i][0] != '-' || argv[i][1] == '\0')
            break;
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        r = flags_parse_word(f, argc, argv, &i, e);
        if (r < 0)
            return r;
    }
    *ret_used = i;
    return 0;
}

/* The last setting of a flag wins. */
static ssize_t flags_last(const struct flags *f, const char *name)
{
    const struct flag_def *def = flags_find(f, name, strlen(name));

    assert(def);
    for (size_t i = f->n_set; i > 0; i--) {
        if (f->set[i - 1].def == def)
            return (ssize_t)i - 1;
    }
    return -1;
}

bool flags_bool(const struct flags *f, const char *name)
{
    ssize_t i = flags_last(f, name);

    return i >= 0 && f->set[i].on;
}

const char *flags_str(const struct flags *f, const char *name)
{
    ssize_t i = flags_last(f, name);

    return i >= 0 ? f->set[i].value : "";
}
