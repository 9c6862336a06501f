/* SPDX-License-Identifier: MPL-2.0 */
/* Templates of the -t flag over a document that has every kind of value. */
#include <string.h>

#include "jsontext.h"
#include "template.h"

static const char document[] = "{\"ID\":\"web\",\"N\":3,\"F\":0.5,\"T\":true,\"Z\":null,\"L\":[{"
                               "\"Name\":\"a\"},{\"Name\":\"b\"}],"
                               "\"M\":{\"y\":\"2\",\"x\":\"1\"},\"E\":[]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(json_decrefp) json_t *json = json_loads(document, 0, NULL);
    _cleanup_(freep) char *text = xstrndup((const char *)data, size);
    struct errtext e = {0};
    char *out = NULL;

    if (template_render(text, json, &out, &e) == 0)
        assert(out);
    else
        assert(!out && strncmp(e.text, "template: format:", 17) == 0);
    free(out);
    return 0;
}
