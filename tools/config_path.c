#include "tools/config_path.h"

#include <stdlib.h>

#include "base/banned.h"

const char *tools_config_path(const struct tools_context *context)
{
    const char *environment = getenv("LILIO_CONFIG");
    if (context->config_path)
        return context->config_path;
    return environment && environment[0] ? environment : "lilio.yaml";
}
