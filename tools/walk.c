#include "tools/walk.h"

#include <string.h>

#include "base/banned.h"

enum { PAGE = 1000 };

bool tools_walk_within(const char *folder, const char *key)
{
    size_t size = strlen(folder);
    if (strncmp(key, folder, size) != 0)
        return false;
    return size == 0 || folder[size - 1] == '/' || key[size] == '\0' || key[size] == '/';
}

enum lilio_err tools_walk(struct tools_context *context, const char *bucket, const char *prefix,
                          enum lilio_err (*visit)(struct tools_context *context, const char *bucket,
                                                  const struct lilio_list_entry *entry,
                                                  void *argument),
                          void *argument, uint64_t *ret_count)
{
    struct lilio_listing page = {0};
    enum lilio_err err = LILIO_OK;
    uint64_t count = 0;
    bool more = true;
    while (!err && more) {
        struct lilio_listing next = {0};
        err = lilio_list(context->client, bucket, prefix, "", page.token, page.token_size, PAGE,
                         &next, &context->info);
        lilio_listing_release(&page);
        page = next;
        more = page.more;
        for (size_t i = 0; !err && i < page.count; i++) {
            if (tools_cancelled())
                err = lilio_fail(&context->info, LILIO_E_CANCELLED, "interrupted");
            else
                err = visit(context, bucket, &page.entries[i], argument);
            count += err == LILIO_OK;
        }
    }
    lilio_listing_release(&page);
    if (ret_count)
        *ret_count = count;
    return err;
}
