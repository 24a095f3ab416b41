#include "npy.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "half.h"

enum { MOST_HEADER = 1 << 16, TYPE_TEXT = 16 };

/* A header that is being read. */
typedef struct header {
    const char *at, *end;
    char type[TYPE_TEXT];
    bool fortran;
    thaw_npy *npy;
} header;

/* ---- the header: a Python literal ------------------------------------------------------------ */

static void skip_blanks(header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n'))
        h->at++;
}

static bool take(header *h, char c) {
    skip_blanks(h);
    if (h->at == h->end || *h->at != c) return false;
    h->at++;
    return true;
}

static bool take_word(header *h, const char *word) {
    size_t n = strlen(word);
    skip_blanks(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, word, n) != 0) return false;
    h->at += n;
    return true;
}

/* 'text' or "text", without escapes: neither a key nor a type has any. */
static bool take_text(header *h, char *text, size_t size) {
    char quote = take(h, '\'') ? '\'' : take(h, '"') ? '"' : 0;
    size_t n = 0;
    while (quote && h->at < h->end && *h->at != quote && n + 1 < size)
        text[n++] = *h->at++;
    text[n] = 0;
    return quote && h->at < h->end && *h->at++ == quote;
}

static bool take_size(header *h, int64_t *size) {
    skip_blanks(h);
    const char *begin = h->at;
    *size = 0;
    for (; h->at < h->end && *h->at >= '0' && *h->at <= '9'; h->at++)
        if (__builtin_mul_overflow(*size, 10, size) ||
            __builtin_add_overflow(*size, *h->at - '0', size))
            return false;
    return h->at > begin;
}

/* (), (3,), (2, 3) or (2, 3,). A rank beyond what there is room for is counted on. */
static bool take_shape(header *h) {
    if (!take(h, '(')) return false;
    for (h->npy->rank = 0; !take(h, ')'); h->npy->rank++) {
        int64_t size;
        if (h->npy->rank > 0 && !take(h, ',')) return false;
        if (h->npy->rank > 0 && take(h, ')')) return true;
        if (!take_size(h, &size)) return false;
        if (h->npy->rank < THAW_NPY_MAX_RANK) h->npy->dims[h->npy->rank] = size;
    }
    return true;
}

/* Each of the three keys once, in any order, and nothing else. */
static bool take_dictionary(header *h) {
    enum { TYPE = 1, ORDER = 2, SHAPE = 4 };
    int have = 0;
    if (!take(h, '{')) return false;
    while (!take(h, '}')) {
        char key[TYPE_TEXT];
        if (have && !take(h, ',')) return false;
        if (have && take(h, '}')) break;
        if (!take_text(h, key, sizeof key) || !take(h, ':')) return false;
        int which = !strcmp(key, "descr")           ? TYPE
                    : !strcmp(key, "fortran_order") ? ORDER
                    : !strcmp(key, "shape")         ? SHAPE
                                                    : 0;
        if (!which || have & which) return false;
        have |= which;
        h->fortran = which == ORDER ? take_word(h, "True") : h->fortran;
        if (which == TYPE && !take_text(h, h->type, sizeof h->type)) return false;
        if (which == ORDER && !h->fortran && !take_word(h, "False")) return false;
        if (which == SHAPE && !take_shape(h)) return false;
    }
    skip_blanks(h);
    return have == (TYPE | ORDER | SHAPE) && h->at == h->end;
}

/* ---- the numbers ----------------------------------------------------------------------------- */

typedef void convert(const void *from, size_t n, float *to);

static void from_f4(const void *from, size_t n, float *to) {
    memcpy(to, from, n * sizeof *to);
}

static void from_f8(const void *from, size_t n, float *to) {
    for (size_t i = 0; i < n; i++) {
        double d;
        memcpy(&d, (const char *)from + i * sizeof d, sizeof d);
        to[i] = (float)d;
    }
}

static void from_f2(const void *from, size_t n, float *to) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const char *)from + i * sizeof h, sizeof h);
        thaw_float_from_half(&h, 1, &to[i]);
    }
}

static void from_u1(const void *from, size_t n, float *to) {
    for (size_t i = 0; i < n; i++)
        to[i] = ((const uint8_t *)from)[i];
}

static const struct {
    const char *type;
    size_t bytes;
    convert *convert;
} types[] = {{"<f4", 4, from_f4}, {"<f8", 8, from_f8}, {"<f2", 2, from_f2}, {"|u1", 1, from_u1}};
enum { N_TYPES = sizeof types / sizeof types[0] };

static thaw_status check_kind(const header *h, const char *where, int *type, thaw_error *err) {
    for (*type = 0; *type < N_TYPES && strcmp(types[*type].type, h->type) != 0;)
        ++*type;
    if (*type == N_TYPES)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s holds numbers of type '%s'; expected little-endian float32, float64, "
                         "float16 or uint8: np.save it .astype('<f4')",
                         where, h->type);
    if (h->fortran && h->npy->rank > 1)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "%s is in Fortran order; np.save np.ascontiguousarray of it", where);
    if (h->npy->rank > THAW_NPY_MAX_RANK)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "%s has %d dimensions; expected at most %d",
                         where, h->npy->rank, THAW_NPY_MAX_RANK);
    return THAW_OK;
}

/* Elements, from dims; false: more than could be. */
static bool count(thaw_npy *npy) {
    npy->n = 1;
    for (int i = 0; i < npy->rank; i++)
        if (__builtin_mul_overflow(npy->n, npy->dims[i], &npy->n)) return false;
    return npy->n < INT64_MAX / 8;
}

/* Where the header begins and how long it is; false: no such file. */
static bool find_header(const unsigned char *b, size_t n, size_t *begin, size_t *length) {
    static const char magic[] = "\x93NUMPY";
    enum { VERSION = 6, LENGTH = 8 };
    if (n < LENGTH + 4 || memcmp(b, magic, sizeof magic - 1) != 0) return false;
    int version = b[VERSION];
    if (version < 1 || version > 3 || b[VERSION + 1]) return false;
    *begin = version == 1 ? LENGTH + 2 : LENGTH + 4;
    *length = b[LENGTH] | (size_t)b[LENGTH + 1] << 8;
    if (version > 1) *length |= (size_t)b[LENGTH + 2] << 16 | (size_t)b[LENGTH + 3] << 24;
    return *length <= MOST_HEADER && *length <= n - *begin;
}

thaw_status thaw_npy_parse(const void *bytes, size_t n, const char *where, thaw_arena *arena,
                           thaw_npy *npy, thaw_error *err) {
    size_t begin, length;
    *npy = (thaw_npy){0};
    if (!find_header(bytes, n, &begin, &length))
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s is no .npy file, or only the beginning of one (%zu bytes); expected "
                         "what np.save writes",
                         where, n);
    header h = {.at = (const char *)bytes + begin, .npy = npy};
    h.end = h.at + length;
    if (!take_dictionary(&h))
        return thaw_fail(err, THAW_ERR_FORMAT, "%s: its header is damaged at byte %zu", where,
                         (size_t)(h.at - (const char *)bytes));
    int type;
    THAW_TRY(check_kind(&h, where, &type, err));
    size_t rest = n - begin - length;
    if (!count(npy) || (size_t)npy->n * types[type].bytes != rest) {
        char shape[128];
        thaw_npy_shape_text(npy, shape, sizeof shape);
        return thaw_fail(err, THAW_ERR_FORMAT,
                         "%s: %s numbers of %zu bytes do not take the %zu bytes that follow its "
                         "header; the file is damaged",
                         where, shape, types[type].bytes, rest);
    }
    float *values = thaw_arena_array(arena, (size_t)npy->n, sizeof *values);
    if (!values) return thaw_fail_memory(err, "to read %s", where);
    types[type].convert((const char *)bytes + begin + length, (size_t)npy->n, values);
    npy->values = values;
    return THAW_OK;
}

thaw_status thaw_npy_read(const char *path, thaw_arena *arena, thaw_npy *npy, thaw_error *err) {
    thaw_arena file = {0};
    char *bytes;
    size_t n;
    thaw_status status = thaw_file_read(path, SIZE_MAX, &file, &bytes, &n, err);
    if (status == THAW_OK) status = thaw_npy_parse(bytes, n, path, arena, npy, err);
    thaw_arena_free(&file);
    return status;
}

void thaw_npy_shape_text(const thaw_npy *npy, char *text, size_t size) {
    size_t used = 0;
    snprintf(text, size, "%s", npy->rank ? "" : "1");
    for (int i = 0; i < npy->rank && i < THAW_NPY_MAX_RANK && used < size; i++) {
        int n =
            snprintf(text + used, size - used, "%s%lld", i ? " x " : "", (long long)npy->dims[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}
