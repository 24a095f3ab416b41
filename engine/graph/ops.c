/* The table of operators. test_onnx runs a model through every row and compares it with ONNX
 * Runtime. */
#include "ops.h"

#include <string.h>

static const thaw_op *const table[] = {
#define X(name) &thaw_op_##name,
    THAW_OP_LIST(X)
#undef X
};

const thaw_op *const *thaw_op_table(int *n) {
    *n = THAW_OP_COUNT;
    return table;
}

const thaw_op *thaw_op_find(const char *domain, const char *type) {
    if (domain[0] && strcmp(domain, "ai.onnx") != 0) return NULL;
    for (int i = 0; i < THAW_OP_COUNT; i++)
        if (strcmp(table[i]->type, type) == 0) return table[i];
    return NULL;
}
