/* Enums whose values have names: one list makes both, so that neither can lack a row.
 *
 *   #define THAW_FIT_LIST(X)      \
 *       X(THAW_FIT_CROP, "crop")  \
 *       X(THAW_FIT_SQUASH, "squash")
 *   typedef enum thaw_fit { THAW_FIT_LIST(THAW_ENUM_VALUE) } thaw_fit;
 *   const char *const names[] = {THAW_FIT_LIST(THAW_ENUM_NAME) NULL};
 *
 * Values count from 0 in the list's order. A list may have more columns behind the name.
 */
#ifndef THAW_ENUM_H
#define THAW_ENUM_H

#define THAW_ENUM_VALUE(value, ...) value,
#define THAW_ENUM_NAME(value, name, ...) name,

#endif
