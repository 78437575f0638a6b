#!/usr/bin/env python3
"""An OSD comes back with less than it had: an older copy of its folder is put back. What is gone is found without reading, and
exactly that is mended; an OSD that comes back with everything gives nobody anything to do. One that was out keeps what it had until nobody needs it."""
import os
import shutil
import time

from lilio import KIB, ClusterTest, content, main, wait_until

OLD, NEW, DELETED = 40, 200, 20


class Return(ClusterTest):
    options = {"osds": 6, "gc_grace": "1s"}
    victim = 3

    def osd(self):
        return self.cluster.status()["osds"][self.victim]

    def compared(self):
        """Stops nothing: waits until the OSD that was started said how its comparison ended."""
        wait_until(lambda: self.osd()["inventory"]["rounds"] > 0 and self.osd()["inventory"]["phase"] == "done", 30,
                   "the OSD to be compared with the maps")
        return self.osd()["inventory"]

    def restart(self):
        self.cluster.up()
        wait_until(lambda: self.osd()["state"] == "up", 30, "the OSD to be up")
        return self.compared()

    def fill(self, name, count):
        folder, objects = self.cluster.path(name), {}
        os.mkdir(folder)
        for i in range(count):
            objects[f"{name}/{i}"] = content(20 * KIB, 1000 * len(objects) + ord(name[0]))
            with open(os.path.join(folder, str(i)), "wb") as f:
                f.write(objects[f"{name}/{i}"])
        self.cluster.run("put", "-r", folder, f"b/{name}")
        return objects

    def mended(self):
        """Fragments, by repair."""
        return self.cluster.run("repair", "--json").json["mended"]

    def test_an_older_copy_of_the_folder(self):
        c = self.cluster
        c.run("mb", "b")
        objects = self.fill("old", OLD)

        # Back with all it had: nothing differs, nothing is done.
        self.cluster.kill(f"osd.{self.victim}", sig=15)
        folder, copy = c.path(f"osd.{self.victim}"), c.path("copy")
        shutil.copytree(folder, copy)
        same = self.restart()
        self.assertEqual((same["differed"], same["missing"]), (0, 0))
        self.assertGreater(same["slots"], 100)

        objects |= self.fill("new", NEW)
        for i in range(DELETED // 2):
            for name in (f"old/{i}", f"new/{i}"):
                c.run("rm", f"b/{name}")
                del objects[name]
        wait_until(lambda: c.status()["gc_rows"] == 0, 30, "what was deleted to be collected")
        self.assertEqual(c.status()["repair_rows"], 0)
        before = self.mended()

        self.cluster.kill(f"osd.{self.victim}", sig=15)
        lost = self.osd()["fragments"]
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        found = self.restart()
        # One fragment of each new object (one stripe, six OSDs); of those deleted nothing is missed.
        self.assertEqual(found["missing"], NEW - DELETED // 2)
        self.assertGreater(found["differed"], 0)
        told, waits = c.run("status").out, c.status()["repair_rows"]
        self.assertTrue(waits == 0 or f"came back without {found['missing']} fragments" in told, told)
        wait_until(lambda: c.status()["repair_rows"] == 0, 60, "what was lost to be mended")
        self.assertNotIn("came back without", c.run("status").out)
        wait_until(lambda: self.mended() - before >= found["missing"], 10, "the OSDs to tell what they mended")
        self.assertEqual(self.mended() - before, found["missing"])
        self.assertEqual(self.osd()["inventory"]["missing"], found["missing"])
        verify = c.run("verify", "--json").json
        self.assertEqual(verify["fragments"], verify["fragments_good"])
        for name, data in objects.items():
            self.assertEqual(c.get_bytes(f"b/{name}"), data)
        self.assertGreaterEqual(lost, found["missing"])

        # And once more: of the objects that were deleted it has fragments still, and misses nothing.
        self.cluster.kill(f"osd.{self.victim}", sig=15)
        again = self.restart()
        self.assertEqual(again["missing"], 0)
        self.assertLess(again["differed"], found["differed"])


class Former(ClusterTest):
    options = {"osds": 5, "profile": "2+1"}
    victim = 2

    def setUp(self):
        super().setUp()
        c = self.cluster
        c.configure(down_ms=1500, out_ms=2500)
        c.run("mb", "b")

    def is_full(self):
        status = self.cluster.status()
        redundancy = status.get("redundancy")
        return redundancy and redundancy["whole"] == redundancy["stripes"] and status["repair_rows"] == 0 and \
            not any(o["filling_slots"] for o in status["osds"])

    def fragments(self):
        return [o["fragments"] for o in self.cluster.status()["osds"]]

    def test_what_is_left_of_slots_that_moved(self):
        c = self.cluster
        objects = {f"b/{i}": content(30 * KIB + i, i) for i in range(30)}
        for name, data in objects.items():
            c.put_bytes(data, name)
        wait_until(lambda: sum(self.fragments()) == 90, 20, "heartbeats to tell the fragments")
        had = self.fragments()[self.victim]
        c.kill_osds(self.victim)
        wait_until(lambda: c.status()["osds"][self.victim]["state"] == "out" and self.is_full(), 60, "redundancy without it")
        c.up()
        wait_until(lambda: c.status()["osds"][self.victim]["state"] == "up", 30, "it to be up")
        self.assertEqual(self.fragments()[self.victim], had)
        dry = c.run("gc", "run", "--dry-run")
        self.assertRegex(dry.out, rf"moved away +osd\.{self.victim} has {had} fragments, .* {had} are kept for the retention of ")
        c.run("gc", "run")  # the retention is a day
        self.assertEqual(self.fragments()[self.victim], had)
        for command in ("gc", "status"), ("osd", "ls"):
            told = [o["former"] for o in c.run(*command, "--json").json["osds"]]
            self.assertEqual([f["fragments"] for f in told], [had if i == self.victim else 0 for i in range(5)], command)
            self.assertEqual(told[self.victim]["retention"], had)
            self.assertTrue(had * 15 * KIB <= told[self.victim]["bytes"] <= had * 16 * KIB, told[self.victim])
        self.assertEqual(c.run("osd", "ls").out.count("of slots that other OSDs have now"), 1)
        # A stripe that is not full keeps all that is left of it.
        other = 1 if self.victim != 1 else 0
        c.kill_osds(other)
        wait_until(lambda: c.status()["osds"][other]["state"] in ("down", "out"), 30, "another one to be down")
        self.assertTrue(all(c.get_bytes(name) == data for name, data in objects.items()))
        c.up()
        wait_until(lambda: c.status()["osds"][other]["state"] == "up" and self.is_full(), 60, "it to be back")
        time.sleep(3)  # heartbeats tell what is there now
        total = sum(self.fragments())
        self.assertGreaterEqual(total, 90 + had)
        swept = c.run("gc", "run", "--now", "--yes", "--json").json
        self.assertEqual(sum(o["deleted_former_fragments"] for o in swept["osds"]), total - 90)
        self.assertEqual(sum(o["deleted_fragments"] for o in swept["osds"]), 0)
        self.assertEqual((swept["former_fragments"], swept["former_bytes"]), (0, 0))
        wait_until(lambda: sum(self.fragments()) == 90, 20, "heartbeats to tell that it is gone")
        verify = c.run("verify", "--json").json
        self.assertEqual((verify["fragments"], verify["fragments_good"]), (90, 90))
        self.assertTrue(all(c.get_bytes(name) == data for name, data in objects.items()))


if __name__ == "__main__":
    main()
