/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The message plane seen by somebody else's ZeroMQ binding: a czmq actor asks a bus server, frame
 * by frame as bus.h describes them, and a bus client is answered by a czmq ROUTER. What czmq reads
 * and writes here is what any other program may.
 */
#include <czmq.h>
#include <stdatomic.h>
#include <string.h>

#include "bus/bus.h"
#include "check_run.h"
#include "wire/wire.h"

#define HOP_ID "ABCDEFGH"

static char dir[64], endpoint[96];
static uv_loop_t loop;
static struct bus *bus;
static uv_async_t wake; /* the actor has something for us */
static atomic_int results;

static void on_wake(uv_async_t *h)
{
    (void)h;
    uv_stop(&loop);
}

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/steppe-czmq-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/s", dir);
    atomic_store(&results, 0);
    zsys_handler_set(NULL);
    uv_loop_init(&loop);
    uv_async_init(&loop, &wake, on_wake);
    ck_assert_int_eq(bus_new(&loop, &bus), 0);
}

static void teardown(void)
{
    char path[96];

    bus_free(bus);
    uv_close((uv_handle_t *)&wake, NULL);
    while (uv_run(&loop, UV_RUN_DEFAULT))
        ;
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    (void)snprintf(path, sizeof(path), "%s/s", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

static void wait_term(zsock_t *pipe)
{
    char *term = zstr_recv(pipe); /* "$TERM", from zactor_destroy() */

    zstr_free(&term);
}

/* ---- czmq asks ---- */

static void echo(void *user, struct bus_req *req)
{
    steppe_Reply rep = {.index = req->env.min_index + 1};

    (void)user;
    bus_req_reply(req, &rep, req->body, req->body_len);
}

/* One correct exchange. Returns 1 when the answer is what bus.h promises. */
static int ask(zsock_t *dealer)
{
    steppe_Request env = {
        .version = WIRE_VERSION, .method = 1, .min_index = 41, .timeout_ms = 30000};
    uint8_t buf[WIRE_ENVELOPE_MAX];
    zmsg_t *msg = zmsg_new();
    steppe_Reply rep = {0};
    struct errtext e;
    zframe_t *id, *head, *body;
    int ok = 0;

    zmsg_addmem(msg, HOP_ID, 8);
    zmsg_addmem(msg, buf, wire_request_encode(&env, buf));
    zmsg_addstr(msg, "hello");
    zmsg_send(&msg, dealer);
    msg = zmsg_recv(dealer);
    if (!msg)
        return 0;
    id = zmsg_pop(msg);
    head = zmsg_pop(msg);
    body = zmsg_pop(msg);
    if (id && head && body && zmsg_size(msg) == 0)
        ok = zframe_streq(id, HOP_ID) && zframe_streq(body, "hello") &&
             wire_reply_decode(zframe_data(head), zframe_size(head), &rep, &e) == 0 &&
             rep.index == 42;
    zframe_destroy(&id);
    zframe_destroy(&head);
    zframe_destroy(&body);
    zmsg_destroy(&msg);
    return ok;
}

static void asker(zsock_t *pipe, void *arg)
{
    zsock_t *dealer = zsock_new_dealer(arg);
    zmsg_t *garbage = zmsg_new();
    int ok;

    zsock_signal(pipe, 0);
    zsock_set_rcvtimeo(dealer, 30000);
    ok = ask(dealer);
    /* Frames that are no request are dropped; the connection goes on. */
    zmsg_addstr(garbage, "what is this");
    zmsg_addstr(garbage, "");
    zmsg_addstr(garbage, "?");
    zmsg_addstr(garbage, "!");
    zmsg_send(&garbage, dealer);
    ok += ask(dealer);
    atomic_store(&results, ok + 1);
    zsock_destroy(&dealer);
    uv_async_send(&wake);
    wait_term(pipe);
}

START_TEST(test_czmq_asks)
{
    struct bus_server *s = NULL;
    struct errtext e;
    zactor_t *actor;

    ck_assert_int_eq(bus_server_new(bus, endpoint, echo, NULL, &s, &e), 0);
    actor = zactor_new(asker, endpoint);
    while (atomic_load(&results) == 0)
        uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(atomic_load(&results), 3);
    zactor_destroy(&actor);
    bus_server_free(s);
}
END_TEST

/* ---- czmq answers ---- */

static void answerer(zsock_t *pipe, void *arg)
{
    zsock_t *router = zsock_new_router(arg);
    steppe_Reply rep = {.version = WIRE_VERSION, .code = 404, .error = "not here"};
    uint8_t buf[WIRE_ENVELOPE_MAX];
    zmsg_t *msg;

    zsock_signal(pipe, 0);
    zsock_set_rcvtimeo(router, 30000);
    msg = zmsg_recv(router);
    if (msg && zmsg_size(msg) == 4) {
        zframe_t *who = zmsg_pop(msg), *id = zmsg_pop(msg);
        zmsg_t *out = zmsg_new();

        zmsg_append(out, &who);
        zmsg_append(out, &id);
        zmsg_addmem(out, buf, wire_reply_encode(&rep, buf));
        zmsg_send(&out, router);
    }
    zmsg_destroy(&msg);
    wait_term(pipe);
    zsock_destroy(&router);
}

static void on_reply(void *user, int err, const steppe_Reply *rep, const uint8_t *body, size_t len)
{
    *(int *)user =
        err == 0 && rep->code == 404 && strcmp(rep->error, "not here") == 0 && len == 0 ? 1 : -1;
    (void)body;
    uv_stop(&loop);
}

START_TEST(test_czmq_answers)
{
    zactor_t *actor = zactor_new(answerer, endpoint);
    steppe_Request env = {.method = 9, .timeout_ms = 30000};
    struct bus_client *c = NULL;
    struct errtext e;
    int got = 0;

    ck_assert_int_eq(bus_client_new(bus, endpoint, &c, &e), 0);
    bus_client_call(c, &env, "x", 1, 30000, on_reply, &got);
    while (got == 0)
        uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(got, 1);
    bus_client_free(c);
    zactor_destroy(&actor);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("czmq");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_czmq_asks);
    tcase_add_test(t, test_czmq_answers);
    return check_run("bus_czmq", t, NULL);
}
