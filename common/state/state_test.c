/* SPDX-License-Identifier: MPL-2.0 */
/* Fixture of the tests of common/state; see state_test.h. A failure here ends the test program. */
#include "state/state_test.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "job.pb.h"
#include "node.pb.h"
#include "state/rows.h"

struct mono_ns test_cpu_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (struct mono_ns){ts.tv_sec * NS_PER_SEC + ts.tv_nsec};
}

double test_cpu_since(struct mono_ns from)
{
    return (double)(test_cpu_now().ns - from.ns) / (double)NS_PER_SEC;
}

void test_state_init(struct test_state *ts, enum test_kind kind)
{
    *ts = (struct test_state){.kind = kind, .now = TEST_NOW_S * NS_PER_SEC};
    if (kind == TEST_LMDB) {
        char path[] = "/tmp/steppe-state-XXXXXX";
        struct store_lmdb_options o = {.path = path, .boot_id = TEST_BOOT};
        struct errtext e;

        REQUIRE(mkdtemp(path));
        REQUIRE(store_lmdb_open(&o, &ts->store, NULL, &e) == 0);
        ts->path = xstrdup(path);
    } else {
        ts->store = store_mem_new();
    }
    ts->watches = watch_set_new(1000);
    REQUIRE(fsm_new(ts->store, ts->watches, &ts->fsm) == 0);
}

void test_state_fini(struct test_state *ts)
{
    fsm_free(ts->fsm);
    watch_set_free(ts->watches);
    store_free(ts->store);
    strbuf_fini(&ts->body);
    if (ts->path) {
        static const char *const names[] = {"data.mdb", "lock.mdb", "boot"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            char *file = xasprintf("%s/%s", ts->path, names[i]);

            unlink(file);
            free(file);
        }
        rmdir(ts->path);
        free(ts->path);
    }
}

unsigned test_apply(struct test_state *ts, enum command_type type, const void *body,
                    const struct bytes *blobs, size_t blobs_n)
{
    struct strbuf command = STRBUF_INIT;
    struct fsm_entry entry = {.index = ++ts->index, .term = 1, .kind = FSM_ENTRY_COMMAND};

    ts->now += NS_PER_SEC;
    REQUIRE(command_encode(&command, type, (struct wall_ns){ts->now}, ts->key, body, blobs,
                           blobs_n) == 0);
    entry.data = strbuf_bytes(&command);
    if (ts->record) {
        uint8_t le[4];

        le32_write(le, (uint32_t)command.len);
        strbuf_add(ts->record, le, sizeof(le));
        strbuf_add(ts->record, command.data, command.len);
    }
    REQUIRE(fsm_apply_batch(ts->fsm, &entry, 1, &ts->result) == 0);
    strbuf_reset(&ts->body);
    if (ts->result.code)
        strbuf_adds(&ts->body, ts->result.error);
    else
        strbuf_add(&ts->body, ts->result.body.data, ts->result.body.len);
    strbuf_fini(&command);
    return ts->result.code;
}

const char *test_uuid(unsigned n)
{
    static char ring[16][UUID_TEXT_LEN + 1];
    static unsigned at;
    char *buf = ring[at++ % ARRAY_LEN(ring)];

    snprintf(buf, sizeof(ring[0]), "00000000-0000-4000-8000-%012x", n);
    return buf;
}

static const char *test_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static void test_spec(const struct test_job *j, struct strbuf *out)
{
    const char *groups = test_or(j->groups, "g");
    steppe_TaskGroup tgs[16] = {0};
    char names[16][2] = {{0}};
    steppe_Job spec = steppe_Job_init_zero;

    for (size_t i = 0; j->reschedule && groups[i]; i++) {
        steppe_ReschedulePolicy *p = &tgs[i].reschedule_policy;

        names[i][0] = groups[i];
        tgs[i].name = names[i];
        tgs[i].has_reschedule_policy = true;
        p->has_attempts = p->has_interval = p->has_unlimited = true;
        p->attempts = MAX(j->reschedule, 0);
        p->interval = 3600 * NS_PER_SEC;
        p->unlimited = j->reschedule < 0;
        spec.task_groups_count++;
    }
    spec.task_groups = tgs;
    spec.id = spec.name = (char *)j->id;
    spec.namespace = (char *)test_or(j->ns, "default");
    spec.type = (char *)test_or(j->type, "service");
    spec.region = (char *)test_or(j->extra, "global");
    REQUIRE(row_encode(steppe_Job_fields, &spec, out) == 0);
    if (out->len + 4 < j->spec_len) {
        size_t pad = j->spec_len - out->len - 4;
        char *text = xmalloc(pad + 1);

        memset(text, 'x', pad);
        text[pad] = 0;
        row_text(out, steppe_Job_consul_token_tag, text);
        free(text);
    }
}

static void test_stub(const struct test_job *j, struct strbuf *out)
{
    steppe_JobListStub stub = steppe_JobListStub_init_zero;
    char *dcs[] = {(char *)"dc1"};

    stub.id = stub.name = (char *)j->id;
    stub.namespace = (char *)test_or(j->ns, "default");
    stub.type = (char *)test_or(j->type, "service");
    stub.priority = 50;
    stub.datacenters = dcs;
    stub.datacenters_count = 1;
    stub.periodic = j->periodic;
    stub.parameterized_job = j->parameterized;
    REQUIRE(row_encode(steppe_JobListStub_fields, &stub, out) == 0);
}

static void test_summary(const struct test_job *j, struct strbuf *out)
{
    steppe_JobSummary_SummaryEntry entries[16] = {0};
    char names[16][2] = {{0}};
    const char *groups = test_or(j->groups, "g");
    steppe_JobSummary s = steppe_JobSummary_init_zero;

    s.job_id = (char *)j->id;
    s.namespace = (char *)test_or(j->ns, "default");
    s.has_children = true;
    s.summary = entries;
    for (; groups[s.summary_count]; s.summary_count++) {
        names[s.summary_count][0] = groups[s.summary_count];
        entries[s.summary_count].key = names[s.summary_count];
        entries[s.summary_count].has_value = true;
    }
    REQUIRE(row_encode(steppe_JobSummary_fields, &s, out) == 0);
}

static void test_job_body(const struct test_job *j, steppe_JobRegisterCommand *m,
                          struct strbuf blobs[3])
{
    *m = (steppe_JobRegisterCommand)steppe_JobRegisterCommand_init_zero;
    snprintf(m->namespace, sizeof(m->namespace), "%s", test_or(j->ns, "default"));
    snprintf(m->job_id, sizeof(m->job_id), "%s", j->id);
    snprintf(m->type, sizeof(m->type), "%s", test_or(j->type, "service"));
    snprintf(m->eval_id, sizeof(m->eval_id), "%s", test_or(j->eval_id, ""));
    m->priority = 50;
    m->periodic = j->periodic;
    m->parameterized = j->parameterized;
    m->stop = j->stop;
    m->enforce_index = j->enforce_index;
    m->job_modify_index = j->job_modify_index;
    test_spec(j, &blobs[0]);
    test_stub(j, &blobs[1]);
    test_summary(j, &blobs[2]);
}

unsigned test_job_register(struct test_state *ts, const struct test_job *j)
{
    steppe_JobRegisterCommand m;
    struct strbuf text[3] = {STRBUF_INIT, STRBUF_INIT, STRBUF_INIT};
    struct bytes blobs[3];
    unsigned code;

    test_job_body(j, &m, text);
    for (int i = 0; i < 3; i++)
        blobs[i] = strbuf_bytes(&text[i]);
    code = test_apply(ts, COMMAND_JOB_REGISTER, &m, blobs, 3);
    for (int i = 0; i < 3; i++)
        strbuf_fini(&text[i]);
    return code;
}

void test_job_command(struct strbuf *out, const struct test_job *j, int64_t now)
{
    steppe_JobRegisterCommand m;
    struct strbuf text[3] = {STRBUF_INIT, STRBUF_INIT, STRBUF_INIT};
    struct bytes blobs[3];

    test_job_body(j, &m, text);
    for (int i = 0; i < 3; i++)
        blobs[i] = strbuf_bytes(&text[i]);
    REQUIRE(command_encode(out, COMMAND_JOB_REGISTER, (struct wall_ns){now}, NULL, &m, blobs, 3) ==
            0);
    for (int i = 0; i < 3; i++)
        strbuf_fini(&text[i]);
}

unsigned test_job_deregister(struct test_state *ts, const char *ns, const char *id, bool purge,
                             const char *eval_id)
{
    steppe_JobDeregisterCommand m = steppe_JobDeregisterCommand_init_zero;

    snprintf(m.namespace, sizeof(m.namespace), "%s", ns);
    snprintf(m.job_id, sizeof(m.job_id), "%s", id);
    snprintf(m.eval_id, sizeof(m.eval_id), "%s", eval_id);
    m.purge = purge;
    return test_apply(ts, COMMAND_JOB_DEREGISTER, &m, NULL, 0);
}

unsigned test_node_register(struct test_state *ts, const struct test_node *n)
{
    steppe_NodeRegisterCommand m = steppe_NodeRegisterCommand_init_zero;
    steppe_Node node = steppe_Node_init_zero;
    steppe_NodeListStub stub = steppe_NodeListStub_init_zero;
    struct strbuf text[2] = {STRBUF_INIT, STRBUF_INIT};
    struct bytes blobs[2];
    unsigned code;

    snprintf(m.node_id, sizeof(m.node_id), "%s", n->id);
    snprintf(m.secret_id, sizeof(m.secret_id), "%s", test_or(n->secret, "s3cret"));
    snprintf(m.status, sizeof(m.status), "%s", test_or(n->status, ""));
    m.eval_seed = n->eval_seed;
    node.id = stub.id = (char *)n->id;
    node.name = stub.name = (char *)test_or(n->name, "node");
    node.datacenter = stub.datacenter = (char *)"dc1";
    stub.has_node_resources = stub.node_resources.has_memory = true;
    stub.node_resources.memory.memory_mb = 512;
    stub.has_reserved_resources = true;
    REQUIRE(row_encode(steppe_Node_fields, &node, &text[0]) == 0);
    REQUIRE(row_encode(steppe_NodeListStub_fields, &stub, &text[1]) == 0);
    blobs[0] = strbuf_bytes(&text[0]);
    blobs[1] = strbuf_bytes(&text[1]);
    code = test_apply(ts, COMMAND_NODE_REGISTER, &m, blobs, 2);
    strbuf_fini(&text[0]);
    strbuf_fini(&text[1]);
    return code;
}

unsigned test_node_status(struct test_state *ts, const char *id, const char *status,
                          const char *event)
{
    steppe_NodeStatusCommand m = steppe_NodeStatusCommand_init_zero;

    snprintf(m.node_id, sizeof(m.node_id), "%s", id);
    snprintf(m.status, sizeof(m.status), "%s", status);
    snprintf(m.event, sizeof(m.event), "%s", event);
    return test_apply(ts, COMMAND_NODE_STATUS, &m, NULL, 0);
}

unsigned test_eval_status(struct test_state *ts, const char *id, const char *job_id,
                          const char *status, const char *group, int queued)
{
    steppe_EvalUpdateCommand m = steppe_EvalUpdateCommand_init_zero;
    steppe_Evaluation_QueuedAllocationsEntry entry = {(char *)group, queued};
    steppe_Evaluation e = steppe_Evaluation_init_zero;
    struct strbuf text = STRBUF_INIT;
    struct bytes blob;
    unsigned code;

    e.id = (char *)id;
    e.namespace = (char *)"default";
    e.job_id = (char *)job_id;
    e.type = (char *)"service";
    e.status = (char *)status;
    if (group) {
        e.queued_allocations = &entry;
        e.queued_allocations_count = 1;
    }
    REQUIRE(row_encode(steppe_Evaluation_fields, &e, &text) == 0);
    blob = strbuf_bytes(&text);
    code = test_apply(ts, COMMAND_EVAL_UPDATE, &m, &blob, 1);
    strbuf_fini(&text);
    return code;
}

void test_dump(struct store *store, struct strbuf *out)
{
    struct state_snapshot *sn = NULL;
    struct bytes block;

    REQUIRE(state_snapshot_begin(store, &sn, NULL) == 0);
    for (;;) {
        REQUIRE(state_snapshot_next(sn, &block) == 0);
        if (block.len == 0)
            break;
        REQUIRE(block.len <= SNAPSHOT_BLOCK_MAX);
        strbuf_add(out, block.data, block.len);
    }
    state_snapshot_end(sn);
}
