/* SPDX-License-Identifier: MPL-2.0 */
/*
 * From what the disk holds to a running core: newest snapshot, log, state machine. The state in
 * LMDB is kept when it is of this boot of the machine, else rebuilt from snapshot and log.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/prng.h"
#include "raftd.h"

#define GROUP_FILE "group-id" /* 32 hex digits: RAFTD_GROUP_ID_LEN bytes */

/* The log gets shorter by whole segments: one holds about as much as lies between two snapshots. */
#define SEGMENT_ENTRY_BYTES 2048u
#define SEGMENT_MIN         (64u << 10)
#define SEGMENT_MAX         (16u << 20)

static const uint8_t no_group[RAFTD_GROUP_ID_LEN];

bool raftd_is_blank(const struct raftd *rd)
{
    return raft_config_latest(rd->raft, NULL)->n == 0 && raft_last_index(rd->raft) == 0;
}

bool raftd_has_group(const struct raftd *rd)
{
    return memcmp(rd->group, no_group, sizeof(no_group)) != 0;
}

/* ---- the group's id ---- */

static int group_read(struct raftd *rd, const char *path, struct errtext *e)
{
    char text[2 * RAFTD_GROUP_ID_LEN + 1] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return errno == ENOENT ? 0
                               : err_set(e, -errno, "cannot read %s: %s", path, strerror(errno));
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n != (ssize_t)sizeof(text) - 1)
        return err_set(e, -EBADMSG, "%s: not a group id", path);
    for (int i = 0; i < RAFTD_GROUP_ID_LEN; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0}, *end;

        rd->group[i] = (uint8_t)strtoul(pair, &end, 16);
        if (*end)
            return err_set(e, -EBADMSG, "%s: not a group id", path);
    }
    return 0;
}

void raftd_group_text(const uint8_t group[static RAFTD_GROUP_ID_LEN],
                      char out[static 2 * RAFTD_GROUP_ID_LEN + 1])
{
    for (int i = 0; i < RAFTD_GROUP_ID_LEN; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", group[i]);
}

int raftd_group_adopt(struct raftd *rd, const uint8_t group[static RAFTD_GROUP_ID_LEN],
                      struct errtext *e)
{
    const char *dir = rd->ctx->conf->server.data_dir;
    _cleanup_(freep) char *path = xasprintf("%s/%s", dir, GROUP_FILE);
    char text[2 * RAFTD_GROUP_ID_LEN + 1];
    int r;

    raftd_group_text(group, text);
    r = file_replace(path, text, sizeof(text) - 1, 0600, true);
    if (r < 0)
        return err_set(e, r, "cannot write %s: %s", path, strerror(-r));
    memcpy(rd->group, group, RAFTD_GROUP_ID_LEN);
    log_info("part of raft group %s", text);
    return 0;
}

/* ---- disk -> memory ---- */

static int open_log(struct raftd *rd, struct snap_reader **ret_snap, struct errtext *e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/raft", rd->ctx->conf->server.data_dir);
    struct raftd_disk *d = &rd->disk;
    uint64_t between = rd->ctx->conf->server.raft_snapshot_threshold;
    struct wal_options opt = {
        .segment_bytes =
            MAX(MIN(between, (uint64_t)SEGMENT_MAX / SEGMENT_ENTRY_BYTES) * SEGMENT_ENTRY_BYTES,
                (uint64_t)SEGMENT_MIN),
    };
    struct wal_state st;
    int r = wal_fs_posix_open(dir, &d->fs);

    if (r < 0)
        return err_set(e, r, "cannot open %s: %s", dir, strerror(-r));
    r = wal_open(&d->fs, &opt, &d->wal, e);
    if (r < 0)
        return err_prefix(e, r, "raft log in %s", dir);
    wal_state(d->wal, &st);
    if (st.cut_bytes)
        log_warn("raft log: %llu bytes of an unfinished write cut off dir=%s",
                 (unsigned long long)st.cut_bytes, dir);
    r = snap_open_newest(&d->fs, ret_snap, e);
    if (e->text[0])
        log_warn("%s", e->text);
    if (r == -ENOENT && st.base_index == 0)
        return 0;
    if (r < 0)
        return err_set(e, r, "raft log in %s begins at %llu, but there is no sound snapshot", dir,
                       (unsigned long long)st.base_index + 1);
    d->snapshot_index = snap_meta(*ret_snap)->index;
    d->snapshot_term = snap_meta(*ret_snap)->term;
    d->snapshot_bytes = snap_state_bytes(*ret_snap);
    r = wal_align(d->wal, d->snapshot_index, d->snapshot_term);
    return r < 0 ? err_set(e, r, "cannot restart the raft log in %s: %s", dir, strerror(-r)) : 0;
}

static int open_state(struct raftd *rd, struct errtext *e)
{
    _cleanup_(freep) char *dir = xasprintf("%s/state", rd->ctx->conf->server.data_dir);
    char boot_id[40] = "";
    struct store_lmdb_options opt = {.path = dir, .group = "", .boot_id = boot_id};
    struct wal_state st;
    bool fresh = false;
    int r = store_boot_id(NULL, boot_id);

    if (r < 0)
        log_warn("the kernel's boot id is not known: the state is rebuilt at each start");
    r = store_lmdb_open(&opt, &rd->store, &fresh, e);
    if (r < 0)
        return r;
    rd->watches = watch_set_new(RAFTD_WATCHES_MAX);
    r = fsm_new(rd->store, rd->watches, &rd->fsm);
    if (r < 0)
        return err_set(e, r, "cannot read the state in %s: %s", dir, strerror(-r));
    wal_state(rd->disk.wal, &st);
    if (fsm_applied_index(rd->fsm) > st.last_index)
        return err_set(
            e, -EBADMSG,
            "state in %s is at %llu, the raft log ends at %llu: the log has lost entries", dir,
            (unsigned long long)fsm_applied_index(rd->fsm), (unsigned long long)st.last_index);
    if (fsm_applied_index(rd->fsm) < rd->disk.snapshot_index)
        return raftd_disk_load_snapshot(rd, e);
    return 0;
}

static int load_entry(void *user, const struct raft_entry *entry)
{
    return raft_load_entry(user, entry);
}

static int load_core(struct raftd *rd, struct snap_reader *snap, struct errtext *e)
{
    const struct conf_server *conf = &rd->ctx->conf->server;
    struct raft_options opt = {
        .id = rd->id,
        .election_timeout_ns = conf->raft_election_timeout * conf->raft_multiplier,
        .heartbeat_ns = conf->raft_heartbeat_interval * conf->raft_multiplier,
        .seed = random_u64(),
    };
    struct wal_state st;
    int r;

    rd->raft = raft_new(&opt);
    wal_state(rd->disk.wal, &st);
    raft_load_hard(rd->raft, st.term, st.vote);
    if (snap)
        raft_load_snapshot(rd->raft, snap_meta(snap));
    raft_load_log_base(rd->raft, (struct raft_position){st.base_index, st.base_term});
    r = wal_replay(rd->disk.wal, st.base_index + 1, load_entry, rd->raft);
    return r < 0 ? err_set(e, r, "cannot read the raft log: %s", strerror(-r)) : 0;
}

/* What a person can do about a file that is damaged: the error names it. */
static void add_remedy(const char *dir, struct errtext *e)
{
    size_t n = strlen(e->text);

    (void)snprintf(e->text + n, sizeof(e->text) - n,
                   "; when the region's other servers are well, remove %s: this one gets all of it "
                   "from them",
                   dir);
}

int raftd_boot(struct raftd *rd, struct errtext *e)
{
    const char *dir = rd->ctx->conf->server.data_dir;
    _cleanup_(freep) char *group = xasprintf("%s/%s", dir, GROUP_FILE);
    struct snap_reader *snap = NULL;
    int r;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_set(e, -errno, "cannot make %s: %s", dir, strerror(errno));
    r = group_read(rd, group, e);
    if (r == 0)
        r = open_log(rd, &snap, e);
    if (r == 0)
        r = open_state(rd, e);
    if (r == 0)
        r = load_core(rd, snap, e);
    if (snap)
        snap_close(snap);
    if (r == -EBADMSG)
        add_remedy(dir, e);
    if (r == 0)
        r = raftd_disk_open(rd, e);
    if (r < 0)
        return r;
    if (!raftd_is_blank(rd) && !raftd_has_group(rd)) {
        /* Ended between the first entry and the group's file: nobody has heard of it yet. */
        uint8_t fresh[RAFTD_GROUP_ID_LEN];

        random_bytes(fresh, sizeof(fresh));
        return raftd_group_adopt(rd, fresh, e);
    }
    return 0;
}

/* The first entry of a new group is its configuration, in term 1 on the disk of the server that
 * founds it; it wins the first election and the others get it from there. */
int raftd_bootstrap(struct raftd *rd, const struct raft_config *config, struct errtext *e)
{
    uint8_t data[RAFT_CONFIG_BYTES_MAX], group[RAFTD_GROUP_ID_LEN];
    struct raft_entry entry = {.index = 1, .term = 1, .type = RAFT_ENTRY_CONFIG};
    int r;

    assert(raftd_is_blank(rd));
    random_bytes(group, sizeof(group));
    entry.len = (uint32_t)raft_config_encode(config, data);
    entry.buf = raft_buf_copy(data, entry.len);
    entry.data = entry.buf->data;
    r = wal_append_hard(rd->disk.wal, 1, 0);
    if (r == 0)
        r = wal_append(rd->disk.wal, &entry, 1);
    if (r == 0)
        r = wal_sync(rd->disk.wal);
    raft_load_hard(rd->raft, 1, 0);
    if (r == 0)
        r = raft_load_entry(rd->raft, &entry);
    raft_buf_unref(entry.buf);
    if (r < 0)
        return err_set(e, r, "cannot write the first raft entry: %s", strerror(-r));
    return raftd_group_adopt(rd, group, e);
}
