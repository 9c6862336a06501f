/* SPDX-License-Identifier: MPL-2.0 */
/* What schedulers write. */
#include <string.h>

#include "raftd_build.h"
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
