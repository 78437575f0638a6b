#include "osd/buffers.h"

#include <stdlib.h>

#include "base/pool.h"

#include "base/banned.h"

enum { CLASSES = 3, SLACK_BYTES = 2 * BASE_DISK_BLOCK };

struct osd_buffers {
    struct base_pool *pools[CLASSES];
};

/* Stands at the end of each buffer while it is out. */
struct lease {
    struct base_pool *pool;
    void *buffer;
};

/* Bytes a payload may have in a class, and how many buffers there are. */
static const struct {
    size_t payload, count;
} classes[CLASSES] = {
    {CODEC_BLOCK, OSD_BUFFERS_SMALL},
    {CODEC_FRAGMENT_DEFAULT, OSD_BUFFERS_MEDIUM},
    {CODEC_FRAGMENT_MAX, OSD_BUFFERS_LARGE},
};

static size_t room_of(size_t i)
{
    return classes[i].payload + SLACK_BYTES;
}

enum lilio_err osd_buffers_new(struct osd_buffers **ret_buffers)
{
    struct osd_buffers *buffers = calloc(1, sizeof *buffers);
    enum lilio_err err = buffers ? LILIO_OK : LILIO_E_NOMEM;
    for (size_t i = 0; !err && i < CLASSES; i++)
        err =
            base_pool_new(room_of(i) + sizeof(struct lease), classes[i].count, &buffers->pools[i]);
    if (err)
        osd_buffers_free(&buffers);
    else
        *ret_buffers = buffers;
    return err;
}

void osd_buffers_free(struct osd_buffers **buffers)
{
    if (!*buffers)
        return;
    for (size_t i = 0; i < CLASSES; i++)
        base_pool_free(&(*buffers)->pools[i]);
    free(*buffers);
    *buffers = NULL;
}

uint8_t *osd_buffers_take(struct osd_buffers *buffers, size_t payload_bytes, size_t *ret_room,
                          void **ret_hint)
{
    size_t i = 0;
    while (i + 1 < CLASSES && classes[i].payload < payload_bytes)
        i++;
    uint8_t *buffer = base_pool_take(buffers->pools[i]);
    if (!buffer)
        return NULL;
    struct lease *lease = (struct lease *)(void *)(buffer + room_of(i));
    *lease = (struct lease){buffers->pools[i], buffer};
    *ret_room = room_of(i);
    *ret_hint = lease;
    return buffer;
}

void osd_buffers_release(void *data, void *hint)
{
    (void)data;
    struct lease *lease = hint;
    base_pool_give(lease->pool, lease->buffer);
}
