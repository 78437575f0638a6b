/* lilio-load: clients that put and get registers through the library and write down when each
 * operation began, when it ended and what came of it, for a checker of histories
 * (tests/cluster/history.py).
 *
 *     lilio-load CONFIG BUCKET CLIENTS KEYS SECONDS BIG-PERCENT SEED
 *
 * Every value is unique: "V<client>.<number>;" and then bytes that follow from it, so that a read
 * tells which write it saw, and whether it saw it whole. Values have 200 bytes (inline in the
 * coordinators), BIG-PERCENT of them 100 kB (fragments on OSDs). One line per operation:
 *
 *     CLIENT put|get KEY VALUE BEGIN-us END-us ok|none|unknown|failed|corrupt [why]
 *
 * times of CLOCK_MONOTONIC. "failed" is what the library calls not done; "unknown" may have
 * happened. After SECONDS, or SIGTERM, each key is read once more by client 0, patiently. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/lilio.h"

#include "base/banned.h"

enum {
    CLIENTS_MAX = 64,
    SMALL = 200,
    BIG = 100000,
    CALL_MS = 10000,
    PATIENCE_US = 60000000, /* of the last reads */
};

struct load {
    const char *config, *bucket;
    unsigned clients, keys, seconds, big_percent, seed;
};
struct client {
    const struct load *load;
    struct lilio_client *handle;
    unsigned number, seed;
    unsigned long long written;
    pthread_t thread;
    bool failed;
};
struct content {
    char bytes[BIG];
    size_t size, done;
};

static volatile sig_atomic_t stop;

static void stop_note(int number)
{
    (void)number;
    stop = 1;
}

static unsigned long long now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
}

/* The bytes that follow from a value's name. */
static void content_make(struct content *content, const char *name, size_t size)
{
    int head = snprintf(content->bytes, sizeof content->bytes, "%s;%zu;", name, size);
    unsigned state = 1;
    for (const char *at = name; *at; at++)
        state = state * 31 + (unsigned char)*at;
    for (size_t i = (size_t)head; i < size; i++) {
        state = state * 1103515245 + 12345;
        content->bytes[i] = (char)(state >> 16);
    }
    content->size = size;
    content->done = 0;
}

/* The name of the value these bytes are, or false if they are none. */
static bool content_name(struct content *content, char name[64])
{
    static _Thread_local struct content want;
    size_t size = 0, length = strcspn(content->bytes, ";");
    if (content->done < 4 || length >= 64 || content->bytes[0] != 'V')
        return false;
    memcpy(name, content->bytes, length);
    name[length] = '\0';
    size = strtoul(content->bytes + length + 1, NULL, 10);
    if (size != content->done)
        return false;
    content_make(&want, name, size);
    return memcmp(want.bytes, content->bytes, size) == 0;
}

static enum lilio_err content_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                   struct lilio_errinfo *info)
{
    struct content *content = context;
    (void)info;
    *ret_size = content->size - content->done < size ? content->size - content->done : size;
    memcpy(buffer, content->bytes + content->done, *ret_size);
    content->done += *ret_size;
    return LILIO_OK;
}

static enum lilio_err content_write(void *context, const void *data, size_t size,
                                    struct lilio_errinfo *info)
{
    struct content *content = context;
    if (size >= sizeof content->bytes - content->done)
        return lilio_fail(info, LILIO_E_TOO_BIG, "more bytes than any value has");
    memcpy(content->bytes + content->done, data, size);
    content->done += size;
    content->bytes[content->done] = '\0';
    return LILIO_OK;
}

static enum lilio_err content_restart(void *context, struct lilio_errinfo *info)
{
    struct content *content = context;
    (void)info;
    content->done = 0;
    return LILIO_OK;
}

/* What a failed call promises: these were not done, of others nobody knows. */
static const char *outcome(enum lilio_err err)
{
    switch (err) {
    case LILIO_E_TIMEOUT:
    case LILIO_E_UNAVAILABLE:
    case LILIO_E_NO_QUORUM:
    case LILIO_E_BUSY: return "failed";
    default: return "unknown";
    }
}

static void note(const struct client *client, const char *op, unsigned key, const char *name,
                 unsigned long long begin_us, const char *result, const struct lilio_errinfo *why)
{
    printf("%u %s %u %s %llu %llu %s %s\n", client->number, op, key, name, begin_us, now_us(),
           result, why ? why->text : "");
}

static void put(struct client *client, unsigned key)
{
    static _Thread_local struct content content;
    char name[64], path[32];
    struct lilio_errinfo info = {0};
    struct lilio_put_result result;
    bool big = (unsigned)rand_r(&client->seed) % 100 < client->load->big_percent;
    (void)snprintf(name, sizeof name, "V%u.%llu", client->number, ++client->written);
    (void)snprintf(path, sizeof path, "k%u", key);
    content_make(&content, name, big ? BIG - 1 : SMALL);
    struct lilio_source source = {.read = content_read, .context = &content, .size = content.size};
    unsigned long long begin_us = now_us();
    enum lilio_err err = lilio_put(client->handle, client->load->bucket, path, &source,
                                   NULL /* no condition */, &result, &info);
    note(client, "put", key, name, begin_us, err ? outcome(err) : "ok", err ? &info : NULL);
}

/* False if it did not succeed. */
static bool get(struct client *client, unsigned key)
{
    static _Thread_local struct content content;
    char name[64] = "-", path[32];
    struct lilio_errinfo info = {0};
    struct lilio_get_result result;
    struct lilio_sink sink = {
        .write = content_write, .restart = content_restart, .context = &content};
    (void)snprintf(path, sizeof path, "k%u", key);
    content.done = 0;
    unsigned long long begin_us = now_us();
    enum lilio_err err = lilio_get(client->handle, client->load->bucket, path, &sink,
                                   NULL /* all of it */, &result, &info);
    bool whole = !err && content_name(&content, name);
    note(client, "get", key, whole ? name : "-", begin_us,
         whole                   ? "ok"
         : err == LILIO_E_NO_KEY ? "none"
         : !err                  ? "corrupt"
                                 : outcome(err),
         err ? &info : NULL);
    return whole || err == LILIO_E_NO_KEY;
}

static void *client_run(void *context)
{
    struct client *client = context;
    unsigned long long end_us = now_us() + client->load->seconds * 1000000ULL;
    while (!stop && now_us() < end_us) {
        unsigned key = (unsigned)rand_r(&client->seed) % client->load->keys;
        if (rand_r(&client->seed) & 64)
            put(client, key);
        else
            (void)get(client, key); /* what came of it is written down */
    }
    return NULL;
}

static bool client_open(struct client *client)
{
    struct lilio_options options = {
        .config_path = client->load->config, .label = "lilio-load", .timeout_ms = CALL_MS};
    struct lilio_errinfo info = {0};
    enum lilio_err err = lilio_open(&options, &client->handle, &info);
    if (err)
        (void)fprintf(stderr, "lilio-load: %s\n", info.text);
    return !err;
}

/* Each key once more, each until it can be read. */
static bool last_reads(struct client *client)
{
    unsigned long long end_us = now_us() + PATIENCE_US;
    bool good = true;
    for (unsigned key = 0; key < client->load->keys; key++) {
        bool done = false;
        while (!done && now_us() < end_us)
            done = get(client, key);
        good = good && done;
    }
    return good;
}

static unsigned number(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
    static struct client clients[CLIENTS_MAX];
    struct sigaction action = {.sa_handler = stop_note};
    if (argc != 8 || number(argv[3]) == 0 || number(argv[3]) > CLIENTS_MAX || number(argv[4]) == 0)
        return 2;
    struct load load = {argv[1],         argv[2],         number(argv[3]), number(argv[4]),
                        number(argv[5]), number(argv[6]), number(argv[7])};
    (void)sigaction(SIGTERM, &action, NULL); /* cannot fail for this signal */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);  /* a line that is not whole is no line */
    bool good = true;
    for (unsigned i = 0; good && i < load.clients; i++) {
        clients[i] = (struct client){.load = &load, .number = i, .seed = load.seed * 1000 + i};
        good = client_open(&clients[i]);
    }
    unsigned started = 0;
    while (good && started < load.clients &&
           pthread_create(&clients[started].thread, NULL, client_run, &clients[started]) == 0)
        started++;
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(clients[i].thread, NULL); /* it ends by itself */
    good = good && started == load.clients && last_reads(&clients[0]);
    for (unsigned i = 0; i < load.clients; i++)
        lilio_close(&clients[i].handle);
    return good ? 0 : 1;
}
