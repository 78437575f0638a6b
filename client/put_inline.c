/* Small objects: what the session allows (session.inline_max) travels inside COMMIT and is kept by
 * the coordinators. One round trip, and no OSD is touched.
 *
 * An object of unknown size is read up to one byte more than that; if there is more, what was read
 * is handed on to the stripes.
 */
#include "client/put_priv.h"

#include <stdlib.h>

#include "base/mark.h"

#include "base/banned.h"

enum lilio_err client_putter_look(struct client_putter *put)
{
    bool known = put->source->size != UINT64_MAX;
    size_t most = client_session_inline_max(put->session), got;
    if (put->options->no_inline || most == 0 || (known && put->source->size > most))
        return LILIO_OK;
    size_t want = known ? (size_t)put->source->size : most + 1;
    uint8_t *head = malloc(want + 1);
    if (!head)
        return lilio_fail(put->info, LILIO_E_NOMEM, "no memory for a small object");
    enum lilio_err err = client_putter_read(put, head, want, &got);
    put->head = head;
    put->head_size = got;
    if (err != LILIO_OK)
        return err;
    if (known && got < want)
        return lilio_fail(put->info, LILIO_E_INVALID, "the source ended after %zu of %zu bytes",
                          got, want);
    put->small = got <= most;
    if (put->small) {
        put->size = got;
        put->crc = codec_crc32c(0, head, got);
    } else {
        put->ended = false;
    }
    return LILIO_OK;
}

void client_putter_look_undo(struct client_putter *put)
{
    LILIO_MARK("client/inline_refused");
    client_session_inline_refused(put->session);
    put->small = put->ended = false;
    put->size = 0;
    put->crc = 0;
}
