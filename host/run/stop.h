/* Whether the user has asked the program to stop. */
#ifndef THAW_STOP_H
#define THAW_STOP_H

/* From now on SIGINT and SIGTERM make what this points to non-zero, and a second one ends the program
 * at once. It lives as long as the program. */
const volatile int *thaw_stop_catch(void);

#endif
