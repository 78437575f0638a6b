"""Harness of the cluster tests: real processes in a temporary folder, always ended by pid, logs shown on failure.

A test file subclasses ClusterTest and uses self.cluster. Environment: LILIO_BIN = folder of the programs (set by ctest),
LILIO_KEEP=1 keeps the folders, TMPDIR = where they are made.
"""
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BIN = os.path.abspath(os.environ.get("LILIO_BIN", "build/release/bin"))
os.environ.pop("LILIO_CONFIG", None)  # tests name their own cluster
OK, FAILURE, USAGE, NOT_FOUND, EXISTS, UNAVAILABLE, UNKNOWN, DAMAGED, LOST = range(9)
KIB, MIB = 1 << 10, 1 << 20


class Result:
    def __init__(self, args, code, out, err, seconds):
        self.args, self.code, self.out, self.err, self.seconds = args, code, out, err, seconds

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"{' '.join(self.args)}: exit {self.code} after {self.seconds:.1f} s\n{self.out[-2000:]!r}\n{self.err[-2000:]}"


def content(size, seed):
    """Reproducible bytes without a visible period."""
    return random.Random(seed).randbytes(size)


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(4 * MIB):
            h.update(block)
    return h.hexdigest()


class Cluster:
    def __init__(self, folder=None, up=True, **options):
        self.home = folder or tempfile.mkdtemp(prefix="lilio-")
        self.dir = os.path.join(self.home, "c")
        self.options = options
        self.osds = options.get("osds", 6)
        self.coordinators = options.get("coordinators", 1)
        if up:
            self.up()

    # ---- commands ----

    def start(self, *args, stdin=None, stdout=None, config=True):
        command = [os.path.join(BIN, "lilio-ec"), *args]
        if config:
            command += ["--config", os.path.join(self.dir, "lilio.yaml")]
        return subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *args, data=None, code=OK, config=True, timeout=120, binary=False):
        """Runs lilio-ec; the exit code must be `code` (None: any; a tuple: one of them)."""
        before = time.monotonic()
        process = self.start(*args, stdin=subprocess.PIPE if data is not None else None, config=config)
        try:
            out, err = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"hangs: lilio-ec {' '.join(args)}\n{err.decode(errors='replace')}")
        result = Result(args, process.returncode, out if binary else out.decode(errors="replace"), err.decode(errors="replace"),
                        time.monotonic() - before)
        codes = code if isinstance(code, tuple) else (code,)
        if code is not None and result.code not in codes:
            raise AssertionError(f"exit {result.code}, wanted {code}: lilio-ec {result}")
        return result

    def up(self, code=OK, **more):
        args = ["up", "--dir", self.dir, "--detach"]
        for name, value in {**self.options, **more}.items():
            args += ["--" + name.replace("_", "-"), str(value)]
        return self.run(*args, config=False, code=code)

    def down(self):
        return self.run("down", "--dir", self.dir, config=False)

    def configure(self, **settings):
        """Starts it again with these in lilio.yaml, where no option of `up` sets them."""
        self.down()
        lines = "".join(f"{name}: {value}\n" for name, value in settings.items())
        with open(self.path("lilio.yaml"), "r+") as f:
            text = f.read()
            f.seek(0)
            f.write(text.replace("gc_grace_ms:", lines + "gc_grace_ms:"))
        self.up()

    def put(self, path, name, *args, **kw):
        return self.run("put", path, name, *args, **kw)

    def put_bytes(self, data, name, *args, **kw):
        return self.run("put", "-", name, *args, data=data, **kw)

    def get_bytes(self, name, *args, **kw):
        result = self.run("get", name, "-", *args, binary=True, **kw)
        return result.out

    def status(self):
        return self.run("status", "--json").json

    # ---- processes ----

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def pid(self, name):
        try:
            with open(self.path("run", name + ".pid")) as f:
                pid = int(f.read().split()[0])
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                return pid if b"lilio-" in f.read() else None
        except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            return None

    def names(self):
        return [f"coordinator.{i}" for i in range(self.coordinators)] + [f"osd.{i}" for i in range(self.osds)]

    def kill(self, *names, sig=signal.SIGKILL):
        pids = [p for p in map(self.pid, names) if p]
        for pid in pids:
            os.kill(pid, sig)
        if sig in (signal.SIGKILL, signal.SIGTERM):
            for pid in pids:
                wait_until(lambda: not alive(pid), 20, f"end of process {pid}")

    def kill_osds(self, *ids):
        self.kill(*(f"osd.{i}" for i in ids))

    def wipe_osd(self, i):
        self.kill_osds(i)
        shutil.rmtree(self.path(f"osd.{i}"))

    def segments(self, i):
        folder = self.path(f"osd.{i}", "segments")
        return sorted(os.path.join(folder, f) for f in os.listdir(folder))

    def complaints(self):
        """What the daemons said in their last moments: failed assertions and sanitizers' findings."""
        found = []
        for folder, _, files in os.walk(self.path("log")):
            for f in sorted(files):
                if f.endswith(".err"):
                    with open(os.path.join(folder, f), errors="replace") as log:
                        text = log.read()
                    if "Sanitizer" in text or "runtime error" in text or "assertion" in text:
                        found.append(f"{f}: {text[:3000]}")
        return found

    def close(self, failed=False):
        for name in self.names():
            pid = self.pid(name)
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                wait_until(lambda: not alive(pid), 20, "end of a process")
        if failed:
            for folder, _, files in os.walk(self.path("log")):
                for f in sorted(files):
                    with open(os.path.join(folder, f), errors="replace") as log:
                        tail = log.readlines()[-25:]
                    print(f"--- {f}\n{''.join(tail)}", file=sys.stderr)
        if os.environ.get("LILIO_KEEP") != "1":
            shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def small_cluster(test, part, size, **options):
    """A cluster that is not up, and a folder of it that is a tmpfs of this size; skips the test where none can be mounted."""
    c = Cluster(up=False, **options)
    folder = c.path(part) if part else c.dir
    os.makedirs(folder)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "lilio-test", folder], capture_output=True, text=True)
    if done.returncode:
        c.close()
        test.skipTest(f"a small tmpfs: {done.stderr.strip()}")
    try:
        yield c, folder
    finally:
        c.close()  # ends the processes; the folder goes when nothing is mounted in it
        subprocess.run(["umount", folder])
        c.close()


def peak_rss(pid):
    """The most memory a process ever had resident, in bytes."""
    with open(f"/proc/{pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) * KIB


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, seconds, what):
    """Polls; `seconds` only bounds a wait that would otherwise be for ever."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def disk_use(path):
    total = 0
    for folder, _, files in os.walk(path):
        for f in files:
            try:
                total += os.lstat(os.path.join(folder, f)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


class ClusterTest(unittest.TestCase):
    options = {}

    def setUp(self):
        self.cluster = Cluster(**self.options)
        self.addCleanup(self._close)

    def _close(self):
        outcome = getattr(self, "_outcome", None)
        result = getattr(outcome, "result", None)
        failed = bool(result and any(t is self for t, _ in result.failures + result.errors)) or not getattr(outcome, "success", True)
        complaints = self.cluster.complaints()
        self.cluster.close(failed)
        self.assertEqual(complaints, [])

    def file(self, size, seed=1, name="file"):
        path = os.path.join(self.cluster.home, name)
        with open(path, "wb") as f:
            part, i = 16 * MIB, 0
            while i < size:
                f.write(content(min(part, size - i), (seed << 20) + i // part))
                i += part
        return path

    def assertFaster(self, seconds, limit):
        """Says nothing on a machine that has far more to do than its processors can."""
        load = os.getloadavg()[0]
        if seconds >= limit and load > 2 * os.cpu_count():
            self.skipTest(f"took {seconds:.1f} s instead of {limit} s on a machine with load {load:.0f}")
        self.assertLess(seconds, limit)

    def assertStored(self, name, path):
        copy = os.path.join(self.cluster.home, "copy")
        self.cluster.run("get", name, copy)
        self.assertEqual(digest(copy), digest(path), name)
        os.unlink(copy)


def main():
    unittest.main(verbosity=2)
