/* Small pictures of every kind that is read (tests/data/image/tiny): each is what Pillow makes of it.
 * Cut at every length it is refused, or is the whole picture. With a byte changed anywhere it is
 * refused, or the same picture whatever lay in memory before: each is decoded twice, with memory
 * that malloc fills differently and after another picture. A header that claims more than the file
 * holds gets no memory. */
#include "testing.h"

#include <dirent.h>
#include <unistd.h>

#include "picture/image.h"

#define TINY THAW_SOURCE_DIR "/tests/data/image/tiny/"
#define FAULTS THAW_SOURCE_DIR "/../shared/faults/pictures/"

/* ---- memory that remembers nothing --------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { POISONED = 0 }; /* The sanitizer's own malloc. */
/* What these libraries lose of damaged pictures is not ours to free. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libdav1d\nleak:libheif\nleak:libde265\n";
}
static size_t largest, n_mallocs;
static int poison;
#else
enum { POISONED = 1 };
static size_t largest, n_mallocs;
static int poison;

void *__libc_malloc(size_t n);

/* In the place of the C library's, for the libraries, too. */
void *malloc(size_t n) {
    void *memory = __libc_malloc(n);
    if (memory) memset(memory, poison, n < 1 << 24 ? n : 1 << 24);
    if (n > largest) largest = n;
    n_mallocs++;
    return memory;
}
#endif

/* The same for the memory that the next function takes for its variables. */
__attribute__((noinline)) static void poison_stack(void) {
    void *(*volatile fill)(void *, int, size_t) = memset; /* Or it would be left out. */
    uint8_t room[1 << 18];
    fill(room, poison, sizeof room);
}

/* ---- the pictures -------------------------------------------------------------------------- */

typedef struct file {
    char name[64];
    uint8_t *bytes;
    size_t n;
} file;

enum { MOST_FILES = 200 };
static file files[MOST_FILES];
static size_t n_files;

static file read_file(const char *folder, const char *name) {
    file f = {0};
    char path[512];
    snprintf(path, sizeof path, "%s%s", folder, name);
    snprintf(f.name, sizeof f.name, "%s", name);
    f.bytes = test_read(path, &f.n);
    return f;
}

static bool has_ending(const char *name, const char *ending) {
    size_t n = strlen(name), m = strlen(ending);
    return n >= m && strcmp(name + n - m, ending) == 0;
}

/* Formats that a build may lack. */
static const struct {
    const char *ending, *format;
} optional[] = {
    {".webp", "WebP"}, {".tif", "TIFF"}, {".heic", "HEIC"}, {".avif", "AVIF"}, {".dcm", "DICOM"}};

static bool is_read(const char *name) {
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (has_ending(name, optional[i].ending)) return thaw_image_reads(optional[i].format);
    return true;
}

static int read_files(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (!thaw_image_reads(optional[i].format))
            printf("SKIPPED: files of %s, which this build does not read\n", optional[i].format);
    DIR *folder = opendir(TINY);
    assert_non_null(folder);
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL && n_files < MOST_FILES)
        if (entry->d_name[0] != '.' && !strstr(entry->d_name, ".full.png") &&
            is_read(entry->d_name))
            files[n_files++] = read_file(TINY, entry->d_name);
    closedir(folder);
    return 0;
}

static int free_files(void **state) {
    (void)state;
    for (size_t i = 0; i < n_files; i++)
        free(files[i].bytes);
    return 0;
}

/* What comes of some bytes. */
typedef struct result {
    thaw_status status;
    int width, height;
    uint8_t *rgb; /* To be freed. */
    uint8_t small[16 * 16 * 3];
    thaw_error err;
} result;

/* Decodes both ways, whole and cropped, in memory and a stack full of `fill`, and with a decoder
 * that has just decoded a picture of that grey. The bytes have exactly their size, so that a
 * sanitizer sees a read behind the end. */
static result decode(const uint8_t *bytes, size_t n, int fill) {
    static uint8_t before[32 + 64 * 48] = "P5 64 48 255\n";
    thaw_geometry g = {
        .width = 16, .height = 16, .fit = THAW_FIT_CROP, .channels = 3, .background = 255};
    result r = {0};
    thaw_decoder *decoder;
    thaw_pixels pixels;
    poison = fill;
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, bytes, n);
    memset(before + 13, fill, 64 * 48);
    assert_int_equal(thaw_decoder_create(&decoder, NULL), THAW_OK);
    assert_int_equal(thaw_image_decode_full(decoder, before, sizeof before, 255, &pixels, NULL),
                     THAW_OK);
    poison_stack();
    r.status = thaw_image_decode_full(decoder, copy, n, 255, &pixels, &r.err);
    if (r.status == THAW_OK) {
        size_t size = 3 * (size_t)pixels.width * (size_t)pixels.height;
        r.width = pixels.width;
        r.height = pixels.height;
        r.rgb = malloc(size);
        memcpy(r.rgb, pixels.rgb, size);
    }
    assert_int_equal(thaw_image_decode(decoder, copy, n, &g, r.small, NULL), r.status);
    thaw_decoder_free(decoder);
    free(copy);
    return r;
}

/* Twice; fails when the two differ. */
static result decode_twice(const char *name, const char *how, size_t at, const uint8_t *bytes,
                           size_t n) {
    result a = decode(bytes, n, 0x5a);
    if (!POISONED) return a;
    result b = decode(bytes, n, 0xb7);
    bool same = a.status == b.status && a.width == b.width && a.height == b.height;
    if (same && a.status == THAW_OK)
        same = memcmp(a.rgb, b.rgb, 3 * (size_t)a.width * (size_t)a.height) == 0 &&
               memcmp(a.small, b.small, sizeof a.small) == 0;
    if (!same)
        fail_msg("%s, %s %zu: the result depends on what lay in memory (%d, %d)", name, how, at,
                 a.status, b.status);
    if (a.status != THAW_OK && a.err.text[0] == 0)
        fail_msg("%s, %s %zu: refused without a word", name, how, at);
    free(b.rgb);
    return a;
}

static bool same_pixels(const result *a, const result *b, int most) {
    if (a->width != b->width || a->height != b->height) return false;
    size_t n = 3 * (size_t)a->width * (size_t)a->height;
    for (size_t i = 0; i < n; i++)
        if (abs(a->rgb[i] - b->rgb[i]) > most) return false;
    return true;
}

/* ---- tests --------------------------------------------------------------------------------- */

static void poison_reaches_the_libraries(void **state) {
    (void)state;
    if (!POISONED) return;
    void *(*volatile take)(size_t) = malloc; /* The compiler believes that memory holds nothing. */
    poison = 0x5a;
    uint8_t *memory = take(100);
    assert_int_equal(memory[0], 0x5a);
    assert_int_equal(memory[99], 0x5a);
    free(memory);
    for (size_t i = 0; i < n_files; i++) {
        size_t before = n_mallocs;
        free(decode(files[i].bytes, files[i].n, 1).rgb);
        bool library = has_ending(files[i].name, ".jpg") || has_ending(files[i].name, ".png");
        if (library) assert_true(n_mallocs - before > 10);
    }
}

/* As it is shown: EXIF's orientation counts, and a picture of the size asked for is not resized. */
static result show(const file *f, int width, int height) {
    thaw_geometry g = {
        .width = width, .height = height, .fit = THAW_FIT_SQUASH, .channels = 3, .background = 255};
    result r = {.width = width, .height = height};
    r.rgb = malloc(3 * (size_t)width * (size_t)height);
    thaw_decoder *decoder;
    assert_int_equal(thaw_decoder_create(&decoder, NULL), THAW_OK);
    if (thaw_image_decode(decoder, f->bytes, f->n, &g, r.rgb, &r.err) != THAW_OK)
        fail_msg("%s: %s", f->name, r.err.text);
    thaw_decoder_free(decoder);
    return r;
}

/* Levels by which another library, or another version of it, may differ: in rounding, and for AVIF in how
 * subsampled colours become larger. */
static int tolerance(const char *name) {
    if (has_ending(name, ".avif")) return 64;
    if (has_ending(name, ".heic")) return 3;
    return has_ending(name, ".jpg") || has_ending(name, ".dcm");
}

static void reads_every_kind(void **state) {
    (void)state;
    assert_true(n_files > 70);
    for (size_t i = 0; i < n_files; i++) {
        char name[128];
        snprintf(name, sizeof name, "%.63s.full.png", files[i].name);
        file reference = read_file(TINY, name);
        result want = decode_twice(name, "whole", 0, reference.bytes, reference.n);
        assert_int_equal(want.status, THAW_OK);
        result got = show(&files[i], want.width, want.height);
        if (!same_pixels(&got, &want, tolerance(files[i].name)))
            fail_msg("%s: other pixels than Pillow's", files[i].name);
        free(got.rgb);
        free(want.rgb);
        free(reference.bytes);
    }
}

/* The references above are PNGs; that those are read rightly is seen here. */
static void a_raw_file_holds_its_pixels(void **state) {
    (void)state;
    file raw = read_file(TINY, "rgb255.p6.pnm"), png = read_file(TINY, "rgb8.png");
    result a = decode(raw.bytes, raw.n, 1), b = decode(png.bytes, png.n, 1);
    size_t n = 3 * (size_t)a.width * (size_t)a.height;
    assert_memory_equal(a.rgb, raw.bytes + raw.n - n, n);
    assert_true(same_pixels(&a, &b, 0));
    free(a.rgb);
    free(b.rgb);
    free(raw.bytes);
    free(png.bytes);
}

/* Headers decide most: of what follows them a hundred places are looked at, and the end. A sanitizer, which
 * is slow, sees a quarter of the header's bytes. */
static bool is_looked_at(const file *f, size_t at) {
    if (!POISONED && at % 4 != 0 && at + 30 <= f->n) return false;
    return at < 300 || at % (f->n / 100) == 0 || at + 30 > f->n;
}

static void never_half_reads(void **state) {
    (void)state;
    for (size_t i = 0; i < n_files; i++) {
        const file *f = &files[i];
        result whole = decode(f->bytes, f->n, 1);
        for (size_t n = 0; n < f->n; n++) {
            if (!is_looked_at(f, n)) continue;
            result part = decode_twice(f->name, "cut to", n, f->bytes, n);
            if (part.status == THAW_OK && !same_pixels(&part, &whole, 0))
                fail_msg("%s, cut to %zu of %zu bytes: half read", f->name, n, f->n);
            free(part.rgb);
        }
        free(whole.rgb);
    }
}

/* HEVC apart: libde265 1.0.11 goes on with what it has not decoded, here and there without a warning. */
static void never_shows_what_lay_in_memory(void **state) {
    (void)state;
    static const uint8_t changes[] = {0x01, 0x80, 0x55, 0xff};
    for (size_t i = 0; i < n_files; i++) {
        file *f = &files[i];
        if (has_ending(f->name, ".heic")) continue;
        for (size_t at = 0; at < f->n; at++) {
            if (!is_looked_at(f, at)) continue;
            for (size_t c = 0; c < sizeof changes; c += POISONED ? 1 : 2) {
                f->bytes[at] ^= changes[c];
                free(decode_twice(f->name, "changed at", at, f->bytes, f->n).rgb);
                f->bytes[at] ^= changes[c];
            }
        }
    }
}

/* A bit flipped in a PNG is found by its checksums, wherever it is. */
static void finds_each_flipped_bit_of_a_png(void **state) {
    (void)state;
    for (size_t i = 0; i < n_files; i++) {
        file *f = &files[i];
        for (size_t at = 0; has_ending(f->name, ".png") && at < f->n; at++) {
            f->bytes[at] ^= 1u << at % 8;
            result r = decode(f->bytes, f->n, 1);
            if (r.status == THAW_OK) fail_msg("%s: the bit at %zu was not missed", f->name, at);
            f->bytes[at] ^= 1u << at % 8;
        }
    }
}

/* Nor does a library of its own. */
static void nothing_is_printed(void **state) {
    (void)state;
    FILE *caught = tmpfile();
    assert_non_null(caught);
    int before = dup(STDERR_FILENO);
    dup2(fileno(caught), STDERR_FILENO);
    for (size_t i = 0; i < n_files; i++) {
        file *f = &files[i];
        for (size_t at = f->n / 8; at < f->n; at += f->n / 40) {
            free(decode(f->bytes, at, 1).rgb);
            f->bytes[at] ^= 0x55;
            free(decode(f->bytes, f->n, 1).rgb);
            f->bytes[at] ^= 0x55;
        }
    }
    dup2(before, STDERR_FILENO);
    close(before);
    fseek(caught, 0, SEEK_END);
    long n = ftell(caught);
    rewind(caught);
    char line[200] = "";
    if (n > 0 && fgets(line, sizeof line, caught)) fail_msg("%ld bytes were printed: %s", n, line);
    fclose(caught);
}

/* 16384 x 16384 pixels in a file of some bytes. */
static void claims_get_no_memory(void **state) {
    (void)state;
    static const uint8_t psd[] =
        "8BPS\0\1\0\0\0\0\0\0\0\3\0\0\x40\0\0\0\x40\0\0\x08\0\3"
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const uint8_t bmp[] =
        "BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\0\x40\0\0\0\x40\0\0\1\0"
        "\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    /* Tags: width, height, bits, deflated, grey, where its one strip is, rows and bytes of it. */
    static const uint8_t tiff[] =
        "II*\0\x08\0\0\0\x08\0\0\1\3\0\1\0\0\0\0\x40\0\0\1\1\3\0\1\0\0\0\0\x40\0\0"
        "\2\1\3\0\1\0\0\0\x08\0\0\0\3\1\3\0\1\0\0\0\x08\0\0\0\6\1\3\0\1\0\0\0\1\0\0\0\x11\1\4\0\1\0"
        "\0\0\x08\0\0\0"
        "\x16\1\4\0\1\0\0\0\0\x40\0\0\x17\1\4\0\1\0\0\0\0\0\0\x10\0\0\0\0";
    /* A lossless picture's header, and the chunk that says that more follows. */
    static const uint8_t webp[] =
        "RIFF\x1a\0\1\0WEBPVP8L\x0d\0\1\0\x2f\xff\xff\xff\x0f\0\0\0\0\0\0\0\0";
    const struct {
        const char *name;
        const void *bytes;
        size_t n;
    } claims[] = {{"P6", "P6 16384 16384 255\n", 19}, {"P5", "P5 16384 16384 65535\n", 21},
                  {"P4", "P4 16384 16384\n", 15},     {"P3", "P3 16384 16384 255\n", 19},
                  {"P1", "P1 16384 16384\n", 15},     {"PSD", psd, sizeof psd - 1},
                  {"BMP", bmp, sizeof bmp - 1},       {"TIFF", tiff, sizeof tiff - 1},
                  {"WebP", webp, sizeof webp - 1}};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        bool library = !strcmp(claims[i].name, "TIFF") || !strcmp(claims[i].name, "WebP");
        if (library && !thaw_image_reads(claims[i].name)) continue;
        largest = 0;
        result r = decode(claims[i].bytes, claims[i].n, 1);
        if (r.status != THAW_ERR_FORMAT || !strstr(r.err.text, "cut off"))
            fail_msg("%s: %d, %s", claims[i].name, r.status, r.err.text);
        if (largest > 1 << 20) fail_msg("%s: took %zu bytes", claims[i].name, largest);
    }
}

/* What no cut and no flip is sure to make. */
static void refuses_what_makes_no_sense(void **state) {
    (void)state;
    /* One pixel of colour 3 from a palette of two: codes 4 (clear), 3, 5 (end) of three bits. */
    static const uint8_t gif[] =
        "GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2\x5c\1\0;";
    result r = decode_twice("colour 3 of 2", "whole", 0, gif, sizeof gif - 1);
    if (r.status != THAW_ERR_FORMAT || !strstr(r.err.text, "make no sense"))
        fail_msg("colour 3 of 2: %d, %s", r.status, r.err.text);
    /* Its header says that the file once was longer. */
    file bmp = read_file(TINY, "24.bmp");
    bmp.bytes[2] += 2;
    r = decode_twice("long BMP", "whole", 0, bmp.bytes, bmp.n);
    if (r.status != THAW_ERR_FORMAT || !strstr(r.err.text, "cut off"))
        fail_msg("long BMP: %d, %s", r.status, r.err.text);
    free(bmp.bytes);
}

/* ---- files that showed a fault ------------------------------------------------------------- */

/* What is said of each; "": it is read, and its corners have these colours. */
static const struct {
    const char *name, *refusal;
    uint8_t first[3], last[3];
} faults[] = {
    {"claim16k.ppm", "cut off", {0}, {0}},
    {"claim16k.psd", "cut off", {0}, {0}},
    {"half0_a.bmp", "cut off", {0}, {0}},
    {"half_a.gif", "cut off", {0}, {0}},
    {"half_a.ppm", "cut off", {0}, {0}},
    {"half_a.psd", "cut off", {0}, {0}},
    {"idat_overwritten.png", "damaged", {0}, {0}},
    {"png_null_offset_ub.png", "damaged", {0}, {0}},
    {"ppm_header_overflow_ub.ppm", "damaged", {0}, {0}},
    {"exif3.png", "", {40, 60, 230}, {230, 30, 30}},
    {"exif3_long.jpg", "", {39, 60, 229}, {230, 30, 30}},
    {"grey16.pgm", "", {136, 136, 136}, {128, 128, 128}},
    {"grey_max15.pgm", "", {136, 136, 136}, {136, 136, 136}},
    {"red_cmyk_adobe.jpg", "", {230, 30, 30}, {230, 30, 30}},
    {"red_cmyk_no_adobe.jpg", "", {230, 30, 30}, {230, 30, 30}},
    {"red_no_eoi_trailer.jpg", "", {230, 30, 30}, {230, 30, 30}},
    {"red_topdown.bmp", "", {230, 30, 30}, {230, 30, 30}},
};

static void old_faults_are_mended(void **state) {
    (void)state;
    FILE *first = fopen(FAULTS "grey16.pgm", "rb");
    if (!first) {
        printf("SKIPPED: there is no folder " FAULTS "\n");
        skip();
    }
    fclose(first);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        file f = read_file(FAULTS, faults[i].name);
        result r = decode_twice(f.name, "whole", 0, f.bytes, f.n);
        if ((r.status == THAW_OK) != (faults[i].refusal[0] == 0) ||
            !strstr(r.err.text, faults[i].refusal))
            fail_msg("%s: %d, %s", f.name, r.status, r.err.text);
        if (r.status == THAW_OK) {
            size_t last = 3 * ((size_t)r.width * (size_t)r.height - 1);
            result shown = show(&f, r.width, r.height);
            assert_memory_equal(shown.rgb, faults[i].first, 3);
            assert_memory_equal(shown.rgb + last, faults[i].last, 3);
            free(shown.rgb);
        }
        free(r.rgb);
        free(f.bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(poison_reaches_the_libraries),
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(a_raw_file_holds_its_pixels),
        cmocka_unit_test(never_half_reads),
        cmocka_unit_test(never_shows_what_lay_in_memory),
        cmocka_unit_test(finds_each_flipped_bit_of_a_png),
        cmocka_unit_test(nothing_is_printed),
        cmocka_unit_test(claims_get_no_memory),
        cmocka_unit_test(refuses_what_makes_no_sense),
        cmocka_unit_test(old_faults_are_mended),
    };
    return cmocka_run_group_tests(tests, read_files, free_files);
}
