/* SPDX-License-Identifier: MPL-2.0 */
#include "sup_agent.h"

int main(int argc, char **argv)
{
    return sup_agent_main(argc, argv);
}
