/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/strbuf.h"

#include "check_run.h"
#include "cli.h"
#include "client.h"
#include "commands.h"
#include "flags.h"
#include "frames.h"
#include "jsontext.h"
#include "table.h"
#include "template.h"
#include "text.h"

static const struct flag_def defs[] = {
    {"detach", FLAG_BOOL, NULL, "x"},
    {"t", FLAG_STRING, "v", "x"},
    {"var", FLAG_LIST, "v", "x"},
};

static const struct {
    const char *argv[6];
    int used;
    bool detach;
    const char *t, *error;
} flag_cases[] = {
    {{"-detach", "job"}, 1, true, "", NULL},
    {{"--detach", "job"}, 1, true, "", NULL},
    {{"-detach=false", "job"}, 1, false, "", NULL},
    {{"-detach", "-detach=F"}, 2, false, "", NULL},
    {{"-t", "a b", "-detach"}, 3, true, "a b", NULL},
    {{"-t=x=y"}, 1, false, "x=y", NULL},
    {{"-t="}, 1, false, "", NULL},
    {{"-t", "-detach"}, 2, false, "-detach", NULL},
    {{"job", "-detach"}, 0, false, "", NULL},
    {{"-", "-detach"}, 0, false, "", NULL},
    {{"--", "-detach"}, 1, false, "", NULL},
    {{"-bogus"}, 0, false, "", "flag provided but not defined: -bogus"},
    {{"-bogus=1"}, 0, false, "", "flag provided but not defined: -bogus"},
    {{"-t"}, 0, false, "", "flag needs an argument: -t"},
    {{"---t"}, 0, false, "", "bad flag syntax: ---t"},
    {{"-=x"}, 0, false, "", "bad flag syntax: -=x"},
    {{"-detach=maybe"}, 0, false, "", "invalid boolean value \"maybe\" for -detach: parse error"},
};

START_TEST(test_flags)
{
    for (size_t i = 0; i < ARRAY_LEN(flag_cases); i++) {
        struct flags f = {0};
        struct errtext e;
        int argc = 0, used = 0, r;

        while (argc < 6 && flag_cases[i].argv[argc])
            argc++;
        flags_add_table(&f, defs, ARRAY_LEN(defs));
        r = flags_parse(&f, argc, (char **)(uintptr_t)flag_cases[i].argv, &used, &e);
        if (flag_cases[i].error) {
            ck_assert_int_eq(r, -EINVAL);
            ck_assert_str_eq(e.text, flag_cases[i].error);
            continue;
        }
        ck_assert_int_eq(r, 0);
        ck_assert_int_eq(used, flag_cases[i].used);
        ck_assert_int_eq(flags_bool(&f, "detach"), flag_cases[i].detach);
        ck_assert_str_eq(flags_str(&f, "t"), flag_cases[i].t);
    }
}
END_TEST

START_TEST(test_flags_bound)
{
    struct flags f = {0};
    char *argv[FLAGS_SET_MAX + 1];
    struct errtext e;
    int used;

    for (size_t i = 0; i < ARRAY_LEN(argv); i++)
        argv[i] = (char *)(uintptr_t) "-detach";
    flags_add_table(&f, defs, ARRAY_LEN(defs));
    ck_assert_int_eq(flags_parse(&f, FLAGS_SET_MAX + 1, argv, &used, &e), -EINVAL);
    ck_assert_str_eq(e.text, "more than 128 flags");
}
END_TEST

static const struct {
    const char *in, *out;
} quotes[] = {
    {"", "\"\""},
    {"a b", "\"a b\""},
    {"a\"b\\", "\"a\\\"b\\\\\""},
    {"\n\t\x01\x7f", "\"\\n\\t\\x01\\x7f\""},
    {"\xc3\xbc", "\"\xc3\xbc\""},
    {"\xff\xc3", "\"\\xff\\xc3\""},
};

START_TEST(test_quote)
{
    for (size_t i = 0; i < ARRAY_LEN(quotes); i++) {
        _cleanup_(freep) char *text = text_quote(quotes[i].in);

        ck_assert_str_eq(text, quotes[i].out);
    }
}
END_TEST

#define S(n) ((n)*NS_PER_SEC)
static const struct {
    int64_t t, now;
    const char *text;
} agos[] = {
    {0, S(100), ""},
    {S(100), S(100), "0s ago"},
    {S(100), S(100) + NS_PER_SEC / 2, "1s ago"},
    {S(100), S(100) + NS_PER_SEC / 2 - 1, "0s ago"},
    {S(100), S(100 + 306), "5m6s ago"},
    {S(100), S(100 + 3600), "1h ago"},
    {S(100), S(100 + 3605), "1h5s ago"},
    {S(100), S(100 + 86400 + 7200 + 61), "1d2h ago"},
    {S(100), S(100 + 86400 * 42), "1mo12d ago"},
    {S(100), S(100 + 86400LL * 365), "1y5d ago"},
    {S(400), S(100), "5m from now"},
};

START_TEST(test_ago)
{
    for (size_t i = 0; i < ARRAY_LEN(agos); i++) {
        _cleanup_(freep) char *text =
            text_ago((struct wall_ns){agos[i].t}, (struct wall_ns){agos[i].now});

        ck_assert_str_eq(text, agos[i].text);
    }
}
END_TEST

START_TEST(test_times)
{
    static const char *const texts[][2] = {
        {"2026-11-23T06:51:03.123456789Z", "2026-11-23T06:51:03Z"},
        {"2026-11-23T06:51:03+01:30", "2026-11-23T06:51:03+01:30"},
        {"2026-11-23T06:51:03-05:00", "2026-11-23T06:51:03-05:00"},
        {"0001-01-01T00:00:00Z", ""},
        {"1970-01-01T00:00:00Z", ""},
        {"yesterday", ""},
        {"2026-11-23T06:51:03", ""},
        {"", ""},
    };
    char *utc = NULL;
    struct wall_ns t;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        _cleanup_(freep) char *text = text_time_rfc3339(texts[i][0]);

        ck_assert_str_eq(text, texts[i][1]);
    }
    ck_assert(text_time_parse("1970-01-01T01:00:01.5+01:00", &t));
    ck_assert_int_eq(t.ns, NS_PER_SEC * 3 / 2);

    setenv("TZ", "UTC", 1);
    tzset();
    utc = text_time((struct wall_ns){S(1795416663) + 5});
    ck_assert_str_eq(utc, "2026-11-23T06:51:03Z");
    free(utc);
    setenv("TZ", "XST-5:30", 1);
    tzset();
    utc = text_time((struct wall_ns){S(1795416663)});
    ck_assert_str_eq(utc, "2026-11-23T12:21:03+05:30");
    free(utc);
    utc = text_time((struct wall_ns){0});
    ck_assert_str_eq(utc, "");
    free(utc);
}
END_TEST

START_TEST(test_numbers)
{
    static const struct {
        uint64_t n;
        const char *text;
    } sizes[] = {
        {0, "0 B"},
        {9, "9 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {82854982, "79 MiB"},
        {UINT64_C(8053063680), "7.5 GiB"},
        {314572800, "300 MiB"},
    };
    _cleanup_(freep) char *a = text_float2(1234567.891), *b = text_float2(0.5),
                          *c = text_float2(-999);

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        _cleanup_(freep) char *text = text_bytes(sizes[i].n);

        ck_assert_str_eq(text, sizes[i].text);
    }
    ck_assert_str_eq(a, "1,234,567.89");
    ck_assert_str_eq(b, "0.50");
    ck_assert_str_eq(c, "-999.00");
}
END_TEST

START_TEST(test_uuid_prefix)
{
    static const char *const cases[][2] = {
        {"abc", "ab"},
        {"abcd", "abcd"},
        {"12345678-9", "12345678-"},
        {"12345678-90", "12345678-90"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_(freep) char *text = text_uuid_prefix(cases[i][0]);

        ck_assert_str_eq(text, cases[i][1]);
    }
}
END_TEST

START_TEST(test_table)
{
    _cleanup_(table_fini) struct table t = {0}, kv = {0}, raw = {0};
    _cleanup_(freep) char *plain = NULL, *list = NULL, *kv_text = NULL, *raw_text = NULL;

    table_row(&t, "Name|Class|Status");
    table_row(&t, "%s||ready ",
              "n\xc3\xb6"
              "de");
    table_row(&t, "longer-name|x|");
    plain = table_text(&t, TABLE_PLAIN);
    ck_assert_str_eq(plain, "Name         Class  Status\n"
                            "n\xc3\xb6"
                            "de                ready\n"
                            "longer-name  x      ");
    list = table_text(&t, TABLE_LIST);
    ck_assert_str_eq(list, "Name         Class   Status\n"
                           "n\xc3\xb6"
                           "de         <none>  ready\n"
                           "longer-name  x       <none>");
    table_row(&kv, "ID|x");
    table_row(&kv, "Submit Date|");
    kv_text = table_text(&kv, TABLE_KV);
    ck_assert_str_eq(kv_text, "ID          = x\nSubmit Date = <none>");
    table_row(&raw, "Full|a|b \nc");
    raw_text = table_text(&raw, TABLE_KV_RAW);
    ck_assert_str_eq(raw_text, "Full = a|b \nc");
}
END_TEST

static const char document[] = "{\"ID\":\"web\",\"N\":3,\"F\":0.5,\"T\":true,\"Z\":null,\"L\":[{"
                               "\"Name\":\"a\"},{\"Name\":\"b\"}],"
                               "\"M\":{\"y\":\"2\",\"x\":\"1\"},\"E\":[]}";

static const struct {
    const char *tmpl, *out;
} templates[] = {
    {"", ""},
    {"plain", "plain"},
    {"{{.ID}}", "web"},
    {"{{ .ID }}-{{.N}}-{{.F}}-{{.T}}-{{.Z}}-{{.Nope}}", "web-3-0.5-true-<nil>-<no value>"},
    {"{{range .L}}{{.Name}},{{end}}", "a,b,"},
    {"{{range $i, $v := .L}}{{$i}}={{$v.Name}} {{end}}", "0=a 1=b "},
    {"{{range $v := .L}}{{$v.Name}}{{$.ID}}{{end}}", "awebbweb"},
    {"{{range $k, $v := .M}}{{$k}}:{{$v}};{{end}}", "x:1;y:2;"},
    {"{{range .E}}x{{else}}none{{end}}", "none"},
    {"{{if .T}}yes{{else}}no{{end}}", "yes"},
    {"{{if .Z}}a{{else if eq .N 3}}b{{else}}c{{end}}", "b"},
    {"{{if .Z}}a{{else if eq .N 4}}b{{else}}c{{end}}", "c"},
    {"{{if and .T (gt .N 2)}}{{range .L}}{{if eq .Name \"b\"}}B{{end}}{{end}}{{end}}!", "B!"},
    {"{{with .M}}{{.x}}{{end}}{{with .Z}}no{{else}}else{{end}}", "1else"},
    {"{{index .M \"y\"}} {{index .L 1 \"Name\"}} {{(index .L 0).Name}}", "2 b a"},
    {"{{len .L}} {{len .ID}} {{.ID | len}}", "2 3 3"},
    {"{{printf \"%-5s|%3d|%q|%v|%t\" .ID .N .ID .M .T}}", "web  |  3|\"web\"|map[x:1 y:2]|true"},
    {"{{printf \"%.2f %05d %%\" .F .N}}", "0.50 00003 %"},
    {"{{.ID | printf \"<%s>\"}}", "<web>"},
    {"{{$x := .ID}}{{$x}}{{$x = \"b\"}}{{$x}}", "webb"},
    {"a {{- \" b \" -}} c", "a b c"},
    {"x{{/* note }} */}}y", "xy"},
    {"{{print .N .F}} {{println .ID .N}}", "3 0.5 web 3\n"},
    {"{{not .T}} {{or .Z \"d\"}} {{ne 1 2}} {{le 2 2}} {{lt 2 1.5}} {{eq .ID \"a\" \"web\"}}",
     "false d true true false true"},
    {"{{.L}}", "[map[Name:a] map[Name:b]]"},
    {"{{`raw \\n`}} {{\"a\\\"b\"}}", "raw \\n a\"b"},
};

static const struct {
    const char *tmpl, *error;
} bad_templates[] = {
    {"{{.ID", "template: format:1: unclosed action"},
    {"{{}}", "template: format:1: missing value for command"},
    {"{{if .T}}x", "template: format:1: unexpected EOF"},
    {"{{end}}", "template: format:1: unexpected {{end}}"},
    {"\n\n{{nosuch .}}", "template: format:3: function \"nosuch\" not defined"},
    {"{{.ID.Name}}", "template: format:1: can't evaluate field Name in a value that is no object"},
    {"{{$y}}", "template: format:1: undefined variable \"$y\""},
    {"{{range .ID}}{{end}}", "template: format:1: range can't iterate over a single value"},
    {"{{index .L 7}}", "template: format:1: error calling index: index out of range: 7"},
    {"{{define \"x\"}}{{end}}", "template: format:1: {{define}} is not supported"},
    {"{{if .T}}{{else}}{{else}}{{end}}", "template: format:1: expected end; found {{else}}"},
    {"{{.ID .N}}", "template: format:1: can't give argument to non-function"},
    {"{{(.ID}}", "template: format:1: unclosed left paren"},
    {"{{lt .ID 1}}",
     "template: format:1: error calling comparison: incompatible types for comparison"},
    {"{{\"abc}}", "template: format:1: unclosed action"},
};

START_TEST(test_template)
{
    json_t *data = json_loads(document, 0, NULL);
    struct errtext e;
    char *out = NULL;

    for (size_t i = 0; i < ARRAY_LEN(templates); i++) {
        ck_assert_msg(template_render(templates[i].tmpl, data, &out, &e) == 0, "%s: %s",
                      templates[i].tmpl, e.text);
        ck_assert_str_eq(out, templates[i].out);
        free(out);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad_templates); i++) {
        ck_assert_msg(template_render(bad_templates[i].tmpl, data, &out, &e) == -EINVAL, "%s",
                      bad_templates[i].tmpl);
        ck_assert_str_eq(e.text, bad_templates[i].error);
    }
    json_decref(data);
}
END_TEST

START_TEST(test_template_deep)
{
    struct strbuf b = STRBUF_INIT;
    json_t *data = json_object();
    struct errtext e;
    char *out;

    for (size_t i = 0; i <= TEMPLATE_DEPTH_MAX; i++)
        strbuf_adds(&b, "{{if 1}}");
    ck_assert_int_eq(template_render(b.data, data, &out, &e), -EINVAL);
    ck_assert_ptr_nonnull(strstr(e.text, "blocks within each other"));
    strbuf_reset(&b);
    strbuf_adds(&b, "{{");
    for (size_t i = 0; i <= TEMPLATE_DEPTH_MAX; i++)
        strbuf_addc(&b, '(');
    strbuf_adds(&b, "}}");
    ck_assert_int_eq(template_render(b.data, data, &out, &e), -EINVAL);
    ck_assert_ptr_nonnull(strstr(e.text, "parentheses within each other"));
    strbuf_fini(&b);
    json_decref(data);
}
END_TEST

START_TEST(test_json)
{
    static const struct {
        double v;
        const char *text;
    } floats[] = {
        {0.1, "0.1"},
        {1, "1"},
        {100, "100"},
        {1e21, "1e+21"},
        {123456789, "123456789"},
        {1e-7, "1e-7"},
        {0.000001, "0.000001"},
        {-2.5, "-2.5"},
        {1.5e-10, "1.5e-10"},
    };
    json_t *json = json_loads("{\"a\":[],\"b\":{},\"c\":[1,\"<\\n\\u2028\"],\"d\":0.25}", 0, NULL);
    _cleanup_(freep) char *compact = js_text(json, JS_COMPACT),
                          *html = js_text_html(json, JS_COMPACT);
    _cleanup_(freep) char *pretty = js_text(json, JS_INDENT);

    for (size_t i = 0; i < ARRAY_LEN(floats); i++) {
        _cleanup_(freep) char *text = js_float(floats[i].v);

        ck_assert_str_eq(text, floats[i].text);
    }
    ck_assert_str_eq(compact, "{\"a\":[],\"b\":{},\"c\":[1,\"<\\n\\u2028\"],\"d\":0.25}");
    ck_assert_str_eq(html, "{\"a\":[],\"b\":{},\"c\":[1,\"\\u003c\\n\\u2028\"],\"d\":0.25}");
    ck_assert_str_eq(pretty, "{\n    \"a\": [],\n    \"b\": {},\n    \"c\": [\n        1,\n"
                             "        \"<\\n\\u2028\"\n    ],\n    \"d\": 0.25\n}");
    ck_assert_str_eq(js_str(json, "a"), "");
    ck_assert_str_eq(js_str(NULL, "a"), "");
    ck_assert_int_eq(js_int(json, "nope"), 0);
    json_decref(json);
}
END_TEST

static bool less_by_n(const json_t *a, const json_t *b)
{
    return js_int(a, "n") < js_int(b, "n");
}

START_TEST(test_json_sort)
{
    json_t *list =
        json_loads("[{\"n\":3},{\"n\":1,\"i\":1},{\"n\":2},{\"n\":1,\"i\":2},{\"n\":0}]", 0, NULL);
    _cleanup_(freep) char *text = NULL;

    js_sort(list, less_by_n);
    text = js_text(list, JS_COMPACT);
    ck_assert_str_eq(text, "[{\"n\":0},{\"n\":1,\"i\":1},{\"n\":1,\"i\":2},{\"n\":2},{\"n\":3}]");
    json_decref(list);
}
END_TEST

START_TEST(test_params)
{
    _cleanup_(client_params_fini) struct client_params p = {0};
    _cleanup_(freep) char *query = NULL, *path = client_escape_path("a b/c%\xc3\xbc$&+=:@~");

    client_params_add(&p, "region", "east");
    client_params_add(&p, "address", "127.0.0.1:4648");
    client_params_add(&p, "address", "a b");
    client_params_set(&p, "region", "west/2");
    query = client_params_text(&p);
    ck_assert_str_eq(query, "address=127.0.0.1%3A4648&address=a+b&region=west%2F2");
    ck_assert_str_eq(path, "a%20b%2Fc%25%C3%BC$&+=:@~");
}
END_TEST

static const struct {
    const char *address, *error, *scheme, *host, *user;
} addresses[] = {
    {"http://127.0.0.1:4646", NULL, "http", "127.0.0.1:4646", NULL},
    {"HTTPS://h/x?y", NULL, "https", "h", NULL},
    {"http://u:p@[::1]:4646/", NULL, "http", "[::1]:4646", "u:p"},
    {"localhost:4646", NULL, "localhost", "", NULL},
    {"127.0.0.1:4646", "first path segment in URL cannot contain colon", NULL, NULL, NULL},
    {":x", "missing protocol scheme", NULL, NULL, NULL},
    {"http://a\nb", "net/url: invalid control character in URL", NULL, NULL, NULL},
};

START_TEST(test_address)
{
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        struct client_conf conf = {.address = addresses[i].address,
                                   .region = "",
                                   .namespace = "",
                                   .token = "",
                                   .http_auth = "",
                                   .ca_cert = "",
                                   .ca_path = "",
                                   .client_cert = "",
                                   .client_key = "",
                                   .tls_server_name = ""};
        struct client c;
        struct errtext e;
        int r = client_init(&c, &conf, &e);

        if (addresses[i].error) {
            ck_assert_int_eq(r, -EINVAL);
            ck_assert_ptr_nonnull(strstr(e.text, addresses[i].error));
        } else {
            ck_assert_int_eq(r, 0);
            ck_assert_str_eq(c.scheme, addresses[i].scheme);
            ck_assert_str_eq(c.host, addresses[i].host);
            ck_assert_pstr_eq(c.user, addresses[i].user);
        }
        client_fini(&c);
    }
}
END_TEST

START_TEST(test_environment)
{
    struct client_conf conf;
    struct flags f = {0};
    struct errtext e;
    char *argv[] = {"-region=flag"};
    int used;

    setenv("NOMAD_ADDR", "http://nomad:1", 1);
    setenv("NOMAD_REGION", "nomad", 1);
    setenv("STEPPE_REGION", "steppe", 1);
    setenv("NOMAD_SKIP_VERIFY", "1", 1);
    client_conf_load(&conf, NULL);
    ck_assert_str_eq(conf.address, "http://nomad:1");
    ck_assert_str_eq(conf.region, "steppe");
    ck_assert(conf.insecure);
    flags_add_table(&f, cli_client_flags, cli_client_flags_len);
    ck_assert_int_eq(flags_parse(&f, 1, argv, &used, &e), 0);
    client_conf_load(&conf, &f);
    ck_assert_str_eq(conf.region, "flag");
    unsetenv("NOMAD_ADDR");
    client_conf_load(&conf, NULL);
    ck_assert_str_eq(conf.address, "http://127.0.0.1:4646");
}
END_TEST

static const struct {
    const char *argv[5];
    const char *name;
    int words;
} matches[] = {
    {{"job", "run", "x"}, "job run", 2},
    {{"job", "bogus"}, "job", 1},
    {{"job", "run x"}, "job", 1},
    {{"operator", "raft", "list-peers", "-stale"}, "operator raft list-peers", 3},
    {{"jo"}, NULL, 0},
    {{"status", "job"}, "status", 1},
};

START_TEST(test_match)
{
    for (size_t i = 0; i < ARRAY_LEN(matches); i++) {
        const struct cli_command *cmd;
        int argc = 0, words;

        while (argc < 5 && matches[i].argv[argc])
            argc++;
        cmd = cli_match(argc, (char **)(uintptr_t)matches[i].argv, &words);
        ck_assert_pstr_eq(cmd ? cmd->name : NULL, matches[i].name);
        ck_assert_int_eq(words, matches[i].words);
    }
}
END_TEST

/* Every command has a help with its usage, and every flag in it. */
START_TEST(test_help)
{
    _cleanup_(freep) char *near_miss = cli_help_suggest("server", "membrs");
    _cleanup_(freep) char *nothing = cli_help_suggest("", "xyzzy");

    for (size_t i = 0; i < cli_commands_len; i++) {
        const struct cli_command *cmd = &cli_commands[i];
        _cleanup_(freep) char *help = cli_help_command(cmd);

        ck_assert_ptr_nonnull(cmd->run);
        ck_assert(*cmd->synopsis && *cmd->help);
        ck_assert(strncmp(help, "Usage: steppe ", 14) == 0);
        for (size_t k = 0; k < cmd->n_flags; k++) {
            _cleanup_(freep) char *flag = xasprintf("\n  -%s", cmd->flags[k].name);

            ck_assert_msg(strstr(help, flag) != NULL, "%s: %s", cmd->name, flag);
            ck_assert((cmd->flags[k].type == FLAG_BOOL) == (cmd->flags[k].arg == NULL));
        }
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(cmd->name, cli_commands[k].name);
    }
    ck_assert_ptr_nonnull(strstr(near_miss, "steppe server members\n"));
    ck_assert_str_eq(nothing, "Unknown command \"steppe xyzzy\".\n\n");
}
END_TEST

START_TEST(test_metrics_text)
{
    json_t *m = json_loads("{\"NodesEvaluated\":0,\"NodesAvailable\":{\"dc2\":0,\"dc1\":3},"
                           "\"ConstraintFiltered\":{\"x = y\":2},\"NodesExhausted\":1,"
                           "\"DimensionExhausted\":{\"memory\":1},\"QuotaExhausted\":[\"q\"]}",
                           0, NULL);
    _cleanup_(freep) char *text = alloc_metrics_text(m, "  ");

    ck_assert_str_eq(text, "  * No nodes were eligible for evaluation\n"
                           "  * No nodes are available in datacenter \"dc2\"\n"
                           "  * Constraint \"x = y\": 2 nodes excluded by filter\n"
                           "  * Resources exhausted on 1 nodes\n"
                           "  * Dimension \"memory\" exhausted on 1 nodes\n"
                           "  * Quota limit hit \"q\"");
    json_decref(m);
}
END_TEST

static void frames_collect(void *user, const char *data, size_t len)
{
    strbuf_add(user, data, len);
}

/* Cut anywhere, frames give the same bytes; what is no frame is told. */
START_TEST(test_frames)
{
    static const char text[] = "{}{\"Data\":\"b25lCg==\",\"File\":\"a}\\\"{b\",\"Offset\":4}\n{}"
                               "{\"FileEvent\":\"file truncated\"}{\"Data\":\"AAEC\"}";
    static const char *const bad[] = {"x", "{\"Data\":\"b2\"}", "{\"Data\":\"!!!!\"}", "{a}", "}"};

    for (size_t cut = 0; cut < sizeof(text); cut++) {
        struct frames f = FRAMES_INIT;
        struct strbuf got = STRBUF_INIT;

        ck_assert_int_eq(frames_feed(&f, text, cut, frames_collect, &got), 0);
        ck_assert_int_eq(frames_feed(&f, text + cut, sizeof(text) - 1 - cut, frames_collect, &got),
                         0);
        ck_assert(!frames_cut(&f));
        ck_assert_uint_eq(got.len, 7);
        ck_assert_mem_eq(got.data, "one\n\0\1\2", 7);
        frames_fini(&f);
        strbuf_fini(&got);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct frames f = FRAMES_INIT;
        struct strbuf got = STRBUF_INIT;

        ck_assert_int_lt(frames_feed(&f, bad[i], strlen(bad[i]), frames_collect, &got), 0);
        frames_fini(&f);
        strbuf_fini(&got);
    }
}
END_TEST

START_TEST(test_tail_start)
{
    static const struct {
        const char *text;
        size_t n, at;
    } rows[] = {{"", 3, 0},          {"a", 1, 0},      {"a\nb\nc\n", 1, 4}, {"a\nb\nc", 1, 4},
                {"a\nb\nc\n", 2, 2}, {"a\nb\n", 9, 0}, {"a\nb\n", 0, 4},    {"\n\n\n", 2, 1}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        ck_assert_uint_eq(tail_start(rows[i].text, strlen(rows[i].text), rows[i].n), rows[i].at);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("cli");

    tcase_add_test(t, test_flags);
    tcase_add_test(t, test_flags_bound);
    tcase_add_test(t, test_quote);
    tcase_add_test(t, test_ago);
    tcase_add_test(t, test_times);
    tcase_add_test(t, test_numbers);
    tcase_add_test(t, test_uuid_prefix);
    tcase_add_test(t, test_table);
    tcase_add_test(t, test_template);
    tcase_add_test(t, test_template_deep);
    tcase_add_test(t, test_json);
    tcase_add_test(t, test_json_sort);
    tcase_add_test(t, test_params);
    tcase_add_test(t, test_address);
    tcase_add_test(t, test_environment);
    tcase_add_test(t, test_match);
    tcase_add_test(t, test_help);
    tcase_add_test(t, test_metrics_text);
    tcase_add_test(t, test_frames);
    tcase_add_test(t, test_tail_start);
    return check_run("cli", t, NULL);
}
