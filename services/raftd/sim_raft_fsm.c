/* SPDX-License-Identifier: MPL-2.0 */
#include <errno.h>
#include <string.h>

#include "sim_raft.h"

#define FSM_FILLER 700 /* a snapshot takes several chunks */

void fsm_reset(struct fsm *f)
{
    memset(f, 0, sizeof(*f));
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
    return h * UINT64_C(0xff51afd7ed558ccd);
}

/* Entries of all types count: the state at an index says the whole history. */
void fsm_apply(struct fsm *f, const struct raft_entry *e)
{
    uint64_t h = mix(mix(f->hash, e->index), e->type);

    assert(e->index == f->applied + 1);
    for (uint32_t i = 0; i < e->len; i++)
        h = mix(h, e->data[i]);
    f->hash = h | 1;
    f->applied = e->index;
    f->slots[h % FSM_SLOTS] = h;
}

size_t fsm_snapshot_len(void)
{
    return sizeof(struct fsm) + FSM_FILLER;
}

void fsm_snapshot(const struct fsm *f, uint8_t *buf)
{
    memcpy(buf, f, sizeof(*f));
    memset(buf + sizeof(*f), (int)(f->hash & 0xff), FSM_FILLER);
}

int fsm_restore(struct fsm *f, const uint8_t *buf, size_t len)
{
    if (len != fsm_snapshot_len())
        return -EBADMSG;
    memcpy(f, buf, sizeof(*f));
    return 0;
}
