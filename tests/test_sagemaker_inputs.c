/* The ways in which SageMaker gives a job its pictures: folders, MXNet's lists, RecordIO files, and pipes of
 * records or of an augmented manifest. Whichever it is, the job ends in a model.
 */
#include <math.h>

#include "sagemaker_testing.h"

static tempdir place;

static const char HYPERPARAMETERS[] =
    "{\"epochs\":\"4\",\"data.validation\":\"0.2\",\"cache.dir\":\"none\"}";

/* ---- what holds the pictures ----------------------------------------------------------------- */

/* Calls visit for each training picture, class by class. */
static void each_picture(void (*visit)(void *ctx, int label, const char *class, const char *name),
                         void *ctx) {
    struct dirent **classes, **pictures;
    int n = scandir("pics/train", &classes, NULL, alphasort), label = 0;
    tempdir_check(n > 0, "pics/train");
    for (int k = 0; k < n; k++) {
        char folder[PATH_MAX / 4];
        const char *class = classes[k]->d_name;
        snprintf(folder, sizeof folder, "pics/train/%.200s", class);
        int m = class[0] == '.' ? 0 : scandir(folder, &pictures, NULL, alphasort);
        for (int i = 0; i < m; i++) {
            if (pictures[i]->d_name[0] != '.') visit(ctx, label, class, pictures[i]->d_name);
            free(pictures[i]);
        }
        if (m > 0) {
            free(pictures);
            label++;
        }
        free(classes[k]);
    }
    free(classes);
}

static void list_picture(void *ctx, int label, const char *class, const char *name) {
    static int index;
    fprintf(ctx, "%d\t%d\t%s/%s\n", index++, label, class, name);
}

/* One RecordIO record: magic, length, bytes, up to the next fourth. */
static void put_record(FILE *out, const void *header, size_t n_header, const void *bytes,
                       size_t n) {
    static const uint32_t magic = 0xced7230a, zero = 0;
    uint32_t length = (uint32_t)(n_header + n);
    fwrite(&magic, 4, 1, out);
    fwrite(&length, 4, 1, out);
    fwrite(header, 1, n_header, out);
    fwrite(bytes, 1, n, out);
    fwrite(&zero, 1, (4 - length % 4) % 4, out);
}

/* As the built-in algorithm's files have it: a header with the label. */
static void record_picture(void *ctx, int label, const char *class, const char *name) {
    struct {
        uint32_t flag;
        float label;
        uint64_t id[2];
    } header = {0, (float)label, {0, 0}};
    char path[PATH_MAX];
    size_t n;
    snprintf(path, sizeof path, "pics/train/%s/%s", class, name);
    uint8_t *bytes = test_read(path, &n);
    put_record(ctx, &header, sizeof header, bytes, n);
    free(bytes);
}

/* As an augmented manifest comes: the picture, and then the text of its label. */
static void record_pair(void *ctx, int label, const char *class, const char *name) {
    char path[PATH_MAX];
    size_t n;
    (void)label;
    snprintf(path, sizeof path, "pics/train/%s/%s", class, name);
    uint8_t *bytes = test_read(path, &n);
    put_record(ctx, "", 0, bytes, n);
    put_record(ctx, "", 0, class, strlen(class));
    free(bytes);
}

static void write_all(const char *path, void (*visit)(void *, int, const char *, const char *)) {
    FILE *file = fopen(path, "wb");
    tempdir_check(file != NULL, path);
    each_picture(visit, file);
    tempdir_check(fclose(file) == 0, path);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void expect_model(program *p) {
    if (p->code != 0) fail_msg("exit code %d, %s", p->code, sm_failure());
    assert_true(is_there(sm_path("model/bundle.json")));
    assert_true(number_in(sm_path("output/data/metrics.json"), "images.train") > 50);
    program_free(p);
}

/* A list makes the model that folders make. */
static void lists(void **state) {
    (void)state;
    program p = {0};
    sm_lay_out("folders", HYPERPARAMETERS);
    program_run(&p, "train");
    expect_model(&p);
    mkdir("lists", 0755);
    write_all("lists/train.lst", list_picture);
    sm_lay_out("lists_job", HYPERPARAMETERS);
    sm_config("inputdataconfig.json", "{\"train\":{},\"train_lst\":{},\"test\":{},\"model\":{}}");
    sm_channel("train_lst", "lists");
    program_run(&p, "train");
    expect_model(&p);
    expect_equal_files("folders/model/model.onnx", "lists_job/model/model.onnx");
    rename_or_fail("lists/train.lst", "lists/train.txt");
    program_run(&p, "train");
    program_expect_text(&p, program_refusal(&p, 1), "train_lst has 0 files that end in .lst");
    program_free(&p);
}

static void record_files(void **state) {
    (void)state;
    program p = {0};
    mkdir("records", 0755);
    write_all("records/train.rec", record_picture);
    sm_lay_out("records_job", HYPERPARAMETERS);
    sm_config("inputdataconfig.json",
              "{\"train\":{\"ContentType\":\"application/x-recordio\"},\"model\":{}}");
    sm_channel("train", "records");
    program_run(&p, "train");
    expect_model(&p);
}

/* Streams into the FIFO, as the platform does while the job reads. */
static void run_piped(const char *channels,
                      void (*visit)(void *, int, const char *, const char *)) {
    program p = {0};
    sm_lay_out("piped", HYPERPARAMETERS);
    sm_config("inputdataconfig.json", channels);
    unlink(sm_path("input/data/train"));
    char fifo[PATH_MAX];
    snprintf(fifo, sizeof fifo, "%s", sm_path("input/data/train_0"));
    program_start(&p, "train");
    pause_ms(50); /* The job may be there before the FIFO is. */
    tempdir_check(mkfifo(fifo, 0644) == 0, fifo);
    pid_t writer = fork();
    if (writer == 0) {
        write_all(fifo, visit);
        _exit(0);
    }
    program_wait(&p);
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    expect_model(&p);
}

static void pipes(void **state) {
    (void)state;
    run_piped(
        "{\"train\":{\"TrainingInputMode\":\"Pipe\",\"ContentType\":\"application/x-recordio\"},"
        "\"model\":{}}",
        record_picture);
    run_piped(
        "{\"train\":{\"TrainingInputMode\":\"Pipe\",\"RecordWrapperType\":\"RecordIO\"},"
        "\"model\":{}}",
        record_pair);
}

/* An earlier job's model is where the next one starts, packed as SageMaker keeps it. */
static void an_earlier_model(void **state) {
    (void)state;
    program p = {0};
    mkdir("packed", 0755);
    unsetenv("SAGEMAKER_BASE_DIR");
    program_expect_ok(&p, "export folders/model --tar=packed/model.tar.gz");
    program_free(&p);
    sm_lay_out("again", HYPERPARAMETERS);
    sm_channel("model", "packed");
    program_run(&p, "train");
    expect_model(&p);
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(SM_TRAIN, SM_TEST);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),
        cmocka_unit_test(record_files),
        cmocka_unit_test(pipes),
        cmocka_unit_test(an_earlier_model),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
