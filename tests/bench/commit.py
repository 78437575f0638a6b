#!/usr/bin/env python3
"""Small commits against a bare group commit over three nodes, alternating in one run; medians of the ratios.

The yardstick is a C program with the command line of `commit.c` (see --help): values of the same size, as many outstanding, three
processes, answered once a majority has synced, and no bookkeeping. lilio-ec runs three coordinators and six OSDs over sockets in a
temporary folder beside it; `lilio-ec bench put` stores objects that travel inside COMMIT. Each round, for each number in flight:

    yardstick | bench put

With one in flight the latency is also compared with a bare fdatasync of 4 KiB on the same disk. CPU is that of all processes of
lilio-ec per commit: where it times the commits per second nears the machine's cores, CPU is what limits.

    tests/bench/commit.py --commit-source COMMIT.C [--bin build/release/bin] [--rounds 5] [--seconds 3] [--dir DIR] [--json]
"""
import argparse
import json
import mmap
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def run(args, **kw):
    done = subprocess.run(args, capture_output=True, text=True, **kw)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def yardstick(program, folder, size, window, seconds):
    target = os.path.join(folder, "yardstick")
    os.makedirs(target, exist_ok=True)
    out = run([program, target, str(size), str(window), str(seconds)])
    shutil.rmtree(target)
    found = re.search(r"(\d+) ops/s, p50 (\d+) us", out)
    return {"ops": float(found[1]), "p50_us": float(found[2])}


def sync_us(folder):
    """Median of one fdatasync behind a direct write of 4 KiB into a file that was written before."""
    path = os.path.join(folder, "sync")
    with open(path, "wb") as f:
        f.write(bytes(1 << 20))
        os.fsync(f.fileno())
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    times = []
    for i in range(200):
        before = time.perf_counter()
        os.pwrite(fd, page, i % 256 * 4096)
        os.fdatasync(fd)
        times.append((time.perf_counter() - before) * 1e6)
    os.close(fd)
    os.unlink(path)
    return statistics.median(times)


def cpu_seconds(cluster):
    ticks = 0
    for name in os.listdir(os.path.join(cluster, "run")):
        if name.endswith(".pid"):
            with open(os.path.join(cluster, "run", name)) as f:
                pid = int(f.read().split()[0])
            with open(f"/proc/{pid}/stat") as f:
                words = f.read().rsplit(")", 1)[1].split()
            ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def commits(cli, cluster, size, window, seconds):
    before = cpu_seconds(cluster)
    answer = json.loads(run([cli, "bench", "put", "--size", str(size), "--concurrency", str(window), "--seconds", f"{seconds * 1000:.0f}ms", "--keep",
                             "--json", "--config", os.path.join(cluster, "lilio.yaml")]))
    if answer["errors"]:
        sys.exit(f"bench put: {answer['first_error']}")
    cpu = cpu_seconds(cluster) - before
    return {"ops": answer["ops_per_s"], "p50_us": answer["p50_ms"] * 1000, "daemon_cpu_us": cpu * 1e6 / answer["operations"],
            "client_cpu_us": answer["client_cpu_s"] * 1e6 / answer["operations"]}


def measure(options, program, cli, folder, cluster):
    rounds = {window: [] for window in options.windows}
    syncs = []
    for _ in range(options.rounds):
        syncs.append(sync_us(folder))
        for window in options.windows:
            bare = yardstick(program, folder, options.size, window, options.seconds)
            ours = commits(cli, cluster, options.size, window, options.seconds)
            rounds[window].append((bare, ours))
    result = {"size": options.size, "rounds": options.rounds, "sync_us": statistics.median(syncs)}
    for window, pairs in rounds.items():
        result[f"window_{window}"] = {
            "ratio": statistics.median(o["ops"] / b["ops"] for b, o in pairs),
            "ops_per_s": statistics.median(o["ops"] for _, o in pairs),
            "yardstick_ops_per_s": statistics.median(b["ops"] for b, _ in pairs),
            "p50_us": statistics.median(o["p50_us"] for _, o in pairs),
            "yardstick_p50_us": statistics.median(b["p50_us"] for b, _ in pairs),
            "p50_per_sync": statistics.median(o["p50_us"] / s for (_, o), s in zip(pairs, syncs)),
            "daemon_cpu_us": statistics.median(o["daemon_cpu_us"] for _, o in pairs),
            "client_cpu_us": statistics.median(o["client_cpu_us"] for _, o in pairs)}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit-source", required=True, help="commit.c or a program like it")
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--windows", type=lambda text: [int(w) for w in text.split(",")], default=[64, 1], help="default 64,1")
    parser.add_argument("--dir", help="where the temporary folder is made: on the disk that is to be measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="lilio-commit-", dir=options.dir)
    cli, cluster = os.path.join(os.path.abspath(options.bin), "lilio-ec"), os.path.join(folder, "c")
    program = os.path.join(folder, "commit")
    try:
        run(["cc", "-O2", options.commit_source, "-o", program, "-lzmq", "-lpthread"])
        run([cli, "up", "--dir", cluster, "--coordinators", "3", "--detach"])
        result = measure(options, program, cli, folder, cluster)
    finally:
        subprocess.run([cli, "down", "--dir", cluster], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(result))
        return
    print(f"one fdatasync: {result['sync_us']:.0f} us")
    for window in options.windows:
        found = result[f"window_{window}"]
        print(f"{options.size} B, {window} in flight: {found['ops_per_s']:.0f} commits/s, {found['ratio']:.2f} of "
              f"{found['yardstick_ops_per_s']:.0f}; p50 {found['p50_us']:.0f} us ({found['p50_per_sync']:.1f} syncs; yardstick "
              f"{found['yardstick_p50_us']:.0f} us); CPU per commit {found['daemon_cpu_us']:.0f} us daemons, "
              f"{found['client_cpu_us']:.0f} us client")


if __name__ == "__main__":
    main()
