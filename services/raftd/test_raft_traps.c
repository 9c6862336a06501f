/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The defects A to J that were found in another Raft core by simulation, as named scenarios for
 * ours.
 */
#include <errno.h>
#include <string.h>

#include "check_run.h"
#include "test_raft_lib.h"

/* A follower at term 2 with a log of five entries, all known to its leader 2. */
static void follower_with_five(struct tgroup *g)
{
    struct raft_entry e[4];
    struct raft_msg m;

    tg_start(g, 1);
    tg_entries(e, 2, (const uint64_t[]){2, 2, 2, 2}, 4);
    m = tg_append(2, 1, 2, 1, 1, e, 4, 4);
    ck_assert_int_eq(tg_receive(g, 1, &m), 0);
    ck_assert_uint_eq(raft_last_index(g->s[1].r), 5);
    ck_assert_uint_eq(raft_commit_index(g->s[1].r), 4);
    tg_drop(g, 0, 0);
}

START_TEST(test_trap_a_commit_never_goes_back)
{
    struct raft_entry e[1];
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    follower_with_five(&g);
    /* A delayed copy: it covers entry 2 only, though its leader had committed 10 by then. */
    tg_entries(e, 2, (const uint64_t[]){2}, 1);
    m = tg_append(2, 1, 2, 1, 1, e, 1, 10);
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 5);
    m = tg_append(2, 1, 2, 1, 1, e, 1, 2);
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 5);
    ck_assert_uint_eq(g.s[1].applied, 5);
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_b_stale_rejection_is_ignored)
{
    struct raft_msg m = {.type = RAFT_MSG_APPEND_REPLY, .from = 2, .to = 1};
    struct raft_peer_info before, after;

    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_propose(&g, 1, "a"), 0);
    ck_assert_int_eq(tg_propose(&g, 1, "b"), 0);
    tg_deliver(&g);
    ck_assert(raft_peer_info(g.s[1].r, 2, &before));
    ck_assert_uint_eq(before.match, 4);
    m.term = raft_term(g.s[1].r);
    m.append_reply.rejected = true;
    m.append_reply.reject_prev = 3;
    m.append_reply.hint_index = 1;
    m.append_reply.hint_term = 1;
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert(raft_peer_info(g.s[1].r, 2, &after));
    ck_assert_uint_eq(after.match, before.match);
    ck_assert_uint_eq(after.next, before.next);
    ck_assert(after.replicating);
    ck_assert_str_eq(tg_trace(&g), "");
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_b_stale_rejection_while_probing_is_ignored)
{
    struct raft_msg m = {.type = RAFT_MSG_APPEND_REPLY, .from = 2, .to = 1};
    struct raft_peer_info p;

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){1, 1, 2, 2, 0});
    tg_start_all(&g);
    tg_tick(&g, 1, 201);
    tg_deliver_some(&g, 1, 3); /* 3 votes, 2 has not answered yet */
    tg_drop(&g, 0, 2);
    tg_deliver_some(&g, 3, 1);
    tg_deliver_some(&g, 1, 3);
    tg_drop(&g, 0, 2);
    tg_deliver_some(&g, 3, 1);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    tg_drop(&g, 0, 0);
    /* Two copies of one rejection: the second finds another probe under way. */
    m.term = raft_term(g.s[1].r);
    m.append_reply.rejected = true;
    m.append_reply.reject_prev = 5;
    m.append_reply.hint_index = 3;
    m.append_reply.hint_term = 1;
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "1>2 t3 append 3/1+3 c0");
    tg_drop(&g, 0, 0);
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "");
    ck_assert(raft_peer_info(g.s[1].r, 2, &p));
    ck_assert_uint_eq(p.next, 4);
    tg_fini(&g);
}
END_TEST

/* One of three is dead; the longer log sits on the server with the lower term, or the higher. */
static void pre_vote_deadlock(uint64_t term_long, uint64_t term_short)
{
    TG_TEST(g, 3, 3);
    tg_log(&g, 1, term_long, (const uint64_t[]){1, 1, 1, 0});
    tg_log(&g, 2, term_short, (const uint64_t[]){1, 0});
    tg_start(&g, 1);
    tg_start(&g, 2);
    tg_run(&g, 2000);
    ck_assert_uint_eq(tg_leader(&g), 1);
    ck_assert_uint_eq(raft_commit_index(g.s[2].r), raft_last_index(g.s[1].r));
    tg_fini(&g);
}

START_TEST(test_trap_c_long_log_low_term_learns_the_term)
{
    pre_vote_deadlock(1, 9);
}
END_TEST

START_TEST(test_trap_c_long_log_high_term_is_granted_by_a_lower_one)
{
    pre_vote_deadlock(9, 1);
}
END_TEST

START_TEST(test_trap_c_refused_pre_vote_carries_the_own_term)
{
    struct raft_msg m = tg_vote(2, 1, 3, 1, 1, true);

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 9, (const uint64_t[]){1, 0});
    tg_start(&g, 1);
    g.now_ns += TG_MS(500);
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "1>2 t9 vote-reply for 4 no pre");
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_d_change_inside_a_batch_rolls_back)
{
    struct raft_config c = {0};
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    struct raft_entry e[3];
    struct raft_msg m;
    uint64_t index;

    TG_TEST(g, 3, 3);
    tg_start(&g, 1);
    c = *raft_config_latest(g.s[1].r, NULL);
    ck_assert_int_eq(raft_config_remove(&c, 3), 0);
    tg_entries(e, 2, (const uint64_t[]){2, 2, 2}, 3);
    e[1].type = RAFT_ENTRY_CONFIG;
    e[1].data = bytes;
    e[1].len = (uint32_t)raft_config_encode(&c, bytes);
    e[1].buf = raft_buf_copy(bytes, e[1].len);
    e[1].data = e[1].buf->data;
    m = tg_append(2, 1, 2, 1, 1, e, 3, 1);
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_uint_eq(raft_config_latest(g.s[1].r, &index)->n, 2);
    ck_assert_uint_eq(index, 3); /* the second of the batch, not the first */
    /* A new leader overwrites it from the change on: the old configuration counts again. */
    raft_buf_unref(e[1].buf);
    tg_entries(e, 3, (const uint64_t[]){3}, 1);
    m = tg_append(3, 1, 3, 2, 2, e, 1, 1);
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_uint_eq(raft_config_latest(g.s[1].r, &index)->n, 3);
    ck_assert_uint_eq(index, 1);
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_e_who_does_not_know_it_votes_still_votes)
{
    struct raft_msg m = tg_vote(1, 4, 5, 9, 4, false);

    TG_TEST(g, 3, 4);
    tg_start(&g, 4); /* has no configuration at all */
    g.now_ns += TG_MS(500);
    ck_assert_int_eq(tg_receive(&g, 4, &m), 0);
    ck_assert_str_eq(tg_trace(&g), "4>1 t5 vote-reply for 5 yes");
    ck_assert_uint_eq(raft_vote(g.s[4].r), 1);
    /* And it does not campaign itself. */
    tg_drop(&g, 0, 0);
    tg_tick(&g, 4, 1000);
    ck_assert_str_eq(tg_trace(&g), "");
    tg_fini(&g);
}
END_TEST

static struct raft_snapshot_meta snapshot_meta(struct tgroup *g, unsigned id, uint64_t index,
                                               uint64_t term)
{
    struct raft_snapshot_meta meta = {.index = index, .term = term, .config_index = 1};

    meta.config = *raft_config_latest(g->s[id].r, NULL);
    return meta;
}

static struct raft_msg snapshot_msg(const struct raft_snapshot_meta *meta, uint64_t term,
                                    uint64_t offset, bool done)
{
    struct raft_msg m = {.type = RAFT_MSG_SNAPSHOT, .from = 2, .to = 1, .term = term};

    m.snapshot.meta = meta;
    m.snapshot.offset = offset;
    m.snapshot.data = (const uint8_t *)"0123456789";
    m.snapshot.len = 10;
    m.snapshot.done = done;
    return m;
}

START_TEST(test_trap_f_snapshot_while_one_is_installing)
{
    struct raft_snapshot_meta meta, newer;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_INSTALLED};
    struct raft_entry e[1];
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){0});
    tg_start(&g, 1);
    meta = snapshot_meta(&g, 1, 100, 2);
    newer = snapshot_meta(&g, 1, 200, 2);
    m = snapshot_msg(&meta, 2, 0, false);
    tg_receive(&g, 1, &m);
    ck_assert_ptr_nonnull(g.s[1].out->install);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 snapshot-reply 100 at 10");
    tg_drop(&g, 0, 0);
    m = snapshot_msg(&meta, 2, 10, true);
    tg_receive(&g, 1, &m);
    ck_assert(g.s[1].out->install->done);
    /* Until it is installed: no other snapshot, no entries, nothing to apply, no answer. */
    m = snapshot_msg(&newer, 2, 0, false);
    tg_receive(&g, 1, &m);
    ck_assert_ptr_null(g.s[1].out->install);
    tg_entries(e, 2, (const uint64_t[]){2}, 1);
    m = tg_append(2, 1, 2, 1, 1, e, 1, 2);
    tg_receive(&g, 1, &m);
    ck_assert_uint_eq(g.s[1].out->append_n, 0);
    ck_assert_uint_eq(g.s[1].out->apply_first, 0);
    ck_assert_str_eq(tg_trace(&g), "");
    g.s[1].applied = 100;
    ev.installed.index = 100;
    ck_assert_int_eq(tg_step(&g, 1, &ev), 0);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 snapshot-reply 100 at 0 done");
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 100);
    ck_assert_uint_eq(raft_last_index(g.s[1].r), 100);
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_g_vote_results_in_other_roles_change_nothing)
{
    struct raft_msg m = {.type = RAFT_MSG_VOTE_REPLY, .from = 2, .to = 1};

    TG_TEST(g, 3, 3);
    tg_start(&g, 1);
    m.term = 1;
    m.vote_reply.vote_term = 1;
    m.vote_reply.granted = true;
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_FOLLOWER);
    /* The grant of a real vote does not count in a pre-vote, nor one for another term. */
    tg_tick(&g, 1, 201);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_PRE_CANDIDATE);
    m.vote_reply.vote_term = 2;
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_PRE_CANDIDATE);
    m.vote_reply.pre = true;
    m.vote_reply.vote_term = 1;
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_PRE_CANDIDATE);
    m.vote_reply.vote_term = 2;
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_CANDIDATE);
    /* The same pre-vote once more is no vote. */
    m.term = 2;
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_CANDIDATE);
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_h_sole_voter_leads_in_a_new_term)
{
    TG_TEST(g, 1, 1);
    tg_start(&g, 1);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    ck_assert_uint_eq(raft_term(g.s[1].r), 2);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), raft_last_index(g.s[1].r));
    tg_stop(&g, 1);
    tg_start(&g, 1);
    ck_assert_uint_eq(raft_term(g.s[1].r), 3);
    ck_assert_uint_eq(g.s[1].term, 3);
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_h_shrinking_to_one_gives_no_second_leader)
{
    uint64_t term;

    TG_TEST(g, 2, 2);
    tg_start_all(&g);
    tg_elect(&g, 1);
    term = raft_term(g.s[1].r);
    /* 2 gets the change that makes it the only voter; 1, its leader, does not hear that. */
    ck_assert_int_eq(tg_change(&g, 1, RAFT_DEMOTE, 1), 0);
    tg_deliver_some(&g, 1, 2);
    tg_drop(&g, 0, 0);
    g.cut[1][2] = g.cut[2][1] = true;
    tg_tick(&g, 2, 201);
    ck_assert_int_eq(raft_role(g.s[2].r), RAFT_LEADER);
    ck_assert_uint_gt(raft_term(g.s[2].r), term);
    /* The old leader cannot commit: it needs 2. */
    tg_propose(&g, 1, "x");
    tg_deliver(&g);
    ck_assert_uint_lt(raft_commit_index(g.s[1].r), raft_last_index(g.s[1].r));
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_i_own_snapshot_finishes_while_one_is_installing)
{
    struct raft_snapshot_meta meta, own;
    struct raft_event taken = {.type = RAFT_EV_SNAPSHOT_TAKEN, .taken = {.meta = &own}};
    struct raft_event done = {.type = RAFT_EV_SNAPSHOT_INSTALLED, .installed = {100, 0}};
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    follower_with_five(&g);
    own = snapshot_meta(&g, 1, 4, 2);
    taken.taken.log_base = (struct raft_position){4, 2};
    meta = snapshot_meta(&g, 1, 100, 2);
    m = snapshot_msg(&meta, 2, 0, true);
    tg_receive(&g, 1, &m);
    ck_assert_int_eq(tg_step(&g, 1, &taken), 0); /* dropped */
    g.s[1].applied = 100;
    ck_assert_int_eq(tg_step(&g, 1, &done), 0);
    ck_assert_int_eq(tg_step(&g, 1, &taken), 0); /* and later, too */
    ck_assert_uint_eq(raft_last_index(g.s[1].r), 100);
    ck_assert_uint_eq(raft_last_term(g.s[1].r), 2);
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_j_requests_that_make_no_sense_are_refused)
{
    TG_TEST(g, 3, 4);
    tg_start_all(&g);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_PROMOTE, 3), RAFT_E_NOT_LEADER);
    ck_assert_int_eq(tg_propose(&g, 1, "x"), RAFT_E_NOT_LEADER);
    ck_assert_int_eq(tg_read(&g, 1, 1), RAFT_E_NOT_LEADER);
    ck_assert_int_eq(tg_transfer(&g, 1, 2), RAFT_E_NOT_LEADER);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_PROMOTE, 6), RAFT_E_NO_SUCH_SERVER);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_DEMOTE, 6), RAFT_E_NO_SUCH_SERVER);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_REMOVE, 6), RAFT_E_NO_SUCH_SERVER);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_PROMOTE, 2), RAFT_E_BAD_CHANGE);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_ADD_LEARNER, 0), RAFT_E_BAD_CHANGE);
    ck_assert_int_eq(tg_transfer(&g, 1, 6), RAFT_E_NO_SUCH_SERVER);
    ck_assert_int_eq(tg_transfer(&g, 1, 4), RAFT_E_NO_SUCH_SERVER);
    tg_fini(&g);
}
END_TEST

START_TEST(test_trap_j_messages_that_make_no_sense_are_refused)
{
    struct raft_entry e[2];
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    follower_with_five(&g);
    tg_entries(e, 6, (const uint64_t[]){2, 2}, 2);
    m = tg_append(2, 3, 2, 5, 2, e, 2, 4); /* for another server */
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    m = tg_append(0, 1, 2, 5, 2, e, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    m = tg_append(1, 1, 2, 5, 2, e, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    m = tg_append(2, 1, 0, 5, 2, e, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    m = tg_append(2, 1, 2, 5, 2, NULL, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    e[1].index = 9; /* a gap */
    m = tg_append(2, 1, 2, 5, 2, e, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    tg_entries(e, 6, (const uint64_t[]){2, 1}, 2); /* terms go down */
    m = tg_append(2, 1, 2, 5, 2, e, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    tg_entries(e, 6, (const uint64_t[]){2, 7}, 2); /* newer than its sender */
    m = tg_append(2, 1, 2, 5, 2, e, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    tg_entries(e, 6, (const uint64_t[]){2, 2}, 2);
    e[0].type = RAFT_ENTRY_CONFIG; /* no configuration inside */
    m = tg_append(2, 1, 2, 5, 2, e, 2, 4);
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    m.type = 77;
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    m = tg_vote(2, 1, 2, 9, 9, false);
    m.vote.vote_term = 7;
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    ck_assert_uint_eq(raft_last_index(g.s[1].r), 5);
    ck_assert_uint_eq(raft_term(g.s[1].r), 2);
    ck_assert_str_eq(tg_trace(&g), "");
    tg_fini(&g);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("traps");

    tcase_add_test(t, test_trap_a_commit_never_goes_back);
    tcase_add_test(t, test_trap_b_stale_rejection_is_ignored);
    tcase_add_test(t, test_trap_b_stale_rejection_while_probing_is_ignored);
    tcase_add_test(t, test_trap_c_long_log_low_term_learns_the_term);
    tcase_add_test(t, test_trap_c_long_log_high_term_is_granted_by_a_lower_one);
    tcase_add_test(t, test_trap_c_refused_pre_vote_carries_the_own_term);
    tcase_add_test(t, test_trap_d_change_inside_a_batch_rolls_back);
    tcase_add_test(t, test_trap_e_who_does_not_know_it_votes_still_votes);
    tcase_add_test(t, test_trap_f_snapshot_while_one_is_installing);
    tcase_add_test(t, test_trap_g_vote_results_in_other_roles_change_nothing);
    tcase_add_test(t, test_trap_h_sole_voter_leads_in_a_new_term);
    tcase_add_test(t, test_trap_h_shrinking_to_one_gives_no_second_leader);
    tcase_add_test(t, test_trap_i_own_snapshot_finishes_while_one_is_installing);
    tcase_add_test(t, test_trap_j_requests_that_make_no_sense_are_refused);
    tcase_add_test(t, test_trap_j_messages_that_make_no_sense_are_refused);
    return check_run("raft traps", t, NULL);
}
