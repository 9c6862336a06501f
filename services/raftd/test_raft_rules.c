/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The rules of the paper and of the contract with the shell, as named scenarios.
 */
#include <errno.h>
#include <string.h>

#include "check_run.h"
#include "test_raft_lib.h"

/* ---- commit ---- */

/*
 * R figure 8: entry 2 of term 2 reaches a majority only under a leader of term 4. It must not be
 * committed by that, for a server with an entry of term 3 can still be elected and remove it.
 */
START_TEST(test_figure_8_old_terms_are_not_committed_by_counting)
{
    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 3, (const uint64_t[]){2, 0});
    tg_log(&g, 2, 2, (const uint64_t[]){0});
    tg_log(&g, 3, 3, (const uint64_t[]){3, 0});
    tg_start_all(&g);
    g.cut[3][1] = g.cut[1][3] = g.cut[2][3] = g.cut[3][2] = true;
    g.opt.msg_entries_max = 1;
    tg_tick(&g, 1, 201);
    tg_deliver_some(&g, 1, 2);
    tg_deliver_some(&g, 2, 1);
    tg_deliver_some(&g, 1, 2);
    tg_deliver_some(&g, 2, 1);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    ck_assert_uint_eq(raft_term(g.s[1].r), 4);
    /* 2 takes the old entry alone: acknowledge exactly that. */
    {
        struct raft_msg m = {.type = RAFT_MSG_APPEND_REPLY, .from = 2, .to = 1, .term = 4};

        tg_drop(&g, 0, 0);
        m.append_reply.match = 2;
        tg_receive(&g, 1, &m);
        ck_assert_uint_eq(raft_commit_index(g.s[1].r), 0);
        /* With the leader's own no-op behind it both are committed. */
        m.append_reply.match = 3;
        tg_receive(&g, 1, &m);
        ck_assert_uint_eq(raft_commit_index(g.s[1].r), 3);
    }
    tg_fini(&g);
}
END_TEST

START_TEST(test_follower_commits_only_what_the_leader_verified)
{
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){2, 2, 2, 0}); /* a tail that nobody else has */
    tg_start(&g, 1);
    m = tg_append(2, 1, 3, 1, 1, NULL, 0, 4);
    tg_receive(&g, 1, &m);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 1);
    m = (struct raft_msg){.type = RAFT_MSG_HEARTBEAT, .from = 2, .to = 1, .term = 3};
    m.heartbeat.commit = 4;
    tg_receive(&g, 1, &m);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 1);
    tg_fini(&g);
}
END_TEST

START_TEST(test_leader_sends_before_its_own_disk_but_counts_it_after)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    g.s[1].slow_disk = g.s[3].slow_disk = true;
    ck_assert_int_eq(tg_propose(&g, 1, "a"), 0);
    ck_assert(!g.s[1].out->sync_before_send);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append 2/2+1 c2; 1>3 t2 append 2/2+1 c2");
    tg_deliver(&g);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 2); /* on one disk of three */
    tg_persist(&g, 1);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 3);
    tg_fini(&g);
}
END_TEST

START_TEST(test_majority_of_other_disks_commits_before_the_leaders)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    g.s[1].slow_disk = true;
    tg_propose(&g, 1, "a");
    tg_deliver(&g);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 3);
    /* Applied is only what the own disk has, too. */
    ck_assert_uint_eq(g.s[1].applied, 2);
    tg_persist(&g, 1);
    ck_assert_uint_eq(g.s[1].applied, 3);
    tg_fini(&g);
}
END_TEST

START_TEST(test_follower_acknowledges_on_persisted_only)
{
    struct raft_entry e[2];
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){0});
    tg_start(&g, 1);
    g.s[1].slow_disk = true;
    tg_entries(e, 2, (const uint64_t[]){2, 2}, 2);
    m = tg_append(2, 1, 2, 1, 1, e, 2, 1);
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "");
    tg_receive(&g, 1, &m); /* a copy is answered with what is durable */
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append-reply 1");
    tg_drop(&g, 0, 0);
    tg_persist(&g, 1);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append-reply 3");
    tg_fini(&g);
}
END_TEST

/* The same index written twice: the first write's completion says nothing about the second. */
START_TEST(test_persisted_counts_only_for_entries_still_ours)
{
    struct raft_event ev = {.type = RAFT_EV_PERSISTED};
    struct raft_entry e[2];
    struct raft_msg m;
    uint64_t first;

    TG_TEST(g, 3, 3);
    tg_start(&g, 1);
    g.s[1].slow_disk = true;
    tg_entries(e, 2, (const uint64_t[]){2, 2}, 2);
    m = tg_append(2, 1, 2, 1, 1, e, 2, 1);
    tg_receive(&g, 1, &m);
    first = g.s[1].seq;
    tg_entries(e, 2, (const uint64_t[]){3, 3}, 2);
    m = tg_append(3, 1, 3, 1, 1, e, 2, 1);
    tg_receive(&g, 1, &m);
    ck_assert_uint_eq(g.s[1].out->truncate_from, 2);
    /* A third leader brings back what the first had written. */
    tg_entries(e, 2, (const uint64_t[]){2, 2}, 2);
    m = tg_append(2, 1, 4, 1, 1, e, 2, 1);
    tg_receive(&g, 1, &m);
    tg_drop(&g, 0, 0);
    ev.persisted.seq = first;
    tg_step(&g, 1, &ev);
    ck_assert_uint_eq(raft_durable_index(g.s[1].r), 1);
    ck_assert_str_eq(tg_trace(&g), "");
    tg_persist(&g, 1);
    ck_assert_uint_eq(raft_durable_index(g.s[1].r), 3);
    ck_assert_str_eq(tg_trace(&g), "1>2 t4 append-reply 3");
    tg_fini(&g);
}
END_TEST

START_TEST(test_append_doubled_and_out_of_order)
{
    struct raft_entry e[4];
    struct raft_msg a, b, c;

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){0});
    tg_start(&g, 1);
    tg_entries(e, 2, (const uint64_t[]){2, 2, 2, 2}, 4);
    a = tg_append(2, 1, 2, 1, 1, e, 2, 1);
    b = tg_append(2, 1, 2, 3, 2, e + 2, 1, 1);
    c = tg_append(2, 1, 2, 4, 2, e + 3, 1, 1);
    tg_receive(&g, 1, &b); /* a gap */
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append-reply no 3 try 1/1");
    tg_receive(&g, 1, &a);
    tg_receive(&g, 1, &b);
    tg_receive(&g, 1, &c);
    ck_assert_uint_eq(raft_last_index(g.s[1].r), 5);
    tg_drop(&g, 0, 0);
    tg_receive(&g, 1, &a); /* an old copy removes nothing (R 5.3) */
    ck_assert_uint_eq(raft_last_index(g.s[1].r), 5);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append-reply 5");
    tg_fini(&g);
}
END_TEST

START_TEST(test_back_off_skips_whole_terms)
{
    TG_TEST(g, 2, 2);
    tg_log(&g, 1, 5, (const uint64_t[]){1, 1, 4, 4, 4, 4, 4, 5, 5, 0});
    tg_log(&g, 2, 3, (const uint64_t[]){1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 0});
    tg_start_all(&g);
    tg_tick(&g, 1, 201);
    for (int i = 0; i < 4; i++) { /* pre-vote and vote */
        tg_deliver_some(&g, 1, 2);
        tg_deliver_some(&g, 2, 1);
        if (raft_role(g.s[1].r) == RAFT_LEADER)
            break;
    }
    ck_assert_str_eq(tg_trace(&g), "1>2 t6 append 10/5+1 c0; 1>2 t6 heartbeat c0");
    tg_drop(&g, 1, 2);
    tg_propose(&g, 1, "x");
    ck_assert_str_eq(tg_trace(&g), ""); /* one probe at a time */
    tg_tick(&g, 1, 31);
    tg_deliver_some(&g, 1, 2); /* heartbeat */
    tg_deliver_some(&g, 2, 1);
    ck_assert_str_eq(tg_trace(&g), "1>2 t6 append 10/5+2 c0");
    tg_deliver_some(&g, 1, 2);
    ck_assert_str_eq(tg_trace(&g), "2>1 t6 append-reply no 10 try 10/3");
    tg_deliver_some(&g, 2, 1);
    /* 2 has term 3 up to there, the leader's last entry below term 4 is 3: one more step. */
    ck_assert_str_eq(tg_trace(&g), "1>2 t6 append 3/1+9 c0");
    tg_deliver(&g);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 12);
    ck_assert_uint_eq(raft_last_index(g.s[2].r), 12);
    tg_fini(&g);
}
END_TEST

START_TEST(test_lost_append_is_sent_again_after_a_heartbeat)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    tg_propose(&g, 1, "a");
    tg_drop(&g, 1, 2);
    tg_deliver(&g);
    tg_tick(&g, 1, 31);
    tg_deliver(&g);
    ck_assert_uint_eq(raft_last_index(g.s[2].r), 3);
    tg_fini(&g);
}
END_TEST

START_TEST(test_messages_have_entry_and_byte_limits)
{
    TG_TEST(g, 3, 3);
    g.opt.msg_entries_max = 2;
    g.opt.msg_bytes_max = 10;
    g.opt.inflight_max = 2;
    tg_start_all(&g);
    tg_elect(&g, 1);
    g.cut[1][3] = true;
    tg_propose(&g, 1, "a");
    tg_propose(&g, 1, "b");
    tg_propose(&g, 1, "c");
    tg_propose(&g, 1, "dddddddd");
    tg_propose(&g, 1, "eeeeeeee");
    tg_drop(&g, 1, 3);
    /* Two are under way, the window is full; the rest comes in twos, or fewer by their bytes. */
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append 2/2+1 c2; 1>2 t2 append 3/2+1 c2");
    tg_deliver_some(&g, 1, 2);
    tg_deliver_some(&g, 2, 1);
    tg_drop(&g, 1, 3);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append 4/2+2 c3; 1>2 t2 append 6/2+1 c4");
    tg_fini(&g);
}
END_TEST

START_TEST(test_too_much_uncommitted_is_refused)
{
    TG_TEST(g, 3, 3);
    g.opt.uncommitted_bytes_max = 6;
    g.opt.entry_bytes_max = 8;
    tg_start_all(&g);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_propose(&g, 1, "123456789"), RAFT_E_TOO_LARGE);
    ck_assert_int_eq(tg_propose(&g, 1, "1234"), 0);
    ck_assert_int_eq(tg_propose(&g, 1, "1234"), RAFT_E_BUSY);
    tg_deliver(&g);
    ck_assert_int_eq(tg_propose(&g, 1, "1234"), 0);
    tg_fini(&g);
}
END_TEST

START_TEST(test_entries_not_in_memory_are_fetched)
{
    struct raft_event ev = {.type = RAFT_EV_FETCHED};
    struct raft_entry e[2];

    TG_TEST(g, 3, 3);
    g.opt.tail_bytes_max = 1;
    g.opt.msg_entries_max = 2;
    tg_start(&g, 1);
    tg_start(&g, 2);
    tg_elect(&g, 1);
    for (int i = 0; i < 6; i++) {
        tg_propose(&g, 1, "abc");
        tg_deliver(&g);
    }
    tg_start(&g, 3);
    tg_tick(&g, 1, 31);
    ck_assert_ptr_null(raft_entry_at(g.s[1].r, 3));
    ck_assert_uint_eq(raft_term_at(g.s[1].r, 3), 2); /* terms of all entries stay known */
    for (int i = 0; i < 3 && g.s[1].out->fetches_n == 0; i++) {
        tg_deliver_some(&g, 1, 3); /* refused: 3 has only the first entry */
        tg_deliver_some(&g, 3, 1);
    }
    ck_assert_uint_eq(g.s[1].out->fetches_n, 1);
    ck_assert_uint_eq(g.s[1].out->fetches[0].peer, 3);
    ck_assert_uint_eq(g.s[1].out->fetches[0].first, 2);
    ck_assert_uint_eq(g.s[1].out->fetches[0].n, 2);
    tg_drop(&g, 0, 0);
    tg_entries(e, 2, (const uint64_t[]){2, 2}, 2);
    ev.fetched.peer = 3;
    ev.fetched.first = 2;
    ev.fetched.entries = e;
    ev.fetched.n = 2;
    ck_assert_int_eq(tg_step(&g, 1, &ev), 0);
    ck_assert_str_eq(tg_trace(&g), "1>3 t2 append 1/1+2 c8");
    tg_fini(&g);
}
END_TEST

/* ---- restarts ---- */

START_TEST(test_restart_waits_for_a_leader_before_it_commits)
{
    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){2, 2, 0});
    tg_start(&g, 1);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 0);
    ck_assert_uint_eq(raft_durable_index(g.s[1].r), 3);
    tg_fini(&g);
}
END_TEST

START_TEST(test_restart_with_state_ahead_of_the_log)
{
    struct raft_entry e[3];
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){2, 0});
    g.s[1].applied = 4; /* the state machine has 3 and 4, the log lost them */
    tg_start(&g, 1);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 2);
    tg_entries(e, 3, (const uint64_t[]){2, 2, 2}, 3);
    m = tg_append(2, 1, 2, 2, 2, e, 3, 5);
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    /* tg_step() asserts that the next entry handed out is 5. */
    ck_assert_uint_eq(g.s[1].applied, 5);
    tg_fini(&g);
}
END_TEST

START_TEST(test_restart_votes_once_in_a_term)
{
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    tg_start(&g, 1);
    g.now_ns += TG_MS(500);
    m = tg_vote(2, 1, 2, 5, 1, false);
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 vote-reply for 2 yes");
    tg_drop(&g, 0, 0);
    tg_stop(&g, 1);
    tg_start(&g, 1);
    g.now_ns += TG_MS(500);
    m = tg_vote(3, 1, 2, 9, 1, false);
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "1>3 t2 vote-reply for 2 no");
    tg_drop(&g, 0, 0);
    m = tg_vote(2, 1, 2, 5, 1, false);
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 vote-reply for 2 yes");
    tg_fini(&g);
}
END_TEST

START_TEST(test_term_and_vote_are_durable_before_messages)
{
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    tg_start(&g, 1);
    g.s[1].slow_disk = true;
    g.now_ns += TG_MS(500);
    m = tg_vote(2, 1, 2, 5, 1, false);
    tg_receive(&g, 1, &m);
    ck_assert(g.s[1].out->hard_changed);
    ck_assert(g.s[1].out->sync_before_send);
    ck_assert_uint_gt(g.s[1].out->seq, 0);
    ck_assert_uint_eq(g.s[1].out->hard.term, 2);
    ck_assert_uint_eq(g.s[1].out->hard.vote, 2);
    ck_assert_uint_eq(g.s[1].out->msgs_n, 1);
    tg_fini(&g);
}
END_TEST

/* ---- elections ---- */

START_TEST(test_election_trace)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_tick(&g, 1, 201);
    ck_assert_str_eq(tg_trace(&g),
                     "1>2 t1 vote for 2 last 1/1 pre; 1>3 t1 vote for 2 last 1/1 pre");
    ck_assert_uint_eq(raft_term(g.s[1].r), 1); /* a pre-vote changes nothing */
    tg_deliver_some(&g, 1, 2);
    tg_deliver_some(&g, 2, 1);
    ck_assert_str_eq(tg_trace(&g), "1>3 t1 vote for 2 last 1/1 pre; 1>2 t2 vote for 2 last 1/1; "
                                   "1>3 t2 vote for 2 last 1/1");
    tg_drop(&g, 1, 3);
    tg_deliver_some(&g, 1, 2);
    ck_assert_str_eq(tg_trace(&g), "2>1 t2 vote-reply for 2 yes");
    tg_deliver_some(&g, 2, 1);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 append 1/1+1 c0; 1>3 t2 append 1/1+1 c0; "
                                   "1>2 t2 heartbeat c0; 1>3 t2 heartbeat c0");
    tg_fini(&g);
}
END_TEST

START_TEST(test_candidates_are_not_heard_while_a_leader_lives)
{
    struct raft_msg m = tg_vote(3, 2, 9, 99, 9, false);

    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    tg_receive(&g, 2, &m);
    m.to = 1;
    tg_receive(&g, 1, &m);
    ck_assert_str_eq(tg_trace(&g), "");
    ck_assert_uint_eq(raft_term(g.s[2].r), 2);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    tg_fini(&g);
}
END_TEST

/* It may have answered a heartbeat just before it crashed: that was a promise (T 6.4.1). */
START_TEST(test_restarted_server_keeps_the_lease_it_granted)
{
    struct raft_msg m = tg_vote(3, 2, 9, 99, 9, false);

    TG_TEST(g, 3, 3);
    tg_start(&g, 2);
    g.now_ns += TG_MS(149);
    tg_receive(&g, 2, &m);
    ck_assert_str_eq(tg_trace(&g), "");
    g.now_ns += TG_MS(2);
    tg_receive(&g, 2, &m);
    ck_assert_str_eq(tg_trace(&g), "2>3 t9 vote-reply for 9 yes");
    tg_fini(&g);
}
END_TEST

START_TEST(test_leader_without_a_majority_steps_down)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    for (unsigned i = 2; i <= 3; i++)
        g.cut[i][1] = true; /* it is heard, but hears nothing */
    tg_read(&g, 1, 7);
    for (int i = 0; i < 8; i++) {
        tg_tick(&g, 1, 30);
        tg_deliver(&g);
    }
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_FOLLOWER);
    tg_run(&g, 1000);
    ck_assert_uint_ne(tg_leader(&g), 1);
    ck_assert_uint_ne(tg_leader(&g), 0);
    tg_fini(&g);
}
END_TEST

START_TEST(test_server_cut_off_with_a_higher_term_comes_back)
{
    TG_TEST(g, 3, 3);
    tg_log(&g, 3, 7, (const uint64_t[]){0});
    tg_start(&g, 1);
    tg_start(&g, 2);
    tg_elect(&g, 1);
    tg_start(&g, 3);
    tg_run(&g, 1500);
    ck_assert_uint_ne(tg_leader(&g), 0);
    ck_assert_uint_gt(raft_term(g.s[tg_leader(&g)].r), 7);
    ck_assert_uint_eq(raft_commit_index(g.s[3].r), raft_last_index(g.s[tg_leader(&g)].r));
    tg_fini(&g);
}
END_TEST

START_TEST(test_two_voters)
{
    TG_TEST(g, 2, 2);
    tg_start_all(&g);
    tg_run(&g, 1000);
    ck_assert_uint_ne(tg_leader(&g), 0);
    {
        unsigned leader = tg_leader(&g), other = 3 - leader;

        tg_propose(&g, leader, "a");
        tg_deliver(&g);
        ck_assert_uint_eq(raft_commit_index(g.s[leader].r), 3);
        /* One alone neither commits nor leads for long. */
        tg_stop(&g, other);
        tg_propose(&g, leader, "b");
        tg_run(&g, 500);
        ck_assert_uint_eq(raft_commit_index(g.s[leader].r), 3);
        ck_assert_uint_eq(tg_leader(&g), 0);
        tg_start(&g, other);
        tg_run(&g, 1000);
        ck_assert_uint_ne(tg_leader(&g), 0);
    }
    tg_fini(&g);
}
END_TEST

START_TEST(test_transfer)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_transfer(&g, 1, 3), 0);
    ck_assert_str_eq(tg_trace(&g), "1>3 t2 timeout-now");
    ck_assert_int_eq(tg_propose(&g, 1, "x"), RAFT_E_TRANSFERRING);
    tg_deliver(&g);
    ck_assert_uint_eq(tg_leader(&g), 3); /* at once, though all had heard of 1 just now */
    tg_fini(&g);
}
END_TEST

START_TEST(test_transfer_to_a_dead_server_ends_in_time)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    tg_stop(&g, 3);
    ck_assert_int_eq(tg_transfer(&g, 1, 3), 0);
    tg_run(&g, 300);
    ck_assert_uint_eq(tg_leader(&g), 1);
    ck_assert(g.s[1].notice & RAFT_NOTICE_TRANSFER_FAILED);
    ck_assert_int_eq(tg_propose(&g, 1, "x"), 0);
    tg_fini(&g);
}
END_TEST

/* ---- reads ---- */

START_TEST(test_read_with_a_lease_needs_no_message)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_read(&g, 1, 5), 0);
    ck_assert_str_eq(tg_trace(&g), "");
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    ck_assert_uint_eq(g.s[1].reads_index, 2);
    /* The lease is shorter than the time in which nobody votes for another. */
    g.now_ns += TG_MS(136);
    tg_read(&g, 1, 6);
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 heartbeat c2; 1>3 t2 heartbeat c2");
    tg_deliver(&g);
    ck_assert_uint_eq(g.s[1].reads_n, 2);
    tg_fini(&g);
}
END_TEST

START_TEST(test_reads_share_rounds_of_heartbeats)
{
    TG_TEST(g, 3, 3);
    g.opt.lease_off = true;
    tg_start_all(&g);
    tg_elect(&g, 1);
    tg_read(&g, 1, 1);
    tg_read(&g, 1, 2);
    tg_read(&g, 1, 3);
    /* One round for the first; the other two wait for the next, together. */
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 heartbeat c2; 1>3 t2 heartbeat c2");
    tg_deliver_some(&g, 1, 2);
    tg_deliver_some(&g, 2, 1);
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    ck_assert_uint_eq(g.s[1].reads_id, 1);
    tg_deliver(&g);
    ck_assert_uint_eq(g.s[1].reads_n, 3);
    tg_fini(&g);
}
END_TEST

START_TEST(test_read_waits_for_a_commit_of_the_term)
{
    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){1, 2, 0});
    tg_log(&g, 2, 2, (const uint64_t[]){1, 2, 0});
    tg_start_all(&g);
    g.s[2].slow_disk = g.s[3].slow_disk = false;
    tg_tick(&g, 1, 201);
    for (int i = 0; i < 2; i++) {
        tg_deliver_some(&g, 1, 2);
        tg_deliver_some(&g, 2, 1);
    }
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    tg_read(&g, 1, 1); /* it does not know yet what is committed (R 8) */
    ck_assert_uint_eq(g.s[1].reads_n, 0);
    tg_deliver(&g);
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    ck_assert_uint_eq(g.s[1].reads_index, 4);
    tg_fini(&g);
}
END_TEST

/* Answers must not breed rounds while a read waits for something else than a round. */
START_TEST(test_reads_that_wait_for_a_commit_make_no_rounds)
{
    TG_TEST(g, 1, 3);
    tg_start_all(&g);
    tg_change(&g, 1, RAFT_ADD_LEARNER, 2);
    tg_change(&g, 1, RAFT_ADD_LEARNER, 3);
    tg_deliver(&g);
    tg_stop(&g, 1);
    g.s[1].slow_disk = true;
    tg_start(&g, 1);
    tg_persist(&g, 1); /* its vote: it leads, but its no-op is not durable */
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    tg_deliver(&g);
    ck_assert_int_eq(tg_read(&g, 1, 1), 0);
    tg_tick(&g, 1, 31);
    ck_assert_str_eq(tg_trace(&g), "1>2 t3 heartbeat c4; 1>3 t3 heartbeat c4");
    tg_deliver(&g); /* fails when it never ends */
    ck_assert_uint_eq(g.s[1].reads_n, 0);
    tg_persist(&g, 1);
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    tg_fini(&g);
}
END_TEST

START_TEST(test_only_voter_leads_when_its_vote_is_durable)
{
    TG_TEST(g, 1, 1);
    g.s[1].slow_disk = true;
    tg_start(&g, 1);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_CANDIDATE);
    ck_assert_uint_eq(raft_term(g.s[1].r), 2);
    tg_tick(&g, 1, 500); /* a slow disk: no reason for another term */
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_CANDIDATE);
    ck_assert_uint_eq(raft_term(g.s[1].r), 2);
    tg_persist(&g, 1);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    tg_fini(&g);
}
END_TEST

START_TEST(test_reads_of_a_deposed_leader_fail)
{
    struct raft_msg m;

    TG_TEST(g, 3, 3);
    g.opt.lease_off = true;
    tg_start_all(&g);
    tg_elect(&g, 1);
    tg_read(&g, 1, 1);
    m = tg_append(2, 1, 3, 2, 2, NULL, 0, 2);
    tg_receive(&g, 1, &m);
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    ck_assert_int_eq(g.s[1].reads_err, RAFT_E_NOT_LEADER);
    ck_assert_int_eq(tg_read(&g, 1, 2), RAFT_E_NOT_LEADER);
    tg_fini(&g);
}
END_TEST

START_TEST(test_lease_is_over_once_leadership_was_offered)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    tg_transfer(&g, 1, 3);
    tg_drop(&g, 0, 0); /* TIMEOUT_NOW may come at any time later */
    tg_read(&g, 1, 1);
    ck_assert_uint_eq(g.s[1].reads_n, 0);
    tg_deliver(&g);
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    tg_fini(&g);
}
END_TEST

/* ---- configuration changes ---- */

START_TEST(test_learner_joins_and_is_promoted)
{
    TG_TEST(g, 3, 4);
    tg_start_all(&g);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_ADD_LEARNER, 4), 0);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_PROMOTE, 4), RAFT_E_CHANGE_PENDING);
    tg_deliver(&g);
    ck_assert_uint_eq(raft_last_index(g.s[4].r), 3);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_PROMOTE, 4), 0);
    tg_deliver(&g);
    tg_run(&g, 60);
    ck_assert(raft_config_is_voter(raft_config_latest(g.s[4].r, NULL), 4));
    ck_assert_uint_eq(raft_commit_index(g.s[4].r), 4);
    tg_fini(&g);
}
END_TEST

START_TEST(test_learner_far_behind_is_not_promoted)
{
    TG_TEST(g, 3, 4);
    g.opt.promote_lag_max = 2;
    tg_start_all(&g);
    tg_elect(&g, 1);
    g.cut[1][4] = true;
    tg_change(&g, 1, RAFT_ADD_LEARNER, 4);
    tg_deliver(&g);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_PROMOTE, 4), RAFT_E_NOT_CAUGHT_UP);
    tg_fini(&g);
}
END_TEST

START_TEST(test_no_change_before_a_commit_of_the_term)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_tick(&g, 1, 201);
    for (int i = 0; i < 2; i++) {
        tg_deliver_some(&g, 1, 2);
        tg_deliver_some(&g, 2, 1);
    }
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_REMOVE, 3), RAFT_E_CHANGE_PENDING);
    tg_deliver(&g);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_REMOVE, 3), 0);
    tg_fini(&g);
}
END_TEST

START_TEST(test_last_voter_cannot_go)
{
    TG_TEST(g, 1, 1);
    tg_start_all(&g);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_REMOVE, 1), RAFT_E_BAD_CHANGE);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_DEMOTE, 1), RAFT_E_BAD_CHANGE);
    tg_fini(&g);
}
END_TEST

START_TEST(test_removed_leader_steps_down_and_names_an_heir)
{
    TG_TEST(g, 3, 3);
    tg_start_all(&g);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_REMOVE, 1), 0);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER); /* until it is committed (T 4.2.2) */
    /* Its own disk does not count any more: both others are needed. */
    g.cut[1][3] = true;
    tg_deliver(&g);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    g.cut[1][3] = false;
    tg_tick(&g, 1, 31);
    tg_deliver(&g);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_FOLLOWER);
    ck_assert_uint_ne(tg_leader(&g), 0); /* TIMEOUT_NOW: no pause */
    ck_assert_uint_ne(tg_leader(&g), 1);
    tg_tick(&g, 1, 1000);
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_FOLLOWER);
    tg_fini(&g);
}
END_TEST

START_TEST(test_server_that_an_uncommitted_change_removes_may_still_campaign)
{
    TG_TEST(g, 2, 2);
    tg_start_all(&g);
    tg_elect(&g, 1);
    ck_assert_int_eq(tg_change(&g, 1, RAFT_REMOVE, 1), 0);
    tg_drop(&g, 0, 0);
    g.cut[1][2] = true;
    for (int i = 0; i < 8; i++) {
        tg_tick(&g, 1, 30);
        tg_deliver(&g);
    }
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_FOLLOWER);
    /* 2's log is shorter, so 1 refuses it; only 1 can lead and get its own removal committed. */
    g.cut[1][2] = false;
    tg_run(&g, 1500);
    ck_assert_uint_eq(tg_leader(&g), 2);
    ck_assert_uint_eq(raft_config_latest(g.s[2].r, NULL)->n, 1);
    tg_fini(&g);
}
END_TEST

/* ---- snapshots ---- */

START_TEST(test_snapshot_streams_in_chunks)
{
    struct raft_snapshot_meta meta = {.index = 5, .term = 2, .config_index = 1};
    struct raft_event taken = {.type = RAFT_EV_SNAPSHOT_TAKEN, .taken = {&meta, {5, 2}}};
    struct raft_event chunk = {.type = RAFT_EV_SNAPSHOT_CHUNK};
    struct raft_event done = {.type = RAFT_EV_SNAPSHOT_INSTALLED, .installed = {5, 0}};

    TG_TEST(g, 3, 3);
    g.opt.chunk_bytes = 4;
    tg_start(&g, 1);
    tg_start(&g, 2);
    tg_elect(&g, 1);
    for (int i = 0; i < 3; i++) {
        tg_propose(&g, 1, "abc");
        tg_deliver(&g);
    }
    meta.config = *raft_config_latest(g.s[1].r, NULL);
    ck_assert_int_eq(tg_step(&g, 1, &taken), 0);
    tg_start(&g, 3);
    tg_tick(&g, 1, 31);
    for (int i = 0; i < 3 && g.s[1].out->chunk_reads_n == 0; i++) {
        tg_deliver_some(&g, 1, 3);
        tg_deliver_some(&g, 3, 1);
    }
    ck_assert_uint_eq(g.s[1].out->chunk_reads_n, 1);
    ck_assert_uint_eq(g.s[1].out->chunk_reads[0].offset, 0);
    ck_assert_uint_eq(g.s[1].out->chunk_reads[0].len_max, 4);
    tg_drop(&g, 0, 0);
    chunk.chunk.peer = 3;
    chunk.chunk.meta = &meta;
    chunk.chunk.data = (const uint8_t *)"abcd";
    chunk.chunk.len = 4;
    ck_assert_int_eq(tg_step(&g, 1, &chunk), 0);
    ck_assert_str_eq(tg_trace(&g), "1>3 t2 snapshot 5/2 at 0+4");
    tg_deliver_some(&g, 1, 3);
    ck_assert_str_eq(tg_trace(&g), "3>1 t2 snapshot-reply 5 at 4");
    tg_deliver(&g);
    ck_assert_uint_eq(g.s[1].out->chunk_reads[0].offset, 4);
    chunk.chunk.offset = 4;
    chunk.chunk.done = true;
    tg_step(&g, 1, &chunk);
    tg_deliver(&g);
    ck_assert_ptr_nonnull(g.s[3].out->install);
    ck_assert(g.s[3].out->install->done);
    g.s[3].applied = 5;
    tg_step(&g, 3, &done);
    ck_assert_str_eq(tg_trace(&g), "3>1 t2 snapshot-reply 5 at 0 done");
    tg_propose(&g, 1, "d");
    tg_deliver(&g);
    ck_assert_uint_eq(raft_last_index(g.s[3].r), 6);
    tg_fini(&g);
}
END_TEST

START_TEST(test_snapshot_that_the_log_covers_is_not_installed)
{
    struct raft_snapshot_meta meta = {.index = 3, .term = 2, .config_index = 1};
    struct raft_msg m = {.type = RAFT_MSG_SNAPSHOT, .from = 2, .to = 1, .term = 2};

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){2, 2, 2, 0});
    tg_start(&g, 1);
    meta.config = *raft_config_latest(g.s[1].r, NULL);
    m.snapshot.meta = &meta;
    m.snapshot.data = (const uint8_t *)"x";
    m.snapshot.len = 1;
    tg_receive(&g, 1, &m);
    ck_assert_ptr_null(g.s[1].out->install);
    ck_assert_str_eq(tg_trace(&g), "1>2 t2 snapshot-reply 3 at 0 done");
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 3);
    ck_assert_uint_eq(raft_last_index(g.s[1].r), 4); /* the rest of the log stays */
    tg_fini(&g);
}
END_TEST

/* Installed for the leader before: the new one has the entry, but does not know it is committed. */
START_TEST(test_snapshot_reply_beyond_the_new_leaders_commit)
{
    struct raft_msg m = {.type = RAFT_MSG_SNAPSHOT_REPLY, .from = 2, .to = 1};
    struct raft_peer_info p;

    TG_TEST(g, 3, 3);
    tg_log(&g, 1, 2, (const uint64_t[]){2, 2, 2, 0});
    tg_log(&g, 2, 2, (const uint64_t[]){2, 2, 2, 0});
    tg_start_all(&g);
    tg_tick(&g, 1, 201);
    for (int i = 0; i < 2; i++) {
        tg_deliver_some(&g, 1, 3);
        tg_deliver_some(&g, 3, 1);
    }
    ck_assert_int_eq(raft_role(g.s[1].r), RAFT_LEADER);
    ck_assert_uint_eq(raft_commit_index(g.s[1].r), 0);
    m.term = raft_term(g.s[1].r);
    m.snapshot_reply.index = 3;
    m.snapshot_reply.done = true;
    ck_assert_int_eq(tg_receive(&g, 1, &m), 0);
    ck_assert(raft_peer_info(g.s[1].r, 2, &p));
    ck_assert_uint_eq(p.match, 3);
    m.snapshot_reply.index = 9; /* that log it has not */
    ck_assert_int_eq(tg_receive(&g, 1, &m), RAFT_E_BAD_MESSAGE);
    tg_fini(&g);
}
END_TEST

/* The change that made it the only voter may be unknown to a leader that still reads by a lease. */
START_TEST(test_only_voter_after_a_change_waits_for_the_old_lease)
{
    TG_TEST(g, 2, 2);
    tg_start_all(&g);
    tg_elect(&g, 1);
    tg_change(&g, 1, RAFT_REMOVE, 1);
    tg_deliver_some(&g, 1, 2);
    tg_drop(&g, 0, 0);
    tg_stop(&g, 2);
    tg_start(&g, 2);
    ck_assert_int_eq(raft_role(g.s[2].r), RAFT_FOLLOWER);
    tg_read(&g, 1, 1); /* still right: nobody can have written since */
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    tg_tick(&g, 2, 201);
    ck_assert_int_eq(raft_role(g.s[2].r), RAFT_LEADER);
    tg_read(&g, 1, 2);
    ck_assert_uint_eq(g.s[1].reads_n, 1);
    tg_fini(&g);
}
END_TEST

START_TEST(test_deadlines_move_with_the_role)
{
    TG_TEST(g, 3, 3);
    tg_start(&g, 1);
    ck_assert_int_ge(g.s[1].out->deadline.ns, g.now_ns + TG_MS(150));
    ck_assert_int_le(g.s[1].out->deadline.ns, g.now_ns + TG_MS(200));
    tg_start(&g, 2);
    tg_elect(&g, 1);
    ck_assert_int_le(g.s[1].out->deadline.ns, g.now_ns + TG_MS(30));
    tg_fini(&g);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("rules");

    tcase_add_test(t, test_figure_8_old_terms_are_not_committed_by_counting);
    tcase_add_test(t, test_follower_commits_only_what_the_leader_verified);
    tcase_add_test(t, test_leader_sends_before_its_own_disk_but_counts_it_after);
    tcase_add_test(t, test_majority_of_other_disks_commits_before_the_leaders);
    tcase_add_test(t, test_follower_acknowledges_on_persisted_only);
    tcase_add_test(t, test_persisted_counts_only_for_entries_still_ours);
    tcase_add_test(t, test_append_doubled_and_out_of_order);
    tcase_add_test(t, test_back_off_skips_whole_terms);
    tcase_add_test(t, test_lost_append_is_sent_again_after_a_heartbeat);
    tcase_add_test(t, test_messages_have_entry_and_byte_limits);
    tcase_add_test(t, test_too_much_uncommitted_is_refused);
    tcase_add_test(t, test_entries_not_in_memory_are_fetched);
    tcase_add_test(t, test_restart_waits_for_a_leader_before_it_commits);
    tcase_add_test(t, test_restart_with_state_ahead_of_the_log);
    tcase_add_test(t, test_restart_votes_once_in_a_term);
    tcase_add_test(t, test_term_and_vote_are_durable_before_messages);
    tcase_add_test(t, test_election_trace);
    tcase_add_test(t, test_candidates_are_not_heard_while_a_leader_lives);
    tcase_add_test(t, test_restarted_server_keeps_the_lease_it_granted);
    tcase_add_test(t, test_leader_without_a_majority_steps_down);
    tcase_add_test(t, test_server_cut_off_with_a_higher_term_comes_back);
    tcase_add_test(t, test_two_voters);
    tcase_add_test(t, test_transfer);
    tcase_add_test(t, test_transfer_to_a_dead_server_ends_in_time);
    tcase_add_test(t, test_read_with_a_lease_needs_no_message);
    tcase_add_test(t, test_reads_share_rounds_of_heartbeats);
    tcase_add_test(t, test_read_waits_for_a_commit_of_the_term);
    tcase_add_test(t, test_reads_that_wait_for_a_commit_make_no_rounds);
    tcase_add_test(t, test_only_voter_leads_when_its_vote_is_durable);
    tcase_add_test(t, test_reads_of_a_deposed_leader_fail);
    tcase_add_test(t, test_lease_is_over_once_leadership_was_offered);
    tcase_add_test(t, test_learner_joins_and_is_promoted);
    tcase_add_test(t, test_learner_far_behind_is_not_promoted);
    tcase_add_test(t, test_no_change_before_a_commit_of_the_term);
    tcase_add_test(t, test_last_voter_cannot_go);
    tcase_add_test(t, test_removed_leader_steps_down_and_names_an_heir);
    tcase_add_test(t, test_server_that_an_uncommitted_change_removes_may_still_campaign);
    tcase_add_test(t, test_snapshot_streams_in_chunks);
    tcase_add_test(t, test_snapshot_that_the_log_covers_is_not_installed);
    tcase_add_test(t, test_snapshot_reply_beyond_the_new_leaders_commit);
    tcase_add_test(t, test_only_voter_after_a_change_waits_for_the_old_lease);
    tcase_add_test(t, test_deadlines_move_with_the_role);
    return check_run("raft rules", t, NULL);
}
