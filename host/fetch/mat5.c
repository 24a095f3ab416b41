#include "mat5.h"

#include <stdbool.h>
#include <string.h>

#include <zlib.h>

enum {
    HEADER = 128,
    MOST_BYTES = 64 << 20, /* Of an array that was compressed. */
    MI_INT8 = 1,
    MI_UINT8 = 2,
    MI_INT16 = 3,
    MI_UINT16 = 4,
    MI_INT32 = 5,
    MI_UINT32 = 6,
    MI_SINGLE = 7,
    MI_DOUBLE = 9,
    MI_INT64 = 12,
    MI_UINT64 = 13,
    MI_MATRIX = 14,
    MI_COMPRESSED = 15,
};

/* What is left to read. */
typedef struct span {
    const uint8_t *at;
    size_t n;
} span;

typedef struct element {
    uint32_t type;
    span data;
} element;

typedef struct reader {
    const char *where, *name;
    thaw_arena *arena;
    int64_t **values;
    size_t *n_values;
    bool found;
    thaw_error *err;
} reader;

static thaw_status fail_damaged(const reader *r, const char *how) {
    return thaw_fail(r->err, THAW_ERR_FORMAT, "'%.600s' is no MATLAB file, or damaged: %s",
                     r->where, how);
}

static uint32_t read_u32(const uint8_t *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Takes the next element: type and size, and then its data up to the next multiple of 8; small ones
 * have all of it in 8 bytes. */
static thaw_status take_element(const reader *r, span *s, element *e) {
    enum { TAG = 8, SMALL = 4 };
    if (s->n < TAG) return fail_damaged(r, "an element is cut off");
    uint32_t first = read_u32(s->at), small = first >> 16;
    if (small) {
        *e = (element){first & 0xffff, {s->at + 4, small}};
        if (small > SMALL) return fail_damaged(r, "a small element is large");
        s->at += TAG;
        s->n -= TAG;
        return THAW_OK;
    }
    size_t n = read_u32(s->at + 4);
    *e = (element){first, {s->at + TAG, n}};
    if (n > s->n - TAG) return fail_damaged(r, "an element is longer than the file");
    /* What is compressed stands without gaps, and the last element may lack its gap. */
    size_t taken = TAG + (first == MI_COMPRESSED ? n : (n + 7) / 8 * 8);
    if (taken > s->n) taken = s->n;
    s->at += taken;
    s->n -= taken;
    return THAW_OK;
}

static size_t size_of(uint32_t type) {
    static const uint8_t sizes[] = {
        [MI_INT8] = 1,   [MI_UINT8] = 1,  [MI_INT16] = 2, [MI_UINT16] = 2, [MI_INT32] = 4,
        [MI_UINT32] = 4, [MI_DOUBLE] = 8, [MI_INT64] = 8, [MI_UINT64] = 8};
    return type < sizeof sizes ? sizes[type] : 0;
}

/* False: it is no whole number, or too large for any list. */
static bool read_number(uint32_t type, const uint8_t *at, int64_t *value) {
    uint64_t bits = 0;
    double real;
    for (size_t i = 0; i < size_of(type); i++)
        bits |= (uint64_t)at[i] << (8 * i);
    switch (type) {
        case MI_INT8:
            *value = (int8_t)bits;
            return true;
        case MI_INT16:
            *value = (int16_t)bits;
            return true;
        case MI_INT32:
            *value = (int32_t)bits;
            return true;
        case MI_DOUBLE:
            memcpy(&real, &bits, sizeof real);
            if (!(real >= -0x1p53 && real <= 0x1p53)) return false;
            *value = (int64_t)real;
            return (double)*value == real;
        default:
            *value = (int64_t)bits;
            return *value >= 0 || type == MI_INT64;
    }
}

static thaw_status read_numbers(reader *r, const element *e) {
    size_t size = size_of(e->type), n = size ? e->data.n / size : 0;
    if (!size || n * size != e->data.n)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "'%.600s': the array '%.100s' does not hold whole numbers", r->where,
                         r->name);
    *r->values = thaw_arena_array(r->arena, n, sizeof **r->values);
    if (!*r->values) return thaw_fail_memory(r->err, "for %zu numbers", n);
    for (size_t i = 0; i < n; i++)
        if (!read_number(e->type, e->data.at + i * size, *r->values + i))
            return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                             "'%.600s': number %zu of the array '%.100s' is not a whole one",
                             r->where, i + 1, r->name);
    *r->n_values = n;
    r->found = true;
    return THAW_OK;
}

/* Flags, dimensions, name, numbers. */
static thaw_status read_array(reader *r, span s) {
    enum { COMPLEX = 1 << 11, CLASS = 0xff, DOUBLE = 6, UINT64 = 15 };
    element flags = {0}, dimensions = {0}, name = {0}, numbers = {0};
    THAW_TRY(take_element(r, &s, &flags));
    THAW_TRY(take_element(r, &s, &dimensions));
    THAW_TRY(take_element(r, &s, &name));
    if (flags.data.n < 4) return fail_damaged(r, "an array has no flags");
    size_t length = strlen(r->name);
    if (name.data.n != length || memcmp(name.data.at, r->name, length) != 0) return THAW_OK;
    uint32_t bits = read_u32(flags.data.at), class = bits & CLASS;
    if (bits & COMPLEX || class < DOUBLE || class > UINT64)
        return thaw_fail(r->err, THAW_ERR_UNSUPPORTED,
                         "'%.600s': '%.100s' is not a plain array of real numbers", r->where,
                         r->name);
    THAW_TRY(take_element(r, &s, &numbers));
    return read_numbers(r, &numbers);
}

static thaw_status read_element(reader *r, const element *e);

/* A compressed element holds one other. */
static thaw_status read_compressed(reader *r, span packed) {
    thaw_arena scratch = {0};
    uint8_t *bytes = NULL;
    size_t have = 0;
    thaw_status status = THAW_OK;
    for (size_t room = 1 << 16; room <= MOST_BYTES; room *= 8) {
        uLongf n = room;
        thaw_arena_free(&scratch);
        bytes = thaw_arena_alloc(&scratch, room);
        if (!bytes) return thaw_fail_memory(r->err, "to unpack '%.600s'", r->where);
        int code = uncompress(bytes, &n, packed.at, (uLong)packed.n);
        have = n;
        if (code == Z_OK) break;
        bytes = NULL;
        if (code != Z_BUF_ERROR) break;
    }
    if (!bytes) status = fail_damaged(r, "an array cannot be unpacked");
    span inside = {bytes, have};
    element e = {0};
    if (status == THAW_OK) status = take_element(r, &inside, &e);
    if (status == THAW_OK && e.type == MI_COMPRESSED)
        status = fail_damaged(r, "an array is packed twice");
    if (status == THAW_OK) status = read_element(r, &e);
    thaw_arena_free(&scratch);
    return status;
}

static thaw_status read_element(reader *r, const element *e) {
    if (e->type == MI_COMPRESSED) return read_compressed(r, e->data);
    return e->type == MI_MATRIX ? read_array(r, e->data) : THAW_OK;
}

thaw_status thaw_mat5_read(const void *bytes, size_t n, const char *where, const char *name,
                           thaw_arena *arena, int64_t **values, size_t *n_values, thaw_error *err) {
    reader r = {.where = where,
                .name = name,
                .arena = arena,
                .values = values,
                .n_values = n_values,
                .err = err};
    const uint8_t *at = bytes;
    if (n < HEADER) return fail_damaged(&r, "it is too short");
    if (memcmp(at + HEADER - 2, "MI", 2) == 0)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "'%.600s' has big-endian order", where);
    if (memcmp(at + HEADER - 2, "IM", 2) != 0) return fail_damaged(&r, "it has no mark of order");
    span s = {at + HEADER, n - HEADER};
    while (s.n && !r.found) {
        element e = {0};
        THAW_TRY(take_element(&r, &s, &e));
        THAW_TRY(read_element(&r, &e));
    }
    if (r.found) return THAW_OK;
    return thaw_fail(err, THAW_ERR_FORMAT, "'%.600s' has no array '%.100s'", where, name);
}
