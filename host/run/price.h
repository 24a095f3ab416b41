/* What an hour of a machine costs. */
#ifndef THAW_PRICE_H
#define THAW_PRICE_H

#include "options/options.h"

typedef struct thaw_price {
    const char *instance;        /* "": not said. */
    double per_hour;             /* NaN: unknown. */
    const char *currency, *date; /* Of the list; date "": the user's own price. */
} thaw_price;

/* From report.price_per_hour and report.instance. ERR_USAGE: an instance without a price in the table, with
 * the nearest. */
thaw_status thaw_price_choose(const thaw_options *options, thaw_price *price, thaw_error *err);

#endif
