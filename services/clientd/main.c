/* SPDX-License-Identifier: MPL-2.0 */
#include "clientd_shell.h"

static const struct svc clientd = {
    .name = "clientd",
    .purpose = "A client node: registers in its region, keeps alive there, runs its allocations.",
    .init = clientd_init,
    .reload = clientd_reload,
    .stop = clientd_stop,
    .fini = clientd_fini,
};

int main(int argc, char **argv)
{
    return svc_main(argc, argv, &clientd);
}
