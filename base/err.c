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

enum lilio_err lilio_fail(struct lilio_errinfo *info, enum lilio_err err, const char *format, ...)
{
    if (!info)
        return err;
    va_list args;
    va_start(args, format);
    info->err = err;
    (void)vsnprintf(info->text, sizeof info->text, format, args); /* cutting a long text is fine */
    va_end(args);
    return err;
}

enum lilio_err lilio_prefix(struct lilio_errinfo *info, enum lilio_err err, const char *format, ...)
{
    if (!info)
        return err;
    char text[sizeof info->text];
    va_list args;
    va_start(args, format);
    int used = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *rest = info->err == err && info->text[0] ? info->text : lilio_err_text(err);
    if (used >= 0 && (size_t)used < sizeof text)
        (void)snprintf(text + used, sizeof text - (size_t)used, ": %s", rest);
    memcpy(info->text, text, sizeof text);
    info->err = err;
    return err;
}

void lilio_assert_fail(const char *expr, const char *file, int line)
{
    fprintf(stderr, "lilio: assertion failed: %s (%s:%d)\n", expr, file, line);
    abort();
}
