/* SPDX-License-Identifier: MPL-2.0 */
/* Decoded requests -> commands: one builder per write method, in the table of raftd_write.c. */
#pragma once

#include "raftd.h"
#include "rpc.pb.h"

enum built {
    BUILT_COMMAND, /* p->command is to be proposed */
    BUILT_BEAT,    /* a heartbeat that changes nothing; index says as of when */
    BUILT_ERROR,   /* code and e */
};

struct building {
    struct raftd *rd;
    struct raftd_proposal *p;
    const steppe_Request *env;
    struct bytes raw;      /* the request as it came */
    const char *namespace; /* "default" when the request names none */
    uint64_t index;
    unsigned code;
    struct errtext e;
};

/* msg is the decoded request, the builder may change it. */
typedef enum built raftd_build_fn(struct building *b, void *msg);
raftd_build_fn raftd_build_job_register;
raftd_build_fn raftd_build_job_deregister;
raftd_build_fn raftd_build_scheduler_config;
raftd_build_fn raftd_build_node_register;
raftd_build_fn raftd_build_node_status;
raftd_build_fn raftd_build_node_eligibility;
raftd_build_fn raftd_build_node_deregister;
raftd_build_fn raftd_build_node_evaluate;
raftd_build_fn raftd_build_node_update_alloc;
raftd_build_fn raftd_build_alloc_stop;
raftd_build_fn raftd_build_job_evaluate;

/* The command behind a missed heartbeat. */
int raftd_encode_node_down(struct strbuf *out, const char *node_id);

/* Sets code and text; returns BUILT_ERROR. */
enum built raftd_build_error(struct building *b, unsigned code, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Encodes into p->command. */
enum built raftd_build_command(struct building *b, enum command_type type, const void *body,
                               const struct bytes *blobs, size_t n);
/* Copies a text that may be NULL into a fixed field; too long ones are cut by the field's bound,
 * which the callers check first. */
void raftd_copy_text(char *to, size_t cap, const char *from);
#define COPY_TEXT(to, from) raftd_copy_text((to), sizeof(to), (from))
