/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any bytes as a Raft message: decoded or refused, and what was decoded may go into a core (which
 * may refuse it) and encodes to the same bytes again.
 */
#include <string.h>

#include "raft_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct raft_group group = {"fuzz group"};

static void fuzz_core(struct raft_msg *m)
{
    struct raft_options opt = {.id = 1};
    struct raft_server s1 = {.id = 1, .voter = true}, s2 = {.id = 2, .voter = true};
    struct raft_snapshot_meta meta = {.index = 5, .term = 2, .config_index = 1};
    struct raft_event ev = {.type = RAFT_EV_START, .now = {NS_PER_SEC}};
    const struct raft_out *out;
    struct raft *r = raft_new(&opt);

    raft_config_add(&meta.config, &s1);
    raft_config_add(&meta.config, &s2);
    raft_load_hard(r, 3, 0);
    raft_load_snapshot(r, &meta);
    raft_step(r, &ev, &out);
    ev = (struct raft_event){.type = RAFT_EV_MESSAGE, .now = {3 * NS_PER_SEC}, .msg = m};
    m->to = 1;
    raft_step(r, &ev, &out);
    raft_step(r, &ev, &out); /* doubled */
    ev = (struct raft_event){.type = RAFT_EV_TICK, .now = {5 * NS_PER_SEC}};
    raft_step(r, &ev, &out);
    raft_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raft_wire_in in = {0};
    struct raft_buf *frame;

    if (size > (1u << 20))
        return 0;
    frame = raft_buf_copy(data, (uint32_t)size);
    /* The group is no secret: let the fuzzer get past it. */
    if (size >= 20)
        memcpy(frame->data + 4, group.bytes, sizeof(group.bytes));
    if (raft_wire_decode(frame, &group, &in) == 0) {
        struct strbuf b = STRBUF_INIT;
        int err = raft_wire_encode(&in.msg, &group, &b);

        assert(err == 0 && b.len == size && memcmp(b.data, frame->data, size) == 0);
        strbuf_fini(&b);
        fuzz_core(&in.msg);
    }
    raft_wire_in_fini(&in);
    raft_buf_unref(frame);
    return 0;
}
