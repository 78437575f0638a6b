/* The file, little-endian:
 *
 *     0  magic "LLSCRUB\0"     8  version (2)      12  zero
 *    16  cluster id           32  disk uuid
 *    48  how long it ran, in ms (8 bytes)
 *    56  light, deep: 34 numbers of 8 bytes each: flags, oid high, oid low, numbers_of();
 *        version 1 has the first 30 of them
 *   end  CRC32C of all before
 */
#include "osd/scrub_round.h"

#include "codec/codec.h"
#include "osd/file.h"

#include "base/banned.h"

#define NAME "scrub"

enum {
    VERSION = 2,
    HEAD_BYTES = 56,
    SUM_BYTES = 4,
    COUNTS = 8,
    NUMBERS = 31,
    NUMBERS_1 = 27, /* of version 1 */
    FIRST = 3,      /* before the numbers: flags and oid */
};
enum { FLAG_RUNNING = 1, FLAG_ORDERED = 2 };
static const uint8_t magic[8] = "LLSCRUB";
/* A file with larger numbers was not written by us; below it sums do not overflow. */
static const uint64_t number_most = UINT64_C(1) << 60;

static uint64_t since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

/* a * b / c, as good as is needed and without overflow. */
static uint64_t part(uint64_t a, uint64_t b, uint64_t c)
{
    double made = (double)a * (double)b / (double)c;
    return made < (double)number_most ? (uint64_t)made : number_most;
}

/* ---- rounds ---- */

void osd_scrub_round_begin(struct osd_scrub_round *round, uint64_t fragments, uint64_t bytes,
                           uint64_t ran_ms, uint64_t wall_ms)
{
    round->running = true;
    round->ordered = false;
    round->rate = 0;
    round->started_ms = ran_ms;
    round->started_wall_ms = wall_ms;
    round->index = round->epoch = round->stripes_ever = 0;
    round->cursor = (struct base_oid){0, 0};
    round->expected = fragments;
    round->expected_bytes = bytes;
    round->counts = (struct osd_scrub_counts){0};
}

void osd_scrub_round_grow(struct osd_scrub_round *round, uint64_t fragments, uint64_t bytes)
{
    round->expected = fragments > round->expected ? fragments : round->expected;
    round->expected_bytes = bytes > round->expected_bytes ? bytes : round->expected_bytes;
}

void osd_scrub_round_pinned(struct osd_scrub_round *round, uint64_t index, uint64_t epoch,
                            uint64_t stripes_ever)
{
    if (round->index > 0)
        return; /* a later page */
    round->index = index;
    round->epoch = epoch;
    round->stripes_ever = stripes_ever;
}

void osd_scrub_round_void(struct osd_scrub_round *round)
{
    round->epoch = 0;
}

bool osd_scrub_round_counts(const struct osd_scrub_round *round)
{
    return round->epoch > 0 || round->index == 0;
}

void osd_scrub_void_all(struct osd_scrub_state *state)
{
    for (size_t i = 0; i < OSD_SCRUB_KINDS; i++)
        state->rounds[i].epoch = state->rounds[i].last_epoch = 0;
}

void osd_scrub_void_hurt(struct osd_scrub_state *state)
{
    for (size_t i = 0; i < OSD_SCRUB_KINDS; i++) {
        struct osd_scrub_round *round = &state->rounds[i];
        if (round->counts.bad + round->counts.unread > 0)
            osd_scrub_round_void(round);
        if (round->last.bad + round->last.unread > 0)
            round->last_epoch = 0;
    }
}

uint64_t osd_scrub_index(const struct osd_scrub_state *state)
{
    uint64_t most = 0;
    for (size_t i = 0; i < OSD_SCRUB_KINDS; i++) {
        const struct osd_scrub_round *round = &state->rounds[i];
        if (round->running && round->epoch > 0 && round->index > most)
            most = round->index;
        if (round->last_epoch > 0 && round->last_index > most)
            most = round->last_index;
    }
    return most;
}

void osd_scrub_round_end(struct osd_scrub_round *round, uint64_t wall_ms)
{
    round->running = round->ordered = false;
    round->rate = 0;
    round->rounds++;
    round->last_started_ms = round->started_ms;
    round->last_started_wall_ms = round->started_wall_ms;
    round->last_ended_wall_ms = wall_ms;
    round->last_index = round->index;
    round->last_epoch = round->epoch;
    round->last_stripes_ever = round->stripes_ever;
    round->last = round->counts;
}

bool osd_scrub_round_due(const struct osd_scrub_round *round, uint64_t period_ms, uint64_t ran_ms)
{
    return period_ms > 0 && !round->running &&
           (round->rounds == 0 || since(ran_ms, round->last_started_ms) >= period_ms);
}

/* ---- coverage ---- */

uint64_t osd_scrub_met(const struct osd_scrub_counts *counts)
{
    return counts->good + counts->bad + counts->unread;
}

uint64_t osd_scrub_expected(const struct osd_scrub_round *round)
{
    uint64_t met = osd_scrub_met(&round->counts);
    uint64_t least = met + round->running; /* it has not ended: there may be more */
    return least > round->expected ? least : round->expected;
}

uint32_t osd_scrub_permille(uint64_t looked_at, uint64_t of)
{
    uint64_t permille = looked_at >= of ? 1000 : part(looked_at, 1000, of);
    return looked_at < of && permille > 999 ? 999 : (uint32_t)permille;
}

uint64_t osd_scrub_eta_ms(const struct osd_scrub_round *round, uint64_t met_before,
                          uint64_t elapsed_ms)
{
    uint64_t met = osd_scrub_met(&round->counts), done = since(met, met_before);
    if (done == 0 || elapsed_ms == 0)
        return 0;
    return part(elapsed_ms, osd_scrub_expected(round) - met, done) + 1;
}

/* ---- pace ---- */

/* At least a 64th of the time and of the bytes are taken to be left, however late it is. */
uint64_t osd_scrub_needed(const struct osd_scrub_round *round, uint64_t period_ms, uint64_t ran_ms)
{
    if (period_ms == 0)
        return 0;
    uint64_t aim = period_ms - period_ms / 8, passed = since(ran_ms, round->started_ms);
    uint64_t left_ms = since(aim, passed), least_ms = aim / 64 + 1;
    uint64_t left = since(round->expected_bytes, round->counts.bytes),
             least = round->expected_bytes / 64;
    uint64_t rate =
        part(left > least ? left : least, 1000, left_ms > least_ms ? left_ms : least_ms);
    return rate > OSD_SCRUB_RATE_MIN ? rate : OSD_SCRUB_RATE_MIN;
}

uint64_t osd_scrub_limit(const struct osd_scrub_round *round, uint64_t needed, bool clients,
                         uint64_t idle_rate)
{
    if (!round->ordered)
        return needed;
    uint64_t share = part(idle_rate, OSD_SCRUB_SHARE, 100);
    uint64_t beside = share > needed ? share : needed;
    if (!clients)
        return round->rate;
    return round->rate && round->rate < beside ? round->rate : beside;
}

uint64_t osd_scrub_cost(const struct osd_scrub_round *round, uint64_t length, uint32_t others)
{
    return round->ordered ? length * (1 + (uint64_t)others) : length;
}

/* ---- the file ---- */

static void counts_of(struct osd_scrub_counts *counts, uint64_t *ret[COUNTS])
{
    uint64_t *all[COUNTS] = {&counts->good,        &counts->bad,           &counts->unread,
                             &counts->gone,        &counts->bytes,         &counts->stripes,
                             &counts->stripes_bad, &counts->stripes_unread};
    memcpy(ret, all, sizeof all);
}

/* All numbers of a round but its flags and oid, in their order. */
static void numbers_of(struct osd_scrub_round *round, uint64_t *ret[NUMBERS])
{
    uint64_t *all[] = {&round->rate,
                       &round->started_ms,
                       &round->started_wall_ms,
                       &round->index,
                       &round->expected,
                       &round->expected_bytes,
                       &round->rounds,
                       &round->last_started_ms,
                       &round->last_started_wall_ms,
                       &round->last_ended_wall_ms,
                       &round->last_index};
    uint64_t *later[] = {&round->epoch, &round->stripes_ever, &round->last_epoch,
                         &round->last_stripes_ever};
    enum { FIRSTS = sizeof all / sizeof *all, LATERS = sizeof later / sizeof *later };
    _Static_assert(FIRSTS + 2 * COUNTS == NUMBERS_1 && NUMBERS_1 + LATERS == NUMBERS,
                   "a number has no place");
    memcpy(ret, all, sizeof all);
    counts_of(&round->counts, ret + FIRSTS);
    counts_of(&round->last, ret + FIRSTS + COUNTS);
    memcpy(ret + NUMBERS_1, later, sizeof later);
}

static size_t round_bytes(size_t count)
{
    return 8 * (FIRST + count);
}

static void round_encode(const struct osd_scrub_round *round, uint8_t *at)
{
    struct osd_scrub_round copy = *round;
    uint64_t *numbers[NUMBERS];
    numbers_of(&copy, numbers);
    base_le64_put(at, (round->running ? FLAG_RUNNING : 0) | (round->ordered ? FLAG_ORDERED : 0));
    base_le64_put(at + 8, round->cursor.high);
    base_le64_put(at + 16, round->cursor.low);
    for (size_t i = 0; i < NUMBERS; i++)
        base_le64_put(at + 8 * (FIRST + i), *numbers[i]);
}

static enum lilio_err round_decode(struct osd_scrub_round *round, const uint8_t *at, size_t count)
{
    uint64_t flags = base_le64_get(at), *numbers[NUMBERS];
    if (flags > (FLAG_RUNNING | FLAG_ORDERED) || flags == FLAG_ORDERED)
        return LILIO_E_CORRUPT;
    *round = (struct osd_scrub_round){
        .running = flags & FLAG_RUNNING,
        .ordered = flags & FLAG_ORDERED,
        .cursor = {base_le64_get(at + 8), base_le64_get(at + 16)},
    };
    numbers_of(round, numbers);
    for (size_t i = 0; i < count; i++) {
        *numbers[i] = base_le64_get(at + 8 * (FIRST + i));
        if (*numbers[i] >= number_most)
            return LILIO_E_CORRUPT;
    }
    return LILIO_OK;
}

void osd_scrub_encode(const struct osd_scrub_state *state, uint8_t ret[OSD_SCRUB_FILE_BYTES])
{
    memcpy(ret, magic, sizeof magic);
    base_le32_put(ret + 8, VERSION);
    base_le32_put(ret + 12, 0);
    memcpy(ret + 16, state->cluster_id.bytes, 16);
    memcpy(ret + 32, state->disk_uuid.bytes, 16);
    base_le64_put(ret + 48, state->ran_ms);
    for (size_t i = 0; i < OSD_SCRUB_KINDS; i++)
        round_encode(&state->rounds[i], ret + HEAD_BYTES + i * round_bytes(NUMBERS));
    size_t covered = OSD_SCRUB_FILE_BYTES - SUM_BYTES;
    base_le32_put(ret + covered, codec_crc32c(0, ret, covered));
}

enum lilio_err osd_scrub_decode(struct osd_scrub_state *state, struct base_slice bytes)
{
    struct osd_scrub_state made = *state;
    enum lilio_err err = LILIO_OK;
    if (bytes.size < HEAD_BYTES + SUM_BYTES || memcmp(bytes.data, magic, sizeof magic) != 0)
        return LILIO_E_CORRUPT;
    size_t covered = bytes.size - SUM_BYTES;
    if (codec_crc32c(0, bytes.data, covered) != base_le32_get(bytes.data + covered))
        return LILIO_E_CORRUPT;
    uint32_t version = base_le32_get(bytes.data + 8);
    if (version < 1 || version > VERSION)
        return LILIO_E_FORMAT;
    size_t count = version == 1 ? NUMBERS_1 : NUMBERS;
    if (covered != HEAD_BYTES + OSD_SCRUB_KINDS * round_bytes(count))
        return LILIO_E_CORRUPT;
    if (memcmp(bytes.data + 16, state->cluster_id.bytes, 16) != 0 ||
        memcmp(bytes.data + 32, state->disk_uuid.bytes, 16) != 0)
        return LILIO_E_FOREIGN;
    made.ran_ms = base_le64_get(bytes.data + 48);
    if (made.ran_ms >= number_most)
        return LILIO_E_CORRUPT;
    for (size_t i = 0; i < OSD_SCRUB_KINDS && !err; i++)
        err =
            round_decode(&made.rounds[i], bytes.data + HEAD_BYTES + i * round_bytes(count), count);
    if (!err)
        *state = made;
    return err;
}

enum lilio_err osd_scrub_load(struct osd_scrub_state *state, struct base_disk *disk,
                              struct lilio_errinfo *info)
{
    struct base_buffer bytes = {0};
    enum lilio_err err = osd_file_load(disk, NAME, OSD_SCRUB_FILE_BYTES, &bytes, info);
    if (!err && (err = osd_scrub_decode(state, base_buffer_slice(&bytes))))
        (void)lilio_fail(info, err, "%s: %s", NAME, lilio_err_text(err)); /* returned below */
    base_buffer_release(&bytes);
    return err;
}

enum lilio_err osd_scrub_save(const struct osd_scrub_state *state, struct base_disk *disk,
                              struct lilio_errinfo *info)
{
    uint8_t bytes[OSD_SCRUB_FILE_BYTES];
    osd_scrub_encode(state, bytes);
    return osd_file_replace(disk, NAME, base_slice(bytes, sizeof bytes), info);
}

/* ---- for others ---- */

/* The wall clock goes on while the OSD does not run, and may be set back. */
static uint64_t oldest_ms(const struct osd_scrub_round *round, uint64_t wall_ms, uint64_t ran_ms)
{
    uint64_t wall = since(wall_ms, round->last_started_wall_ms),
             ran = since(ran_ms, round->last_started_ms);
    return wall > ran ? wall : ran;
}

void osd_scrub_line(const struct osd_scrub_round *round, enum osd_scrub_kind kind, uint64_t wall_ms,
                    uint64_t ran_ms, struct proto_scrub_line *ret)
{
    *ret = (struct proto_scrub_line){
        .kind = (uint8_t)(kind + 1),
        .rounds = round->rounds,
    };
    if (round->running) {
        ret->state = OSD_SCRUB_RUNS;
        ret->ordered = round->ordered;
        ret->round_ms = since(wall_ms, round->started_wall_ms);
        ret->expected = osd_scrub_expected(round);
        ret->good = round->counts.good;
        ret->bad = round->counts.bad;
        ret->unread = round->counts.unread;
        ret->bytes = round->counts.bytes;
        ret->stripes = round->counts.stripes;
        ret->stripes_bad = round->counts.stripes_bad;
        ret->stripes_unread = round->counts.stripes_unread;
    }
    if (round->rounds == 0)
        return;
    ret->ended_ms = since(wall_ms, round->last_ended_wall_ms);
    ret->oldest_ms = oldest_ms(round, wall_ms, ran_ms);
    ret->last_index = round->last_index;
    ret->last_good = round->last.good;
    ret->last_bad = round->last.bad;
    ret->last_unread = round->last.unread;
    ret->last_stripes_bad = round->last.stripes_bad;
    ret->last_stripes_unread = round->last.stripes_unread;
    ret->last_epoch = round->last_epoch;
    ret->last_stripes_ever = round->last_stripes_ever;
}
