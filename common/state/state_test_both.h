/* SPDX-License-Identifier: MPL-2.0 */
/* What tests share that run over both stores: the state under test, and main()'s work. */
#pragma once

#include "check_run.h"
#include "state/state_test.h"

static struct test_state ts; /* empty at the begin of each test */

static void both_setup_mem(void)
{
    test_state_init(&ts, TEST_MEM);
}

static void both_setup_lmdb(void)
{
    test_state_init(&ts, TEST_LMDB);
}

static void both_teardown(void)
{
    test_state_fini(&ts);
}

/* The suite `name` of what add_tests() adds, once over each store. -> main()'s exit status */
static inline int run_over_both(const char *name, void (*add_tests)(TCase *tc))
{
    TCase *mem = tcase_create("mem"), *lmdb = tcase_create("lmdb");

    tcase_add_checked_fixture(mem, both_setup_mem, both_teardown);
    tcase_add_checked_fixture(lmdb, both_setup_lmdb, both_teardown);
    add_tests(mem);
    add_tests(lmdb);
    return check_run(name, mem, lmdb, NULL);
}
