#include "price.h"

#include <math.h>
#include <string.h>

#include "instances.h"
#include "text.h"

thaw_status thaw_price_choose(const thaw_options *o, thaw_price *price, thaw_error *err) {
    *price = (thaw_price){.instance = o->report.instance,
                          .per_hour = o->report.price_per_hour,
                          .currency = "USD",
                          .date = ""};
    if (!*price->instance || !isnan(price->per_hour)) return THAW_OK;
    thaw_nearest nearest = {.word = price->instance};
    size_t n;
    const thaw_instance *list = thaw_instances(&n);
    for (size_t i = 0; i < n; i++) {
        if (!list[i].per_hour) continue;
        thaw_nearest_offer(&nearest, list[i].name);
        if (strcmp(list[i].name, price->instance) != 0) continue;
        price->per_hour = list[i].per_hour;
        price->date = thaw_instance_price_date;
        return THAW_OK;
    }
    return thaw_fail(err, THAW_ERR_USAGE,
                     "report.instance = %.80s: its price is not known here%s%s%s; give "
                     "report.price_per_hour",
                     price->instance, nearest.best ? "; did you mean " : "",
                     nearest.best ? nearest.best : "", nearest.best ? "?" : "");
}
