/* lilio-hand: one client that does what it is told, one thing after another, and knows the bytes.
 *
 *     lilio-hand CONFIG BUCKET TIMEOUT-ms
 *
 * Standard input has one command a line, standard output one answer a line:
 *
 *     put KEY NAME SIZE    the value of that name and size
 *     get KEY
 *     rm KEY
 *
 *     ok [NAME SIZE] | CODE why      CODE as in base/err.h; CORRUPT_READ: bytes that are no value
 *
 * A value begins with "NAME;SIZE;", the rest follows from it, so that a get tells which value it
 * read, and whether whole. A size of 0 has no name: "ok - 0"; others have at least 40 bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lilio.h"

#include "base/banned.h"

enum { VALUE_MAX = 64 << 20, NAME = 64, SMALLEST = 40 };

struct hand {
    struct lilio_client *client;
    const char *bucket;
    char *bytes, *want;
    size_t size, done;
};

/* The bytes that follow from a value's name. */
static void value_make(char *bytes, const char *name, size_t size)
{
    char head[NAME + 32];
    size_t used = (size_t)snprintf(head, sizeof head, "%s;%zu;", name, size);
    unsigned long long state = 1;
    for (const char *at = head; *at; at++)
        state = state * 31 + (unsigned char)*at;
    used = used < size ? used : size;
    memcpy(bytes, head, used);
    for (size_t i = used; i < size; i++) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        bytes[i] = (char)(state >> 56);
    }
}

/* The name of the value these bytes are, or false if they are none. */
static bool value_name(const struct hand *hand, char name[NAME])
{
    char head[NAME + 32] = "";
    size_t size = hand->done < sizeof head - 1 ? hand->done : sizeof head - 1;
    memcpy(head, hand->bytes, size);
    size_t length = strcspn(head, ";");
    if (hand->done < SMALLEST || length >= NAME || head[length] != ';')
        return false;
    memcpy(name, head, length);
    name[length] = '\0';
    if (strtoul(head + length + 1, NULL, 10) != hand->done)
        return false;
    value_make(hand->want, name, hand->done);
    return memcmp(hand->want, hand->bytes, hand->done) == 0;
}

static enum lilio_err bytes_read(void *context, void *buffer, size_t size, size_t *ret_size,
                                 struct lilio_errinfo *info)
{
    struct hand *hand = context;
    (void)info;
    *ret_size = hand->size - hand->done < size ? hand->size - hand->done : size;
    memcpy(buffer, hand->bytes + hand->done, *ret_size);
    hand->done += *ret_size;
    return LILIO_OK;
}

static enum lilio_err bytes_write(void *context, const void *data, size_t size,
                                  struct lilio_errinfo *info)
{
    struct hand *hand = context;
    if (size > VALUE_MAX - hand->done)
        return lilio_fail(info, LILIO_E_TOO_BIG, "more bytes than any value has");
    memcpy(hand->bytes + hand->done, data, size);
    hand->done += size;
    return LILIO_OK;
}

static enum lilio_err bytes_restart(void *context, struct lilio_errinfo *info)
{
    struct hand *hand = context;
    (void)info;
    hand->done = 0;
    return LILIO_OK;
}

static void answer(enum lilio_err err, const struct lilio_errinfo *info)
{
    if (err)
        printf("%s %s\n", lilio_err_name(err), info->text);
    else
        printf("ok\n");
}

static void put(struct hand *hand, const char *key, const char *name, size_t size)
{
    struct lilio_errinfo info = {0};
    struct lilio_put_result result;
    struct lilio_source source = {.read = bytes_read, .context = hand, .size = size};
    value_make(hand->bytes, name, size);
    hand->size = size;
    hand->done = 0;
    enum lilio_err err = lilio_put(hand->client, hand->bucket, key, &source,
                                   NULL /* no condition */, &result, &info);
    answer(err, &info);
}

static void get(struct hand *hand, const char *key)
{
    struct lilio_errinfo info = {0};
    struct lilio_get_result result;
    char name[NAME] = "-";
    struct lilio_sink sink = {.write = bytes_write, .restart = bytes_restart, .context = hand};
    hand->done = 0;
    enum lilio_err err =
        lilio_get(hand->client, hand->bucket, key, &sink, NULL /* all of it */, &result, &info);
    if (err)
        answer(err, &info);
    else if (hand->done && !value_name(hand, name))
        printf("CORRUPT_READ %zu bytes, they begin with \"%.*s\"\n", hand->done,
               (int)strcspn(name, "\n"), name);
    else
        printf("ok %s %zu\n", name, hand->done);
}

static void obey(struct hand *hand, const char *line)
{
    char verb[8] = "", key[128] = "", name[NAME] = "";
    size_t size = 0;
    int words = sscanf(line, "%7s %127s %63s %zu", verb, key, name, &size);
    if (words == 4 && strcmp(verb, "put") == 0 && size <= VALUE_MAX &&
        (size == 0 || size >= SMALLEST)) {
        put(hand, key, name, size);
    } else if (words == 2 && strcmp(verb, "get") == 0) {
        get(hand, key);
    } else if (words == 2 && strcmp(verb, "rm") == 0) {
        struct lilio_errinfo info = {0};
        answer(lilio_delete(hand->client, hand->bucket, key, (struct lilio_version){0}, &info),
               &info);
    } else {
        printf("USAGE %s\n", line);
    }
}

int main(int argc, char **argv)
{
    char line[512];
    struct lilio_errinfo info = {0};
    struct hand hand = {.bytes = malloc(VALUE_MAX), .want = malloc(VALUE_MAX)};
    if (argc != 4 || !hand.bytes || !hand.want)
        return 2;
    hand.bucket = argv[2];
    struct lilio_options options = {.config_path = argv[1],
                                    .label = "lilio-hand",
                                    .timeout_ms = (uint32_t)strtoul(argv[3], NULL, 10)};
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* an answer leaves at once */
    enum lilio_err err = lilio_open(&options, &hand.client, &info);
    if (err)
        (void)fprintf(stderr, "lilio-hand: %s\n", info.text);
    while (!err && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        obey(&hand, line);
    }
    if (!err)
        lilio_close(&hand.client);
    free(hand.bytes);
    free(hand.want);
    return err ? 1 : 0;
}
