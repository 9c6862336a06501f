/* SPDX-License-Identifier: MPL-2.0 */
#pragma once

/* `steppe agent`: everything from the arguments to the exit status. */
int sup_agent_main(int argc, char **argv);
