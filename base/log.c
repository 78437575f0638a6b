/* Lines to a file, to standard error or to a callback.
 *
 * A line is made on the stack and leaves in one write(2) to a descriptor opened with O_APPEND, so
 * no lock is needed: reopening puts the new file under the same descriptor number in one step. A
 * line that cannot be written is lost; there is nobody left to tell.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/banned.h"

enum { LINE_MAX_BYTES = 4096, FIELDS_MAX_BYTES = 2048, FILE_MODE = 0640 };

struct base_log {
    int fd;     /* its number never changes; -1 with a sink */
    char *path; /* NULL: standard error or a sink */
    char *node;
    enum base_log_level least;
    const struct base_clock *clock;
    void (*sink)(void *context, const char *line);
    void *context;
    pthread_mutex_t sink_lock; /* one line at a time reaches the sink */
};

static enum lilio_err open_file(const char *path, int *ret_fd, struct lilio_errinfo *info)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return lilio_fail(info, LILIO_E_IO, "open log %s: %s", path, strerror(errno));
    *ret_fd = fd;
    return LILIO_OK;
}

static struct base_log *log_new(const char *path, const char *node, enum base_log_level least,
                                const struct base_clock *clock)
{
    struct base_log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->fd = -1;
    log->path = path ? strdup(path) : NULL;
    log->node = strdup(node);
    log->least = least;
    log->clock = clock;
    pthread_mutex_init(&log->sink_lock, NULL);
    if (!log->node || (path && !log->path))
        base_log_free(&log);
    return log;
}

enum lilio_err base_log_new(const char *path, const char *node, enum base_log_level least,
                            const struct base_clock *clock, struct base_log **ret_log,
                            struct lilio_errinfo *info)
{
    struct base_log *log = log_new(path, node, least, clock);
    if (!log)
        return lilio_fail(info, LILIO_E_NOMEM, "out of memory");
    enum lilio_err err = LILIO_OK;
    if (path)
        err = open_file(path, &log->fd, info);
    else
        log->fd = STDERR_FILENO;
    if (err)
        base_log_free(&log);
    else
        *ret_log = log;
    return err;
}

enum lilio_err base_log_new_sink(void (*sink)(void *context, const char *line), void *context,
                                 const char *node, enum base_log_level least,
                                 const struct base_clock *clock, struct base_log **ret_log)
{
    struct base_log *log = log_new(NULL, node, least, clock);
    if (!log)
        return LILIO_E_NOMEM;
    log->sink = sink;
    log->context = context;
    *ret_log = log;
    return LILIO_OK;
}

void base_log_free(struct base_log **log)
{
    if (!*log)
        return;
    if ((*log)->path && (*log)->fd >= 0)
        close((*log)->fd);
    pthread_mutex_destroy(&(*log)->sink_lock);
    free((*log)->path);
    free((*log)->node);
    free(*log);
    *log = NULL;
}

void base_log_reopen(struct base_log *log)
{
    if (!log->path)
        return;
    int fd = -1;
    struct lilio_errinfo info;
    if (open_file(log->path, &fd, &info) == LILIO_OK) {
        int rc;
        do
            rc = dup3(fd, log->fd, O_CLOEXEC);
        while (rc < 0 && (errno == EINTR || errno == EBUSY));
        LILIO_ASSERT(rc == log->fd); /* fails only for numbers that are no descriptors */
        close(fd);
    } else {
        base_log_write(log, BASE_LOG_WARN, "log", "reopen-failed", "reason=\"%s\" next=old-file",
                       info.text);
    }
}

/* Writes the escape of a byte that may not stand in a line as it is; returns its length (at most
 * 4), 0 if it may. */
static size_t escape(uint8_t byte, char ret[5])
{
    static const char digits[] = "0123456789abcdef";
    if (byte >= 0x20 && byte < 0x7f)
        return 0;
    if (byte == '\n' || byte == '\t' || byte == '\r') {
        memcpy(ret, byte == '\n' ? "\\n" : byte == '\t' ? "\\t" : "\\r", 3);
        return 2;
    }
    ret[0] = '\\', ret[1] = 'x', ret[2] = digits[byte >> 4], ret[3] = digits[byte & 15];
    return 4;
}

/* Appends text to the line at *used with everything escaped that could end or forge one; cut where
 * the room ends. */
static void append_escaped(char *line, size_t *used, const char *text)
{
    for (; *text; text++) {
        char code[5];
        size_t size = escape((uint8_t)*text, code);
        if (size == 0)
            code[0] = *text, size = 1;
        if (*used + size > LINE_MAX_BYTES - 2) /* the newline and the NUL */
            return;
        memcpy(line + *used, code, size);
        *used += size;
    }
}

static size_t format_head(const struct base_log *log, enum base_log_level level, char *ret_head,
                          size_t room)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    uint64_t now = log->clock->wall_ms(log->clock->context);
    time_t seconds = (time_t)(now / 1000);
    struct tm t;
    if (!gmtime_r(&seconds, &t))
        t = (struct tm){.tm_mday = 1, .tm_year = 70};
    int used = snprintf(ret_head, room, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %s ", t.tm_year + 1900,
                        t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec,
                        (unsigned)(now % 1000), names[level]);
    LILIO_ASSERT(used > 0 && (size_t)used < room);
    return (size_t)used;
}

static void put_line(struct base_log *log, char *line, size_t size)
{
    if (log->sink) {
        line[size] = '\0';
        pthread_mutex_lock(&log->sink_lock);
        log->sink(log->context, line);
        pthread_mutex_unlock(&log->sink_lock);
        return;
    }
    line[size] = '\n';
    ssize_t rc;
    do
        rc = write(log->fd, line, size + 1);
    while (rc < 0 && errno == EINTR);
}

void base_log_write(struct base_log *log, enum base_log_level level, const char *component,
                    const char *event, const char *fields, ...)
{
    if (!log || level < log->least)
        return;
    int saved = errno; /* logging must not change what the caller is about to report */
    char values[FIELDS_MAX_BYTES], line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, fields);
    int rc = vsnprintf(values, sizeof values, fields, args); /* cutting a long line is fine */
    va_end(args);
    if (rc < 0)
        values[0] = '\0';
    size_t used = format_head(log, level, line, sizeof line);
    append_escaped(line, &used, log->node);
    append_escaped(line, &used, " ");
    append_escaped(line, &used, component);
    append_escaped(line, &used, " ");
    append_escaped(line, &used, event);
    append_escaped(line, &used, values[0] ? " " : "");
    append_escaped(line, &used, values);
    put_line(log, line, used);
    errno = saved;
}

static bool plain(const uint8_t *text, size_t size)
{
    bool good = size > 0;
    for (size_t i = 0; i < size && good; i++)
        good =
            text[i] > 0x20 && text[i] < 0x7f && text[i] != '"' && text[i] != '\\' && text[i] != '=';
    return good;
}

char *base_log_quote(const void *text, size_t size, char *ret, size_t room)
{
    static const char cut[] = "...";
    const uint8_t *bytes = text;
    LILIO_ASSERT(room >= BASE_LOG_QUOTE_ROOM_MIN);
    if (size < room && plain(bytes, size)) {
        memcpy(ret, bytes, size);
        ret[size] = '\0';
        return ret;
    }
    size_t used = 0, i = 0;
    ret[used++] = '"';
    for (; i < size; i++) {
        char code[5];
        size_t part = escape(bytes[i], code);
        if (part == 0 && (bytes[i] == '"' || bytes[i] == '\\'))
            code[0] = '\\', code[1] = (char)bytes[i], part = 2;
        else if (part == 0)
            code[0] = (char)bytes[i], part = 1;
        if (used + part + sizeof cut + 1 > room)
            break;
        memcpy(ret + used, code, part);
        used += part;
    }
    if (i < size) {
        memcpy(ret + used, cut, sizeof cut - 1);
        used += sizeof cut - 1;
    }
    ret[used++] = '"';
    ret[used] = '\0';
    return ret;
}
