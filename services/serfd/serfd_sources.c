/* SPDX-License-Identifier: MPL-2.0 */
#include "serfd_sources.h"

#include <errno.h>
#include <string.h>

#define DOUBLINGS_MAX 24

const char *source_command(const char *text)
{
    return strncmp(text, "exec=", 5) == 0 ? text + 5 : NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',';
}

static int take_word(const char *word, size_t n, char **addrs, size_t max, size_t *ret_n,
                     struct errtext *e)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)word[i] <= ' ' || (unsigned char)word[i] >= 0x7f)
            return err_set(e, -EINVAL, "it prints something else than addresses");
    }
    if (n > SOURCES_ADDR_MAX)
        return err_set(e, -EINVAL, "it prints an address of more than %d bytes", SOURCES_ADDR_MAX);
    if (*ret_n == max)
        return err_set(e, -E2BIG, "it prints more than %zu addresses", max);
    addrs[(*ret_n)++] = xstrndup(word, n);
    return 0;
}

int sources_parse(const char *text, size_t len, char **addrs, size_t max, size_t *ret_n,
                  struct errtext *e)
{
    size_t i = 0;
    int r = 0;

    *ret_n = 0;
    while (r == 0 && i < len) {
        size_t start = i;

        if (text[i] == '#') {
            while (i < len && text[i] != '\n')
                i++;
        } else if (is_blank(text[i])) {
            i++;
        } else {
            while (i < len && !is_blank(text[i]))
                i++;
            r = take_word(text + start, i - start, addrs, max, ret_n, e);
        }
    }
    return r;
}

int64_t retry_failed(struct retry_plan *p, uint64_t random)
{
    int64_t wait = p->interval_ns;
    unsigned fast = 0;

    while (fast < p->tries && fast < DOUBLINGS_MAX && RETRY_FIRST_NS << fast < p->interval_ns)
        fast++;
    if (RETRY_FIRST_NS << fast < p->interval_ns)
        wait = RETRY_FIRST_NS << fast;
    else
        p->counted++;
    p->tries++;
    if (p->max > 0 && p->counted >= (unsigned)p->max)
        return -1;
    return wait - (int64_t)(random % ((uint64_t)wait / 4 + 1));
}
