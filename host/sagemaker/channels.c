#include "channels.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "data/pipe.h"
#include "file.h"
#include "text.h"

static const char SOURCE[] = "inputdataconfig.json";

/* ---- what is in a folder -------------------------------------------------------------------- */

/* What a look at a folder found; names are only good for sentences when there are several. */
typedef struct found {
    size_t n, n_all; /* Files that were looked for; entries of any kind, but for hidden ones. */
    char name[NAME_MAX + 1]; /* Of the first that was looked for, by name. */
    thaw_text names, all;    /* Comma-separated. */
} found;

static bool ends_in(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n > m && strcasecmp(name + n - m, end) == 0;
}

static void list_name(thaw_text *list, size_t n, const char *name) {
    enum { MANY = 8 };
    if (n <= MANY) thaw_text_add(list, "%s%.60s", n > 1 ? ", " : "", name);
    if (n == MANY + 1) thaw_text_add(list, ", ...");
}

/* Entries of the folder, in the order of their names; those whose name ends in `end` are counted apart.
 * False with errno: it cannot be read. */
static bool look(const char *folder, const char *end, found *f) {
    struct dirent **entries;
    *f = (found){0};
    int n = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        if (name[0] != '.') {
            list_name(&f->all, ++f->n_all, name);
            if (end && ends_in(name, end)) {
                if (f->n == 0) snprintf(f->name, sizeof f->name, "%s", name);
                list_name(&f->names, ++f->n, name);
            }
        }
        free(entries[i]);
    }
    if (n >= 0) free(entries);
    return n >= 0;
}

static thaw_status no_memory(thaw_error *err) {
    return thaw_fail_memory(err, "for the paths of channels");
}

/* A channel whose folder is there, with something in it. */
static thaw_status check_folder(const thaw_channel *c, found *f, const char *end, thaw_error *err) {
    if (!look(c->path, end, f))
        return thaw_fail(err, THAW_ERR_DATA,
                         "the channel %s was announced, and its folder %s cannot be read: %s",
                         c->name, c->path, strerror(errno));
    if (f->n_all > 0) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_DATA,
        "the channel %s is empty: there is nothing in %s; look whether the S3 URI of the "
        "job names a folder with pictures",
        c->name, c->path);
}

/* ---- pictures ------------------------------------------------------------------------------- */

/* The channel with lists for another channel. */
static const thaw_channel *find_lists(const thaw_platform *p, const thaw_channel *c) {
    char name[80];
    snprintf(name, sizeof name, "%.70s_lst", c->name);
    return thaw_platform_channel(p, name);
}

/* What comes through a pipe comes once, and is kept. */
static thaw_status keep_pipe(const thaw_channel *c, const char *work, const volatile int *stop,
                             thaw_arena *arena, const char **path, thaw_error *err) {
    enum { PATIENCE_S = 600, SPARE_BYTES = 1 << 26 };
    thaw_pipe_spec spec = {.channel = c->path,
                           .manifest = c->record_io,
                           .patience_s = PATIENCE_S,
                           .spare_bytes = SPARE_BYTES,
                           .stop = stop};
    thaw_pipe_result result;
    const char *folder = thaw_file_join(arena, work, "piped");
    if (!folder) return no_memory(err);
    THAW_TRY(thaw_file_make_folders(folder, err));
    THAW_TRY(thaw_pipe_spool(&spec, folder, &result, err));
    *path = thaw_arena_string(arena, result.source, strlen(result.source));
    return *path ? THAW_OK : no_memory(err);
}

/* What the pictures of a channel are read from: its folder, of pictures or of RecordIO files, or the list
 * that names what is in it. */
static thaw_status find_pictures(const thaw_platform *p, const thaw_channel *c, thaw_arena *arena,
                                 const char **path, thaw_error *err) {
    const thaw_channel *lists = find_lists(p, c);
    found f;
    THAW_TRY(check_folder(c, &f, NULL, err));
    *path = c->path;
    if (!lists) return THAW_OK;
    THAW_TRY(check_folder(lists, &f, ".lst", err));
    if (f.n != 1)
        return thaw_fail(err, THAW_ERR_DATA,
                         "the channel %s has %zu files that end in .lst, and one is expected: %s",
                         lists->name, f.n, f.all.text);
    *path = thaw_file_join(arena, lists->path, f.name);
    return *path ? THAW_OK : no_memory(err);
}

static thaw_status set_split(const thaw_platform *p, const thaw_channel *c, const char *key,
                             const char *work, const volatile int *stop, thaw_options *options,
                             thaw_error *err) {
    const char *path;
    if (thaw_options_is_set(options, key)) return THAW_OK;
    if (c->piped)
        THAW_TRY(keep_pipe(c, work, stop, &options->arena, &path, err));
    else
        THAW_TRY(find_pictures(p, c, &options->arena, &path, err));
    return thaw_options_set(options, key, path, SOURCE, err);
}

/* Channels that are somebody else's: SageMaker's own Python scripts are in the last two. */
static bool is_known(const thaw_platform *p, const thaw_channel *c) {
    static const char *const known[] = {"train", "training", "validation", "test",
                                        "model", "code",     "sm_drivers"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char lists[80];
        snprintf(lists, sizeof lists, "%s_lst", known[i]);
        if (!strcmp(c->name, known[i])) return true;
        if (!strcmp(c->name, lists) && thaw_platform_channel(p, known[i])) return true;
    }
    return false;
}

thaw_status thaw_channels_set_data(const thaw_platform *p, const char *work,
                                   const volatile int *stop, thaw_options *options,
                                   thaw_error *err) {
    static const char *const splits[][2] = {{"train", "data.train"},
                                            {"training", "data.train"},
                                            {"validation", "data.validation"},
                                            {"test", "data.test"}};
    if (thaw_platform_channel(p, "train") && thaw_platform_channel(p, "training"))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "there are two channels to train on, train and training: leave one out");
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
        const thaw_channel *c = thaw_platform_channel(p, splits[i][0]);
        if (c) THAW_TRY(set_split(p, c, splits[i][1], work, stop, options, err));
    }
    for (size_t i = 0; i < p->n_channels; i++)
        if (!is_known(p, &p->channels[i]))
            THAW_TRY(thaw_options_note(options, err, "the channel %.80s is not looked at",
                                       p->channels[i].name));
    return THAW_OK;
}

/* ---- the network ---------------------------------------------------------------------------- */

/* Where the image has models of its own. */
static const char *models_folder(void) {
    const char *folder = getenv("THAW_MODELS");
    return folder && *folder ? folder : "/opt/thaw/models";
}

static bool is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* A name in a folder, with or without .onnx; NULL: it is not there, or memory is short. */
static const char *find_named(const char *folder, const char *name, thaw_arena *arena) {
    const char *path = thaw_file_join(arena, folder, name);
    const char *with_end = path ? thaw_arena_printf(arena, "%s.onnx", path) : NULL;
    if (!with_end) return NULL;
    return is_file(path) ? path : is_file(with_end) ? with_end : NULL;
}

static thaw_status set_model(thaw_options *options, const char *path, const char *source,
                             thaw_error *err) {
    return thaw_options_set(options, "model", path, source, err);
}

/* The one model in a folder; *path NULL: it has none. */
static thaw_status find_model(const char *folder, const char *what, thaw_arena *arena,
                              const char **path, found *f, thaw_error *err) {
    static const char *const ends[] = {".onnx", ".tar.gz"};
    *path = NULL;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && !*path; i++) {
        if (!look(folder, ends[i], f)) return THAW_OK;
        if (f->n > 1)
            return thaw_fail(err, THAW_ERR_USAGE,
                             "%s has %zu models: %s; name one of them by the hyperparameter model",
                             what, f->n, f->names.text);
        if (f->n == 1 && !(*path = thaw_file_join(arena, folder, f->name))) return no_memory(err);
    }
    return THAW_OK;
}

static thaw_status find_unnamed(const thaw_channel *c, thaw_options *options, thaw_error *err) {
    const char *path;
    found f;
    if (c) {
        THAW_TRY(check_folder(c, &f, NULL, err));
        THAW_TRY(find_model(c->path, "the channel model", &options->arena, &path, &f, err));
        if (path) return set_model(options, path, SOURCE, err);
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "the channel model has no ONNX file and no packed bundle (.tar.gz), but: %s",
            f.all.text);
    }
    THAW_TRY(find_model(models_folder(), "the image", &options->arena, &path, &f, err));
    if (path) return set_model(options, path, models_folder(), err);
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "there is no network to start from: give a channel called model with an ONNX file, "
        "or the hyperparameter model with the name of one in %s",
        models_folder());
}

thaw_status thaw_channels_set_model(const thaw_platform *p, thaw_options *options,
                                    thaw_error *err) {
    const thaw_channel *c = thaw_platform_channel(p, "model");
    const char *name = options->model;
    if (!*name) return find_unnamed(c, options, err);
    if (strchr(name, '/'))
        return THAW_OK; /* A path: whoever reads it says what is wrong with it. */
    const char *path = c ? find_named(c->path, name, &options->arena) : NULL;
    if (!path) path = find_named(models_folder(), name, &options->arena);
    if (path) return set_model(options, path, "hyperparameters.json", err);
    return thaw_fail(err, THAW_ERR_USAGE, "model = %.200s: there is no such file in %s%s%s", name,
                     c ? "the channel model nor in " : "", models_folder(),
                     c ? "" : ", and no channel called model");
}
