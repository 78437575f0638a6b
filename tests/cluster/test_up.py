#!/usr/bin/env python3
"""up and down as a user meets them: foreground and Ctrl-C, interrupted and killed starts, stale pid files, long paths, two
clusters at once, ports, a disk that moves."""
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import time

from lilio import BIN, FAILURE, KIB, MIB, NOT_FOUND, OK, USAGE, Cluster, ClusterTest, alive, content, main, wait_until

UP = os.path.join(BIN, "lilio-ec")


def daemons_below(folder):
    """Living daemons whose configuration lies below folder, found without pid files."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if os.path.basename(words[0]) in (b"lilio-osd", b"lilio-coordinator") and any(w.startswith(folder.encode()) for w in words) \
                and alive(int(pid)):
            found.append(int(pid))
    return found


class Fresh(ClusterTest):
    """Nothing runs when a test begins."""

    def setUp(self):
        self.cluster = Cluster(up=False)
        self.addCleanup(self._close)
        self.addCleanup(self._end_all)

    def _end_all(self):
        for pid in daemons_below(self.cluster.home):
            os.kill(pid, signal.SIGKILL)

    def up_process(self, *args):
        return subprocess.Popen([UP, "up", "--dir", self.cluster.dir, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def store_and_read(self):
        c = self.cluster
        c.run("mb", "b")
        data = content(5 * MIB + 1, 1)
        c.put_bytes(data, "b/k")
        self.assertEqual(c.get_bytes("b/k"), data)

    def test_first_stored_object_within_three_seconds(self):
        c = self.cluster
        before = time.monotonic()
        c.up()
        c.run("mb", "b")
        c.put_bytes(b"x", "b/k")
        self.assertFaster(time.monotonic() - before, 3)

    def test_foreground_until_ctrl_c(self):
        process = self.up_process()
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        self.store_and_read()
        self.assertEqual(len(daemons_below(self.cluster.home)), 7)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, OK, err)
        self.assertEqual(daemons_below(self.cluster.home), [])

    def test_foreground_ends_when_somebody_else_stops_the_cluster(self):
        process = self.up_process()
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        self.cluster.down()
        _, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, OK, err)

    def test_ctrl_c_during_the_start_leaves_nothing_running(self):
        for delay in (0.0, 0.02, 0.08, 0.2, 0.4):
            process = self.up_process("--detach")
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            if process.returncode != OK:  # 0: it was faster
                wait_until(lambda: not daemons_below(self.cluster.home), 15, "the end of what was started")
        self.cluster.up()
        self.store_and_read()

    def test_a_start_that_was_killed_is_finished_by_the_next(self):
        rng = random.Random(1)
        for _ in range(5):
            c = self.cluster
            process = self.up_process("--detach")
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
            process.communicate(timeout=60)
            c.up()
            self.store_and_read()
            # A daemon that the killed start left behind may have met its double, which ends at the lock.
            wait_until(lambda: len(daemons_below(c.home)) == 7, 15, "the end of a doubled daemon")
            c.down()
            shutil.rmtree(c.dir)

    def test_a_killed_start_of_three_coordinators_is_finished_by_the_next(self):
        rng = random.Random(2)
        for _ in range(4):
            c = self.cluster
            process = self.up_process("--detach", "--coordinators", "3")
            time.sleep(rng.uniform(0, 0.7))
            process.kill()
            process.communicate(timeout=60)
            c.up(coordinators=3)
            self.store_and_read()
            self.assertEqual([m["role"] for m in c.status()["coordinators"]].count("leader"), 1)
            wait_until(lambda: len(daemons_below(c.home)) == 9, 15, "the end of a doubled daemon")
            c.down()
            self.assertEqual(daemons_below(c.home), [])
            shutil.rmtree(c.dir)

    def test_folders_made_before_the_first_up(self):
        c = self.cluster
        os.makedirs(c.path("osd.2", "lost+found"))
        os.makedirs(c.path("coordinator.0"))
        c.up()
        self.store_and_read()
        c.down()
        os.unlink(c.path("lilio.yaml"))
        c.up(code=1)  # the rest of a cluster is still protected

    def test_stale_pid_files(self):
        c = self.cluster
        c.up()
        c.kill("osd.1", "osd.2", "coordinator.0")
        with open(c.path("run", "osd.1.pid"), "w") as f:
            f.write(f"{os.getpid()} 1\n")  # somebody else has the number now
        with open(c.path("run", "osd.2.pid"), "w") as f:
            f.write("garbage")
        before = {n: c.pid(n) for n in ("osd.0", "osd.3", "osd.4", "osd.5")}
        c.up()
        self.assertEqual(before, {n: c.pid(n) for n in before})
        self.assertEqual(len(daemons_below(c.home)), 7)
        self.store_and_read()

    def test_pid_files_that_are_gone_or_copied(self):
        c = self.cluster
        c.up()
        before = daemons_below(c.home)
        os.unlink(c.path("run", "osd.1.pid"))
        os.unlink(c.path("run", "coordinator.0.pid"))
        c.kill("osd.2")
        shutil.copy(c.path("run", "osd.3.pid"), c.path("run", "osd.2.pid"))
        answer = c.run("up", "--dir", c.dir, "--detach", "--json", config=False).json
        self.assertEqual([d["name"] for d in answer["daemons"] if d["started"]], ["osd.2"])
        self.assertEqual(len(daemons_below(c.home)), 7)
        self.assertEqual(len(set(daemons_below(c.home)) - set(before)), 1)
        self.store_and_read()
        for name in os.listdir(c.path("run")):
            if name.endswith(".pid"):
                os.unlink(c.path("run", name))
        answer = c.run("down", "--dir", c.dir, "--json", config=False).json
        self.assertEqual(len(answer["stopped"]), 7)
        self.assertEqual(daemons_below(c.home), [])

    def test_up_right_after_kills(self):
        # A killed process holds its sockets and locks until its last thread is gone.
        c = self.cluster
        c.up()
        for _ in range(10):
            for name in c.names():
                pid = c.pid(name)
                if pid and name != "coordinator.0":
                    os.kill(pid, signal.SIGKILL)
            answer = c.run("up", "--dir", c.dir, "--detach", "--json", config=False).json
            self.assertEqual([d["state"] for d in answer["daemons"]], ["serving"] * 7, answer)

    def test_a_daemon_that_does_not_stay_up_is_named(self):
        c = self.cluster
        c.up()
        c.kill("osd.4")
        os.rename(c.path("osd.4"), c.path("osd.4.real"))
        with open(c.path("osd.4"), "w") as f:
            f.write("no folder")
        result = c.up(code=FAILURE)
        self.assertIn("osd.4", result.err)
        self.assertEqual(len(daemons_below(c.home)), 6)

    def test_swapped_folders_of_coordinators_are_named(self):
        c = self.cluster
        c.up(coordinators=3)
        c.down()
        one, two, aside = (c.path(name) for name in ("coordinator.0", "coordinator.1", "aside"))
        os.rename(one, aside)
        os.rename(two, one)
        os.rename(aside, two)
        begun = time.monotonic()
        result = c.up(coordinators=3, code=FAILURE)
        self.assertLess(time.monotonic() - begun, 40)
        self.assertRegex(result.err, r"coordinator\.0 ended: .*belongs to member 100000001, not to coordinator 0")
        self.assertRegex(result.err, r"coordinator\.1 ended: .*belongs to member 100000000, not to coordinator 1")
        os.rename(two, aside)
        os.rename(one, two)
        os.rename(aside, one)
        c.up(coordinators=3)

    def test_listening_on_ipv6(self):
        with socket.socket(socket.AF_INET6) as s:
            try:
                s.bind(("::1", 0))
            except OSError:
                self.skipTest("no IPv6 here")
        self.cluster.up(listen="[::1]:0")
        self.store_and_read()

    def test_down_kills_what_does_not_end(self):
        c = self.cluster
        c.up()
        c.kill("osd.1", sig=signal.SIGSTOP)
        answer = c.run("down", "--dir", c.dir, "--json", config=False, timeout=60).json
        self.assertEqual(len(answer["stopped"]), 7)
        self.assertEqual(answer["killed"], 1)
        self.assertEqual(daemons_below(c.home), [])

    def test_down_with_an_unreadable_lilio_yaml(self):
        c = self.cluster
        c.up()
        with open(c.path("lilio.yaml"), "w") as f:
            f.write("{")
        c.run("down", "--dir", c.dir, config=False)
        self.assertEqual(daemons_below(c.home), [])

    def test_down_finds_the_cluster_like_the_other_commands(self):
        c = self.cluster
        c.up()
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(c.home)
        self.assertIn("no cluster", c.run("down", config=False, code=NOT_FOUND).err)
        self.assertEqual(len(c.run("down", "--json").json["stopped"]), 7)  # --config
        self.assertEqual(daemons_below(c.home), [])
        c.up()
        os.chdir(c.dir)
        self.assertEqual(len(c.run("down", "--json", config=False).json["stopped"]), 7)  # ./lilio.yaml
        c.up()
        os.environ["LILIO_CONFIG"] = c.path("lilio.yaml")
        self.addCleanup(os.environ.pop, "LILIO_CONFIG")
        os.chdir(before)
        self.assertEqual(len(c.run("down", "--json", config=False).json["stopped"]), 7)
        self.assertEqual(daemons_below(c.home), [])

    def test_a_path_too_long_for_sockets(self):
        c = self.cluster
        c.dir = os.path.join(c.home, "long" * 20, "er" * 20)
        c.up()
        self.store_and_read()
        with open(c.path("lilio.yaml")) as f:
            sockets = [line.split("ipc://")[1].strip() for line in f if "ipc://" in line]
        self.assertEqual(len(sockets), 8)  # the coordinator has two
        folder = os.path.dirname(sockets[0])
        self.addCleanup(shutil.rmtree, folder, True)
        self.assertFalse(folder.startswith(c.dir))
        self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
        c.down()
        shutil.rmtree(folder)  # as a reboot does
        c.up()
        self.assertEqual(c.get_bytes("b/k"), content(5 * MIB + 1, 1))

    def test_two_clusters_side_by_side(self):
        other = Cluster()
        self.addCleanup(other.close)
        c = self.cluster
        c.up()
        self.store_and_read()
        other.run("mb", "b")
        other.put_bytes(b"another", "b/k")
        c.down()
        self.assertEqual(other.get_bytes("b/k"), b"another")

    def test_given_ports(self):
        c = self.cluster
        rng = random.Random()

        def free(port):
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", port))
                    return True
                except OSError:
                    return False
        while True:
            base = rng.randrange(11000, 30000)
            if all(free(p) for p in [base, *range(base + 100, base + 106)]):
                break
        c.up(listen=f"127.0.0.1:{base}")
        with open(c.path("lilio.yaml")) as f:
            text = f.read()
        for port in (base, *range(base + 100, base + 106)):
            self.assertIn(f"tcp://127.0.0.1:{port}\n", text.replace('"', ""))
        self.store_and_read()
        c.up(listen=f"127.0.0.1:{base}")
        c.up(listen=f"127.0.0.1:{base + 1}", code=USAGE)
        c.down()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", base + 103))
            s.listen()
            result = c.up(code=FAILURE)
            self.assertIn(str(base + 103), result.err)
            self.assertIn("osd.3", result.err)
            self.assertEqual(daemons_below(c.home), [])
        c.up()

    def test_refusals_make_nothing(self):
        c = self.cluster
        for args in (["--osds", "5"], ["--osds", "0"], ["--profile", "0+2"], ["--profile", "4+20"], ["--profile", "33+1"], ["--profile", "8+3"],
                     ["--coordinators", "2"], ["--coordinators", "7"], ["--listen", "nowhere"], ["--listen", "[::1:7100"], ["--gc-grace", "soon"], ["--frobnicate"]):
            result = c.run("up", "--dir", c.dir, "--detach", *args, config=False, code=USAGE)
            self.assertTrue(result.err)
            self.assertFalse(os.path.exists(c.dir), args)
        c.run("up", "--detach", config=False, code=USAGE)

    def test_folders_without_lilio_yaml_are_left_alone(self):
        c = self.cluster
        c.up()
        c.down()
        os.unlink(c.path("lilio.yaml"))
        result = c.up(code=FAILURE)
        self.assertIn("lilio.yaml", result.err)

    def test_a_read_only_folder(self):
        c = self.cluster
        c.dir = "/proc/lilio"
        self.assertTrue(c.up(code=(FAILURE, 3)).err)

    def test_json(self):
        c = self.cluster
        answer = c.run("up", "--dir", c.dir, "--detach", "--osds", "3", "--profile", "2+1", "--json", config=False).json
        self.assertEqual([d["state"] for d in answer["daemons"]], ["serving"] * 4)
        self.assertTrue(os.path.exists(answer["config"]))
        c.kill("osd.1")
        shutil.rmtree(c.path("osd.1"))
        answer = c.run("up", "--dir", c.dir, "--detach", "--json", config=False).json
        self.assertEqual([d["state"] for d in answer["daemons"]], ["serving", "serving", "blank", "serving"])
        self.assertEqual([d["started"] for d in answer["daemons"]], [False, False, True, False])


class Running(ClusterTest):
    def test_a_disk_that_moves(self):
        c = self.cluster
        c.run("mb", "b")
        data = {f"b/{i}": content(300 * KIB + i, i) for i in range(20)}
        for name, value in data.items():
            c.put_bytes(value, name)
        new = os.path.join(c.home, "new-disk")
        certificate = c.run("osd", "rebuild", "osd.2", "--disk", new, "--json").json
        self.assertTrue(certificate["proven"])
        self.assertEqual(certificate["rebuilt"], certificate["expected"])
        self.assertTrue(os.path.exists(os.path.join(new, "superblock")))
        with open(c.path("certificates", f"osd.2-{certificate['index']}.json")) as f:
            self.assertEqual(json.load(f)["verified"], certificate["verified"])
        again = c.run("osd", "rebuild", "osd.2", "--disk", new, "--json").json
        self.assertEqual(again["rebuilt"], 0)
        c.run("osd", "rebuild", "3", "--disk", new, code=USAGE)
        c.down()
        c.up()
        c.kill_osds(0, 1)
        for name, value in data.items():
            self.assertEqual(c.get_bytes(name), value)

    def test_rebuild_starts_the_daemon_and_goes_on_after_an_interruption(self):
        c = self.cluster
        c.run("mb", "b")
        c.put(self.file(120 * MIB), "b/big")
        c.wipe_osd(4)
        process = c.start("osd", "rebuild", "4")
        time.sleep(0.4)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertIn(process.returncode, (130, OK))
        certificate = c.run("osd", "rebuild", "4", "--json").json
        self.assertTrue(certificate["proven"])
        self.assertEqual(c.run("verify", "--json").json["state"], "good")

    def test_an_interrupted_get_leaves_no_file(self):
        c = self.cluster
        c.run("mb", "b")
        c.put(self.file(200 * MIB), "b/big")
        target = os.path.join(c.home, "target")
        os.mkdir(target)
        interrupted = 0
        for delay in (0.01, 0.03, 0.06, 0.1):
            process = c.start("get", "b/big", os.path.join(target, "copy"))
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            if process.returncode == OK:
                os.unlink(os.path.join(target, "copy"))
            else:
                interrupted += 1
                self.assertIn(process.returncode, (130, -signal.SIGINT))
            self.assertEqual(os.listdir(target), [])
        self.assertGreater(interrupted, 0)

    def test_get_to_devices_and_closed_pipes(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(content(3 * MIB, 1), "b/k")
        c.run("get", "b/k", "/dev/null")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        c.run("get", "b/k", "/dev/full", code=FAILURE)
        c.run("get", "b/k", c.home, code=USAGE)
        reader, writer = os.pipe()
        process = c.start("get", "b/k", "-", stdout=writer)
        os.close(writer)
        os.close(reader)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, FAILURE)

    def test_keys_that_make_no_path_stay_out_of_folders(self):
        c = self.cluster
        c.run("mb", "b")
        for key in ("t/../../escape", "t//double", "t/.", "t/fine"):
            c.put_bytes(b"x", f"b/{key}")
        back = os.path.join(c.home, "x", "back")
        c.run("get", "-r", "b/t", back, code=USAGE)
        self.assertEqual(os.listdir(back), ["fine"])
        self.assertEqual(sorted(os.listdir(os.path.join(c.home, "x"))), ["back"])

    def test_rm_recursive_spares_neighbours(self):
        c = self.cluster
        c.run("mb", "b")
        for key in ("a", "a/1", "a/2", "ab", "b"):
            c.put_bytes(b"x", f"b/{key}")
        self.assertEqual(c.run("rm", "b/a", "--recursive", "--json").json["deleted"], 3)
        self.assertEqual([e["key"] for e in c.run("ls", "b", "--json").json["entries"]], ["ab", "b"])
        c.run("rm", "b/nothing", "--recursive", code=3)

    def test_bench(self):
        c = self.cluster
        for args in (["put"], ["get", "--objects", "6", "--keep"], ["mixed", "--objects", "4"]):
            answer = c.run("bench", *args, "--size", "300KiB", "--concurrency", "3", "--seconds", "1", "--json").json
            self.assertEqual(answer["errors"], 0, answer)
            self.assertGreater(answer["mb_per_s"], 0)
            self.assertGreater(answer["operations"], 3)
            self.assertLessEqual(answer["p50_ms"], answer["p99_ms"])
            kept = answer["bucket"] if answer["kept"] else None
            self.assertEqual([b["bucket"] for b in c.run("ls", "--json").json["buckets"]], [kept] if kept else [])
            if kept:
                c.kill_osds(1, 4)
                answer = c.run("bench", "get", "--bucket", kept, "--seconds", "1", "--json").json
                self.assertEqual(answer["errors"], 0, answer)
                self.assertGreater(answer["degraded_stripes"], 0)
                c.up()
                c.run("rb", kept, "--force")

    def test_status_promises_nothing_that_was_not_read(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(content(2 * MIB, 1), "b/k")
        self.assertEqual(c.status()["state"], "unverified")
        self.assertIn("never", c.run("status").out)
        c.run("verify")
        self.assertEqual(c.status()["state"], "verified")
        self.assertIn("not verified since", c.run("status").out)
        self.assertNotIn("healthy", c.run("status").out.lower())
        c.wipe_osd(3)
        c.up()
        self.assertEqual(c.status()["state"], "degraded")
        self.assertIn("osd.3", c.run("status").out)


if __name__ == "__main__":
    main()
