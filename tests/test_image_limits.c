/* What hostile or huge pictures may cost: pixels and sides are limited, inflation by the declared
 * size, scans by their number; a JPEG without all of its scans is refused; a stop is obeyed while a
 * picture is decoded; large pictures share one budget of memory. */
#include "testing.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <jpeglib.h>
#include <zlib.h>

#include "picture/decoder.h"

static thaw_decoder *decoder;

static int open_decoder(void **state) {
    (void)state;
    return thaw_decoder_create(&decoder, NULL);
}

static int close_decoder(void **state) {
    (void)state;
    thaw_decoder_free(decoder);
    return 0;
}

static void refuses(const char *what, const void *bytes, size_t n, thaw_status status,
                    const char *why) {
    thaw_error err = {0};
    thaw_pixels pixels;
    thaw_status got = thaw_image_decode_full(decoder, bytes, n, 255, &pixels, &err);
    if (got != status || !strstr(err.text, why))
        fail_msg("%s: expected %d \"%s\", got %d \"%s\"", what, status, why, got, err.text);
}

/* Reads it, and compares with the pixels of another picture. */
static void reads_like(const char *what, const void *bytes, size_t n, const void *like,
                       size_t n_like) {
    thaw_error err = {0};
    thaw_pixels pixels;
    assert_int_equal(thaw_image_decode_full(decoder, like, n_like, 255, &pixels, NULL), THAW_OK);
    size_t size = 3 * (size_t)pixels.width * (size_t)pixels.height;
    uint8_t *want = malloc(size);
    memcpy(want, pixels.rgb, size);
    if (thaw_image_decode_full(decoder, bytes, n, 255, &pixels, &err) != THAW_OK)
        fail_msg("%s: %s", what, err.text);
    assert_memory_equal(pixels.rgb, want, size);
    free(want);
}

/* ---- PNG ----------------------------------------------------------------------------------- */

typedef struct buffer {
    uint8_t bytes[1 << 20];
    size_t n;
} buffer;

static void put(buffer *b, const void *bytes, size_t n) {
    assert_true(b->n + n <= sizeof b->bytes);
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}

static void put_u32(buffer *b, uint32_t value) {
    uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                        (uint8_t)value};
    put(b, bytes, 4);
}

static void put_chunk(buffer *b, const char *type, const void *data, size_t n) {
    put_u32(b, (uint32_t)n);
    size_t from = b->n;
    put(b, type, 4);
    put(b, data, n);
    put_u32(b, (uint32_t)crc32(0, b->bytes + from, (uInt)(n + 4)));
}

/* Signature and header of an RGB picture. */
static void begin_png(buffer *b, uint32_t width, uint32_t height) {
    static const uint8_t tail[] = {8, 2, 0, 0, 0};
    buffer header = {.n = 0};
    put_u32(&header, width);
    put_u32(&header, height);
    put(&header, tail, sizeof tail);
    b->n = 0;
    put(b, "\x89PNG\r\n\x1a\n", 8);
    put_chunk(b, "IHDR", header.bytes, header.n);
}

/* A whole RGB picture whose pixel data is n zeros. */
static void make_png(buffer *b, uint32_t width, uint32_t height, size_t n) {
    uint8_t *zeros = calloc(n, 1);
    uLongf size = compressBound(n);
    uint8_t *packed = malloc(size);
    assert_int_equal(compress2(packed, &size, zeros, n, 1), Z_OK);
    begin_png(b, width, height);
    put_chunk(b, "IDAT", packed, size);
    put_chunk(b, "IEND", "", 0);
    free(zeros);
    free(packed);
}

static void pixels_are_limited(void **state) {
    (void)state;
    static buffer b;
    begin_png(&b, 60000, 60000);
    put_chunk(&b, "IDAT", "", 0);
    refuses("60000 x 60000", b.bytes, b.n, THAW_ERR_UNSUPPORTED, "60000 x 60000 pixels");
    begin_png(&b, 100000, 1);
    put_chunk(&b, "IDAT", "", 0);
    refuses("100000 x 1", b.bytes, b.n, THAW_ERR_UNSUPPORTED, "100000 x 1 pixels");
    refuses("P5", "P5 16385 16384 255\n", 19, THAW_ERR_FORMAT, "cut off");
}

/* Of 64 MB that follow the 8 x 8 pixels nothing is looked at; a row more is one too many, too. */
static void inflation_is_limited(void **state) {
    (void)state;
    static buffer b;
    const size_t size = 8 * (1 + 3 * 8);
    thaw_pixels pixels;
    make_png(&b, 8, 8, size);
    assert_int_equal(thaw_image_decode_full(decoder, b.bytes, b.n, 255, &pixels, NULL), THAW_OK);
    make_png(&b, 8, 8, 64 << 20);
    refuses("a bomb", b.bytes, b.n, THAW_ERR_FORMAT, "more than its pixels");
    make_png(&b, 8, 8, size + 1);
    refuses("a byte more", b.bytes, b.n, THAW_ERR_FORMAT, "Too much image data");
    make_png(&b, 8, 8, size - 1);
    refuses("a byte less", b.bytes, b.n, THAW_ERR_FORMAT, "Not enough image data");
}

/* ---- JPEG ---------------------------------------------------------------------------------- */

/* Scans of a picture of three components: its DC and all AC coefficients, whole. */
static const jpeg_scan_info progressive[] = {
    {3, {0, 1, 2, 0}, 0, 0, 0, 0},
    {1, {0, 0, 0, 0}, 1, 63, 0, 0},
    {1, {1, 0, 0, 0}, 1, 63, 0, 0},
    {1, {2, 0, 0, 0}, 1, 63, 0, 0},
};
static const jpeg_scan_info sequential[] = {
    {1, {0, 0, 0, 0}, 0, 63, 0, 0},
    {1, {1, 0, 0, 0}, 0, 63, 0, 0},
    {1, {2, 0, 0, 0}, 0, 63, 0, 0},
};

static int restart_rows; /* Of blocks between restart markers; 0: there are none. */

/* n_scans 0: the usual one. */
static void make_jpeg(buffer *b, int width, int height, const jpeg_scan_info *scans, int n_scans,
                      bool arithmetic) {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    uint8_t *row = malloc(3 * (size_t)width);
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &bytes, &n);
    info.image_width = (JDIMENSION)width;
    info.image_height = (JDIMENSION)height;
    info.input_components = 3;
    info.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info);
    info.scan_info = n_scans ? scans : NULL;
    info.num_scans = n_scans;
    info.arith_code = arithmetic;
    info.restart_in_rows = restart_rows;
    jpeg_start_compress(&info, TRUE);
    for (int y = 0; y < height; y++) {
        for (int i = 0; i < 3 * width; i++)
            row[i] = (uint8_t)(i * 7 + y * 11 * (i % 3 + 1));
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    b->n = 0;
    put(b, bytes, n);
    free(bytes);
    free(row);
}

/* Where the last scan begins: its header, behind which its table may stand. */
static size_t last_scan(const buffer *b) {
    size_t at = b->n;
    while (at-- > 0)
        if (b->bytes[at] == 0xff && b->bytes[at + 1] == 0xda) return at;
    fail_msg("there is no scan");
    return 0;
}

/* With the last scan there so many times. */
static void repeat_last_scan(buffer *b, const buffer *from, int times) {
    size_t at = last_scan(from), end = from->n - 2;
    b->n = 0;
    put(b, from->bytes, at);
    for (int i = 0; i < times; i++)
        put(b, from->bytes + at, end - at);
    put(b, from->bytes + end, 2);
}

static void scans_are_limited(void **state) {
    (void)state;
    static buffer few, many;
    make_jpeg(&few, 40, 40, progressive, 4, false);
    repeat_last_scan(&many, &few, 97);
    reads_like("100 scans", many.bytes, many.n, few.bytes, few.n);
    repeat_last_scan(&many, &few, 98);
    refuses("101 scans", many.bytes, many.n, THAW_ERR_FORMAT, "more than 100 scans");
}

static void scans_must_be_there(void **state) {
    (void)state;
    static buffer plain, b, cut;
    make_jpeg(&plain, 40, 40, NULL, 0, false);
    const struct {
        const char *name;
        const jpeg_scan_info *scans;
        int n;
    } kinds[] = {{"progressive", progressive, 4}, {"sequential", sequential, 3}};
    for (size_t i = 0; i < 2; i++) {
        make_jpeg(&b, 40, 40, kinds[i].scans, kinds[i].n, false);
        reads_like(kinds[i].name, b.bytes, b.n, plain.bytes, plain.n);
        reads_like(kinds[i].name, b.bytes, b.n - 2, plain.bytes, plain.n); /* No end marker. */
        cut.n = 0;
        put(&cut, b.bytes, last_scan(&b));
        refuses(kinds[i].name, cut.bytes, cut.n, THAW_ERR_FORMAT, "scans are missing");
        put(&cut, "\xff\xd9", 2);
        refuses(kinds[i].name, cut.bytes, cut.n, THAW_ERR_FORMAT, "scans are missing");
    }
}

/* What the library only warns of, wherever it is found. */
static void coded_data_must_make_sense(void **state) {
    (void)state;
    static buffer plain, b;
    make_jpeg(&plain, 40, 40, NULL, 0, false);
    b = plain;
    for (size_t i = 0; i < 20; i++) /* Ones only: no code begins like that. */
        b.bytes[b.n - 60 + i] = i % 2 ? 0 : 0xff;
    refuses("a wrong code", b.bytes, b.n, THAW_ERR_FORMAT, "damaged in the middle");
    /* A scan that refines, for component 1, DC coefficients that are whole already. */
    static const uint8_t scan[] = {0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0x10, 0, 0, 0, 0, 0xff, 0xd9};
    make_jpeg(&b, 40, 40, progressive, 4, false);
    b.n -= 2;
    put(&b, scan, sizeof scan);
    refuses("a wrong scan", b.bytes, b.n, THAW_ERR_FORMAT, "damaged in the middle");
    /* A restart marker each row of blocks; then the second is missing. */
    restart_rows = 1;
    make_jpeg(&b, 40, 40, NULL, 0, false);
    restart_rows = 0;
    reads_like("restarts", b.bytes, b.n, plain.bytes, plain.n);
    uint8_t *marker = memmem(b.bytes, b.n, "\xff\xd1", 2);
    assert_non_null(marker);
    marker[1] = 0xd4;
    refuses("a wrong restart", b.bytes, b.n, THAW_ERR_FORMAT, "damaged in the middle");
}

/* The arithmetic decoder of the library never misses anything. */
static void arithmetic_coding_needs_its_end(void **state) {
    (void)state;
    static buffer plain, b;
    make_jpeg(&plain, 40, 40, NULL, 0, false);
    make_jpeg(&b, 40, 40, NULL, 0, true);
    reads_like("arithmetic", b.bytes, b.n, plain.bytes, plain.n);
    for (size_t n = last_scan(&b) + 14; n < b.n - 2; n++)
        refuses("cut", b.bytes, n, THAW_ERR_FORMAT, "cut off");
}

/* ---- stop and budget ----------------------------------------------------------------------- */

static void a_stop_is_obeyed(void **state) {
    (void)state;
    static buffer jpeg, scans, png;
    volatile int stop = 1;
    make_jpeg(&jpeg, 40, 40, NULL, 0, false);
    make_jpeg(&scans, 40, 40, progressive, 4, false);
    make_png(&png, 8, 8, 8 * (1 + 3 * 8));
    thaw_decoder_share(decoder, NULL, &stop);
    refuses("JPEG", jpeg.bytes, jpeg.n, THAW_ERR_INTERRUPTED, "stopped");
    refuses("scans", scans.bytes, scans.n, THAW_ERR_INTERRUPTED, "stopped");
    refuses("PNG", png.bytes, png.n, THAW_ERR_INTERRUPTED, "stopped");
    stop = 0;
    reads_like("not stopped", scans.bytes, scans.n, jpeg.bytes, jpeg.n);
    thaw_decoder_share(decoder, NULL, NULL);
}

/* A large picture of 72 MB whose file is small. */
static uint8_t *large_picture(size_t *n) {
    static const char header[] = "P4 8000 3000\n";
    *n = sizeof header - 1 + 1000 * 3000;
    uint8_t *bytes = calloc(*n, 1);
    assert_non_null(bytes);
    memcpy(bytes, header, sizeof header - 1);
    return bytes;
}

static void large_pictures_take_from_the_budget(void **state) {
    (void)state;
    enum { MB = 1 << 20 };
    size_t n;
    volatile int stop = 1;
    thaw_image_budget *budget;
    thaw_pixels pixels;
    thaw_geometry g = {.width = 8, .height = 8, .fit = THAW_FIT_SQUASH, .channels = 3};
    uint8_t *bytes = large_picture(&n), out[8 * 8 * 3];
    assert_int_equal(thaw_image_budget_create(&budget, 100 * MB, NULL), THAW_OK);
    thaw_decoder_share(decoder, budget, &stop);
    assert_int_equal(thaw_image_decode_full(decoder, bytes, n, 255, &pixels, NULL), THAW_OK);
    assert_true(thaw__budget_take(budget, 31 * MB, &stop)); /* 72 of 100 MB are taken. */
    thaw__budget_return(budget, 31 * MB);
    assert_false(thaw__budget_take(budget, 32 * MB, &stop));
    assert_int_equal(thaw_image_decode(decoder, bytes, n, &g, out, NULL), THAW_OK);
    assert_true(thaw__budget_take(budget, 100 * MB, &stop)); /* Given back. */
    refuses("without memory", bytes, n, THAW_ERR_INTERRUPTED, "waited for memory");
    assert_int_equal(thaw_image_decode(decoder, "P4 8 1\n\0", 8, &g, out, NULL), THAW_OK);
    thaw__budget_return(budget, 100 * MB);
    assert_true(thaw__budget_take(budget, 1000 * MB, &stop)); /* All of it. */
    assert_false(thaw__budget_take(budget, 1, &stop));
    thaw__budget_return(budget, 1000 * MB);
    thaw_decoder_share(decoder, NULL, NULL);
    thaw_image_budget_free(budget);
    free(bytes);
}

typedef struct borrower {
    thaw_image_budget *budget;
    pthread_mutex_t *mutex;
    size_t *held, *most;
    uint64_t seed;
} borrower;

static void *borrow(void *argument) {
    borrower *b = argument;
    for (int i = 0; i < 2000; i++) {
        size_t n = 1 + test_random(&b->seed) % 150, taken = n < 100 ? n : 100;
        if (!thaw__budget_take(b->budget, n, NULL)) abort();
        pthread_mutex_lock(b->mutex);
        *b->held += taken;
        if (*b->held > *b->most) *b->most = *b->held;
        pthread_mutex_unlock(b->mutex);
        sched_yield(); /* So that others ask while it is held. */
        pthread_mutex_lock(b->mutex);
        *b->held -= taken;
        pthread_mutex_unlock(b->mutex);
        thaw__budget_return(b->budget, n);
    }
    return NULL;
}

static void a_budget_is_never_overdrawn(void **state) {
    (void)state;
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    borrower borrowers[THREADS];
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    size_t held = 0, most = 0;
    thaw_image_budget *budget;
    assert_int_equal(thaw_image_budget_create(&budget, 100, NULL), THAW_OK);
    assert_true(thaw__budget_take(budget, 100, NULL));
    for (int t = 0; t < THREADS; t++) {
        borrowers[t] = (borrower){budget, &mutex, &held, &most, (uint64_t)t};
        assert_int_equal(pthread_create(&threads[t], NULL, borrow, &borrowers[t]), 0);
    }
    usleep(50 * 1000); /* They all wait, most likely. */
    pthread_mutex_lock(&mutex);
    assert_int_equal(held, 0);
    pthread_mutex_unlock(&mutex);
    thaw__budget_return(budget, 100);
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    assert_in_range(most, 1, 100);
    thaw_image_budget_free(budget);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_are_limited),
        cmocka_unit_test(inflation_is_limited),
        cmocka_unit_test(scans_are_limited),
        cmocka_unit_test(scans_must_be_there),
        cmocka_unit_test(coded_data_must_make_sense),
        cmocka_unit_test(arithmetic_coding_needs_its_end),
        cmocka_unit_test(a_stop_is_obeyed),
        cmocka_unit_test(large_pictures_take_from_the_budget),
        cmocka_unit_test(a_budget_is_never_overdrawn),
    };
    return cmocka_run_group_tests(tests, open_decoder, close_decoder);
}
