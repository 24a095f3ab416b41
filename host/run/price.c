#include "price.h"

#include <math.h>
#include <string.h>

#include "text.h"

/* Training on demand in us-east-1, in dollars an hour, from Amazon's price list of this date: prices
 * change, and other regions have others. */
static const char list_date[] = "2025-01";
static const struct {
    const char *instance;
    double per_hour;
} list[] = {
    {"ml.m5.large", 0.115},    {"ml.m5.xlarge", 0.23},   {"ml.m5.2xlarge", 0.461},
    {"ml.c5.xlarge", 0.204},   {"ml.c5.2xlarge", 0.408}, {"ml.g4dn.xlarge", 0.736},
    {"ml.g4dn.2xlarge", 0.94}, {"ml.g5.xlarge", 1.408},  {"ml.g5.2xlarge", 1.515},
    {"ml.p3.2xlarge", 3.825},
};

thaw_status thaw_price_choose(const thaw_options *o, thaw_price *price, thaw_error *err) {
    *price = (thaw_price){.instance = o->report.instance,
                          .per_hour = o->report.price_per_hour,
                          .currency = "USD",
                          .date = ""};
    if (!*price->instance || !isnan(price->per_hour)) return THAW_OK;
    thaw_nearest nearest = {.word = price->instance};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        thaw_nearest_offer(&nearest, list[i].instance);
        if (strcmp(list[i].instance, price->instance) != 0) continue;
        price->per_hour = list[i].per_hour;
        price->date = list_date;
        return THAW_OK;
    }
    return thaw_fail(err, THAW_ERR_USAGE,
                     "report.instance = %.80s: its price is not known here%s%s%s; give "
                     "report.price_per_hour",
                     price->instance, nearest.best ? "; did you mean " : "",
                     nearest.best ? nearest.best : "", nearest.best ? "?" : "");
}
