"""A cluster of real daemons whose machines, disks and network can be hurt: each daemon has a network namespace of its own behind a
bridge (needs root and `ip`; without, sockets in the folder and nothing to cut), half of the OSDs a small file system of their own
(to fill), and every OSD a disk that can be made to fail (tests/support/disk_faults.c)."""
import glob
import json
import os
import random
import shutil
import subprocess
import threading
import uuid

from lilio import KIB, MIB, wait_until

DISK = 768 * MIB


def quiet(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True).returncode == 0


def must(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


def can_cut():
    name = f"lt{os.getpid() % 100000}-try"
    if os.geteuid() or not shutil.which("ip") or not quiet("ip", "netns", "add", name):
        return False
    works = quiet("ip", "link", "add", f"lt{os.getpid() % 100000}t", "type", "veth", "peer", "name", "eth0", "netns", name)
    quiet("ip", "netns", "del", name)
    return works


class Rack:
    def __init__(self, folder, programs, osds, profile, coordinators=3, suspect_ms=1500, down_ms=4000, out_ms=600000, gc_grace_ms=2000,
                 election_ms=1000, shim=None, cut=True):
        self.folder, self.bin, self.osds, self.coordinators, self.profile = folder, programs, osds, coordinators, profile
        self.timers = ["--suspect-ms", str(suspect_ms), "--down-ms", str(down_ms), "--out-ms", str(out_ms),
                       "--election-ms", str(election_ms), "--heartbeat-ms", str(max(1, election_ms // 8))]
        self.gc_grace_ms, self.shim = gc_grace_ms, shim
        self.tag, self.net = f"lt{os.getpid() % 100000}", f"10.{random.randrange(64, 127)}.{random.randrange(1, 255)}"
        self.spaces, self.mounts, self.processes, self.lock = cut and can_cut(), [], {}, threading.Lock()
        self.wanted, self.ended = set(), False  # daemons that should be running
        self.config = os.path.join(folder, "lilio.yaml")

    # ---- making it ----

    def names(self):
        return [f"coordinator.{i}" for i in range(self.coordinators)] + [f"osd.{i}" for i in range(self.osds)]

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def host(self, name):
        kind, i = name.split(".")
        return f"{self.net}.{(10 if kind == 'coordinator' else 50) + int(i)}"

    def address(self, name, peer=False):
        if self.spaces:
            return f"tcp://{self.host(name)}:{7150 if peer else 7100}"
        return f"ipc://run/{name}{'.peer' if peer else ''}.sock"

    def start(self):
        lines = ["format: 1", f"cluster_id: {uuid.uuid4()}", f"default_profile: {self.profile}", f"gc_grace_ms: {self.gc_grace_ms}",
                 "run_dir: run", "log_dir: log"] + (["insecure: true"] if self.spaces else []) + ["coordinators:"]
        for name in self.names()[:self.coordinators]:
            lines.append(f"- {{id: {name.split('.')[1]}, address: '{self.address(name)}', peer: '{self.address(name, True)}', dir: {name}}}")
        lines.append("osds:")
        lines += [f"- {{id: {i}, address: '{self.address(f'osd.{i}')}', dir: osd.{i}}}" for i in range(self.osds)]
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n")
        for name in ["run", "log", "switch", *self.names()]:
            os.mkdir(self.path(name), 0o700)
        for i in range(self.osds // 2, self.osds):
            if os.geteuid() == 0 and quiet("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "lilio-thrash", self.path(f"osd.{i}")):
                self.mounts.append(i)
        if self.spaces:
            self.make_spaces()
        for i in range(self.coordinators):
            self.run(f"coordinator.{i}", "--init")
        wait_until(lambda: self.leader() is not None, 60, "a leader")
        for i in range(self.osds):
            self.run(f"osd.{i}", "--init")
        wait_until(lambda: self.status() and all(o["state"] == "up" for o in self.status()["osds"]), 60, "the OSDs")

    def make_spaces(self):
        must("ip", "link", "add", self.tag, "type", "bridge")
        must("ip", "addr", "add", f"{self.net}.1/24", "dev", self.tag)
        must("ip", "link", "set", self.tag, "up")
        for name in self.names():
            space, outer = self.space(name), self.outer(name)
            must("ip", "netns", "add", space)
            must("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            must("ip", "link", "set", outer, "master", self.tag, "up")
            for words in (["addr", "add", f"{self.host(name)}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
                must("ip", "-n", space, *words)

    def space(self, name):
        return f"{self.tag}-{name}"

    def outer(self, name):
        return self.tag + name[0] + name.split(".")[1]

    def end(self):
        with self.lock:
            self.ended = True
        self.wanted.clear()
        for process in list(self.processes.values()):
            process.kill()
            process.wait()
        if self.spaces:
            for name in self.names():
                quiet("ip", "netns", "del", self.space(name))
            quiet("ip", "link", "del", self.tag)
        for i in self.mounts:
            quiet("umount", self.path(f"osd.{i}"))

    def keep_disks(self):
        """What is on the small file systems, before they go."""
        for i in self.mounts:
            shutil.copytree(self.path(f"osd.{i}"), self.path(f"osd.{i}.kept"), ignore=shutil.ignore_patterns("filler"))

    # ---- daemons ----

    def run(self, name, *more):
        kind, i = name.split(".")
        words = ["ip", "netns", "exec", self.space(name)] if self.spaces else []
        words += [os.path.join(self.bin, "lilio-coordinator" if kind == "coordinator" else "lilio-osd"), "--config", self.config, "--id", i, *more]
        words += self.timers if kind == "coordinator" else []
        environment = dict(os.environ)
        if kind == "osd" and self.shim:
            environment |= {"LILIO_FAULT_SWITCH": self.path("switch", name)}
            words = ["env", f"LD_PRELOAD={self.shim}", *words] if not self.spaces else words[:4] + ["env", f"LD_PRELOAD={self.shim}"] + words[4:]
        with self.lock, open(self.path("log", f"{name}.err"), "ab") as log:
            if self.ended:
                return
            self.processes[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.path("log"),
                                                    start_new_session=True)
            self.wanted.add(name)

    def kill(self, name):
        self.wanted.discard(name)
        process = self.processes[name]
        process.kill()
        process.wait()

    def signal(self, name, number):
        self.processes[name].send_signal(number)

    def runs(self, name):
        return self.processes[name].poll() is None

    def died(self):
        """Daemons that ended and were not made to, as (name, exit code); each is told once."""
        with self.lock:
            found = [(n, self.processes[n].returncode) for n in sorted(self.wanted) if self.processes[n].poll() is not None]
        for name, _ in found:
            self.wanted.discard(name)
        return found

    def complaints(self):
        found = []
        for path in sorted(glob.glob(self.path("log", "*.err"))):
            with open(path, errors="replace") as log:
                found += [f"{os.path.basename(path)}: {line.strip()}" for line in log if "Sanitizer" in line or "runtime error" in line or
                          "ssertion" in line]
        return found

    # ---- asking it ----

    def cli(self, *words, timeout=600):
        """(exit code, what it printed as JSON or None, its last words)."""
        done = subprocess.run([os.path.join(self.bin, "lilio-ec"), *words, "--config", self.config, "--json"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout)
        try:
            return done.returncode, json.loads(done.stdout), done.stderr.strip()[-500:]
        except json.JSONDecodeError:
            return done.returncode, None, done.stderr.strip()[-500:]

    def status(self):
        return self.cli("status", "--timeout", "3s")[1]

    def leader(self):
        members = (self.cli("coordinator", "ls", "--timeout", "2s")[1] or {}).get("coordinators", [])
        return next((m["id"] for m in members if m["role"] == "leader"), None)

    # ---- hurting it ----

    def cut(self, name, off):
        must("ip", "link", "set", self.outer(name), "down" if off else "up")

    def part(self, name, other, off):
        """Those two do not reach each other; all else does."""
        must("ip", "-n", self.space(name), "route", "add" if off else "del", "blackhole", f"{self.host(other)}/32")

    def switch(self, name, text):
        path = self.path("switch", name)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def wipe(self, name):
        folder = self.path(name)
        for entry in os.listdir(folder):
            path = os.path.join(folder, entry)
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def flip(self, name, rng, every):
        """One bit in about every so many bytes of its segments. How many."""
        count = 0
        for path in sorted(glob.glob(self.path(name, "segments", "*"))):
            try:
                with open(path, "r+b") as f:
                    size = f.seek(0, os.SEEK_END)
                    for at in range(0, size, every):
                        place = at + rng.randrange(every)
                        f.seek(place)
                        byte = f.read(1)
                        if byte and (byte != b"\0" or place % 4096 == 0):  # holes stay holes, mostly
                            f.seek(place)
                            f.write(bytes([byte[0] ^ (1 << rng.randrange(8))]))
                            count += 1
            except FileNotFoundError:
                pass  # collected meanwhile
        return count

    def fill(self, name, off):
        """Somebody else takes all the space there is."""
        filler = self.path(name, "filler")
        if not off:
            if os.path.exists(filler):
                os.unlink(filler)
            return
        space = os.statvfs(self.path(name))
        with open(filler, "wb") as f:
            try:
                os.posix_fallocate(f.fileno(), 0, max(space.f_bavail * space.f_frsize - 64 * KIB, 1))
            except OSError:
                pass  # somebody took some meanwhile; what was had is held
