/* SPDX-License-Identifier: MPL-2.0 */
#include "job/job.h"

#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "base/zone.h"
#include "check_run.h"
#include "job.json.h"
#include "json/json.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/wire.h"

static char *read_golden(const char *name)
{
    char path[512], *buf;
    FILE *f;
    size_t n;

    (void)snprintf(path, sizeof(path), "%s/jobs/%s", TEST_GOLDEN_DIR, name);
    f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    buf = xcalloc(1, 65536);
    n = fread(buf, 1, 65535, f);
    ck_assert_uint_gt(n, 0);
    (void)fclose(f);
    return buf;
}

static void decode(const struct json_type *t, const char *text, void *msg)
{
    struct errtext e = {{0}};

    memset(msg, 0, t->size);
    ck_assert_msg(json_decode(t, text, strlen(text), msg, &e) == 0, "%s", e.text);
}

static void job_parse(const char *text, steppe_Job *job)
{
    decode(&steppe_Job_json, text, job);
}

static void job_free(steppe_Job *job)
{
    pb_release(steppe_Job_fields, job);
}

/* The server view in canonical form, without what a server adds at registration. */
static char *canonical(steppe_Job *job)
{
    struct strbuf out = STRBUF_INIT, sorted = STRBUF_INIT;
    struct errtext e;
    size_t i;

    job_spec_clear(job);
    for (i = 0; i < job->task_groups_count; i++) {
        steppe_ScalingPolicy *p = &job->task_groups[i].scaling;

        free(p->id);
        p->id = NULL;
        p->create_index = p->modify_index = 0;
    }
    ck_assert_int_eq(json_encode(&steppe_Job_json, job, JSON_VIEW_SERVER, &out), 0);
    ck_assert_int_eq(json_raw_compact(out.data, out.len, 0, &sorted, &e), 0);
    strbuf_fini(&out);
    return strbuf_take(&sorted);
}

static void encode(const steppe_Job *job, struct strbuf *out)
{
    ck_assert_int_eq(wire_encode(steppe_Job_fields, job, out), 0);
}

/* What a 1.1.0 server in region east stored for the files. */
START_TEST(test_canonicalize_golden)
{
    static const char *const names[] = {"1-minimal", "2-service", "3-everything"};
    _cleanup_(freep) char *spec = NULL, *stored = NULL, *got = NULL, *want = NULL;
    _cleanup_(strbuf_fini) struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
    steppe_JobRegisterRequest req;
    char name[64];
    steppe_Job server;
    size_t i, j;

    (void)snprintf(name, sizeof(name), "%s.json", names[_i]);
    spec = read_golden(name);
    (void)snprintf(name, sizeof(name), "%s.server.json", names[_i]);
    stored = read_golden(name);
    decode(&steppe_JobRegisterRequest_json, spec, &req);
    job_parse(stored, &server);
    for (i = 0; i < req.job.task_groups_count; i++)
        for (j = 0; j < req.job.task_groups[i].tasks_count; j++) { /* it was stored without */
            pb_release(steppe_Vault_fields, &req.job.task_groups[i].tasks[j].vault);
            req.job.task_groups[i].tasks[j].has_vault = false;
        }
    free(req.job.region);
    req.job.region = xstrdup("east");
    job_canonicalize(&req.job);
    job_implied_constraints(&req.job);
    got = canonical(&req.job);
    want = canonical(&server);
    ck_assert_str_eq(got, want);
    encode(&req.job, &once);
    job_canonicalize(&req.job);
    job_implied_constraints(&req.job);
    encode(&req.job, &twice);
    ck_assert_uint_eq(once.len, twice.len);
    ck_assert_mem_eq(once.data, twice.data, once.len);
    pb_release(steppe_JobRegisterRequest_fields, &req);
    job_free(&server);
}
END_TEST

/* What a server answers, sent back to it unchanged, is the same job to the byte. */
START_TEST(test_canonicalize_stored)
{
    static const char *const names[] = {"1-minimal.server.json", "2-service.server.json",
                                        "3-everything.server.json"};
    _cleanup_(freep) char *text = read_golden(names[_i]), *before = NULL, *after = NULL;
    steppe_Job job;

    job_parse(text, &job);
    before = canonical(&job);
    job_canonicalize(&job);
    job_implied_constraints(&job);
    after = canonical(&job);
    ck_assert_str_eq(before, after);
    job_free(&job);
}
END_TEST

#define TASK        "{\"Name\":\"t\",\"Driver\":\"raw_exec\"}"
#define GROUP(more) "{\"Name\":\"g\",\"Tasks\":[" TASK "]" more "}"
#define JOB(more, group)                                                                           \
    "{\"ID\":\"j\",\"Region\":\"r\",\"Datacenters\":[\"dc1\"]" more ",\"TaskGroups\":[" group "]}"
#define TASKED(more)                                                                               \
    JOB("", "{\"Name\":\"g\",\"Tasks\":[{\"Name\":\"t\",\"Driver\":\"raw_exec\"" more "}]}")

/* Different spellings of one job are one spec, so that registering it again changes nothing. */
START_TEST(test_equal_specs)
{
    static const struct {
        const char *a, *b;
    } same[] = {
        {JOB("", GROUP("")), JOB(",\"Priority\":50,\"Type\":\"service\",\"Namespace\":\"default\"",
                                 GROUP(",\"Count\":1,\"Meta\":{}"))},
        {JOB(",\"Meta\":{\"b\":\"1\",\"a\":\"2\"}", GROUP("")),
         JOB(",\"Meta\":{\"a\":\"2\",\"b\":\"1\"},\"ParentID\":\"\"", GROUP(""))},
        {TASKED(",\"Config\":{\"b\":1,\"a\":[]}"), TASKED(",\"Config\":{\"a\": [ ],\"b\":1}")},
        {TASKED(",\"Config\":{},\"User\":\"\",\"Env\":null"), TASKED("")},
        {JOB(",\"Update\":{\"AutoRevert\":false}", GROUP("")), JOB("", GROUP(""))},
        {JOB(",\"Reschedule\":{\"Delay\":7000000000}", GROUP("")),
         JOB("", GROUP(",\"ReschedulePolicy\":{\"Delay\":7000000000}"))},
    };
    _cleanup_(strbuf_fini) struct strbuf x = STRBUF_INIT, y = STRBUF_INIT;
    steppe_Job a, b;

    job_parse(same[_i].a, &a);
    job_parse(same[_i].b, &b);
    job_canonicalize(&a);
    job_canonicalize(&b);
    encode(&a, &x);
    encode(&b, &y);
    ck_assert_uint_eq(x.len, y.len);
    ck_assert_mem_eq(x.data, y.data, x.len);
    job_free(&a);
    job_free(&b);
}
END_TEST

START_TEST(test_merge_and_interpolation)
{
    steppe_Job job;
    const steppe_TaskGroup *g;

    job_parse(
        "{\"ID\":\"j\",\"Datacenters\":[\"dc1\"],\"ConsulNamespace\":\"cn\","
        "\"ParentID\":\"p\",\"Dispatched\":true,"
        "\"Update\":{\"MaxParallel\":3,\"Canary\":2},\"Migrate\":{\"MaxParallel\":4},"
        "\"TaskGroups\":[{\"Name\":\"g\",\"Update\":{\"Canary\":1},"
        "\"RestartPolicy\":{\"Attempts\":7},"
        "\"Scaling\":{\"Min\":2,\"Max\":4},\"Volumes\":{\"x\":{\"Type\":\"odd\"},\"n\":null},"
        "\"Services\":[{\"Name\":\"${JOB}-${TASK}-${x}-${BASE}\",\"CheckRestart\":{\"Limit\":3},"
        "\"Checks\":[{\"Type\":\"tcp\"},{\"CheckRestart\":{\"Limit\":1,\"Grace\":5}}]}],"
        "\"Tasks\":[{\"Name\":\"t\",\"Driver\":\"d\",\"RestartPolicy\":{\"Delay\":1},"
        "\"Services\":[{}],\"Lifecycle\":{\"Hook\":\"\"},"
        "\"Artifacts\":[{\"GetterSource\":\"http://a/b/c.tgz\",\"GetterMode\":\"file\"}],"
        "\"Templates\":[{\"LeftDelim\":\"\",\"ChangeMode\":\"signal\"}]}]}]}",
        &job);
    job_canonicalize(&job);
    g = &job.task_groups[0];
    ck_assert_str_eq(job.region, "global");
    ck_assert_ptr_null(job.parent_id);
    ck_assert(!job.dispatched);
    ck_assert_int_eq(g->update.max_parallel, 3);
    ck_assert_int_eq(g->update.canary, 1);
    ck_assert_int_eq(job.update.max_parallel, 3);
    ck_assert_int_eq(job.update.canary, 0);
    ck_assert_int_eq(g->migrate.max_parallel, 4);
    ck_assert(!job.has_migrate);
    ck_assert_int_eq(g->count, 2); /* Scaling.Min */
    ck_assert_str_eq(g->scaling.target[0].value, "g");
    ck_assert_str_eq(g->consul.namespace, "cn");
    ck_assert_ptr_null(job.consul_namespace);
    ck_assert_uint_eq(g->volumes_count, 0);
    ck_assert_int_eq(g->restart_policy.attempts, 7);
    ck_assert_int_eq(g->tasks[0].restart_policy.attempts, 7);
    ck_assert_int_eq(g->tasks[0].restart_policy.delay, 1);
    ck_assert_str_eq(g->services[0].name, "j-group-${x}-j-g-group");
    ck_assert_int_eq(g->services[0].checks[0].check_restart.limit, 3);
    ck_assert_int_eq(g->services[0].checks[0].check_restart.grace, 1000000000);
    ck_assert_int_eq(g->services[0].checks[1].check_restart.limit, 1);
    ck_assert_int_eq(g->services[0].checks[1].check_restart.grace, 5);
    ck_assert_str_eq(g->services[0].checks[0].name, "service: \"j-group-${x}-j-g-group\" check");
    ck_assert(!g->services[0].has_check_restart);
    ck_assert_str_eq(g->tasks[0].services[0].name, "j-g-t");
    ck_assert(!g->tasks[0].has_lifecycle);
    ck_assert_str_eq(g->tasks[0].artifacts[0].relative_dest, "local/c.tgz");
    ck_assert_str_eq(g->tasks[0].templates[0].left_delim, "");
    ck_assert_str_eq(g->tasks[0].templates[0].change_signal, "SIGHUP");
    job_free(&job);
}
END_TEST

#define ONE(text)      "1 error occurred:\n\t* " text "\n\n"
#define IN_GROUP(text) ONE("Task group g validation failed: 1 error occurred:\n\t* " text "\n\n")
#define IN_TASK(text)  IN_GROUP("Task t validation failed: 1 error occurred:\n\t* " text "\n\n")

static const struct {
    const char *job;
    const char *error; /* NULL: valid */
} validations[] = {
    {JOB("", GROUP("")), NULL},
    {"{\"ID\":\"x\",\"Region\":\"r\"}",
     "2 errors occurred:\n\t* Missing job datacenters\n\t* Missing job task groups\n\n"},
    {JOB(",\"Priority\":101", GROUP("")), ONE("Job priority must be between [1, 100]")},
    {JOB(",\"Type\":\"odd\"", GROUP("")), ONE("Invalid job type: \"odd\"")},
    {JOB(",\"Type\":\"core\"", GROUP("")), ONE("Invalid job type: \"core\"")},
    {JOB(",\"ID\":\"a b\"", GROUP("")), ONE("Job ID contains a space")},
    {JOB(",\"Region\":\"\"", GROUP("")), ONE("Missing job region")},
    {JOB(",\"Payload\":\"QQ==\"", GROUP("")),
     ONE("job can't be submitted with a payload, only dispatched")},
    {JOB("", GROUP("") "," GROUP("")), ONE("Job task group 2 redefines 'g' from group 1")},
    {JOB(",\"Constraints\":[{\"LTarget\":\"a\",\"Operand\":\"odd\"}]", GROUP("")),
     ONE("Constraint 1 validation failed: 1 error occurred:\n\t* Unknown constraint type "
         "\"odd\"\n\n")},
    {JOB(",\"Constraints\":[{\"Operand\":\"distinct_hosts\"},{\"LTarget\":\"a\",\"Operand\":\"=\"}"
         "]",
         GROUP("")),
     ONE("Constraint 2 validation failed: 1 error occurred:\n\t* Operator \"=\" requires an "
         "RTarget\n\n")},
    {JOB(",\"Constraints\":[{\"LTarget\":\"a\",\"Operand\":\"version\",\"RTarget\":\">= 0.9, < "
         "2.0\"}]",
         GROUP("")),
     NULL},
    {JOB(",\"Constraints\":[{\"LTarget\":\"a\",\"Operand\":\"version\",\"RTarget\":\"> x\"}]",
         GROUP("")),
     ONE("Constraint 1 validation failed: 1 error occurred:\n\t* Version constraint is invalid: "
         "Malformed constraint: > x\n\n")},
    {JOB(",\"Constraints\":[{\"LTarget\":\"a\",\"Operand\":\"regexp\",\"RTarget\":\"(a\"}]",
         GROUP("")),
     ONE("Constraint 1 validation failed: 1 error occurred:\n\t* Regular expression failed to "
         "compile: error parsing regexp: missing closing ): `(a`\n\n")},
    {JOB(",\"Affinities\":[{\"LTarget\":\"a\",\"RTarget\":\"b\",\"Operand\":\"=\",\"Weight\":0}]",
         GROUP("")),
     ONE("Affinity 1 validation failed: 1 error occurred:\n\t* Affinity weight cannot be "
         "zero\n\n")},
    {JOB(",\"Spreads\":[{\"Attribute\":\"a\",\"SpreadTarget\":[{\"Value\":\"x\",\"Percent\":60},"
         "{\"Value\":\"y\",\"Percent\":60}]}]",
         GROUP("")),
     ONE("Spread 1 validation failed: 1 error occurred:\n\t* Sum of spread target percentages must "
         "not be greater than 100%; got 120%\n\n")},
    {JOB(",\"Type\":\"system\"", GROUP(",\"Count\":2")),
     ONE("Job task group g has count 2. Count cannot exceed 1 with system scheduler")},
    {JOB(",\"Type\":\"system\"", GROUP("")), NULL},
    {JOB(",\"Type\":\"batch\",\"Periodic\":{\"Spec\":\"*/5 * * * *\"}", GROUP("")), NULL},
    {JOB(",\"Periodic\":{\"Spec\":\"* *\"}", GROUP("")),
     "2 errors occurred:\n\t* Periodic can only be used with \"batch\" scheduler\n\t* 1 error "
     "occurred:\n\t* Invalid cron spec \"* *\": missing field(s)\n\n\n\n"},
    {JOB(",\"Type\":\"batch\",\"ParameterizedJob\":{\"MetaRequired\":[\"a\"],\"MetaOptional\":["
         "\"a\"]}",
         GROUP("")),
     ONE("1 error occurred:\n\t* Required and optional meta keys should be disjoint. Following "
         "keys "
         "exist in both: [a]\n\n")},
    {JOB("", "{\"Name\":\"g\"}"), IN_GROUP("Missing tasks for task group")},
    {JOB("", GROUP(",\"Count\":-1")), IN_GROUP("Task group count can't be negative")},
    {JOB("", GROUP(",\"EphemeralDisk\":{\"SizeMB\":5}")),
     ONE("Task group g validation failed: 2 errors occurred:\n\t* minimum DiskMB value is 10; got "
         "5\n\t* Task t validation failed: 1 error occurred:\n\t* log storage (100 MB) must be "
         "less "
         "than requested disk capacity (5 MB)\n\n\n\n")},
    {JOB("", GROUP(",\"RestartPolicy\":{\"Interval\":1000000000,\"Mode\":\"odd\"}")),
     IN_GROUP(
         "3 errors occurred:\n\t* Unsupported restart mode: \"odd\"\n\t* Interval can not be "
         "less than 5s (got 1s)\n\t* Nomad can't restart the TaskGroup 2 times in an interval of "
         "1s with a delay of 15s\n\n")},
    {JOB("",
         GROUP(",\"ReschedulePolicy\":{\"Unlimited\":false,\"Attempts\":5,\"Interval\":20000000000,"
               "\"Delay\":5000000000,\"DelayFunction\":\"constant\"}")),
     IN_GROUP(
         "2 errors occurred:\n\t* Nomad can only make 4 attempts in 20s with initial delay 5s and "
         "delay function \"constant\"\n\t* Set the interval to at least 25s to accommodate 5 "
         "attempts\n\n")},
    {JOB("", GROUP(",\"Update\":{\"MaxParallel\":-1}")),
     IN_GROUP("1 error occurred:\n\t* Max parallel can not be less than zero: -1 < 0\n\n")},
    {JOB("", GROUP(",\"Update\":{\"HealthyDeadline\":5000000000}")),
     IN_GROUP(
         "1 error occurred:\n\t* Minimum healthy time must be less than healthy deadline: 10s > "
         "5s\n\n")},
    {JOB("", GROUP(",\"Networks\":[{\"DynamicPorts\":[{\"Label\":\"a\"},{\"Label\":\"a\"}]}]")),
     IN_GROUP(
         "Task group network validation failed: 1 error occurred:\n\t* Port label a already in "
         "use by taskgroup network\n\n")},
    {JOB("",
         GROUP(",\"Networks\":[{\"ReservedPorts\":[{\"Label\":\"a\",\"Value\":80},{\"Label\":\"b\","
               "\"Value\":80},{\"Label\":\"c\",\"Value\":70000}]}]")),
     IN_GROUP(
         "Task group network validation failed: 2 errors occurred:\n\t* Static port 80 already "
         "reserved by taskgroup network:a\n\t* Port c (70000) cannot be greater than 65535\n\n")},
    {JOB("", GROUP(",\"Scaling\":{\"Min\":3,\"Max\":2},\"Count\":2")),
     IN_GROUP(
         "Task group scaling policy validation failed: 2 errors occurred:\n\t* Scaling policy "
         "invalid: maximum count must not be less than minimum count\n\t* Scaling policy "
         "invalid: task group count must not be less than minimum count in scaling policy\n\n")},
    {JOB("", GROUP(",\"Services\":[{\"Name\":\"a_b\"}]")),
     IN_GROUP(
         "Task group service validation failed: 1 error occurred:\n\t* Service[0] a_b validation "
         "failed: 1 error occurred:\n\t* Service name must be valid per RFC 1123 and can contain "
         "only alphanumeric characters or dashes: \"a_b\"\n\n\n\n")},
    {JOB("", GROUP(",\"Services\":[{\"Name\":\"a\",\"PortLabel\":\"p\",\"Checks\":[{\"Name\":\"c\","
                   "\"Type\":\"http\",\"Interval\":1000000000,\"Timeout\":1000000000}]}]")),
     IN_GROUP(
         "Task group service validation failed: 1 error occurred:\n\t* Service[0] a validation "
         "failed: 1 error occurred:\n\t* Check c invalid: http type must have a valid http "
         "path\n\n\n\n")},
    {TASKED(",\"Driver\":\"\""), IN_TASK("Missing task driver")},
    {TASKED(",\"Resources\":{\"CPU\":0,\"MemoryMB\":1}"),
     IN_TASK("1 error occurred:\n\t* 2 errors occurred:\n\t* minimum CPU value is 1; got 0\n\t* "
             "minimum MemoryMB value is 10; got 1\n\n\n\n")},
    {TASKED(",\"Resources\":{\"CPU\":10,\"Cores\":1}"),
     IN_TASK("1 error occurred:\n\t* Task can only ask for 'cpu' or 'cores' resource, not "
             "both.\n\n")},
    {TASKED(",\"LogConfig\":{\"MaxFiles\":0}"),
     IN_TASK("1 error occurred:\n\t* minimum number of files is 1; got 0\n\n")},
    {TASKED(",\"Templates\":[{\"EmbeddedTmpl\":\"x\",\"DestPath\":\"../../x\"}]"),
     IN_TASK("Template 1 validation failed: 1 error occurred:\n\t* destination escapes allocation "
             "directory\n\n")},
    {TASKED(",\"Templates\":[{\"EmbeddedTmpl\":\"x\",\"DestPath\":\"../x\",\"Perms\":\"9\"}]"),
     IN_TASK("Template 1 validation failed: 1 error occurred:\n\t* Failed to parse \"9\" as octal: "
             "strconv.ParseUint: parsing \"9\": invalid syntax\n\n")},
    {TASKED(
         ",\"Artifacts\":[{\"GetterSource\":\"x\",\"GetterOptions\":{\"checksum\":\"md5:00\"}}]"),
     IN_TASK("Artifact 1 validation failed: 1 error occurred:\n\t* invalid md5 checksum: 00\n\n")},
    {TASKED(",\"Lifecycle\":{\"Hook\":\"odd\"}"),
     IN_TASK("Lifecycle validation failed: invalid hook: odd")},
    {TASKED(",\"Constraints\":[{\"Operand\":\"distinct_hosts\"}]"),
     IN_TASK("Constraint 1 has disallowed Operand at task level: distinct_hosts")},
    {TASKED(",\"Services\":[{\"PortLabel\":\"p\"}]"),
     IN_TASK("1 error occurred:\n\t* port label \"p\" referenced by services j-g-t does not "
             "exist\n\n")},
    {TASKED(",\"VolumeMounts\":[{\"Volume\":\"v\",\"Destination\":\"/d\"}]"),
     IN_GROUP("Task t has a volume mount (0) referencing undefined volume v")},
    {JOB("", "{\"Name\":\"g\",\"Tasks\":[" TASK "," TASK "]}"),
     IN_GROUP("Task 2 redefines 't' from task 1")},
};

START_TEST(test_validate)
{
    _cleanup_(strbuf_fini) struct strbuf error = STRBUF_INIT;
    steppe_Job job;

    job_parse(validations[_i].job, &job);
    job_canonicalize(&job);
    ck_assert_int_eq(job_validate(&job, zone_check, &error), validations[_i].error == NULL);
    ck_assert_str_eq(error.data ? error.data : "",
                     validations[_i].error ? validations[_i].error : "");
    job_free(&job);
}
END_TEST

START_TEST(test_warnings)
{
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;
    steppe_Job job;

    job_parse(JOB("", GROUP("")), &job);
    job_canonicalize(&job);
    job_warnings(&job, false, &out);
    ck_assert_uint_eq(out.len, 0);
    job_free(&job);
    job_parse(JOB("",
                  "{\"Name\":\"g\",\"Update\":{\"MaxParallel\":5},\"Networks\":[{\"MBits\":1}],"
                  "\"Tasks\":[{\"Name\":\"t\",\"Driver\":\"d\",\"Resources\":{\"MemoryMaxMB\":500,"
                  "\"IOPS\":3}}]}"),
              &job);
    job_canonicalize(&job);
    job_warnings(&job, false, &out);
    ck_assert_str_eq(
        out.data,
        "2 warning(s):\n\n* Group \"g\" has warnings: 3 errors occurred:\n\t* Update max parallel "
        "count is greater than task group count (5 > 1). A destructive change would result in the "
        "simultaneous replacement of all allocations.\n\t* mbits has been deprecated as of Nomad "
        "0.12.0. Please remove mbits from the network block\n\t* 1 error occurred:\n\t* Task "
        "\"t\": "
        "IOPS has been deprecated as of Nomad 0.9.0. Please remove IOPS from resource "
        "stanza.\n\n\n\n\n* Memory oversubscription is not enabled; Task \"g.t\" memory_max value "
        "will be ignored. Update the Scheduler Configuration to allow oversubscription.");
    job_free(&job);
}
END_TEST

START_TEST(test_update_check)
{
    static const struct {
        const char *old, *new, *error;
    } t[] = {
        {NULL, "{}", NULL},
        {NULL, "{\"Dispatched\":true}", "job can't be submitted with 'Dispatched' set"},
        {"{\"Type\":\"service\"}", "{\"Type\":\"batch\"}",
         "cannot update job from type \"service\" to \"batch\""},
        {"{\"Periodic\":{}}", "{}", "cannot update periodic job to being non-periodic"},
        {"{}", "{\"Periodic\":{}}", "cannot update non-periodic job to being periodic"},
        {"{\"ParameterizedJob\":{}}", "{}",
         "cannot update parameterized job to being non-parameterized"},
        {"{}", "{\"ParameterizedJob\":{}}",
         "cannot update non-parameterized job to being parameterized"},
        {"{}", "{\"Dispatched\":true}", "field 'Dispatched' is read-only"},
        {NULL, "{\"TaskGroups\":[{\"Tasks\":[{\"Vault\":{}}]}]}",
         "Vault not enabled and Vault policies requested"},
    };
    struct errtext e = {{0}};
    steppe_Job old = {0}, job;

    if (t[_i].old)
        job_parse(t[_i].old, &old);
    job_parse(t[_i].new, &job);
    ck_assert_int_eq(job_update_check(t[_i].old ? &old : NULL, &job, &e),
                     t[_i].error ? -EINVAL : 0);
    ck_assert_str_eq(e.text, t[_i].error ? t[_i].error : "");
    job_free(&old);
    job_free(&job);
}
END_TEST

START_TEST(test_region_select)
{
    static const struct {
        const char *job;
        struct job_region_source src;
        const char *request, *region;
    } t[] = {
        {"{\"Region\":\"east\"}", {"north", "south", "west"}, "north", "north"},
        {"{\"Region\":\"east\"}", {NULL, "south", "west"}, "south", "south"},
        {"{\"Region\":\"east\"}", {"", "", "west"}, "east", "east"},
        {"{\"Region\":\"global\"}", {"", NULL, "west"}, "west", "west"},
        {"{}", {NULL, NULL, "west"}, "west", "west"},
        {"{\"Region\":\"east\"}", {NULL, "global", "west"}, "west", "west"},
        {"{\"Multiregion\":{\"Regions\":[{\"Name\":\"a\"},{\"Name\":\"west\"}]}}",
         {NULL, NULL, "west"},
         "west",
         "global"},
        {"{\"Multiregion\":{\"Regions\":[{\"Name\":\"a\"}]}}", {NULL, NULL, "west"}, "a", "global"},
    };
    struct job_region r;
    steppe_Job job;

    job_parse(t[_i].job, &job);
    r = job_region_select(&job, &t[_i].src);
    ck_assert_str_eq(r.request, t[_i].request);
    ck_assert_str_eq(r.job, t[_i].region);
    job_free(&job);
}
END_TEST

static void make_id(void *ctx, char out[static 37])
{
    (void)snprintf(out, 37, "id-%d", (*(int *)ctx)++);
}

START_TEST(test_scaling_ids)
{
    static const char one[] = JOB("", GROUP(",\"Scaling\":{\"Max\":3}"));
    static const char two[] =
        JOB("", "{\"Name\":\"h\",\"Tasks\":[" TASK
                "],\"Scaling\":{\"Max\":3}}," GROUP(",\"Scaling\":{\"Max\":4,\"ID\":\"forged\"}"));
    steppe_Job old, job;
    int next = 1;

    job_parse(one, &old);
    job_canonicalize(&old);
    job_scaling_ids_set(NULL, &old, make_id, &next);
    ck_assert_str_eq(old.task_groups[0].scaling.id, "id-1");
    job_parse(two, &job);
    job_canonicalize(&job);
    job_scaling_ids_set(&old, &job, make_id, &next);
    ck_assert_str_eq(job.task_groups[0].scaling.id, "id-2");
    ck_assert_str_eq(job.task_groups[1].scaling.id, "id-1");
    job_free(&old);
    job_free(&job);
}
END_TEST

START_TEST(test_stub_and_summary)
{
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;
    steppe_JobSummary summary;
    steppe_JobListStub stub;
    steppe_Job job;

    job_parse("{\"ID\":\"j\",\"Name\":\"n\",\"Namespace\":\"default\",\"Datacenters\":[\"dc1\"],"
              "\"Type\":\"batch\",\"Priority\":50,\"Periodic\":{},\"Status\":\"running\","
              "\"ModifyIndex\":7,\"TaskGroups\":[{\"Name\":\"z\"},{\"Name\":\"a\"}]}",
              &job);
    job_summary_init(&job, &summary);
    job_stub_make(&job, &summary, &stub);
    ck_assert_int_eq(json_encode(&steppe_JobListStub_json, &stub, 0, &out), 0);
    ck_assert_str_eq(
        out.data,
        "{\"ID\":\"j\",\"ParentID\":\"\",\"Name\":\"n\",\"Namespace\":\"default\",\"Datacenters\":["
        "\"dc1\"],\"Multiregion\":null,\"Type\":\"batch\",\"Priority\":50,\"Periodic\":true,"
        "\"ParameterizedJob\":false,\"Stop\":false,\"Status\":\"running\",\"StatusDescription\":"
        "\"\","
        "\"JobSummary\":{\"JobID\":\"j\",\"Namespace\":\"default\",\"Summary\":{\"a\":{\"Queued\":"
        "0,"
        "\"Complete\":0,\"Failed\":0,\"Running\":0,\"Starting\":0,\"Lost\":0},\"z\":{\"Queued\":0,"
        "\"Complete\":0,\"Failed\":0,\"Running\":0,\"Starting\":0,\"Lost\":0}},\"Children\":{"
        "\"Pending\":0,\"Running\":0,\"Dead\":0},\"CreateIndex\":0,\"ModifyIndex\":0},"
        "\"CreateIndex\":0,\"ModifyIndex\":7,\"JobModifyIndex\":0,\"SubmitTime\":0}");
    pb_release(steppe_JobSummary_fields, &summary);
    job_free(&job);
}
END_TEST

/* A stored job is the spec's bytes with those of the server's fields behind them. */
START_TEST(test_spec_and_server_fields)
{
    _cleanup_(strbuf_fini) struct strbuf pb = STRBUF_INIT;
    steppe_Job job, server = {.status = (char *)"running",
                              .has_version = true,
                              .version = 3,
                              .has_stop = true,
                              .has_job_modify_index = true,
                              .job_modify_index = 9};
    struct errtext e;

    job_parse(JOB(",\"Stop\":true,\"Status\":\"dead\",\"Version\":7,\"SubmitTime\":5", GROUP("")),
              &job);
    job_canonicalize(&job);
    job_spec_clear(&job);
    encode(&job, &pb);
    encode(&server, &pb);
    job_free(&job);
    ck_assert_int_eq(wire_decode(steppe_Job_fields, pb.data, pb.len, &job, sizeof(job), &e), 0);
    ck_assert_str_eq(job.id, "j");
    ck_assert_uint_eq(job.task_groups_count, 1);
    ck_assert_str_eq(job.status, "running");
    ck_assert(job.has_stop && !job.stop);
    ck_assert_uint_eq(job.version, 3);
    ck_assert(!job.has_submit_time);
    ck_assert_uint_eq(job.job_modify_index, 9);
    job_free(&job);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("job");

    tcase_add_loop_test(tc, test_canonicalize_golden, 0, 3);
    tcase_add_loop_test(tc, test_canonicalize_stored, 0, 3);
    tcase_add_loop_test(tc, test_equal_specs, 0, 6);
    tcase_add_test(tc, test_merge_and_interpolation);
    tcase_add_loop_test(tc, test_validate, 0, ARRAY_LEN(validations));
    tcase_add_test(tc, test_warnings);
    tcase_add_loop_test(tc, test_update_check, 0, 9);
    tcase_add_loop_test(tc, test_region_select, 0, 8);
    tcase_add_test(tc, test_scaling_ids);
    tcase_add_test(tc, test_stub_and_summary);
    tcase_add_test(tc, test_spec_and_server_fields);
    return check_run("job", tc, NULL);
}
