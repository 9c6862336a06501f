/* SPDX-License-Identifier: MPL-2.0 */
#include "rpc/rpc_methods.h"

static const struct rpc_method_info methods[] = {
#define X(id, number, name, service, flags, req, rep)                                              \
    {RPC_##id, name, RPC_TO_##service, (flags)},
    RPC_METHODS(X)
#undef X
};

/* Does not compile when two methods have one number. */
static bool is_method(unsigned number)
{
    switch (number) {
#define X(id, no, name, service, flags, req, rep) case (no):
        RPC_METHODS(X)
#undef X
        return true;
    default:
        return false;
    }
}

const struct rpc_method_info *rpc_method_info(unsigned method)
{
    if (!is_method(method))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (methods[i].method == method)
            return &methods[i];
    }
    return NULL;
}
