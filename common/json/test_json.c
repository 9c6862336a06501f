/* SPDX-License-Identifier: MPL-2.0 */
#include "json/json.h"

#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "job.json.h"
#include "job.pb.h"
#include "member.json.h"
#include "member.pb.h"
#include "node.json.h"
#include "node.pb.h"
#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/wire.h"

static char *read_golden(const char *name, size_t *ret_len)
{
    char path[512], *buf;
    FILE *f;
    long n;

    (void)snprintf(path, sizeof(path), "%s/%s", TEST_GOLDEN_DIR, name);
    f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    n = ftell(f);
    ck_assert_int_gt(n, 0);
    rewind(f);
    buf = xmalloc((size_t)n + 1);
    ck_assert_uint_eq(fread(buf, 1, (size_t)n, f), (size_t)n);
    buf[n] = 0;
    (void)fclose(f);
    *ret_len = (size_t)n;
    return buf;
}

static int decode_job(const char *text, steppe_Job *job, struct errtext *e)
{
    memset(job, 0, sizeof(*job));
    return json_decode(&steppe_Job_json, text, strlen(text), job, e);
}

/* decode -> encode of a Job in the API view, only the members named in `text`. */
static void check_job_error(const char *text, const char *want)
{
    struct errtext e = {{0}};
    steppe_Job job;

    ck_assert_int_lt(decode_job(text, &job, &e), 0);
    ck_assert_str_eq(e.text, want);
    ck_assert_ptr_null(job.id); /* released */
}

/* What `job run -output` of 1.1.0 printed comes back byte by byte. */
START_TEST(test_golden_job_output)
{
    static const char *const names[] = {"jobs/1-minimal.json", "jobs/2-service.json",
                                        "jobs/2-service.hcl2.json", "jobs/3-everything.json"};
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;
    steppe_JobRegisterRequest req = {0};
    struct errtext e = {{0}};
    size_t len;
    _cleanup_(freep) char *text = read_golden(names[_i], &len);

    ck_assert_msg(json_decode(&steppe_JobRegisterRequest_json, text, len, &req, &e) == 0, "%s",
                  e.text);
    ck_assert_int_eq(json_encode(&steppe_JobRegisterRequest_json, &req,
                                 JSON_VIEW_API | JSON_PRETTY | JSON_ESCAPE_HTML, &out),
                     0);
    strbuf_addc(&out, '\n');
    ck_assert_str_eq(out.data, text);
    pb_release(steppe_JobRegisterRequest_fields, &req);
}
END_TEST

/* What servers answered comes back as the same value: compared in canonical form. */
static const struct {
    const char *file;
    const struct json_type *type;
    bool list;
} server_files[] = {
    {"jobs/1-minimal.server.json", &steppe_Job_json, false},
    {"jobs/2-service.server.json", &steppe_Job_json, false},
    {"jobs/3-everything.server.json", &steppe_Job_json, false},
    {"api/v1_evaluation_ID.json", &steppe_Evaluation_json, false},
    {"api/v1_evaluations.json", &steppe_EvalListResponse_json, true},
    {"api/v1_job_sleeper_summary.json", &steppe_JobSummary_json, false},
    {"api/v1_operator_raft_configuration.json", &steppe_RaftConfiguration_json, false},
    {"api/v1_status_leader.json", &steppe_StatusLeaderResponse_json, false},
    {"api/v1_status_peers.json", &steppe_StatusPeersResponse_json, false},
    {"api/v1_regions.json", &steppe_RegionListResponse_json, false},
};

START_TEST(test_golden_server_answers)
{
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT, got = STRBUF_INIT, want = STRBUF_INIT;
    const struct json_type *t = server_files[_i].type;
    _cleanup_(freep) void *msg = xcalloc(1, t->size);
    struct errtext e = {{0}};
    size_t len;
    _cleanup_(freep) char *text = read_golden(server_files[_i].file, &len);

    if (server_files[_i].list) { /* the HTTP body is the bare list */
        strbuf_addf(&out, "{\"Evaluations\":%s}", text);
        ck_assert_msg(json_decode(t, out.data, out.len, msg, &e) == 0, "%s", e.text);
        strbuf_reset(&out);
    } else {
        ck_assert_msg(json_decode(t, text, len, msg, &e) == 0, "%s", e.text);
    }
    if (server_files[_i].list) {
        _cleanup_(strbuf_fini) struct strbuf pb = STRBUF_INIT;

        ck_assert_int_eq(wire_encode(t->desc, msg, &pb), 0);
        ck_assert_int_eq(json_encode_list(&steppe_Evaluation_json, pb.data, pb.len, 0, &out), 0);
    } else {
        ck_assert_int_eq(json_encode(t, msg, JSON_VIEW_SERVER, &out), 0);
    }
    ck_assert_int_eq(json_raw_compact(out.data, out.len, 0, &got, &e), 0);
    ck_assert_int_eq(json_raw_compact(text, len, 0, &want, &e), 0);
    ck_assert_str_eq(got.data, want.data);
    json_release(t, msg);
}
END_TEST

/* Older servers' answers lack members and lists keep their order; they must at least be read. */
START_TEST(test_golden_older_shapes)
{
    static const struct {
        const char *file;
        const struct json_type *type;
    } files[] = {{"api/v1_node_ID.json", &steppe_Node_json},
                 {"api/v1_job_sleeper.json", &steppe_Job_json},
                 {"api/v1_job_sleeper_versions.json", &steppe_JobVersionsResponse_json},
                 {"jobs/1-minimal.v0.10.1.json", &steppe_JobRegisterRequest_json},
                 {"jobs/2-service.v0.10.1.json", &steppe_JobRegisterRequest_json}};
    const struct json_type *t = files[_i].type;
    _cleanup_(strbuf_fini) struct strbuf a = STRBUF_INIT, b = STRBUF_INIT, pb = STRBUF_INIT;
    _cleanup_(freep) void *msg = xcalloc(1, t->size);
    struct errtext e = {{0}};
    size_t len;
    _cleanup_(freep) char *text = read_golden(files[_i].file, &len);

    ck_assert_msg(json_decode(t, text, len, msg, &e) == 0, "%s", e.text);
    ck_assert_int_eq(json_encode(t, msg, JSON_VIEW_SERVER, &a), 0);
    ck_assert_int_eq(wire_encode(t->desc, msg, &pb), 0);
    json_release(t, msg);
    /* text -> struct -> protobuf -> text loses nothing */
    ck_assert_int_eq(json_encode_pb(t, pb.data, pb.len, JSON_VIEW_SERVER, &b), 0);
    ck_assert_str_eq(a.data, b.data);
}
END_TEST

START_TEST(test_node_times)
{
    steppe_Node node = {0};
    struct errtext e = {{0}};
    size_t len;
    _cleanup_(freep) char *text = read_golden("api/v1_node_ID.json", &len);

    ck_assert_msg(json_decode(&steppe_Node_json, text, len, &node, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(node.events_count, 1);
    ck_assert_int_eq(node.events[0].timestamp, INT64_C(1795367331000000000));
    ck_assert_int_gt(node.drivers_count, 5);
    ck_assert_str_eq(node.drivers[0].key, "docker"); /* sorted */
    ck_assert_int_eq(node.drivers[0].value.update_time, INT64_C(1795367331149170234));
    ck_assert_int_eq(node.node_resources.cpu.cpu_shares, 4890);
    json_release(&steppe_Node_json, &node);
}
END_TEST

START_TEST(test_decode_names_and_nulls)
{
    struct errtext e = {{0}};
    steppe_Job job;

    ck_assert_int_eq(
        decode_job("{ \"iD\" : \"a\", \"unknown\": {\"x\":[1,{\"y\":null}]}, "
                   "\"PRIORITY\": 7, \"Name\": null, \"Stop\": false, \"Region\": \"\"}",
                   &job, &e),
        0);
    ck_assert_str_eq(job.id, "a");
    ck_assert(job.has_priority && job.priority == 7);
    ck_assert_ptr_null(job.name);
    ck_assert(job.has_stop && !job.stop);
    ck_assert_str_eq(job.region, ""); /* optional: "" is not unset */
    ck_assert(!job.has_update);
    json_release(&steppe_Job_json, &job);

    /* the last of duplicates wins, a null takes back */
    ck_assert_int_eq(decode_job("{\"ID\":\"a\",\"ID\":\"b\",\"Priority\":1,\"Priority\":null,"
                                "\"Update\":{\"Canary\":1,\"HealthCheck\":\"x\"},"
                                "\"Update\":{\"Stagger\":5},"
                                "\"Datacenters\":[\"x\",\"y\"],\"Datacenters\":[\"z\"],"
                                "\"Meta\":{\"b\":\"1\",\"a\":\"2\",\"b\":\"3\"}}",
                                &job, &e),
                     0);
    ck_assert_str_eq(job.id, "b");
    ck_assert(!job.has_priority);
    ck_assert(job.has_update && !job.update.has_canary && job.update.stagger == 5);
    ck_assert_ptr_null(job.update.health_check);
    ck_assert_uint_eq(job.datacenters_count, 1);
    ck_assert_str_eq(job.datacenters[0], "z");
    ck_assert_uint_eq(job.meta_count, 2);
    ck_assert_str_eq(job.meta[0].key, "a");
    ck_assert_str_eq(job.meta[1].value, "3");
    json_release(&steppe_Job_json, &job);

    ck_assert_int_eq(decode_job(" null ", &job, &e), 0);
    ck_assert_ptr_null(job.id);
}
END_TEST

START_TEST(test_decode_strings)
{
    struct errtext e = {{0}};
    steppe_Job job;

    ck_assert_int_eq(decode_job("{\"ID\":\"\\u00e4\\\"\\\\\\/\\b\\f\\n\\r\\t \\ud83d\\ude00 "
                                "\\ud83d \\ude00x\",\"Name\":\"bad \xff\xc0\x80 end\","
                                "\"Meta\":{\"\":\"\"}}",
                                &job, &e),
                     0);
    ck_assert_str_eq(job.id, "\xc3\xa4\"\\/\b\f\n\r\t \xf0\x9f\x98\x80 \xef\xbf\xbd \xef\xbf\xbdx");
    ck_assert_str_eq(job.name, "bad \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd end");
    ck_assert_str_eq(job.meta[0].key, "");
    ck_assert_str_eq(job.meta[0].value, "");
    json_release(&steppe_Job_json, &job);
    check_job_error("{\"ID\":\"x\",\"Name\":\"a\\u0000b\"}",
                    "Name: a string must not contain the null character (offset 17)");
}
END_TEST

START_TEST(test_decode_numbers)
{
    struct errtext e = {{0}};
    steppe_Job job;

    ck_assert_int_eq(decode_job("{\"Version\":18446744073709551615,\"SubmitTime\":"
                                "-9223372036854775808,\"Priority\":-2147483648,"
                                "\"Affinities\":[{\"Weight\":-128},{\"Weight\":127}],"
                                "\"Spreads\":[{\"SpreadTarget\":[{\"Percent\":255}]}]}",
                                &job, &e),
                     0);
    ck_assert_uint_eq(job.version, UINT64_MAX);
    ck_assert_int_eq(job.submit_time, INT64_MIN);
    ck_assert_int_eq(job.priority, INT32_MIN);
    ck_assert_int_eq(job.affinities[0].weight, -128);
    ck_assert_uint_eq(job.spreads[0].spread_target[0].percent, 255);
    json_release(&steppe_Job_json, &job);
}
END_TEST

static const struct {
    const char *text;
    const char *error;
} bad_jobs[] = {
    {"{\"Priority\":\"high\"}",
     "json: cannot unmarshal string into Go struct field Job.Priority of "
     "type int (offset 12)"},
    {"{\"Priority\":1.5}",
     "json: cannot unmarshal number 1.5 into Go struct field Job.Priority of type int (offset 12)"},
    {"{\"Priority\":2147483648}", "json: cannot unmarshal number 2147483648 into Go struct field "
                                  "Job.Priority of type int (offset 12)"},
    {"{\"ID\":\"x\",\"TaskGroups\":[{\"Name\":\"g\",\"Count\":true}]}",
     "json: cannot unmarshal bool into Go struct field TaskGroup.TaskGroups.Count of type int "
     "(offset 44)"},
    {"{\"ID\":5}",
     "json: cannot unmarshal number into Go struct field Job.ID of type string (offset 6)"},
    {"{\"Version\":-1}",
     "json: cannot unmarshal number -1 into Go struct field Job.Version of type "
     "uint64 (offset 11)"},
    {"{\"Version\":18446744073709551616}",
     "json: cannot unmarshal number 18446744073709551616 into "
     "Go struct field Job.Version of type uint64 (offset 11)"},
    {"{\"Affinities\":[{\"Weight\":128}]}",
     "json: cannot unmarshal number 128 into Go struct field "
     "Affinity.Affinities.Weight of type int8 (offset 25)"},
    {"{\"Datacenters\":\"dc1\"}", "json: cannot unmarshal string into Go struct field "
                                  "Job.Datacenters of type []string (offset 15)"},
    {"{\"Datacenters\":[1]}", "json: cannot unmarshal number into Go struct field Job.Datacenters "
                              "of type string (offset 16)"},
    {"{\"Meta\":{\"a\":1}}",
     "json: cannot unmarshal number into Go struct field Job.Meta of type string (offset 13)"},
    {"{\"Meta\":[]}", "json: cannot unmarshal array into Go struct field Job.Meta of type "
                      "map[string]string (offset 8)"},
    {"{\"Update\":3}", "json: cannot unmarshal number into Go struct field Job.Update of type "
                       "api.UpdateStrategy (offset 10)"},
    {"{\"Stop\":0}",
     "json: cannot unmarshal number into Go struct field Job.Stop of type bool (offset 8)"},
    {"[]", "json: cannot unmarshal array into Go value of type api.Job (offset 0)"},
    {"{\"Payload\":\"a*==\"}", "Payload: illegal base64 data (offset 11)"},
    {"", "unexpected EOF"},
    {"{", "unexpected EOF"},
    {"{\"ID\"", "unexpected EOF"},
    {"{\"ID\":", "unexpected EOF"},
    {"{\"ID\":\"a", "unexpected EOF"},
    {"{\"ID\":\"a\\u12", "unexpected EOF"},
    {"{\"ID\":\"a\"", "unexpected EOF"},
    {"{\"ID\":nul", "unexpected EOF"},
    {"{\"Priority\":-", "unexpected EOF"},
    {"{\"Datacenters\":[\"a\",", "unexpected EOF"},
    {"{\"Other\":[1,{\"a\":tr", "unexpected EOF"},
    {"{\"ID\":\"a\"} x", "invalid character 'x' after top-level value (offset 11)"},
    {"{\"ID\":\"a\",}", "invalid character '}' looking for beginning of object key string (offset "
                        "10)"},
    {"{\"ID\" \"a\"}", "invalid character '\"' after object key (offset 6)"},
    {"{\"ID\":\"a\" \"b\"}", "invalid character '\"' after object key:value pair (offset 10)"},
    {"{\"Datacenters\":[\"a\" \"b\"]}", "invalid character '\"' after array element (offset 20)"},
    {"{\"Datacenters\":[\"a\",]}",
     "invalid character ']' looking for beginning of value (offset 20)"},
    {"{\"ID\":\"a\nb\"}", "invalid character '\\x0a' in string literal (offset 8)"},
    {"{\"ID\":\"\\x\"}", "invalid character 'x' in string escape code (offset 8)"},
    {"{\"ID\":\"\\u00g0\"}",
     "invalid character 'g' in \\u hexadecimal character escape (offset 11)"},
    {"{\"Priority\":01}", "invalid character '1' after object key:value pair (offset 13)"},
    {"{\"Priority\":+1}", "invalid character '+' looking for beginning of value (offset 12)"},
    {"{\"Priority\":1.x}", "invalid character 'x' after decimal point in numeric literal (offset "
                           "14)"},
    {"{\"Stop\":tru}", "invalid character '}' in literal true (expecting 'e') (offset 11)"},
};

START_TEST(test_decode_errors)
{
    check_job_error(bad_jobs[_i].text, bad_jobs[_i].error);
}
END_TEST

static void check_deep(const char *prefix, const char *open, size_t times, int want)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_INIT;
    struct errtext e = {{0}};
    steppe_Job job;
    size_t i;

    strbuf_adds(&text, prefix);
    for (i = 0; i < times; i++)
        strbuf_adds(&text, open);
    ck_assert_int_eq(decode_job(text.data, &job, &e), want);
}

START_TEST(test_decode_limits)
{
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_INIT;
    struct errtext e = {{0}};
    steppe_Job job;
    size_t i;

    check_deep("{\"unknown\":", "[", 70, -EMSGSIZE);
    check_deep("{\"unknown\":", "[", 40, -EBADMSG); /* only truncated */
    check_deep("{\"unknown\":", "{\"a\":", 200000, -EMSGSIZE);
    /* a list beyond nanopb's counter */
    strbuf_adds(&text, "{\"Datacenters\":[\"a\"");
    for (i = 0; i < JSON_LIST_MAX; i++)
        strbuf_adds(&text, ",\"a\"");
    strbuf_adds(&text, "]}");
    ck_assert_int_eq(decode_job(text.data, &job, &e), -EMSGSIZE);
    ck_assert_str_eq(e.text, "more than 65535 elements in one list (offset 262156)");
    /* few bytes that would take much memory */
    strbuf_reset(&text);
    strbuf_adds(&text, "{\"TaskGroups\":[{}");
    for (i = 0; i < 20000; i++)
        strbuf_adds(&text, ",{}");
    strbuf_adds(&text, "]}");
    ck_assert_int_eq(decode_job(text.data, &job, &e), -EMSGSIZE);
    ck_assert_ptr_nonnull(strstr(e.text, "too large an object"));
}
END_TEST

START_TEST(test_encode_text)
{
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;

    json_string_encode("<a&b>\"\\\n\r\t\x01 \xc3\xa4 \xe2\x80\xa8 \xff.", 21, 0, &out);
    ck_assert_str_eq(out.data, "\"<a&b>\\\"\\\\\\n\\r\\t\\u0001 \xc3\xa4 \\u2028 \\ufffd.\"");
    strbuf_reset(&out);
    json_string_encode("<a&b>", 5, JSON_ESCAPE_HTML, &out);
    ck_assert_str_eq(out.data, "\"\\u003ca\\u0026b\\u003e\"");
}
END_TEST

START_TEST(test_encode_bound)
{
    struct strbuf out = STRBUF_BOUND(64);
    steppe_Job job = {.id = (char *)"a"};

    ck_assert_int_eq(json_encode(&steppe_Job_json, &job, 0, &out), -EMSGSIZE);
    ck_assert(strbuf_failed(&out));
    strbuf_fini(&out);
}
END_TEST

START_TEST(test_encode_views)
{
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;
    steppe_Service service = {.id = (char *)"i", .name = (char *)"s", .namespace = (char *)"ns"};
    steppe_ScalingPolicy scaling = {.policy = (char *)"{\"a\":[1,{}],\"b\":\"x\"}"};
    steppe_Evaluation eval = {.id = (char *)"e", .wait_until = 1500000000};
    steppe_Member member = {.name = (char *)"n", .rtt_ms = 0.1};

    ck_assert_int_eq(json_encode(&steppe_Service_json, &service, JSON_VIEW_API, &out), 0);
    ck_assert_ptr_nonnull(strstr(out.data, "{\"Id\":\"i\",\"Name\":\"s\""));
    ck_assert_ptr_null(strstr(out.data, "Namespace"));
    strbuf_reset(&out);
    ck_assert_int_eq(json_encode(&steppe_Service_json, &service, JSON_VIEW_SERVER, &out), 0);
    ck_assert_ptr_nonnull(strstr(out.data, "{\"Name\":\"s\""));
    ck_assert_ptr_nonnull(strstr(out.data, "\"Namespace\":\"ns\"}"));
    strbuf_reset(&out);
    ck_assert_int_eq(json_encode(&steppe_ScalingPolicy_json, &scaling, JSON_PRETTY, &out), 0);
    ck_assert_str_eq(out.data,
                     "{\n    \"Min\": 0,\n    \"Max\": 0,\n    \"Policy\": {\n        "
                     "\"a\": [\n            1,\n            {}\n        ],\n        "
                     "\"b\": \"x\"\n    },\n    \"Enabled\": false,\n    \"Type\": \"\",\n"
                     "    \"ID\": \"\",\n    \"Target\": null,\n    \"CreateIndex\": 0,\n"
                     "    \"ModifyIndex\": 0\n}");
    strbuf_reset(&out);
    ck_assert_int_eq(json_encode(&steppe_Evaluation_json, &eval, 0, &out), 0);
    ck_assert_str_eq(out.data, "{\"ID\":\"e\",\"WaitUntil\":\"1970-01-01T00:00:01.5Z\"}");
    strbuf_reset(&out);
    ck_assert_int_eq(json_encode(&steppe_Member_json, &member, 0, &out), 0);
    ck_assert_ptr_nonnull(strstr(out.data, "\"RTTMs\":0.1}"));
}
END_TEST

START_TEST(test_bytes_round_trip)
{
    static const char *const texts[] = {"", "QQ==", "QUI=", "QUJD", "AAECAwT/"};
    _cleanup_(strbuf_fini) struct strbuf text = STRBUF_INIT, out = STRBUF_INIT;
    struct errtext e = {{0}};
    steppe_Job job;

    strbuf_addf(&text, "{\"Payload\":\"%s\"}", texts[_i]);
    ck_assert_int_eq(decode_job(text.data, &job, &e), 0);
    ck_assert_int_eq(json_encode(&steppe_Job_json, &job, 0, &out), 0);
    text.data[text.len - 1] = 0;
    ck_assert_ptr_nonnull(strstr(out.data, text.data + 1));
    json_release(&steppe_Job_json, &job);
}
END_TEST

START_TEST(test_list_streaming)
{
    /* two items, {"region":"a"} and {}, of Job */
    static const uint8_t body[] = {0x0a, 3, 0x0a, 1, 'a', 0x0a, 0};
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;

    ck_assert_int_eq(json_encode_list(&steppe_Job_json, NULL, 0, 0, &out), 0);
    ck_assert_str_eq(out.data, "[]");
    strbuf_reset(&out);
    ck_assert_int_eq(json_encode_list(&steppe_Job_json, body, sizeof(body), 0, &out), 0);
    ck_assert_int_eq(memcmp(out.data, "[{\"Region\":\"a\",", 15), 0);
    ck_assert_ptr_nonnull(strstr(out.data, "},{\"Region\":\"\","));
    strbuf_reset(&out);
    ck_assert_int_eq(json_encode_list(&steppe_Job_json, body, sizeof(body) - 3, 0, &out), -EBADMSG);
}
END_TEST

START_TEST(test_raw)
{
    static const struct {
        const char *text;
        const char *want; /* NULL: error */
    } t[] = {
        {" { \"b\" : [ 1 , -2.5e+3, true ] , \"a\" : { } } ", "{\"a\":{},\"b\":[1,-2.5e+3,true]}"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}"},
        {"{\"a\":1,\"a\":2}", "{\"a\":2}"},
        {"[{\"z\":{\"y\":1,\"x\":[]},\"\":null}]", "[{\"\":null,\"z\":{\"x\":[],\"y\":1}}]"},
        {"{\"ab\":1,\"a\":2}", "{\"a\":2,\"ab\":1}"},
        {"\"\\u0041\\u0000\\/\"", "\"A\\u0000/\""},
        {"0", "0"},
        {"null", "null"},
        {"", NULL},
        {"{\"a\"}", NULL},
        {"[1,]", NULL},
        {"1 2", NULL},
        {"00", NULL},
        {"-", NULL},
        {"nulL", NULL},
        {"{a:1}", NULL},
    };
    _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;
    struct errtext e;
    size_t i;

    for (i = 0; i < ARRAY_LEN(t); i++) {
        strbuf_reset(&out);
        e.text[0] = 0;
        if (t[i].want) {
            ck_assert_int_eq(json_raw_compact(t[i].text, strlen(t[i].text), 0, &out, &e), 0);
            ck_assert_str_eq(out.data, t[i].want);
            ck_assert_int_eq(json_raw_compact(t[i].text, strlen(t[i].text), 0, NULL, &e), 0);
        } else {
            ck_assert_int_eq(json_raw_compact(t[i].text, strlen(t[i].text), 0, &out, &e), -EBADMSG);
            ck_assert_str_ne(e.text, "");
        }
    }
    strbuf_reset(&out);
    ck_assert_int_eq(json_raw_compact("{\"a\":\"<\\\"{\",\"b\":[]}", 19,
                                      JSON_PRETTY | JSON_ESCAPE_HTML, &out, &e),
                     0);
    ck_assert_str_eq(out.data, "{\n    \"a\": \"\\u003c\\\"{\",\n    \"b\": []\n}");
}
END_TEST

START_TEST(test_time)
{
    static const struct {
        const char *text;
        int64_t ns;
        const char *back; /* NULL: the same text */
    } ok[] = {
        {"2026-11-22T17:08:51Z", INT64_C(1795367331000000000), NULL},
        {"2026-11-22T17:08:51.149170234Z", INT64_C(1795367331149170234), NULL},
        {"2026-11-22T19:08:51.5+02:00", INT64_C(1795367331500000000), "2026-11-22T17:08:51.5Z"},
        {"1969-12-31T23:59:59.9Z", -100000000, NULL},
        {"2024-02-29T00:00:00Z", INT64_C(1709164800000000000), NULL},
        {"0001-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"},
    };
    static const char *const bad[] = {"",
                                      "2026-11-22",
                                      "2026-11-22T17:08:51",
                                      "2026-13-22T17:08:51Z",
                                      "2023-02-29T00:00:00Z",
                                      "2026-11-22T24:08:51Z",
                                      "2026-11-22T17:08:51.Z",
                                      "2026-11-22T17:08:51Zx",
                                      "2026-11-22T17:08:51+2:00"};
    char buf[JSON_TIME_MAX];
    int64_t ns;
    size_t i;

    for (i = 0; i < ARRAY_LEN(ok); i++) {
        ck_assert_int_eq(json_time_parse(ok[i].text, strlen(ok[i].text), &ns), 0);
        ck_assert_int_eq(ns, ok[i].ns);
        ck_assert_str_eq(json_time_format(ns, buf), ok[i].back ? ok[i].back : ok[i].text);
    }
    for (i = 0; i < ARRAY_LEN(bad); i++)
        ck_assert_int_eq(json_time_parse(bad[i], strlen(bad[i]), &ns), -EINVAL);
    ck_assert_int_eq(json_time_parse("9999-01-01T00:00:00Z", 20, &ns), -ERANGE);
}
END_TEST

/* Every field has a table row whose place agrees with nanopb's own descriptor. */
START_TEST(test_tables_match_nanopb)
{
    const struct json_type *t = &steppe_Job_json;
    _cleanup_(strbuf_fini) struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;
    steppe_Job job, again;
    struct errtext e = {{0}};
    size_t len;
    _cleanup_(freep) char *text = read_golden("jobs/3-everything.server.json", &len);

    ck_assert_uint_eq(t->size, sizeof(steppe_Job));
    memset(&job, 0, sizeof(job));
    ck_assert_int_eq(json_decode(t, text, len, &job, &e), 0);
    ck_assert_int_eq(wire_encode(steppe_Job_fields, &job, &a), 0);
    ck_assert_int_eq(wire_decode(steppe_Job_fields, a.data, a.len, &again, sizeof(again), &e), 0);
    ck_assert_int_eq(wire_encode(steppe_Job_fields, &again, &b), 0);
    ck_assert_uint_eq(a.len, b.len);
    ck_assert_mem_eq(a.data, b.data, a.len);
    pb_release(steppe_Job_fields, &job); /* nanopb frees what we made */
    json_release(t, &again);             /* and we what it made */
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("json");

    tcase_add_loop_test(tc, test_golden_job_output, 0, 4);
    tcase_add_loop_test(tc, test_golden_server_answers, 0, ARRAY_LEN(server_files));
    tcase_add_loop_test(tc, test_golden_older_shapes, 0, 5);
    tcase_add_test(tc, test_node_times);
    tcase_add_test(tc, test_decode_names_and_nulls);
    tcase_add_test(tc, test_decode_strings);
    tcase_add_test(tc, test_decode_numbers);
    tcase_add_loop_test(tc, test_decode_errors, 0, ARRAY_LEN(bad_jobs));
    tcase_add_test(tc, test_decode_limits);
    tcase_add_test(tc, test_encode_text);
    tcase_add_test(tc, test_encode_bound);
    tcase_add_test(tc, test_encode_views);
    tcase_add_loop_test(tc, test_bytes_round_trip, 0, 5);
    tcase_add_test(tc, test_list_streaming);
    tcase_add_test(tc, test_raw);
    tcase_add_test(tc, test_time);
    tcase_add_test(tc, test_tables_match_nanopb);
    return check_run("json", tc, NULL);
}
