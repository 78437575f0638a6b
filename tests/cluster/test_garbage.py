#!/usr/bin/env python3
"""Fragments of puts that died: clients are killed in mid-put; when their sessions are over and the retention, too, the space is
back on all OSDs, and nothing else is missing. Dry runs change nothing; leaders may die between the mark and the sweep."""
import os
import signal
import time

from lilio import MIB, NOT_FOUND, OK, USAGE, ClusterTest, content, disk_use, main, wait_until

SESSION_S = 45  # of silence, until a dead client's session is over: 30 s and what the clock's ticks add


class Garbage(ClusterTest):
    def gc(self, *args, code=OK):
        return self.cluster.run("gc", *args, "--json", code=code).json

    def used(self):
        return sum(disk_use(self.cluster.path(f"osd.{i}", "segments")) for i in range(6))

    def orphans(self):
        """Fragments, as the OSDs found them when they last looked."""
        return self.gc("status")["orphan_fragments"]

    def look(self):
        return self.gc("run", "--dry-run")["orphan_fragments"]

    def sessions(self):
        return self.cluster.status()["sessions"]

    def fragments(self):
        return sum(o["fragments"] for o in self.cluster.status()["osds"])

    def die_in_mid_put(self, count):
        """Puts that are fed slowly, so that many stripes are stored and none is committed."""
        c = self.cluster
        clients, before = [], self.used()
        for i in range(count):
            client = c.start("put", "-", f"b/dies{i}", stdin=-1)
            client.stdin.write(content(40 * MIB, 1000 + i))
            client.stdin.flush()
            clients.append(client)
        wait_until(lambda: self.used() > before + count * 24 * MIB, 60, "stripes of the puts to be stored")
        for client in clients:
            client.send_signal(signal.SIGKILL)
            client.communicate()

    def stays(self):
        objects = {f"b/stays{i}": content(MIB + i, i) for i in range(6)}
        for name, data in objects.items():
            self.cluster.put_bytes(data, name)
        return objects

    def check(self, objects):
        c = self.cluster
        for name, data in objects.items():
            self.assertEqual(c.get_bytes(name), data)
        result = c.run("verify", "--json").json
        self.assertEqual((result["fragments_missing"], result["fragments_corrupt"]), (0, 0))
        c.run("get", "b/dies0", "-", code=NOT_FOUND)


class Retention(Garbage):
    options = {"orphan_retention": "3s"}

    def test_space_of_dead_puts_comes_back(self):
        c = self.cluster
        c.run("mb", "b")
        objects = self.stays()
        before, fragments = self.used(), c.run("verify", "--json").json["fragments_good"]
        self.assertGreater(fragments, 0)
        self.die_in_mid_put(3)
        # The sessions are open: age alone makes nothing an orphan.
        time.sleep(8)
        self.assertEqual(self.orphans(), 0)
        found = self.gc("run", "--dry-run")
        self.assertEqual(found["orphan_fragments"], 0)
        self.assertGreater(sum(o["open_fragments"] for o in found["osds"]), 30)
        self.gc("run", "--now", "--yes")
        self.assertGreater(self.used(), before + 3 * 16 * MIB)
        # They end; nobody has to ask.
        wait_until(lambda: self.used() < before + MIB, SESSION_S + 60, "the space to come back")
        wait_until(lambda: self.orphans() == 0, 30, "the quarantine to be empty")
        wait_until(lambda: self.fragments() == fragments, 30, "heartbeats to tell the fragments")
        for osd in self.gc("status")["osds"]:
            self.assertGreater(osd["deleted_fragments"], 0, osd)
            self.assertIsNone(osd["error"])
        self.check(objects)


class Leaders(Garbage):
    options = {"coordinators": 3}

    def leader(self):
        return next(i["id"] for i in self.cluster.status()["coordinators"] if i["role"] == "leader")

    def marks(self, osd):
        with open(self.cluster.path(f"osd.{osd}", "orphans"), "rb") as f:
            return f.read()

    def test_dry_runs_now_and_a_leader_that_dies(self):
        c = self.cluster
        c.run("mb", "b")
        objects = self.stays()
        before = self.used()
        self.die_in_mid_put(2)
        wait_until(lambda: self.sessions() == 0, SESSION_S + 30, "the sessions to be over")
        found = self.gc("run", "--dry-run", "--now")
        self.assertGreater(found["orphan_fragments"], 30)
        self.assertGreater(found["orphan_bytes"], 2 * 16 * MIB)
        for osd in found["osds"]:
            self.assertGreater(len(osd["first"]), 0)
            self.assertFalse(os.path.exists(c.path(f"osd.{osd['osd']}", "orphans")))
        again = self.gc("run", "--dry-run")
        self.assertEqual(again["orphan_fragments"], found["orphan_fragments"])
        self.assertGreater(self.used(), before + 2 * 16 * MIB)
        c.run("gc", "run", "--now", code=USAGE)  # nobody can be asked

        # Marked; the retention is a day. The leader dies, an OSD starts anew: the marks are there.
        marked = self.gc("run")
        self.assertEqual(marked["orphan_fragments"], found["orphan_fragments"])
        self.assertEqual(marked["deleted_bytes"], 0)
        self.assertTrue(all(os.path.getsize(c.path(f"osd.{i}", "orphans")) > 60 for i in range(6)))
        marks = self.marks(2)
        dead = self.leader()
        c.kill(f"coordinator.{dead}")
        c.kill_osds(2)
        c.up()
        wait_until(lambda: all(o["state"] == "up" for o in c.status()["osds"]), 30, "osd.2 to be back")
        held = self.gc("run")
        self.assertEqual(held["orphan_fragments"], found["orphan_fragments"])
        self.assertEqual(held["deleted_bytes"], 0)
        self.assertEqual(self.marks(2), marks)  # as they were, not anew
        wait_until(lambda: min(f["waited_ms"] for o in self.gc("run")["osds"] for f in o["first"]) > 0, 30, "cluster time to go on")

        c.kill(f"coordinator.{self.leader()}")
        swept = c.run("gc", "run", "--now", "--yes", "--json", code=None)
        if swept.code != OK:  # it had no leader for too long
            swept = c.run("gc", "run", "--now", "--yes", "--json")
        wait_until(lambda: self.used() < before + MIB, 60, "the space to come back")
        self.assertEqual(self.look(), 0)
        c.up()
        self.check(objects)


if __name__ == "__main__":
    main()
