/* Checks that all rows of the maps agree with each other: names, references, runs, collection,
 * repair, sessions, counters. Knows the row formats, but none of the code that writes them. */
#ifndef TESTS_COORD_AUDIT_H
#define TESTS_COORD_AUDIT_H

#include "coord_fixture.h"

void coord_audit(struct fx *fx);

#endif
