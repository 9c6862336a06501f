/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any bytes as a snapshot. The checksums keep a fuzzer out, so the input is also taken as a stream
 * that is cut into proper blocks here.
 */
#include <string.h>
#include <zlib.h>

#include "state/rows.h"
#include "state/snapshot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void feed(struct store *store, const uint8_t *data, size_t size, bool cut)
{
    const size_t room = 1000;
    struct state_restore *r;
    struct errtext e;

    if (state_restore_begin(store, &r))
        abort();
    if (!cut) {
        if (state_restore_chunk(r, data, size, &e) == 0)
            (void)state_restore_commit(r, &e);
        else
            state_restore_abort(r);
        return;
    }
    while (size > 0) {
        uint8_t head[8];
        size_t n = MIN(room, size);

        le32_write(head, (uint32_t)n);
        le32_write(head + 4, (uint32_t)crc32_z(0, data, n));
        if (state_restore_chunk(r, head, sizeof(head), &e) || state_restore_chunk(r, data, n, &e)) {
            state_restore_abort(r);
            return;
        }
        data += n;
        size -= n;
    }
    (void)state_restore_commit(r, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store *store = store_mem_new();

    feed(store, data, size, false);
    feed(store, data, size, true);
    store_free(store);
    return 0;
}
