/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <string.h>

#include "check_run.h"
#include "sim_raft_disk.h"
#include "wal_snap.h"

static struct prng prng;
static struct sim_disk *disk;
static struct wal_fs fs;
static struct errtext text;

static void setup(void)
{
    prng_seed(&prng, 42);
    disk = sim_disk_new(&prng);
    fs = sim_wal_fs(disk);
}

static void teardown(void)
{
    disk = sim_disk_free(disk);
}

static struct raft_snapshot_meta make_meta(uint64_t index)
{
    struct raft_snapshot_meta meta = {.index = index, .term = 3, .config_index = index - 1};
    struct raft_server s = {.id = 7, .voter = true, .uuid = "u-7", .address = "127.0.0.7:4647"};

    raft_config_add(&meta.config, &s);
    return meta;
}

static int make(uint64_t index, size_t len)
{
    struct raft_snapshot_meta meta = make_meta(index);
    struct snap_writer *w = NULL;
    int err = snap_create(&fs, &meta, &w);

    for (size_t i = 0; i < len && err == 0; i++) {
        uint8_t byte = (uint8_t)(index + i);

        err = snap_write(w, &byte, 1);
    }
    if (err) {
        snap_abort(w);
        return err;
    }
    return snap_commit(w, &meta);
}

static void check_newest(uint64_t index, size_t len)
{
    struct snap_reader *r;
    uint8_t *buf = xmalloc(len + 10);

    ck_assert_int_eq(snap_open_newest(&fs, &r, &text), 0);
    ck_assert_uint_eq(snap_meta(r)->index, index);
    ck_assert_uint_eq(snap_meta(r)->term, 3);
    ck_assert_uint_eq(snap_meta(r)->config_index, index - 1);
    ck_assert_uint_eq(snap_meta(r)->config.n, 1);
    ck_assert_str_eq(snap_meta(r)->config.servers[0].address, "127.0.0.7:4647");
    ck_assert_uint_eq(snap_state_bytes(r), len);
    ck_assert_int_eq(snap_read_state(r, 0, buf, len + 10), (ssize_t)len);
    for (size_t i = 0; i < len; i++)
        ck_assert_uint_eq(buf[i], (uint8_t)(index + i));
    ck_assert_int_eq(snap_read_state(r, len, buf, 10), 0);
    free(buf);
    snap_close(r);
}

START_TEST(test_snap_none)
{
    struct snap_reader *r;

    ck_assert_int_eq(snap_open_newest(&fs, &r, &text), -ENOENT);
    ck_assert_str_eq(text.text, "");
}
END_TEST

START_TEST(test_snap_newest_first_and_prune)
{
    ck_assert_int_eq(make(5, 10), 0);
    ck_assert_int_eq(make(300, 100000), 0);
    ck_assert_int_eq(make(20, 0), 0);
    check_newest(300, 100000);
    ck_assert_int_eq(snap_prune(&fs, 1), 0);
    ck_assert_int_eq(sim_disk_unlink(disk, "snap-0000000000000003-0000000000000005"), -ENOENT);
    ck_assert_int_eq(sim_disk_unlink(disk, "snap-0000000000000003-0000000000000014"), -ENOENT);
    check_newest(300, 100000);
}
END_TEST

START_TEST(test_snap_damaged_one_is_skipped_and_named)
{
    static const uint64_t where[] = {0, 9, 40, 200, 1000, 1080};

    make(5, 10);
    for (size_t i = 0; i < ARRAY_LEN(where); i++) {
        make(9, 1000);
        check_newest(9, 1000);
        ck_assert_int_eq(sim_disk_damage(disk, "snap-0000000000000003-0000000000000009", where[i]),
                         0);
        check_newest(5, 10);
        ck_assert_ptr_nonnull(strstr(text.text, "snap-0000000000000003-0000000000000009: "));
        sim_disk_unlink(disk, "snap-0000000000000003-0000000000000009");
    }
}
END_TEST

/* A crash at each operation: the old one or the new one, both whole. */
START_TEST(test_snap_crash_while_it_is_made)
{
    for (uint64_t ops = 0; ops < 12; ops++) {
        struct snap_reader *r;
        int err;

        teardown();
        setup();
        ck_assert_int_eq(make(5, 100), 0);
        sim_disk_fail_after(disk, ops, -EIO);
        err = make(9, 100000);
        sim_disk_crash(disk);
        ck_assert_int_eq(snap_open_newest(&fs, &r, &text), 0);
        ck_assert(snap_meta(r)->index == 5 || snap_meta(r)->index == 9);
        if (err == 0)
            ck_assert_uint_eq(snap_meta(r)->index, 9);
        ck_assert_str_eq(text.text, "");
        snap_close(r);
    }
}
END_TEST

static int copy_file(struct snap_reader *r, size_t piece, uint64_t damage,
                     const struct raft_snapshot_meta *meta, struct wal_fs *to)
{
    uint8_t buf[4096];
    struct snap_writer *w;
    uint64_t off = 0;
    ssize_t n;

    ck_assert_int_eq(snap_receive(to, &w), 0);
    while ((n = snap_read_file(r, off, buf, MIN(piece, sizeof(buf)))) > 0) {
        if (damage >= off && damage < off + (uint64_t)n)
            buf[damage - off] ^= 1;
        ck_assert_int_eq(snap_receive_piece(w, off, buf, (size_t)n), 0);
        off += (uint64_t)n;
    }
    return snap_commit(w, meta);
}

START_TEST(test_snap_travels_as_a_file)
{
    struct raft_snapshot_meta meta = make_meta(50), other = make_meta(51);
    struct sim_disk *far = sim_disk_new(&prng), *near = disk;
    struct wal_fs to = sim_wal_fs(far), from = fs;
    struct snap_reader *r;

    make(50, 9000);
    ck_assert_int_eq(snap_open_newest(&from, &r, NULL), 0);
    ck_assert_int_eq(copy_file(r, 100, 60, &meta, &to), -EBADMSG);
    ck_assert_int_eq(copy_file(r, 100, 5000, &meta, &to), -EBADMSG);
    ck_assert_int_eq(copy_file(r, 100, UINT64_MAX, &other, &to), -EBADMSG);
    ck_assert_int_eq(copy_file(r, 1000, UINT64_MAX, &meta, &to), 0);
    snap_close(r);
    sim_disk_crash(far);
    fs = to;
    disk = far;
    check_newest(50, 9000);
    fs = from;
    disk = near;
    sim_disk_free(far);
}
END_TEST

START_TEST(test_snap_pieces_must_follow_each_other)
{
    struct snap_writer *w;

    ck_assert_int_eq(snap_receive(&fs, &w), 0);
    ck_assert_int_eq(snap_receive_piece(w, 0, "abc", 3), 0);
    ck_assert_int_eq(snap_receive_piece(w, 4, "abc", 3), -EINVAL);
    snap_abort(w);
    ck_assert_ptr_null(snap_abort(NULL));
}
END_TEST

START_TEST(test_snap_disk_full)
{
    sim_disk_fail_after(disk, 2, -ENOSPC);
    ck_assert_int_eq(make(9, 200000), -ENOSPC);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("files");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_snap_none);
    tcase_add_test(t, test_snap_newest_first_and_prune);
    tcase_add_test(t, test_snap_damaged_one_is_skipped_and_named);
    tcase_add_test(t, test_snap_crash_while_it_is_made);
    tcase_add_test(t, test_snap_travels_as_a_file);
    tcase_add_test(t, test_snap_pieces_must_follow_each_other);
    tcase_add_test(t, test_snap_disk_full);
    return check_run("snapshots", t, NULL);
}
