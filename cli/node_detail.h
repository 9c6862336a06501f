/* SPDX-License-Identifier: MPL-2.0 */
/* All about one node, as `node status ID` prints it. */
#pragma once

#include "cli.h"

/* Asks for what belongs to the node and prints all. Returns the exit code. */
int node_detail_print(struct cli *cli, const json_t *node);
