/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Snapshots. The stream within the blocks:
 *     header   "STPSNAP1" le64 index le64 term le64 configuration index le32 n, n bytes
 *     row      1 byte table number + 1, le16 key length, le32 value length, key, value
 *     trailer  1 byte 0, le64 number of rows
 * A block is le32 length, le32 CRC-32 of what follows, and that many bytes of the stream; rows run
 * over the ends of blocks.
 */
#include "state/snapshot.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "state/rows.h"
#include "state/state.h"

#define SNAPSHOT_MAGIC       "STPSNAP1" /* the last character is the version */
#define SNAPSHOT_HEAD_LEN    36
#define SNAPSHOT_ROW_HEAD    7
#define SNAPSHOT_TRAILER_LEN 9
#define SNAPSHOT_BLOCK_HEAD  8
#define SNAPSHOT_CONF_MAX    (1u << 20)

static uint32_t snapshot_crc(const void *data, size_t len)
{
    return (uint32_t)crc32_z(0, data, len);
}

/* ---- writing ---- */

enum snapshot_phase { SNAPSHOT_HEADER, SNAPSHOT_ROWS, SNAPSHOT_TRAILER, SNAPSHOT_DONE };

struct state_snapshot {
    struct store_txn *txn;
    enum snapshot_phase phase;
    struct store_cursor cursor;
    bool scanning;
    unsigned table; /* being walked */
    uint64_t records;
    uint8_t head[SNAPSHOT_HEAD_LEN];
    struct bytes configuration;
    struct bytes pieces[3]; /* of the item being written; borrowed from the transaction */
    size_t pieces_n, piece, piece_at;
    uint8_t *block; /* SNAPSHOT_BLOCK_MAX bytes */
};

int state_snapshot_begin(struct store *s, struct state_snapshot **ret,
                         struct snapshot_info *ret_info)
{
    struct state_snapshot *sn = xcalloc(1, sizeof(*sn));
    struct snapshot_info info = {0};
    int r = store_begin(s, false, &sn->txn);

    if (r == 0)
        r = state_applied(sn->txn, &info.index, &info.term);
    if (r == 0)
        r = state_configuration(sn->txn, &info.configuration_index, &info.configuration);
    if (r) {
        state_snapshot_end(sn);
        return err_trace(r);
    }
    memcpy(sn->head, SNAPSHOT_MAGIC, 8);
    le64_write(sn->head + 8, info.index);
    le64_write(sn->head + 16, info.term);
    le64_write(sn->head + 24, info.configuration_index);
    le32_write(sn->head + 32, (uint32_t)info.configuration.len);
    sn->configuration = info.configuration;
    sn->block = xmalloc(SNAPSHOT_BLOCK_MAX);
    if (ret_info)
        *ret_info = info;
    *ret = sn;
    return 0;
}

/* The next row over all replicated tables; STORE_E_NOT_FOUND after the last one. */
static int snapshot_row(struct state_snapshot *sn, struct bytes *key, struct bytes *value)
{
    for (; sn->table < STATE_TABLE_COUNT; sn->table++) {
        int r = STORE_E_NOT_FOUND;

        if (!state_table_replicated((enum state_table)sn->table))
            continue;
        if (!sn->scanning) {
            r = store_scan(sn->txn, (enum state_table)sn->table, (struct bytes){0}, &sn->cursor);
            sn->scanning = true;
            if (r)
                return err_trace(r);
        }
        r = store_next(&sn->cursor, key, value);
        if (r != STORE_E_NOT_FOUND)
            return r;
        store_scan_end(&sn->cursor);
        sn->scanning = false;
    }
    return STORE_E_NOT_FOUND;
}

static void snapshot_pieces(struct state_snapshot *sn, size_t head_len, struct bytes a,
                            struct bytes b)
{
    sn->pieces[0] = bytes_of(sn->head, head_len);
    sn->pieces[1] = a;
    sn->pieces[2] = b;
    sn->pieces_n = 3;
    sn->piece = sn->piece_at = 0;
}

/* Lays out the next item. */
static int snapshot_item(struct state_snapshot *sn)
{
    struct bytes key = {0}, value = {0};
    int r;

    switch (sn->phase) {
    case SNAPSHOT_HEADER:
        snapshot_pieces(sn, SNAPSHOT_HEAD_LEN, sn->configuration, (struct bytes){0});
        sn->phase = SNAPSHOT_ROWS;
        return 0;
    case SNAPSHOT_ROWS:
        r = snapshot_row(sn, &key, &value);
        if (r < 0)
            return r;
        if (r == 0) {
            sn->records++;
            sn->head[0] = (uint8_t)(sn->table + 1);
            sn->head[1] = key.len & 0xff;
            sn->head[2] = (uint8_t)(key.len >> 8);
            le32_write(sn->head + 3, (uint32_t)value.len);
            snapshot_pieces(sn, SNAPSHOT_ROW_HEAD, key, value);
            return 0;
        }
        sn->head[0] = 0;
        le64_write(sn->head + 1, sn->records);
        snapshot_pieces(sn, SNAPSHOT_TRAILER_LEN, (struct bytes){0}, (struct bytes){0});
        sn->phase = SNAPSHOT_TRAILER;
        return 0;
    case SNAPSHOT_TRAILER:
    case SNAPSHOT_DONE:
        sn->phase = SNAPSHOT_DONE;
        break;
    }
    return 0;
}

int state_snapshot_next(struct state_snapshot *sn, struct bytes *ret)
{
    uint8_t *payload = sn->block + SNAPSHOT_BLOCK_HEAD;
    const size_t room = SNAPSHOT_BLOCK_MAX - SNAPSHOT_BLOCK_HEAD;
    size_t n = 0;

    *ret = (struct bytes){0};
    while (n < room && sn->phase != SNAPSHOT_DONE) {
        struct bytes *p = &sn->pieces[sn->piece];
        size_t take;

        if (sn->piece == sn->pieces_n) {
            int r = snapshot_item(sn);

            if (r)
                return err_trace(r);
            continue;
        }
        take = MIN(room - n, p->len - sn->piece_at);
        if (take)
            memcpy(payload + n, p->data + sn->piece_at, take);
        n += take;
        sn->piece_at += take;
        if (sn->piece_at == p->len) {
            sn->piece++;
            sn->piece_at = 0;
        }
    }
    if (n == 0)
        return 0;
    le32_write(sn->block, (uint32_t)n);
    le32_write(sn->block + 4, snapshot_crc(payload, n));
    *ret = bytes_of(sn->block, n + SNAPSHOT_BLOCK_HEAD);
    return 0;
}

struct state_snapshot *state_snapshot_end(struct state_snapshot *sn)
{
    if (!sn)
        return NULL;
    if (sn->scanning)
        store_scan_end(&sn->cursor);
    store_abort(sn->txn);
    free(sn->block);
    free(sn);
    return NULL;
}

/* ---- reading ---- */

struct state_restore {
    struct store_txn *txn; /* NULL: only checking */
    struct strbuf block;   /* a block not yet complete, with its head */
    struct strbuf stream;  /* what is not yet parsed */
    struct strbuf configuration;
    struct snapshot_info info;
    bool has_info, complete, bad;
};

int state_restore_begin(struct store *s, struct state_restore **ret)
{
    struct state_restore *r = xcalloc(1, sizeof(*r));
    int rc = s ? store_begin_replace(s, &r->txn) : 0;

    if (rc) {
        state_restore_abort(r);
        return err_trace(rc);
    }
    *ret = r;
    return 0;
}

static int restore_bad(struct state_restore *r, struct errtext *e, const char *what)
{
    r->bad = true;
    return err_set(e, SNAPSHOT_E_BAD, "snapshot: %s", what);
}

/* Each takes its item off the front of p and says how long it was; 0 = not all there yet. */
static int restore_header(struct state_restore *r, struct bytes p, size_t *used, struct errtext *e)
{
    uint32_t conf_len;

    if (p.len < SNAPSHOT_HEAD_LEN)
        return 0;
    if (memcmp(p.data, SNAPSHOT_MAGIC, 8) != 0)
        return restore_bad(r, e,
                           memcmp(p.data, SNAPSHOT_MAGIC, 7) == 0 ? "made by a later version"
                                                                  : "this is no snapshot");
    conf_len = le32_read(p.data + 32);
    if (conf_len > SNAPSHOT_CONF_MAX)
        return restore_bad(r, e, "damaged header");
    if (p.len < SNAPSHOT_HEAD_LEN + conf_len)
        return 0;
    r->info.index = le64_read(p.data + 8);
    r->info.term = le64_read(p.data + 16);
    r->info.configuration_index = le64_read(p.data + 24);
    strbuf_add(&r->configuration, p.data + SNAPSHOT_HEAD_LEN, conf_len);
    r->info.configuration = strbuf_bytes(&r->configuration);
    r->has_info = true;
    *used = SNAPSHOT_HEAD_LEN + conf_len;
    return 0;
}

static int restore_trailer(struct state_restore *r, struct bytes p, size_t *used, struct errtext *e)
{
    if (p.len < SNAPSHOT_TRAILER_LEN)
        return 0;
    if (le64_read(p.data + 1) != r->info.records)
        return restore_bad(r, e, "rows are missing");
    r->complete = true;
    *used = SNAPSHOT_TRAILER_LEN;
    return 0;
}

static int restore_row(struct state_restore *r, struct bytes p, size_t *used, struct errtext *e)
{
    unsigned table = p.data[0] - 1u;
    size_t key_len, value_len, len;

    if (p.len < SNAPSHOT_ROW_HEAD)
        return 0;
    key_len = p.data[1] | (size_t)p.data[2] << 8;
    value_len = le32_read(p.data + 3);
    if (table >= STATE_TABLE_COUNT || !state_table_replicated((enum state_table)table))
        return restore_bad(r, e, "a table that this version does not know");
    if (key_len == 0 || key_len > STATE_KEY_MAX || value_len > STATE_VALUE_MAX)
        return restore_bad(r, e, "damaged row");
    len = SNAPSHOT_ROW_HEAD + key_len + value_len;
    if (p.len < len)
        return 0;
    if (r->txn) {
        struct bytes key = bytes_of(p.data + SNAPSHOT_ROW_HEAD, key_len);
        int rc = store_put(r->txn, (enum state_table)table, key,
                           bytes_of(key.data + key_len, value_len));

        if (rc)
            return err_set(e, rc, "snapshot: writing the state: %s", strerror(-rc));
    }
    r->info.records++;
    *used = len;
    return 0;
}

static int restore_items(struct state_restore *r, struct errtext *e)
{
    struct bytes p = strbuf_bytes(&r->stream);
    size_t used;

    do {
        int rc = 0;

        used = 0;
        if (p.len == 0)
            break;
        if (r->complete)
            rc = restore_bad(r, e, "bytes after the end");
        else if (!r->has_info)
            rc = restore_header(r, p, &used, e);
        else if (p.data[0] == 0)
            rc = restore_trailer(r, p, &used, e);
        else
            rc = restore_row(r, p, &used, e);
        if (rc)
            return rc;
        p = bytes_of(p.data + used, p.len - used);
    } while (used);
    if (p.len < r->stream.len && p.len > 0)
        memmove(r->stream.data, p.data, p.len);
    r->stream.len = p.len;
    return 0;
}

/* Takes bytes of data until the block has `want`; true when it has. */
static bool restore_fill(struct state_restore *r, size_t want, struct bytes *data)
{
    size_t take = MIN(want - r->block.len, data->len);

    strbuf_add(&r->block, data->data, take);
    *data = bytes_of(data->data + take, data->len - take);
    return r->block.len == want;
}

int state_restore_chunk(struct state_restore *r, const void *bytes, size_t len, struct errtext *e)
{
    struct bytes data = bytes_of(bytes, len);

    if (r->bad)
        return restore_bad(r, e, "damaged");
    while (data.len > 0) {
        const uint8_t *head;
        size_t n;
        int rc;

        if (r->block.len < SNAPSHOT_BLOCK_HEAD && !restore_fill(r, SNAPSHOT_BLOCK_HEAD, &data))
            break;
        head = (const uint8_t *)r->block.data;
        n = le32_read(head);
        if (n == 0 || n > SNAPSHOT_BLOCK_MAX - SNAPSHOT_BLOCK_HEAD)
            return restore_bad(r, e, "this is no snapshot, or it is damaged");
        if (!restore_fill(r, SNAPSHOT_BLOCK_HEAD + n, &data))
            break;
        head = (const uint8_t *)r->block.data;
        if (snapshot_crc(head + SNAPSHOT_BLOCK_HEAD, n) != le32_read(head + 4))
            return restore_bad(r, e, "damaged: wrong checksum");
        strbuf_add(&r->stream, head + SNAPSHOT_BLOCK_HEAD, n);
        strbuf_reset(&r->block);
        rc = restore_items(r, e);
        if (rc) {
            r->bad = true;
            return rc;
        }
    }
    return 0;
}

bool state_restore_info(const struct state_restore *r, struct snapshot_info *ret)
{
    if (r->has_info)
        *ret = r->info;
    return r->has_info;
}

/* The rows must say what the header said. */
static int restore_check(struct state_restore *r, struct errtext *e)
{
    uint64_t index, term;
    int rc;

    if (r->bad || !r->complete || r->block.len > 0)
        return restore_bad(r, e, "it ends too early");
    if (!r->txn)
        return 0;
    rc = state_applied(r->txn, &index, &term);
    if (rc == 0 && (index != r->info.index || term != r->info.term))
        rc = restore_bad(r, e, "header and rows do not belong together");
    return rc;
}

int state_restore_commit(struct state_restore *r, struct errtext *e)
{
    int rc = restore_check(r, e);

    if (rc == 0 && r->txn)
        rc = store_commit(TAKE_PTR(r->txn));
    if (rc < 0)
        err_set(e, rc, "snapshot: writing the state: %s", strerror(-rc));
    state_restore_abort(r);
    return rc;
}

struct state_restore *state_restore_abort(struct state_restore *r)
{
    if (!r)
        return NULL;
    store_abort(r->txn);
    strbuf_fini(&r->block);
    strbuf_fini(&r->stream);
    strbuf_fini(&r->configuration);
    free(r);
    return NULL;
}
