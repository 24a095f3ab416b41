/* Lines come out whole, in a pipe and on a terminal, whoever writes meanwhile; progress is rare. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
//
#include <cmocka.h>

#include "log.h"

static double clock_s; /* The time of every log here. */
static char *text;
static size_t n_text;
static FILE *stream;
static thaw_log logger;

static double now_s(void) {
    return clock_s;
}

static void begin(thaw_log_level level, bool terminal) {
    clock_s = 100;
    stream = open_memstream(&text, &n_text);
    thaw_log_open(&logger, stream, level);
    assert_false(logger.terminal);
    logger.terminal = terminal;
    logger.now_s = now_s;
}

/* What was written since begin. */
static const char *so_far(void) {
    fflush(stream);
    return text;
}

static void end(void) {
    thaw_log_close(&logger);
    fclose(stream);
    free(text);
}

static size_t count(const char *where, const char *what) {
    size_t n = 0;
    for (; (where = strstr(where, what)); where++)
        n++;
    return n;
}

static void levels(void **state) {
    (void)state;
    begin(THAW_LOG_WARN, false);
    thaw_log_write(&logger, THAW_LOG_ERROR, "e%d", 1);
    thaw_log_write(&logger, THAW_LOG_WARN, "w");
    thaw_log_write(&logger, THAW_LOG_INFO, "i");
    thaw_log_progress_begin(&logger, "extract", "images", 3);
    thaw_log_progress_add(&logger, 3);
    thaw_log_progress_end(&logger);
    assert_string_equal(so_far(), "error: e1\nwarning: w\n");
    end();
    begin(THAW_LOG_INFO, false);
    thaw_log_write(&logger, THAW_LOG_INFO, "bad\x1b[2Jname\nerror: faked");
    thaw_log_write(&logger, THAW_LOG_DEBUG, "d");
    assert_string_equal(so_far(), "bad?[2Jname?error: faked\n");
    end();
}

static void debug_has_time(void **state) {
    (void)state;
    begin(THAW_LOG_DEBUG, false);
    thaw_log_write(&logger, THAW_LOG_DEBUG, "hello");
    int h, m, s, ms, used = 0;
    assert_int_equal(sscanf(so_far(), "%2d:%2d:%2d.%3d debug: hello%n", &h, &m, &s, &ms, &used), 4);
    assert_string_equal(text + used, "\n");
    end();
}

static void no_log(void **state) {
    (void)state;
    thaw_log_write(NULL, THAW_LOG_ERROR, "x");
    thaw_log_progress_begin(NULL, "x", "images", 1);
    thaw_log_progress_add(NULL, 1);
    thaw_log_progress_end(NULL);
}

static void pipe_is_plain(void **state) {
    (void)state;
    begin(THAW_LOG_INFO, false);
    thaw_log_progress_begin(&logger, "extract", "images", 720);
    for (int i = 0; i < 720; i++) {
        clock_s += 1.0 / 64;
        thaw_log_progress_add(&logger, 1);
    }
    thaw_log_progress_end(&logger);
    thaw_log_progress_end(&logger);
    assert_string_equal(so_far(),
                        "extract  320/720 (44 %)  64 images/s  ETA 0:06\n"
                        "extract  640/720 (88 %)  64 images/s  ETA 0:01\n"
                        "extract  720/720 (100 %)  64 images/s in 11.2 s\n");
    end();
}

static void terminal_redraws(void **state) {
    (void)state;
    begin(THAW_LOG_INFO, true);
    thaw_log_progress_begin(&logger, "extract", "images", 10000);
    for (int i = 0; i < 1000; i++) {
        clock_s += 0.001;
        thaw_log_progress_add(&logger, 1);
    }
    so_far();
    assert_in_range(count(text, "\r"), 8, 11); /* One second. */
    assert_int_equal(count(text, "\n"), 0);
    thaw_log_write(&logger, THAW_LOG_WARN, "broken.jpg");
    so_far();
    const char *warning = strstr(text, "\r\x1b[Kwarning: broken.jpg\n\rextract  1000/10000");
    assert_non_null(warning);
    thaw_log_progress_end(&logger);
    so_far();
    assert_int_equal(count(text, "\n"), 2);
    assert_string_equal(text + n_text - 4, "\x1b[K\n");
    thaw_log_write(&logger, THAW_LOG_INFO, "after");
    so_far();
    assert_string_equal(text + n_text - 10, "\x1b[K\nafter\n");
    end();
}

/* A line as wide as the terminal would wrap and could not be drawn over. */
static void terminal_cuts(void **state) {
    (void)state;
    begin(THAW_LOG_INFO, true);
    char label[64] = "";
    for (int i = 0; i < 30; i++)
        strcat(label, "\xc3\xa4");
    thaw_log_progress_begin(&logger, label, "images", 1000000);
    clock_s += 1;
    thaw_log_progress_add(&logger, 123456);
    const char *line = strrchr(so_far(), '\r') + 1;
    size_t letters = 0;
    for (; *line != '\x1b'; line++)
        letters += ((unsigned char)*line & 0xc0) != 0x80;
    assert_in_range(letters, 60, 79);
    end();
}

static void unknown_total(void **state) {
    (void)state;
    begin(THAW_LOG_INFO, false);
    thaw_log_progress_begin(&logger, "draw", "pictures", 0);
    clock_s += 8;
    thaw_log_progress_add(&logger, 4);
    thaw_log_progress_begin(&logger, "next", "pictures", 2); /* Ends the first. */
    assert_string_equal(so_far(),
                        "draw  4  0.5 pictures/s\n"
                        "draw  4  0.5 pictures/s in 8.0 s\n");
    end();
}

static void *work(void *argument) {
    (void)argument;
    for (int i = 0; i < 500; i++) {
        thaw_log_progress_add(&logger, 1);
        if (i % 50 == 0) thaw_log_write(&logger, THAW_LOG_WARN, "file %d", i);
    }
    return NULL;
}

static void threads(void **state) {
    (void)state;
    enum { N = 4 };
    pthread_t thread[N];
    begin(THAW_LOG_INFO, false);
    thaw_log_progress_begin(&logger, "extract", "images", N * 500);
    for (int i = 0; i < N; i++)
        pthread_create(&thread[i], NULL, work, NULL);
    for (int i = 0; i < N; i++)
        pthread_join(thread[i], NULL);
    clock_s += 1;
    thaw_log_progress_end(&logger);
    so_far();
    assert_int_equal(count(text, "\n"), N * 10 + 1);
    assert_int_equal(count(text, "warning: file "), N * 10);
    assert_non_null(strstr(text, "\nextract  2000/2000 (100 %)  2000 images/s in 1.0 s\n"));
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),           cmocka_unit_test(debug_has_time),
        cmocka_unit_test(no_log),           cmocka_unit_test(pipe_is_plain),
        cmocka_unit_test(terminal_redraws), cmocka_unit_test(terminal_cuts),
        cmocka_unit_test(unknown_total),    cmocka_unit_test(threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
