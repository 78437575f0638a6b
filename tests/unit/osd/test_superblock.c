/* Aim: a disk never forgets or mistakes who it is. Method: write and read back; flips in one copy
 * and in both; a newer version; and the power failing at every change of a rewrite: the old or the
 * new superblock, whole. */
#include "osd/record.h"
#include "tests/support/cmocka_all.h"
#include "tests/support/crash_disk.h"

#include "base/banned.h"

#define NAME "superblock"

static const struct osd_superblock first = {{{1, 2}}, {{3, 4}}, 5, 1, OSD_DISK_JOINING};
static const struct osd_superblock second = {{{1, 2}}, {{3, 4}}, 5, 2, OSD_DISK_MEMBER};

static struct base_disk *disk_new(uint64_t seed)
{
    struct base_disk *disk;
    assert_int_equal(crash_disk_new(seed, &disk), LILIO_OK);
    return disk;
}

static bool same(const struct osd_superblock *a, const struct osd_superblock *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void blank_then_written(void **state)
{
    (void)state;
    struct base_disk *disk = disk_new(1);
    struct osd_superblock found, bad = first;
    assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_OK);
    assert_int_equal(found.state, OSD_DISK_BLANK);
    bad.state = OSD_DISK_BLANK;
    assert_int_equal(osd_superblock_write(disk, &bad, NULL), LILIO_E_INVALID);
    bad.state = 9;
    assert_int_equal(osd_superblock_write(disk, &bad, NULL), LILIO_E_INVALID);
    assert_int_equal(osd_superblock_write(disk, &first, NULL), LILIO_OK);
    assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_OK);
    assert_true(same(&found, &first));
    assert_int_equal(osd_superblock_write(disk, &second, NULL), LILIO_OK);
    crash_disk_power_off(disk);
    crash_disk_power_on(disk);
    assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_OK);
    assert_true(same(&found, &second));
    base_disk_free(&disk);
}

static void flips(void **state)
{
    (void)state;
    struct base_disk *disk = disk_new(1);
    struct osd_superblock found;
    assert_int_equal(osd_superblock_write(disk, &second, NULL), LILIO_OK);
    for (uint64_t at = 0; at < 128; at++) {
        for (int bit = 0; bit < 8; bit++) {
            assert_true(crash_disk_flip(disk, NAME, at, (uint8_t)(1 << bit)));
            assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_OK);
            assert_true(same(&found, &second));
            assert_true(crash_disk_flip(disk, NAME, 512 + at, (uint8_t)(1 << bit)));
            assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_E_CORRUPT);
            assert_true(crash_disk_flip(disk, NAME, at, (uint8_t)(1 << bit)));
            assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_OK);
            assert_true(same(&found, &second));
            assert_true(crash_disk_flip(disk, NAME, 512 + at, (uint8_t)(1 << bit)));
        }
    }
    base_disk_free(&disk);
}

static void write_raw(struct base_disk *disk, uint8_t *bytes, size_t size)
{
    struct base_file *file;
    struct iovec vector = {bytes, size};
    assert_int_equal(disk->ops->open(disk, NAME, BASE_OPEN_CREATE, &file, NULL), LILIO_OK);
    assert_int_equal(file->ops->truncate(file, 0, NULL), LILIO_OK);
    assert_int_equal(file->ops->write(file, &vector, 1, 0, NULL), LILIO_OK);
    base_file_close(&file);
}

static void sizes_and_golden_bytes(void **state)
{
    (void)state;
    struct base_disk *disk = disk_new(1);
    struct osd_superblock found;
    uint8_t bytes[OSD_SUPERBLOCK_BYTES];
    osd_superblock_encode(&second, bytes);
    assert_int_equal(codec_crc32c(0, bytes, sizeof bytes),
                     0x3510a26c); /* changing it is changing the format */
    for (size_t size = 0; size <= sizeof bytes; size += 128) {
        write_raw(disk, bytes, size);
        assert_int_equal(osd_superblock_read(disk, &found, NULL),
                         size >= 512 ? LILIO_OK : LILIO_E_CORRUPT);
    }
    base_disk_free(&disk);
}

static void newer_version_is_refused(void **state)
{
    (void)state;
    struct base_disk *disk = disk_new(1);
    struct osd_superblock found;
    uint8_t bytes[OSD_SUPERBLOCK_BYTES];
    for (int what = 0; what < 2; what++) {
        osd_superblock_encode(&second, bytes);
        for (size_t copy = 0; copy < sizeof bytes; copy += OSD_SUPERBLOCK_COPY) {
            uint8_t *at = bytes + copy;
            at[what ? 12 : 8] = 2; /* must-understand flag, version */
            memset(at + 16, 0, 4);
            uint32_t crc = codec_crc32c(0, at, 128);
            for (int i = 0; i < 4; i++)
                at[16 + i] = (uint8_t)(crc >> 8 * i);
        }
        write_raw(disk, bytes, sizeof bytes);
        assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_E_FORMAT);
    }
    base_disk_free(&disk);
}

static void power_fails_while_it_is_rewritten(void **state)
{
    (void)state;
    int old = 0, new = 0;
    for (uint64_t n = 1; n <= 8; n++) {
        for (uint64_t seed = 0; seed < 50; seed++) {
            struct base_disk *disk = disk_new(seed);
            struct osd_superblock found;
            assert_int_equal(osd_superblock_write(disk, &first, NULL), LILIO_OK);
            crash_disk_power_off_at(disk, n);
            enum lilio_err err = osd_superblock_write(disk, &second, NULL);
            crash_disk_power_off(disk);
            crash_disk_power_on(disk);
            assert_int_equal(osd_superblock_read(disk, &found, NULL), LILIO_OK);
            assert_true(same(&found, &second) || (err && same(&found, &first)));
            old += same(&found, &first);
            new += same(&found, &second);
            assert_int_equal(osd_superblock_write(disk, &second, NULL), LILIO_OK);
            base_disk_free(&disk);
        }
    }
    assert_true(old > 0 && new > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blank_then_written),
        cmocka_unit_test(flips),
        cmocka_unit_test(sizes_and_golden_bytes),
        cmocka_unit_test(newer_version_is_refused),
        cmocka_unit_test(power_fails_while_it_is_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
