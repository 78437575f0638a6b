#!/usr/bin/env python3
"""More OSDs gone than parity covers, the coordinator gone, a foreign disk, a cut network: errors within seconds that name
what is missing, nothing hangs, all comes back when they do."""
import os
import shutil
import signal

from lilio import EXISTS, MIB, OK, UNAVAILABLE, UNKNOWN, Cluster, ClusterTest, content, main, wait_until


class Gone(ClusterTest):
    def test_three_of_six_gone(self):
        c = self.cluster
        c.run("mb", "b")
        data = content(9 * MIB, 1)
        c.put_bytes(data, "b/k")
        c.kill_osds(0, 2, 4)
        for args, payload in ((("get", "b/k", "-"), None), (("put", "-", "b/new"), data)):
            result = c.run(*args, data=payload, code=(UNAVAILABLE, 8), timeout=40)
            self.assertIn("osd.", result.err)
            self.assertLess(result.seconds, 25)
        c.up()
        self.assertEqual(c.get_bytes("b/k"), data)
        c.put_bytes(data, "b/new")

    def test_three_of_six_silent(self):
        c = self.cluster
        c.run("mb", "b")
        data = content(9 * MIB, 1)
        c.put_bytes(data, "b/k")
        c.kill("osd.1", "osd.3", "osd.5", sig=signal.SIGSTOP)
        try:
            c.run("get", "b/k", "-", code=(UNAVAILABLE, 8), timeout=60)
            c.run("put", "-", "b/new", data=data, code=(UNAVAILABLE,), timeout=60)
        finally:
            c.kill("osd.1", "osd.3", "osd.5", sig=signal.SIGCONT)
        wait_until(lambda: c.run("get", "b/k", "-", binary=True, code=None).out == data, 30, "the paused OSDs")

    def test_coordinator_gone_and_back(self):
        c = self.cluster
        c.run("mb", "b")
        data = content(5 * MIB, 1)
        c.put_bytes(data, "b/k")
        c.kill("coordinator.0")
        for args in (("get", "b/k", "-"), ("put", "-", "b/x"), ("ls",), ("status",)):
            result = c.run(*args, "--timeout", "2s", data=b"x" if args[0] == "put" else None, code=UNAVAILABLE, timeout=30)
            self.assertIn("coordinator", result.err)
        c.up()
        self.assertEqual(c.get_bytes("b/k"), data)
        wait_until(lambda: all(o["state"] == "up" for o in c.status()["osds"]), 30, "the OSDs to attach again")

    def test_foreign_and_doubled_disks_are_refused(self):
        c = self.cluster
        other = Cluster()
        self.addCleanup(other.close)
        c.run("mb", "b")
        data = content(3 * MIB, 1)
        c.put_bytes(data, "b/k")
        c.kill_osds(2)
        other.kill_osds(2)
        shutil.rmtree(c.path("osd.2"))
        shutil.copytree(other.path("osd.2"), c.path("osd.2"))
        out = c.up()
        self.assertIn("osd.2", out.out + out.err)
        self.assertEqual(c.get_bytes("b/k"), data)
        import subprocess
        from lilio import BIN
        second = subprocess.run([os.path.join(BIN, "lilio-osd"), "--config", c.path("lilio.yaml"), "--id", "1"], capture_output=True,
                                text=True, timeout=30)
        self.assertEqual(second.returncode, 1, second.stderr)
        self.assertTrue(second.stderr)

    def test_up_is_idempotent_and_refuses_conflicts(self):
        c = self.cluster
        c.up()
        pids = {n: c.pid(n) for n in c.names()}
        c.kill_osds(3)
        c.up()
        now = {n: c.pid(n) for n in c.names()}
        self.assertEqual({n for n in pids if pids[n] != now[n]}, {"osd.3"})
        c.run("up", "--dir", c.dir, "--detach", "--osds", "7", config=False, code=2)
        c.run("up", "--dir", c.dir, "--detach", "--profile", "2+1", config=False, code=2)
        c.down()
        self.assertFalse([n for n in c.names() if c.pid(n)])
        c.down()
        c.up()
        c.run("mb", "after")

    def test_lost_maps_are_refused(self):
        c = self.cluster
        c.run("mb", "b")
        c.down()
        shutil.rmtree(c.path("coordinator.0"))
        result = c.up(code=None)
        self.assertNotEqual(result.code, OK)
        self.assertIn("coordinator", result.err)
        self.assertFalse(os.path.exists(c.path("coordinator.0")), "the maps were made anew")


class Listening(ClusterTest):
    options = {"listen": "127.0.0.1:0"}

    def test_tcp(self):
        c = self.cluster
        c.run("mb", "b")
        data = content(11 * MIB, 2)
        c.put_bytes(data, "b/k")
        self.assertEqual(c.get_bytes("b/k"), data)
        c.kill_osds(0, 1)
        self.assertEqual(c.get_bytes("b/k"), data)
        c.down()
        c.up()
        self.assertEqual(c.get_bytes("b/k"), data)


if __name__ == "__main__":
    main()
