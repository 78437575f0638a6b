/* Looking an object up, and what is checked about the answer before it is believed. */
#ifndef CLIENT_OBJECT_H
#define CLIENT_OBJECT_H

#include "client/control.h"

struct client_object {
    struct proto_object object; /* borrows from answer */
    struct client_answer answer;
};
/* The current version. Errors: NO_BUCKET, NO_KEY, MALFORMED (the row contradicts itself),
 * UNSUPPORTED (a transform or kind of row this client does not know), and those of the way there.
 */
LILIO_MUST_USE enum lilio_err client_object_lookup(struct client_control *control,
                                                   const char *bucket, const char *key,
                                                   struct client_object *ret_object,
                                                   struct lilio_errinfo *info);
void client_object_release(struct client_object *object);
/* The data row of extent number i, checked; borrowed from the object or from *answer. Errors:
 * NOT_FOUND (it is no more), MALFORMED. */
LILIO_MUST_USE enum lilio_err client_object_row(struct client_control *control,
                                                const struct client_object *object, size_t i,
                                                struct client_answer *answer,
                                                struct proto_data_row *ret_row,
                                                struct lilio_errinfo *info);
/* For callers of the public interface. Errors: NOMEM. */
LILIO_MUST_USE enum lilio_err client_object_public(const struct client_object *object,
                                                   const char *bucket, const char *key,
                                                   struct lilio_object *ret_object,
                                                   struct lilio_errinfo *info);

#endif
