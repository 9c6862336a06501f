/* SPDX-License-Identifier: MPL-2.0 */
/* How the main() of every unit test ends. */
#pragma once

#include <check.h>
#include <stdarg.h>

/* Of one test: less than meson grants the program, so that the one that hangs is named. */
#define CHECK_SECONDS_MAX 100

/* Runs the cases (TCase *, the last one followed by NULL) as the suite `name` and frees them.
 * -> the exit status: 0 when all passed, else 1 */
__attribute__((sentinel)) static inline int check_run(const char *name, ...)
{
    Suite *suite = suite_create(name);
    SRunner *runner;
    TCase *one;
    va_list cases;
    int failed;

    va_start(cases, name);
    while ((one = va_arg(cases, TCase *))) {
        tcase_set_timeout(one, CHECK_SECONDS_MAX);
        suite_add_tcase(suite, one);
    }
    va_end(cases);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
