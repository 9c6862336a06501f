/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any bytes as the first segment of a write-ahead log, and as a snapshot file: opened or refused;
 * what opens can be read, written on and opened again.
 */
#include <string.h>

#include "sim_raft_disk.h"
#include "wal.h"
#include "wal_snap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count_one(void *user, const struct raft_entry *e)
{
    uint64_t *n = user;

    *n += e->len;
    return 0;
}

static void put_file(struct sim_disk *d, const char *name, const uint8_t *data, size_t size)
{
    struct sim_file *f;

    sim_disk_open(d, name, true, &f);
    sim_disk_pwrite(d, f, data, size, 0);
    sim_disk_close(d, f);
}

static void fuzz_log(const struct wal_fs *fs)
{
    struct wal *w;
    struct errtext e;
    struct wal_state before, after;
    struct raft_entry entry = {.data = (const uint8_t *)"x", .len = 1};
    uint64_t bytes = 0;
    int err;

    if (wal_open(fs, NULL, &w, &e) != 0)
        return;
    wal_state(w, &before);
    err = wal_replay(w, before.base_index + 1, count_one, &bytes);
    assert(err == 0);
    entry.index = before.last_index + 1;
    entry.term = before.last_term;
    if (entry.index != 0)
        err = wal_append(w, &entry, 1);
    assert(err == 0);
    err = wal_sync(w);
    assert(err == 0);
    wal_close(w);
    err = wal_open(fs, NULL, &w, &e);
    assert(err == 0);
    wal_state(w, &after);
    assert(after.last_index == entry.index || entry.index == 0);
    wal_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prng prng;
    struct sim_disk *d;
    struct snap_reader *r;
    struct wal_fs fs;

    prng_seed(&prng, 1);
    d = sim_disk_new(&prng);
    fs = sim_wal_fs(d);
    put_file(d, "wal-0000000000000001", data, size);
    put_file(d, "snap-0000000000000001-0000000000000001", data, size);
    fuzz_log(&fs);
    if (snap_open_newest(&fs, &r, NULL) == 0)
        snap_close(r);
    sim_disk_free(d);
    return 0;
}
