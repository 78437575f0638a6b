/* down: stops the daemons of a local cluster, also those whose pid files are gone. Which cluster:
 * --dir DIR, or the folder of the lilio.yaml that the other commands use. */
#include "tools/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cluster_file.h"
#include "tools/config_path.h"
#include "tools/daemons.h"
#include "tools/file_io.h"
#include "tools/local.h"

#include "base/banned.h"

enum { LOCK_MS = 30000 };

static const struct argp_option down_options[] = {
    {"dir", 'd', "DIR", 0, "The cluster's folder (default: that of its lilio.yaml)", 0},
    {0},
};

static error_t down_parse(int key, char *arg, struct argp_state *state)
{
    const char **dir = state->input;
    switch (key) {
    case 'd': *dir = arg; return 0;
    case ARGP_KEY_END:
        if (*dir && !(*dir)[0])
            tools_args_fail(state, "--dir is empty");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp down_argp = {
    .options = down_options,
    .parser = down_parse,
    .args_doc = "[--dir DIR]",
    .doc = "Stops the daemons of a local cluster. Nothing stored is lost by it."
           "\vExamples:\n"
           "  lilio-ec down --dir ~/lilio\n"
           "  lilio-ec down                   with LILIO_CONFIG=~/lilio/lilio.yaml\n",
};

/* lilio.yaml and the cluster's folder, of which at least one is known. */
static enum lilio_err cluster_find(struct tools_context *context, const char *dir,
                                   char **ret_config, char **ret_dir)
{
    const char *config = tools_config_path(context), *slash = strrchr(config, '/');
    if (!dir) {
        *ret_config = strdup(config);
        *ret_dir = !slash            ? strdup(".")
                   : slash == config ? strdup("/")
                                     : strndup(config, (size_t)(slash - config));
    } else {
        *ret_dir = strdup(dir);
        if (asprintf(ret_config, "%s/lilio.yaml", dir) < 0)
            *ret_config = NULL;
    }
    return *ret_dir && *ret_config ? LILIO_OK : tools_no_memory(&context->info);
}

/* The folder of the pid files; a lilio.yaml that cannot be read must not keep daemons alive. */
static enum lilio_err run_dir_find(struct tools_context *context, const char *dir,
                                   const char *config, char **ret_run_dir)
{
    struct stat stat_buffer;
    struct proto_cluster_file file;
    if (stat(config, &stat_buffer) != 0)
        return tools_file_fail(&context->info, "there is no cluster:", config);
    if (proto_cluster_file_load(config, &file, NULL) == LILIO_OK) {
        *ret_run_dir = strdup(file.run_dir);
        proto_cluster_file_release(&file);
    } else if (asprintf(ret_run_dir, "%s/run", dir) < 0) {
        *ret_run_dir = NULL;
    }
    return *ret_run_dir ? LILIO_OK : tools_no_memory(&context->info);
}

static enum lilio_err down_do(struct tools_context *context, const char *dir,
                              struct tools_daemons *daemons, size_t *ret_killed)
{
    int lock = -1;
    bool made;
    char *config = NULL, *folder = NULL, *run_dir = NULL;
    enum lilio_err err = cluster_find(context, dir, &config, &folder);
    if (!err)
        err = tools_local_lock(folder, false, LOCK_MS, &lock, &made, &context->info);
    if (!err)
        err = run_dir_find(context, folder, config, &run_dir);
    if (!err)
        err = tools_daemons_init_running(run_dir, config, daemons, &context->info);
    if (!err)
        tools_daemons_stop(daemons, false, ret_killed);
    free(run_dir);
    free(folder);
    free(config);
    if (lock >= 0)
        close(lock);
    return err;
}

int tools_cmd_down(struct tools_context *context, int argc, char **argv)
{
    const char *dir = NULL;
    struct tools_daemons daemons = {0};
    size_t killed = 0;
    tools_args_parse(context, &down_argp, argc, argv, &dir);
    enum lilio_err err = down_do(context, dir, &daemons, &killed);
    if (err) {
        tools_daemons_release(&daemons);
        return tools_fail(context, err);
    }
    if (daemons.count)
        tools_out_line(&context->out, "stopped %zu daemons", daemons.count);
    else
        tools_out_line(&context->out, "nothing was running");
    if (killed)
        tools_out_line(&context->out, "%zu of them did not end by themselves and were killed",
                       killed);
    cJSON *object = tools_json_new();
    cJSON *list = tools_json_list(object, "stopped");
    for (size_t i = 0; i < daemons.count; i++)
        tools_json_add(list, cJSON_CreateString(daemons.list[i].name));
    tools_json_u64(object, "killed", killed);
    tools_out_object(&context->out, object);
    tools_daemons_release(&daemons);
    return TOOLS_EXIT_OK;
}
