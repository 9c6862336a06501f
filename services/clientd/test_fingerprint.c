/* SPDX-License-Identifier: MPL-2.0 */
#include <pb_decode.h>
#include <string.h>

#include "check_run.h"
#include "fingerprint.h"

START_TEST(test_cpuinfo)
{
    struct fingerprint_cpu cpu;

    fingerprint_parse_cpuinfo(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\ncpu MHz\t\t: 1999.5\n\n"
        "processor\t: 1\nmodel name\t: Some CPU @ 2 GHz\ncpu MHz\t\t: 2100.0\n",
        &cpu);
    ck_assert_uint_eq(cpu.cores, 2);
    ck_assert_double_eq(cpu.mhz, 2100);
    ck_assert_str_eq(cpu.model, "Some CPU @ 2 GHz");
    fingerprint_parse_cpuinfo("", &cpu);
    ck_assert_uint_eq(cpu.cores, 0);
    fingerprint_parse_cpuinfo("processor", &cpu); /* no colon, no newline */
    ck_assert_uint_eq(cpu.cores, 0);
}
END_TEST

START_TEST(test_meminfo)
{
    ck_assert_uint_eq(fingerprint_parse_meminfo("MemFree: 1 kB\nMemTotal:  24682416 kB\n"),
                      UINT64_C(24682416) * 1024);
    ck_assert_uint_eq(fingerprint_parse_meminfo("garbage"), 0);
}
END_TEST

START_TEST(test_os_release)
{
    const char *text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID='12'\nX=\"\n";
    static const char *const cases[][2] = {{"ID", "debian"},
                                           {"VERSION_ID", "12"},
                                           {"PRETTY_NAME", "Debian GNU/Linux 12"},
                                           {"X", "\""}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *v = fingerprint_parse_os_release(text, cases[i][0]);

        ck_assert_str_eq(v, cases[i][1]);
        free(v);
    }
    ck_assert_ptr_null(fingerprint_parse_os_release(text, "NAME"));
}
END_TEST

START_TEST(test_mounts)
{
    static const char text[] = "/dev/vda / ext4 rw 0 0\n"
                               "tmpfs /run tmpfs rw 0 0\n"
                               "/dev/vdb /srv ext4 rw 0 0\n"
                               "/dev/vdc /srv ext4 rw 0 0\n"
                               "/dev/vdd /srv/a\\040b ext4 rw 0 0\n";
    static const char *const cases[][2] = {{"/var/lib", "/dev/vda"},   {"/", "/dev/vda"},
                                           {"/srv/x", "/dev/vdc"},     {"/srvx", "/dev/vda"},
                                           {"/srv/a b/c", "/dev/vdd"}, {"/run", "tmpfs"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *v = fingerprint_parse_mounts(text, cases[i][0]);

        ck_assert_str_eq(v, cases[i][1]);
        free(v);
    }
    ck_assert_ptr_null(fingerprint_parse_mounts("", "/"));
    ck_assert_ptr_null(fingerprint_parse_mounts("garbage", "/"));
}
END_TEST

/* The class must not tell apart what differs only in unique.* attributes. */
START_TEST(test_class)
{
    steppe_Node_AttributesEntry a[] = {{(char *)"cpu.arch", (char *)"amd64"},
                                       {(char *)"unique.hostname", (char *)"a"}};
    steppe_Node n = {.datacenter = (char *)"dc1",
                     .node_class = (char *)"",
                     .attributes = a,
                     .attributes_count = 2};
    char *first = fingerprint_class(&n), *second, *third;

    a[1].value = (char *)"b";
    second = fingerprint_class(&n);
    a[0].value = (char *)"arm64";
    third = fingerprint_class(&n);
    ck_assert_str_eq(first, second);
    ck_assert_str_ne(first, third);
    ck_assert_int_eq(strncmp(first, "v1:", 3), 0);
    free(first);
    free(second);
    free(third);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("fingerprint");

    tcase_add_test(t, test_cpuinfo);
    tcase_add_test(t, test_meminfo);
    tcase_add_test(t, test_os_release);
    tcase_add_test(t, test_class);
    tcase_add_test(t, test_mounts);
    return check_run("fingerprint", t, NULL);
}
