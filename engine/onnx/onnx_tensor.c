#include "onnx_tensor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "half.h"

/* A tensor that is being read. */
typedef struct reading {
    const Onnx__TensorProto *t;
    const char *path; /* Of the model. */
    thaw_arena *arena;
    thaw_value *value;
    thaw_error *err;
} reading;

static thaw_status no_memory(const reading *r) {
    return thaw_fail_memory(r->err, "to read the model %s", r->path);
}

/* ---- external data ------------------------------------------------------------------------- */

const char *thaw__onnx_entry(size_t n, Onnx__StringStringEntryProto *const *entries,
                             const char *key) {
    for (size_t i = 0; i < n; i++)
        if (entries[i]->key && entries[i]->value && strcmp(entries[i]->key, key) == 0)
            return entries[i]->value;
    return NULL;
}

static const char *external(const reading *r, const char *key) {
    return thaw__onnx_entry(r->t->n_external_data, r->t->external_data, key);
}

static bool parse_size(const char *text, uint64_t absent, uint64_t *value) {
    if (!text) return *value = absent, true;
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return end != text && !*end && !errno && text[0] != '-';
}

/* Opens the regular file that the tensor lies in. */
static thaw_status open_external(const reading *r, int *fd, uint64_t *size) {
    const char *location = external(r, "location"), *slash = strrchr(r->path, '/');
    size_t n = slash ? (size_t)(slash - r->path) + 1 : 0;
    char *folder = thaw_arena_string(r->arena, r->path, n);
    if (!folder) return no_memory(r);
    /* A backslash parts folders elsewhere: nothing that leads out there is taken for a name here. */
    bool plain = location && !strchr(location, '\\');
    errno = EXDEV;
    *fd = plain ? thaw_file_open_inside(folder, location) : -1;
    if (*fd < 0 && (errno == EXDEV || errno == ELOOP))
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "%s: tensor %s keeps its data in \"%s\"%s; only files in the model's own "
                         "folder are read: copy it there",
                         r->path, r->value->name, location ? location : "",
                         errno == ELOOP ? ", which a symbolic link leads to" : "");
    struct stat info;
    bool is_file = *fd >= 0 && fstat(*fd, &info) == 0 && S_ISREG(info.st_mode);
    if (is_file) return *size = (uint64_t)info.st_size, THAW_OK;
    thaw_fail(r->err, THAW_ERR_IO,
              "%s: tensor %s lies in %s%s, which cannot be read (%s); copy that file beside the "
              "model",
              r->path, r->value->name, folder, location, *fd < 0 ? strerror(errno) : "not a file");
    if (*fd >= 0) close(*fd);
    return THAW_ERR_IO;
}

/* Reads the tensor's bytes from their file into the arena. */
static thaw_status read_external(const reading *r, size_t expected, const void **data) {
    uint64_t offset, length, size = 0;
    if (!parse_size(external(r, "offset"), 0, &offset) ||
        !parse_size(external(r, "length"), expected, &length) || length < expected ||
        offset > INT64_MAX - expected)
        return thaw_fail(r->err, THAW_ERR_FORMAT,
                         "%s: tensor %s has an external offset or length that does not fit its "
                         "%zu bytes",
                         r->path, r->value->name, expected);
    int fd = -1;
    THAW_TRY(open_external(r, &fd, &size));
    bool fits = size >= offset + expected;
    void *bytes = fits ? thaw_arena_alloc(r->arena, expected) : NULL;
    bool whole = bytes && thaw_file_read_at(fd, bytes, expected, (off_t)offset);
    close(fd);
    if (fits && !bytes) return no_memory(r);
    if (!whole)
        return thaw_fail(
            r->err, THAW_ERR_FORMAT, "%s: %s ends before tensor %s (%zu bytes at %llu)", r->path,
            external(r, "location"), r->value->name, expected, (unsigned long long)offset);
    *data = bytes;
    return THAW_OK;
}

/* ---- elements ------------------------------------------------------------------------------ */

bool thaw__onnx_is_integer(int type) {
    return type == THAW_ONNX_UINT8 || type == THAW_ONNX_INT8 || type == THAW_ONNX_INT32 ||
           type == THAW_ONNX_INT64 || type == THAW_ONNX_BOOL;
}

static float float_from_half(uint16_t h) {
    float f;
    thaw_float_from_half(&h, 1, &f);
    return f;
}

static float float_from_bf16(uint16_t h) {
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static size_t onnx_type_bytes(int type) {
    switch (type) {
        case THAW_ONNX_FLOAT:
        case THAW_ONNX_INT32:
            return 4;
        case THAW_ONNX_INT64:
        case THAW_ONNX_DOUBLE:
            return 8;
        case THAW_ONNX_FLOAT16:
        case THAW_ONNX_BFLOAT16:
            return 2;
        case THAW_ONNX_UINT8:
        case THAW_ONNX_INT8:
        case THAW_ONNX_BOOL:
            return 1;
        default:
            return 0;
    }
}

/* One element of raw little-endian data as a double: exact for every type here but large int64. */
static double raw_element(const void *raw, int type, int64_t i) {
    switch (type) {
        case THAW_ONNX_DOUBLE: {
            double d;
            memcpy(&d, (const char *)raw + 8 * i, sizeof d);
            return d;
        }
        case THAW_ONNX_FLOAT16:
        case THAW_ONNX_BFLOAT16: {
            uint16_t h;
            memcpy(&h, (const char *)raw + 2 * i, sizeof h);
            return type == THAW_ONNX_FLOAT16 ? float_from_half(h) : float_from_bf16(h);
        }
        case THAW_ONNX_INT32: {
            int32_t v;
            memcpy(&v, (const char *)raw + 4 * i, sizeof v);
            return v;
        }
        case THAW_ONNX_INT8:
            return ((const int8_t *)raw)[i];
        default:
            return ((const uint8_t *)raw)[i];
    }
}

/* The i-th element of a tensor that keeps its values in a typed field instead of raw bytes. */
static double typed_element(const Onnx__TensorProto *t, int64_t i) {
    switch (t->data_type) {
        case THAW_ONNX_FLOAT:
            return t->float_data[i];
        case THAW_ONNX_DOUBLE:
            return t->double_data[i];
        case THAW_ONNX_FLOAT16:
            return float_from_half((uint16_t)t->int32_data[i]);
        case THAW_ONNX_BFLOAT16:
            return float_from_bf16((uint16_t)t->int32_data[i]);
        default:
            return t->int32_data[i];
    }
}

static size_t typed_count(const Onnx__TensorProto *t) {
    switch (t->data_type) {
        case THAW_ONNX_FLOAT:
            return t->n_float_data;
        case THAW_ONNX_DOUBLE:
            return t->n_double_data;
        case THAW_ONNX_INT64:
            return t->n_int64_data;
        default:
            return t->n_int32_data;
    }
}

/* Elements as float or int64, whatever the file's type; raw data of these two is used in place. */
static thaw_status convert_elements(const reading *r, const void *raw, int64_t n) {
    const Onnx__TensorProto *t = r->t;
    thaw_value *value = r->value;
    bool integer = value->dtype == THAW_I64;
    bool as_is = raw && (t->data_type == THAW_ONNX_FLOAT || t->data_type == THAW_ONNX_INT64);
    if (as_is && (uintptr_t)raw % 8 == 0) {
        value->data = raw;
        return THAW_OK;
    }
    void *data = thaw_arena_array(r->arena, (size_t)n, integer ? 8 : 4);
    if (!data) return no_memory(r);
    value->data = data;
    if (as_is) {
        memcpy(data, raw, (size_t)n * onnx_type_bytes(t->data_type));
    } else if (t->data_type == THAW_ONNX_INT64) {
        for (int64_t i = 0; i < n; i++)
            ((int64_t *)data)[i] = t->int64_data[i];
    } else {
        for (int64_t i = 0; i < n; i++) {
            double d = raw ? raw_element(raw, t->data_type, i) : typed_element(t, i);
            if (integer)
                ((int64_t *)data)[i] = (int64_t)d;
            else
                ((float *)data)[i] = (float)d;
        }
    }
    return THAW_OK;
}

/* Takes over the tensor's shape and type; n receives its elements. */
static thaw_status read_shape(const reading *r, int64_t *n) {
    const Onnx__TensorProto *t = r->t;
    thaw_value *value = r->value;
    if (!onnx_type_bytes(t->data_type))
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "%s: tensor %s has element type %d (quantised, string or complex), which "
                         "Thaw does not read; export a float model",
                         r->path, value->name, t->data_type);
    if (t->n_dims > THAW_MAX_RANK)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED, "%s: tensor %s has %zu dimensions", r->path,
                         value->name, t->n_dims);
    value->rank = (int)t->n_dims;
    bool negative = false; /* THAW_BATCH is, too: no constant has it. */
    for (size_t i = 0; i < t->n_dims; i++) {
        value->dims[i] = t->dims[i];
        negative |= t->dims[i] < 0;
    }
    *n = thaw_value_elements(value);
    if (negative || *n < 0 || *n > INT64_MAX / 16)
        return thaw_fail(r->err, THAW_ERR_FORMAT, "%s: tensor %s has an impossible size", r->path,
                         value->name);
    value->dtype = thaw__onnx_is_integer(t->data_type) ? THAW_I64 : THAW_F32;
    return THAW_OK;
}

thaw_status thaw__onnx_tensor_read(const Onnx__TensorProto *t, const char *model_path,
                                   thaw_arena *arena, thaw_value *value, thaw_error *err) {
    reading r = {t, model_path, arena, value, err};
    int64_t n = 0;
    THAW_TRY(read_shape(&r, &n));
    const void *raw = NULL;
    size_t expected = (size_t)n * onnx_type_bytes(t->data_type);
    if (t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        THAW_TRY(read_external(&r, expected, &raw));
    } else if (t->has_raw_data) {
        raw = t->raw_data.data ? (const void *)t->raw_data.data : "";
        if (t->raw_data.len != expected) raw = NULL;
    }
    if (!raw && typed_count(t) != (size_t)n)
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s: tensor %s should hold %lld values and holds another number; the file "
                         "is damaged",
                         model_path, value->name, (long long)n);
    return convert_elements(&r, raw, n);
}
