/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The table of options against deploy/sample.hcl and this folder's README.md: whoever adds an
 * option has to write it down. DEPLOY_DIR and CONF_DIR come from the build.
 */
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "check_run.h"
#include "conf/conf_internal.h"

static char *read_all(const char *path)
{
    struct strbuf b = STRBUF_BOUND(CONF_FILE_MAX);
    FILE *f = fopen(path, "r");
    size_t n;

    ck_assert_msg(f != NULL, "%s", path);
    do {
        char *room = strbuf_reserve(&b, 4096);

        ck_assert_ptr_nonnull(room);
        n = fread(room, 1, 4096, f);
        b.len += n;
    } while (n > 0);
    fclose(f);
    b.data[b.len] = 0;
    return strbuf_take(&b);
}

START_TEST(test_sample_names_every_key)
{
    char *text = read_all(DEPLOY_DIR "/sample.hcl");
    struct errtext e;
    struct conf_loader l = {.e = &e, .conf = xcalloc(1, sizeof(*l.conf))};

    conf_set_defaults(l.conf);
    ck_assert_msg(conf_parse_text(&l, "sample.hcl", text, strlen(text)) == 0, "%s", e.text);
    for (size_t i = 0; i < conf_rows_n; i++) {
        const struct conf_row *row = &conf_rows[i];

        if (row->offset != CONF_NO_EFFECT && !(row->flags & CONF_F_ALIAS) && !conf_row_is_list(row))
            ck_assert_msg(l.from_file[i], "sample.hcl does not show %s", row->path);
        if (conf_row_is_list(row) && row->offset != CONF_NO_EFFECT)
            ck_assert_msg(strstr(text, conf_row_name(row)) != NULL, "no %s", row->path);
        free(l.origin[i]);
    }
    ck_assert_uint_eq(l.conf->no_effect.n, 0);
    conf_free(l.conf);
    free(text);
}
END_TEST

/* Where the sample shows something else than the default, it says so. */
START_TEST(test_sample_shows_defaults)
{
    static const char *const other[] = {
        "name",
        "data_dir",
        "run_dir",
        "server.enabled",
        "server.bootstrap_expect",
        "server.data_dir",
        "client.state_dir",
        "client.alloc_dir",
        "plugin",
    };
    char *text = read_all(DEPLOY_DIR "/sample.hcl");
    struct conf_list applied, fixed;
    struct errtext e;
    struct conf *plain = xcalloc(1, sizeof(*plain));
    struct conf_loader l = {.e = &e, .conf = xcalloc(1, sizeof(*l.conf))};

    conf_set_defaults(plain);
    conf_set_defaults(l.conf);
    ck_assert_int_eq(conf_parse_text(&l, "sample.hcl", text, strlen(text)), 0);
    conf_compare(plain, l.conf, &applied, &fixed);
    ck_assert_uint_eq(applied.n, 0);
    for (size_t i = 0; i < fixed.n; i++) {
        bool known = false;

        for (size_t j = 0; j < ARRAY_LEN(other); j++)
            known = known || strcmp(fixed.items[i], other[j]) == 0;
        ck_assert_msg(known, "%s in sample.hcl is not its default", fixed.items[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(l.origin); i++)
        free(l.origin[i]);
    conf_list_free(&applied);
    conf_list_free(&fixed);
    conf_free(plain);
    conf_free(l.conf);
    free(text);
}
END_TEST

START_TEST(test_readme_lists_every_key)
{
    char *text = read_all(CONF_DIR "/README.md");

    for (size_t i = 0; i < conf_rows_n; i++) {
        char *quoted = xasprintf("`%s`", conf_rows[i].path);

        if (!conf_row_is_block(&conf_rows[i]) || conf_rows[i].type >= CONF_TITLED)
            ck_assert_msg(strstr(text, quoted) != NULL, "README.md does not list %s", quoted);
        free(quoted);
    }
    free(text);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("conf_docs");

    tcase_add_test(t, test_sample_names_every_key);
    tcase_add_test(t, test_sample_shows_defaults);
    tcase_add_test(t, test_readme_lists_every_key);
    return check_run("conf_docs", t, NULL);
}
