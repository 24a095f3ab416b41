#include "survey.h"

#include <pthread.h>
#include <string.h>

#include "machine.h"
#include "picture/picture_file.h"

enum { MOST_THREADS = 64 };

/* The pictures are handed out one by one; what is found of picture i goes to place i, so that threads do
 * not matter to the result. */
typedef struct surveyor {
    thaw_survey *survey;
    const volatile int *stop;
    thaw_log *log;
    thaw_image_budget *budget;
    pthread_mutex_t mutex; /* Guards all that follows, and the survey's arena. */
    size_t next;
    thaw_error error;
    bool failed;
} surveyor;

static bool take(surveyor *s, size_t *i) {
    pthread_mutex_lock(&s->mutex);
    bool any = !s->failed && !(s->stop && *s->stop) && s->next < s->survey->dataset->n;
    if (any) *i = s->next++;
    pthread_mutex_unlock(&s->mutex);
    return any;
}

static void fail(surveyor *s, const thaw_error *err) {
    pthread_mutex_lock(&s->mutex);
    if (!s->failed) s->error = *err;
    s->failed = true;
    pthread_mutex_unlock(&s->mutex);
}

static thaw_status reject(surveyor *s, size_t i, thaw_error *why) {
    pthread_mutex_lock(&s->mutex);
    char *copy = thaw_arena_pack(&s->survey->arena, why->text, strlen(why->text));
    s->survey->n_unread++;
    pthread_mutex_unlock(&s->mutex);
    s->survey->of[i].problem = copy;
    s->survey->unread[i] = true;
    return copy ? THAW_OK : thaw_fail_memory(why, "for what is wrong with pictures");
}

static thaw_status look(thaw_survey *survey, size_t i, thaw_decoder *decoder, const char *path,
                        thaw_arena *arena, thaw_error *why) {
    static const thaw_geometry squashed = {.width = THAW_LOOK_SIDE,
                                           .height = THAW_LOOK_SIDE,
                                           .fit = THAW_FIT_SQUASH,
                                           .filter = THAW_FILTER_BILINEAR,
                                           .channels = 3,
                                           .background = 255};
    uint8_t rgb[3 * THAW_LOOK_SIDE * THAW_LOOK_SIDE];
    thaw_surveyed *of = &survey->of[i];
    char *bytes;
    size_t n;
    THAW_TRY(thaw_picture_read(path, arena, &bytes, &n, why));
    of->bytes = n;
    of->format = thaw_image_format(bytes, n);
    survey->keys[i] = thaw_hash_bytes((thaw_hash){0}, bytes, n);
    THAW_TRY(thaw_image_decode(decoder, bytes, n, &squashed, rgb, why));
    thaw_image_facts facts = thaw_decoder_facts(decoder);
    of->width = facts.width;
    of->height = facts.height;
    of->orientation = facts.orientation;
    survey->looks[i] = thaw_look_at(rgb);
    return THAW_OK;
}

static thaw_status look_at_all(surveyor *s, thaw_decoder *decoder, thaw_error *err) {
    for (size_t i; take(s, &i);) {
        char path[PATH_MAX];
        thaw_arena arena = {0};
        thaw_dataset_path(s->survey->dataset, i, path);
        thaw_status status = look(s->survey, i, decoder, path, &arena, err);
        thaw_arena_free(&arena);
        if (status != THAW_OK && thaw_status_rejects(status)) status = reject(s, i, err);
        if (status == THAW_ERR_INTERRUPTED) return THAW_OK;
        if (status != THAW_OK) return thaw_fail_within(err, status, "picture %.600s", path);
        thaw_log_progress_add(s->log, 1);
    }
    return THAW_OK;
}

static void *work(void *argument) {
    surveyor *s = argument;
    thaw_decoder *decoder = NULL;
    thaw_error err;
    thaw_status status = thaw_decoder_create(&decoder, &err);
    if (status == THAW_OK) {
        thaw_decoder_share(decoder, s->budget, s->stop);
        status = look_at_all(s, decoder, &err);
    }
    thaw_decoder_free(decoder);
    if (status != THAW_OK) fail(s, &err);
    return NULL;
}

static void run_threads(surveyor *s) {
    pthread_t threads[MOST_THREADS];
    int n = 0, most = thaw_usable_cpus();
    while (n < most - 1 && n < MOST_THREADS && pthread_create(&threads[n], NULL, work, s) == 0)
        n++;
    work(s); /* One of them is this one: where no other can be had, it does all. */
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static thaw_status run(surveyor *s, thaw_error *err) {
    size_t n = s->survey->dataset->n;
    THAW_TRY(thaw_image_budget_create(&s->budget, THAW_IMAGE_BUDGET_BYTES, err));
    thaw_log_progress_begin(s->log, "looking at pictures", "images", n);
    run_threads(s);
    thaw_log_progress_end(s->log);
    thaw_image_budget_free(s->budget);
    if (s->failed) {
        if (err) *err = s->error;
        return s->error.code;
    }
    if (s->stop && *s->stop)
        return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped by a signal after %zu of %zu pictures",
                         s->next, n);
    return THAW_OK;
}

thaw_status thaw_survey_make(thaw_survey *survey, const thaw_dataset *dataset,
                             const volatile int *stop, thaw_log *log, thaw_error *err) {
    size_t n = dataset->n;
    *survey = (thaw_survey){.dataset = dataset};
    survey->of = thaw_arena_array(&survey->arena, n, sizeof *survey->of);
    survey->keys = thaw_arena_array(&survey->arena, n, sizeof *survey->keys);
    survey->looks = thaw_arena_array(&survey->arena, n, sizeof *survey->looks);
    survey->unread = thaw_arena_array(&survey->arena, n, sizeof *survey->unread);
    if (!survey->of || !survey->keys || !survey->looks || !survey->unread)
        return thaw_fail_memory(err, "for what is known of %zu pictures", n);
    surveyor s = {.survey = survey, .stop = stop, .log = log};
    pthread_mutex_init(&s.mutex, NULL);
    thaw_status status = run(&s, err);
    pthread_mutex_destroy(&s.mutex);
    THAW_TRY(status);
    return thaw_alike_find(survey->keys, survey->looks, survey->unread, n, &survey->arena,
                           &survey->alike, err);
}

void thaw_survey_free(thaw_survey *survey) {
    thaw_arena_free(&survey->arena);
}
