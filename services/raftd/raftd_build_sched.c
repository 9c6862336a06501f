/* SPDX-License-Identifier: MPL-2.0 */
/* What schedulers write, and their settings. */
#include <string.h>

#include "raftd_build.h"
#include "state/state_config.h"
#include "wire/wire.h"

#define EVALS_MAX 64 /* blobs of a command */

enum built raftd_build_eval_update(struct building *b, void *msg)
{
    steppe_EvalUpdateRequest *req = msg;
    steppe_EvalUpdateCommand cmd = {.reason = "scheduler"};
    struct strbuf bodies[EVALS_MAX] = {0};
    struct bytes blobs[EVALS_MAX];
    size_t n = req->evals_count;
    enum built built;

    if (!raftd_sched_holds(b->rd, req->eval_id, req->token))
        return raftd_build_error(b, 409, "evaluation is not outstanding");
    if (n == 0 || n > EVALS_MAX)
        return raftd_build_error(b, 400, "%zu evaluations in one update, not 1 to %d", n,
                                 EVALS_MAX);
    for (size_t i = 0; i < n; i++) {
        steppe_Evaluation *ev = &req->evals[i];

        ev->modify_time = clock_wall().ns;
        if (!ev->create_time)
            ev->create_time = ev->modify_time;
        (void)wire_encode(steppe_Evaluation_fields, ev, &bodies[i]);
        blobs[i] = bytes_of(bodies[i].data, bodies[i].len);
    }
    built = raftd_build_command(b, COMMAND_EVAL_UPDATE, &cmd, blobs, n);
    for (size_t i = 0; i < n; i++)
        strbuf_fini(&bodies[i]);
    return built;
}

enum built raftd_build_scheduler_config(struct building *b, void *msg)
{
    steppe_SchedulerSetConfigRequest *req = msg;
    const char *algorithm = req->config.scheduler_algorithm;
    steppe_ConfigPutCommand cmd = {
        .name = STATE_CONFIG_SCHEDULER, .cas = req->cas, .cas_index = req->modify_index};
    _cleanup_(strbuf_fini) struct strbuf value = STRBUF_INIT;
    struct bytes blob;

    if (!req->has_config)
        return raftd_build_error(b, 400, "missing scheduler config");
    if (algorithm && algorithm[0] && strcmp(algorithm, "binpack") != 0 &&
        strcmp(algorithm, "spread") != 0)
        return raftd_build_error(b, 400, "invalid scheduler algorithm: %s", algorithm);
    if (state_scheduler_encode(&req->config, &value) < 0)
        return raftd_build_error(b, 500, "the settings cannot be stored");
    blob = bytes_of(value.data, value.len);
    return raftd_build_command(b, COMMAND_CONFIG_PUT, &cmd, &blob, 1);
}
