/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Command line flags as Go's flag package reads them: `-x`, `--x`, `-x=v`, `-x v` are equal, a
 * boolean takes a value only with `=`, and parsing stops at the first word that is no flag or after
 * `--`. A command describes its flags in a table; help and shell completion come from the same
 * rows.
 */
#pragma once

#include "base/base.h"
#include "base/err.h"

enum flag_type { FLAG_BOOL, FLAG_STRING, FLAG_LIST };

struct flag_def {
    const char *name;    /* without the dash */
    enum flag_type type; /* FLAG_LIST: a string that may be given several times */
    const char *arg;     /* what the value is called in the help; NULL with FLAG_BOOL */
    const char *help;    /* sentences, lines broken at 74 columns */
};

struct flag_table {
    const struct flag_def *defs;
    size_t n;
};

#define FLAG_TABLES_MAX 3
#define FLAGS_SET_MAX   128

/* The result of one parse; strings are borrowed from argv. */
struct flags {
    struct flag_table tables[FLAG_TABLES_MAX];
    size_t n_tables;
    struct {
        const struct flag_def *def;
        const char *value; /* "" for a boolean */
        bool on;
    } set[FLAGS_SET_MAX];
    size_t n_set;
};

void flags_add_table(struct flags *f, const struct flag_def *defs, size_t n);
const struct flag_def *flags_find(const struct flags *f, const char *name, size_t len);

/*
 * Reads argv[0..argc); *ret_used is the number of words that were flags, their values, or the `--`.
 * -EINVAL with Go's text in e.
 */
int flags_parse(struct flags *f, int argc, char **argv, int *ret_used, struct errtext *e);

/* Go's strconv.ParseBool: 1 t T TRUE true True 0 f F FALSE false False. */
bool flags_parse_bool(const char *text, bool *ret);

/* The flag must be in one of the tables. A string that was not given is "". */
bool flags_bool(const struct flags *f, const char *name);
const char *flags_str(const struct flags *f, const char *name);
