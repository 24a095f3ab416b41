#include "request_parts.h"

#include <regex.h>
#include <string.h>
#include <time.h>

#include "text.h"

enum { S3_BYTES = 1024, ITEM_BYTES = 2048 };

/* Whether the whole text is what the POSIX extended pattern says. */
static bool matches(const char *pattern, const char *text) {
    regex_t regex;
    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0) return false;
    bool same = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return same;
}

bool thaw__ends_with(const char *text, const char *end) {
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

void thaw__put_given(thaw__request *r, json_t *parent, const char *field, const char *text) {
    if (*text) thaw_json_text(r->json, parent, field, text);
}

/* ---- names ---------------------------------------------------------------------------------- */

static thaw_status check_name(const char *key, const char *name, size_t most, thaw_error *err) {
    if (strlen(name) <= most && matches("^[a-zA-Z0-9](-*[a-zA-Z0-9])*$", name)) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "%s = '%.80s': expected at most %zu letters, digits and dashes, with no dash at "
        "an end",
        key, name, most);
}

thaw_status thaw__put_name(thaw__request *r, const char *field, size_t most, thaw_error *err) {
    const char *name = r->options->sagemaker.name;
    char now[32];
    if (thaw_is_auto(name)) {
        time_t seconds = time(NULL);
        struct tm utc;
        strftime(now, sizeof now, "thaw-%Y-%m-%d-%H-%M-%S", gmtime_r(&seconds, &utc));
        name = now;
    }
    THAW_TRY(check_name("sagemaker.name", name, most, err));
    thaw_json_text(r->json, r->json->root, field, name);
    return THAW_OK;
}

thaw_status thaw__put_other_name(thaw__request *r, json_t *parent, const char *field,
                                 const char *key, const char *name, thaw_error *err) {
    THAW_TRY(thaw_options_require(r->options, key, err));
    THAW_TRY(check_name(key, name, 63, err));
    thaw_json_text(r->json, parent, field, name);
    return THAW_OK;
}

thaw_status thaw__put_role(thaw__request *r, json_t *parent, const char *field, thaw_error *err) {
    const char *role = r->options->sagemaker.role;
    THAW_TRY(thaw_options_require(r->options, "sagemaker.role", err));
    if (!matches("^arn:aws[a-z-]*:iam::[0-9]{12}:role/?[a-zA-Z_0-9+=,.@/-]+$", role))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.role = '%.120s' is not the ARN of a role: expected "
                         "arn:aws:iam::111122223333:role/NAME, as `aws iam get-role` prints it",
                         role);
    thaw_json_text(r->json, parent, field, role);
    return THAW_OK;
}

thaw_status thaw__put_image(thaw__request *r, json_t *parent, const char *field, thaw_error *err) {
    const char *image = r->options->sagemaker.image;
    THAW_TRY(thaw_options_require(r->options, "sagemaker.image", err));
    if (strlen(image) > 255 || strpbrk(image, " \t"))
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.image = '%.120s': expected the address of an image, of at most "
                         "255 letters and without blanks",
                         image);
    thaw_json_text(r->json, parent, field, image);
    return THAW_OK;
}

/* ---- machines ------------------------------------------------------------------------------- */

thaw_status thaw__find_instance(const thaw__request *r, unsigned use,
                                const thaw_instance **instance, thaw_error *err) {
    const char *name = r->options->sagemaker.instance;
    THAW_TRY(thaw_options_require(r->options, "sagemaker.instance", err));
    THAW_TRY(thaw_instance_find(name, "sagemaker.instance", instance, err));
    if ((*instance)->uses & use) return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "sagemaker.instance = %s: SageMaker does not %s on this machine; `thaw sagemaker "
        "instances` lists those that do",
        name,
        use == THAW_INSTANCE_TRAINS   ? "train"
        : use == THAW_INSTANCE_SERVES ? "run endpoints"
                                      : "run transform jobs");
}

thaw_status thaw__put_volume_key(thaw__request *r, json_t *parent, const char *field,
                                 const thaw_instance *instance, thaw_error *err) {
    const char *volume_key = r->options->sagemaker.volume_key;
    if (*volume_key && instance->nvme_gb)
        return thaw_fail(err, THAW_ERR_USAGE,
                         "sagemaker.volume_key: the disk of %s is its own and encrypted by its "
                         "hardware, it takes no key; leave the key out, or take a machine without",
                         instance->name);
    thaw__put_given(r, parent, field, volume_key);
    return THAW_OK;
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* The next of several items with commas between; false at the end. An item that is too long is "". */
static bool next_item(const char **list, char item[ITEM_BYTES]) {
    if (!**list) return false;
    size_t n = strcspn(*list, ",");
    snprintf(item, ITEM_BYTES, "%.*s", n < ITEM_BYTES ? (int)n : 0, *list);
    *list += n + ((*list)[n] == ',');
    return true;
}

static thaw_status put_list(thaw__request *r, json_t *parent, const char *field, const char *key,
                            const char *list, size_t most, thaw_error *err) {
    json_t *array = thaw_json_array(r->json, parent, field);
    char item[ITEM_BYTES];
    size_t n = 0;
    while (next_item(&list, item)) {
        if (!matches("^[-0-9a-zA-Z]{1,32}$", item))
            return thaw_fail(
                err, THAW_ERR_USAGE,
                "%s: '%.80s' is no id: expected letters, digits and dashes, with commas "
                "between ids",
                key, item);
        thaw_json_text(r->json, array, NULL, item);
        n++;
    }
    return n <= most ? THAW_OK
                     : thaw_fail(err, THAW_ERR_USAGE, "%s has %zu ids, SageMaker takes %zu", key, n,
                                 most);
}

thaw_status thaw__put_vpc(thaw__request *r, json_t *parent, thaw_error *err) {
    const char *subnets = r->options->sagemaker.subnets,
               *groups = r->options->sagemaker.security_groups;
    if (!*subnets && !*groups) return THAW_OK;
    if (!*subnets || !*groups)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "a VPC needs both sagemaker.subnets and sagemaker.security_groups, and only "
            "the %s are given",
            *subnets ? "subnets" : "security groups");
    json_t *vpc = thaw_json_object(r->json, parent, "VpcConfig");
    THAW_TRY(put_list(r, vpc, "Subnets", "sagemaker.subnets", subnets, 16, err));
    return put_list(r, vpc, "SecurityGroupIds", "sagemaker.security_groups", groups, 5, err);
}

/* Splits "name=value" in place. */
static thaw_status split_pair(const char *key, char *item, char **value, thaw_error *err) {
    *value = strchr(item, '=');
    if (!*value || *value == item)
        return thaw_fail(
            err, THAW_ERR_USAGE,
            "%s: '%.80s' is no name=value; commas stand between such pairs, and in none", key,
            item);
    *(*value)++ = '\0';
    return THAW_OK;
}

thaw_status thaw__put_environment(thaw__request *r, json_t *parent, size_t most, thaw_error *err) {
    const char *list = r->options->sagemaker.environment;
    char item[ITEM_BYTES], *value;
    if (!*list) return THAW_OK;
    json_t *map = thaw_json_object(r->json, parent, "Environment");
    while (next_item(&list, item)) {
        THAW_TRY(split_pair("sagemaker.environment", item, &value, err));
        if (!matches("^[a-zA-Z_][a-zA-Z0-9_]*$", item) || strlen(item) > 512 || strlen(value) > 512)
            return thaw_fail(
                err, THAW_ERR_USAGE,
                "sagemaker.environment: '%.80s' is no variable of a container: expected a "
                "name of letters, digits and _, and a value of at most 512 bytes",
                item);
        thaw_json_text(r->json, map, item, value);
    }
    if (json_object_size(map) <= most) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE,
                     "sagemaker.environment has %zu variables, SageMaker takes %zu here",
                     json_object_size(map), most);
}

thaw_status thaw__put_tags(thaw__request *r, thaw_error *err) {
    const char *list = r->options->sagemaker.tags;
    char item[ITEM_BYTES], *value;
    if (!*list) return THAW_OK;
    json_t *tags = thaw_json_array(r->json, r->json->root, "Tags");
    while (next_item(&list, item)) {
        THAW_TRY(split_pair("sagemaker.tags", item, &value, err));
        if (strlen(item) > 128 || strlen(value) > 256)
            return thaw_fail(
                err, THAW_ERR_USAGE,
                "sagemaker.tags: '%.80s' is too long: a key has at most 128 bytes, a value "
                "256",
                item);
        json_t *tag = thaw_json_object(r->json, tags, NULL);
        thaw_json_text(r->json, tag, "Key", item);
        thaw_json_text(r->json, tag, "Value", value);
    }
    if (json_array_size(tags) <= 50) return THAW_OK;
    return thaw_fail(err, THAW_ERR_USAGE, "sagemaker.tags has %zu tags, SageMaker takes 50",
                     json_array_size(tags));
}

/* ---- addresses ------------------------------------------------------------------------------ */

thaw_status thaw__check_s3(const char *key, const char *text, thaw_error *err) {
    if (strlen(text) <= S3_BYTES && matches("^s3://[a-z0-9][a-z0-9.-]{2,62}(/.*)?$", text))
        return THAW_OK;
    return thaw_fail(
        err, THAW_ERR_USAGE,
        "%s = '%.120s' is no address in S3: expected s3://BUCKET/..., where `aws s3 cp "
        "--recursive` puts a folder of this machine",
        key, text);
}

bool thaw__model_is_in_image(const char *model) {
    return *model == '/' || (*model && !strchr(model, '/'));
}

thaw_status thaw__put_output_path(thaw__request *r, json_t *parent, const char *near,
                                  thaw_error *err) {
    const char *path = r->options->sagemaker.output_path;
    char beside[S3_BYTES + 8];
    if (thaw_is_auto(path)) {
        size_t bucket = strlen("s3://") + strcspn(near + strlen("s3://"), "/");
        snprintf(beside, sizeof beside, "%.*s/thaw/", (int)bucket, near);
        path = beside;
    }
    THAW_TRY(thaw__check_s3("sagemaker.output_path", path, err));
    thaw_json_text(r->json, parent, "S3OutputPath", path);
    return THAW_OK;
}
