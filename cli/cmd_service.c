/* SPDX-License-Identifier: MPL-2.0 */
/* service list, logs, restart, start, stop: over the control socket of this node's supervisor. */
#include "commands.h"

int cmd_service_list(struct cli *cli)
{
    return 1;
}

int cmd_service_action(struct cli *cli)
{
    return 1;
}
