/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The one table of services. Order is start order; stopping goes backwards. A service that `needs`
 * others is first started when those are ready; later each is restarted alone.
 */
#pragma once

#include "base/base.h"

enum sup_role { SUP_ROLE_SERVER = 1, SUP_ROLE_CLIENT = 2 };

/* clang-format off */
/* id, name, roles, needs, seconds to be ready */
#define SUP_SERVICES(X)                                                                            \
    X(SERFD,   "serfd",   SUP_ROLE_SERVER,                   0,                  15)               \
    X(RAFTD,   "raftd",   SUP_ROLE_SERVER,                   0,                 120)               \
    X(ROUTERD, "routerd", SUP_ROLE_SERVER | SUP_ROLE_CLIENT, 0,                  15)               \
    X(APID,    "apid",    SUP_ROLE_SERVER | SUP_ROLE_CLIENT, 1u << SUP_ROUTERD,  15)               \
    X(SCHEDD,  "schedd",  SUP_ROLE_SERVER,                   1u << SUP_ROUTERD,  15)               \
    X(CLIENTD, "clientd", SUP_ROLE_CLIENT,                   1u << SUP_ROUTERD,  30)
/* clang-format on */

enum sup_service_id {
#define X(id, name, roles, needs, ready) SUP_##id,
    SUP_SERVICES(X)
#undef X
        SUP_SERVICES_N
};

struct sup_service {
    const char *name;     /* also the program's */
    unsigned roles;       /* enum sup_role: nodes that run it */
    unsigned needs;       /* bits of enum sup_service_id; those of this node count */
    unsigned ready_max_s; /* not ready by then: killed and counted as failed */
};

extern const struct sup_service sup_services[SUP_SERVICES_N];
/* -1 when there is none of that name. */
int sup_service_find(const char *name);
