#!/usr/bin/env python3
"""A thousand objects beyond saving among a hundred thousand: are they named, and is all the rest healed?

A cluster of 3 coordinators and 6 OSDs (4+2) is filled with small objects. Of --lost of them, so many fragments get a flipped bit that
they cannot be decoded any more; of --hurt others, one or two. `verify` has to meet them all, repair to mend those that can be mended,
`damage` to name exactly the others. Then a disk is lost: `osd rebuild` has to bring back everything but what is lost, say what it
could not, and every other object must prove whole (`verify` reads every fragment).

    tests/bench/many.py [--objects 100000] [--lost 1000] [--hurt 2000] [--seed 1] [--bin build/release/bin] [--dir DIR] [--json]

Needs some 50 kB of disk an object. Exit code 1: something was not named, wrongly named, not healed, or wrong.
"""
import argparse
import glob
import json
import os
import random
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))
import lilio  # noqa: E402

DATA, PARITY = 4, 2
RECORD_ALIGN, HEADER_LENGTH_AT, KEY_LENGTH_AT, FRAGMENT_AT, KEY_AT = 512, 16, 38, 108, 200


def say(text):
    print(text, file=sys.stderr, flush=True)


def fill(cluster, count):
    """Objects above what coordinators keep themselves. Returns their names."""
    names = []
    while len(names) < count:
        bench = cluster.run("bench", "put", "--size", "17KiB", "--concurrency", "32", "--seconds", "10s", "--keep", "--json", timeout=600).json
        bucket = bench["bucket"]
        listing = cluster.run("ls", bucket, "--json", "--recursive", timeout=600)
        names += [f"{bucket}/{entry['key']}" for entry in listing.json["entries"]]
        say(f"{len(names)} of {count} objects are stored")
    return names


def find_fragments(cluster, keys):
    """Where the payloads of some keys' fragments begin: {key: [(OSD, fragment, path, offset)]}. As docs/formats/disk.md says."""
    found = {key: [] for key in keys}
    for osd in range(DATA + PARITY):
        for path in cluster.segments(osd):
            with open(path, "rb") as f:
                data = f.read()
            at = -RECORD_ALIGN
            while (at := data.find(b"LREC", at + RECORD_ALIGN)) >= 0:
                if at % RECORD_ALIGN or data[at + 6] != 1:
                    continue
                header, = struct.unpack_from("<I", data, at + HEADER_LENGTH_AT)
                length, = struct.unpack_from("<H", data, at + KEY_LENGTH_AT)
                fragment, = struct.unpack_from("<I", data, at + FRAGMENT_AT)
                key = data[at + KEY_AT:at + KEY_AT + length]
                if key in found:
                    found[key].append((osd, fragment, path, at + header))
    return found


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset + 100)
        byte = f.read(1)[0]
        f.seek(offset + 100)
        f.write(bytes([byte ^ 4]))


def hurt(cluster, names, how_many, rng):
    """Flips a bit in so many fragments of each."""
    keys = {name.split("/", 1)[1].encode(): name for name in names}
    if len(keys) != len(names):
        raise SystemExit("two buckets share a key")
    for key, fragments in find_fragments(cluster, keys).items():
        if len({fragment for _, fragment, _, _ in fragments}) != DATA + PARITY:
            raise SystemExit(f"{keys[key]}: {len(fragments)} fragments found")
        for _, _, path, offset in rng.sample(fragments, how_many(rng)):
            flip(path, offset)


def damaged(cluster):
    """What `damage` lists: {name: state}."""
    result = cluster.run("damage", "--json", timeout=600, code=None).json
    return {f"{o['bucket']}/{o['key']}": o for o in result["objects"]}


def settled(cluster, lost):
    """Repair mended all it could."""
    begun = time.monotonic()
    lilio.wait_until(lambda: cluster.status()["repair_rows"] == lost, 1800, f"{lost} repair rows to be left")
    return time.monotonic() - begun


def check(condition, text, problems):
    say(("ok   " if condition else "WRONG ") + text)
    if not condition:
        problems.append(text)


def verify(cluster):
    begun = time.monotonic()
    result = cluster.run("verify", "--json", timeout=3600, code=None).json
    named = {state: {f"{o['bucket']}/{o['key']}" for o in result["objects"] if o["state"] == state} for state in
             {o["state"] for o in result["objects"]}}
    return named, time.monotonic() - begun


def run(cluster, options):
    rng = random.Random(options.seed)
    problems, report = [], {}
    names = fill(cluster, options.objects)
    report["objects"] = len(names)
    chosen = rng.sample(names, options.lost + options.hurt)
    lost, others = set(chosen[:options.lost]), chosen[options.lost:]
    hurt(cluster, sorted(lost), lambda r: r.randint(PARITY + 1, DATA + PARITY), rng)
    hurt(cluster, others, lambda r: r.randint(1, PARITY), rng)
    say(f"{len(lost)} objects were hurt beyond saving, {len(others)} otherwise")

    named, report["verify_seconds"] = verify(cluster)
    check(named.get("lost") == lost and sum(map(len, named.values())) == len(chosen),
          "verify names " + ", ".join(f"{len(names)} {state}" for state, names in named.items()), problems)
    report["repair_seconds"] = settled(cluster, len(lost))
    listed = damaged(cluster)
    check(set(listed) == lost, f"damage names {len(listed)} objects: {len(set(listed) & lost)} of the lost, "
          f"{len(set(listed) - lost)} others", problems)
    for name in rng.sample(others, min(200, len(others))):
        cluster.run("get", name, os.devnull)

    victim = rng.randrange(DATA + PARITY)
    cluster.kill(f"osd.{victim}")
    cluster.wipe_osd(victim)
    begun = time.monotonic()
    rebuild = cluster.run("osd", "rebuild", str(victim), timeout=3600, code=None)
    report["rebuild_seconds"] = time.monotonic() - begun
    report["rebuild_code"] = rebuild.code
    say(f"osd rebuild {victim}: exit {rebuild.code}, {rebuild.err.strip().splitlines()[-1] if rebuild.err.strip() else ''}")
    settled(cluster, len(lost))
    listed = damaged(cluster)
    check(set(listed) == lost, f"after the rebuild damage names {len(listed)}: {len(set(listed) & lost)} of the lost", problems)
    named, report["last_verify_seconds"] = verify(cluster)
    check(named == {"lost": lost}, "every other one is whole; verify names " +
          ", ".join(f"{len(names)} {state}" for state, names in named.items()), problems)
    for name in rng.sample(sorted(lost), min(100, len(lost))):
        code = cluster.run("get", name, os.devnull, code=None).code
        if code != lilio.LOST:
            problems.append(f"get {name}: exit {code}")
    for name in rng.sample(sorted(lost), min(20, len(lost))):
        cluster.run("rm", name)
        lost.discard(name)
    lilio.wait_until(lambda: set(damaged(cluster)) == lost, 120, "the removed ones to be named no more")
    report["peak_rss_mib"] = {name: lilio.peak_rss(cluster.pid(name)) >> 20 for name in cluster.names() if cluster.pid(name)}
    return report, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100000)
    parser.add_argument("--lost", type=int, default=1000)
    parser.add_argument("--hurt", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bin")
    parser.add_argument("--dir")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.bin:
        lilio.BIN = os.path.abspath(options.bin)
    if not glob.glob(os.path.join(lilio.BIN, "lilio-ec")):
        parser.error(f"{lilio.BIN} has no lilio-ec: build, or name it with --bin")
    with tempfile.TemporaryDirectory(dir=options.dir, prefix="lilio-many-") as folder:
        cluster = lilio.Cluster(os.path.join(folder, "cluster"), coordinators=3, osds=DATA + PARITY)
        try:
            report, problems = run(cluster, options)
        finally:
            cluster.close(False)
    print(json.dumps(report | {"problems": problems}) if options.json else
          "\n".join(f"{name}: {value}" for name, value in report.items()))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
