/* SPDX-License-Identifier: MPL-2.0 */
#include "tags.h"

#include <errno.h>
#include <string.h>

int tags_put(struct strbuf *out, const struct tag *tags, size_t n)
{
    size_t start = out->len;

    strbuf_addc(out, (char)TAGS_MARK);
    mp_put_map(out, n);
    for (size_t i = 0; i < n; i++) {
        mp_put_str(out, tags[i].key);
        mp_put_str(out, tags[i].value);
    }
    return out->len - start > TAGS_META_MAX ? -E2BIG : 0;
}

void tags_begin(struct tags_iter *it, struct span meta)
{
    *it = (struct tags_iter){.left = 0};
    if (meta.len == 0)
        return;
    if (meta.p[0] != TAGS_MARK) {
        it->bare = meta;
        return;
    }
    it->r = (struct mp_reader){meta.p + 1, meta.p + meta.len};
    if (mp_get_map(&it->r, &it->left))
        it->left = 0;
    it->left = MIN(it->left, (uint32_t)TAGS_MAX);
}

bool tags_next(struct tags_iter *it, struct span *ret_key, struct span *ret_value)
{
    if (it->bare.p) {
        *ret_key = SPAN_STR("role");
        *ret_value = it->bare;
        it->bare.p = NULL;
        return true;
    }
    if (it->left == 0)
        return false;
    it->left--;
    if (mp_get_raw(&it->r, ret_key) || mp_get_raw(&it->r, ret_value)) {
        it->left = 0;
        return false;
    }
    return true;
}

bool tags_find(struct span meta, const char *key, struct span *ret_value)
{
    struct tags_iter it;
    struct span k, v;

    for (tags_begin(&it, meta); tags_next(&it, &k, &v);) {
        if (span_is(k, key)) {
            *ret_value = v;
            return true;
        }
    }
    return false;
}

static bool is_integer(struct span v, unsigned max)
{
    unsigned n = 0;

    if (v.len == 0 || v.len > 9)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        n = n * 10 + (v.p[i] - '0');
    }
    return n <= max;
}

/* "1", "1.2", "1.2.3", then maybe "-rc1" or "+meta"; a leading v is fine. */
static bool is_version(struct span v)
{
    size_t i = v.len && v.p[0] == 'v', digits = 0, parts = 1;

    for (; i < v.len && v.p[i] != '-' && v.p[i] != '+'; i++) {
        if (v.p[i] >= '0' && v.p[i] <= '9') {
            digits++;
        } else if (v.p[i] == '.' && digits > 0) {
            digits = 0;
            parts++;
        } else {
            return parts >= 2 && digits > 0;
        }
    }
    return digits > 0;
}

int tags_check_nomad(struct span meta, struct errtext *e)
{
    static const char *const optional[] = {"expect", "raft_vsn"};
    struct span v;

    if (!tags_find(meta, "role", &v) || !span_is(v, "nomad"))
        return err_set(e, -EINVAL, "is not a server: tag role is not \"nomad\"");
    if (!tags_find(meta, "port", &v) || !is_integer(v, UINT16_MAX))
        return err_set(e, -EINVAL, "is not a server: tag port is no port number");
    if (!tags_find(meta, "build", &v) || !is_version(v))
        return err_set(e, -EINVAL, "is not a server: tag build is no version");
    if (!tags_find(meta, "vsn", &v) || !is_integer(v, UINT32_MAX))
        return err_set(e, -EINVAL, "is not a server: tag vsn is no number");
    for (size_t i = 0; i < ARRAY_LEN(optional); i++) {
        if (tags_find(meta, optional[i], &v) && !is_integer(v, UINT32_MAX))
            return err_set(e, -EINVAL, "is not a server: tag %s is no number", optional[i]);
    }
    return 0;
}
