/* Decoding: pictures' bytes in memory to the pixels that a network takes (decode, resize, crop),
 * against libjpeg-turbo alone decoding the same bytes to full-size RGB with its defaults.
 *
 * usage: bench_decode LIST THREADS REPEATS [PIXELS [SIDE SHORTER [fast]]]
 *
 * LIST: a file with one path to a JPEG a line. PIXELS: written, u8 [n, SIDE, SIDE, 3]. SIDE and
 * SHORTER: 224 and 256; SHORTER = 0 squashes. fast: as image.decode = fast decodes
 * (tests/bench/draft.py has Pillow's way beside it). The two take turns; each turn is one pass over all
 * pictures, which the threads share out one by one. Prints a JSON object with pictures a second,
 * and with CPU time a picture, in which other load hardly shows; ratios above 1 are in Thaw's
 * favour.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include "bench.h"
#include "file.h"
#include "picture/image.h"

typedef struct picture {
    const char *path;
    char *bytes;
    size_t n;
} picture;

typedef struct job {
    const picture *pictures;
    size_t n;
    atomic_size_t next;
    atomic_size_t bad;
    thaw_geometry geometry;
    uint8_t *pixels;
} job;

/* What one thread keeps between pictures, as a program that decodes many would. */
typedef struct worker {
    pthread_t thread;
    job *job;
    thaw_decoder *decoder;
    uint8_t *rgb;
    size_t rgb_bytes;
    bool full; /* libjpeg-turbo alone. */
} worker;

typedef struct jpeg_errors {
    struct jpeg_error_mgr base;
    jmp_buf back;
} jpeg_errors;

static void jpeg_fatal(j_common_ptr info) {
    longjmp(((jpeg_errors *)info->err)->back, 1);
}

static bool decode_full(worker *w, const picture *p) {
    struct jpeg_decompress_struct info;
    jpeg_errors errors;
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = jpeg_fatal;
    if (setjmp(errors.back)) {
        jpeg_destroy_decompress(&info);
        return false;
    }
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, (const unsigned char *)p->bytes, p->n);
    jpeg_read_header(&info, TRUE);
    info.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info);
    size_t stride = 3 * (size_t)info.output_width, bytes = stride * info.output_height;
    if (bytes > w->rgb_bytes) {
        free(w->rgb);
        w->rgb = malloc(bytes);
        w->rgb_bytes = bytes;
        if (!w->rgb) abort();
    }
    while (info.output_scanline < info.output_height) {
        JSAMPROW row = w->rgb + stride * info.output_scanline;
        jpeg_read_scanlines(&info, &row, 1);
    }
    jpeg_finish_decompress(&info);
    jpeg_destroy_decompress(&info);
    return true;
}

static void *work(void *argument) {
    worker *w = argument;
    job *j = w->job;
    size_t image = (size_t)(j->geometry.width * j->geometry.height * 3), i;
    while ((i = atomic_fetch_add(&j->next, 1)) < j->n) {
        const picture *p = &j->pictures[i];
        bool ok = w->full ? decode_full(w, p)
                          : thaw_image_decode(w->decoder, p->bytes, p->n, &j->geometry,
                                              j->pixels + i * image, NULL) == THAW_OK;
        if (!ok) atomic_fetch_add(&j->bad, 1);
    }
    return NULL;
}

/* Pictures a second of one pass, and the CPU milliseconds that each took. */
static double pass(job *j, worker *workers, long threads, bool full, double *cpu_ms) {
    atomic_store(&j->next, 0);
    double start = bench_now_s(), cpu_start = bench_cpu_s();
    for (long t = 0; t < threads; t++) {
        workers[t].full = full;
        if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0) abort();
    }
    for (long t = 0; t < threads; t++)
        pthread_join(workers[t].thread, NULL);
    *cpu_ms = (bench_cpu_s() - cpu_start) * 1e3 / (double)j->n;
    return (double)j->n / (bench_now_s() - start);
}

static thaw_status load(job *j, const char *list, thaw_arena *arena, thaw_error *err) {
    enum { MOST = 1 << 30 };
    char *text, *line, *rest;
    size_t length, n = 0;
    THAW_TRY(thaw_file_read(list, MOST, arena, &text, &length, err));
    for (size_t i = 0; i < length; i++)
        n += text[i] == '\n';
    picture *pictures = thaw_arena_array(arena, n + 1, sizeof *pictures);
    if (!pictures) return thaw_fail(err, THAW_ERR_NOMEM, "not enough memory");
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        picture *p = &pictures[j->n++];
        p->path = line;
        THAW_TRY(thaw_file_read(line, MOST, arena, &p->bytes, &p->n, err));
    }
    j->pictures = pictures;
    if (!j->n) return thaw_fail(err, THAW_ERR_DATA, "%s names no picture", list);
    size_t image = (size_t)(j->geometry.width * j->geometry.height * 3);
    j->pixels = thaw_arena_array(arena, j->n, image);
    return j->pixels ? THAW_OK : thaw_fail(err, THAW_ERR_NOMEM, "not enough memory");
}

/* What is measured in each repetition, of Thaw and of libjpeg-turbo alone. */
enum { RATE, TURBO_RATE, RATIO, CPU, TURBO_CPU, CPU_RATIO, N_MEASURES };
static const char *const measure_names[N_MEASURES] = {
    "images_per_s",     "libjpeg_turbo_images_per_s",     "ratio",
    "cpu_ms_per_image", "libjpeg_turbo_cpu_ms_per_image", "cpu_ratio"};

static thaw_status run(job *j, worker *workers, long threads, size_t repeats,
                       double *measures[N_MEASURES], thaw_error *err) {
    for (long t = 0; t < threads; t++) {
        workers[t].job = j;
        THAW_TRY(thaw_decoder_create(&workers[t].decoder, err));
    }
    double **m = measures;
    pass(j, workers, threads, false, m[CPU]); /* Both warm up. */
    pass(j, workers, threads, true, m[TURBO_CPU]);
    for (size_t i = 0; i < repeats; i++) {
        m[RATE][i] = pass(j, workers, threads, false, &m[CPU][i]);
        m[TURBO_RATE][i] = pass(j, workers, threads, true, &m[TURBO_CPU][i]);
        m[RATIO][i] = m[RATE][i] / m[TURBO_RATE][i];
        m[CPU_RATIO][i] = m[TURBO_CPU][i] / m[CPU][i];
    }
    if (!j->bad) return THAW_OK;
    return thaw_fail(err, THAW_ERR_DATA, "%zu times a picture could not be decoded", j->bad);
}

int main(int argc, char **argv) {
    bool fast = argc == 8 && strcmp(argv[7], "fast") == 0;
    if (argc != 4 && argc != 5 && argc != 7 && !fast) {
        fprintf(stderr,
                "usage: bench_decode LIST THREADS REPEATS [PIXELS [SIDE SHORTER [fast]]]\n");
        return 2;
    }
    long threads = bench_number(argv[2], 1), repeats = bench_number(argv[3], 1);
    int side = argc > 6 ? (int)bench_number(argv[5], 1) : 224;
    int shorter = argc > 6 ? (int)bench_number(argv[6], 0) : 256;
    job j = {.geometry = {.width = side,
                          .height = side,
                          .fit = shorter ? THAW_FIT_CROP : THAW_FIT_SQUASH,
                          .shorter = shorter,
                          .filter = THAW_FILTER_BILINEAR,
                          .channels = 3,
                          .background = 255,
                          .decode = fast ? THAW_DECODE_FAST : THAW_DECODE_EXACT}};
    thaw_arena arena = {0};
    thaw_error err = {0};
    worker *workers = thaw_arena_array(&arena, (size_t)threads, sizeof *workers);
    if (!workers) return 1;
    double *measures[N_MEASURES];
    for (int m = 0; m < N_MEASURES; m++) {
        measures[m] = thaw_arena_array(&arena, (size_t)repeats, sizeof *measures[m]);
        if (!measures[m]) return 1;
    }
    thaw_status status = load(&j, argv[1], &arena, &err);
    if (status == THAW_OK) status = run(&j, workers, threads, (size_t)repeats, measures, &err);
    if (status == THAW_OK && argc > 4)
        status = thaw_file_write(argv[4], j.pixels, j.n * (size_t)(side * side * 3), &err);
    if (status == THAW_OK) {
        printf("{\"bench\": \"decode\", \"images\": %zu, \"threads\": %ld, \"repeats\": %ld", j.n,
               threads, repeats);
        for (int m = 0; m < N_MEASURES; m++) {
            printf(", ");
            bench_print_spread(measure_names[m], measures[m], (size_t)repeats);
        }
        printf("}\n");
    } else {
        fprintf(stderr, "bench_decode: %s\n", err.text);
    }
    for (long t = 0; t < threads; t++) {
        thaw_decoder_free(workers[t].decoder);
        free(workers[t].rgb);
    }
    thaw_arena_free(&arena);
    return status == THAW_OK ? 0 : 1;
}
