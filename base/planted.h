/* Planted bugs: faults that a test can switch on by name, to show that it would find them.
 *
 *     if (entry_is_checked || LILIO_PLANTED("ack_stale_suffix"))
 *
 * Constant false in a normal build: no trace is left in the program. Where LILIO_PLANTED_BUGS is
 * defined, lilio_planted() decides, which the test or the simulation provides.
 */
#ifndef BASE_PLANTED_H
#define BASE_PLANTED_H

#include <stdbool.h>

#ifdef LILIO_PLANTED_BUGS
bool lilio_planted(const char *name);
#define LILIO_PLANTED(name) lilio_planted(name)
#else
#define LILIO_PLANTED(name) false
#endif

#endif
