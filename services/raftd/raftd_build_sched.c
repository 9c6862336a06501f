/* SPDX-License-Identifier: MPL-2.0 */
/* The settings of schedulers. */
#include <string.h>

#include "raftd_build.h"
#include "state/state_config.h"
#include "wire/wire.h"

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
