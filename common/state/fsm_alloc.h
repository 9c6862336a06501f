/* SPDX-License-Identifier: MPL-2.0 */
/* Rows of allocations within the state machine: reading one, changing one. Internal. */
#pragma once

#include "state/fsm_internal.h"
#include "state/state_alloc.h"

/* Fields that a plan may set; the rest of a placement is the state's, the client's, or made later.
 */
#define FSM_ALLOC_PLACED                                                                           \
    (ROW_TAG(steppe_Allocation_id_tag) | ROW_TAG(steppe_Allocation_namespace_tag) |                \
     ROW_TAG(steppe_Allocation_eval_id_tag) | ROW_TAG(steppe_Allocation_name_tag) |                \
     ROW_TAG(steppe_Allocation_node_id_tag) | ROW_TAG(steppe_Allocation_node_name_tag) |           \
     ROW_TAG(steppe_Allocation_job_id_tag) | ROW_TAG(steppe_Allocation_task_group_tag) |           \
     ROW_TAG(steppe_Allocation_allocated_resources_tag) | ROW_TAG(steppe_Allocation_metrics_tag) | \
     ROW_TAG(steppe_Allocation_desired_status_tag) |                                               \
     ROW_TAG(steppe_Allocation_desired_description_tag) |                                          \
     ROW_TAG(steppe_Allocation_deployment_id_tag) |                                                \
     ROW_TAG(steppe_Allocation_deployment_status_tag) |                                            \
     ROW_TAG(steppe_Allocation_reschedule_tracker_tag) |                                           \
     ROW_TAG(steppe_Allocation_previous_allocation_tag) |                                          \
     ROW_TAG(steppe_Allocation_followup_eval_id_tag) |                                             \
     ROW_TAG(steppe_Allocation_preempted_allocations_tag) |                                        \
     ROW_TAG(steppe_Allocation_job_version_tag))

/* An allocation that is there. The view lies in the store: until the next write. */
struct fsm_alloc {
    uint8_t id[16], node[16], eval[16];
    struct bytes placed, changed; /* its row, and what changed since: maybe nothing */
    struct alloc_view v, placed_v;
    struct row_key nsid;
};

/* STORE_E_NOT_FOUND. */
int fsm_alloc_read(struct fsm_ctx *c, const uint8_t id[static 16], struct fsm_alloc *ret);

/* What to change; a text with data NULL stays. */
struct fsm_alloc_patch {
    struct bytes
        text[ALLOC_VIEW_TAGS];    /* statuses, descriptions, ids and messages by field number */
    struct bytes task_states_in;  /* fields 20 of these bytes take the place of the old ones */
    bool by_client;               /* the client's word: nothing new for it to fetch */
    bool quiet;                   /* a server's, but of no interest to the client */
    bool fresh_deployment_status; /* forgets the old one */
};

/* Writes the change, its places in the indexes, its part in its job's counts. */
int fsm_alloc_change(struct fsm_ctx *c, struct fsm_alloc *a, const struct fsm_alloc_patch *p);

/* Watches and indexes of what shows an allocation. */
void fsm_alloc_touch(struct fsm_ctx *c, const uint8_t id[static 16], const uint8_t node[static 16],
                     const uint8_t eval[static 16], struct bytes nsid, bool for_client);
/* Takes the row of the log to this entry's index, with a value; was 0: there was none. */
int fsm_log_move(struct fsm_ctx *c, enum state_table log, uint64_t was, const uint8_t id[static 16],
                 struct bytes value);
/* The same for ALLOC_LOG, whose value says what a reader may go by without reading more. */
int fsm_alloc_log(struct fsm_ctx *c, uint64_t was, const uint8_t id[static 16], bool live,
                  uint64_t alloc_modify_index);
/* Something was deleted from the table at this entry, see state_deleted_index(). */
int fsm_note_deleted(struct fsm_ctx *c, enum state_table table);
/* Tells the observer and the job's counts; before the first write of the change. */
int fsm_alloc_tell(struct fsm_ctx *c, const struct fsm_alloc *a, const struct fsm_alloc_move *m);
