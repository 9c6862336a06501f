/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The tables of a region's state: X(ID, "name", replicated, key, value). `ID` is
 * nul-terminated-free text unless said, `be64` a big-endian number, `~` its complement (newest
 * first), NSID the namespace, a NUL byte and the id, ID16 a UUID's 16 bytes. Replicated tables are
 * the state machine's: the same bytes on every server, part of every snapshot. Order is
 * append-only: numbers are in snapshots.
 *
 * ALLOC_LOG and NODE_LOG have one row for each allocation and node, moved at each change: a reader
 * who remembers the applied index of its last look finds what changed since by a scan from there.
 * INDEXES has also, under two bytes (table number, 'g'), the index of the last row deleted from
 * ALLOCS and NODES.
 *
 * Why a job is spread over several rows: a change of its status rewrites a row of some 60 bytes, a
 * list reads small ready-made rows, and a spec is written once per version.
 */
#pragma once

#include "base/base.h"

/* clang-format off */
#define STATE_TABLES(X)                                                                                              \
    X(LOCAL,         "local",         false, "name of a fact about this very file",    "generation, boot id, group") \
    X(META,          "meta",          true,  "applied, configuration",                 "be64 index, be64 term[, bytes]") \
    X(INDEXES,       "indexes",       true,  "table number (1 byte)",                  "be64: last index that changed it") \
    X(JOBS,          "jobs",          true,  "NSID",                                   "JobRow (proto/command.proto)") \
    X(JOB_STUBS,     "job_stubs",     true,  "NSID",                                   "le32 n, field 1 of JobListResponse; n bytes of its content come from the command") \
    X(JOB_VERSIONS,  "job_versions",  true,  "NSID, NUL, be64 ~version",               "le32 n, flags, spec (n bytes), Job with the server-set fields") \
    X(JOB_SUMMARIES, "job_summaries", true,  "NSID",                                   "JobSummary")                 \
    X(EVALS,         "evals",         true,  "id",                                     "ns length, ns, field 1 of EvalListResponse") \
    X(JOB_EVALS,     "job_evals",     true,  "NSID, NUL, be64 create index, eval id",  "1 byte: enum state_eval_status") \
    X(NODES,         "nodes",         true,  "id",                                     "NodeRow (proto/command.proto)") \
    X(NODE_SPECS,    "node_specs",    true,  "id",                                     "Node as it registered, server-set fields cleared") \
    X(NODE_STUBS,    "node_stubs",    true,  "id",                                     "le32 n, field 1 of NodeListResponse; n bytes of its content come from the command") \
    X(CONFIGS,       "configs",       true,  "name",                                   "be64 create, be64 modify index, bytes") \
    X(RETRIES,       "retries",       true,  "idempotency key",                        "be64 index, body of the reply") \
    X(RETRY_ORDER,   "retry_order",   true,  "be64 index",                             "idempotency key") \
    X(ALLOCS,        "allocs",        true,  "ID16",                                   "Allocation as it was placed") \
    X(JOB_ALLOCS,    "job_allocs",    true,  "NSID, NUL, ID16",                        "")                           \
    X(NODE_ALLOCS,   "node_allocs",   true,  "node's ID16, ID16; node's ID16",         "be64: last change by a server, Allocation: what changed since it was placed, to be merged over that; be64: last deletion") \
    X(EVAL_ALLOCS,   "eval_allocs",   true,  "evaluation's ID16, ID16",                "")                           \
    X(ALLOC_LOG,     "alloc_log",     true,  "be64 modify index, ID16",                "1 byte: is it live, be64 alloc modify index")                           \
    X(NODE_LOG,      "node_log",      true,  "be64 modify index, ID16",                "")                           \
    X(JOB_TALLIES,   "job_tallies",   true,  "NSID",                                   "be64 each: live allocations, all, evaluations, open, blocked ones; missing when there are none") \
    X(JOB_SPECS,     "job_specs",     true,  "NSID, NUL, be64 create index, be64 version", "be64 allocations of it, then its JOB_VERSIONS row once that is gone") \
    X(SYSTEM_JOBS,   "system_jobs",   true,  "NSID of a system job",                   "")                           \
    X(DEPLOYMENTS,   "deployments",   true,  "ID16",                                   "Deployment")                 \
    X(JOB_DEPLOYMENTS, "job_deployments", true, "NSID, NUL, be64 create index, ID16",  "")
/* clang-format on */

enum state_table {
#define X(id, name, replicated, key, value) STATE_##id,
    STATE_TABLES(X)
#undef X
        STATE_TABLE_COUNT
};

/* "jobs" ...; never NULL for a table of the enum. */
const char *state_table_name(enum state_table table);
bool state_table_replicated(enum state_table table);

/* Bounds on what becomes a key: LMDB's keys end at 511 bytes. */
#define STATE_KEY_MAX           511
#define STATE_NAMESPACE_LEN_MAX 128
#define STATE_JOB_ID_LEN_MAX    320
#define STATE_VALUE_MAX         (64u << 20)

#define STATE_JOB_VERSIONS_MAX   6    /* kept per job, as Nomad's JobTrackedVersions */
#define STATE_JOB_EVALS_MAX      64   /* kept per job: beyond, the oldest terminal one goes, and */
#define STATE_JOB_EVALS_OPEN_MAX 1024 /* beyond, when none is terminal, the oldest one */
#define STATE_NODE_EVENTS_MAX    10
#define STATE_GROUP_LEN_MAX      300   /* a task group's name, of one that has allocations */
#define STATE_RETRIES_SPAN       16384 /* log entries for which an idempotency key is remembered */

/* Nomad's evaluation states; those from COMPLETE on are terminal. */
#define STATE_EVAL_STATUSES(X)                                                                     \
    X(PENDING, "pending")                                                                          \
    X(BLOCKED, "blocked")                                                                          \
    X(COMPLETE, "complete")                                                                        \
    X(FAILED, "failed")                                                                            \
    X(CANCELED, "canceled")
enum state_eval_status {
#define X(id, text) STATE_EVAL_##id,
    STATE_EVAL_STATUSES(X)
#undef X
        STATE_EVAL_STATUS_COUNT
};
const char *state_eval_status_name(enum state_eval_status status);
/* false when the word is none of them. */
bool state_eval_status_parse(const char *word, enum state_eval_status *ret);
