/* SPDX-License-Identifier: MPL-2.0 */
#pragma once

/* Runs the task described in FOLDER to its end; the exit status of the process. */
int taskd_main(const char *folder);
