/* What the commands share at run time: how they fail, the client, and Ctrl-C. */
#include "tools/cmd.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/config_path.h"

#include "base/banned.h"

enum { NAME_TEXT = sizeof(((struct lilio_errinfo *)NULL)->text) / 2 };

int tools_fail(struct tools_context *context, enum lilio_err err)
{
    tools_out_error(&context->out, context->bytes_on_stdout, err,
                    context->info.text[0] ? context->info.text : lilio_err_text(err));
    return tools_exit_code(err);
}

int tools_fail_name(struct tools_context *context, enum lilio_err err,
                    const struct tools_name *name)
{
    char whole[TOOLS_BUCKET_MAX + TOOLS_KEY_MAX + 2], text[NAME_TEXT];
    (void)snprintf(whole, sizeof whole, "%s%s%s", name->bucket, name->key[0] ? "/" : "", name->key);
    (void)lilio_text_fit(whole, strlen(whole), text, sizeof text); /* room for what went wrong */
    /* The cluster's own words may begin with it already, or end with the bucket. */
    size_t size = strlen(text), said = strlen(context->info.text);
    bool named =
        strncmp(context->info.text, text, size) == 0 ||
        (!name->key[0] && said > size && strcmp(context->info.text + said - size, text) == 0);
    if (err != LILIO_E_CANCELLED && !named)
        (void)lilio_prefix(&context->info, err, "%s", text);
    return tools_fail(context, err);
}

int tools_fail_with(struct tools_context *context, enum lilio_err err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(context->info.text, sizeof context->info.text, format, args);
    va_end(args);
    return tools_fail(context, err);
}

enum lilio_err tools_no_memory(struct lilio_errinfo *info)
{
    return lilio_fail(info, LILIO_E_NOMEM, "%s", lilio_err_text(LILIO_E_NOMEM));
}

static volatile sig_atomic_t cancel_flag;

static void cancel_handler(int number)
{
    (void)number;
    cancel_flag = 1;
}

void tools_cancel_catch(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    /* No SA_RESTART: a read that waits for a terminal or a pipe must end. */
    struct sigaction action = {.sa_handler = cancel_handler};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        (void)sigaction(numbers[i], &action, NULL); /* fails for no number of this list */
}

bool tools_cancelled(void)
{
    return cancel_flag != 0;
}

void tools_cancel_reset(void)
{
    cancel_flag = 0;
}

static bool cancelled(void *unused)
{
    (void)unused;
    return tools_cancelled();
}

int tools_open(struct tools_context *context)
{
    if (context->client)
        return TOOLS_EXIT_OK;
    tools_cancel_catch();
    struct lilio_options options = {
        .config_path = context->config_path,
        .label = "lilio-ec",
        .timeout_ms = (uint32_t)context->timeout_ms,
        .cancelled = cancelled,
    };
    struct stat stat_buffer;
    const char *path = tools_config_path(context);
    if (stat(path, &stat_buffer) == 0 && S_ISDIR(stat_buffer.st_mode))
        return tools_fail_with(context, LILIO_E_CONFIG,
                               "%s is a folder: name the lilio.yaml in it with --config", path);
    enum lilio_err err = lilio_open(&options, &context->client, &context->info);
    /* "Not found" is said of objects; a missing lilio.yaml is a matter of how we were called. */
    return err ? tools_fail(context, err == LILIO_E_NOT_FOUND ? LILIO_E_CONFIG : err) : 0;
}
