/* Growing arrays of the simulation's own bookkeeping: running out of memory ends the program. */
#ifndef TESTS_SIM_GROW_H
#define TESTS_SIM_GROW_H

#include <stdio.h>
#include <stdlib.h>

/* Makes room for count elements of size bytes; *room is what there is. */
static inline void *sim_grow(void *array, size_t *room, size_t count, size_t size)
{
    if (count <= *room)
        return array;
    size_t more = *room ? 2 * *room : 16;
    if (more < count)
        more = count;
    array = realloc(array, more * size);
    if (!array) {
        fputs("lilio-sim: out of memory\n", stderr);
        abort();
    }
    *room = more;
    return array;
}

#endif
