/* Files that come with the program: the base CNN of the demo, the table of sets. */
#ifndef THAW_DATA_FILE_H
#define THAW_DATA_FILE_H

#include <stddef.h>

/* Where the file called name lies: in share/thaw beside an installed program's folder, or in the source
 * tree. */
void thaw_data_file(const char *name, char *path, size_t size);

#endif
