/* SPDX-License-Identifier: MPL-2.0 */
/* main()'s work of a test that runs over both stores. */
#pragma once

#include <check.h>
#include <stdlib.h>

static inline int run_over_both(const char *name, void (*setup_mem)(void), void (*setup_lmdb)(void),
                                void (*teardown)(void), void (*add_tests)(TCase *tc))
{
    Suite *s = suite_create(name);
    TCase *mem = tcase_create("mem"), *lmdb = tcase_create("lmdb");
    SRunner *sr = srunner_create(s);
    int failed;

    tcase_add_checked_fixture(mem, setup_mem, teardown);
    tcase_add_checked_fixture(lmdb, setup_lmdb, teardown);
    add_tests(mem);
    add_tests(lmdb);
    suite_add_tcase(s, mem);
    suite_add_tcase(s, lmdb);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
