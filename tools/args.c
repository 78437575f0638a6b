/* Command lines through argp: every command's own options, the global ones beside them (so they may
 * stand before or behind the command), and errors that follow --json. */
#include "tools/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

static error_t global_parse(int key, char *arg, struct argp_state *state)
{
    struct tools_context *context = state->hook;
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
    struct tools_context *context = state->hook;
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

/* Puts a command's parser and the global one side by side. */
struct both {
    struct tools_context *context;
    void *input;
};

static error_t both_parse(int key, char *arg, struct argp_state *state)
{
    const struct both *both = state->input;
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->hook = both->context;
    state->child_inputs[0] = both->input;
    state->child_inputs[1] = NULL;
    return 0;
}

void tools_args_parse(struct tools_context *context, const struct argp *argp, int argc, char **argv,
                      void *input)
{
    struct argp own = {.options = argp->options, .parser = argp->parser};
    const struct argp_child children[] = {{.argp = &own}, {.argp = &tools_args_global}, {0}};
    const struct argp whole = {
        .parser = both_parse, .args_doc = argp->args_doc, .doc = argp->doc, .children = children};
    struct both both = {.context = context, .input = input};
    int at = 0;
    /* With --json the parser stays silent and the error is said here. */
    unsigned flags = context->out.json ? ARGP_NO_ERRS : 0;
    error_t err = argp_parse(&whole, argc, argv, flags, &at, &both);
    if (err) {
        struct argp_state state = {.name = argv[0], .hook = context};
        tools_args_fail(&state,
                        "'%s' is not understood: unknown option, missing value or too many words",
                        at > 0 && at <= argc ? argv[at - 1] : "");
    }
}
