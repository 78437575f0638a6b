/* Command lines through argp: every command's own options, the global ones beside them (so they may
 * stand before or behind the command), and errors that follow --json. */
#include "tools/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

enum { OPTION_CONFIG = 0x1000, OPTION_JSON, OPTION_TIMEOUT };

static const struct argp_option global_options[] = {
    {.doc = "Everywhere:", .group = 90},
    {"config", OPTION_CONFIG, "FILE", 0,
     "The cluster's lilio.yaml (default: $LILIO_CONFIG, then ./lilio.yaml)", 90},
    {"json", OPTION_JSON, NULL, 0, "Answer with one JSON object on standard output, errors too",
     90},
    {"timeout", OPTION_TIMEOUT, "TIME", 0,
     "Give up after so much silence (like 500ms or 30s; default 10s)", 90},
    {0},
};

/* Whose words are being parsed. argp hands nothing of the kind to nested parsers, and a program has
 * one command line. */
static struct tools_context *current;

void tools_args_begin(struct tools_context *context)
{
    current = context;
}

static error_t global_parse(int key, char *arg, struct argp_state *state)
{
    struct tools_context *context = current;
    struct lilio_errinfo info = {0};
    switch (key) {
    case OPTION_CONFIG: context->config_path = arg; return 0;
    case OPTION_JSON: context->out.json = true; return 0;
    case OPTION_TIMEOUT:
        tools_args_check(state, tools_parse_duration(arg, &context->timeout_ms, &info), &info);
        if (context->timeout_ms == 0 || context->timeout_ms > UINT32_MAX)
            tools_args_fail(state, "--timeout %s is out of range", arg);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp tools_args_global = {.options = global_options, .parser = global_parse};

void tools_args_fail(const struct argp_state *state, const char *format, ...)
{
    struct tools_context *context = current;
    char text[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (context->out.json) {
        tools_out_error(&context->out, false, LILIO_E_INVALID, text);
        (void)tools_out_finish(&context->out);
    } else {
        (void)fprintf(stderr, "%s: %s\nTry `%s --help'.\n", state->name, tools_text_name(text, 0),
                      state->name);
    }
    exit(TOOLS_EXIT_USAGE);
}

void tools_args_check(const struct argp_state *state, enum lilio_err err,
                      const struct lilio_errinfo *info)
{
    if (err)
        tools_args_fail(state, "%s", info->text[0] ? info->text : lilio_err_text(err));
}

/* Puts a command's parser and the global one side by side; the input is the command's. */
static error_t both_parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    state->child_inputs[1] = NULL;
    return 0;
}

/* Does one of these options have a long name that begins like word? */
static bool option_known(const struct argp_option *options, const char *word, size_t size)
{
    for (; options && (options->name || options->key || options->doc); options++)
        if (options->name && strncmp(options->name, word, size) == 0)
            return true;
    return false;
}

void tools_args_refuse(const char *name, const struct argp *argp, int argc, char **argv)
{
    static const struct argp_option always[] = {
        {.name = "help"}, {.name = "usage"}, {.name = "version"}, {0}};
    struct argp_state state = {.name = (char *)(uintptr_t)name}; /* argp does not change it */
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *word = argv[i] + 2;
        size_t size = strcspn(word, "=");
        if (strncmp(argv[i], "--", 2) == 0 && !option_known(argp->options, word, size) &&
            !option_known(global_options, word, size) && !option_known(always, word, size))
            tools_args_fail(&state, "there is no option '%s'", argv[i]);
    }
    tools_args_fail(&state, "an option is unknown or lacks its value, or there is a word too many");
}

void tools_args_parse(struct tools_context *context, const struct argp *argp, int argc, char **argv,
                      void *input)
{
    struct argp own = {.options = argp->options, .parser = argp->parser};
    const struct argp_child children[] = {{.argp = &own}, {.argp = &tools_args_global}, {0}};
    const struct argp whole = {
        .parser = both_parse, .args_doc = argp->args_doc, .doc = argp->doc, .children = children};
    /* With --json argp stays silent and the error is said here. */
    if (argp_parse(&whole, argc, argv, context->out.json ? ARGP_NO_ERRS : 0, NULL, input))
        tools_args_refuse(argv[0], argp, argc, argv);
}
