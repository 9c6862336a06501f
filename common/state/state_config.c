/* SPDX-License-Identifier: MPL-2.0 */
#include "state/state_config.h"

#include <errno.h>
#include <pb_decode.h>

#include "state/rows.h"

void state_scheduler_defaults(steppe_SchedulerConfiguration *ret)
{
    *ret = (steppe_SchedulerConfiguration){
        .scheduler_algorithm = xstrdup("binpack"),
        .has_preemption_config = true,
        .preemption_config = {.system_scheduler_enabled = true},
    };
}

int state_scheduler_config(struct store_txn *t, steppe_SchedulerConfiguration *ret,
                           struct state_meta *m)
{
    struct bytes v;
    int r = store_get(t, STATE_CONFIGS, bytes_text(STATE_CONFIG_SCHEDULER), &v);

    *m = (struct state_meta){.found = true};
    if (r == STORE_E_NOT_FOUND) {
        state_scheduler_defaults(ret);
        return state_table_index(t, STATE_CONFIGS, &m->index);
    }
    if (r < 0 || v.len < 16)
        return err_trace(r ? r : -EBADMSG);
    m->index = be64_read(v.data + 8);
    r = row_decode(steppe_SchedulerConfiguration_fields, bytes_of(v.data + 16, v.len - 16), ret,
                   sizeof(*ret));
    if (r)
        return err_trace(r);
    ret->create_index = be64_read(v.data);
    ret->modify_index = m->index;
    if (!ret->scheduler_algorithm)
        ret->scheduler_algorithm = xstrdup("binpack");
    ret->has_preemption_config = true; /* what is not there is off */
    return 0;
}

int state_scheduler_encode(const steppe_SchedulerConfiguration *config, struct strbuf *out)
{
    steppe_SchedulerConfiguration kept = *config;

    kept.create_index = kept.modify_index = 0;
    return row_encode(steppe_SchedulerConfiguration_fields, &kept, out);
}
