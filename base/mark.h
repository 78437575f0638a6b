/* Code marks: a name at a rare branch, so that the simulation can say how often it was taken.
 *
 *     LILIO_MARK("raft/truncated");
 *
 * Nothing in a normal build; where LILIO_SIM_MARKS is defined, lilio_mark_hit() is called, which
 * the simulation provides. Names are string literals, "<folder>/<what>".
 */
#ifndef BASE_MARK_H
#define BASE_MARK_H

#ifdef LILIO_SIM_MARKS
void lilio_mark_hit(const char *name);
#define LILIO_MARK(name) lilio_mark_hit(name)
#else
#define LILIO_MARK(name) ((void)0)
#endif

#endif
