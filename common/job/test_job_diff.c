/* SPDX-License-Identifier: MPL-2.0 */
#include "job/job_diff.h"

#include <check.h>
#include <errno.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "job.json.h"
#include "job/job.h"
#include "job_diff.json.h"
#include "json/json.h"
#include "json/json_leaves.h"

/* A job from text with ' for ", canonical. */
static void make_job(const char *text, steppe_Job *job)
{
    _cleanup_(freep) char *json = xstrdup(text);
    struct errtext e = {{0}};

    for (char *p = json; *p; p++)
        if (*p == '\'')
            *p = '"';
    memset(job, 0, sizeof(*job));
    ck_assert_msg(json_decode(&steppe_Job_json, json, strlen(json), job, &e) == 0, "%s", e.text);
    job_canonicalize(job);
}

static void release(steppe_Job *job)
{
    pb_release(steppe_Job_fields, job);
}

/* The difference as JSON without its nulls, with ' for ". */
static char *diff_text(const steppe_Job *old, const steppe_Job *new, bool contextual)
{
    static const char *const gone[] = {"'Annotations':null", "'Fields':null", "'Objects':null",
                                       "'TaskGroups':null",  "'Tasks':null",  "'Updates':null"};
    struct strbuf out = STRBUF_INIT;
    steppe_JobDiff diff;
    char *text;

    ck_assert_int_eq(job_diff(old, new, contextual, &diff), 0);
    ck_assert_int_eq(json_encode(&steppe_JobDiff_json, &diff, 0, &out), 0);
    pb_release(steppe_JobDiff_fields, &diff);
    text = strbuf_take(&out);
    for (char *p = text; *p; p++)
        if (*p == '"')
            *p = '\'';
    for (size_t i = 0; i < ARRAY_LEN(gone); i++)
        for (char *p; (p = strstr(text, gone[i])) != NULL;) {
            size_t n = strlen(gone[i]);

            if (p[n] == ',')
                n++;
            else if (p[-1] == ',')
                p--, n++;
            memmove(p, p + n, strlen(p + n) + 1);
        }
    return text;
}

#define JOB(more, task)                                                                            \
    "{'ID':'a','Datacenters':['dc1']" more                                                         \
    ",'TaskGroups':[{'Name':'g','Tasks':[{'Name':'t','Driver':'raw_exec'" task "}]}]}"
#define SAME_GROUP "{'Type':'None','Name':'g','Tasks':[{'Type':'None','Name':'t'}]}"

static const struct {
    const char *old, *new, *diff;
    bool contextual;
} cases[] = {
    {JOB("", ""), JOB("", ""), "{'Type':'None','ID':'a','TaskGroups':[" SAME_GROUP "]}", false},
    {JOB("", ""), JOB("", ""), "{'Type':'None','ID':'a','TaskGroups':[" SAME_GROUP "]}", true},
    {JOB("", ""), JOB(",'Priority':60,'Meta':{'k':'v'}", ""),
     "{'Type':'Edited','ID':'a','Fields':[{'Type':'Added','Name':'Meta[k]','Old':'','New':'v'},"
     "{'Type':'Edited','Name':'Priority','Old':'50','New':'60'}],'TaskGroups':[" SAME_GROUP "]}",
     true},
    {JOB("", ",'Env':{'A':'1','B':'2'}"), JOB("", ",'Env':{'B':'3'},'Leader':true"),
     "{'Type':'Edited','ID':'a','TaskGroups':[{'Type':'Edited','Name':'g','Tasks':[{'Type':'Edited'"
     ","
     "'Name':'t','Fields':[{'Type':'Deleted','Name':'Env[A]','Old':'1','New':''},"
     "{'Type':'Edited','Name':'Env[B]','Old':'2','New':'3'},"
     "{'Type':'Edited','Name':'Leader','Old':'false','New':'true'}]}]}]}",
     true},
    {JOB("", ",'Config':{'args':['x'],'n':1000000}"), JOB("", ",'Config':{'args':['x','y'],'n':7}"),
     "{'Type':'Edited','ID':'a','TaskGroups':[{'Type':'Edited','Name':'g','Tasks':[{'Type':'Edited'"
     ","
     "'Name':'t','Objects':[{'Type':'Edited','Name':'Config','Fields':[{'Type':'None','Name':"
     "'args[0]','Old':'x','New':'x'},{'Type':'Added','Name':'args[1]','Old':'','New':'y'},"
     "{'Type':'Edited','Name':'n','Old':'1e+06','New':'7'}]}]}]}]}",
     true},
    {JOB("", ",'Config':{'args':['x'],'n':1}"), JOB("", ",'Config':{'args':['x','y'],'n':1}"),
     "{'Type':'Edited','ID':'a','TaskGroups':[{'Type':'Edited','Name':'g','Tasks':[{'Type':'Edited'"
     ","
     "'Name':'t','Objects':[{'Type':'Edited','Name':'Config','Fields':["
     "{'Type':'Added','Name':'args[1]','Old':'','New':'y'}]}]}]}]}",
     false},
    {JOB(",'Datacenters':['b','c']", ""), JOB(",'Datacenters':['c','a']", ""),
     "{'Type':'Edited','ID':'a','Objects':[{'Type':'Edited','Name':'Datacenters','Fields':["
     "{'Type':'Added','Name':'Datacenters','Old':'','New':'a'},"
     "{'Type':'Deleted','Name':'Datacenters','Old':'b','New':''}]}],'TaskGroups':[" SAME_GROUP "]}",
     false},
    /* a constraint is another one when anything of it changes */
    {JOB(",'Constraints':[{'LTarget':'x','RTarget':'1','Operand':'='}]", ""),
     JOB(",'Constraints':[{'LTarget':'x','RTarget':'2','Operand':'='}]", ""),
     "{'Type':'Edited','ID':'a','Objects':[{'Type':'Added','Name':'Constraint','Fields':["
     "{'Type':'Added','Name':'LTarget','Old':'','New':'x'},{'Type':'Added','Name':'Operand','Old':"
     "'','New':'='},{'Type':'Added','Name':'RTarget','Old':'','New':'2'}]},{'Type':'Deleted','Name'"
     ":"
     "'Constraint','Fields':[{'Type':'Deleted','Name':'LTarget','Old':'x','New':''},{'Type':"
     "'Deleted','Name':'Operand','Old':'=','New':''},{'Type':'Deleted','Name':'RTarget','Old':'1',"
     "'New':''}]}],'TaskGroups':[" SAME_GROUP "]}",
     true},
    /* nothing of a lifecycle is shown, but the task is another one */
    {JOB("", ""), JOB("", ",'Lifecycle':{'Hook':'prestart'}"),
     "{'Type':'Edited','ID':'a','TaskGroups':[{'Type':'Edited','Name':'g','Tasks':[{'Type':'Edited'"
     ","
     "'Name':'t'}]}]}",
     true},
};

START_TEST(test_cases)
{
    steppe_Job old, new;
    _cleanup_(freep) char *text = NULL;

    make_job(cases[_i].old, &old);
    make_job(cases[_i].new, &new);
    text = diff_text(&old, &new, cases[_i].contextual);
    ck_assert_str_eq(text, cases[_i].diff);
    release(&old);
    release(&new);
}
END_TEST

START_TEST(test_added_and_deleted)
{
    steppe_Job job;
    _cleanup_(freep) char *added = NULL, *deleted = NULL, *nothing = NULL;

    make_job(JOB("", ""), &job);
    added = diff_text(NULL, &job, false);
    deleted = diff_text(&job, NULL, false);
    nothing = diff_text(NULL, NULL, false);
    ck_assert(strncmp(added,
                      "{'Type':'Added','ID':'a','Fields':[{'Type':'Added','Name':'AllAtOnce'",
                      67) == 0);
    ck_assert(strstr(added, "'TaskGroups':[{'Type':'Added','Name':'g',") != NULL);
    ck_assert(strncmp(deleted, "{'Type':'Deleted','ID':'a',", 27) == 0);
    ck_assert_str_eq(nothing, "{'Type':'None','ID':''}");
    release(&job);
}
END_TEST

START_TEST(test_other_id)
{
    steppe_Job a, b;
    steppe_JobDiff diff;

    make_job(JOB("", ""), &a);
    make_job("{'ID':'b'}", &b);
    ck_assert_int_eq(job_diff(&a, &b, false, &diff), -EINVAL);
    ck_assert_ptr_null(diff.fields);
    release(&a);
    release(&b);
}
END_TEST

START_TEST(test_too_large)
{
    struct strbuf text = STRBUF_INIT;
    steppe_Job a, b;
    steppe_JobDiff diff;

    make_job(JOB("", ""), &a);
    make_job(JOB("", ""), &b);
    for (size_t i = 0; i < JOB_DIFF_MAX / 2; i++)
        strbuf_addc(&text, 'x');
    free(b.name);
    b.name = strbuf_take(&text);
    free(a.name);
    a.name = xasprintf("%sy", b.name);
    ck_assert_int_eq(job_diff(&a, &b, true, &diff), -EMSGSIZE);
    ck_assert_ptr_null(diff.fields);
    release(&a);
    release(&b);
}
END_TEST

/* ---- Any job: nothing differs from itself, and what was changed shows ---- */

struct change {
    unsigned left; /* changes this one when it gets to 0 */
    bool done;
};

/* Changes one number, truth or text of msg; returns how many it came by. */
static unsigned change_one(const struct json_type *t, void *msg, struct change *c);

static unsigned change_field(const struct json_field *f, char *slot, struct change *c)
{
    if (f->kind == JSON_MESSAGE)
        return change_one(f->sub, slot, c);
    if (f->kind != JSON_BOOL && f->kind != JSON_INT && f->kind != JSON_UINT &&
        f->kind != JSON_STRING)
        return 0;
    if (c->left-- != 0)
        return 1;
    c->done = true;
    if (f->kind == JSON_BOOL) {
        *(bool *)slot ^= true;
    } else if (f->kind == JSON_STRING) {
        char *s = xasprintf("%s!", *(char **)slot ? *(char **)slot : "");

        free(*(char **)slot);
        *(char **)slot = s;
    } else if (f->bits == 32) {
        *(int32_t *)slot ^= 1;
    } else {
        *(int64_t *)slot ^= 1;
    }
    return 1;
}

static bool is_server_field(const struct json_type *t, const struct json_field *f)
{
    static const char *const names[] = {
        "ID",          "Status",      "StatusDescription", "Version",    "Stable",
        "CreateIndex", "ModifyIndex", "JobModifyIndex",    "SubmitTime", "NomadTokenID",
        "Spreads",     "Update",      "Multiregion"};

    for (size_t i = 0; t == &steppe_Job_json && i < ARRAY_LEN(names); i++)
        if (strncmp(f->key + 1, names[i], strlen(names[i])) == 0 &&
            f->key[1 + strlen(names[i])] == '"')
            return true;
    return f->flags & JSON_F_API_ONLY;
}

static unsigned change_one(const struct json_type *t, void *msg, struct change *c)
{
    unsigned n = 0;

    for (size_t i = 0; i < t->fields_len && !c->done; i++) {
        const struct json_field *f = &t->fields[i];
        char *slot = (char *)msg + f->offset;

        if (is_server_field(t, f))
            continue;
        if (f->flags & (JSON_F_REPEATED | JSON_F_MAP)) {
            size_t count = *(pb_size_t *)((char *)msg + f->state);
            size_t size = f->kind == JSON_MESSAGE ? f->sub->size : sizeof(char *);

            for (size_t k = 0; k < count; k++)
                n += change_field(f, *(char **)slot + k * size, c);
        } else if (f->state == JSON_NO_STATE || *(bool *)((char *)msg + f->state)) {
            n += change_field(f, slot, c);
        }
    }
    return n;
}

/* The object behind "Job". */
static char *read_golden(const char *name)
{
    char path[512], *buf = xcalloc(1, 65536), *job;
    size_t n, start;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/jobs/%s", TEST_GOLDEN_DIR, name);
    f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    n = fread(buf, 1, 65535, f);
    (void)fclose(f);
    while (n > 0 && buf[n - 1] != '}')
        n--;
    for (start = 1; start < n && buf[start] != '{'; start++)
        ;
    ck_assert_uint_lt(start, n);
    job = xstrndup(buf + start, n - 1 - start);
    free(buf);
    return job;
}

START_TEST(test_every_field_shows)
{
    static const char *const names[] = {"1-minimal.json", "2-service.json", "3-everything.json"};
    _cleanup_(freep) char *text = read_golden(names[_i]);
    struct change count = {.left = UINT32_MAX};
    steppe_Job old, new;
    unsigned n;

    make_job(text, &old);
    n = change_one(&steppe_Job_json, &old, &count);
    ck_assert_uint_gt(n, 40);
    for (unsigned k = 0; k < n; k++) {
        struct change c = {.left = k};
        _cleanup_(freep) char *same = NULL, *diff = NULL;

        make_job(text, &new);
        same = diff_text(&old, &new, k % 2);
        ck_assert(strncmp(same, "{'Type':'None'", 14) == 0);
        (void)change_one(&steppe_Job_json, &new, &c);
        ck_assert(c.done);
        diff = diff_text(&old, &new, k % 2);
        ck_assert_msg(strncmp(diff, "{'Type':'Edited'", 16) == 0, "change %u: %s", k, diff);
        release(&new);
    }
    release(&old);
}
END_TEST

static void add_leaf(void *ctx, const char *path, const char *value)
{
    strbuf_addf(ctx, "%s=%s;", path, value);
}

START_TEST(test_leaves)
{
    static const struct {
        const char *json, *leaves;
        int r;
    } texts[] = {
        {"{}", "", 0},
        {"{\"a\":{\"b\":[1,{\"c\":\"x\\n\"}],\"d\":null},\"e\":[],\"f\":true}",
         "a[b][0]=1;a[b][1][c]=x\n;a[d]=nil;f=true;", 0},
        {"[100,999999,1000000,1234567,0.0001,0.00001,-3,1.5,1e21,-0.25]",
         "[0]=100;[1]=999999;[2]=1e+06;[3]=1.234567e+06;[4]=0.0001;[5]=1e-05;[6]=-3;[7]=1.5;[8]=1e+"
         "21;"
         "[9]=-0.25;",
         0},
        {"{\"a\":1,\"b\"", "a=1;", -EBADMSG},
        {"{\"a\" 1}", "", -EBADMSG},
        {"", "", -EBADMSG},
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        _cleanup_(strbuf_fini) struct strbuf out = STRBUF_INIT;

        ck_assert_int_eq(json_leaves(texts[i].json, add_leaf, &out), texts[i].r);
        ck_assert_str_eq(out.data ? out.data : "", texts[i].leaves);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("job_diff");

    tcase_add_loop_test(t, test_cases, 0, ARRAY_LEN(cases));
    tcase_add_test(t, test_added_and_deleted);
    tcase_add_test(t, test_other_id);
    tcase_add_test(t, test_too_large);
    tcase_add_loop_test(t, test_every_field_shows, 0, 3);
    tcase_add_test(t, test_leaves);
    return check_run("job_diff", t, NULL);
}
