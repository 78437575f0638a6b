/* The one error space: every fallible function of every room returns `enum lilio_err`.
 *
 * 0 is success, everything else is negative, and a number never changes its meaning
 * (tests/unit/base pins them; they travel on the wire and are part of the public client API).
 * Callers decide by class, not by guessing from numbers. Foreign codes (errno, ZeroMQ, RocksDB,
 * OpenSSL) are translated in the one file that wraps the library.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define LILIO_MUST_USE          __attribute__((warn_unused_result))
#define LILIO_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

enum lilio_err_class {
    LILIO_CLASS_OK,
    LILIO_CLASS_RETRY,    /* the same request may succeed later */
    LILIO_CLASS_REDIRECT, /* ask someone else, or with a newer map */
    LILIO_CLASS_REPAIR,   /* stored bytes are missing or wrong */
    LILIO_CLASS_CALLER,   /* the request itself cannot be granted */
    LILIO_CLASS_FATAL,    /* this component cannot go on as it is */
};

/* X(name, number, class, text) */
#define LILIO_ERR_TABLE(X)                                                       \
    X(OK, 0, OK, "ok")                                                           \
    X(INTERNAL, -1, FATAL, "internal error")                                     \
    X(NOMEM, -2, RETRY, "out of memory")                                         \
    X(INVALID, -3, CALLER, "invalid argument")                                   \
    X(TOO_BIG, -4, CALLER, "too big")                                            \
    X(NOT_FOUND, -5, CALLER, "not found")                                        \
    X(NO_BUCKET, -6, CALLER, "no such bucket")                                   \
    X(NO_KEY, -7, CALLER, "no such key")                                         \
    X(EXISTS, -8, CALLER, "exists already")                                      \
    X(PRECONDITION, -9, CALLER, "precondition failed")                           \
    X(NOT_EMPTY, -10, CALLER, "bucket is not empty")                             \
    X(UNSUPPORTED, -11, CALLER, "unsupported version or type")                   \
    X(MALFORMED, -12, CALLER, "malformed message")                               \
    X(TIMEOUT, -13, RETRY, "timed out")                                          \
    X(UNAVAILABLE, -14, RETRY, "unavailable")                                    \
    X(BUSY, -15, RETRY, "busy")                                                  \
    X(NO_SPACE, -16, RETRY, "no space left")                                     \
    X(OUTCOME_UNKNOWN, -17, RETRY, "outcome unknown")                            \
    X(VERSION_GONE, -18, RETRY, "version was replaced or deleted")               \
    X(NOT_LEADER, -19, REDIRECT, "not the leader")                               \
    X(STALE_EPOCH, -20, REDIRECT, "stale cluster map")                           \
    X(WRONG_OSD, -21, REDIRECT, "this OSD does not own the slot")                \
    X(MISSING, -22, REPAIR, "fragment missing")                                  \
    X(CORRUPT, -23, REPAIR, "checksum mismatch")                                 \
    X(DAMAGED, -24, REPAIR, "damaged but mendable")                              \
    X(LOST, -25, REPAIR, "lost: too few good fragments")                         \
    X(CONFLICT, -26, FATAL, "another content is stored under this fragment key") \
    X(SESSION_CLOSED, -27, CALLER, "session is closed")                          \
    X(IO, -28, FATAL, "input/output error")                                      \
    X(READ_ONLY, -29, FATAL, "read-only after a failed write")                   \
    X(BLANK, -30, RETRY, "blank disk, waits for a rebuild")                      \
    X(FOREIGN, -31, FATAL, "disk belongs elsewhere")                             \
    X(LOCKED, -32, FATAL, "directory is in use by another process")              \
    X(FORMAT, -33, FATAL, "format is newer than this program or unknown")        \
    X(CANCELLED, -34, CALLER, "cancelled")                                       \
    X(EXHAUSTED, -35, RETRY, "out of buffers")                                   \
    X(NO_QUORUM, -36, RETRY, "below the write quorum")                           \
    X(ADDRESS, -37, FATAL, "address unusable or in use")                         \
    X(CONFIG, -38, CALLER, "bad configuration")                                  \
    X(SINGULAR, -39, FATAL, "matrix is singular")                                \
    X(DENIED, -40, CALLER, "denied")

enum lilio_err {
#define X(name, number, class, text) LILIO_E_##name = number,
    LILIO_ERR_TABLE(X)
#undef X
};
#define LILIO_OK LILIO_E_OK

/* Any thread. Borrowed static text; "unknown error" for numbers that are not in the table. */
const char *lilio_err_text(enum lilio_err err);
/* Any thread. The name as in the table ("NO_BUCKET"); "UNKNOWN" for foreign numbers. */
const char *lilio_err_name(enum lilio_err err);
/* Any thread. LILIO_CLASS_FATAL for foreign numbers. */
enum lilio_err_class lilio_err_class(enum lilio_err err);

/* Any thread. The one translation of the system's error numbers; IO for those without a meaning of
 * their own. */
enum lilio_err lilio_err_from_errno(int code);

/* What a human reads: the code and a sentence to which each layer prefixes its part. */
struct lilio_errinfo {
    enum lilio_err err;
    char text[512];
};

/* Any thread. Copies a text of size bytes and a NUL. What does not fit is cut behind a word, else
 * behind a character, and ends in "..."; room >= 8, ret is not text. Returns the length. */
size_t lilio_text_fit(const char *text, size_t size, char *ret, size_t room);

/* Sets *info (may be NULL) and returns err, so that `return lilio_fail(info, LILIO_E_X, "...")` is
 * one line. */
enum lilio_err lilio_fail(struct lilio_errinfo *info, enum lilio_err err, const char *format, ...)
    LILIO_PRINTF(3, 4);
/* Puts "prefix: " before the text that is there (the text of err if there is none yet); returns
 * err. */
enum lilio_err lilio_prefix(struct lilio_errinfo *info, enum lilio_err err, const char *format, ...)
    LILIO_PRINTF(3, 4);

/* Assertions stay on in release builds and are for our own bugs only; never for bytes from outside.
 */
void lilio_assert_fail(const char *expr, const char *file, int line) __attribute__((noreturn));
#define LILIO_ASSERT(expr)                                \
    do {                                                  \
        if (!(expr))                                      \
            lilio_assert_fail(#expr, __FILE__, __LINE__); \
    } while (0)

#endif
