/* lilio-sim: arguments, one run in a child of its own, and what became of it. */
#include <argp.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim_commit.h"
#include "sim_planted.h"

#include "tests/sim/scenario.h"
#include "tests/sim/world.h"
#include "tests/sim/wrap.h"

#include "base/banned.h"

enum {
    OPTION_PLANT = 256,
    OPTION_MARKS,
    OPTION_NO_FORK,
    OPTION_CPU,
    OPTION_SET,
    PLANTED_MAX = 32,
    SETTINGS_MAX = 128
};

const char *argp_program_version = "lilio-sim " LILIO_VERSION " " SIM_COMMIT;

static const char description[] =
    "Runs a whole lilio-ec cluster in one thread on virtual time, disks and network; everything is "
    "drawn from the seed, so that the same seed gives the same run.\v"
    "Exit status: 0 all well, 1 usage or the simulation itself, 2 crash (assertion, signal, "
    "sanitizer), 3 wrong result, 4 stuck.";

static const struct argp_option options[] = {
    {"seed", 's', "N", 0, "what everything is drawn from (default 1)", 0},
    {"minutes", 'm', "M", 0, "virtual minutes of faults", 0},
    {"steps", 'n', "N", 0, "a run that is not over after so many steps is stuck", 0},
    {"scenario", 'c', "NAME", 0, "what to run; \"list\" tells (default: the first)", 0},
    {"trace", 't', NULL, 0, "print every event", 0},
    {"marks", OPTION_MARKS, NULL, 0, "print how often each code mark was passed", 0},
    {"plant", OPTION_PLANT, "NAME", 0, "switch a planted bug on; may be repeated; \"list\" tells",
     0},
    {"set", OPTION_SET, "NAME=VALUE", 0, "instead of what the seed draws; may be repeated", 0},
    {"cpu-seconds", OPTION_CPU, "S", 0, "a run that takes longer is stuck (default 600)", 0},
    {"no-fork", OPTION_NO_FORK, NULL, 0, "run in this process, for a debugger", 0},
    {0},
};

struct arguments {
    struct sim_arguments sim;
    struct sim_setup setup;
    const char *planted[PLANTED_MAX + 1];
    size_t planted_count;
    const char *settings[SETTINGS_MAX];
    const struct sim_scenario *scenario;
    uint64_t cpu_seconds;
    bool marks, no_fork;
};

static uint64_t number(struct argp_state *state, const char *text)
{
    char *end = NULL;
    unsigned long long value = strtoull(text, &end, 0);
    if (text[0] < '0' || text[0] > '9' || *end)
        argp_error(state, "\"%s\" is no number", text);
    return value;
}

static const struct sim_scenario *scenario_find(struct argp_state *state, const char *name)
{
    const struct sim_scenario *scenario = sim_scenarios;
    while (scenario->name && strcmp(scenario->name, name) != 0)
        scenario++;
    if (scenario->name)
        return scenario;
    for (scenario = sim_scenarios; scenario->name; scenario++)
        printf("%-20s %s\n", scenario->name, scenario->about);
    if (strcmp(name, "list") == 0)
        exit(SIM_OK);
    argp_error(state, "there is no scenario \"%s\"", name);
    return NULL;
}

/* A bug that is misspelt would be one that is never found. */
static const char *planted_find(struct argp_state *state, const char *name)
{
    static const char *const known[] = SIM_PLANTED;
    size_t i = 0;
    while (known[i] && strcmp(known[i], name) != 0)
        i++;
    if (known[i])
        return name;
    for (i = 0; known[i]; i++)
        printf("%s\n", known[i]);
    if (strcmp(name, "list") == 0)
        exit(SIM_OK);
    argp_error(state, "there is no planted bug \"%s\"", name);
    return NULL;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case 's': arguments->sim.seed = number(state, text); break;
    case 'm': arguments->sim.minutes = number(state, text); break;
    case 'n': arguments->setup.steps_max = number(state, text); break;
    case 'c': arguments->scenario = scenario_find(state, text); break;
    case 't': arguments->setup.trace = true; break;
    case OPTION_MARKS: arguments->marks = true; break;
    case OPTION_NO_FORK: arguments->no_fork = true; break;
    case OPTION_CPU: arguments->cpu_seconds = number(state, text); break;
    case OPTION_PLANT:
        if (arguments->planted_count == PLANTED_MAX)
            argp_error(state, "too many planted bugs");
        arguments->planted[arguments->planted_count++] = planted_find(state, text);
        break;
    case OPTION_SET:
        if (arguments->sim.setting_count == SETTINGS_MAX)
            argp_error(state, "too many settings");
        arguments->settings[arguments->sim.setting_count++] = text;
        break;
    case ARGP_KEY_ARG: argp_error(state, "unexpected argument \"%s\"", text); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void print_mark(void *context, const char *name, uint64_t count)
{
    (void)context;
    printf("mark %s %" PRIu64 "\n", name, count);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 +
           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
}

/* What daemons want of their heap does not fit many of them in one process. */
int __wrap_mallopt(int parameter, int value)
{
    (void)parameter, (void)value;
    return 1;
}

/* Of the first huge page of a pool a put of some bytes uses a few small ones; all of it would be
 * cleared. */
int __wrap_madvise(void *address, size_t size, int advice)
{
    (void)address, (void)size, (void)advice;
    return 0;
}

/* The processor stays the same during a run. */
enum lilio_err __wrap_codec_self_test(struct lilio_errinfo *info)
{
    static bool done;
    enum lilio_err err = done ? LILIO_OK : __real_codec_self_test(info);
    done = !err;
    return err;
}

/* A heap that only grows, of huge pages: giving memory back and taking it again costs more than all
 * else. */
static void heap_init(void)
{
    enum { MAPPED = 512 << 10, LARGE = 1 << 30, PAD = 384 << 20, HUGE_PAGE = 2 << 20 };
    (void)__real_mallopt(M_MMAP_THRESHOLD, MAPPED); /* buffers that are hardly used */
    (void)__real_mallopt(M_TRIM_THRESHOLD, LARGE);
    (void)__real_mallopt(M_TOP_PAD, PAD);
    (void)__real_mallopt(M_MXFAST, 0);
    void *volatile first = malloc(MAPPED / 2); /* makes the heap that large */
    free(first);
    uintptr_t end = (uintptr_t)sbrk(0) / HUGE_PAGE * HUGE_PAGE;
    (void)__real_madvise((void *)(end - PAD + HUGE_PAGE), PAD - HUGE_PAGE, MADV_HUGEPAGE);
}

static int run(const struct arguments *arguments)
{
    heap_init();
    printf("seed %" PRIu64 ", scenario %s, commit %s\nagain: %s\n", arguments->sim.seed,
           arguments->scenario->name, SIM_COMMIT, arguments->setup.repeat);
    sim_world_init(&arguments->setup);
    arguments->scenario->start(&arguments->sim);
    sim_run();
    if (arguments->marks)
        sim_marks_each(print_mark, NULL);
    double seconds = cpu_seconds(), virtual = (double)sim_now() / 1e9;
    printf("well: %.1f virtual s, %" PRIu64 " steps, trace %016" PRIx64 "; %.2f CPU s, %.0fx\n",
           virtual, sim_steps(), sim_trace_hash(), seconds, virtual / seconds);
    return SIM_OK;
}

/* In a child, so that its end can be told whatever it is. */
static int run_in_child(const struct arguments *arguments)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "lilio-sim: cannot fork\n");
        return SIM_USAGE;
    }
    if (pid == 0) {
        struct rlimit limit = {arguments->cpu_seconds, arguments->cpu_seconds + 5};
        (void)setrlimit(RLIMIT_CPU, &limit); /* without it the run may take for ever */
        exit(run(arguments));
    }
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        return SIM_USAGE;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    int signal = WTERMSIG(status);
    bool stuck = signal == SIGXCPU || signal == SIGKILL;
    fprintf(stderr, "FAILED (%s): ended by signal %d (%s)\n  again: %s\n",
            stuck ? "stuck" : "crash", signal, strsignal(signal), arguments->setup.repeat);
    return stuck ? SIM_STUCK : SIM_CRASHED;
}

/* The line that repeats the run. */
static char *command_line(const struct arguments *arguments)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    fprintf(out, "lilio-sim --seed %" PRIu64 " --scenario %s", arguments->sim.seed,
            arguments->scenario->name);
    if (arguments->sim.minutes)
        fprintf(out, " --minutes %" PRIu64, arguments->sim.minutes);
    if (arguments->setup.steps_max)
        fprintf(out, " --steps %" PRIu64, arguments->setup.steps_max);
    for (size_t i = 0; i < arguments->planted_count; i++)
        fprintf(out, " --plant %s", arguments->planted[i]);
    for (size_t i = 0; i < arguments->sim.setting_count; i++)
        fprintf(out, " --set %s", arguments->settings[i]);
    fclose(out);
    return text;
}

/* Sanitizers end the process with our own exit code; what dead processes leave is no leak. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:exitcode=2:detect_stack_use_after_return=0";
}
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return "exitcode=2:print_stacktrace=1";
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse, NULL, description, NULL, NULL, NULL};
    static struct arguments arguments = {
        .sim.seed = 1, .scenario = sim_scenarios, .cpu_seconds = 600};
    argp_err_exit_status = SIM_USAGE;
    if (argp_parse(&argp, argc, argv, 0, NULL, &arguments))
        return SIM_USAGE;
    arguments.setup.seed = arguments.sim.seed;
    arguments.setup.planted = arguments.planted;
    arguments.sim.settings = arguments.settings;
    char *repeat = command_line(&arguments);
    arguments.setup.repeat = repeat;
    int code = arguments.no_fork ? run(&arguments) : run_in_child(&arguments);
    free(repeat);
    return code;
}
