#include "insight.h"

#include <string.h>

#include "csv.h"
#include "file.h"
#include "report/suspects.h"

static const char *path_of(const thaw_insight_job *job, thaw_split split, int64_t row,
                           thaw_arena *arena) {
    char path[PATH_MAX];
    thaw_dataset_path(job->dataset, job->splits[split].picture[row], path);
    return thaw_arena_string(arena, path, strlen(path));
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for what the report says of pictures");
}

static thaw_status begin_table(thaw_new_file *t, const char *folder, const char *name,
                               const char *columns, thaw_error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return thaw_fail(err, THAW_ERR_IO, "the path %.200s/%s is too long", folder, name);
    THAW_TRY(thaw_file_begin(t, path, err));
    fprintf(t->stream, "%s\r\n", columns);
    return THAW_OK;
}

/* n fields of text. */
static void put_fields(thaw_new_file *t, const char *const *fields, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (i) fputc(',', t->stream);
        thaw_csv_put(t->stream, fields[i]);
    }
}

/* ---- what mistakes are like -------------------------------------------------------------------- */

static thaw_status write_neighbours(const char *folder, const thaw_mistake *mistakes, size_t n,
                                    thaw_error *err) {
    thaw_new_file t;
    THAW_TRY(
        begin_table(&t, folder, "neighbours.csv", "path,truth,answer,near,near_class,cosine", err));
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < mistakes[i].n_near; k++) {
            const thaw_neighbour *near = &mistakes[i].near[k];
            const char *fields[] = {mistakes[i].path, mistakes[i].truth, mistakes[i].answer,
                                    near->path, near->label};
            put_fields(&t, fields, sizeof fields / sizeof *fields);
            fprintf(t.stream, ",%.6f\r\n", near->cosine);
        }
    return thaw_file_finish(&t, err);
}

static thaw_status find_nearest(const thaw_insight_job *job, const thaw_mistake *mistakes, size_t n,
                                thaw_near (*near)[THAW_NEAREST], thaw_error *err) {
    int64_t index[THAW_REPORT_MISTAKES];
    thaw_rows from, among;
    thaw_arena arena = {0};
    for (size_t i = 0; i < n; i++)
        index[i] = mistakes[i].row;
    THAW_TRY(job->rows(job->ctx, job->measured, &from, err));
    float *x = thaw_arena_array(&arena, n * (size_t)from.D, sizeof *x);
    thaw_status status = x ? from.gather(from.ctx, index, (int64_t)n, x, err) : no_memory(err);
    if (status == THAW_OK) status = job->rows(job->ctx, THAW_SPLIT_TRAIN, &among, err);
    if (status == THAW_OK)
        status = thaw_nearest_find(job->top, x, job->measured == THAW_SPLIT_TRAIN ? index : NULL,
                                   (int64_t)n, &among, near, err);
    thaw_arena_free(&arena);
    return status;
}

static thaw_status set_neighbours(const thaw_insight_job *job, thaw_mistake *m,
                                  const thaw_near *near, thaw_arena *arena, thaw_error *err) {
    const thaw_split_rows *train = &job->splits[THAW_SPLIT_TRAIN];
    for (int k = 0; k < THAW_NEAREST && near[k].row >= 0; k++) {
        m->near[k] = (thaw_neighbour){
            path_of(job, THAW_SPLIT_TRAIN, near[k].row, arena),
            thaw_results_label(job->results, train->rows.label[near[k].row], arena),
            near[k].cosine};
        if (!m->near[k].path || !m->near[k].label) return no_memory(err);
        m->n_near++;
    }
    return THAW_OK;
}

static thaw_status make_mistakes(const thaw_insight_job *job, const char *folder, thaw_arena *arena,
                                 thaw_report *report, thaw_error *err) {
    thaw_near near[THAW_REPORT_MISTAKES][THAW_NEAREST];
    thaw_predictions answered = {job->dataset, &job->splits[job->measured], job->results, job->old,
                                 NULL};
    thaw_pictures *p = &report->pictures;
    thaw_mistake *mistakes;
    int64_t n_train = job->splits[THAW_SPLIT_TRAIN].rows.n;
    THAW_TRY(thaw_predictions_mistakes(&answered, arena, &mistakes, &p->n_mistakes, err));
    p->mistakes = mistakes;
    if (p->n_mistakes == 0) return THAW_OK;
    if (n_train > THAW_NEAREST_MOST_ROWS) {
        p->no_neighbours = thaw_arena_printf(
            arena, "Of more than %d training pictures none are looked for that are like them.",
            THAW_NEAREST_MOST_ROWS);
        return p->no_neighbours ? THAW_OK : no_memory(err);
    }
    THAW_TRY(find_nearest(job, mistakes, p->n_mistakes, near, err));
    for (size_t i = 0; i < p->n_mistakes; i++)
        THAW_TRY(set_neighbours(job, &mistakes[i], near[i], arena, err));
    return write_neighbours(folder, mistakes, p->n_mistakes, err);
}

/* ---- doubtful labels --------------------------------------------------------------------------- */

/* The suspects of some splits, and where they come from. */
typedef struct suspects {
    thaw_suspect *list; /* [n] */
    size_t n;
    thaw_split split[THAW_SPLIT_COUNT]; /* Of each set. */
    bool in_sample;
} suspects;

static thaw_status find_suspects(const thaw_insight_job *job, bool in_sample, thaw_arena *arena,
                                 suspects *found, thaw_error *err) {
    const thaw_metrics *sets[THAW_SPLIT_COUNT];
    int n = 0;
    *found = (suspects){.in_sample = in_sample};
    for (int s = 0; s < THAW_SPLIT_COUNT; s++) {
        if (!job->splits[s].rows.n || (s == THAW_SPLIT_TRAIN) != in_sample) continue;
        found->split[n] = (thaw_split)s;
        sets[n++] = &job->metrics[s];
    }
    return thaw_suspects_find(sets, n, arena, &found->list, &found->n, err);
}

static void write_suspects_of(const thaw_insight_job *job, const suspects *found,
                              thaw_new_file *t) {
    for (size_t i = 0; i < found->n; i++) {
        const thaw_suspect *s = &found->list[i];
        thaw_split split = found->split[s->set];
        char path[PATH_MAX];
        thaw_dataset_path(job->dataset, job->splits[split].picture[s->row], path);
        const char *fields[] = {path, thaw_split_name(split),
                                job->results->classes[s->answer.label],
                                job->results->classes[s->answer.answer]};
        put_fields(t, fields, sizeof fields / sizeof *fields);
        fprintf(t->stream, ",%.6f,%.6f,%s\r\n", s->answer.own, s->answer.score,
                found->in_sample ? "yes" : "no");
    }
}

static thaw_status write_suspects(const thaw_insight_job *job, const char *folder,
                                  const suspects *out, const suspects *in, thaw_error *err) {
    thaw_new_file t;
    if (out->n + in->n == 0) return THAW_OK;
    THAW_TRY(begin_table(&t, folder, "suspects.csv",
                         "path,split,label,answer,label_score,answer_score,in_sample", err));
    write_suspects_of(job, out, &t);
    write_suspects_of(job, in, &t);
    return thaw_file_finish(&t, err);
}

/* The mistake that a row of the measured split is among those shown; NULL: it is not. */
static thaw_mistake *find_mistake(const thaw_pictures *p, int64_t row) {
    for (size_t i = 0; i < p->n_mistakes; i++)
        if (p->mistakes[i].row == row) return &p->mistakes[i];
    return NULL;
}

/* Adds what the page shows of them to list; mistakes are shown already. */
static thaw_status show_doubts(const thaw_insight_job *job, const suspects *found,
                               thaw_arena *arena, thaw_pictures *p, thaw_doubt *list,
                               thaw_error *err) {
    for (size_t i = 0; i < found->n; i++) {
        const thaw_suspect *s = &found->list[i];
        thaw_split split = found->split[s->set];
        thaw_mistake *mistake = split == job->measured ? find_mistake(p, s->row) : NULL;
        if (mistake) mistake->doubtful = true;
        if (mistake || p->n_doubts == THAW_REPORT_DOUBTS) continue;
        thaw_doubt *d = &list[p->n_doubts++];
        *d = (thaw_doubt){.path = path_of(job, split, s->row, arena),
                          .label = job->results->classes[s->answer.label],
                          .answer = job->results->classes[s->answer.answer],
                          .split = thaw_split_name(split),
                          .own = s->answer.own,
                          .score = s->answer.score,
                          .in_sample = found->in_sample};
        if (!d->path) return no_memory(err);
    }
    return THAW_OK;
}

static thaw_status make_doubts(const thaw_insight_job *job, const char *folder, thaw_arena *arena,
                               thaw_report *report, thaw_error *err) {
    thaw_pictures *p = &report->pictures;
    thaw_doubt *list = thaw_arena_array(arena, THAW_REPORT_DOUBTS, sizeof *list);
    suspects out, in;
    if (!list) return no_memory(err);
    THAW_TRY(find_suspects(job, false, arena, &out, err));
    THAW_TRY(find_suspects(job, true, arena, &in, err));
    THAW_TRY(show_doubts(job, &out, arena, p, list, err));
    THAW_TRY(show_doubts(job, &in, arena, p, list, err));
    p->doubts = list;
    p->n_doubts_out = out.n;
    p->n_doubts_in = in.n;
    return write_suspects(job, folder, &out, &in, err);
}

/* ---- the map ----------------------------------------------------------------------------------- */

static thaw_status write_map(const thaw_insight_job *job, const char *folder, const thaw_map *map,
                             const int64_t *index, thaw_error *err) {
    thaw_new_file t;
    THAW_TRY(begin_table(&t, folder, "map.csv", "path,class,x,y", err));
    for (int64_t i = 0; i < map->n; i++) {
        char path[PATH_MAX];
        thaw_dataset_path(job->dataset, job->splits[job->measured].picture[index[i]], path);
        const char *fields[] = {path, job->results->classes[map->label[i]]};
        put_fields(&t, fields, sizeof fields / sizeof *fields);
        fprintf(t.stream, ",%.6g,%.6g\r\n", map->plane.x[i], map->plane.y[i]);
    }
    return thaw_file_finish(&t, err);
}

/* How many of n rows of D numbers a map shows: what fits the page, and some memory. */
static int64_t map_size(int64_t n, int64_t D) {
    enum { MOST_NUMBERS = 4 << 20 };
    int64_t most = MOST_NUMBERS / (D > 0 ? D : 1);
    if (most > THAW_MAP_MOST) most = THAW_MAP_MOST;
    return n < most ? n : most;
}

static thaw_status make_map(const thaw_insight_job *job, const char *folder, thaw_arena *arena,
                            thaw_map *map, thaw_error *err) {
    enum { LEAST = 3, MOST_CLASSES = 500 }; /* Colours tell no more classes apart. */
    const thaw_split_rows *split = &job->splits[job->measured];
    thaw_rows rows;
    if (job->results->metrics.K > MOST_CLASSES) return THAW_OK;
    THAW_TRY(job->rows(job->ctx, job->measured, &rows, err));
    int64_t n = map_size(rows.n, rows.D);
    if (n < LEAST) return THAW_OK;
    int64_t *index = thaw_arena_array(arena, (size_t)n, sizeof *index);
    int32_t *label = thaw_arena_array(arena, (size_t)n, sizeof *label);
    int32_t *answer = thaw_arena_array(arena, (size_t)n, sizeof *answer);
    const char **names = thaw_arena_array(arena, (size_t)n, sizeof *names);
    if (!index || !label || !answer || !names) return no_memory(err);
    for (int64_t i = 0; i < n; i++) {
        index[i] = i * rows.n / n; /* From all over the split. */
        label[i] = split->rows.label[index[i]];
        answer[i] = job->metrics[job->measured].answers[index[i]].answer;
        names[i] = job->dataset->name[split->picture[index[i]]];
    }
    THAW_TRY(thaw_project(&rows, index, n, arena, &map->plane, err));
    map->names = names;
    map->label = label;
    map->answer = answer;
    map->n = n;
    map->n_all = rows.n;
    return write_map(job, folder, map, index, err);
}

thaw_status thaw_insight_make(const thaw_insight_job *job, const char *folder, thaw_arena *arena,
                              thaw_report *report, thaw_error *err) {
    THAW_TRY(make_mistakes(job, folder, arena, report, err));
    if (job->results->metrics.sets) return THAW_OK; /* Both tell of one class a picture. */
    THAW_TRY(make_doubts(job, folder, arena, report, err));
    return make_map(job, folder, arena, &report->map, err);
}
