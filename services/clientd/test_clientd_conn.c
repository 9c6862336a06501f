/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Calls to the node over real sockets: as its own gateway makes them, and as a server does over the
 * connection. The allocations are a folder of this test.
 */
#include <errno.h>
#include <fcntl.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/bus.h"
#include "check_run.h"
#include "clientd_conn.h"
#include "rpc/rpc_methods.h"
#include "wire/wire.h"

#define ALLOC   "aaaaaaaa-0000-0000-0000-000000000001"
#define NODE    "bbbbbbbb-0000-0000-0000-000000000001"
#define BIG     (1024u * 1024u + 17)
#define TEST_MS 30000

static uv_loop_t loop;
static struct bus *bus;
static struct conf conf;
static struct svc_ctx ctx;
static struct conn *conn;
static struct bus_client *gateway;
static char dir[64], root[96];
static uv_timer_t tick;

/* ---- the node's allocations ---- */

static steppe_TaskState state = {.started_at = 1};
static char signaled[32];

struct alloc *allocs_find(const struct allocs *a, const char *id)
{
    return strcmp(id, ALLOC) == 0 ? (struct alloc *)(void *)root : NULL;
}

const char *alloc_dir(const struct alloc *al)
{
    return root;
}

size_t alloc_task_count(const struct alloc *al)
{
    return 1;
}

const char *alloc_task_name(const struct alloc *al, size_t i)
{
    return "t";
}

int alloc_task_find(const struct alloc *al, const char *name)
{
    return strcmp(name, "t") == 0 ? 0 : -1;
}

const steppe_TaskState *alloc_task_state(const struct alloc *al, size_t i)
{
    return &state;
}

int allocs_restart(struct allocs *a, const char *id, const char *task, struct errtext *e)
{
    return err_set(e, ALLOC_E_NOT_RUNNING, "Task not running");
}

int allocs_signal(struct allocs *a, const char *id, const char *task, const char *sig,
                  struct errtext *e)
{
    (void)snprintf(signaled, sizeof(signaled), "%s", sig);
    return 0;
}

int alloc_task_usage(struct alloc *al, size_t i, struct alloc_usage *ret)
{
    ret->rss = 4096;
    ret->timestamp = 5;
    return 0;
}

int allocs_collect(struct allocs *a, const char *id, struct errtext *e)
{
    return 0;
}

void allocs_collect_all(struct allocs *a)
{
}

/* ---- the rig ---- */

static void on_tick(uv_timer_t *t)
{
}

static void append(const char *path, const char *text, size_t len)
{
    char full[256];
    int fd;

    (void)snprintf(full, sizeof(full), "%s/%s", root, path);
    fd = open(full, O_CREAT | O_WRONLY | O_APPEND, 0644);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    (void)close(fd);
}

static void put(const char *path, const char *text)
{
    append(path, text, strlen(text));
}

static void setup(void)
{
    static const char *const folders[] = {"", "/alloc", "/alloc/logs", "/t", "/t/local"};
    char endpoint[128], path[160];
    struct errtext e = {{0}};

    (void)snprintf(dir, sizeof(dir), "/tmp/steppe-conn-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(root, sizeof(root), "%s/alloc", dir);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", root, folders[i]);
        ck_assert_int_eq(mkdir(path, 0755), 0);
    }
    uv_loop_init(&loop);
    ck_assert_int_eq(bus_new(&loop, &bus), 0);
    memset(&conf, 0, sizeof(conf));
    conf.run_dir = dir;
    conf.region = (char *)"west";
    conf.client.alloc_dir = root;
    ctx = (struct svc_ctx){.loop = &loop, .conf = &conf, .bus = bus};
    uv_timer_init(&loop, &tick); /* so that waiting ends now and then */
    uv_timer_start(&tick, on_tick, 20, 20);
    ck_assert_int_eq(clientd_conn_new(&ctx, NODE, "secret", NULL, &conn, &e), 0);
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/clientd.sock", dir);
    ck_assert_int_eq(bus_client_new(bus, endpoint, &gateway, &e), 0);
}

static void teardown(void)
{
    char command[128];

    bus_client_free(gateway);
    clientd_conn_free(conn);
    bus_free(bus);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* no handle, no worker was left behind */
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0); /* tidy: a test's own folder */
}

/* What came of a call. */
struct got {
    struct strbuf data;
    uint64_t stream, cost;
    unsigned parts, beats, code;
    char error[1100], file[256], events[256];
    int64_t offset;
    bool over, manual; /* manual: the test gives credit */
};

static void control(uint64_t stream, uint64_t consumed, bool cancel)
{
    struct strbuf body = STRBUF_INIT;
    steppe_ClientControl m = {.stream = stream, .consumed = consumed, .cancel = cancel};
    steppe_Request env = {.method = RPC_CLIENT_CONTROL};

    (void)wire_encode(steppe_ClientControl_fields, &m, &body);
    ck_assert_int_eq(bus_client_send(gateway, &env, body.data, body.len), 0);
    strbuf_fini(&body);
}

static void take_part(struct got *g, const uint8_t *body, size_t len)
{
    steppe_ClientPart part;
    struct errtext e;

    ck_assert_int_eq(wire_decode(steppe_ClientPart_fields, body, len, &part, sizeof(part), &e), 0);
    if (part.stream) {
        g->stream = part.stream;
    } else {
        size_t n = part.data ? part.data->size : 0;

        ck_assert_uint_le(n, CPART_MAX);
        g->parts++;
        g->cost += n + CPART_COST;
        g->beats += !part.data && !part.file_event;
        if (n)
            strbuf_add(&g->data, part.data->bytes, n);
        if (part.file)
            (void)snprintf(g->file, sizeof(g->file), "%s", part.file);
        if (part.file_event)
            (void)snprintf(g->events + strlen(g->events), sizeof(g->events) - strlen(g->events),
                           "%s;", part.file_event);
        g->offset = part.offset;
    }
    pb_release(steppe_ClientPart_fields, &part);
}

static void on_part(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    struct got *g = user;

    if (err == -ECANCELED) /* the end of the test */
        return;
    ck_assert_int_eq(err, 0);
    if (rep->more) {
        take_part(g, body, len);
        if (!g->manual && g->stream)
            control(g->stream, g->cost, false);
        return;
    }
    g->over = true;
    g->code = rep->code;
    (void)snprintf(g->error, sizeof(g->error), "%s", rep->error);
}

static void call(struct got *g, steppe_ClientCall m)
{
    struct strbuf body = STRBUF_INIT;
    steppe_Request env = {.method = RPC_CLIENT_CALL, .timeout_ms = 4 * TEST_MS};

    if (!m.alloc_id)
        m.alloc_id = (char *)ALLOC;
    (void)wire_encode(steppe_ClientCall_fields, &m, &body);
    bus_client_call(gateway, &env, body.data, body.len, TEST_MS, on_part, g);
    strbuf_fini(&body);
}

#define RUN_UNTIL(cond)                                                                            \
    do {                                                                                           \
        int64_t end = clock_mono().ns + TEST_MS * NS_PER_MS;                                       \
        while (!(cond)) {                                                                          \
            ck_assert_msg(clock_mono().ns < end, "waited for: %s", #cond);                         \
            uv_run(&loop, UV_RUN_ONCE);                                                            \
        }                                                                                          \
    } while (0)

static const char *text_of(const struct got *g)
{
    return g->data.data ? g->data.data : "";
}

static char *big_file(void)
{
    char *bytes = xmalloc(BIG);

    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (char)(i * 7 + (i >> 8));
    append("t/local/big", bytes, BIG);
    return bytes;
}

#define OP(x) steppe_ClientCall_Op_##x
#define T(x)  ((char *)(x))

/* ---- the node's own gateway ---- */

START_TEST(test_slow_reader)
{
    char *bytes = big_file();
    struct got g = {.manual = true};

    call(&g, (steppe_ClientCall){.op = OP(FS_READ), .path = T("t/local/big")});
    RUN_UNTIL(g.cost + CPART_MAX + CPART_COST > CWINDOW);
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_uint_le(g.cost, CWINDOW); /* no credit, no more */
    ck_assert(!g.over);
    while (!g.over) {
        uint64_t before = g.cost;

        control(g.stream, g.cost, false);
        RUN_UNTIL(g.over || g.cost > before);
        ck_assert_uint_le(g.cost - before, CWINDOW);
    }
    ck_assert_uint_eq(g.code, 0);
    ck_assert_uint_eq(g.data.len, BIG);
    ck_assert_int_eq(memcmp(g.data.data, bytes, BIG), 0);
    strbuf_fini(&g.data);
    free(bytes);
}
END_TEST

START_TEST(test_offset_limit_and_resume)
{
    struct got g = {0}, h = {0}, beyond = {0};

    put("t/local/f", "0123456789");
    call(&g,
         (steppe_ClientCall){.op = OP(FS_READ), .path = T("/t/local/f"), .offset = 2, .limit = 5});
    RUN_UNTIL(g.over);
    ck_assert_str_eq(text_of(&g), "23456");
    call(&beyond, (steppe_ClientCall){.op = OP(FS_STREAM), .path = T("t/local/f"), .offset = 99});
    RUN_UNTIL(beyond.over);
    ck_assert_uint_eq(beyond.parts, 0); /* not truncated: it has never been longer */
    call(&h, (steppe_ClientCall){.op = OP(FS_STREAM),
                                 .path = T("t/local/f"),
                                 .origin = T("end"),
                                 .offset = 8,
                                 .resume_file = T("t/local/f"),
                                 .resume_offset = 7});
    RUN_UNTIL(h.over);
    ck_assert_str_eq(text_of(&h), "789");
    ck_assert_str_eq(h.file, "t/local/f");
    ck_assert_int_eq(h.offset, 10);
    strbuf_fini(&g.data);
    strbuf_fini(&h.data);
}
END_TEST

START_TEST(test_follow_and_cancel)
{
    struct got g = {0};
    char full[256];

    put("t/local/f", "one");
    call(&g, (steppe_ClientCall){.op = OP(FS_STREAM), .path = T("t/local/f"), .follow = true});
    RUN_UNTIL(strcmp(text_of(&g), "one") == 0);
    put("t/local/f", "two");
    RUN_UNTIL(strcmp(text_of(&g), "onetwo") == 0);
    RUN_UNTIL(g.beats > 0);
    (void)snprintf(full, sizeof(full), "%s/t/local/f", root);
    ck_assert_int_eq(truncate(full, 0), 0);
    RUN_UNTIL(strcmp(g.events, "file truncated;") == 0);
    put("t/local/f", "three");
    RUN_UNTIL(strcmp(text_of(&g), "onetwothree") == 0);
    ck_assert(!g.over);
    ck_assert_int_eq(unlink(full), 0);
    RUN_UNTIL(g.over);
    ck_assert_str_eq(g.events, "file truncated;file deleted;");
    strbuf_fini(&g.data);
    put("t/local/f", "x");
    memset(&g, 0, sizeof(g));
    call(&g, (steppe_ClientCall){.op = OP(FS_STREAM), .path = T("t/local/f"), .follow = true});
    RUN_UNTIL(g.data.len == 1);
    control(g.stream, g.cost, true); /* teardown checks that nothing of it is left */
    strbuf_fini(&g.data);
}
END_TEST

START_TEST(test_logs)
{
    struct got g = {0}, h = {0}, r = {0}, err = {0};
    char full[256];

    put("alloc/logs/t.stdout.9", "nine ");
    put("alloc/logs/t.stdout.10", "ten ");
    put("alloc/logs/t.stderr.0", "bad");
    call(&g, (steppe_ClientCall){.op = OP(FS_LOGS), .task = T("t"), .log_type = T("stdout")});
    RUN_UNTIL(g.over);
    ck_assert_str_eq(text_of(&g), "nine ten ");
    ck_assert_str_eq(g.file, "alloc/logs/t.stdout.10");
    call(&h, (steppe_ClientCall){.op = OP(FS_LOGS),
                                 .task = T("t"),
                                 .log_type = T("stdout"),
                                 .origin = T("end"),
                                 .offset = 6,
                                 .follow = true});
    RUN_UNTIL(strcmp(text_of(&h), "e ten ") == 0);
    put("alloc/logs/t.stdout.10", "more ");
    put("alloc/logs/t.stdout.11", "eleven");
    RUN_UNTIL(strcmp(text_of(&h), "e ten more eleven") == 0);
    (void)snprintf(full, sizeof(full), "%s/alloc/logs/t.stdout.9", root);
    ck_assert_int_eq(unlink(full), 0);
    call(&r, (steppe_ClientCall){.op = OP(FS_LOGS),
                                 .task = T("t"),
                                 .log_type = T("stdout"),
                                 .resume_file = T("alloc/logs/t.stdout.9"),
                                 .resume_offset = 3});
    RUN_UNTIL(r.over);
    ck_assert_str_eq(text_of(&r), "ten more eleven"); /* what was rotated away is skipped */
    call(&err, (steppe_ClientCall){.op = OP(FS_LOGS), .task = T("t"), .log_type = T("none")});
    RUN_UNTIL(err.over);
    ck_assert_uint_eq(err.code, 404);
    ck_assert_str_eq(err.error, "log entry for task \"t\" and log type \"none\" not found");
    strbuf_fini(&g.data);
    strbuf_fini(&h.data);
    strbuf_fini(&r.data);
}
END_TEST

START_TEST(test_errors)
{
    static const struct {
        steppe_ClientCall call;
        unsigned code;
        const char *text;
    } cases[] = {
        {{.op = OP(FS_LIST), .path = T("../..")}, 500, "Path escapes the alloc directory"},
        {{.op = OP(FS_STREAM), .path = T("t")}, 400, "file \"t\" is a directory"},
        {{.op = OP(FS_READ), .path = T("t"), .offset = -1},
         500,
         "can't seek to offset '-1': seek t: invalid argument"},
        {{.op = OP(FS_LOGS), .task = T("zz"), .log_type = T("stdout")},
         400,
         "unknown task name \"zz\""},
        {{.op = OP(ALLOC_RESTART), .task = T("t")}, 500, "Task not running"},
        {{.op = OP(FS_LIST), .alloc_id = T("other")}, 421, "not of this node"},
        {{.op = 99}, 400, "this node does not know request 99"},
        {{.op = OP(ALLOC_SIGNAL), .signal = T("SIGHUP")}, 0, ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct got g = {0};

        call(&g, cases[i].call);
        RUN_UNTIL(g.over);
        ck_assert_str_eq(g.error, cases[i].text);
        ck_assert_uint_eq(g.code, cases[i].code);
    }
    ck_assert_str_eq(signaled, "SIGHUP");
}
END_TEST

START_TEST(test_messages)
{
    struct got g = {0};
    steppe_AllocResourceUsage m;
    struct errtext e;

    call(&g, (steppe_ClientCall){.op = OP(ALLOC_STATS)});
    RUN_UNTIL(g.over);
    ck_assert_int_eq(
        wire_decode(steppe_AllocResourceUsage_fields, g.data.data, g.data.len, &m, sizeof(m), &e),
        0);
    ck_assert_uint_eq(m.resource_usage.memory_stats.rss, 4096);
    ck_assert_str_eq(m.tasks[0].key, "t");
    pb_release(steppe_AllocResourceUsage_fields, &m);
    strbuf_fini(&g.data);
}
END_TEST

/* ---- a server ---- */

static struct {
    struct bus_server *bus;
    struct bus_req *connection;
    unsigned connects, beats;
    uint64_t next_seq;
    struct got got;
} server;

static void order(const steppe_ClientOrder *m)
{
    struct strbuf body = STRBUF_INIT;
    steppe_Reply rep = {.more = true};

    (void)wire_encode(steppe_ClientOrder_fields, m, &body);
    ck_assert_int_eq(bus_req_reply(server.connection, &rep, body.data, body.len), 0);
    strbuf_fini(&body);
}

static void on_data(struct bus_req *req)
{
    steppe_ClientData m;
    struct errtext e;

    ck_assert_str_eq(req->env.server, "s1.west");
    ck_assert_int_eq(
        wire_decode(steppe_ClientData_fields, req->body, req->body_len, &m, sizeof(m), &e), 0);
    ck_assert_uint_eq(m.seq, server.next_seq++);
    if (m.part)
        take_part(&server.got, m.part->bytes, m.part->size);
    server.got.over = m.last;
    server.got.code = m.code;
    pb_release(steppe_ClientData_fields, &m);
    bus_req_drop(req);
}

static void serve(void *user, struct bus_req *req)
{
    steppe_ClientOrder hello = {.conn = 77, .server = T("s1.west")};

    switch (req->env.method) {
    case RPC_CLIENT_CONNECT:
        server.connects++;
        server.connection = req;
        order(&hello);
        break;
    case RPC_CLIENT_BEAT:
        server.beats++;
        (void)bus_req_reply(req, &(steppe_Reply){0}, NULL, 0);
        break;
    default:
        on_data(req);
    }
}

static void start_server(void)
{
    char endpoint[128];
    struct errtext e;

    memset(&server, 0, sizeof(server));
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/routerd.sock", dir);
    ck_assert_int_eq(bus_server_new(bus, endpoint, serve, NULL, &server.bus, &e), 0);
    RUN_UNTIL(server.beats > 0);
}

static void order_read(uint64_t stream, bool follow)
{
    steppe_ClientOrder m = {.stream = stream, .has_call = true};

    m.call.op = follow ? OP(FS_STREAM) : OP(FS_READ);
    m.call.alloc_id = T(ALLOC);
    m.call.path = T("t/local/big");
    m.call.follow = follow;
    order(&m);
}

START_TEST(test_over_the_connection)
{
    char *bytes = big_file();
    struct got *g = &server.got;

    start_server();
    order_read(5, false);
    RUN_UNTIL(g->cost + CPART_MAX + CPART_COST > CWINDOW);
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_uint_le(g->cost, CWINDOW);
    while (!g->over) {
        steppe_ClientOrder credit = {.stream = 5, .consumed = g->cost};
        uint64_t before = g->cost;

        order(&credit);
        RUN_UNTIL(g->over || g->cost > before);
    }
    ck_assert_uint_eq(g->data.len, BIG);
    ck_assert_int_eq(memcmp(g->data.data, bytes, BIG), 0);
    strbuf_fini(&g->data);
    bus_server_free(server.bus);
    free(bytes);
}
END_TEST

START_TEST(test_connection_lost_and_made_again)
{
    char *bytes = big_file();
    steppe_ClientOrder cancel = {.stream = 6, .cancel = true};

    start_server();
    order_read(6, true);
    RUN_UNTIL(server.got.cost > 0);
    order(&cancel);
    for (int i = 0; i < 20; i++)
        uv_run(&loop, UV_RUN_ONCE);
    strbuf_fini(&server.got.data);
    memset(&server.got, 0, sizeof(server.got));
    server.next_seq = 0;
    order_read(7, true);
    RUN_UNTIL(server.got.cost > 0);
    bus_req_error(server.connection, 500, true, "server is stopping");
    RUN_UNTIL(server.connects == 2 && server.beats >= 2);
    strbuf_fini(&server.got.data);
    memset(&server.got, 0, sizeof(server.got));
    server.next_seq = 0;
    order_read(8, false); /* the new one works */
    RUN_UNTIL(server.got.cost > 0);
    strbuf_fini(&server.got.data);
    bus_server_free(server.bus);
    free(bytes);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("conn");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_slow_reader);
    tcase_add_test(t, test_offset_limit_and_resume);
    tcase_add_test(t, test_follow_and_cancel);
    tcase_add_test(t, test_logs);
    tcase_add_test(t, test_errors);
    tcase_add_test(t, test_messages);
    tcase_add_test(t, test_over_the_connection);
    tcase_add_test(t, test_connection_lost_and_made_again);
    return check_run("clientd_conn", t, NULL);
}
