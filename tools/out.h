/* What a command says. Without --json: lines and tables for people on standard output, errors on
 * standard error. With --json: exactly one JSON object on standard output, also when the command
 * fails ({"error": {...}}). Long lists are written as they come, so memory stays bounded.
 *
 * Bytes from outside (keys, file names, messages of daemons) never reach the terminal raw: control
 * bytes and malformed UTF-8 are written as \xNN (people) or U+FFFD (JSON). One thread. */
#ifndef TOOLS_OUT_H
#define TOOLS_OUT_H

#include <cjson/cJSON.h>

#include "client/lilio.h"

/* ---- JSON values ---- */

/* An empty object. Like everything here it ends the program when memory runs out. */
cJSON *tools_json_new(void);
/* A new object, a new list under this name. */
cJSON *tools_json_object(cJSON *object, const char *name);
cJSON *tools_json_list(cJSON *object, const char *name);
/* Takes element over. */
void tools_json_add(cJSON *list, cJSON *element);
/* Exact for all 64 bits, unlike cJSON's own numbers. */
void tools_json_u64(cJSON *object, const char *name, uint64_t value);
/* NULL becomes null. */
void tools_json_text(cJSON *object, const char *name, const char *text);
void tools_json_bool(cJSON *object, const char *name, bool value);
/* Rounded to three decimals. */
void tools_json_real(cJSON *object, const char *name, double value);
/* "INDEX.ORDINAL", as --if-version takes it. */
void tools_json_version(cJSON *object, const char *name, struct lilio_version version);
/* "4+2" */
void tools_json_profile(cJSON *object, const char *name, struct lilio_profile profile);
/* RFC 3339; null for 0. */
void tools_json_time(cJSON *object, const char *name, uint64_t wall_ms);

/* ---- the one object ---- */

struct tools_out {
    bool json;
    bool list_open; /* {"NAME":[ was written */
    bool list_used; /* with at least one element */
    bool failed;    /* standard output took no more */
};
/* Writes and frees object, which is the whole answer; does nothing without --json. After
 * tools_out_list_begin its members follow the list. */
void tools_out_object(struct tools_out *out, cJSON *object);
/* Starts the object with a list whose elements are written as they come. */
void tools_out_list_begin(struct tools_out *out, const char *name);
void tools_out_list_add(struct tools_out *out, cJSON *element);
/* A line for people; nothing with --json. */
void tools_out_line(struct tools_out *out, const char *format, ...) LILIO_PRINTF(2, 3);
/* The error, for people or as JSON. to_stderr: standard output carries an object's bytes. */
void tools_out_error(struct tools_out *out, bool to_stderr, enum lilio_err err, const char *text);
/* Flushes; false (and a message) if standard output took not everything. */
bool tools_out_finish(struct tools_out *out);

/* ---- tables: columns as wide as their widest cell ---- */

struct tools_table;
/* columns: "NAME" is flush left, ">NAME" flush right; NULL ends. */
struct tools_table *tools_table_new(const char *const *columns);
/* One cell, row by row; text is copied. */
void tools_table_add(struct tools_table *table, const char *format, ...) LILIO_PRINTF(2, 3);
/* Prints (not with --json) and frees. */
void tools_table_print(struct tools_table **table, struct tools_out *out);

/* ---- text for people; each returns room, which holds the result NUL-terminated ---- */

enum { TOOLS_TEXT = 64 };
char *tools_text_bytes(uint64_t bytes, char room[TOOLS_TEXT]); /* "1.5 MB", MB = 10^6 */
char *tools_text_rate(uint64_t bytes, uint64_t elapsed_ms, char room[TOOLS_TEXT]); /* "950 MB/s" */
char *tools_text_time(uint64_t wall_ms, char room[TOOLS_TEXT]); /* "2026-01-02T03:04:05Z" */
char *tools_text_duration(uint64_t ms, char room[TOOLS_TEXT]);  /* "3 min 12 s" */
/* "3 min 12 s (2 min 50 s to 3 min 40 s)"; ms 0: "not known yet". */
enum { TOOLS_ETA = 128 };
char *tools_text_eta(uint64_t ms, uint64_t low_ms, uint64_t high_ms, char room[TOOLS_ETA]);
/* A name from outside, fit for a terminal. The result is shared: copy it before the next call of
 * the same thread with the same slot (0..3). */
const char *tools_text_name(const char *name, unsigned slot);

#endif
