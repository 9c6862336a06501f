/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The write-ahead log, over a disk that loses and tears, and once over real files.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check_run.h"
#include "sim_raft_disk.h"
#include "wal.h"

#define READ_MAX 64

static struct prng prng;
static struct sim_disk *disk;
static struct wal_fs fs;
static struct wal *wal;
static struct errtext text;

static void setup(void)
{
    prng_seed(&prng, 42);
    disk = sim_disk_new(&prng);
    fs = sim_wal_fs(disk);
    ck_assert_int_eq(wal_open(&fs, NULL, &wal, &text), 0);
}

static void teardown(void)
{
    wal = wal_close(wal);
    disk = sim_disk_free(disk);
}

static int reopen(const struct wal_options *opt)
{
    wal = wal_close(wal);
    return wal_open(&fs, opt, &wal, &text);
}

/* Entries first..last of a term; entry i has i bytes of the value i. */
static int append(uint64_t first, uint64_t last, uint64_t term)
{
    int err = 0;

    for (uint64_t i = first; i <= last && err == 0; i++) {
        uint8_t data[512];
        struct raft_entry e = {.index = i, .term = term, .data = data, .len = (uint32_t)i};

        memset(data, (int)i, sizeof(data));
        e.type = i % 3;
        err = wal_append(wal, &e, 1);
    }
    return err;
}

static void check_entry(const struct raft_entry *e, uint64_t index, uint64_t term)
{
    ck_assert_uint_eq(e->index, index);
    ck_assert_uint_eq(e->term, term);
    ck_assert_uint_eq(e->len, index);
    ck_assert_uint_eq(e->type, index % 3);
    for (uint32_t i = 0; i < e->len; i++)
        ck_assert_uint_eq(e->data[i], (uint8_t)index);
}

static void check_range(uint64_t first, uint64_t last, uint64_t term)
{
    struct raft_entry e[READ_MAX];

    while (first <= last) {
        struct raft_buf *buf;
        int n =
            wal_read(wal, first, (unsigned)MIN(READ_MAX, last - first + 1), UINT32_MAX, e, &buf);

        ck_assert_int_gt(n, 0);
        for (int i = 0; i < n; i++)
            check_entry(&e[i], first + (unsigned)i, term);
        raft_buf_unref(buf);
        first += (unsigned)n;
    }
}

static struct wal_state state(void)
{
    struct wal_state st;

    wal_state(wal, &st);
    return st;
}

START_TEST(test_wal_empty)
{
    ck_assert_uint_eq(state().last_index, 0);
    ck_assert_uint_eq(state().term, 0);
    ck_assert_int_eq(reopen(NULL), 0);
    ck_assert_uint_eq(state().last_index, 0);
}
END_TEST

/* Lengths 1 to 60 and more: some cores lose a log whose entries are no multiple of eight. */
START_TEST(test_wal_entries_of_any_length_survive_a_restart)
{
    ck_assert_int_eq(append(1, 100, 7), 0);
    ck_assert_int_eq(wal_append_hard(wal, 9, 3), 0);
    ck_assert_int_eq(wal_sync(wal), 0);
    sim_disk_crash(disk);
    ck_assert_int_eq(reopen(NULL), 0);
    ck_assert_uint_eq(state().last_index, 100);
    ck_assert_uint_eq(state().last_term, 7);
    ck_assert_uint_eq(state().term, 9);
    ck_assert_uint_eq(state().vote, 3);
    check_range(1, 100, 7);
}
END_TEST

START_TEST(test_wal_reads_what_is_still_buffered)
{
    struct raft_entry e[READ_MAX];
    struct raft_buf *buf;

    append(1, 20, 1);
    check_range(1, 20, 1);
    ck_assert_int_eq(wal_read(wal, 21, 1, 1, e, &buf), -ENOENT);
    ck_assert_int_eq(wal_read(wal, 0, 1, 1, e, &buf), -ENOENT);
    /* At least one entry, else not more than the bytes asked for. */
    ck_assert_int_eq(wal_read(wal, 10, READ_MAX, 1, e, &buf), 1);
    raft_buf_unref(buf);
    ck_assert_int_eq(wal_read(wal, 1, READ_MAX, 100, e, &buf), 3);
    raft_buf_unref(buf);
}
END_TEST

START_TEST(test_wal_one_sync_for_a_batch)
{
    uint64_t before = sim_disk_syncs(disk);

    append(1, 50, 1);
    wal_append_hard(wal, 1, 1);
    ck_assert_int_eq(wal_sync(wal), 0);
    ck_assert_uint_eq(sim_disk_syncs(disk), before + 1);
    ck_assert_int_eq(wal_sync(wal), 0); /* nothing new */
    ck_assert_uint_eq(sim_disk_syncs(disk), before + 1);
}
END_TEST

START_TEST(test_wal_torn_tail_is_cut)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct wal_state st;

        teardown();
        setup();
        prng_seed(&prng, seed);
        append(1, 10, 1);
        ck_assert_int_eq(wal_sync(wal), 0);
        append(11, 20, 1);
        wal_append_hard(wal, 5, 2);
        check_range(11, 12, 1); /* writes it, syncs nothing */
        sim_disk_crash(disk);
        ck_assert_msg(reopen(NULL) == 0, "seed %lu: %s", (unsigned long)seed, text.text);
        st = state();
        ck_assert_uint_ge(st.last_index, 10);
        check_range(1, st.last_index, 1);
        /* And it can be written on from there. */
        append(st.last_index + 1, 25, 2);
        ck_assert_int_eq(wal_sync(wal), 0);
        sim_disk_crash(disk);
        ck_assert_int_eq(reopen(NULL), 0);
        ck_assert_uint_eq(state().last_index, 25);
        check_range(st.last_index + 1, 25, 2);
    }
}
END_TEST

START_TEST(test_wal_damage_before_the_tail_is_an_error)
{
    append(1, 10, 1);
    wal_sync(wal);
    append(11, 20, 1);
    wal_sync(wal);
    wal = wal_close(wal);
    ck_assert_int_eq(sim_disk_damage(disk, "wal-0000000000000001", 150), 0);
    ck_assert_int_eq(wal_open(&fs, NULL, &wal, &text), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(text.text, "wal-0000000000000001: offset 1"));
    ck_assert_int_eq(sim_disk_damage(disk, "wal-0000000000000001", 150), 0);
    ck_assert_int_eq(wal_open(&fs, NULL, &wal, &text), 0);
    check_range(1, 20, 1);
}
END_TEST

START_TEST(test_wal_damage_of_a_header_is_an_error)
{
    append(1, 10, 1);
    wal_sync(wal);
    append(11, 12, 1);
    wal_sync(wal);
    wal = wal_close(wal);
    sim_disk_damage(disk, "wal-0000000000000001", 20);
    ck_assert_int_eq(wal_open(&fs, NULL, &wal, &text), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(text.text, "wal-0000000000000001: offset 0"));
}
END_TEST

START_TEST(test_wal_missing_segment_is_an_error)
{
    const struct wal_options small = {.segment_bytes = 200};

    ck_assert_int_eq(reopen(&small), 0);
    append(1, 40, 1);
    wal_sync(wal);
    wal = wal_close(wal);
    ck_assert_int_eq(sim_disk_unlink(disk, "wal-0000000000000003"), 0);
    ck_assert_int_eq(wal_open(&fs, &small, &wal, &text), -EBADMSG);
    ck_assert_str_eq(text.text, "write-ahead log: wal-0000000000000003 is missing");
}
END_TEST

START_TEST(test_wal_segments_roll)
{
    const struct wal_options small = {.segment_bytes = 200, .buffer_bytes = 100};

    ck_assert_int_eq(reopen(&small), 0);
    wal_append_hard(wal, 3, 1);
    append(1, 100, 1);
    ck_assert_int_eq(wal_sync(wal), 0);
    check_range(1, 100, 1);
    sim_disk_crash(disk);
    ck_assert_int_eq(reopen(&small), 0);
    ck_assert_uint_eq(state().last_index, 100);
    ck_assert_uint_eq(state().term, 3);
    check_range(1, 100, 1);
}
END_TEST

START_TEST(test_wal_truncation)
{
    append(1, 20, 1);
    ck_assert_int_eq(wal_truncate(wal, 11), 0);
    ck_assert_uint_eq(state().last_index, 10);
    append(11, 15, 2);
    ck_assert_int_eq(wal_truncate(wal, 16), 0); /* beyond the end: nothing */
    ck_assert_int_eq(wal_truncate(wal, 14), 0);
    append(14, 18, 3);
    wal_sync(wal);
    sim_disk_crash(disk);
    ck_assert_int_eq(reopen(NULL), 0);
    ck_assert_uint_eq(state().last_index, 18);
    check_range(1, 10, 1);
    check_range(11, 13, 2);
    check_range(14, 18, 3);
    ck_assert_int_eq(wal_truncate(wal, 5), 0); /* through several segments */
    ck_assert_uint_eq(state().last_index, 4);
    ck_assert_uint_eq(state().last_term, 1);
    ck_assert_int_eq(reopen(NULL), 0);
    ck_assert_uint_eq(state().last_index, 4);
    check_range(1, 4, 1);
    ck_assert_int_eq(wal_truncate(wal, 1), 0);
    ck_assert_uint_eq(state().last_index, 0);
    ck_assert_int_eq(wal_truncate(wal, 0), -EINVAL);
}
END_TEST

START_TEST(test_wal_reset_behind_a_snapshot)
{
    append(1, 20, 1);
    wal_append_hard(wal, 4, 2);
    ck_assert_int_eq(wal_reset(wal, 100, 3), 0);
    ck_assert_uint_eq(state().base_index, 100);
    ck_assert_uint_eq(state().last_index, 100);
    ck_assert_uint_eq(state().last_term, 3);
    append(101, 105, 4);
    wal_sync(wal);
    sim_disk_crash(disk);
    ck_assert_int_eq(reopen(NULL), 0);
    ck_assert_uint_eq(state().base_index, 100);
    ck_assert_uint_eq(state().base_term, 3);
    ck_assert_uint_eq(state().last_index, 105);
    ck_assert_uint_eq(state().term, 4);
    ck_assert_uint_eq(state().vote, 2);
    check_range(101, 105, 4);
}
END_TEST

/* A crash at each point of a reset: the old log or the new one, never an error or a mixture. */
START_TEST(test_wal_reset_is_atomic)
{
    const struct wal_options small = {.segment_bytes = 200};

    for (uint64_t ops = 0; ops < 60; ops++) {
        uint64_t last;

        teardown();
        setup();
        reopen(&small);
        append(1, 20, 1);
        wal_sync(wal);
        sim_disk_fail_after(disk, ops, -EIO);
        wal_reset(wal, 100, 3);
        sim_disk_crash(disk);
        ck_assert_msg(reopen(&small) == 0, "%s", text.text);
        last = state().last_index;
        ck_assert(last == 20 || last == 100);
        ck_assert_uint_eq(state().base_index, last == 20 ? 0 : 100);
        ck_assert_int_eq(wal_align(wal, 100, 3), 0);
        ck_assert_uint_eq(state().last_index, 100);
    }
}
END_TEST

START_TEST(test_wal_align_keeps_what_fits)
{
    append(1, 20, 1);
    ck_assert_int_eq(wal_align(wal, 10, 1), 0);
    ck_assert_uint_eq(state().last_index, 20);
    ck_assert_int_eq(wal_align(wal, 10, 2), 0); /* another history */
    ck_assert_uint_eq(state().last_index, 10);
    ck_assert_uint_eq(state().base_term, 2);
    ck_assert_int_eq(wal_align(wal, 10, 2), 0);
    ck_assert_uint_eq(state().base_index, 10);
}
END_TEST

START_TEST(test_wal_compaction)
{
    const struct wal_options small = {.segment_bytes = 300};
    struct wal_state st;

    reopen(&small);
    append(1, 60, 1);
    wal_sync(wal);
    ck_assert_int_eq(wal_compact(wal, 50, 30), 0);
    st = state();
    ck_assert_uint_gt(st.base_index, 0);
    ck_assert_uint_le(st.base_index, 30); /* the newest 30 stay */
    ck_assert_int_eq(wal_compact(wal, 50, 0), 0);
    st = state();
    ck_assert_uint_gt(st.base_index, 30);
    ck_assert_uint_le(st.base_index, 50);
    ck_assert_uint_eq(st.base_term, 1);
    check_range(st.base_index + 1, 60, 1);
    sim_disk_crash(disk);
    ck_assert_int_eq(reopen(&small), 0);
    ck_assert_uint_eq(state().base_index, st.base_index);
    check_range(st.base_index + 1, 60, 1);
}
END_TEST

START_TEST(test_wal_disk_full)
{
    append(1, 5, 1);
    ck_assert_int_eq(wal_sync(wal), 0);
    append(6, 10, 1);
    sim_disk_fail_after(disk, 0, -ENOSPC);
    ck_assert_int_eq(wal_sync(wal), -ENOSPC);
    sim_disk_fail_after(disk, 0, 0);
    /* What is on the disk is not known now: only a restart tells. */
    ck_assert_int_eq(wal_sync(wal), -EIO);
    ck_assert_int_eq(append(11, 11, 1), -EIO);
    ck_assert_int_eq(wal_append_hard(wal, 2, 0), -EIO);
    ck_assert_int_eq(reopen(NULL), 0);
    ck_assert_uint_eq(state().last_index, 5);
}
END_TEST

START_TEST(test_wal_failed_sync)
{
    append(1, 5, 1);
    sim_disk_fail_after(disk, 1, -EIO); /* the write works, the sync does not */
    ck_assert_int_eq(wal_sync(wal), -EIO);
    sim_disk_fail_after(disk, 0, 0);
    ck_assert_int_eq(wal_sync(wal), -EIO);
}
END_TEST

START_TEST(test_wal_refuses_what_does_not_fit)
{
    const struct wal_options small = {.entry_bytes_max = 10};
    uint8_t data[11] = {0};
    struct raft_entry e = {.index = 1, .term = 1, .data = data, .len = sizeof(data)};

    reopen(&small);
    ck_assert_int_eq(wal_append(wal, &e, 1), -EMSGSIZE);
    e.len = 10;
    e.index = 2;
    ck_assert_int_eq(wal_append(wal, &e, 1), -EINVAL); /* a gap */
    e.index = 1;
    ck_assert_int_eq(wal_append(wal, &e, 1), 0);
}
END_TEST

static int replay_one(void *user, const struct raft_entry *e)
{
    uint64_t *next = user;

    check_entry(e, (*next)++, 1);
    return *next == 90 ? 17 : 0;
}

START_TEST(test_wal_replay)
{
    const struct wal_options small = {.segment_bytes = 500};
    uint64_t next = 3;

    reopen(&small);
    append(1, 80, 1);
    ck_assert_int_eq(wal_replay(wal, 3, replay_one, &next), 0);
    ck_assert_uint_eq(next, 81);
    append(81, 100, 1);
    next = 50;
    ck_assert_int_eq(wal_replay(wal, 50, replay_one, &next), 17);
}
END_TEST

START_TEST(test_wal_read_checks_the_disk_again)
{
    struct raft_entry e[READ_MAX];
    struct raft_buf *buf;

    append(1, 60, 1);
    wal_sync(wal);
    sim_disk_damage(disk, "wal-0000000000000001", 2000);
    ck_assert_int_eq(wal_read(wal, 1, 60, UINT32_MAX, e, &buf), -EBADMSG);
}
END_TEST

static int remove_one(void *arg, const char *name)
{
    struct wal_fs *real = arg;

    return real->ops->unlink(real->user, name);
}

START_TEST(test_wal_on_real_files)
{
    char dir[] = "/tmp/steppe-test-wal-XXXXXX";
    char sub[64];
    struct wal_fs real;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(sub, sizeof(sub), "%s/raft", dir);
    ck_assert_int_eq(wal_fs_posix_open(sub, &real), 0);
    wal = wal_close(wal);
    ck_assert_int_eq(wal_open(&real, NULL, &wal, &text), 0);
    ck_assert_int_eq(append(1, 50, 1), 0);
    ck_assert_int_eq(wal_truncate(wal, 41), 0);
    ck_assert_int_eq(append(41, 60, 2), 0);
    ck_assert_int_eq(wal_sync(wal), 0);
    wal = wal_close(wal);
    ck_assert_int_eq(wal_open(&real, NULL, &wal, &text), 0);
    ck_assert_uint_eq(state().last_index, 60);
    check_range(1, 40, 1);
    check_range(41, 60, 2);
    ck_assert_int_eq(wal_reset(wal, 100, 3), 0);
    ck_assert_uint_eq(state().base_index, 100);
    wal = wal_close(wal);
    ck_assert_int_eq(real.ops->list(real.user, remove_one, &real), 0);
    wal_fs_posix_close(&real);
    ck_assert_int_eq(rmdir(sub), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("log");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_wal_empty);
    tcase_add_test(t, test_wal_entries_of_any_length_survive_a_restart);
    tcase_add_test(t, test_wal_reads_what_is_still_buffered);
    tcase_add_test(t, test_wal_one_sync_for_a_batch);
    tcase_add_test(t, test_wal_torn_tail_is_cut);
    tcase_add_test(t, test_wal_damage_before_the_tail_is_an_error);
    tcase_add_test(t, test_wal_damage_of_a_header_is_an_error);
    tcase_add_test(t, test_wal_missing_segment_is_an_error);
    tcase_add_test(t, test_wal_segments_roll);
    tcase_add_test(t, test_wal_truncation);
    tcase_add_test(t, test_wal_reset_behind_a_snapshot);
    tcase_add_test(t, test_wal_reset_is_atomic);
    tcase_add_test(t, test_wal_align_keeps_what_fits);
    tcase_add_test(t, test_wal_compaction);
    tcase_add_test(t, test_wal_disk_full);
    tcase_add_test(t, test_wal_failed_sync);
    tcase_add_test(t, test_wal_refuses_what_does_not_fit);
    tcase_add_test(t, test_wal_replay);
    tcase_add_test(t, test_wal_read_checks_the_disk_again);
    tcase_add_test(t, test_wal_on_real_files);
    return check_run("wal", t, NULL);
}
