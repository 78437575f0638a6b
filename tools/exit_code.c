#include "tools/exit_code.h"

#include "base/banned.h"

int tools_exit_code(enum lilio_err err)
{
    switch (err) {
    case LILIO_E_OK: return TOOLS_EXIT_OK;
    case LILIO_E_INVALID:
    case LILIO_E_TOO_BIG:
    case LILIO_E_CONFIG: return TOOLS_EXIT_USAGE;
    case LILIO_E_NOT_FOUND:
    case LILIO_E_NO_BUCKET:
    case LILIO_E_NO_KEY: return TOOLS_EXIT_NOT_FOUND;
    case LILIO_E_EXISTS:
    case LILIO_E_PRECONDITION:
    case LILIO_E_NOT_EMPTY: return TOOLS_EXIT_CONDITION;
    case LILIO_E_TIMEOUT:
    case LILIO_E_UNAVAILABLE:
    case LILIO_E_BUSY:
    case LILIO_E_NO_SPACE:
    case LILIO_E_NO_QUORUM:
    case LILIO_E_VERSION_GONE:
    case LILIO_E_NOT_LEADER:
    case LILIO_E_STALE_EPOCH:
    case LILIO_E_WRONG_OSD:
    case LILIO_E_SESSION_CLOSED:
    case LILIO_E_READ_ONLY:
    case LILIO_E_BLANK:
    case LILIO_E_EXHAUSTED: return TOOLS_EXIT_UNAVAILABLE;
    case LILIO_E_OUTCOME_UNKNOWN: return TOOLS_EXIT_UNKNOWN;
    case LILIO_E_MISSING:
    case LILIO_E_CORRUPT:
    case LILIO_E_DAMAGED: return TOOLS_EXIT_DAMAGED;
    case LILIO_E_LOST: return TOOLS_EXIT_LOST;
    case LILIO_E_CANCELLED: return TOOLS_EXIT_INTERRUPTED;
    case LILIO_E_INTERNAL:
    case LILIO_E_NOMEM:
    case LILIO_E_UNSUPPORTED:
    case LILIO_E_MALFORMED:
    case LILIO_E_CONFLICT:
    case LILIO_E_IO:
    case LILIO_E_FOREIGN:
    case LILIO_E_LOCKED:
    case LILIO_E_FORMAT:
    case LILIO_E_ADDRESS:
    case LILIO_E_SINGULAR:
    case LILIO_E_DENIED: return TOOLS_EXIT_FAILURE;
    }
    return TOOLS_EXIT_FAILURE;
}
