/* What the shell gets to know: one small number per kind of outcome. */
#ifndef TOOLS_EXIT_CODE_H
#define TOOLS_EXIT_CODE_H

#include "base/err.h"

enum tools_exit {
    TOOLS_EXIT_OK = 0,
    TOOLS_EXIT_FAILURE = 1,
    TOOLS_EXIT_USAGE = 2, /* or a bad argument */
    TOOLS_EXIT_NOT_FOUND = 3,
    TOOLS_EXIT_CONDITION = 4,   /* exists already, precondition failed */
    TOOLS_EXIT_UNAVAILABLE = 5, /* or timed out: not done */
    TOOLS_EXIT_UNKNOWN = 6,     /* nobody knows whether it was done */
    TOOLS_EXIT_DAMAGED = 7,     /* but mendable */
    TOOLS_EXIT_LOST = 8,
    TOOLS_EXIT_INTERRUPTED = 130,
};
/* Foreign numbers are failures. */
int tools_exit_code(enum lilio_err err);

#endif
