/* SPDX-License-Identifier: MPL-2.0 */
/* The image follows the state: as fast as it goes, in pieces, and anew, always with the same
 * result. */
#include <stdio.h>
#include <string.h>

#include "base/prng.h"
#include "check_run.h"
#include "image/image.h"
#include "state/state_test.h"

static struct test_state ts;
static struct image *im;

static void setup(void)
{
    test_state_init(&ts, TEST_MEM);
    im = image_new(0);
    test_job_register(&ts, &(struct test_job){.id = "web", .eval_id = test_uuid(1)});
}

static void teardown(void)
{
    im = image_free(im);
    test_state_fini(&ts);
}

static void follow(struct image *which, size_t rows)
{
    struct store_txn *t;
    int r;

    do {
        ck_assert_int_eq(store_begin(ts.store, false, &t), 0);
        r = image_refresh(which, t, rows);
        store_abort(t);
        ck_assert_int_ge(r, 0);
    } while (r == 1);
    ck_assert_uint_eq(image_index(which), ts.index);
}

static const struct image_node *node(const char *id)
{
    return image_node_find(im, id);
}

static unsigned place(unsigned id, unsigned on, int cpu)
{
    return test_plan(&ts, &(struct test_plan){.place = {{.id = test_uuid(id),
                                                         .node = test_uuid(on),
                                                         .eval = test_uuid(1),
                                                         .job = "web",
                                                         .create_index = 1,
                                                         .cpu = cpu}}});
}

START_TEST(follows)
{
    struct image_id id;

    test_node_register(&ts, &(struct test_node){.id = test_uuid(0x80), .status = "ready"});
    follow(im, 0);
    ck_assert_uint_eq(image_nodes_n(im), 1);
    ck_assert(image_node_ready(node(test_uuid(0x80))));
    ck_assert_uint_eq(place(0xa1, 0x80, 100), 0);
    ck_assert_uint_eq(place(0xa2, 0x80, 200), 0);
    follow(im, 0);
    ck_assert_int_eq(node(test_uuid(0x80))->cpu_used, 300);
    ck_assert(image_id_parse(test_uuid(0xa1), &id));
    ck_assert_int_eq(image_alloc_find(im, &id)->priority, 50);
    ck_assert_uint_eq(image_job_find(im, "default", "web")->allocs, 2);
    test_client_update(&ts, test_uuid(0x80), test_uuid(0xa1), "running", "");
    test_node_status(&ts, test_uuid(0x80), "down", "");
    follow(im, 0);
    ck_assert_int_eq(node(test_uuid(0x80))->cpu_used, 300);
    ck_assert(!image_node_ready(node(test_uuid(0x80))));
    test_client_update(&ts, test_uuid(0x80), test_uuid(0xa1), "failed", "");
    follow(im, 0);
    ck_assert_int_eq(node(test_uuid(0x80))->cpu_used, 200);
}
END_TEST

/* What an image shows, as text. */
static void show(const struct image *which, struct strbuf *out)
{
    strbuf_reset(out);
    for (unsigned i = 0x80; i < 0x88; i++) {
        const struct image_node *n = image_node_find(which, test_uuid(i));

        if (!n)
            continue;
        strbuf_addf(out, "%x: %d %lld:", i, image_node_ready(n), (long long)n->cpu_used);
        for (unsigned k = 0; k < 64; k++) {
            struct image_id id;
            const struct image_alloc *a;

            ck_assert(image_id_parse(test_uuid(0x100 + k), &id));
            a = image_alloc_find(which, &id);
            if (a && a->node == n->slot)
                strbuf_addf(out, " %x/%d", k, a->cpu);
        }
        strbuf_addf(out, " (%u)\n", n->allocs);
    }
}

static void change(struct prng *p)
{
    unsigned on = 0x80 + (unsigned)prng_below(p, 8), a = 0x100 + (unsigned)prng_below(p, 64);

    switch (prng_below(p, 8)) {
    case 0:
        test_node_register(&ts, &(struct test_node){.id = test_uuid(on), .status = "ready"});
        break;
    case 1:
        test_node_status(&ts, test_uuid(on), prng_below(p, 2) ? "down" : "ready", "");
        break;
    case 2:
        if (prng_below(p, 4) == 0) {
            steppe_NodeDeregisterCommand cmd = {0};

            (void)snprintf(cmd.node_id, sizeof(cmd.node_id), "%s", test_uuid(on));
            test_apply(&ts, COMMAND_NODE_DEREGISTER, &cmd, NULL, 0);
        }
        break;
    case 3:
        test_client_update(&ts, test_uuid(on), test_uuid(a),
                           prng_below(p, 2) ? "running" : "complete", "");
        break;
    case 4:
        test_plan(&ts,
                  &(struct test_plan){
                      .stop = {{.id = test_uuid(a), .node = test_uuid(on), .desired = "stop"}}});
        break;
    default:
        place(a, on, 1 + (int)prng_below(p, 90));
    }
}

START_TEST(random_changes)
{
    _cleanup_(strbuf_fini) struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;
    struct prng p;

    prng_seed(&p, (uint64_t)_i + 1);
    for (unsigned i = 0; i < 600; i++) {
        change(&p);
        if (prng_below(&p, 6))
            continue;
        follow(im, prng_below(&p, 4));
        if (prng_below(&p, 4) == 0) {
            struct image *fresh = image_new(0);

            follow(fresh, 3);
            show(im, &a);
            show(fresh, &b);
            ck_assert_str_eq(a.data ? a.data : "", b.data ? b.data : "");
            image_free(fresh);
        }
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, follows);
    tcase_add_loop_test(t, random_changes, 0, 6);
    return check_run("image_store", t, NULL);
}
