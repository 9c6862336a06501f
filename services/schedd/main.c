/* SPDX-License-Identifier: MPL-2.0 */
#include "schedd_shell.h"

static const struct svc schedd = {
    .name = "schedd",
    .purpose = "The scheduler: turns evaluations into plans and submits them to the leader.",
    .init = schedd_init,
    .stop = schedd_stop,
    .fini = schedd_fini,
};

int main(int argc, char **argv)
{
    return svc_main(argc, argv, &schedd);
}
