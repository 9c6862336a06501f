/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Raft commands: their numbers, and how to write one. proto/command.proto has the messages and the
 * frame; the state machine (fsm.h) reads them. Who proposes a command fills in every id and time:
 * applying it knows no clock and no chance.
 */
#pragma once

#include "base/base.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "command.pb.h"
#include "state/store.h"

/* X(ID, number, blobs at least, at most); numbers are append-only */
#define COMMANDS(X)                                                                                \
    X(NOOP, 0, 0, 0)                                                                               \
    X(JOB_REGISTER, 1, 3, 3)                                                                       \
    X(JOB_DEREGISTER, 2, 0, 0)                                                                     \
    X(NODE_REGISTER, 3, 2, 2)                                                                      \
    X(NODE_STATUS, 4, 0, 0)                                                                        \
    X(NODE_ELIGIBILITY, 5, 0, 0)                                                                   \
    X(NODE_DEREGISTER, 6, 0, 0)                                                                    \
    X(EVAL_UPDATE, 7, 1, 64)                                                                       \
    X(CONFIG_PUT, 8, 1, 1)                                                                         \
    X(PLAN_APPLY, 9, 1, 64)                                                                        \
    X(ALLOC_CLIENT_UPDATE, 10, 1, 2)                                                               \
    X(ALLOC_TRANSITION, 11, 1, 2)                                                                  \
    X(NODE_EVALUATE, 12, 0, 0)                                                                     \
    X(REAP, 13, 1, 1)

enum command_type {
#define X(id, number, blobs_min, blobs_max) COMMAND_##id = (number),
    COMMANDS(X)
#undef X
};

#define COMMAND_BLOBS_MAX 64
#define COMMAND_LEN_MAX   (32u << 20)

/* "JOB_REGISTER" ..., NULL for an unknown number. */
const char *command_name(unsigned type);

/* Is this number of blobs right for the type? false for an unknown one. */
bool command_blobs_fit(unsigned type, size_t blobs_n);

/*
 * Appends one command to out. `body` is the message of the type (steppe_JobRegisterCommand *, ...,
 * NULL for NOOP), `now` the proposer's wall clock, `key` an idempotency key or NULL. 0, -EMSGSIZE
 * when a text does not fit its field or the whole is over COMMAND_LEN_MAX, -EINVAL for a wrong
 * number of blobs; then out is as before.
 */
int command_encode(struct strbuf *out, enum command_type type, struct wall_ns now, const char *key,
                   const void *body, const struct bytes *blobs, size_t blobs_n);

/* A command taken apart; everything points into the bytes that were read. */
struct command {
    unsigned type; /* maybe unknown to this release */
    struct wall_ns now;
    char key[65];
    struct bytes body;
    struct bytes blobs[COMMAND_BLOBS_MAX];
    size_t blobs_n;
};

/* -EPROTO when the frame is broken or of a later version; the type is not judged. */
int command_decode(struct bytes data, struct command *ret);
