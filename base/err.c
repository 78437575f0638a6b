#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

const char *lilio_err_text(enum lilio_err err)
{
    switch (err) {
#define X(name, number, class, text) \
    case LILIO_E_##name: return text;
        LILIO_ERR_TABLE(X)
#undef X
    }
    return "unknown error";
}

const char *lilio_err_name(enum lilio_err err)
{
    switch (err) {
#define X(name, number, class, text) \
    case LILIO_E_##name: return #name;
        LILIO_ERR_TABLE(X)
#undef X
    }
    return "UNKNOWN";
}

enum lilio_err_class lilio_err_class(enum lilio_err err)
{
    switch (err) {
#define X(name, number, class, text) \
    case LILIO_E_##name: return LILIO_CLASS_##class;
        LILIO_ERR_TABLE(X)
#undef X
    }
    return LILIO_CLASS_FATAL;
}

enum lilio_err lilio_err_from_errno(int code)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT: return LILIO_E_NO_SPACE;
    case EROFS: return LILIO_E_READ_ONLY;
    case ENOENT: return LILIO_E_NOT_FOUND;
    case EEXIST: return LILIO_E_EXISTS;
    case ENOMEM: return LILIO_E_NOMEM;
    default: return LILIO_E_IO;
    }
}

/* How many of the first bytes are whole words, 0 if that would be less than half of them. */
static size_t whole_words(const char *text, size_t bytes)
{
    size_t kept = bytes;
    while (kept > bytes / 2 && text[kept] != ' ')
        kept--;
    if (kept <= bytes / 2)
        return 0;
    while (kept > 0 && strchr(" ;:,", text[kept - 1]))
        kept--;
    return kept;
}

size_t lilio_text_fit(const char *text, size_t size, char *ret, size_t room)
{
    const char *end = "";
    size_t kept = size;
    if (size >= room) {
        end = " ...";
        kept = whole_words(text, room - 1 - strlen(end));
    }
    if (size > 0 && kept == 0) {
        end = "...";
        kept = room - 1 - strlen(end);
        while (kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80)
            kept--; /* not inside a character */
    }
    size_t end_size = strlen(end);
    if (kept > 0)
        memcpy(ret, text, kept);
    memcpy(ret + kept, end, end_size + 1);
    return kept + end_size;
}

/* A text that is longer than this is cut twice, which nobody sees. */
enum { WHOLE_TEXT = 2 * sizeof(((struct lilio_errinfo *)NULL)->text) };

static enum lilio_err set(struct lilio_errinfo *info, enum lilio_err err, const char *whole)
{
    info->err = err;
    (void)lilio_text_fit(whole, strlen(whole), info->text, sizeof info->text); /* may be cut */
    return err;
}

enum lilio_err lilio_fail(struct lilio_errinfo *info, enum lilio_err err, const char *format, ...)
{
    if (!info)
        return err;
    char whole[WHOLE_TEXT];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(whole, sizeof whole, format, args); /* cutting a long text is fine */
    va_end(args);
    return set(info, err, whole);
}

enum lilio_err lilio_prefix(struct lilio_errinfo *info, enum lilio_err err, const char *format, ...)
{
    if (!info)
        return err;
    char whole[WHOLE_TEXT];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(whole, sizeof whole, format, args);
    va_end(args);
    const char *rest = info->err == err && info->text[0] ? info->text : lilio_err_text(err);
    if (used >= 0 && (size_t)used < sizeof whole)
        (void)snprintf(whole + used, sizeof whole - (size_t)used, ": %s", rest);
    return set(info, err, whole);
}

void lilio_assert_fail(const char *expr, const char *file, int line)
{
    fprintf(stderr, "lilio: assertion failed: %s (%s:%d)\n", expr, file, line);
    abort();
}
