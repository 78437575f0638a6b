/* Where the client library looks for lilio.yaml, for the commands that need the file themselves. */
#ifndef TOOLS_CONFIG_PATH_H
#define TOOLS_CONFIG_PATH_H

#include "tools/cmd.h"

/* --config, $LILIO_CONFIG, ./lilio.yaml. */
const char *tools_config_path(const struct tools_context *context);

#endif
