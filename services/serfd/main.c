/* SPDX-License-Identifier: MPL-2.0 */
#include "serfd_shell.h"

static const struct svc serfd = {
    .name = "serfd",
    .purpose = "Gossips with the servers of all regions: who is there, alive, failed or gone.",
    .init = serfd_init,
    .stop = serfd_stop,
    .fini = serfd_fini,
};

int main(int argc, char **argv)
{
    return svc_main(argc, argv, &serfd);
}
