/* What the clients did and what came of it, in the order in which it happened.
 *
 * A key of a bucket is a number here; what it holds is a value (value.h) or SIM_NOTHING. begin and
 * end are places in the one order of all events of a run, so an operation is before another when it
 * ended before the other began. A page of a listing counts as one get of each key that it could
 * have shown.
 */
#ifndef TESTS_SIM_HISTORY_H
#define TESTS_SIM_HISTORY_H

#include "base/err.h"
#include "tests/sim/value.h"

enum sim_op_kind {
    SIM_PUT = 1,
    SIM_PUT_ABSENT,  /* if nothing is there */
    SIM_PUT_VERSION, /* if `expect` is there */
    SIM_GET,
    SIM_DELETE,
    SIM_DELETE_VERSION,
};
enum sim_outcome {
    SIM_OPEN,    /* under way; at the end of a run the same as unknown */
    SIM_DONE,    /* for a get also when nothing was there */
    SIM_REFUSED, /* the condition did not hold; of a delete: nothing was there */
    SIM_FAILED,  /* has and will have no effect */
    SIM_UNKNOWN, /* takes effect at any time after begin, or never */
};
struct sim_version {
    uint64_t index; /* 0 = none */
    uint32_t ordinal;
};
struct sim_op {
    uint8_t kind, outcome;
    uint32_t client, key;
    uint64_t value;  /* written or read */
    uint64_t expect; /* of the conditional ones: what the version named */
    struct sim_version version, expect_version;
    enum lilio_err err;
    uint64_t begin, end; /* order; end UINT64_MAX while open */
    uint64_t begin_ns, end_ns;
};

struct sim_history {
    struct sim_op *ops;
    size_t count, room;
    uint64_t order;
};
void sim_history_release(struct sim_history *history);
/* Adds an operation that begins now; returns its place. */
size_t sim_history_begin(struct sim_history *history, struct sim_op op, uint64_t now_ns);
/* The borrowed pointer is good until the next begin. */
struct sim_op *sim_history_end(struct sim_history *history, size_t place, enum sim_outcome outcome,
                               uint64_t now_ns);

/* Names by their versions the empty values that were read or expected and could not be told. */
void sim_history_resolve(struct sim_history *history);

/* What versions alone prove: one version names one value and one value has one version (a put that
 * took effect twice has two); a write that began after another's end has the later version; a read
 * finds nothing older than what was acknowledged before it began. False with a sentence in
 * *ret_text. */
bool sim_history_versions_good(const struct sim_history *history, char ret_text[1024]);

/* One line: "#12 client 3 put key 7 value 0x... ok version 45.1 [100..140] 1.234 s". */
void sim_op_format(const struct sim_history *history, size_t place, char *ret_text, size_t size);

#endif
