#!/usr/bin/env python3
"""A coordinator whose folder is gone is replaced while clients write: how long that takes with large maps, and how much memory.

Three coordinators are filled with objects of 16 KiB, which they keep themselves, until their maps have the wanted size. Then clients
put and get registers (lilio-load), a follower is killed and its folder removed, and `coordinator replace` makes a new member that
pulls the whole state. Afterwards another coordinator is killed, so that nothing can be acknowledged without the new one. The history
is checked for linearizability (tests/cluster/history.py). Memory is VmHWM: the most a process ever had resident, filling included.

    tests/bench/replace.py [--gib 2] [--clients 4] [--limit-mib 256] [--bin build/release/bin] [--dir DIR] [--json]

Needs about five times --gib of disk. Exit code 1: the history is wrong, writes stood still, or the limit of memory was exceeded.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))
STILL_SECONDS = 10  # writes that pause so long stood still


def now_us():
    return int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)


def members(cluster):
    return {m["id"]: m for m in cluster.run("coordinator", "ls", "--json", code=None).json["coordinators"]}


def leader(cluster):
    return next((i for i, m in members(cluster).items() if m["role"] == "leader"), None)


def map_bytes(cluster, i):
    return lilio.disk_use(cluster.path(f"coordinator.{i}", "maps"))


def fill(cluster, want):
    begun = time.monotonic()
    while min(map_bytes(cluster, i) for i in range(3)) < want:
        cluster.run("bench", "put", "--size", "16KiB", "--concurrency", "32", "--seconds", "5s", "--keep", timeout=300)
    return time.monotonic() - begun


def peaks(cluster):
    found = {}
    for i in range(3):
        pid = cluster.pid(f"coordinator.{i}")
        if pid:
            found[i] = lilio.peak_rss(pid) >> 20
    return found


class Load:
    def __init__(self, cluster, program, clients):
        self.path = os.path.join(cluster.home, "history")
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen([program, cluster.path("lilio.yaml"), "load", str(clients), "16", "3600", "0", "1"], stdout=out)

    def ops(self):
        with open(self.path) as f:
            return history.parse(f)

    def acknowledged(self, begin_us, end_us):
        return sorted(op.end for op in self.ops() if op.kind == "put" and op.result == "ok" and begin_us <= op.end <= end_us)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()


def caught_up(cluster, i):
    found = members(cluster)
    return len(found) == 3 and found[i]["answers"] and found[i]["role"] == "follower" and found[i]["lag"] < 1000


def replace(cluster, load, i):
    """Kills and wipes coordinator i and waits until its replacement votes and has nearly everything."""
    cluster.kill(f"coordinator.{i}")
    shutil.rmtree(cluster.path(f"coordinator.{i}"))
    begin = now_us()
    cluster.run("coordinator", "replace", str(i), "--timeout", "10m", timeout=1200)
    voted = now_us()
    lilio.wait_until(lambda: caught_up(cluster, i), 600, "the new coordinator")
    end = now_us()
    ends = [begin] + load.acknowledged(begin, end) + [end]
    return {"replace_s": (voted - begin) / 1e6, "caught_up_s": (end - begin) / 1e6, "writes_per_s": (len(ends) - 2) * 1e6 / (end - begin),
            "longest_pause_s": max(b - a for a, b in zip(ends, ends[1:])) / 1e6}


def measure(options, cluster, load_program):
    result = {"fill_s": fill(cluster, options.gib * (1 << 30))}
    result["map_gib"] = min(map_bytes(cluster, i) for i in range(3)) / (1 << 30)
    cluster.run("mb", "load")
    load = Load(cluster, load_program, options.clients)
    try:
        time.sleep(5)
        quiet_from = now_us() - 4000000
        result["writes_per_s_before"] = len(load.acknowledged(quiet_from, now_us())) / 4
        first = leader(cluster)
        new = (first + 1) % 3
        result["leader"], result["replaced"] = first, new
        result.update(replace(cluster, load, new))
        result["map_gib_new"] = map_bytes(cluster, new) / (1 << 30)
        result["peak_mib"] = peaks(cluster)
        cluster.kill(f"coordinator.{3 - first - new}")
        alone = now_us()
        lilio.wait_until(lambda: len(load.acknowledged(alone + 100000, now_us())) > 100, 30, "writes that need the new coordinator")
        code = load.stop()
    finally:
        if load.process.poll() is None:
            load.process.kill()
            load.process.wait()
    ops = load.ops()
    wrong = history.check(ops)
    result.update({"operations": len(ops), "wrong": wrong[:20], "all_read_at_the_end": code == 0})
    result["good"] = not wrong and code == 0 and result["longest_pause_s"] < STILL_SECONDS and \
        max(result["peak_mib"].values()) < options.limit_mib and result["map_gib_new"] >= options.gib * 0.9
    return result


def report(result):
    print(f"maps of {result['map_gib']:.2f} GiB, filled in {result['fill_s']:.0f} s; leader coordinator.{result['leader']}, "
          f"coordinator.{result['replaced']} wiped and replaced")
    print(f"replaced after {result['replace_s']:.1f} s, caught up after {result['caught_up_s']:.1f} s, its maps {result['map_gib_new']:.2f} GiB")
    print(f"writes: {result['writes_per_s_before']:.0f}/s before, {result['writes_per_s']:.0f}/s meanwhile, longest pause "
          f"{result['longest_pause_s']:.2f} s")
    print("most memory: " + ", ".join(f"coordinator.{i} {mib} MiB" for i, mib in result["peak_mib"].items()))
    print(f"{result['operations']} operations: " + ("linearizable" if not result["wrong"] else "WRONG\n  " + "\n  ".join(result["wrong"])))
    print("each key was read at the end" if result["all_read_at_the_end"] else "NOT every key could be read at the end")


def main():
    global history, lilio
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--load", help="the program lilio-load (default: BIN/../tests/lilio-load)")
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--limit-mib", type=int, default=256)
    parser.add_argument("--dir", help="where the temporary folder is made")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["LILIO_BIN"] = os.path.abspath(options.bin)  # read when lilio is imported
    import history
    import lilio
    cluster = lilio.Cluster(folder=tempfile.mkdtemp(prefix="lilio-replace-", dir=options.dir), coordinators=3)
    try:
        result = measure(options, cluster, options.load or os.path.join(options.bin, "..", "tests", "lilio-load"))
    finally:
        cluster.close()
    if options.json:
        print(json.dumps(result))
    else:
        report(result)
    sys.exit(0 if result["good"] else 1)


if __name__ == "__main__":
    main()
