/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any text: what is taken as a job registration must survive struct -> text -> struct -> protobuf
 * -> struct unchanged, in both views.
 */
#include "json/json.h"

#include <string.h>

#include "rpc.json.h"
#include "rpc.pb.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const steppe_JobRegisterRequest *req, const struct strbuf *text,
                        unsigned flags)
{
    const struct json_type *t = &steppe_JobRegisterRequest_json;
    struct strbuf again = STRBUF_INIT;
    steppe_JobRegisterRequest copy = {0};
    struct errtext e;
    int err = json_decode(t, text->data, text->len, &copy, &e);

    assert(err == 0);
    err = json_encode(t, &copy, flags, &again);
    assert(err == 0);
    assert(again.len == text->len && memcmp(again.data, text->data, text->len) == 0);
    json_release(t, &copy);
    strbuf_reset(&again);
    err = wire_encode(t->desc, req, &again);
    assert(err == 0);
    err = wire_decode(t->desc, again.data, again.len, &copy, sizeof(copy), &e);
    assert(err == 0);
    strbuf_reset(&again);
    err = json_encode(t, &copy, flags, &again);
    assert(err == 0);
    assert(again.len == text->len && memcmp(again.data, text->data, text->len) == 0);
    json_release(t, &copy);
    strbuf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned flags[] = {JSON_VIEW_API | JSON_PRETTY | JSON_ESCAPE_HTML, JSON_VIEW_API};
    const struct json_type *t = &steppe_JobRegisterRequest_json;
    struct strbuf text = STRBUF_INIT;
    steppe_JobRegisterRequest req = {0};
    struct errtext e;
    size_t i;
    int err = json_decode(t, (const char *)data, size, &req, &e);

    if (err == 0) {
        for (i = 0; i < ARRAY_LEN(flags); i++) {
            strbuf_reset(&text);
            err = json_encode(t, &req, flags[i], &text);
            assert(err == 0);
            check_again(&req, &text, flags[i]);
        }
        json_release(t, &req);
    }
    err = json_raw_compact((const char *)data, size, 0, NULL, &e);
    strbuf_reset(&text);
    if (err == 0) {
        err = json_raw_compact((const char *)data, size, 0, &text, &e);
        assert(err == 0);
    }
    strbuf_fini(&text);
    return 0;
}
