#!/usr/bin/env python3
"""Three coordinators as real processes: the leader killed and stopped under load, members added, removed and replaced while
writes go on, what status and ls say. Every history is checked for linearizability (history.py): no acknowledged write lost, none
done twice, no stale read. LILIO_ROUNDS (default 3) is how often the leader goes; more for a long run."""
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid

import history
from lilio import BIN, EXISTS, FAILURE, KIB, LOST, MIB, NOT_FOUND, OK, UNAVAILABLE, USAGE, Cluster, ClusterTest, content, main, peak_rss, wait_until

LOAD = os.environ.get("LILIO_LOAD", os.path.join(BIN, "..", "tests", "lilio-load"))
SANITIZE = os.environ.get("LILIO_SANITIZE")
ROUNDS = int(os.environ.get("LILIO_ROUNDS", "3"))
FAILOVER_SECONDS = 10  # only bounds a wait; tests/bench/quorum.py measures


class Load:
    """Clients at work in the background."""

    def __init__(self, cluster, clients=4, keys=6, seconds=600, big_percent=5, seed=1):
        self.path = os.path.join(cluster.home, f"history.{seed}")
        self.out = open(self.path, "wb")
        self.process = subprocess.Popen(
            [LOAD, cluster.path("lilio.yaml"), "load", *map(str, (clients, keys, seconds, big_percent, seed))],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.PIPE)

    def ops(self):
        with open(self.path) as f:
            return history.parse(f)

    def acknowledged(self, since_us=0):
        return sum(op.kind == "put" and op.result == "ok" and op.begin >= since_us for op in self.ops())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=120)
        self.out.close()
        return self.process.returncode, err.decode(errors="replace")


def now_us():
    return int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)


def packed(number):
    return b"\xcf" + number.to_bytes(8, "big")


def send(path, *frames):
    """One message as a ZeroMQ DEALER sends it."""
    greeting = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" * 32
    ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(greeting)
        answer = s.makefile("rb")
        answer.read(64)
        s.sendall(b"\x04" + bytes([len(ready)]) + ready)
        answer.read(43)  # its READY: what is not read would reset the connection
        for i, frame in enumerate(frames):
            s.sendall(bytes([i + 1 < len(frames), len(frame)]) + frame)


class Recorder:
    """Stands in front of a coordinator's socket and keeps what is sent there, connection by connection."""

    def __init__(self, path):
        self.path, self.real, self.streams, self.sockets = path, path + ".real", [], []
        os.rename(path, self.real)
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(path)
        self.door.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near = self.door.accept()[0]
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.real)
            self.sockets += [near, far]
            self.streams.append(bytearray())
            for source, to, kept in ((near, far, self.streams[-1]), (far, near, bytearray())):
                threading.Thread(target=self._pump, args=(source, to, kept), daemon=True).start()

    @staticmethod
    def _pump(source, to, kept):
        try:
            while data := source.recv(65536):
                kept += data
                to.sendall(data)
        except OSError:
            pass

    @staticmethod
    def messages(stream):
        """How many whole ones there are, and where the last of them ends."""
        count = end = 0
        at = 64  # behind the greeting
        while at + 9 <= len(stream):
            flags = stream[at]
            size, head = (int.from_bytes(stream[at + 1:at + 9], "big"), 9) if flags & 2 else (stream[at + 1], 2)
            at += head + size
            if at <= len(stream) and flags & 5 == 0:  # no command, no more frames of it
                count, end = count + 1, at
        return count, end

    def close(self):
        os.rename(self.real, self.path)
        for s in [self.door, *self.sockets]:
            s.close()


class Quorum(ClusterTest):
    options = {"coordinators": 3, "osds": 6}

    def setUp(self):
        super().setUp()
        self.cluster.run("mb", "load")
        self.load = None
        self.addCleanup(self._load_end)

    def _load_end(self):
        if self.load and self.load.process.poll() is None:
            self.load.process.kill()
            self.load.process.communicate()

    def begin(self, **options):
        self.load = Load(self.cluster, **options)
        wait_until(lambda: self.load.acknowledged() > 20, 20, "the load to begin")

    def end(self):
        """Stops the load; whatever happened, its history must be right."""
        code, err = self.load.stop()
        ops = self.load.ops()
        self.assertEqual(history.check(ops), [])
        self.assertEqual(code, OK, err)  # each key could be read at the end
        self.assertGreater(self.load.acknowledged(), 20)
        return ops

    def ls(self, code=OK):
        return self.cluster.run("coordinator", "ls", "--json", code=code).json

    def members(self):
        return {m["id"]: m for m in self.ls()["coordinators"]}

    def leader(self):
        """The one that leads now, once there is one."""
        found = []

        def look():
            result = self.cluster.run("coordinator", "ls", "--json", code=(OK, UNAVAILABLE))
            found[:] = [result.json["leader"]] if result.code == OK else []
            return bool(found)
        wait_until(look, FAILOVER_SECONDS, "a leader")
        return found[0]

    def all_live(self, count=3):
        def look():
            result = self.cluster.run("coordinator", "ls", "--json", code=(OK, UNAVAILABLE))
            members = result.json["coordinators"]
            return result.code == OK and len(members) == count and \
                all(m["answers"] and m["role"] != "learner" and m["lag"] < 100 for m in members)
        wait_until(look, 60, f"{count} coordinators")

    def progress(self, since_us):
        wait_until(lambda: self.load.acknowledged(since_us) > 5, FAILOVER_SECONDS, "acknowledged writes")

    def wipe(self, i):
        self.cluster.kill(f"coordinator.{i}")
        shutil.rmtree(self.cluster.path(f"coordinator.{i}"))

    # ---- the leader goes ----

    def test_a_leader_that_is_killed_or_stopped(self):
        c, rng = self.cluster, random.Random(ROUNDS)
        self.begin()
        for i in range(ROUNDS):
            name = f"coordinator.{self.leader()}"
            kill = rng.random() < 0.5 if i > 1 else i == 0
            c.kill(name, sig=signal.SIGKILL if kill else signal.SIGSTOP)
            self.progress(now_us() + 50000)
            if kill:
                c.up()
            else:
                c.kill(name, sig=signal.SIGCONT)
            self.all_live()
            self.progress(now_us())
        self.end()
        self.assertEqual({op.result for op in self.load.ops()} - {"ok", "none", "unknown", "failed"}, set())

    def test_all_killed_at_once(self):
        c = self.cluster
        self.begin(clients=2)
        for _ in range(max(1, ROUNDS // 2)):
            c.kill("coordinator.0", "coordinator.1", "coordinator.2")
            c.up()
            self.all_live()
            self.progress(now_us())
        self.end()

    def test_handing_over(self):
        c = self.cluster
        self.begin(clients=2)
        for i in (2, 0, 1, 1):
            answer = c.run("coordinator", "transfer", str(i), "--json").json
            self.assertEqual(answer["leader"], i)
        before = self.leader()
        self.assertNotEqual(c.run("coordinator", "transfer", "--json").json["leader"], before)
        c.run("coordinator", "transfer", "9", code=NOT_FOUND)
        self.end()

    # ---- who belongs to it ----

    def cut_logs(self):
        """Stores so much that no coordinator has the first entries any more; tests/bench/replace.py does it with large maps."""
        c = self.cluster

        def cut():
            c.run("bench", "put", "--size", "16KiB", "--concurrency", "32", "--seconds", "1", "--keep")
            return all(min(os.listdir(c.path(f"coordinator.{i}", "log"))) > "0000000000000001.log" for i in range(3))
        wait_until(cut, 120, "the logs to be cut")

    def test_one_is_replaced_while_writes_go_on(self):
        c = self.cluster
        self.cut_logs()
        self.begin()
        old = self.members()[1]["member"]
        self.wipe(1)
        result = c.up(code=FAILURE)
        self.assertIn("coordinator replace 1", result.err)
        answer = c.run("coordinator", "replace", "1", "--json").json
        self.assertNotEqual(answer["member"], old)
        self.all_live()
        members = self.members()
        self.assertEqual(members[1]["member"], answer["member"])
        self.assertEqual(members[1]["role"] == "leader" or members[1]["role"] == "follower", True)
        with open(c.path("log", "coordinator.1.log")) as log:
            self.assertIn("replica installed", log.read())  # it got the state, not all entries since the beginning
        if not SANITIZE:
            for i in range(3):
                self.assertLess(peak_rss(c.pid(f"coordinator.{i}")), 256 * MIB)
        self.progress(now_us())
        # It counts: one of the others may go now.
        c.kill("coordinator.0")
        self.progress(now_us() + 50000)
        c.up()
        self.all_live()
        self.end()
        c.run("coordinator", "replace", "1", code=EXISTS)  # works
        c.run("coordinator", "replace", "7", code=NOT_FOUND)

    def test_a_replacement_that_is_interrupted_goes_on(self):
        c, rng = self.cluster, random.Random(5)
        self.begin(clients=2)
        for name in ("coordinator.2", "coordinator.0"):
            self.wipe(int(name[-1]))
            for _ in range(6):
                process = c.start("coordinator", "replace", name)
                time.sleep(rng.uniform(0.0, 0.35))
                process.kill()
                process.communicate()
            result = c.run("coordinator", "replace", name, code=(OK, EXISTS))
            if result.code == EXISTS:
                self.assertIn("works", result.err)  # an interrupted one had come to its end
            self.all_live()
        self.assertEqual(len(self.members()), 3)
        self.progress(now_us())
        self.end()

    def test_a_broken_folder_is_put_aside_and_a_good_one_is_not(self):
        c = self.cluster
        c.put_bytes(b"before", "load/x")
        c.kill("coordinator.1")
        result = c.run("coordinator", "replace", "1", code=EXISTS)
        self.assertIn("only stopped", result.err)
        self.all_live()
        c.kill("coordinator.1")
        folder = c.path("coordinator.1")
        with open(os.path.join(folder, "identity"), "r+b") as f:
            f.write(b"\xff" * 16)
        answer = c.run("coordinator", "replace", "1", "--json").json
        self.assertTrue(os.path.exists(os.path.join(answer["put_aside"], "identity")))
        self.all_live()
        # Another place, which has to be empty.
        self.wipe(2)
        full = os.path.join(c.home, "full")
        os.makedirs(os.path.join(full, "x"))
        c.run("coordinator", "replace", "2", "--dir", full, code=USAGE)
        c.run("coordinator", "replace", "2", "--dir", os.path.join(c.home, "no", "parent"), code=NOT_FOUND)
        new = os.path.join(c.home, "new")
        answer = c.run("coordinator", "replace", "2", "--dir", new, "--json").json
        self.assertEqual(os.path.realpath(answer["dir"]), os.path.realpath(new))
        self.all_live()
        c.down()
        c.up()
        self.assertEqual(c.get_bytes("load/x"), b"before")

    def test_one_that_runs_and_is_not_heard_is_replaced(self):
        c = self.cluster
        c.put_bytes(b"before", "load/x")
        gone = (self.leader() + 1) % 3
        c.kill(f"coordinator.{gone}", sig=signal.SIGSTOP)
        wait_until(lambda: not self.members()[gone]["alive"], 10, "silence")
        c.run("coordinator", "replace", str(gone))
        self.all_live()

    def older_copy(self, number):
        """Puts an older copy of its folder in the place of a coordinator's, which is dead then."""
        c = self.cluster
        old = os.path.join(c.home, f"old.{number}")
        c.kill(f"coordinator.{number}")
        shutil.copytree(c.path(f"coordinator.{number}"), old)
        c.up()
        for i in range(20):
            c.put_bytes(b"x", f"load/{i}")
        self.all_live()
        self.wipe(number)
        shutil.move(old, c.path(f"coordinator.{number}"))

    def refused_as_older(self, number):
        text = f"is an older copy of coordinator {number} "
        self.assertIn(text, self.cluster.up(code=FAILURE).err)
        self.assertIsNone(self.cluster.pid(f"coordinator.{number}"))
        with open(self.cluster.path("log", f"coordinator.{number}.log")) as f:
            self.assertIn(text, f.read())

    def test_an_older_copy_of_a_disk_is_refused(self):
        c = self.cluster
        gone = (self.leader() + 1) % 3
        self.older_copy(gone)
        for _ in range(3):  # what it was told is remembered: it is refused before it talks to anybody
            self.refused_as_older(gone)
        c.put_bytes(b"meanwhile", "load/x")
        c.run("coordinator", "replace", str(gone))
        self.all_live()
        c.kill(*(f"coordinator.{i}" for i in range(3) if i not in (gone, self.leader())))
        c.put_bytes(b"after", "load/x")
        self.assertEqual(c.get_bytes("load/x"), b"after")

    def test_an_older_copy_is_replaced_at_once(self):
        """Nobody started it; `replace` finds out by itself that it cannot be used. The leader's, this time."""
        c = self.cluster
        gone = self.leader()
        self.older_copy(gone)
        c.run("coordinator", "replace", str(gone))
        self.all_live()
        c.down()
        c.up()
        self.assertEqual(c.get_bytes("load/7"), b"x")

    def back_up(self, *numbers):
        for i in numbers:
            shutil.copytree(self.cluster.path(f"coordinator.{i}"), os.path.join(self.cluster.home, f"backup.{i}"))

    def restore(self, *numbers):
        for i in numbers:
            self.wipe(i)
            shutil.copytree(os.path.join(self.cluster.home, f"backup.{i}"), self.cluster.path(f"coordinator.{i}"))

    def alone(self, number):
        return subprocess.run([os.path.join(BIN, "lilio-coordinator"), "--config", self.cluster.path("lilio.yaml"), "--id", str(number),
                               "--alone"], capture_output=True, text=True, timeout=60)

    def goes_on_alone(self, number):
        """What docs/operations.md says of a majority that is lost."""
        c = self.cluster
        others = [i for i in range(3) if i != number]
        c.kill("coordinator.0", "coordinator.1", "coordinator.2")
        result = self.alone(number)
        self.assertEqual(result.returncode, FAILURE)
        self.assertIn("is still there", result.stderr)
        for i in others:
            os.rename(c.path(f"coordinator.{i}"), os.path.join(c.home, f"lost.{i}"))
        result = self.alone(number)
        self.assertEqual((result.returncode, result.stderr), (OK, ""))
        c.up(code=FAILURE)
        self.assertEqual(self.leader(), number)
        for i in others:
            c.run("coordinator", "add", str(i))
        self.all_live()
        c.put_bytes(b"after" * 20000, "load/after")  # a session of the same id may have stored others before
        c.run("verify")
        c.down()
        c.up()
        self.all_live()
        self.assertEqual(c.get_bytes("load/after"), b"after" * 20000)

    def test_all_restored_from_one_moment(self):
        c = self.cluster
        for name in ("load/a", "load/b"):
            c.put_bytes(b"x" * 100000, name)
            if name == "load/a":
                c.down()
                self.back_up(0, 1, 2)
                c.up()
        c.down()
        self.restore(0, 1, 2)
        c.up()
        self.all_live()
        self.assertEqual(c.get_bytes("load/a"), b"x" * 100000)
        c.run("get", "load/b", "-", code=NOT_FOUND)
        self.goes_on_alone(0)
        c.run("get", "load/b", "-", code=NOT_FOUND)

    def test_all_restored_from_different_moments(self):
        """Each copy knows that those made before it are older: the last one finds no majority. One of them goes on alone."""
        c = self.cluster
        for i in range(3):
            c.put_bytes(b"x" * 100000, f"load/{i}")
            c.kill(f"coordinator.{i}")
            self.back_up(i)
            c.up()
            self.all_live()
            time.sleep(2)  # a majority remembers its new start, the rest is told within a second
        self.restore(0, 1, 2)
        result = c.up(code=(FAILURE, UNAVAILABLE))
        for i in (0, 1):
            self.assertIn(f"is an older copy of coordinator {i} ", result.err)
        self.assertIn("lilio-coordinator --alone goes on with one", result.err)
        self.goes_on_alone(1)
        for i in (0, 1):
            self.assertEqual(c.get_bytes(f"load/{i}"), b"x" * 100000)

    def test_a_majority_is_lost_and_one_goes_on_alone(self):
        c = self.cluster
        c.put_bytes(b"x" * 100000, "load/big")
        c.put_bytes(b"small", "load/small")
        self.all_live()
        self.goes_on_alone(2)
        self.assertEqual(c.get_bytes("load/big"), b"x" * 100000)
        self.assertEqual(c.get_bytes("load/small"), b"small")

    def test_adding_and_removing(self):
        c = self.cluster
        self.begin(clients=2)
        self.assertEqual(c.run("coordinator", "add", "--json").json["id"], 3)
        c.run("coordinator", "add", "3", code=EXISTS)
        extra = os.path.join(c.home, "extra")
        c.run("coordinator", "add", "7", "--dir", extra)
        self.all_live(5)
        self.progress(now_us())
        c.kill("coordinator.0", "coordinator.7")  # five survive the loss of two
        self.progress(now_us() + 50000)
        c.up(coordinators=5)
        self.all_live(5)
        leader = self.leader()
        c.run("coordinator", "rm", str(leader))
        self.assertNotIn(leader, self.members())
        self.assertIsNone(c.pid(f"coordinator.{leader}"))
        self.all_live(4)
        other = next(i for i in (7, 3, 2) if i != leader)
        c.run("coordinator", "rm", f"coordinator.{other}")
        self.all_live(3)
        left = sorted(self.members())
        c.kill(f"coordinator.{left[0]}")
        time.sleep(3.5)  # until it counts as silent
        result = c.run("coordinator", "rm", str(left[1]), code=EXISTS)
        self.assertIn("no majority", result.err)
        c.run("coordinator", "rm", str(left[0]))
        self.progress(now_us())
        self.end()
        c.run("coordinator", "rm", str(leader), code=NOT_FOUND)
        c.run("coordinator", "add", str(leader), code=USAGE)  # its old folder is still there
        with open(c.path("lilio.yaml")) as f:
            self.assertEqual(len(re.findall(r"coordinator\.\d+\.peer\.sock", f.read())), 2)
        left_folders = [i for i in range(9) if os.path.exists(c.path(f"coordinator.{i}"))]
        self.assertNotIn(c.run("coordinator", "add", "--json").json["id"], left_folders)  # rm leaves them
        self.cluster.coordinators = 10  # those that are to be ended

    def test_the_last_majority_is_not_removed(self):
        """Neither by the leader that has seen the death, nor by one that has heard nobody yet, nor in the seconds before anybody notices."""
        c = self.cluster
        c.run("coordinator", "transfer", "0")

        def refused(*words):
            result = c.run("coordinator", *words, code=EXISTS)
            self.assertIn("no majority", result.err)
            self.assertIn("coordinator.1", result.err)
        c.kill("coordinator.1")
        refused("rm", "0")
        refused("replace", "2", "--force")
        for words in (("rm", "0"), ("rm", "0", "--force"), ("replace", "0", "--force")):
            c.run("coordinator", "transfer", "2")
            refused(*words)
            c.run("coordinator", "transfer", "0")
            refused(words[0], "2", *words[2:])
        members = self.members()
        self.assertEqual(sorted(members), [0, 1, 2])
        self.assertEqual([members[i]["answers"] for i in (0, 1, 2)], [True, False, True])
        self.assertEqual([f for f in os.listdir(c.dir) if ".old" in f], [])
        c.put_bytes(b"x", "load/x")
        c.run("coordinator", "transfer", "2")
        c.run("coordinator", "rm", "1")
        c.put_bytes(b"y", "load/x")
        self.assertEqual(sorted(self.members()), [0, 2])

    def test_emptied_folders_are_no_new_cluster(self):
        c = self.cluster
        c.put_bytes(b"x", "load/x")
        c.kill("coordinator.2")
        self.wipe(0)
        self.wipe(1)
        os.mkdir(c.path("coordinator.1"), 0o700)
        for i in (0, 1):
            result = subprocess.run([os.path.join(BIN, "lilio-coordinator"), "--config", c.path("lilio.yaml"), "--id", str(i), "--init"],
                                    capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, FAILURE)
            self.assertIn(f"coordinator replace {i}", result.stderr)
            self.assertFalse(os.path.exists(c.path(f"coordinator.{i}", "maps")))

    def test_what_is_left_of_a_folder_is_replaced(self):
        c = self.cluster
        c.kill("coordinator.1")
        os.unlink(c.path("coordinator.1", "identity"))
        result = c.up(code=FAILURE)
        self.assertIn("coordinator replace 1", result.err)
        self.assertNotIn("--init", result.err)
        c.run("coordinator", "replace", "1")
        self.wipe(2)
        os.mkdir(c.path("coordinator.2"), 0o700)
        open(c.path("coordinator.2", "lock"), "w").close()  # all that is left of a replacement that found no room
        result = c.up(code=FAILURE)
        self.assertIn("coordinator replace 2", result.err)
        self.assertNotIn("--init", result.err)
        c.run("coordinator", "replace", "2")
        self.all_live()

    def test_the_hints_of_one_that_is_no_member_work(self):
        c = self.cluster
        yaml = c.path("lilio.yaml")
        with open(yaml) as f:
            before = f.read()
        c.run("coordinator", "rm", "0")
        with open(yaml, "w") as f:
            f.write(before)
        result = c.up()
        self.assertIn("coordinator rm 0", result.out)
        self.assertIn("coordinator add 0", result.out)
        result = c.run("coordinator", "replace", "0", code=NOT_FOUND)
        for hint in ("coordinator rm 0", "coordinator add 0", c.path("coordinator.0")):
            self.assertIn(hint, result.err)
        c.run("coordinator", "rm", "0")
        c.run("up", "--dir", c.dir, "--detach", config=False)
        os.rename(c.path("coordinator.0"), os.path.join(c.home, "moved"))
        c.run("coordinator", "add", "0")
        self.all_live()

    def test_what_is_refused_leaves_nothing_behind(self):
        c = self.cluster
        new = os.path.join(c.home, "new")
        c.run("coordinator", "replace", "2", "--dir", new, code=EXISTS)
        self.assertFalse(os.path.exists(new))
        for i in range(3, 9):
            c.run("coordinator", "add")
        c.coordinators = 9
        with open(c.path("lilio.yaml")) as f:
            before = f.read()
        for words in ((), ("9", "--dir", new)):
            self.assertIn("no more fit", c.run("coordinator", "add", *words, code=USAGE).err)
        with open(c.path("lilio.yaml")) as f:
            self.assertEqual(f.read(), before)
        self.assertFalse(os.path.exists(new))
        c.run("up", "--dir", c.dir, "--detach", config=False)

    def test_forged_messages_of_strangers_are_harmless(self):
        """A later incarnation of a coordinator may be one to come: it is not believed while a leader is heard."""
        c = self.cluster
        members, before = self.members(), self.leader()
        with open(c.path("lilio.yaml")) as f:
            cluster_id = uuid.UUID(re.search(r'cluster_id: "?([0-9a-f-]{36})', f.read()).group(1)).bytes
        for i, member in members.items():
            stranger = 9 << 32 | (i + 1) % 3
            for term in (member["term"] + 1, (1 << 62) - 1):
                raft = b"\x9d\x01\xc4\x10" + cluster_id + b"\x03" + packed(stranger) + packed(member["member"]) + packed(term) + \
                    packed(1 << 40) + packed(term) + b"\0\0\xc3\xc3\x90"
                send(c.path("run", f"coordinator.{i}.peer.sock"), b"\x9a\x01\x6e" + b"\0" * 7 + b"\xc4\0", raft)
        wait_until(lambda: all(m["refused_messages"] >= 2 for m in self.members().values()), 10, "refusals")
        self.assertEqual(self.leader(), before)
        self.assertEqual([m["term"] for m in self.members().values()], [members[before]["term"]] * 3)
        c.put_bytes(b"x", "load/x")

    def test_messages_sent_again_are_counted_and_harmless(self):
        """What a member sent to the leader is recorded on its way, and sent once more as it was."""
        c = self.cluster
        leader = self.leader()
        sender = f"coordinator.{(leader + 1) % 3}"
        recorder = Recorder(c.path("run", f"coordinator.{leader}.peer.sock"))
        self.addCleanup(recorder.close)
        c.kill(sender)
        c.up()
        self.all_live()
        c.put_bytes(b"x", "load/x")
        wait_until(lambda: sum(recorder.messages(s)[0] for s in recorder.streams) >= 20, 20, "some messages")
        before, sent = self.members(), 0
        for stream in [bytes(s) for s in recorder.streams]:
            count, end = recorder.messages(stream)
            if count == 0:
                continue
            sent += count
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(recorder.real)
                s.sendall(stream[:64])
                s.makefile("rb").read(107)  # what is not read would reset the connection
                s.sendall(stream[64:end])
                time.sleep(1)
        refused = before[leader]["refused_messages"]
        wait_until(lambda: self.members()[leader]["refused_messages"] >= refused + sent, 10, f"{sent} refusals")
        after = self.members()
        self.assertEqual(self.leader(), leader)
        self.assertEqual([m["term"] for m in after.values()], [m["term"] for m in before.values()])
        self.assertEqual([m["refused_messages"] for i, m in after.items() if i != leader],
                         [m["refused_messages"] for i, m in before.items() if i != leader])
        c.put_bytes(b"y", "load/y")

    # ---- what is said ----

    def test_what_status_and_ls_say(self):
        c = self.cluster
        out = c.run("coordinator", "ls").out
        self.assertEqual(len(re.findall(r"^coordinator\.\d", out, re.M)), 3)
        self.assertNotIn("WARNING", out + c.run("status").out)
        leader = self.leader()
        gone = (leader + 1) % 3
        c.kill(f"coordinator.{gone}")
        wait_until(lambda: "one more loss stops the cluster" in c.run("coordinator", "ls").out, 10, "a warning")
        out = c.run("status").out
        self.assertIn(f"coordinator.{gone} is silent", out)
        self.assertIn("one more loss stops the cluster", out)
        self.assertRegex(out, r"leader +coordinator\.\d")
        dead = next(m for m in self.ls()["coordinators"] if m["id"] == gone)
        self.assertEqual((dead["alive"], dead["answers"]), (False, False))
        status = c.status()
        self.assertEqual([m["role"] for m in status["coordinators"]].count("leader"), 1)
        self.assertTrue(all(m["commit_index"] >= m["applied_index"] > 0 for m in status["coordinators"] if m["id"] != gone))
        # Without a majority nothing is done, and everything says so.
        c.kill(f"coordinator.{leader}")
        result = c.run("coordinator", "ls", code=UNAVAILABLE)
        self.assertEqual(result.out.count(" NO "), 2)
        left = next(m for m in self.ls(code=UNAVAILABLE)["coordinators"] if m["answers"])
        self.assertEqual(left["role"], "follower")  # it says how far it is: who has most goes on where a majority is lost
        self.assertTrue(left["commit_index"] >= left["applied_index"] > 0 and left["term"] > 0)
        self.assertEqual(left["silent_ms"], None)
        c.run("put", "-", "load/x", "--timeout", "2s", data=b"x", code=(UNAVAILABLE, 6))
        c.run("coordinator", "replace", str(gone), "--timeout", "2s", code=UNAVAILABLE)
        c.up()
        self.all_live()
        c.put_bytes(b"x", "load/x")

    def test_garbage_on_the_peer_socket_is_harmless(self):
        c, rng = self.cluster, random.Random(3)
        self.begin(clients=2)
        for i in range(3):
            for size in (1, 64, 4096):
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(c.path("run", f"coordinator.{i}.peer.sock"))
                    s.sendall(rng.randbytes(size))
        self.progress(now_us())
        self.end()
        self.all_live()

    def test_up_again(self):
        c = self.cluster
        c.up()
        self.assertIn("ran already", c.run("up", "--dir", c.dir, "--detach", config=False).out)
        c.run("up", "--dir", c.dir, "--detach", "--coordinators", "5", config=False, code=USAGE)
        c.kill("coordinator.1", "osd.3")
        answer = c.run("up", "--dir", c.dir, "--detach", "--json", config=False).json
        self.assertEqual([d["name"] for d in answer["daemons"] if d["started"]], ["coordinator.1", "osd.3"])
        c.put_bytes(content(300 * KIB, 1), "load/big")
        self.assertEqual(len(c.run("down", "--dir", c.dir, "--json", config=False).json["stopped"]), 9)
        c.up()
        self.assertEqual(c.get_bytes("load/big"), content(300 * KIB, 1))


class Single(ClusterTest):
    def test_a_backup_is_put_back(self):
        """OSDs have runs of sessions that the backup does not know: new ones must not take the same names."""
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(b"x" * 100000, "b/x")
        c.down()
        backup = os.path.join(c.home, "backup")
        shutil.copytree(c.path("coordinator.0"), backup)
        c.up()
        for i in range(3):
            c.put_bytes(b"lost" * 25000, f"b/lost{i}")
        c.down()
        shutil.rmtree(c.path("coordinator.0"))
        shutil.move(backup, c.path("coordinator.0"))
        subprocess.run([os.path.join(BIN, "lilio-coordinator"), "--config", c.path("lilio.yaml"), "--id", "0", "--alone"], check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        c.up()
        c.put_bytes(b"y" * 100000, "b/y")
        self.assertEqual(c.get_bytes("b/x") + c.get_bytes("b/y"), b"x" * 100000 + b"y" * 100000)
        c.run("get", "b/lost0", "-", code=NOT_FOUND)
        c.run("verify")


class SingleDeletes(ClusterTest):
    options = {"osds": 4, "profile": "2+1", "gc_grace": "1s"}

    def test_what_was_deleted_since_the_backup_is_named(self):
        """The backup has objects whose bytes were given back. The OSDs go on meanwhile."""
        c = self.cluster
        c.run("mb", "b")
        for name in ("kept", "gone"):
            c.put_bytes(b"x" * 100000, f"b/{name}")
        c.down()
        backup = os.path.join(c.home, "backup")
        shutil.copytree(c.path("coordinator.0"), backup)
        c.up()
        c.run("rm", "b/gone")
        wait_until(lambda: sum(o["fragments"] for o in c.run("osd", "ls", "--json").json["osds"]) == 3, 60, "collection")
        c.kill("coordinator.0")
        shutil.rmtree(c.path("coordinator.0"))
        shutil.move(backup, c.path("coordinator.0"))
        subprocess.run([os.path.join(BIN, "lilio-coordinator"), "--config", c.path("lilio.yaml"), "--id", "0", "--alone"], check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        c.up()
        self.assertIn("b/gone: LOST", c.run("verify", code=LOST).out)
        self.assertIn("b/gone: LOST", c.run("damage", code=LOST).out)
        self.assertEqual(c.get_bytes("b/kept"), b"x" * 100000)
        c.run("rm", "b/gone")
        c.run("verify")
        c.run("damage")


class OverTcp(ClusterTest):
    options = {"coordinators": 3, "osds": 3, "profile": "2+1", "listen": "127.0.0.1:0"}

    def test_it_works_and_grows(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(b"x", "b/x")
        c.run("coordinator", "add")
        c.kill("coordinator.0")
        self.assertEqual(c.get_bytes("b/x"), b"x")
        c.coordinators = 4


if __name__ == "__main__":
    main()
