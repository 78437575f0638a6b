/* Aim: the coordinator's reserve is set aside when there is plenty, given up when the disk is
 * nearly full, also before the maps are opened, and comes back. Method: a disk whose free bytes the
 * test sets and that notes what is made, allocated and removed. */
#include "coord_fixture.h"

#include "coordinator/reserve.h"

#include "base/banned.h"

enum { TOTAL = 256 << 20, WANTED = 16 << 20 };

struct fake {
    struct base_disk base;
    struct base_file file;
    struct base_disk_space space;
    enum lilio_err allocate_err;
    bool there;
    uint64_t allocated;
};

static struct fake *the_fake; /* allocate is given the file alone */

static enum lilio_err fake_open(struct base_disk *disk, const char *name, unsigned flags,
                                struct base_file **ret_file, struct lilio_errinfo *info)
{
    struct fake *fake = (struct fake *)disk;
    (void)info;
    assert_string_equal(name, "reserve");
    if (!fake->there && !(flags & BASE_OPEN_CREATE))
        return LILIO_E_NOT_FOUND;
    fake->there = true;
    *ret_file = &fake->file;
    return LILIO_OK;
}

static enum lilio_err fake_allocate(struct base_file *file, uint64_t offset, uint64_t size,
                                    struct lilio_errinfo *info)
{
    (void)file;
    (void)info;
    assert_int_equal(offset, 0);
    the_fake->allocated = the_fake->allocate_err ? 0 : size;
    return the_fake->allocate_err;
}

static void fake_close(struct base_file *file)
{
    (void)file;
}

static enum lilio_err fake_unlink(struct base_disk *disk, const char *name,
                                  struct lilio_errinfo *info)
{
    struct fake *fake = (struct fake *)disk;
    (void)info;
    assert_string_equal(name, "reserve");
    assert_true(fake->there);
    fake->there = false;
    fake->allocated = 0;
    return LILIO_OK;
}

static enum lilio_err fake_space(struct base_disk *disk, struct base_disk_space *ret,
                                 struct lilio_errinfo *info)
{
    (void)info;
    *ret = ((struct fake *)disk)->space;
    return LILIO_OK;
}

static const struct base_disk_ops ops = {
    .open = fake_open,
    .allocate = fake_allocate,
    .close = fake_close,
    .unlink = fake_unlink,
    .space = fake_space,
};

static void fake_init(struct fake *fake, uint64_t free_bytes)
{
    *fake = (struct fake){.base = {&ops}, .file = {&ops}, .space = {TOTAL, free_bytes}};
    the_fake = fake;
}

static void comes_and_goes_with_the_room(void **unused)
{
    (void)unused;
    struct fake fake;
    struct coord_reserve reserve;
    fake_init(&fake, TOTAL);
    coord_reserve_init(&reserve, &fake.base, NULL);
    assert_false(fake.there);
    coord_reserve_look(&reserve);
    assert_int_equal(fake.allocated, WANTED);
    fake.space.free_bytes = COORD_RESERVE_LOW_BYTES;
    coord_reserve_look(&reserve);
    assert_true(fake.there);
    fake.space.free_bytes = 0;
    coord_reserve_look(&reserve);
    assert_false(fake.there);
    fake.space.free_bytes = 2 * (uint64_t)WANTED; /* not yet: it would be low again at once */
    coord_reserve_look(&reserve);
    assert_false(fake.there);
    fake.space.free_bytes = TOTAL;
    coord_reserve_look(&reserve);
    assert_int_equal(fake.allocated, WANTED);
}

static void start_on_a_full_disk_gives_it_up(void **unused)
{
    (void)unused;
    struct fake fake;
    struct coord_reserve reserve;
    fake_init(&fake, 0);
    fake.there = true;
    coord_reserve_init(&reserve, &fake.base, NULL);
    assert_false(fake.there);
    fake_init(&fake, TOTAL / 2);
    fake.there = true;
    coord_reserve_init(&reserve, &fake.base, NULL);
    assert_true(fake.there);
    fake.space.free_bytes = 0;
    coord_reserve_look(&reserve); /* it knows of the one that was there */
    assert_false(fake.there);
}

static void failed_reservation_leaves_nothing(void **unused)
{
    (void)unused;
    struct fake fake;
    struct coord_reserve reserve;
    fake_init(&fake, TOTAL);
    fake.allocate_err = LILIO_E_NO_SPACE;
    coord_reserve_init(&reserve, &fake.base, NULL);
    coord_reserve_look(&reserve);
    assert_false(fake.there);
    assert_false(reserve.kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_and_goes_with_the_room),
        cmocka_unit_test(start_on_a_full_disk_gives_it_up),
        cmocka_unit_test(failed_reservation_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
