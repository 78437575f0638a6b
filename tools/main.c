/* lilio-ec: finds the command in its table and runs it. */
#include "tools/cmd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

const char *argp_program_version = "lilio-ec " LILIO_VERSION;
static const char issue_hint[] = "Exit codes: 0 done, 1 failure, 2 usage or bad argument, 3 not "
                                 "found, 4 exists or precondition\n"
                                 "failed, 5 unavailable or timed out (not done), 6 outcome "
                                 "unknown, 7 damaged but mendable, 8 lost.\n";

static const struct tools_command commands[] = {
    {"up", "--dir DIR", "start a local cluster, or what is missing of it", tools_cmd_up},
    {"down", "[--dir DIR]", "stop it", tools_cmd_down},
    {"mb", "BUCKET", "make a bucket", tools_cmd_mb},
    {"rb", "BUCKET", "remove an empty bucket", tools_cmd_rb},
    {"put", "FILE|- BUCKET/KEY", "store a file", tools_cmd_put},
    {"get", "BUCKET/KEY FILE|-", "read an object", tools_cmd_get},
    {"ls", "[BUCKET[/PREFIX]]", "list buckets or keys", tools_cmd_ls},
    {"stat", "BUCKET/KEY", "what is known about an object", tools_cmd_stat},
    {"rm", "BUCKET/KEY", "delete an object", tools_cmd_rm},
    {"cp", "BUCKET/KEY BUCKET/KEY", "copy inside the cluster", tools_cmd_cp},
    {"mv", "BUCKET/KEY BUCKET/KEY", "rename inside the cluster", tools_cmd_mv},
    {"status", "", "is everything there, and when was that checked", tools_cmd_status},
    {"df", "", "how much room is used and left", tools_cmd_df},
    {"osd ls", "", "list the OSDs", tools_cmd_osd_ls},
    {"osd drain", "ID", "give what an OSD has to others, and prove it", tools_cmd_osd_drain},
    {"osd rebuild", "ID", "make an OSD hold all it should, and prove it", tools_cmd_osd_rebuild},
    {"coordinator ls", "", "list the coordinators: who leads, who lags", tools_cmd_coordinator_ls},
    {"coordinator add", "[ID]", "make one more coordinator", tools_cmd_coordinator_add},
    {"coordinator rm", "ID", "take one out of the quorum and stop it", tools_cmd_coordinator_rm},
    {"coordinator replace", "ID", "give one that lost its disk a new one",
     tools_cmd_coordinator_replace},
    {"coordinator transfer", "[ID]", "have another one lead", tools_cmd_coordinator_transfer},
    {"repair", "[status]", "what is being mended; --priority sets how fast", tools_cmd_repair},
    {"scrub start", "[--deep] [--osd ID]", "look for damage now", tools_cmd_scrub_start},
    {"scrub status", "", "how much was looked at, how long ago, what was found",
     tools_cmd_scrub_status},
    {"gc status", "", "what waits to be deleted, and orphans of puts that died",
     tools_cmd_gc_status},
    {"gc run", "[--dry-run] [--now]", "look for what may be deleted now", tools_cmd_gc_run},
    {"verify", "[BUCKET[/KEY]]", "read and check every fragment", tools_cmd_verify},
    {"verify-cert", "FILE", "does a certificate of osd rebuild still hold", tools_cmd_verify_cert},
    {"damage", "[--if-lost OSD,...]", "which objects are at risk, by name", tools_cmd_damage},
    {"explain", "BUCKET/KEY", "where each fragment is, what losses it survives", tools_cmd_explain},
    {"bench", "put|get|mixed", "measure the cluster", tools_cmd_bench},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void help_print(void)
{
    printf("lilio-ec %s: an erasure-coded object store\n\nUsage: lilio-ec COMMAND [ARGUMENTS]\n\n",
           LILIO_VERSION);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].args);
        printf("  %-30s %s\n", left, commands[i].summary);
    }
    printf("\nEverywhere: --config FILE (the cluster's lilio.yaml; default $LILIO_CONFIG, then "
           "./lilio.yaml),\n--json (one object on standard output), --timeout TIME, --help, "
           "--version.\n\n"
           "From nothing to a stored file:\n\n"
           "  lilio-ec up --dir ~/lilio --detach\n"
           "  export LILIO_CONFIG=~/lilio/lilio.yaml\n"
           "  lilio-ec mb photos\n"
           "  lilio-ec put cat.jpg photos/cat.jpg\n\n"
           "`lilio-ec COMMAND --help' tells more, with examples.\n\n%s",
           issue_hint);
}

struct choice {
    struct tools_context *context;
    char word[64]; /* "osd rebuild" grows word by word */
    const struct tools_command *command;
    bool help;
    int next; /* first word behind the command */
};

/* The command of that name, or whether some command's name begins with these words. */
static const struct tools_command *command_find(const char *word, bool *ret_begins)
{
    size_t size = strlen(word);
    *ret_begins = false;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, word) == 0)
            return &commands[i];
        if (strncmp(commands[i].name, word, size) == 0 && commands[i].name[size] == ' ')
            *ret_begins = true;
    }
    return NULL;
}

enum { OPTION_HELP = 0x2000 };
static const struct argp_option main_options[] = {
    {"help", OPTION_HELP, NULL, 0, "", 0},
    {"version", 'V', NULL, 0, "", 0},
    {0},
};

static error_t main_parse(int key, char *arg, struct argp_state *state)
{
    struct choice *choice = state->input;
    bool begins;
    size_t used;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = NULL; return 0;
    case OPTION_HELP: choice->help = true; return 0;
    case 'V': puts(argp_program_version); exit(TOOLS_EXIT_OK);
    case ARGP_KEY_ARG:
        if (!choice->word[0] && strcmp(arg, "help") == 0) {
            choice->help = true;
            return 0;
        }
        used = strlen(choice->word);
        (void)snprintf(choice->word + used, sizeof choice->word - used, "%s%s", used ? " " : "",
                       arg);
        choice->command = command_find(choice->word, &begins);
        if (!choice->command && !begins)
            tools_args_fail(state, "there is no command '%s'", choice->word);
        if (choice->command) {
            choice->next = state->next;
            state->next = state->argc; /* the rest is the command's */
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Is --json among the words? Asked before they are parsed, because parse errors follow it. */
static bool json_wanted(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

static void command_choose(struct choice *choice, int argc, char **argv)
{
    const struct argp_child children[] = {{.argp = &tools_args_global}, {0}};
    const struct argp argp = {.options = main_options, .parser = main_parse, .children = children};
    struct tools_context *context = choice->context;
    unsigned flags = ARGP_IN_ORDER | ARGP_NO_HELP | (context->out.json ? ARGP_NO_ERRS : 0u);
    char name[] = "lilio-ec";
    struct argp_state state = {.name = name};
    if (argp_parse(&argp, argc, argv, flags, NULL, choice))
        tools_args_refuse(name, &argp, argc, argv);
    if (!choice->command && choice->help) {
        help_print();
        exit(TOOLS_EXIT_OK);
    }
    if (!choice->command && choice->word[0])
        tools_args_fail(&state, "'%s' needs one more word, such as `osd ls'", choice->word);
    if (!choice->command)
        tools_args_fail(&state, "a command is missing");
}

/* Runs the command with the words behind it; its name becomes word 0. */
static int command_run(struct choice *choice, int argc, char **argv)
{
    char name[80];
    (void)snprintf(name, sizeof name, "lilio-ec %s", choice->command->name);
    char help[] = "--help";
    int left = argc - choice->next;
    char **words = calloc((size_t)left + 3, sizeof *words);
    if (!words)
        return tools_fail(choice->context, LILIO_E_NOMEM);
    int used = 0;
    words[used++] = name;
    if (choice->help)
        words[used++] = help;
    memcpy(words + used, argv + choice->next, (size_t)left * sizeof *words);
    int code = choice->command->run(choice->context, used + left, words);
    free(words);
    return code;
}

int main(int argc, char **argv)
{
    struct tools_context context = {.out.json = json_wanted(argc, argv)};
    struct choice choice = {.context = &context};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL); /* a reader that went away is an error of write(2) */
    argp_err_exit_status = TOOLS_EXIT_USAGE;
    tools_args_begin(&context);
    command_choose(&choice, argc, argv);
    int code = command_run(&choice, argc, argv);
    lilio_close(&context.client);
    if (!tools_out_finish(&context.out) && code == TOOLS_EXIT_OK)
        code = TOOLS_EXIT_FAILURE;
    return code;
}
