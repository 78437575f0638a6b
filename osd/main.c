/* lilio-osd: arguments of the OSD daemon. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "osd/daemon.h"

#include "base/banned.h"

enum { OPTION_INIT = 256, EXIT_USAGE = 2, ID_MAX = 65534 };

const char *argp_program_version = "lilio-osd " LILIO_VERSION;

static const char description[] =
    "Keeps the fragments of a lilio-ec cluster on one disk directory.\v"
    "Usually `lilio-ec up` starts this daemon. By itself: `lilio-osd --config lilio.yaml --id 0`; "
    "the first time, and only then, with --init, which gives an empty directory an identity. An "
    "empty directory without it waits for `lilio-ec osd rebuild 0`; a disk that belongs elsewhere "
    "is refused: the daemon stays up, serves nothing and tells why. SIGTERM ends it cleanly, "
    "SIGHUP opens its log anew (after rotation).\n\n"
    "Exit status: 0 ended by a signal, 1 could not start (standard error and the log say why), 2 "
    "bad arguments.";

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "lilio.yaml of the cluster", 0},
    {"id", 'i', "N", 0, "number of this OSD in the file, from 0 (osd.N works, too)", 0},
    {"init", OPTION_INIT, NULL, 0, "initialise an empty directory as the first disk of this id", 0},
    {0},
};

struct arguments {
    struct osd_daemon_options daemon;
    bool has_id;
};

static uint32_t id_parse(struct argp_state *state, const char *text)
{
    const char *digits = strncmp(text, "osd.", 4) == 0 ? text + 4 : text;
    char *end = NULL;
    unsigned long value = strtoul(digits, &end, 10);
    if (digits[0] < '0' || digits[0] > '9' || *end || value > ID_MAX)
        argp_error(state, "--id takes a number from 0 to %d, not \"%s\"", ID_MAX, text);
    return (uint32_t)value;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 'c': arguments->daemon.config = text; break;
    case 'i':
        arguments->daemon.id = id_parse(state, text);
        arguments->has_id = true;
        break;
    case OPTION_INIT: arguments->daemon.init = true; break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument \"%s\"", text); break;
    case ARGP_KEY_END:
        if (!arguments->daemon.config || !arguments->has_id)
            argp_error(state, "--config and --id are needed");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, description, NULL, NULL, NULL};
    struct arguments arguments = {0};
    struct lilio_errinfo info = {0};
    argp_err_exit_status = EXIT_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments))
        return EXIT_USAGE;
    enum lilio_err err = osd_daemon_run(&arguments.daemon, &info);
    if (err)
        fprintf(stderr, "lilio-osd: %s\n", info.text[0] ? info.text : lilio_err_text(err));
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
