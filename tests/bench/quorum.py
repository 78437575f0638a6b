#!/usr/bin/env python3
"""How a quorum of three coordinators takes the loss of its leader, under load, again and again.

Every few seconds the leader is killed, stopped (SIGSTOP) or cut off from everybody (its network namespace loses the link), and
comes back half-way to the next time. Meanwhile clients put and get registers; what they did is checked for linearizability at the
end (tests/cluster/history.py): nothing acknowledged lost, nothing done twice, no stale read. Printed: the time from each fault to
the first write acknowledged after it.

    tests/bench/quorum.py [--minutes 10] [--every 5] [--faults kill,stop,cut] [--clients 8] [--bin build/release/bin] [--json]

With `cut` it needs root and `ip`: each coordinator runs in a namespace of its own behind a bridge (TCP); without, everything runs
over sockets in a temporary folder. Exit code 1: the history is wrong, or something could not be read at the end.
"""
import argparse
import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))
import history  # noqa: E402

GUARD_US = 10000  # what was under way may still be acknowledged so long after a fault


def now_us():
    return int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)


def ip(*words, check=True):
    subprocess.run(["ip", *words], check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL)


class Cluster:
    """Three coordinators and six OSDs, started here so that the coordinators can live in namespaces."""

    def __init__(self, options, folder):
        self.bin, self.folder, self.spaces = os.path.abspath(options.bin), folder, "cut" in options.faults
        self.config = os.path.join(folder, "lilio.yaml")
        self.tag, self.net = f"lq{os.getpid() % 100000}", f"10.{random.randrange(64, 127)}.{random.randrange(1, 255)}"
        self.processes, self.log = {}, open(os.path.join(folder, "output"), "wb")

    def address(self, i, port):
        return f"tcp://{self.net}.{10 + i}:{port}"

    def start(self):
        lines = ["format: 1", f"cluster_id: {uuid.uuid4()}", "default_profile: 4+2", "run_dir: run", "log_dir: log"]
        lines += ["insecure: true"] if self.spaces else []
        lines.append("coordinators:")
        for i in range(3):
            address = (self.address(i, 7100), self.address(i, 7150)) if self.spaces else \
                (f"ipc://run/coordinator.{i}.sock", f"ipc://run/coordinator.{i}.peer.sock")
            lines.append(f"- {{id: {i}, address: '{address[0]}', peer: '{address[1]}', dir: coordinator.{i}}}")
        lines.append("osds:")
        lines += [f"- {{id: {i}, address: 'ipc://run/osd.{i}.sock', dir: osd.{i}}}" for i in range(6)]
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n")
        for name in ["run", "log"] + [f"coordinator.{i}" for i in range(3)] + [f"osd.{i}" for i in range(6)]:
            os.mkdir(os.path.join(self.folder, name), 0o700)
        if self.spaces:
            self.make_spaces()
        for i in range(3):
            self.coordinator(i, "--init")
        wait(lambda: self.leader() is not None, 30, "a leader")
        for i in range(6):
            self.run_daemon(f"osd.{i}", ["lilio-osd"], i, "--init")
        wait(lambda: all(o["state"] == "up" for o in self.cli("osd", "ls")["osds"]), 30, "the OSDs")

    def make_spaces(self):
        ip("link", "add", self.tag, "type", "bridge")
        ip("addr", "add", f"{self.net}.1/24", "dev", self.tag)
        ip("link", "set", self.tag, "up")
        for i in range(3):
            space, outer = f"{self.tag}-{i}", f"{self.tag}o{i}"
            ip("netns", "add", space)
            ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", outer, "master", self.tag, "up")
            for words in (["addr", "add", f"{self.net}.{10 + i}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
                ip("-n", space, *words)

    def run_daemon(self, name, words, i, *more):
        words = words[:-1] + [os.path.join(self.bin, words[-1]), "--config", self.config, "--id", str(i), *more]
        self.processes[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def coordinator(self, i, *more):
        words = ["ip", "netns", "exec", f"{self.tag}-{i}"] if self.spaces else []
        self.run_daemon(f"coordinator.{i}", words + ["lilio-coordinator"], i, *more)

    def cli(self, *words, check=True):
        done = subprocess.run([os.path.join(self.bin, "lilio-ec"), *words, "--config", self.config, "--timeout", "2s", "--json"],
                              capture_output=True, text=True)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            if check:
                raise SystemExit(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}")
            return {}

    def leader(self):
        """(number, term) of the one that leads, or None."""
        answer = self.cli("coordinator", "ls", check=False)
        for member in answer.get("coordinators", []):
            if member["role"] == "leader":
                return member["id"], member["term"]
        return None

    def hurt(self, kind, i):
        process = self.processes[f"coordinator.{i}"]
        if kind == "cut":
            ip("link", "set", f"{self.tag}o{i}", "down")
        else:
            process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGSTOP)

    def heal(self, kind, i):
        process = self.processes[f"coordinator.{i}"]
        if kind == "cut":
            ip("link", "set", f"{self.tag}o{i}", "up")
        elif kind == "stop":
            process.send_signal(signal.SIGCONT)
        else:
            process.wait()
            self.coordinator(i)

    def end(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
        if self.spaces:
            for i in range(3):
                ip("netns", "del", f"{self.tag}-{i}", check=False)
            ip("link", "del", self.tag, check=False)
        self.log.close()


def wait(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def sleep_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


def torment(cluster, options, load):
    """The faults as (kind, time in us): only those that really hit a leader."""
    faults, missed, moment = [], 0, time.monotonic() + 2
    end = moment + options.minutes * 60
    kinds = [options.faults[i % len(options.faults)] for i in range(int(end / options.every) + 1)]
    while moment < end and load.poll() is None:
        sleep_until(moment)
        before = cluster.leader()
        if before is None:
            missed += 1
        else:
            kind, at = kinds[len(faults)], now_us()
            cluster.hurt(kind, before[0])
            sleep_until(moment + options.every / 2)
            after = cluster.leader()
            cluster.heal(kind, before[0])
            if after == before:
                missed += 1
            else:
                faults.append((kind, at))
        moment += options.every
    return faults, missed


def failovers(faults, ops):
    """Milliseconds from each fault to the first write acknowledged behind it, by kind."""
    ends = sorted(op.end for op in ops if op.kind == "put" and op.result == "ok")
    found = {}
    i = 0
    for kind, at in faults:
        while i < len(ends) and ends[i] <= at + GUARD_US:
            i += 1
        if i < len(ends):
            found.setdefault(kind, []).append((ends[i] - at) / 1000)
    return found


def summary(times):
    times = sorted(times)
    return {"count": len(times), "median": statistics.median(times), "p95": times[math.ceil(len(times) * 0.95) - 1], "max": times[-1]}


def report(options, faults, missed, ops, wrong, code):
    times = failovers(faults, ops)
    counts = {}
    for op in ops:
        counts[f"{op.kind} {op.result}"] = counts.get(f"{op.kind} {op.result}", 0) + 1
    every = [t for list_ in times.values() for t in list_]
    result = {"faults": len(faults), "missed": missed, "operations": counts, "wrong": wrong[:20], "linearizable": not wrong,
              "all_read_at_the_end": code == 0,
              "failover_ms": {kind: summary(list_) for kind, list_ in [*sorted(times.items()), ("all", every)] if list_}}
    if options.json:
        print(json.dumps(result))
        return
    print(f"{len(faults)} leaders lost ({missed} times nobody led, or it went on leading); operations: {counts}")
    for kind, it in result["failover_ms"].items():
        print(f"  {kind}: first write acknowledged after {it['median']:.0f} ms (median), {it['p95']:.0f} ms (p95), "
              f"{it['max']:.0f} ms at most, {it['count']} times")
    print("history: " + ("linearizable" if not wrong else f"WRONG, {len(wrong)} times:\n  " + "\n  ".join(wrong[:20])))
    print("each key was read at the end" if code == 0 else "NOT every key could be read at the end")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--load", help="the program lilio-load (default: BIN/../tests/lilio-load)")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--faults", default="kill,stop,cut", type=lambda text: text.split(","))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--keys", type=int, default=16)
    parser.add_argument("--big-percent", type=int, default=2)
    parser.add_argument("--dir", help="where the temporary folder is made")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and history")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load_program = options.load or os.path.join(options.bin, "..", "tests", "lilio-load")
    folder = tempfile.mkdtemp(prefix="lilio-quorum-", dir=options.dir)
    cluster, load = Cluster(options, folder), None
    try:
        cluster.start()
        cluster.cli("mb", "load")
        path = os.path.join(folder, "history")
        with open(path, "wb") as out:
            load = subprocess.Popen([load_program, cluster.config, "load", str(options.clients), str(options.keys),
                                     str(int(options.minutes * 60 + 60)), str(options.big_percent), "1"], stdout=out)
            faults, missed = torment(cluster, options, load)
            time.sleep(3)
            load.send_signal(signal.SIGTERM)
            code = load.wait()
        with open(path) as f:
            ops = history.parse(f)
    finally:
        if load and load.poll() is None:
            load.kill()
            load.wait()
        cluster.end()
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    wrong = history.check(ops)
    report(options, faults, missed, ops, wrong, code)
    sys.exit(0 if not wrong and code == 0 and faults else 1)


if __name__ == "__main__":
    main()
