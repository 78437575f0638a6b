#!/usr/bin/env python3
"""What repair takes from clients at each priority, what it keeps itself, and how true its time to go is.

A real cluster (1 coordinator, 12 OSDs, 4+2, ipc) in a temporary folder is filled. Each round, with clients that get (or put) as fast as
they can wherever it says so:

    healthy: clients | an OSD is killed: clients, degraded | it is out, its slots fill: no clients (the idle rate) |
    at normal: clients | at another priority, or with puts: clients | full again: clients

Client figures are MB/s against the mean of healthy before and after in the same round; those of repair are bytes of fragments mended a
second against the idle rate of the same round. Medians over the rounds: on a machine with other work the single figures mean little.
The time to go is what `status' said when 10, 25 and 50 % of a fill were done, against
what it took then; it has runs of its own (--eta), at low beside clients and at max without them.

    tests/bench/dial.py [--rounds 5] [--seconds 4] [--gib 24] [--eta] [--bin build/release/bin] [--dir DIR] [--json]
"""
import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))
OSDS = 12
TURNS = ("normal put", "high get", "normal put", "max get", "low get", "normal put")
OUT_MS = 4000


def up(folder, gib, out_ms):
    cluster = lilio.Cluster(folder=folder, osds=OSDS, profile="4+2", gc_grace="1s")
    cluster.configure(down_ms=2000, out_ms=out_ms)
    report = cluster.run("bench", "get", "--size", "8MiB", "--set-bytes", f"{gib}GiB", "--objects", str(gib * 128), "--seconds", "1",
                         "--keep", "--json", timeout=600).json
    return cluster, report["bucket"]


def clients(cluster, what, seconds, bucket):
    more = ["--bucket", bucket] if what == "get" else []
    report = cluster.run("bench", what, "--size", "8MiB", "--concurrency", "4", "--seconds", str(seconds), "--json", *more,
                         timeout=seconds + 120).json
    if report["errors"]:
        sys.exit(f"bench {what} had errors: {report}")
    return report["mb_per_s"]


def settle(what):
    if what == "put":
        time.sleep(3)  # its bucket is gone, and its bytes go now


def mended(cluster):
    return cluster.run("repair", "--json").json["written_bytes"]


def filling(status):
    return sum(o["filling_slots"] for o in status["osds"])


def states(status):
    return [o["state"] for o in status["osds"]]


class Watch(threading.Thread):
    """(seconds, mended bytes) until it is stopped or nothing is left to be mended."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.samples, self.over = cluster, [], False

    def run(self):
        while not self.over:
            self.samples.append((time.monotonic(), mended(self.cluster)))
            time.sleep(0.3)

    def rate(self):
        """MB/s between the first and the last growth that was seen: it comes in lumps, with heartbeats."""
        self.over = True
        self.join()
        grown = [b for a, b in zip(self.samples, self.samples[1:]) if b[1] > a[1]]
        if len(grown) < 2:
            return 0.0
        return (grown[-1][1] - grown[0][1]) / (grown[-1][0] - grown[0][0]) / 1e6


def alone(cluster, what, seconds, bucket):
    rate = clients(cluster, what, seconds, bucket)
    settle(what)
    return rate


def beside(cluster, what, seconds, bucket):
    clients(cluster, "get", 2, bucket)  # until every OSD has seen that there are some
    watch = Watch(cluster)
    watch.start()
    try:
        found = clients(cluster, what, seconds, bucket), watch.rate()
    finally:
        watch.over = True
    settle(what)
    return found


def kill_and_wait(cluster, osd, state):
    lilio.wait_until(lambda: states(cluster.status())[osd] == state, 60, f"osd.{osd} to be {state}")


def wait_full(cluster):
    cluster.run("repair", "--priority", "max")
    lilio.wait_until(lambda: not filling(cluster.status()) and not cluster.status()["repair_rows"], 600, "all slots to be filled")
    cluster.run("repair", "--priority", "normal")


def one_round(args, cluster, bucket, osd, turn):
    priority, what = turn.split()
    kinds = sorted({"get", what})
    before = {kind: alone(cluster, kind, args.seconds, bucket) for kind in kinds}
    cluster.kill_osds(osd)
    kill_and_wait(cluster, osd, "down")
    degraded = clients(cluster, "get", args.seconds, bucket)
    kill_and_wait(cluster, osd, "out")
    lilio.wait_until(lambda: filling(cluster.status()) > 0, 60, "slots to move")
    begin = mended(cluster)
    lilio.wait_until(lambda: mended(cluster) > begin, 60, "slots to fill")
    watch = Watch(cluster)
    watch.start()
    time.sleep(3)
    idle = watch.rate()
    got = {"normal get": beside(cluster, "get", args.seconds, bucket)}
    cluster.run("repair", "--priority", priority)
    got[turn] = beside(cluster, what, args.seconds, bucket)
    wait_full(cluster)
    cluster.wipe_osd(osd)
    cluster.up()  # blank: nobody waits for it any more, and the next one may go
    after = {kind: alone(cluster, kind, args.seconds, bucket) for kind in kinds}
    healthy = {kind: (before[kind] + after[kind]) / 2 for kind in kinds}
    found = {"idle repair MB/s": idle, "healthy get MB/s": healthy["get"], "degraded get": degraded / healthy["get"]}
    for name, (mb, rate) in got.items():
        kind = name.split()[1]
        found[f"{name}: clients"] = mb / healthy[kind]
        found[f"{name}: repair"] = rate / idle
        if kind == "get":
            found[f"{name}: clients of degraded"] = mb / degraded
    return found


# ---- time to go ----

def spoken(status):
    """What status says of the fills; None: it is not known."""
    return tuple(status[f"fill_eta{which}_ms"] / 1e3 for which in ("", "_low", "_high")) if status["fill_eta_ms"] else None


def eta_round(cluster, bucket, osd, load):
    """Kills an OSD and writes down what is said until its slots are full elsewhere."""
    cluster.run("repair", "--priority", "low" if load else "max")
    process = load and cluster.start("bench", "get", "--bucket", bucket, "--size", "8MiB", "--concurrency", "2", "--seconds", "600", "--json")
    time.sleep(3)  # until every OSD has seen that there are clients
    cluster.kill_osds(osd)
    lilio.wait_until(lambda: filling(cluster.status()) > 0, 60, "slots to move")
    said, start = [], mended(cluster)
    while True:
        status = cluster.status()
        if not filling(status):
            break
        said.append((time.monotonic(), mended(cluster) - start, spoken(status)))
        time.sleep(0.2)
    end = time.monotonic()
    if process:
        process.terminate()
        process.communicate()
    total = mended(cluster) - start
    cluster.wipe_osd(osd)
    cluster.up()
    lines = []
    for part in (0.1, 0.25, 0.5):
        at, _, eta = next(s for s in said if s[1] >= part * total)
        lines.append({"done": part, "said_s": eta and eta[0], "low_s": eta and eta[1], "high_s": eta and eta[2], "was_s": end - at})
    begun = next(s[0] for s in said if s[1] > 0)
    known = next((s for s in said if s[2]), None)
    return {"took_s": end - begun, "bytes": total, "first_known_at": known and known[1] / total, "lines": lines}


def eta_print(name, found):
    print(f"{name}: {found['bytes'] / 1e6:.0f} MB in {found['took_s']:.1f} s"
          + (f"; first told at {found['first_known_at'] * 100:.0f} %" if found["first_known_at"] is not None else "; never told"))
    for line in found["lines"]:
        said = f"{line['said_s']:6.1f} s ({line['low_s']:.1f} to {line['high_s']:.1f})" if line["said_s"] else "not known"
        off = f", {line['said_s'] / line['was_s'] * 100 - 100:+.0f} %" if line["said_s"] else ""
        print(f"  at {line['done'] * 100:3.0f} %: said {said}, it was {line['was_s']:.1f} s{off}")


def main():
    global lilio
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="build/release/bin", help="folder of the programs")
    p.add_argument("--dir", help="folder on the disk to measure (default: a temporary one)")
    p.add_argument("--rounds", type=int, default=5, choices=range(1, 7), help="an OSD each; six have to stay")
    p.add_argument("--seconds", type=int, default=4, help="of each phase")
    p.add_argument("--gib", type=int, default=24, help="of objects; with less OSDs are done before they are measured")
    p.add_argument("--eta", action="store_true", help="measure the time to go instead")
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    os.environ["LILIO_BIN"] = os.path.abspath(args.bin)
    import lilio
    home = tempfile.mkdtemp(prefix="lilio-dial-", dir=args.dir)
    rounds = []
    cluster = None
    try:
        cluster, bucket = up(home, args.gib, OUT_MS if args.eta else OUT_MS + 1000 * args.seconds)
        if args.eta:
            result = {}
            for osd, (name, load) in enumerate((("clients, low", True), ("no clients, max", False)), start=1):
                result[name] = eta_round(cluster, bucket, osd, load)
                print(f"{name}: {result[name]}", file=sys.stderr, flush=True)
        else:
            for i in range(args.rounds):
                rounds.append(one_round(args, cluster, bucket, 1 + i, TURNS[i]))
                print(f"round {i + 1}: " + ", ".join(f"{k} {v:.2f}" for k, v in rounds[-1].items()), file=sys.stderr, flush=True)
            result = {k: statistics.median(r[k] for r in rounds if k in r) for k in sorted(set().union(*rounds))}
    finally:
        if cluster:
            cluster.close()
        shutil.rmtree(home, ignore_errors=True)
    if args.json:
        print(json.dumps(result))
    elif args.eta:
        for name, found in result.items():
            eta_print(name, found)
    else:
        for k, v in result.items():
            print(f"{k:34} {v:9.2f}")


if __name__ == "__main__":
    main()
