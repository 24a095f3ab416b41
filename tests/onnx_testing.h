/* Files of tests/data/onnx with something changed, as messages. */
#ifndef THAW_ONNX_TESTING_H
#define THAW_ONNX_TESTING_H

#include "onnx.pb-c.h"
#include "testing.h"

typedef void test_edit(Onnx__ModelProto *);

/* The bytes of a file after an edit of its messages, to be freed. */
static inline uint8_t *test_edited(const char *file, test_edit *change, size_t *n) {
    char path[512];
    snprintf(path, sizeof path, TEST_MODELS "%s.onnx", file);
    uint8_t *bytes = test_read(path, n);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, *n, bytes);
    assert_non_null(m);
    free(bytes);
    if (change) change(m);
    *n = onnx__model_proto__get_packed_size(m);
    bytes = malloc(*n);
    assert_non_null(bytes);
    onnx__model_proto__pack(m, bytes);
    onnx__model_proto__free_unpacked(m, NULL);
    return bytes;
}

/* Gives a message another text. */
static inline void test_replace(char **text, const char *with) {
    free(*text);
    *text = strdup(with);
    assert_non_null(*text);
}

/* The attribute of the first node of a type that has it. */
static inline Onnx__AttributeProto *test_attribute(Onnx__GraphProto *g, const char *type,
                                                   const char *name) {
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_attribute; k++)
            if (strcmp(g->node[i]->op_type, type) == 0 &&
                strcmp(g->node[i]->attribute[k]->name, name) == 0)
                return g->node[i]->attribute[k];
    fail_msg("there is no %s of a %s", name, type);
    return NULL;
}

#endif
