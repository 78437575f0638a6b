/* Local files as sources and sinks of the library's calls.
 *
 * A source reads straight into the buffer that is sent. A sink for a regular file writes into a
 * temporary file beside it and puts that in its place, durably, only when all bytes are there; it
 * leaves nothing behind otherwise. A sink for standard output, a pipe or a device writes as it
 * comes. One thread. */
#ifndef TOOLS_FILE_IO_H
#define TOOLS_FILE_IO_H

#include "client/lilio.h"

struct tools_source {
    int fd;
    const char *name; /* borrowed, for messages */
    uint64_t size;    /* UINT64_MAX = unknown */
};
/* path "-" is standard input. Errors: NOT_FOUND, INVALID (a folder), DENIED, IO. */
LILIO_MUST_USE enum lilio_err tools_source_open(const char *path, struct tools_source *ret,
                                                struct lilio_errinfo *info);
void tools_source_close(struct tools_source *source);
/* For lilio_put; borrows source. Its errors: IO, CANCELLED (tools_cancelled). */
struct lilio_source tools_source_callback(struct tools_source *source);

struct tools_sink {
    int fd;
    const char *name; /* borrowed, for messages */
    char *temporary;  /* NULL: written as it comes */
    char *path;       /* what the temporary becomes */
    uint64_t written, flushed;
};
/* path "-" is standard output. Errors: NOT_FOUND (its folder), INVALID (a folder), DENIED, IO. */
LILIO_MUST_USE enum lilio_err tools_sink_open(const char *path, struct tools_sink *ret,
                                              struct lilio_errinfo *info);
/* For lilio_get; borrows sink. restart answers VERSION_GONE once bytes have gone down a pipe. */
struct lilio_sink tools_sink_callback(struct tools_sink *sink);
/* All bytes are there: makes them durable under their name. Errors: IO; nothing stays then. */
LILIO_MUST_USE enum lilio_err tools_sink_commit(struct tools_sink *sink,
                                                struct lilio_errinfo *info);
/* Removes what was not committed. After commit it only closes; any number of times. */
void tools_sink_close(struct tools_sink *sink);

/* errno of a call on a local file as our error, with "what name: reason" in info. */
enum lilio_err tools_file_fail(struct lilio_errinfo *info, const char *what, const char *name);
/* mkdir -p, 0700 for what it makes. Errors: DENIED, IO, INVALID (something else has that name). */
LILIO_MUST_USE enum lilio_err tools_folder_make(const char *path, struct lilio_errinfo *info);

#endif
