/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/prng.h"
#include "base/strbuf.h"
#include "check_run.h"
#include "conf/conf_internal.h"

/* ---- a folder of the test's own ---- */

static char dir[64];
static struct conf_list made; /* files to remove again */

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/steppe-conf-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    for (size_t i = 0; i < made.n; i++)
        (void)unlink(made.items[i]);
    conf_list_fini(&made);
    (void)rmdir(dir);
}

static const char *put(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    conf_list_add(&made, path);
    free(path);
    return made.items[made.n - 1];
}

/* Loads with the given arguments, NULL at the end. */
static int load(struct conf **ret, struct errtext *e, const char *first, ...)
{
    char *argv[16] = {(char *)"test"};
    int argc = 1;
    va_list ap;

    va_start(ap, first);
    for (const char *a = first; a && argc < 16; a = va_arg(ap, const char *))
        argv[argc++] = (char *)a;
    va_end(ap);
    return conf_load(argc, argv, ret, e);
}

/* "@" in expected texts stands for the file's path. */
static void assert_text(const char *got, const char *want, const char *path)
{
    struct strbuf b = STRBUF_INIT;

    for (; *want; want++) {
        if (*want == '@')
            strbuf_adds(&b, path);
        else
            strbuf_addc(&b, *want);
    }
    ck_assert_str_eq(got, b.data);
    strbuf_fini(&b);
}

/* ---- bad files ---- */

#define EL "Error loading configuration from "

static const struct {
    const char *text, *error;
} bad_hcl[] = {
    {"region = \"w\"\nserver {\n  bogus_key = 1\n}\n",
     EL "@:3: unknown key \"bogus_key\" in block \"server\""},
    {"bogus_key = 1\n", EL "@:1: unknown key \"bogus_key\""},
    {"bogus \"x\" { a = 1 }\n", EL "@:1: unknown key \"bogus\""},
    {"server {\n server_join {\n\n x = 1 } }",
     EL "@:4: unknown key \"x\" in block \"server_join\""},
    {"server { enabled = true\n", EL "@:1: block \"server\" is not closed"},
    {"\n}\n", EL "@:2: unexpected \"}\""},
    {"server { enabled = maybe }", EL "@:1: value maybe needs quotes"},
    {"server { enabled = \"maybe\" }",
     EL "@:1: server.enabled: \"maybe\" is neither true nor false"},
    {"region = [1]", EL "@:1: a list where one plain value is expected"},
    {"region { a = 1 }", EL "@:1: key \"region\" needs a value: region = ..."},
    {"server = \"x\"", EL "@:1: \"server\" is a block without a title: server { ... }"},
    {"plugin { }", EL "@:1: block \"plugin\" needs a title: plugin \"NAME\" { ... }"},
    {"ports { http = 70000 }", EL "@:1: ports.http: 70000 is out of range 1..65535"},
    {"ports { http = 0 }", EL "@:1: ports.http: 0 is out of range 1..65535"},
    {"ports { rpc = \"x\" }", EL "@:1: ports.rpc: \"x\" is not a whole number"},
    {"ports { rpc = 1.5 }", EL "@:1: ports.rpc: \"1.5\" is not a whole number"},
    {"server {\n bootstrap_expect = -1 }",
     EL "@:2: server.bootstrap_expect: -1 is out of range 0..1000"},
    {"server { heartbeat_grace = \"5x\" }",
     EL "@:1: server.heartbeat_grace: \"5x\" is not a duration such as \"30s\" or \"1h30m\""},
    {"server { min_heartbeat_ttl = \"1ms\" }",
     EL "@:1: server.min_heartbeat_ttl: 1ms is out of range 100ms..24h0m0s"},
    {"server { max_heartbeats_per_second = \"many\" }",
     EL "@:1: server.max_heartbeats_per_second: \"many\" is not a number"},
    {"server { raft_multiplier = 11 }", EL "@:1: server.raft_multiplier: 11 is out of range 1..10"},
    {"server { job_gc_interval = \"soon\" }",
     EL "@:1: server.job_gc_interval: \"soon\" is not a duration such as \"30s\" or \"1h30m\""},
    {"data_dir = \"rel\"", EL "@:1: data-dir must be given as an absolute path: got rel"},
    {"\n\nclient { alloc_dir = \"a\" }",
     EL "@:3: alloc-dir must be given as an absolute path: got a"},
    {"region = \"a b\"", EL "@:1: Region contains invalid characters"},
    {"region = \"\"", EL "@:1: Region contains invalid characters"},
    {"datacenter = \"a/b\"", EL "@:1: Datacenter contains invalid characters"},
    {"server { encrypt = \"aGFsbG8=\" }",
     EL "@:1: Invalid encryption key: it has 5 bytes, not 16, 24 or 32"},
    {"server { encrypt = \"!\" }", EL "@:1: Invalid encryption key: illegal base64 data"},
    {"log_level = \"loud\"", EL "@:1: Invalid log level: loud. Valid log levels are: "
                                "[TRACE DEBUG INFO WARN ERROR]"},
    {"bind_addr = \"300.1.1.1\"", EL "@:1: bind_addr: \"300.1.1.1\" is not an IP address"},
    {"addresses { http = \"localhost\" }",
     EL "@:1: addresses.http: \"localhost\" is not an IP address"},
    {"bind_addr = \"{{ GetBeer }}\"",
     EL "@:1: bind_addr: \"{{ GetBeer }}\" is a template that is not known here (GetPrivateIP, "
        "GetPublicIP, GetInterfaceIP \"NAME\" are)"},
    {"advertise { rpc = \"1.2.3.4:99999\" }",
     EL "@:1: advertise.rpc: \"1.2.3.4:99999\" has a port that is not 1 to 65535"},
    {"advertise { rpc = \"1.2.3\" }", EL "@:1: advertise.rpc: \"1.2.3\" is not an address"},
    {"server { federation_id = \"a b\" }",
     EL "@:1: server.federation_id: Federation_id contains invalid characters"},
    {"server { join_allow = [\"10.0.0.0/33\"] }",
     EL "@:1: server.join_allow: \"10.0.0.0/33\" has a prefix that is no number of bits of such an "
        "address"},
    {"server { join_allow = [\"::/129\"] }",
     EL "@:1: server.join_allow: \"::/129\" has a prefix that is no number of bits of such an "
        "address"},
    {"server { join_allow = [\"home\"] }",
     EL "@:1: server.join_allow: \"home\" is not an address or ADDRESS/BITS"},
    {"server { retry_join = [\"exec= \"] }",
     EL "@:1: server.retry_join: \"exec= \" names no command"},
    {"client { servers = [\"exec=ls\"] }", EL "@:1: client.servers: \"exec=ls\" is not an address"},
    {"server { start_join = [\"a\",\n \"b:x\"] }",
     EL "@:2: server.start_join: \"b:x\" has a port that is not 1 to 65535"},
    {"server { retry_join = [\"provider=aws\"] }",
     EL "@:1: server.retry_join: \"provider=aws\" asks for cloud auto-join, which is not "
        "supported"},
    {"server { start_join = [\"a\" }", EL "@:1: expected \",\" or \"]\", found \"}\""},
    {"server { start_join = [[\"a\"]] }",
     EL "@:1: only strings and numbers may stand in a list here"},
    {"region = \"a\n\"", EL "@:1: string is not closed on its line"},
    {"region = \"a\\q\"", EL "@:1: expected an escape after \"\\\", found \"q\""},
    {"region = \"a\\000\"", EL "@:1: a NUL byte in a string"},
    {"region = \"\\ud800\"", EL "@:1: an escape that is no Unicode character"},
    {"name = <<X\nabc\n", EL "@:1: heredoc is not closed"},
    {"name = <<", EL "@:1: a heredoc needs a mark, alone at the end of its line"},
    {"/* abc\n", EL "@:1: comment is not closed"},
    {"region \"x\"", EL "@:1: expected \"=\" or \"{\" after a key, found the end of the file"},
    {"region = ", EL "@:1: expected a value, found the end of the file"},
    {"region = \"a\" ; x", EL "@:1: expected a key, found \";\""},
    {"\x01", EL "@:1: expected a key, found byte 0x01"},
    {"client { meta { a { b = 1 } } }", EL "@:1: key \"a\" needs a value: a = ..."},
    {"plugin \"x\" { config { a = {{ } } }", EL "@:1: expected a key, found \"{\""},
    {"a = {{{{{{{{{{{{{{{{{{{{", EL "@:1: expected a key, found \"{\""},
    {"a { a { a { a { a { a { a { a { a { a { a { a { a { a { a { a { a {",
     EL "@:1: nested too deeply"},
    /* The whole. */
    {"", "Must specify either server, client or dev mode for the agent."},
    {"server { enabled = true }", "Must specify data directory"},
    {"client { enabled = true }", "Must specify data directory"},
    {"data_dir = \"/x\" server { enabled = true start_join = [\"a\"] server_join { } }",
     "server_join and start_join cannot both be defined; prefer setting the server_join stanza"},
    {"data_dir = \"/x\" server { enabled = true retry_max = 1 server_join { } }",
     "server_join and retry_max cannot both be defined; prefer setting the server_join stanza"},
    {"data_dir = \"/x\" server { enabled = true } ports { http = 1 rpc = 1 }",
     "ports: http, rpc and serf must differ (1, 1, 4648)"},
    {"data_dir = \"/x\" server { enabled = true raft_election_timeout = \"50ms\" }",
     "server.raft_election_timeout must be at least twice server.raft_heartbeat_interval"},
    {"data_dir = \"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" "
     "server { enabled = true }",
     "run_dir is too long for the sockets in it (75 bytes, at most 74): set a shorter one: "
     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/run"},
};

START_TEST(test_bad_hcl)
{
    struct conf *c = NULL;
    struct errtext e;
    const char *file;

    file = put("bad.hcl", bad_hcl[_i].text);
    ck_assert_int_lt(load(&c, &e, "-config", file, NULL), 0);
    ck_assert_ptr_null(c);
    if (bad_hcl[_i].error)
        assert_text(e.text, bad_hcl[_i].error, file);
}
END_TEST

static const struct {
    const char *text, *error;
} bad_json[] = {
    {"{\"server\":{\"bogus\":1}}", EL "@: unknown key \"bogus\" in block \"server\""},
    {"{\"bogus\":1}", EL "@: unknown key \"bogus\""},
    {"{\"server.enabled\":true}", EL "@: unknown key \"server.enabled\""},
    {"{\"region\":\"a\",\n", EL "@:2: string or '}' expected near end of file"},
    {"[]", EL "@: not a JSON object"},
    {"", EL "@:1: '[' or '{' expected near end of file"},
    {"{\"region\":{}}", EL "@: region: needs a plain value"},
    {"{\"server\":1}", EL "@: server: is not a block"},
    {"{\"ports\":{\"http\":\"x\"}}", EL "@: ports.http: \"x\" is not a whole number"},
    {"{\"server\":{\"start_join\":[{}]}}",
     EL "@: server.start_join: only strings and numbers may stand in a list here"},
    {"{\"client\":{\"meta\":{\"a\":[]}}}", EL "@: client.meta: the value of \"a\" is not a string"},
    {"{\"client\":{\"host_volume\":{\"ca\":1}}}",
     EL "@: client.host_volume: \"ca\" is not a block"},
};

START_TEST(test_bad_json)
{
    struct conf *c = NULL;
    struct errtext e;
    const char *file = put("bad.json", bad_json[_i].text);

    ck_assert_int_lt(load(&c, &e, "-config", file, NULL), 0);
    assert_text(e.text, bad_json[_i].error, file);
}
END_TEST

/* ---- flags ---- */

static const struct {
    const char *flag, *error;
} bad_flags[] = {
    {"-bogus", "flag provided but not defined: -bogus"},
    {"--bogus=1", "flag provided but not defined: -bogus"},
    {"-config", "flag needs an argument: -config"},
    {"bogus", "unexpected argument: \"bogus\""},
    {"-", "unexpected argument: \"-\""},
    {"---x", "bad flag syntax: ---x"},
    {"-=x", "bad flag syntax: -=x"},
    {"-dev=perhaps", "invalid boolean value \"perhaps\" for -dev: parse error"},
    {"-bootstrap-expect=x",
     "invalid value for flag -bootstrap-expect: \"x\" is not a whole number"},
    {"-retry-join=a:b", "invalid value for flag -retry-join: \"a:b\" has a port that is not 1 to "
                        "65535"},
    {"-meta=x", "invalid value for flag -meta: \"x\" is not KEY=VALUE"},
    {"-data-dir=rel", "data-dir must be given as an absolute path: got rel"},
    {"-region=a b", "Region contains invalid characters"},
    {"-config=/does/not/exist",
     "Error loading configuration from /does/not/exist: stat /does/not/exist: no such file or "
     "directory"},
};

START_TEST(test_bad_flags)
{
    struct conf *c = NULL;
    struct errtext e;

    ck_assert_int_lt(load(&c, &e, bad_flags[_i].flag, NULL), 0);
    ck_assert_str_eq(e.text, bad_flags[_i].error);
}
END_TEST

START_TEST(test_flags)
{
    struct conf *c;
    struct errtext e;
    const char *file = put("a.hcl", "region = \"file\" data_dir = \"/file\"\n"
                                    "server { enabled = true retry_join = [\"x\"] }\n"
                                    "client { meta { a = \"1\" b = \"2\" } }");

    ck_assert_int_eq(load(&c, &e, "-config", file, "--region=flag", "-retry-join", "127.0.0.1:1",
                          "-retry-join=b", "-servers=c,d:1", "-meta", "b=3=4", "-client",
                          "-server=false", "-bind=127.0.3.1", NULL),
                     0);
    ck_assert_str_eq(c->region, "flag");
    ck_assert_str_eq(c->data_dir, "/file");
    ck_assert_uint_eq(c->server.join.retry_join.n, 2);
    ck_assert_str_eq(c->server.join.retry_join.items[0], "127.0.0.1:1");
    ck_assert_str_eq(c->server.join.retry_join.items[1], "b");
    ck_assert_uint_eq(c->client.servers.n, 2);
    ck_assert_str_eq(c->client.servers.items[1], "d:1");
    ck_assert_uint_eq(c->client.meta.n, 2);
    ck_assert_str_eq(c->client.meta.values[0], "1");
    ck_assert_str_eq(c->client.meta.values[1], "3=4");
    ck_assert(c->server.enabled && c->client.enabled); /* later sources switch on only */
    ck_assert_str_eq(c->advertise.serf, "127.0.3.1:4648");
    ck_assert_uint_eq(c->files.n, 1);
    conf_free(c);
    ck_assert_int_eq(load(&c, &e, "-h", NULL), CONF_E_HELP);
    ck_assert_int_eq(load(&c, &e, "--help", "-dev", NULL), CONF_E_HELP);
}
END_TEST

/* ---- good files ---- */

START_TEST(test_tutorial_words)
{
    struct conf *c;
    struct errtext e;
    const char *file;

    file = put("a.hcl", "# comment\n"
                        "data_dir = \"/opt/x\"  bind_addr = \"127.0.1.1\"  region = \"west\" // c\n"
                        "server { enabled = true, bootstrap_expect = 3\n"
                        "  server_join { retry_join = [\"127.0.1.1\", \"127.0.1.2:4648\",] } /* x\n"
                        "*/  raft_multiplier = \"2\" retry_max = 7\n"
                        "}\n"
                        "client {\n"
                        "  meta = { rack = \"r${HOME}1\"\n \"a.b\" = <<-EOF\n"
                        "      two\n"
                        "       lines \"q\" \\ $x\n"
                        "    EOF\n"
                        "  }\n"
                        "  options { \"driver.raw_exec.enable\" = 1 }\n"
                        "}\n"
                        "plugin \"raw_exec\" { config { enabled = true  x = [{a=1}, \"b\"] } }\n"
                        "ports { http = 14646 }\n");
    ck_assert_int_lt(load(&c, &e, "-config", file, NULL), 0); /* retry_max and server_join */
    file = put("a.hcl", "data_dir = \"/opt/x//y/\"  bind_addr = \"127.0.1.1\"  region = \"west\"\n"
                        "server { enabled = true, bootstrap_expect = 3\n"
                        "  server_join { retry_join = [\"127.0.1.1\", \"127.0.1.2:4648\",] } }\n"
                        "client { meta = { rack = \"r${HOME}1\"\n \"a.b\" = <<-EOF\n"
                        "      two\n"
                        "       lines \"q\" \\ $x\n"
                        "    EOF\n"
                        "  }\n"
                        "  options { \"driver.raw_exec.enable\" = 1 } }\n"
                        "plugin \"raw_exec\" { config { enabled = true  x = [{a=1}, \"b\"] } }\n"
                        "ports { http = 14646 }\n");
    ck_assert_int_eq(load(&c, &e, "-config", file, NULL), 0);
    ck_assert_str_eq(c->region, "west");
    ck_assert_str_eq(c->data_dir, "/opt/x/y");
    ck_assert_str_eq(c->server.data_dir, "/opt/x/y/server");
    ck_assert_str_eq(c->run_dir, "/opt/x/y/run");
    ck_assert_int_eq(c->server.bootstrap_expect, 3);
    ck_assert_uint_eq(c->server.join.retry_join.n, 2);
    ck_assert_int_eq(c->server.join.retry_interval, 30 * NS_PER_SEC);
    ck_assert_str_eq(c->client.meta.keys[0], "a.b");
    ck_assert_str_eq(c->client.meta.values[0], "two\n lines \"q\" \\ $x\n");
    ck_assert_str_eq(c->client.meta.values[1], "r${HOME}1");
    ck_assert_str_eq(c->client.options.values[0], "1");
    ck_assert_str_eq(c->advertise.http, "127.0.1.1:14646");
    ck_assert_str_eq(c->addresses.rpc, "127.0.1.1");
    ck_assert_str_eq(c->plugins.keys[1], "raw_exec.enabled");
    ck_assert_str_eq(c->plugins.values[1], "true");
    ck_assert_uint_eq(c->no_effect.n, 0);
    conf_free(c);
}
END_TEST

START_TEST(test_json)
{
    struct conf *c;
    struct errtext e;
    const char *file;

    file =
        put("a.json", "{\"region\":\"east\",\"data_dir\":\"/d\",\"bind_addr\":\"::1\","
                      "\"server\":[{\"enabled\":true},{\"bootstrap_expect\":\"5\"}],"
                      "\"client\":{\"meta\":{\"n\":7},\"host_volume\":{\"ca\":{\"path\":\"/p\"}},"
                      "\"servers\":\"a\"},\"ports\":{\"http\":null},"
                      "\"plugin\":[{\"raw_exec\":{\"config\":[]}}]}");
    ck_assert_int_eq(load(&c, &e, "-config", file, NULL), 0);
    ck_assert_str_eq(c->region, "east");
    ck_assert(c->server.enabled);
    ck_assert_int_eq(c->server.bootstrap_expect, 5);
    ck_assert_str_eq(c->client.meta.values[0], "7");
    ck_assert_uint_eq(c->client.servers.n, 1);
    ck_assert_int_eq(c->ports.http, 4646);
    ck_assert_str_eq(c->advertise.rpc, "[::1]:4647");
    ck_assert(conf_list_has(&c->no_effect, "client.host_volume.path"));
    conf_free(c);
}
END_TEST

START_TEST(test_merge_folder)
{
    struct conf *c;
    struct errtext e;

    put("b.hcl", "region = \"b\" server { enabled = false start_join = [\"x\"] }\n"
                 "client { meta { two = \"b\" three = \"b\" } } leave_on_terminate = false\n"
                 "disable_update_check = false autopilot { cleanup_dead_servers = false }");
    put("a.hcl", "region = \"a\" datacenter = \"a\" data_dir = \"/a\"\n"
                 "server { enabled = true start_join = [\"p\", \"q\"] }\n"
                 "client { meta { one = \"a\" two = \"a\" } } leave_on_terminate = true\n"
                 "disable_update_check = true");
    put("c.json", "{\"datacenter\":\"c\",\"bind_addr\":\"127.0.0.9\"}");
    put("d.txt", "bogus");
    put("d.hcl~", "bogus");
    put(".#d.hcl", "bogus");
    put("#d.hcl#", "bogus");
    ck_assert_int_eq(load(&c, &e, "-config", dir, NULL), 0);
    ck_assert_str_eq(c->region, "b");
    ck_assert_str_eq(c->datacenter, "c");
    ck_assert(c->server.enabled);
    ck_assert(c->leave_on_terminate);
    ck_assert(!c->disable_update_check); /* a pointer in Nomad: can be switched off again */
    ck_assert(!c->autopilot.cleanup_dead_servers);
    ck_assert_uint_eq(c->server.join.start_join.n, 1);
    ck_assert_uint_eq(c->client.meta.n, 3);
    ck_assert_str_eq(c->client.meta.keys[2], "two");
    ck_assert_str_eq(c->client.meta.values[2], "b");
    ck_assert_uint_eq(c->files.n, 3);
    conf_free(c);
}
END_TEST

START_TEST(test_dev)
{
    char *argv[] = {(char *)"agent", (char *)"-dev"};
    struct conf *c;
    struct errtext e;

    ck_assert_int_lt(load(&c, &e, "-dev", NULL), 0);
    ck_assert_str_eq(e.text, "Must specify data directory: only the agent makes one for -dev");
    ck_assert_int_eq(conf_load_agent(2, argv, &c, &e), 0);
    ck_assert(c->dev && c->server.enabled && c->client.enabled && c->enable_debug);
    ck_assert_str_eq(c->data_dir, "");
    ck_assert_str_eq(c->run_dir, "");
    ck_assert_str_eq(c->bind_addr, "127.0.0.1");
    ck_assert_str_eq(c->log_level, "DEBUG");
    ck_assert_int_eq(c->server.bootstrap_expect, 1);
    conf_free(c);
    ck_assert_int_eq(load(&c, &e, "-dev", "-data-dir=/tmp/x", "-log-level=warn", NULL), 0);
    ck_assert_str_eq(c->log_level, "WARN");
    ck_assert_str_eq(c->client.alloc_dir, "/tmp/x/alloc");
    conf_free(c);
}
END_TEST

START_TEST(test_guards_and_wan)
{
    struct errtext e;
    struct conf *c;
    const char *file =
        put("g.hcl", "data_dir = \"/d\"\nbind_addr = \"10.0.0.1\"\nadvertise {\n"
                     "  serf_wan = \"198.51.100.1\"\n  rpc_wan = \"[2001:db8::1]:14647\"\n}\n"
                     "server {\n  enabled = true\n  federation_id = \"blue\"\n"
                     "  federation_accept = [\"none\", \"old\"]\n"
                     "  join_allow = [\"10.0.0.0/8\", \"fd00::/8\", \"1.2.3.4\"]\n"
                     "  retry_join = [\"exec=/bin/servers -x\", \"[::1]:5\"]\n}\n");

    ck_assert_msg(load(&c, &e, "-config", file, NULL) == 0, "%s", e.text);
    ck_assert_str_eq(c->advertise.serf, "10.0.0.1:4648");
    ck_assert_str_eq(c->advertise_wan.serf, "198.51.100.1:4648");
    ck_assert_str_eq(c->advertise_wan.rpc, "[2001:db8::1]:14647");
    ck_assert_str_eq(c->server.federation_id, "blue");
    ck_assert_uint_eq(c->server.federation_accept.n, 2);
    ck_assert_uint_eq(c->server.join_allow.n, 3);
    ck_assert_str_eq(c->server.join.retry_join.items[0], "exec=/bin/servers -x");
    conf_free(c);
}
END_TEST

START_TEST(test_compare)
{
    struct conf_list applied, fixed;
    struct conf *a, *b;
    struct errtext e;

    ck_assert_int_eq(load(&a, &e, "-server", "-data-dir=/x", "-bind=127.0.0.1", NULL), 0);
    ck_assert_int_eq(load(&b, &e, "-server", "-data-dir=/x", "-bind=127.0.0.1", "-log-level=DEBUG",
                          "-encrypt=cg8StVXbQJ0gPvMd9o7yrg==", "-region=r", NULL),
                     0);
    conf_compare(a, b, &applied, &fixed);
    ck_assert_uint_eq(applied.n, 1);
    ck_assert_str_eq(applied.items[0], "log_level");
    ck_assert_uint_eq(fixed.n, 2);
    ck_assert_str_eq(fixed.items[0], "region");
    ck_assert_str_eq(fixed.items[1], "server.encrypt");
    conf_list_free(&applied);
    conf_list_free(&fixed);
    conf_compare(a, a, &applied, &fixed);
    ck_assert_uint_eq(applied.n + fixed.n, 0);
    conf_free(a);
    conf_free(b);
}
END_TEST

START_TEST(test_dump_hides_the_key)
{
    struct conf *c;
    struct errtext e;
    char *text;

    ck_assert_int_eq(load(&c, &e, "-server", "-data-dir=/x", "-bind=127.0.0.1",
                          "-encrypt=cg8StVXbQJ0gPvMd9o7yrg==", "-meta=a=q\"\x01", NULL),
                     0);
    text = conf_dump(c);
    ck_assert_ptr_null(strstr(text, "cg8St"));
    ck_assert_ptr_nonnull(strstr(text, "server.encrypt = \"(secret)\"\n"));
    ck_assert_ptr_nonnull(strstr(text, "client.meta = { \"a\" = \"q\\\"\\x01\" }\n"));
    ck_assert_ptr_nonnull(strstr(text, "server.failover_heartbeat_ttl = \"5m0s\"\n"));
    free(text);
    conf_free(c);
}
END_TEST

START_TEST(test_node_id)
{
    char *file = xasprintf("%s/node-id", dir);
    char a[37], b[37];
    struct errtext e;

    conf_list_add(&made, file);
    ck_assert_int_eq(conf_node_id(file, a, &e), 0);
    ck_assert(uuid_valid(a));
    ck_assert_int_eq(conf_node_id(file, b, &e), 0);
    ck_assert_str_eq(a, b);
    put("node-id", "garbage\n");
    ck_assert_int_eq(conf_node_id(file, b, &e), -EINVAL);
    assert_text(e.text, "@ does not hold a UUID: remove it to get a new node id", file);
    ck_assert_int_eq(conf_node_id("/does/not/exist/id", b, &e), -ENOENT);
    free(file);
}
END_TEST

/* Many processes ask at the same moment: one id. */
START_TEST(test_node_id_race)
{
    char *file = xasprintf("%s/race-id", dir), id[37], first[37] = "";
    struct errtext e;
    int out[2];

    conf_list_add(&made, file);
    ck_assert_int_eq(pipe(out), 0);
    for (unsigned i = 0; i < 8; i++) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
            _exit(conf_node_id(file, id, &e) != 0 || write(out[1], id, 37) != 37);
    }
    for (unsigned i = 0; i < 8; i++) {
        int status;

        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(read(out[0], id, 37), 37);
        if (i == 0)
            memcpy(first, id, 37);
        ck_assert_str_eq(id, first);
    }
    close(out[0]);
    close(out[1]);
    free(file);
}
END_TEST

START_TEST(test_limits)
{
    char *big = xmalloc(CONF_FILE_MAX + 2);
    struct conf *c;
    struct errtext e;
    struct strbuf b = STRBUF_INIT;
    const char *file;

    memset(big, ' ', CONF_FILE_MAX + 1);
    big[CONF_FILE_MAX + 1] = 0;
    file = put("big.hcl", big);
    ck_assert_int_lt(load(&c, &e, "-config", file, NULL), 0);
    assert_text(e.text, EL "@: larger than 1048576 bytes", file);
    free(big);
    strbuf_adds(&b, "client { servers = [");
    for (unsigned i = 0; i < CONF_LIST_MAX + 1; i++)
        strbuf_adds(&b, "\"a\",\n");
    strbuf_adds(&b, "] }");
    file = put("list.hcl", b.data);
    ck_assert_int_lt(load(&c, &e, "-config", file, NULL), 0);
    assert_text(e.text, EL "@:257: client.servers: more than 256 entries", file);
    strbuf_fini(&b);
}
END_TEST

START_TEST(test_rows)
{
    for (size_t i = 0; i < conf_rows_n; i++) {
        char *parent = xstrdup(conf_rows[i].path), *dot = strrchr(parent, '.');

        ck_assert_ptr_eq(conf_row_find(conf_rows[i].path), &conf_rows[i]);
        if (dot) {
            *dot = 0;
            ck_assert_msg(conf_row_find(parent) != NULL, "no block for %s", conf_rows[i].path);
        }
        free(parent);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("conf");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_bad_hcl, 0, ARRAY_LEN(bad_hcl));
    tcase_add_loop_test(t, test_bad_json, 0, ARRAY_LEN(bad_json));
    tcase_add_loop_test(t, test_bad_flags, 0, ARRAY_LEN(bad_flags));
    tcase_add_test(t, test_flags);
    tcase_add_test(t, test_tutorial_words);
    tcase_add_test(t, test_json);
    tcase_add_test(t, test_merge_folder);
    tcase_add_test(t, test_dev);
    tcase_add_test(t, test_guards_and_wan);
    tcase_add_test(t, test_compare);
    tcase_add_test(t, test_dump_hides_the_key);
    tcase_add_test(t, test_node_id);
    tcase_add_test(t, test_node_id_race);
    tcase_add_test(t, test_limits);
    tcase_add_test(t, test_rows);
    return check_run("conf", t, NULL);
}
