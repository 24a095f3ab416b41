/* A channel in parts on several hosts: the leader has the whole of it before it trains, and makes of it what
 * one host makes of all; every host that waits for another gives up with a sentence; what comes over the
 * wire lands where it should or nowhere.
 */
#include <arpa/inet.h>
#include <sys/socket.h>

#include "sagemaker_testing.h"

static tempdir place;
static char port[8];

static const char HYPERPARAMETERS[] = "{\"epochs\":\"3\",\"data.validation\":\"0.2\"}";
static const char CHANNELS[] =
    "{\"train\":{\"S3DistributionType\":\"ShardedByS3Key\"},\"test\":{},\"model\":{}}";

/* A host's own BASE; the names are addresses of this machine. */
static void lay_out_host(const char *base, const char *host, const char *pictures) {
    char text[256];
    sm_lay_out(base, HYPERPARAMETERS);
    sm_config("inputdataconfig.json", CHANNELS);
    snprintf(text, sizeof text,
             "{\"current_host\":\"%s\",\"hosts\":[\"127.0.0.2\",\"127.0.0.1\",\"127.0.0.3\"],"
             "\"network_interface_name\":\"lo\"}",
             host);
    sm_config("resourceconfig.json", text);
    sm_channel("train", pictures);
}

/* Deals the training pictures to folders parts/0, 1 and 2, by turns. */
static void deal(void) {
    mkdir("parts", 0755);
    for (int part = 0; part < 3; part++) {
        char folder[64];
        snprintf(folder, sizeof folder, "parts/%d", part);
        mkdir(folder, 0755);
    }
    struct dirent **classes, **pictures;
    int n = scandir("pics/train", &classes, NULL, alphasort), turn = 0;
    for (int k = 0; k < n; k++) {
        char folder[PATH_MAX / 4];
        snprintf(folder, sizeof folder, "pics/train/%.200s", classes[k]->d_name);
        int m = classes[k]->d_name[0] == '.' ? 0 : scandir(folder, &pictures, NULL, alphasort);
        for (int i = 0; i < m; i++) {
            char from[PATH_MAX], to[PATH_MAX], part[PATH_MAX / 2];
            if (pictures[i]->d_name[0] != '.') {
                snprintf(from, sizeof from, "%s/%.200s", folder, pictures[i]->d_name);
                snprintf(part, sizeof part, "parts/%d/%.200s", turn++ % 3, classes[k]->d_name);
                snprintf(to, sizeof to, "%s/%.200s", part, pictures[i]->d_name);
                mkdir(part, 0755);
                copy_file(from, to);
            }
            free(pictures[i]);
        }
        if (m > 0) free(pictures);
        free(classes[k]);
    }
    free(classes);
}

/* A port that was free a moment ago. */
static void choose_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    tempdir_check(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 &&
                      getsockname(fd, (struct sockaddr *)&address, &size) == 0,
                  "a port");
    close(fd);
    snprintf(port, sizeof port, "%d", ntohs(address.sin_port));
    setenv("THAW_PORT", port, 1);
}

static int knock(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 2000; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
        close(fd);
        pause_ms(5);
    }
    fail_msg("nobody listens at port %s", port);
    return -1;
}

static void parts_make_a_whole(void **state) {
    (void)state;
    program one = {0}, host[3] = {0};
    sm_lay_out("one", HYPERPARAMETERS);
    program_run(&one, "train");
    assert_int_equal(one.code, 0);
    program_free(&one);
    choose_port();
    static const char *const names[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    for (int i = 2; i >= 0; i--) { /* The leader comes last: the others wait for it. */
        char base[32], part[32];
        snprintf(base, sizeof base, "host%d", i);
        snprintf(part, sizeof part, "parts/%d", i);
        lay_out_host(base, names[i], part);
        program_start(&host[i], "train");
        if (i == 0) {
            int fd = knock(); /* Who is no host does no harm. */
            tempdir_check(write(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27) == 27, "write");
            close(fd);
        }
    }
    for (int i = 0; i < 3; i++) {
        program_wait(&host[i]);
        if (host[i].code != 0) fail_msg("host %d: %d, %s", i, host[i].code, host[i].err);
        if (i > 0) assert_string_equal(host[i].out, "");
        program_expect_text(&host[i], host[i].err,
                            i ? "which trains: done" : "came from the other hosts");
    }
    program_expect_text(&host[0], host[0].err, "somebody who is no host of this job");
    expect_equal_files("one/model/model.onnx", "host0/model/model.onnx");
    assert_false(is_there("host1/model/bundle.json"));
    for (int i = 0; i < 3; i++)
        program_free(&host[i]);
}

static void nobody_waits_for_ever(void **state) {
    (void)state;
    program p = {0};
    choose_port();
    setenv("THAW_MEET_SECONDS", "0.3", 1);
    lay_out_host("alone", "127.0.0.1", "parts/0");
    program_run(&p, "train");
    program_expect_text(&p, program_refusal(&p, 1),
                        "waiting for 127.0.0.2, 127.0.0.3: no other host");
    program_expect_text(&p, sm_failure(), "waiting for 127.0.0.2, 127.0.0.3");
    program_free(&p);
    lay_out_host("alone", "127.0.0.2", "parts/1");
    program_run(&p, "train");
    program_expect_text(&p, program_refusal(&p, 1), "cannot reach the host 127.0.0.1 at port");
    program_free(&p);
    unsetenv("THAW_MEET_SECONDS");
    lay_out_host("alone", "127.0.0.1", "parts/0");
    program_start(&p, "train");
    close(knock());
    kill(p.pid, SIGTERM);
    program_wait(&p);
    assert_int_equal(p.code, 143);
    assert_false(is_there(sm_path("output/failure")));
    program_free(&p);
}

/* What a host of the job would not send: bytes, and what is said of them. */
static void bad_bytes_are_refused(void **state) {
    (void)state;
    static const uint8_t hello[16] = {'T', 'H', 'A', 'W', 'G', 'T', 'H', 'R',
                                      1,   0,   0,   0,   3,   0,   0,   0};
    static const struct {
        uint16_t channel_bytes, path_bytes;
        uint64_t size;
        const char *names, *said;
    } rows[] = {
        {5, 9, 4, "train../../../x1234", "a file for elsewhere"},
        {5, 6, 4, "train/a/b.c1234", "a file for elsewhere"},
        {5, 6, 4, "traina//b.c1234", "a file for elsewhere"},
        {5, 4, 4, "train.a/b1234", "a file for elsewhere"},
        {4, 3, 4, "testa/b1234", "a file for elsewhere"},
        {5, 3, 4, "traina/b12340123456789abcdef", "was damaged on the way from 127.0.0.2"},
        {5, 3, 1ULL << 60, "traina/b1234", "too little for the pictures of all 3 hosts"},
        {5, 2000, 4, "train", "too long a name"},
        {5, 3, 400, "traina/b12", "127.0.0.2 has ended the connection"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        program p = {0};
        char turn = 0;
        uint8_t heading[16] = {0};
        choose_port();
        lay_out_host("bad", "127.0.0.1", "parts/0");
        program_start(&p, "train");
        int fd = knock();
        memcpy(heading, &rows[i].channel_bytes, 2);
        memcpy(heading + 2, &rows[i].path_bytes, 2);
        memcpy(heading + 8, &rows[i].size, 8);
        tempdir_check(write(fd, hello, 16) == 16 && read(fd, &turn, 1) == 1 && turn == 't',
                      "hello");
        tempdir_check(write(fd, heading, 16) == 16, "heading");
        tempdir_check(write(fd, rows[i].names, strlen(rows[i].names)) > 0, "names");
        shutdown(fd, SHUT_WR);
        program_wait(&p);
        close(fd);
        program_expect_text(&p, program_refusal(&p, 1), rows[i].said);
        assert_false(is_there("bad/x") || is_there("x"));
        program_free(&p);
    }
}

static int open_place(void **state) {
    *state = &place;
    place = program_place(SM_TRAIN, SM_TEST);
    deal();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_make_a_whole),
        cmocka_unit_test(nobody_waits_for_ever),
        cmocka_unit_test(bad_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, open_place, program_close);
}
