/* Pipe mode: what comes through a FIFO, at whatever pace and in whatever pieces, is kept whole and trains the
 * same network as the files do; what does not come, or not whole, is said in time. */
#include <pthread.h>
#include <sys/mount.h>

#include "data/pipe.h"
#include "program.h"
#include "recordio.h"

static tempdir place;
static thaw_error err;
static thaw_pipe_result result;

/* Writes the bytes of a file into a FIFO, as the platform does. */
typedef struct sender {
    const char *file, *fifo;
    size_t from, n; /* Bytes of the file; n 0: all. */
    size_t piece;   /* Bytes at once; 0: all. */
    int late_ms;    /* After which the FIFO is made. */
    int hold_ms;    /* For which it stays open behind the last byte. */
    pthread_t thread;
} sender;

static void *send_bytes(void *argument) {
    const sender *s = argument;
    size_t n;
    uint8_t *bytes = test_read(s->file, &n);
    pause_ms(s->late_ms);
    tempdir_check(mkfifo(s->fifo, 0666) == 0, s->fifo);
    int fd = open(s->fifo, O_WRONLY);
    size_t end = s->n ? s->from + s->n : n;
    for (size_t at = s->from, piece; at < end; at += piece) {
        piece = s->piece && s->piece < end - at ? s->piece : end - at;
        ssize_t put = write(fd, bytes + at, piece);
        if (put <= 0) break; /* The reader has given up. */
        piece = (size_t)put;
        if (s->piece) pause_ms(1);
    }
    pause_ms(s->hold_ms);
    close(fd);
    free(bytes);
    return NULL;
}

/* Takes what a sender still sends to a reader that has given up, or never was there, until it ends. */
static void finish(sender *s) {
    char rest[4096];
    int fd = -1;
    while (pthread_tryjoin_np(s->thread, NULL) != 0) {
        if (fd < 0) fd = open(s->fifo, O_RDONLY | O_NONBLOCK);
        if (fd < 0 || read(fd, rest, sizeof rest) <= 0) pause_ms(1);
    }
    if (fd >= 0) close(fd);
}

/* What comes of it when the sender sends. */
static thaw_status spool_to(const char *folder, sender *s, const thaw_pipe_spec *spec) {
    unlink(s->fifo);
    tempdir_check(pthread_create(&s->thread, NULL, send_bytes, s) == 0, "pthread_create");
    thaw_status status = thaw_pipe_spool(spec, folder, &result, &err);
    finish(s);
    return status;
}

static thaw_status spool(sender *s, const thaw_pipe_spec *spec) {
    return spool_to("spool", s, spec);
}

static const thaw_pipe_spec records = {.channel = "train", .patience_s = 20};
static const thaw_pipe_spec manifest = {.channel = "train", .manifest = true, .patience_s = 20};

static void expect_failure(sender *s, const thaw_pipe_spec *spec, thaw_status code,
                           const char *said) {
    thaw_status status = spool(s, spec);
    if (status != code || !strstr(err.text, said))
        fail_msg("status %d, expected %d and \"%s\" in\n%s", status, code, said, err.text);
    assert_false(is_there("spool/train.rec") || is_there("spool/train.csv"));
    assert_int_equal(rmdir("spool"), 0); /* Nothing else is left, either. */
}

/* ---- what the tests send --------------------------------------------------------------------- */

enum { CLASSES = 8, TRAIN = 3 };

static const char *const drawn[CLASSES] = {"bellflower", "lily", "lupin",     "marguerite",
                                           "pansy",      "rose", "sunflower", "tulip"};

/* A record as a stream has it, without a header of im2rec's. */
static void put_bare(FILE *out, const void *bytes, size_t n) {
    uint32_t word = (uint32_t)n;
    fwrite(thaw_record_magic, 4, 1, out);
    fwrite(&word, 4, 1, out);
    fwrite(bytes, 1, n, out);
    fwrite("\0\0\0", 1, (4 - n % 4) % 4, out);
}

/* The drawn pictures as a .rec, and as an augmented manifest is streamed. */
static void make_streams(void) {
    char path[128];
    FILE *rec = fopen("sent.rec", "w"), *pairs = fopen("sent.pairs", "w");
    FILE *csv = fopen("sent.csv", "w");
    fputs("path,label\n", csv);
    for (int k = 0; k < CLASSES; k++)
        for (int i = 0; i < TRAIN; i++) {
            size_t n;
            snprintf(path, sizeof path, "pics/train/%s/%s-%04d.jpg", drawn[k], drawn[k], i);
            uint8_t *picture = test_read(path, &n);
            assert_true(thaw_record_put(rec, (float)k, (uint64_t)(k * TRAIN + i), picture, n));
            put_bare(pairs, picture, n);
            put_bare(pairs, drawn[k], strlen(drawn[k]));
            fprintf(csv, "%s,%s\n", path, drawn[k]);
            free(picture);
        }
    fclose(rec);
    fclose(pairs);
    fclose(csv);
}

/* ---- what comes ------------------------------------------------------------------------------ */

static void records_come_as_they_are(void **state) {
    (void)state;
    /* At once; late and in pieces that end anywhere; and of a later epoch. */
    static const struct {
        int late_ms, epoch;
        size_t piece;
        const char *fifo;
    } ways[] = {{0, 0, 0, "train_0"}, {250, 0, 3001, "train_0"}, {0, 7, 0, "train_7"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        thaw_pipe_spec spec = records;
        spec.epoch = ways[i].epoch;
        sender s = {.file = "sent.rec",
                    .fifo = ways[i].fifo,
                    .piece = ways[i].piece,
                    .late_ms = ways[i].late_ms};
        if (spool(&s, &spec) != THAW_OK) fail_msg("%s", err.text);
        assert_string_equal(result.source, "spool/train.rec");
        assert_int_equal(result.n, CLASSES * TRAIN);
        expect_equal_files("sent.rec", "spool/train.rec");
        remove_tree("spool");
    }
}

/* The same pictures make the same bits, however they came. */
static void the_same_network_as_from_files(void **state) {
    (void)state;
    program p = {0};
#define WITH "train --model=m.onnx --cache.dir=cache --data.validation=0 --epochs=3 "
    program_expect_ok(&p, WITH "--data.train=sent.rec --out=rec");
    program_free(&p);
    sender s = {.file = "sent.rec", .fifo = "train_0"};
    if (spool(&s, &records) != THAW_OK) fail_msg("%s", err.text);
    program_expect_ok(&p, WITH "--data.train=%s --out=piped", result.source);
    program_free(&p);
    expect_equal_files("rec/model.onnx", "piped/model.onnx");
    program_expect_ok(&p, WITH "--data.train=sent.csv --out=csv");
    program_free(&p);
    s = (sender){.file = "sent.pairs", .fifo = "train_0"};
    if (spool(&s, &manifest) != THAW_OK) fail_msg("%s", err.text);
    assert_string_equal(result.source, "spool/train.csv");
    assert_int_equal(result.n, CLASSES * TRAIN);
    program_expect_ok(&p, WITH "--data.train=%s --out=pairs", result.source);
    program_free(&p);
    expect_equal_files("csv/model.onnx", "pairs/model.onnx");
    remove_tree("spool");
}

static void labels_are_texts(void **state) {
    (void)state;
    static const char *const labels[] = {"10", " red, \"wild\" rose\n", "10"};
    FILE *out = fopen("some.pairs", "w");
    for (int i = 0; i < 3; i++) {
        put_bare(out, "picture", 7);
        put_bare(out, labels[i], strlen(labels[i]));
    }
    fclose(out);
    sender s = {.file = "some.pairs", .fifo = "train_0"};
    if (spool(&s, &manifest) != THAW_OK) fail_msg("%s", err.text);
    size_t n;
    char *table = (char *)test_read("spool/train.csv", &n);
    table[n] = '\0';
    assert_string_equal(table,
                        "path,label\r\ntrain.rec/0,10\r\n"
                        "train.rec/40,\"red, \"\"wild\"\" rose\"\r\ntrain.rec/80,10\r\n");
    free(table);
    remove_tree("spool");
}

/* ---- what does not come ---------------------------------------------------------------------- */

static void cuts_and_nonsense_are_refused(void **state) {
    (void)state;
    size_t n;
    free(test_read("sent.rec", &n));
    sender s = {.file = "sent.rec", .fifo = "train_0", .n = 1001};
    expect_failure(&s, &records, THAW_ERR_FORMAT, "ends at byte 1001, within the record");
    s.n = n - 1;
    expect_failure(&s, &records, THAW_ERR_FORMAT, "cut off");
    s.n = 5;
    expect_failure(&s, &records, THAW_ERR_FORMAT, "ends at byte 5");
    s = (sender){.file = "sent.rec", .fifo = "train_0", .from = 4};
    expect_failure(&s, &records, THAW_ERR_FORMAT, "RecordWrapperType RecordIO");
    s = (sender){.file = "/dev/null", .fifo = "train_0"};
    expect_failure(&s, &records, THAW_ERR_DATA, "nothing came through 'train_0'");
    /* Pictures without labels, and labels where pictures should be. */
    s = (sender){.file = "sent.pairs", .fifo = "train_0"};
    expect_failure(&s, &records, THAW_ERR_FORMAT, "no label, as im2rec writes it");
    s = (sender){.file = "sent.rec", .fifo = "train_0"};
    expect_failure(&s, &manifest, THAW_ERR_FORMAT, "is no label");
    FILE *out = fopen("odd.pairs", "w");
    put_bare(out, "picture", 7);
    put_bare(out, "rose", 4);
    put_bare(out, "picture", 7);
    fclose(out);
    s.file = "odd.pairs";
    expect_failure(&s, &manifest, THAW_ERR_FORMAT, "ends with picture 2, which has no label");
    out = fopen("odd.pairs", "w");
    put_bare(out, "picture", 7);
    put_bare(out, " \n", 2);
    fclose(out);
    expect_failure(&s, &manifest, THAW_ERR_FORMAT, "is no label");
    out = fopen("odd.pairs", "w");
    put_bare(out, "picture", 7);
    put_bare(out, "ro\0se", 5);
    fclose(out);
    expect_failure(&s, &manifest, THAW_ERR_FORMAT, "is no label");
}

static void waiting_ends(void **state) {
    (void)state;
    thaw_pipe_spec spec = records;
    int stop = 0;
    spec.patience_s = 0.2;
    sender s = {.file = "sent.rec", .fifo = "train_0", .late_ms = 600};
    expect_failure(&s, &spec, THAW_ERR_IO, "'train_0' did not appear within 0.2 s");
    s = (sender){.file = "sent.rec", .fifo = "train_0", .n = 5000, .hold_ms = 600};
    expect_failure(&s, &spec, THAW_ERR_IO, "gave nothing more within 0.2 s");
    /* A FIFO that nobody writes to is not at its end. */
    unlink("train_0");
    tempdir_check(mkfifo("train_0", 0666) == 0, "mkfifo");
    assert_int_equal(thaw_pipe_spool(&spec, "spool", &result, &err), THAW_ERR_IO);
    assert_non_null(strstr(err.text, "gave nothing more"));
    spec.patience_s = 20;
    spec.stop = &stop;
    stop = 1;
    assert_int_equal(thaw_pipe_spool(&spec, "spool", &result, &err), THAW_ERR_INTERRUPTED);
    unlink("train_0");
    assert_int_equal(thaw_pipe_spool(&spec, "spool", &result, &err), THAW_ERR_INTERRUPTED);
    rmdir("spool");
    s = (sender){.file = "sent.rec", .fifo = "train_0"};
    expect_failure(&s, &spec, THAW_ERR_INTERRUPTED, "stopped by a signal");
    /* Also while bytes come all the time, as from a file. */
    unlink("train_0");
    copy_file("sent.rec", "train_0");
    assert_int_equal(thaw_pipe_spool(&spec, "spool", &result, &err), THAW_ERR_INTERRUPTED);
    assert_non_null(strstr(err.text, "after 0 pictures"));
    unlink("train_0");
    spec = records;
    spec.channel = "m.onnx/train";
    assert_int_equal(thaw_pipe_spool(&spec, "spool", &result, &err), THAW_ERR_IO);
    assert_non_null(strstr(err.text, "cannot open 'm.onnx/train_0': Not a directory"));
    rmdir("spool");
}

static void the_disk_is_watched(void **state) {
    (void)state;
    thaw_pipe_spec spec = records;
    spec.spare_bytes = (uint64_t)1 << 60;
    sender s = {.file = "sent.rec", .fifo = "train_0"};
    expect_failure(&s, &spec, THAW_ERR_IO, "must stay free: give the job a larger volume");
    /* In the middle of it, before the disk is full. */
    FILE *out = fopen("large.rec", "w");
    static char large[1 << 20];
    for (int i = 0; i < 40; i++)
        assert_true(thaw_record_put(out, 0, (uint64_t)i, large, sizeof large));
    fclose(out);
    tempdir_folder(&place, "small");
    if (geteuid() != 0 || mount("tmpfs", "small", "tmpfs", 0, "size=32m") != 0) {
        print_message("SKIPPED: a small disk, since this user cannot mount one\n");
        skip();
    }
    spec.spare_bytes = 10 << 20;
    spec.channel = "large";
    s = (sender){.file = "large.rec", .fifo = "large_0"};
    thaw_status status = spool_to("small/spool", &s, &spec);
    bool left = rmdir("small/spool") != 0;
    umount2("small", MNT_DETACH);
    assert_int_equal(status, THAW_ERR_IO);
    assert_non_null(strstr(err.text, "10 MB must stay free"));
    assert_true(result.n > 0 && result.n < 32);
    assert_false(left);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_as_they_are),
        cmocka_unit_test(the_same_network_as_from_files),
        cmocka_unit_test(labels_are_texts),
        cmocka_unit_test(cuts_and_nonsense_are_refused),
        cmocka_unit_test(waiting_ends),
        cmocka_unit_test(the_disk_is_watched),
    };
    signal(SIGPIPE, SIG_IGN); /* Senders outlive readers that give up. */
    place = program_place(TRAIN, 1);
    make_streams();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    program_leave(&place);
    return failed;
}
