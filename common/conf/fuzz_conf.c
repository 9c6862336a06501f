/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any bytes as a configuration file: the first byte picks HCL or JSON. Nothing may crash, leak or
 * hang; what is accepted must be dumpable.
 */
#include "conf/conf_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct errtext e;
    struct conf_loader l = {.e = &e};
    const char *text;
    int r;

    if (size < 1)
        return 0;
    text = (const char *)data + 1;
    l.conf = xcalloc(1, sizeof(*l.conf));
    conf_set_defaults(l.conf);
    if (data[0] == '{')
        r = conf_parse_json(&l, "f", text, size - 1);
    else
        r = conf_parse_text(&l, "f", text, size - 1);
    if (r == 0)
        free(conf_dump(l.conf));
    for (size_t i = 0; i < ARRAY_LEN(l.origin); i++)
        free(l.origin[i]);
    conf_free(l.conf);
    return 0;
}
