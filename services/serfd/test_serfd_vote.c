/* SPDX-License-Identifier: MPL-2.0 */
/* Two nodes with one name ask the others who is right. */
#include <stdio.h>
#include <string.h>

#include "check_run.h"
#include "sim_pool.h"
#include "test_serfd_rig.h"

#define THIEF 5

struct heard {
    unsigned won[THIEF + 1], lost[THIEF + 1];
};

static void on_note(struct sim *sim, unsigned node, const char *text)
{
    struct heard *h = sim->user;

    h->won[node] += strstr(text, "most members know the name of this node as ours") != NULL;
    h->lost[node] += strstr(text, "give one of the two another name") != NULL;
}

START_TEST(test_the_first_one_wins)
{
    static struct sim sim;
    struct heard h = {{0}, {0}};

    sim_init(&sim, 5, THIEF + 1);
    sim.on_note = on_note;
    sim.user = &h;
    memcpy(sim.nodes[THIEF].name, sim.nodes[1].name, sizeof(sim.nodes[1].name));
    for (unsigned i = 0; i < THIEF; i++) {
        sim_start(&sim, i);
        if (i > 0)
            sim_join(&sim, i, 0);
    }
    sim_run(&sim, 5 * NS_PER_SEC);
    sim_start(&sim, THIEF);
    sim_join(&sim, THIEF, 1); /* so the rightful one hears of it, too */
    sim_run(&sim, 20 * NS_PER_SEC);
    ck_assert_uint_ge(h.won[1], 1);
    ck_assert_uint_eq(h.lost[1], 0);
    ck_assert_uint_ge(h.lost[THIEF], 1);
    ck_assert_uint_eq(h.won[THIEF], 0);
    sim_run(&sim, 120 * NS_PER_SEC);
    ck_assert_uint_le(h.won[1], 4); /* once a minute */
    ck_assert_uint_eq(h.won[0] + h.lost[0], 0);
    sim_fini(&sim);
}
END_TEST

START_TEST(test_silence_loses)
{
    struct rig rig;

    rig_init(&rig, NULL);
    rig_alive(&rig, "me.west", 9, 66); /* nobody is there to be asked */
    rig_run_for(&rig, 10 * NS_PER_SEC);
    ck_assert_ptr_nonnull(strstr(rig.last_note, "another name"));
    ck_assert_uint_eq(rig_inc(&rig, "me.west"), 1);
    rig_fini(&rig);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("vote");

    tcase_add_test(t, test_the_first_one_wins);
    tcase_add_test(t, test_silence_loses);
    return check_run("serfd vote", t, NULL);
}
