/* SPDX-License-Identifier: MPL-2.0 */
/* The Meta of a member: its tags, as the filter, the rules of guards and the lists read them. */
#include <stdlib.h>
#include <string.h>

#include "serfd_core.h"
#include "tags.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read is written again and reads the same. */
static void again(const struct tag *tags, size_t n)
{
    struct strbuf out = STRBUF_INIT;
    struct tags_iter it;
    struct span k, v;
    size_t seen = 0;

    if (tags_put(&out, tags, n) == 0) {
        for (tags_begin(&it, span_of(&out)); tags_next(&it, &k, &v);)
            seen++;
        if (seen != n)
            abort();
    }
    strbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span meta = {data, size}, k, v, found;
    struct tag tags[64];
    char *texts[128];
    struct tags_iter it;
    struct errtext e;
    size_t n = 0;

    if (size > SERF_META_MAX)
        return 0;
    (void)tags_check_nomad(meta, &e);
    (void)tags_find(meta, "role", &found);
    for (tags_begin(&it, meta); tags_next(&it, &k, &v) && n < ARRAY_LEN(tags);) {
        if (v.len + (data[0] == 0xff ? k.len : 0) > size) /* both lie in the input */
            abort();
        texts[2 * n] = xstrndup(k.len ? (const char *)k.p : "", k.len);
        texts[2 * n + 1] = xstrndup(v.len ? (const char *)v.p : "", v.len);
        tags[n] = (struct tag){texts[2 * n], texts[2 * n + 1]};
        if (texts[2 * n][0] && strlen(texts[2 * n]) == k.len && !tags_find(meta, tags[n].key, &v))
            abort();
        n++;
    }
    again(tags, n);
    for (size_t i = 0; i < 2 * n; i++)
        free(texts[i]);
    return 0;
}
