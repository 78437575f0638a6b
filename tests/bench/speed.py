#!/usr/bin/env python3
"""Speed of lilio-ec against a bare pipeline, alternating in one run; medians of the ratios.

The pipeline is a C program with the command line of `pipe.c` (see --help): the same bytes through the same pipes with no
bookkeeping. lilio-ec runs a real cluster (1 coordinator, 6 OSDs, 4+2, ipc) in a temporary folder beside it. Each round:

    pipeline put + get | bench put | caches dropped, bench get | two OSDs killed, bench get | brought back,
    one OSD wiped, rebuilt

CPU is that of all processes: of lilio-ec's client from its own report, of the daemons from /proc/PID/stat.

    tests/bench/speed.py --pipe-source PIPE.C [--bin build/release/bin] [--rounds 5] [--dir DIR] [--json]
"""
import argparse
import json
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


def pipeline(program, folder, mib):
    out = run([program, folder, "ipc", "4", "2", "1024", str(mib), "direct", "8"])
    put = re.search(r"put .*?: (\d+) MB/s.*?client CPU ([\d.]+)", out)
    get = re.search(r"get .*?: (\d+) MB/s.*?client CPU ([\d.]+)", out)
    osd = re.search(r"osd CPU ([\d.]+)", out)
    return {"put": float(put[1]), "get": float(get[1]),
            "cpu": float(put[2]) + float(get[2]) + 2 * float(osd[1])}


def process_lives(pid):
    """A zombie does not: where nobody collects orphans, it stays for good."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Cluster:
    def __init__(self, programs, folder):
        self.cli, self.folder = os.path.join(programs, "lilio-ec"), folder
        self.config = os.path.join(folder, "lilio.yaml")
        self.up()

    def lilio(self, *args):
        return run([self.cli, *args, "--config", self.config])

    def up(self):
        run([self.cli, "up", "--dir", self.folder, "--detach"])

    def down(self):
        run([self.cli, "down", "--dir", self.folder])

    def pid(self, name):
        with open(os.path.join(self.folder, "run", name + ".pid")) as f:
            return int(f.read().split()[0])

    def kill(self, number):
        pid = self.pid(f"osd.{number}")
        os.kill(pid, 9)
        while process_lives(pid):
            time.sleep(0.01)

    def daemons_cpu(self):
        total = 0
        for name in os.listdir(os.path.join(self.folder, "run")):
            if name.endswith(".pid"):
                try:
                    with open(f"/proc/{self.pid(name[:-4])}/stat") as f:
                        fields = f.read().rsplit(")", 1)[1].split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def bench(self, what, seconds, extra=()):
        before = self.daemons_cpu()
        report = json.loads(self.lilio("bench", what, "--size", "64MiB", "--concurrency", "4", "--seconds", str(seconds),
                                       "--json", *extra))
        if report["errors"]:
            sys.exit(f"bench {what} had errors: {report}")
        report["daemons_cpu"] = self.daemons_cpu() - before
        return report


def drop_caches():
    subprocess.run(["sync"], check=True)
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
    except PermissionError:
        print("caches were not dropped (not root)", file=sys.stderr)


def cpu_per_gb(report):
    gb = report["bytes"] / 1e9
    return (report["client_cpu_s"] + report["daemons_cpu"]) / gb


def one_round(args, program, folder):
    figures = {}
    pipe_dir = os.path.join(folder, "pipe")
    os.makedirs(pipe_dir, exist_ok=True)
    pipe = pipeline(program, pipe_dir, args.mib)
    shutil.rmtree(pipe_dir)
    base = os.path.join(folder, "cluster")
    os.makedirs(base)
    cluster = Cluster(args.bin, base)
    try:
        put = cluster.bench("put", args.seconds)
        drop_caches()
        get = cluster.bench("get", args.seconds, ["--set-bytes", args.set_bytes, "--keep", "--drop-caches"])
        bucket = get.get("bucket")
        cluster.kill(1)
        cluster.kill(4)
        drop_caches()
        degraded = cluster.bench("get", args.seconds, ["--bucket", bucket, "--drop-caches"])
        cluster.up()
        cluster.kill(2)
        shutil.rmtree(os.path.join(base, "osd.2"))
        cluster.up()
        drop_caches()
        before = time.monotonic()
        certificate = json.loads(cluster.lilio("osd", "rebuild", "2", "--json"))
        wall = time.monotonic() - before
        rebuilt = certificate["rebuilt_bytes"] * 4 / wall / 1e6
    finally:
        cluster.down()
        shutil.rmtree(base)
    figures.update({
        "pipe put MB/s": pipe["put"], "pipe get MB/s": pipe["get"], "pipe CPU s/GB": pipe["cpu"],
        "put MB/s": put["mb_per_s"], "get MB/s": get["mb_per_s"], "degraded get MB/s": degraded["mb_per_s"],
        "rebuild x k MB/s": rebuilt,
        "put CPU s/GB": cpu_per_gb(put), "get CPU s/GB": cpu_per_gb(get),
        "put ratio": put["mb_per_s"] / pipe["put"], "get ratio": get["mb_per_s"] / pipe["get"],
        "degraded get ratio": degraded["mb_per_s"] / pipe["get"], "rebuild ratio": rebuilt / pipe["get"],
        "CPU ratio": (cpu_per_gb(put) + cpu_per_gb(get)) / pipe["cpu"],
    })
    return figures


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pipe-source", required=True, help="C source of the bare pipeline")
    p.add_argument("--bin", default="build/release/bin", help="folder of the programs")
    p.add_argument("--dir", help="folder on the disk to measure (default: a temporary one)")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=8)
    p.add_argument("--mib", type=int, default=4096, help="MiB through the pipeline per round")
    p.add_argument("--set-bytes", default="4GiB", help="objects to get")
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    folder = tempfile.mkdtemp(prefix="lilio-speed-", dir=args.dir)
    rounds = []
    try:
        program = os.path.join(folder, "bare-pipeline")
        run(["cc", "-O3", "-march=native", args.pipe_source, "-o", program, "-lisal", "-lzmq"])
        for i in range(args.rounds):
            rounds.append(one_round(args, program, folder))
            print(f"round {i + 1}: " + ", ".join(f"{k} {v:.2f}" for k, v in rounds[-1].items()), file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result = {k: {"median": statistics.median(r[k] for r in rounds), "min": min(r[k] for r in rounds),
                  "max": max(r[k] for r in rounds)} for k in rounds[0]}
    if args.json:
        print(json.dumps(result))
    else:
        for k, v in result.items():
            print(f"{k:22} {v['median']:9.2f}   [{v['min']:.2f} - {v['max']:.2f}]")


if __name__ == "__main__":
    main()
