#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "decoder.h"

struct thaw_image_budget {
    size_t whole, left;
    pthread_mutex_t mutex;
    pthread_cond_t returned;
};

thaw_status thaw_image_budget_create(thaw_image_budget **budget, size_t bytes, thaw_error *err) {
    *budget = calloc(1, sizeof **budget);
    if (!*budget) return thaw_fail_memory(err, "for a budget");
    (*budget)->whole = (*budget)->left = bytes;
    pthread_mutex_init(&(*budget)->mutex, NULL);
    pthread_cond_init(&(*budget)->returned, NULL);
    return THAW_OK;
}

void thaw_image_budget_free(thaw_image_budget *budget) {
    if (!budget) return;
    pthread_cond_destroy(&budget->returned);
    pthread_mutex_destroy(&budget->mutex);
    free(budget);
}

bool thaw__budget_take(thaw_image_budget *budget, size_t n, const volatile int *stop) {
    if (n > budget->whole) n = budget->whole;
    pthread_mutex_lock(&budget->mutex);
    while (budget->left < n && !(stop && *stop)) {
        /* A wake-up now and then sees a stop that came from a signal. */
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&budget->returned, &budget->mutex, &until);
    }
    bool taken = budget->left >= n;
    if (taken) budget->left -= n;
    pthread_mutex_unlock(&budget->mutex);
    return taken;
}

void thaw__budget_return(thaw_image_budget *budget, size_t n) {
    if (n > budget->whole) n = budget->whole;
    pthread_mutex_lock(&budget->mutex);
    budget->left += n;
    pthread_cond_broadcast(&budget->returned);
    pthread_mutex_unlock(&budget->mutex);
}
