/* SPDX-License-Identifier: MPL-2.0 */
/* The bus over real sockets in a folder of its own: answers, errors, deadlines, threads. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bus/bus_int.h"
#include "check_run.h"

static char dir[64], endpoint[96];
static uv_loop_t loop;
static struct bus *bus;

static struct {
    int calls, err, parts;
    unsigned code;
    char body[64];
} got;

static struct bus_req *kept; /* a request that the handler did not answer */
static int served;

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/steppe-bus-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/s", dir);
    memset(&got, 0, sizeof(got));
    kept = NULL;
    served = 0;
    uv_loop_init(&loop);
    ck_assert_int_eq(bus_new(&loop, &bus), 0);
}

static void teardown(void)
{
    char path[96];

    bus_free(bus);
    while (uv_run(&loop, UV_RUN_DEFAULT)) /* a callback may have said stop */
        ;
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* no handle was left open */
    (void)snprintf(path, sizeof(path), "%s/s", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

/* Method 1 echoes, 2 refuses, 3 answers in three parts, 4 never answers. */
static void serve(void *user, struct bus_req *req)
{
    steppe_Reply rep = {.index = req->env.min_index + 1};

    served++;
    switch (req->env.method) {
    case 1:
        bus_req_reply(req, &rep, req->body, req->body_len);
        break;
    case 2:
        bus_req_error(req, 404, false, "nothing at %s", req->env.prefix);
        break;
    case 3:
        rep.more = true;
        bus_req_reply(req, &rep, "a", 1);
        bus_req_reply(req, &rep, "b", 1);
        rep.more = false;
        bus_req_reply(req, &rep, "c", 1);
        break;
    default:
        uv_stop(&loop);
        kept = req;
    }
}

static void on_reply(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    uv_stop(&loop); /* we are called before the loop sleeps */
    got.err = err;
    got.calls += !rep || !rep->more;
    got.parts++;
    if (rep) {
        got.code = rep->code;
        (void)snprintf(got.body, sizeof(got.body), "%.*s", (int)len, (const char *)body);
    }
}

static void run_until_answered(int calls)
{
    while (got.calls < calls)
        uv_run(&loop, UV_RUN_ONCE);
}

static struct bus_server *new_server(void)
{
    struct bus_server *s = NULL;
    struct errtext e;

    ck_assert_int_eq(bus_server_new(bus, endpoint, serve, NULL, &s, &e), 0);
    return s;
}

static struct bus_client *new_client(void)
{
    struct bus_client *c = NULL;
    struct errtext e;

    ck_assert_int_eq(bus_client_new(bus, endpoint, &c, &e), 0);
    return c;
}

START_TEST(test_call)
{
    struct bus_client *c = new_client(); /* before there is a server: it waits for one */
    steppe_Request env = {.method = 1};
    struct bus_server *s;

    bus_client_call(c, &env, "hello", 5, 30000, on_reply, NULL);
    ck_assert_int_eq(got.calls, 0);
    s = new_server();
    run_until_answered(1);
    ck_assert_int_eq(got.err, 0);
    ck_assert_str_eq(got.body, "hello");
    env.method = 2;
    (void)snprintf(env.prefix, sizeof(env.prefix), "x");
    bus_client_call(c, &env, NULL, 0, 0, on_reply, NULL);
    run_until_answered(2);
    ck_assert_uint_eq(got.code, 404);
    got.parts = 0;
    env.method = 3;
    bus_client_call(c, &env, NULL, 0, 0, on_reply, NULL);
    run_until_answered(3);
    ck_assert_int_eq(got.parts, 3);
    ck_assert_str_eq(got.body, "c");
    bus_client_free(c);
    bus_server_free(s);
}
END_TEST

START_TEST(test_refused_and_timeout)
{
    struct bus_client *c = new_client();
    steppe_Request env = {.method = 4, .timeout_ms = 30};
    struct bus_server *s;
    int calls = 1;
    uint64_t id;

    bus_client_call(c, &env, NULL, 0, 0, on_reply, NULL);
    ck_assert_int_eq(got.calls, 0); /* never from within the call */
    run_until_answered(1);
    ck_assert_int_eq(got.err, -ECONNREFUSED);
    s = new_server();
    while (!kept) { /* on a busy machine its time may be over before it gets there */
        calls++;
        bus_client_call(c, &env, NULL, 0, 30000, on_reply, NULL);
        run_until_answered(calls);
        ck_assert_int_eq(got.err, -ETIMEDOUT);
    }
    bus_req_error(kept, 500, false, "too late"); /* goes nowhere */
    env.method = 1;
    env.timeout_ms = 30000;
    id = bus_client_call(c, &env, "y", 1, 30000, on_reply, NULL);
    bus_client_cancel(c, id);
    bus_client_call(c, &env, "z", 1, 30000, on_reply, NULL);
    run_until_answered(calls + 1);
    ck_assert_int_eq(got.err, 0);
    ck_assert_str_eq(got.body, "z");
    bus_client_free(c);
    bus_server_free(s);
}
END_TEST

START_TEST(test_server_dies)
{
    struct bus_client *c = new_client();
    steppe_Request env = {.method = 4, .timeout_ms = 60000};
    struct bus_server *s = new_server();

    bus_client_call(c, &env, NULL, 0, 30000, on_reply, NULL);
    while (!kept)
        uv_run(&loop, UV_RUN_ONCE);
    bus_server_free(s); /* the answer will never come: told at once, not after a minute */
    run_until_answered(1);
    ck_assert_int_eq(got.err, -ECONNRESET);
    env.method = 1;
    bus_client_call(c, &env, "again", 5, 30000, on_reply, NULL);
    s = new_server();
    run_until_answered(2);
    ck_assert_int_eq(got.err, 0);
    ck_assert_str_eq(got.body, "again");
    bus_client_free(c);
    bus_server_free(s);
}
END_TEST

START_TEST(test_free_tells_callers)
{
    struct bus_client *c = new_client();
    steppe_Request env = {.method = 1};

    bus_client_call(c, &env, NULL, 0, 30000, on_reply, NULL);
    bus_client_call(c, &env, NULL, 0, 0, on_reply, NULL);
    bus_client_free(c);
    ck_assert_int_eq(got.calls, 2);
    ck_assert_int_eq(got.err, -ECANCELED);
}
END_TEST

enum { THREADS = 8, CALLS = 50 };
static atomic_int good, ended;

static void *caller(void *arg)
{
    struct bus_gate *g = arg;

    for (int i = 0; i < CALLS; i++) {
        steppe_Request env = {.method = 1, .timeout_ms = 20000};
        steppe_Reply rep;
        uint8_t *body;
        char text[32];
        size_t len;
        int n = snprintf(text, sizeof(text), "%p %d", (void *)&env, i);

        if (bus_gate_call(g, &env, text, (size_t)n, 20000, BUS_SHARE_NOT, &rep, &body, &len) == 0 &&
            len == (size_t)n && memcmp(body, text, len) == 0)
            good++;
        free(body);
    }
    ended++;
    return NULL;
}

START_TEST(test_gate)
{
    struct bus_server *s = new_server();
    struct bus_gate *g = bus_gate_new(bus, new_client(), 600000);
    pthread_t threads[THREADS];
    steppe_Request env = {.method = 1};
    steppe_Reply rep;
    uint8_t *body;
    size_t len;

    good = ended = 0;
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, caller, g), 0);
    while (ended < THREADS)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(good, THREADS * CALLS);
    ck_assert_int_eq(served, THREADS * CALLS);
    bus_gate_close(g);
    ck_assert_int_eq(bus_gate_call(g, &env, NULL, 0, 0, BUS_SHARE_NOT, &rep, &body, &len),
                     -ECANCELED);
    bus_gate_free(g);
    bus_server_free(s);
}
END_TEST

struct sharer {
    struct bus_gate *gate;
    enum bus_share share;
    char text[8];
};

/* Method 4: the server answers when the test says so. */
static void *sharer(void *arg)
{
    const struct sharer *a = arg;
    steppe_Request env;
    steppe_Reply rep;
    uint8_t *body;
    size_t len;

    memset(&env, 0, sizeof(env));
    env.method = 4;
    env.timeout_ms = 60000;
    if (bus_gate_call(a->gate, &env, a->text, 4, 20000, a->share, &rep, &body, &len) == 0 &&
        rep.index == 7 && len == 4 && memcmp(body, a->text, 4) == 0)
        good++;
    free(body);
    ended++;
    return NULL;
}

static void settle(struct bus_gate *g, unsigned callers, int requests)
{
    while (!bus_gate_settled(g, callers) || served < requests)
        uv_run(&loop, UV_RUN_NOWAIT);
}

/* Equal stale reads share a request on its way; another body, and a consistent read, do not. */
START_TEST(test_gate_shares)
{
    struct bus_server *s = new_server();
    struct bus_gate *g = bus_gate_new(bus, new_client(), 600000);
    struct sharer same = {g, BUS_SHARE_ANY, "same"}, other = {g, BUS_SHARE_ANY, "diff"};
    struct sharer fresh = {g, BUS_SHARE_NEXT, "same"};
    struct bus_req *reqs[3];
    steppe_Reply rep = {.index = 7};
    pthread_t threads[5];

    good = ended = 0;
    pthread_create(&threads[0], NULL, sharer, &same);
    settle(g, 1, 1);
    reqs[0] = kept;
    pthread_create(&threads[1], NULL, sharer, &same);
    pthread_create(&threads[2], NULL, sharer, &same);
    settle(g, 3, 1);
    pthread_create(&threads[3], NULL, sharer, &other);
    settle(g, 4, 2);
    reqs[1] = kept;
    pthread_create(&threads[4], NULL, sharer, &fresh);
    settle(g, 5, 3);
    reqs[2] = kept;
    for (int i = 0; i < 3; i++)
        bus_req_reply(reqs[i], &rep, reqs[i]->body, reqs[i]->body_len);
    while (ended < 5)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(good, 5);
    ck_assert_int_eq(served, 3);
    bus_gate_free(g);
    bus_server_free(s);
}
END_TEST

/* Reads a stream to its end into text; returns what ended it: 1 the last part, or the error. */
static int read_stream(struct bus_stream *s, char *text, size_t cap)
{
    struct pollfd pfd = {.fd = bus_stream_fd(s), .events = POLLIN};
    steppe_Reply rep;
    uint8_t *body;
    size_t len, n = 0;
    int r;

    for (;;) {
        r = bus_stream_next(s, &rep, &body, &len);
        if (r == 0) {
            (void)poll(&pfd, 1, 20000);
            continue;
        }
        if (r < 0)
            break;
        n += (size_t)snprintf(text + n, cap - n, "%.*s", (int)len, body ? (char *)body : "");
        free(body);
        if (!rep.more)
            break;
    }
    return r;
}

static void *streamer(void *arg)
{
    struct bus_gate *g = arg;

    for (int i = 0; i < CALLS; i++) {
        steppe_Request env = {.method = 3, .timeout_ms = 20000};
        struct bus_stream *s = bus_stream_open(g, &env, "x", 1, 20000);
        char text[16] = "";

        if (i % 3 == 2) /* given up early, at any moment of its life */
            good++;
        else if (read_stream(s, text, sizeof(text)) == 1 && strcmp(text, "abc") == 0)
            good++;
        bus_stream_free(s);
    }
    ended++;
    return NULL;
}

START_TEST(test_streams)
{
    struct bus_server *s = new_server();
    struct bus_gate *g = bus_gate_new(bus, new_client(), 0);
    pthread_t threads[THREADS];

    good = ended = 0;
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, streamer, g), 0);
    while (ended < THREADS)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(good, THREADS * CALLS);
    bus_gate_free(g);
    bus_server_free(s);
}
END_TEST

static atomic_int stream_result;

static void *lone_streamer(void *arg)
{
    steppe_Request env = {.method = 4, .timeout_ms = 20000};
    struct bus_stream *s = bus_stream_open(arg, &env, NULL, 0, 20000);
    char text[16] = "";

    stream_result = read_stream(s, text, sizeof(text));
    bus_stream_free(s);
    return NULL;
}

/* A thread waits in a stream while the gate closes: it is told, and the gate waits for it. */
START_TEST(test_stream_of_a_closing_gate)
{
    struct bus_server *s = new_server();
    struct bus_gate *g = bus_gate_new(bus, new_client(), 0);
    steppe_Request env = {.method = 1};
    struct bus_stream *late;
    char text[16] = "";
    pthread_t thread;

    stream_result = 0;
    ck_assert_int_eq(pthread_create(&thread, NULL, lone_streamer, g), 0);
    while (!kept)
        uv_run(&loop, UV_RUN_NOWAIT);
    bus_gate_close(g);
    ck_assert_int_eq(stream_result, -ECANCELED);
    pthread_join(thread, NULL);
    late = bus_stream_open(g, &env, NULL, 0, 0);
    ck_assert_int_eq(read_stream(late, text, sizeof(text)), -ECANCELED);
    bus_stream_free(late);
    bus_gate_send(g, &env, NULL, 0);
    bus_gate_free(g);
    bus_server_free(s);
}
END_TEST

/* Parts without data have a bound, too. */
START_TEST(test_stream_that_nobody_reads)
{
    struct bus_server *s = new_server();
    struct bus_gate *g = bus_gate_new(bus, new_client(), 0);
    steppe_Request env = {.method = 4, .timeout_ms = 60000};
    struct bus_stream *st = bus_stream_open(g, &env, NULL, 0, 20000);
    steppe_Reply rep = {.more = true};
    uint8_t *body;
    size_t len, n = 0;
    int r;

    while (!kept)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < 10000; i++) {
        while (bus_req_reply(kept, &rep, NULL, 0) != 0)
            uv_run(&loop, UV_RUN_NOWAIT);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    while ((r = bus_stream_next(st, &rep, &body, &len)) == 1)
        n++;
    ck_assert_int_eq(r, -ENOBUFS);
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_le(n, BUS_STREAM_QUEUE_MAX / sizeof(rep) + 1);
    bus_stream_free(st);
    bus_gate_free(g);
    bus_req_drop(kept);
    bus_server_free(s);
}
END_TEST

/* Who answers in parts hears that the asker is gone. */
START_TEST(test_answering_a_peer_that_is_gone)
{
    struct bus_server *s = new_server();
    struct bus_client *c = new_client();
    steppe_Request env = {.method = 4, .timeout_ms = 20000};
    steppe_Reply rep = {.more = true};

    bus_client_call(c, &env, NULL, 0, 30000, on_reply, NULL);
    while (!kept)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_int_eq(bus_req_reply(kept, &rep, "a", 1), 0);
    bus_client_free(c);
    while (bus_req_reply(kept, &rep, "a", 1) == 0) /* until ZeroMQ knows */
        uv_run(&loop, UV_RUN_NOWAIT);
    ck_assert_int_eq(bus_req_reply(kept, &rep, "a", 1), -EHOSTUNREACH);
    bus_req_drop(kept);
    bus_server_free(s);
}
END_TEST

/* What waits for answers has a bound in bytes, too. */
START_TEST(test_bytes_under_way)
{
    const size_t len = 60u << 20;
    struct bus_server *s = new_server();
    struct bus_client *c = new_client();
    steppe_Request env = {.method = 4, .timeout_ms = 60000};
    void *body = xcalloc(1, len);

    for (int i = 0; i < 5; i++)
        bus_client_call(c, &env, body, len, 60000, on_reply, NULL);
    run_until_answered(1);
    ck_assert_int_eq(served, 4);
    ck_assert_uint_eq(got.code, 429);
    bus_req_drop(kept);
    env.method = 1;
    bus_client_call(c, &env, "x", 1, 60000, on_reply, NULL);
    run_until_answered(2);
    ck_assert_uint_eq(got.code, 0);
    free(body);
    bus_client_free(c);
    bus_server_free(s);
}
END_TEST

static uint64_t heard;

static void on_version(void *user, uint64_t version)
{
    uv_stop(&loop);
    heard = version;
}

START_TEST(test_announce)
{
    struct bus_pub *p = NULL;
    struct bus_sub *s = NULL;
    struct errtext e;

    ck_assert_int_eq(bus_pub_new(bus, endpoint, &p, &e), 0);
    bus_pub_version(p, 41); /* nobody hears it: the repetition is what a late reader learns from */
    ck_assert_int_eq(bus_sub_new(bus, endpoint, on_version, NULL, &s, &e), 0);
    heard = 0;
    while (heard != 41)
        uv_run(&loop, UV_RUN_ONCE);
    bus_pub_version(p, 42);
    while (heard != 42)
        uv_run(&loop, UV_RUN_ONCE);
    bus_sub_free(s);
    bus_pub_free(p);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("bus");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_call);
    tcase_add_test(t, test_refused_and_timeout);
    tcase_add_test(t, test_server_dies);
    tcase_add_test(t, test_free_tells_callers);
    tcase_add_test(t, test_gate);
    tcase_add_test(t, test_gate_shares);
    tcase_add_test(t, test_streams);
    tcase_add_test(t, test_stream_of_a_closing_gate);
    tcase_add_test(t, test_stream_that_nobody_reads);
    tcase_add_test(t, test_answering_a_peer_that_is_gone);
    tcase_add_test(t, test_bytes_under_way);
    tcase_add_test(t, test_announce);
    return check_run("bus", t, NULL);
}
