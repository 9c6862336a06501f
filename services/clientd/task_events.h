/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Task events in Nomad's words: the fields, the details and the text that people see.
 */
#pragma once

#include "alloc.pb.h"
#include "base/base.h"
#include "base/clock.h"

#define TASK_EVENTS_MAX 10 /* kept of each task, the oldest go first */

/* X(ID, type) */
#define TASK_EVENT_TYPES(X)                                                                        \
    X(RECEIVED, "Received")                                                                        \
    X(SETUP, "Task Setup")                                                                         \
    X(SETUP_FAILURE, "Setup Failure")                                                              \
    X(FAILED_VALIDATION, "Failed Validation")                                                      \
    X(DRIVER_FAILURE, "Driver Failure")                                                            \
    X(STARTED, "Started")                                                                          \
    X(TERMINATED, "Terminated")                                                                    \
    X(KILLING, "Killing")                                                                          \
    X(KILLED, "Killed")                                                                            \
    X(RESTARTING, "Restarting")                                                                    \
    X(NOT_RESTARTING, "Not Restarting")                                                            \
    X(RESTART_SIGNALED, "Restart Signaled")                                                        \
    X(SIGNALING, "Signaling")                                                                      \
    X(SIBLING_FAILED, "Sibling Task Failed")                                                       \
    X(LEADER_DEAD, "Leader Task Dead")                                                             \
    X(MAIN_DEAD, "Main Tasks Dead")                                                                \
    X(SHUTDOWN_DELAY, "Waiting for shutdown delay")                                                \
    X(ALLOC_UNHEALTHY, "Alloc Unhealthy")                                                          \
    X(DRIVER_MESSAGE, "Driver")

enum task_event_type {
#define X(id, name) TASK_EVENT_##id,
    TASK_EVENT_TYPES(X)
#undef X
        TASK_EVENT_N
};

/* What a type needs of it; the rest stays 0. Texts are copied. */
struct task_event_facts {
    const char *text;   /* message, reason, error, or name of the sibling */
    const char *signal; /* SIGNALING */
    int64_t delay_ns;   /* RESTARTING: start delay; KILLING: kill timeout */
    int code, number;   /* TERMINATED: exit code, signal */
    bool oom;
    bool fails; /* the task is failed by it */
};

/* Appends to the state's events and drops what is over TASK_EVENTS_MAX. */
void task_event_add(steppe_TaskState *ts, enum task_event_type type,
                    const struct task_event_facts *f, struct wall_ns now);
