/* Puts a greeting into bucket "hello" and gets it back:
 *     cc hello.c $(pkg-config --cflags --libs lilio) && LILIO_CONFIG=DIR/lilio.yaml ./a.out */
#include <lilio/lilio.h>

#include <stdio.h>
#include <string.h>

static const char greeting[] = "hello, world\n";

static enum lilio_err read_greeting(void *at, void *buffer, size_t size, size_t *ret_size,
                                    struct lilio_errinfo *info)
{
    size_t *done = at, left = strlen(greeting) - *done;
    (void)info;
    *ret_size = left < size ? left : size;
    memcpy(buffer, greeting + *done, *ret_size);
    *done += *ret_size;
    return LILIO_OK;
}

static enum lilio_err print(void *context, const void *data, size_t size,
                            struct lilio_errinfo *info)
{
    (void)context;
    return fwrite(data, 1, size, stdout) == size ? LILIO_OK
                                                 : lilio_fail(info, LILIO_E_IO, "standard output");
}

int main(void)
{
    struct lilio_client *client = NULL;
    struct lilio_errinfo info = {LILIO_OK, ""};
    size_t done = 0;
    struct lilio_source source = {read_greeting, &done, strlen(greeting)};
    struct lilio_sink sink = {print, NULL, NULL};
    struct lilio_put_result put;
    enum lilio_err err = lilio_open(NULL, &client, &info);
    if (!err)
        err = lilio_bucket_create(client, "hello", NULL, 0, NULL, &info);
    if (!err || err == LILIO_E_EXISTS)
        err = lilio_put(client, "hello", "greeting", &source, NULL, &put, &info);
    if (!err)
        printf("durable %u/%u: ", put.durable, put.total);
    if (!err)
        err = lilio_get(client, "hello", "greeting", &sink, NULL, NULL, &info);
    if (err)
        fprintf(stderr, "hello: %s\n", info.text);
    lilio_close(&client);
    return err ? 1 : 0;
}
