/* What every command gets and how it ends. A command is one function in the table of main.c; it
 * parses its words, talks to the cluster through liblilio, prints, and returns the exit code. */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

#include <argp.h>

#include "client/lilio.h"
#include "tools/exit_code.h"
#include "tools/out.h"
#include "tools/parse.h"
#include "tools/progress.h"

struct tools_context {
    const char *config_path; /* --config; NULL: the library looks */
    uint64_t timeout_ms;     /* --timeout; 0 = default */
    struct tools_out out;    /* --json */
    bool bytes_on_stdout;    /* standard output carries an object: say everything else on stderr */
    struct lilio_client *client;
    struct lilio_errinfo info; /* room for the call under way */
};

struct tools_command {
    const char *name; /* "put", "osd rebuild" */
    const char *args; /* "FILE|- BUCKET/KEY" */
    const char *summary;
    int (*run)(struct tools_context *context, int argc, char **argv);
};

/* Before any parsing: whose command line it is. */
void tools_args_begin(struct tools_context *context);
/* Parses a command's words: its own argp plus the global options. Usage errors, --help and
 * --version end the program. */
void tools_args_parse(struct tools_context *context, const struct argp *argp, int argc, char **argv,
                      void *input);
/* Says why argp would not take these words; for when it was told to stay silent. */
void tools_args_refuse(const char *name, const struct argp *argp, int argc, char **argv)
    __attribute__((noreturn));
/* From within an argp parser: what is wrong with the words; ends the program with exit code 2. */
void tools_args_fail(const struct argp_state *state, const char *format, ...) LILIO_PRINTF(2, 3)
    __attribute__((noreturn));
/* The same for a value that one of parse.h's functions refused. */
void tools_args_check(const struct argp_state *state, enum lilio_err err,
                      const struct lilio_errinfo *info);
/* The global options, for main's own parser. */
extern const struct argp tools_args_global;

/* Prints the error that context->info tells of (its text may be empty) and returns its exit code.
 */
int tools_fail(struct tools_context *context, enum lilio_err err);
/* The same with the object or bucket before it: "BUCKET/KEY: no such key". */
int tools_fail_name(struct tools_context *context, enum lilio_err err,
                    const struct tools_name *name);
/* Prints this error and returns its exit code. */
int tools_fail_with(struct tools_context *context, enum lilio_err err, const char *format, ...)
    LILIO_PRINTF(3, 4);
/* NOMEM, said in info. */
enum lilio_err tools_no_memory(struct lilio_errinfo *info);
/* Opens the client, once. 0, or the exit code with the error printed. */
int tools_open(struct tools_context *context);

/* From the first call on, Ctrl-C, SIGTERM and SIGHUP no longer kill the program: they make this
 * true. Calls of the library end with CANCELLED then. */
void tools_cancel_catch(void);
bool tools_cancelled(void);
/* Forgets an interruption, so that what must still be said to the cluster can be said. */
void tools_cancel_reset(void);

/* The commands; see the table in main.c. */
int tools_cmd_up(struct tools_context *context, int argc, char **argv);
int tools_cmd_down(struct tools_context *context, int argc, char **argv);
int tools_cmd_mb(struct tools_context *context, int argc, char **argv);
int tools_cmd_rb(struct tools_context *context, int argc, char **argv);
int tools_cmd_put(struct tools_context *context, int argc, char **argv);
int tools_cmd_get(struct tools_context *context, int argc, char **argv);
int tools_cmd_ls(struct tools_context *context, int argc, char **argv);
int tools_cmd_stat(struct tools_context *context, int argc, char **argv);
int tools_cmd_rm(struct tools_context *context, int argc, char **argv);
int tools_cmd_cp(struct tools_context *context, int argc, char **argv);
int tools_cmd_mv(struct tools_context *context, int argc, char **argv);
int tools_cmd_status(struct tools_context *context, int argc, char **argv);
int tools_cmd_df(struct tools_context *context, int argc, char **argv);
int tools_cmd_osd_ls(struct tools_context *context, int argc, char **argv);
int tools_cmd_osd_drain(struct tools_context *context, int argc, char **argv);
int tools_cmd_osd_rebuild(struct tools_context *context, int argc, char **argv);
int tools_cmd_coordinator_ls(struct tools_context *context, int argc, char **argv);
int tools_cmd_coordinator_add(struct tools_context *context, int argc, char **argv);
int tools_cmd_coordinator_rm(struct tools_context *context, int argc, char **argv);
int tools_cmd_coordinator_replace(struct tools_context *context, int argc, char **argv);
int tools_cmd_coordinator_transfer(struct tools_context *context, int argc, char **argv);
int tools_cmd_repair(struct tools_context *context, int argc, char **argv);
int tools_cmd_scrub_start(struct tools_context *context, int argc, char **argv);
int tools_cmd_scrub_status(struct tools_context *context, int argc, char **argv);
int tools_cmd_gc_status(struct tools_context *context, int argc, char **argv);
int tools_cmd_gc_run(struct tools_context *context, int argc, char **argv);
int tools_cmd_verify(struct tools_context *context, int argc, char **argv);
int tools_cmd_explain(struct tools_context *context, int argc, char **argv);
int tools_cmd_damage(struct tools_context *context, int argc, char **argv);
int tools_cmd_verify_cert(struct tools_context *context, int argc, char **argv);
int tools_cmd_bench(struct tools_context *context, int argc, char **argv);

#endif
