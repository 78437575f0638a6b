#include "osd/rebuild.h"

#include <stdio.h>

#include "base/bytes.h"
#include "osd/limits.h"

#include "base/banned.h"

enum { EXPLAIN_TEXT = 4096 };

struct codec_profile osd_rebuild_profile(const struct proto_data_row *row)
{
    return (struct codec_profile){
        .data_count = row->profile.data_count,
        .parity_count = row->profile.parity_count,
        .fragment_size = row->profile.fragment_size,
        .generator = row->profile.generator,
    };
}

static uint32_t total_of(const struct proto_data_row *row)
{
    return (uint32_t)row->profile.data_count + row->profile.parity_count;
}

uint64_t osd_rebuild_own(const struct proto_cluster_map *map, const struct proto_data_row *row,
                         uint32_t stripe, uint32_t self)
{
    uint64_t own = 0;
    for (uint32_t i = 0; i < total_of(row); i++)
        if (proto_fragment_osd(map, row, stripe, i) == self)
            own |= 1ull << i;
    return own;
}

bool osd_rebuild_is_up(const struct proto_cluster_map *map, uint32_t id)
{
    const struct proto_osd *osd = proto_map_osd(map, id);
    return osd && (osd->state == PROTO_OSD_UP || osd->state == PROTO_OSD_SUSPECT ||
                   osd->state == PROTO_OSD_FAILED);
}

/* Mask of the fragments that should be readable. */
static uint64_t likely(const struct proto_cluster_map *map, const struct proto_data_row *row,
                       uint32_t stripe)
{
    uint64_t missing = proto_row_missing(row, stripe) | proto_row_filling(map, row, stripe);
    uint64_t mask = 0;
    for (uint32_t i = 0; i < total_of(row); i++)
        if (!(missing >> i & 1) && osd_rebuild_is_up(map, proto_fragment_osd(map, row, stripe, i)))
            mask |= 1ull << i;
    return mask;
}

unsigned osd_rebuild_level(const struct proto_cluster_map *map, const struct proto_data_row *row,
                           uint32_t stripe, uint64_t own)
{
    unsigned others = (unsigned)__builtin_popcountll(likely(map, row, stripe) & ~own);
    return others < row->profile.data_count ? OSD_LEVEL_LOST : others - row->profile.data_count;
}

uint32_t osd_rebuild_source(const struct proto_cluster_map *map, const struct proto_data_row *row,
                            uint32_t stripe, uint32_t index, bool wanted, size_t turn)
{
    uint32_t owner = proto_fragment_osd(map, row, stripe, index);
    uint32_t before = proto_fragment_previous(map, row, stripe, index);
    uint64_t doubtful = proto_row_missing(row, stripe) | proto_row_filling(map, row, stripe);
    bool swap = doubtful >> index & 1 && osd_rebuild_is_up(map, before);
    if (turn >= OSD_SOURCE_TURNS) {
        size_t at = turn - OSD_SOURCE_TURNS;
        uint32_t id = at < map->osds_count ? map->osds[at].id : PROTO_OSD_NONE;
        return id == owner || (swap && id == before) || !osd_rebuild_is_up(map, id) ? PROTO_OSD_NONE
                                                                                    : id;
    }
    if (turn == 0)
        return swap ? before : wanted ? PROTO_OSD_NONE : owner;
    return swap && !wanted ? owner : PROTO_OSD_NONE;
}

/* ---- mending one fragment ---- */

void osd_mend_init(struct osd_mend *mend, const struct codec_coder *coder,
                   const struct proto_cluster_map *map, const struct proto_data_row *row,
                   uint32_t stripe, uint32_t index, uint64_t sources)
{
    uint64_t all = ((1ull << total_of(row)) - 1) & sources & ~(1ull << index);
    uint64_t up = likely(map, row, stripe);
    *mend = (struct osd_mend){
        .coder = coder,
        .data_count = row->profile.data_count,
        .wanted = 1ull << index,
        .copy = 1ull << index & sources,
        .first = all & up,
        .second = all & ~up,
    };
    for (size_t i = 0; i < CODEC_TOTAL_MAX; i++)
        mend->osds[i] = PROTO_OSD_NONE;
}

static bool decodes(const struct osd_mend *mend, uint64_t have)
{
    return have & mend->wanted || ((uint32_t)__builtin_popcountll(have) >= mend->data_count &&
                                   codec_can_decode(mend->coder, have));
}

bool osd_mend_copied(const struct osd_mend *mend)
{
    return mend->good & mend->wanted;
}

int osd_mend_next(struct osd_mend *mend)
{
    uint64_t *from = mend->copy ? &mend->copy : mend->first ? &mend->first : &mend->second;
    if (*from == 0 || decodes(mend, mend->good | mend->asked))
        return -1;
    int index = __builtin_ctzll(*from); /* data fragments have the low numbers */
    *from &= *from - 1;
    mend->asked |= 1ull << index;
    return index;
}

void osd_mend_result(struct osd_mend *mend, uint32_t index, uint32_t osd, enum lilio_err err)
{
    uint64_t bit = 1ull << index;
    mend->asked &= ~bit;
    if (!err) {
        mend->good |= bit;
        return;
    }
    if (!mend->searching) { /* else who should have it told more */
        mend->errs[index] = err;
        mend->osds[index] = osd;
    }
    enum lilio_err_class class = lilio_err_class(err);
    mend->failed |= bit;
    if (class == LILIO_CLASS_RETRY || class == LILIO_CLASS_REDIRECT)
        mend->passing |= bit;
}

enum osd_mend_state osd_mend_state(const struct osd_mend *mend)
{
    if (decodes(mend, mend->good))
        return OSD_MEND_READY;
    return mend->asked || mend->copy || mend->first || mend->second ? OSD_MEND_READING
                                                                    : OSD_MEND_STUCK;
}

void osd_mend_away(struct osd_mend *mend, uint32_t index)
{
    uint64_t bit = mend->passing & 1ull << index;
    mend->passing &= ~bit;
    mend->away |= bit;
}

/* True if every source that may do better is only busy. */
static bool only_busy(const struct osd_mend *mend)
{
    for (uint64_t left = mend->passing; left; left &= left - 1)
        if (mend->errs[__builtin_ctzll(left)] != LILIO_E_BUSY)
            return false;
    return true;
}

bool osd_mend_may_again(const struct osd_mend *mend, uint32_t *ret_wait_ms)
{
    if (!decodes(mend, mend->good | mend->passing))
        return false;
    bool busy = only_busy(mend);
    *ret_wait_ms = busy ? OSD_REBUILD_BUSY_MS : OSD_REBUILD_RETRY_MS;
    return busy ? mend->busy_rounds < OSD_REBUILD_BUSY_MAX : mend->rounds < OSD_REBUILD_ROUNDS;
}

void osd_mend_again(struct osd_mend *mend)
{
    if (only_busy(mend))
        mend->busy_rounds++;
    else
        mend->rounds++;
    uint64_t again = mend->passing | mend->away;
    mend->first |= again;
    mend->failed &= ~again;
    mend->passing = mend->away = 0;
}

void osd_mend_search(struct osd_mend *mend)
{
    mend->searching = true;
    mend->first = mend->failed;
    mend->copy = mend->wanted;
    mend->first &= ~mend->wanted;
    mend->failed = mend->passing = mend->away = 0;
}

void osd_mend_explain(const struct osd_mend *mend, char *ret_text, size_t room)
{
    char whole[EXPLAIN_TEXT] = "this stripe has no other fragments to decode it from";
    size_t at = 0;
    for (uint64_t left = mend->failed; left; left &= left - 1) {
        uint32_t index = (uint32_t)__builtin_ctzll(left);
        if (mend->osds[index] == PROTO_OSD_NONE)
            continue;
        int wrote =
            snprintf(whole + at, sizeof whole - at, "%sfragment %u at osd.%u: %s", at ? "; " : "",
                     index, mend->osds[index], lilio_err_text(mend->errs[index]));
        if (wrote < 0 || (size_t)wrote >= sizeof whole - at)
            break; /* more than anybody has room for */
        at += (size_t)wrote;
    }
    (void)lilio_text_fit(whole, strlen(whole), ret_text, room);
}

enum lilio_err osd_source_check(const struct proto_fragment *fragment, struct base_slice payload,
                                uint32_t length, uint32_t checksum, struct lilio_errinfo *info)
{
    uint32_t blocks = codec_block_count(length);
    uint32_t listed[CODEC_BLOCKS_MAX], found[CODEC_BLOCKS_MAX];
    if (fragment->payload_length != length || fragment->first_block != 0 ||
        payload.size != length || fragment->block_checksums.size != 4 * (size_t)blocks)
        return lilio_fail(info, LILIO_E_CORRUPT, "its length is not what the maps say");
    for (uint32_t i = 0; i < blocks; i++)
        listed[i] = base_le32_get(fragment->block_checksums.data + 4 * (size_t)i);
    if (codec_fragment_checksum(listed, blocks) != checksum)
        return lilio_fail(info, LILIO_E_CORRUPT, "its checksums are not those of the maps");
    codec_block_checksums(payload.data, length, found);
    if (memcmp(found, listed, 4 * (size_t)blocks) != 0)
        return lilio_fail(info, LILIO_E_CORRUPT, "its bytes do not match its checksums");
    return LILIO_OK;
}
