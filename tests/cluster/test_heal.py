#!/usr/bin/env python3
"""Faults mend themselves, without a rebuild: what a put could not write, what a reader met, while coordinators are killed; what is
beyond saving is named and holds up nothing else."""
import contextlib
import os
import time
import unittest

from lilio import BIN, DAMAGED, KIB, LOST, MIB, OK, UNAVAILABLE, USAGE, ClusterTest, content, main, small_cluster, wait_until

SEED = int(os.environ.get("LILIO_SEED", "1"))


def overwrite(path, marker, count=1):
    """Flips a bit in each of `count` places where marker is found. True if there were that many."""
    with open(path, "r+b") as f:
        data, at, done = f.read(), -1, 0
        while done < count and (at := data.find(marker, at + 1)) >= 0:
            f.seek(at)
            f.write(bytes([data[at] ^ 1]))
            done += 1
    return done == count


@contextlib.contextmanager
def faulty_disks(cluster):
    """What is started meanwhile gets a disk that can be made to fail, by a text for tests/support/disk_faults.c."""
    switch = cluster.path("switch")

    def turn(text):
        with open(switch + ".new", "w") as f:
            f.write(text)
        os.rename(switch + ".new", switch)
    os.environ |= {"LD_PRELOAD": os.path.join(os.path.dirname(BIN), "tests", "libdisk_faults.so"), "LILIO_FAULT_SWITCH": switch}
    try:
        yield turn
    finally:
        del os.environ["LD_PRELOAD"], os.environ["LILIO_FAULT_SWITCH"]


class Heal(ClusterTest):
    options = {"coordinators": 3, "osds": 6}

    def setUp(self):
        super().setUp()
        self.cluster.run("mb", "b")

    def healed(self, rows=0, seconds=60):
        """Repair came to its end by itself, and every fragment proves it."""
        c = self.cluster
        wait_until(lambda: c.status()["repair_rows"] == rows, seconds, "the repair rows to go")

    def verified(self):
        verify = self.cluster.run("verify", "--json").json
        self.assertEqual(verify["fragments"], verify["fragments_good"])
        return verify

    def leader(self):
        return next(x["id"] for x in self.cluster.status()["coordinators"] if x["role"] == "leader")

    def fill(self, count, size, seed):
        objects = {f"b/{seed}.{i}": content(size, seed * 1000 + i) for i in range(count)}
        for name, data in objects.items():
            self.cluster.put_bytes(data, name)
        return objects

    def check_all(self, objects):
        for name, data in objects.items():
            self.assertEqual(self.cluster.get_bytes(name), data, name)

    def test_puts_without_one_osd(self):
        c = self.cluster
        c.kill_osds(2)
        objects = self.fill(12, 300 * KIB, SEED)
        objects |= self.fill(2, 9 * MIB + 5, SEED + 1)
        self.assertEqual(c.status()["repair_rows"], 14)
        self.assertEqual(c.run("explain", next(iter(objects)), "--json").json["worst_kept"], 5)  # the maps know what is not there
        watch = c.run("repair", "--watch", code=UNAVAILABLE)
        self.assertIn("14 for OSDs that are not up", watch.out)
        self.assertRegex(watch.out, "they wait\n +for osd.2: (suspect|down)\n$")
        c.run("repair", "--deadline", "1s")
        wait_until(lambda: c.run("repair", "--json").json["deadline"] == "passed", 10, "the deadline to have passed")
        self.assertRegex(c.run("repair").out, "deadline +passed .* ago; what is left goes at the priority")
        c.up()
        self.healed()
        self.assertRegex(c.run("repair", "--watch").out, "left +nothing: .*\n$")
        self.verified()
        self.check_all(objects)

    def test_widths_that_came_later(self):
        """OSDs that have mended before follow the map to placements they did not know."""
        c = self.cluster
        c.kill_osds(2)
        objects = self.fill(2, 64 * KIB, SEED + 12)
        c.up()
        self.healed()
        c.run("mb", "wide", "--profile", "3+2")
        c.kill_osds(2)
        for i in range(6):
            objects[f"wide/{i}"] = content(200 * KIB, SEED + 20 + i)
            c.put_bytes(objects[f"wide/{i}"], f"wide/{i}")
        self.assertGreater(c.status()["repair_rows"], 0)
        c.up()
        self.healed()
        self.verified()
        self.check_all(objects)

    def test_leader_killed_meanwhile(self):
        c = self.cluster
        c.kill_osds(4)
        objects = self.fill(40, 100 * KIB, SEED + 2)
        c.up()
        c.kill(f"coordinator.{self.leader()}")
        self.healed()
        c.up()
        self.verified()
        self.check_all(objects)

    def test_reader_meets_flipped_bits(self):
        c = self.cluster
        data = content(64 * KIB, SEED + 5)  # fragment 0 of a stripe of 4+2 begins with its bytes
        c.put_bytes(data, "b/flipped")
        objects = self.fill(5, 64 * KIB, SEED + 6)
        self.hit(data, 0)
        self.assertEqual(c.get_bytes("b/flipped"), data)
        self.healed()
        self.verified()
        self.check_all(objects | {"b/flipped": data})

    def hit(self, data, at):
        """A bit of these bytes of an object, in the one segment that holds them."""
        hits = sum(overwrite(s, data[at:at + 64]) for osd in range(6) for s in self.cluster.segments(osd))
        self.assertEqual(hits, 1)

    def test_object_beyond_saving_is_named_and_holds_up_none(self):
        c = self.cluster
        lost = content(64 * KIB, SEED + 8)
        c.put_bytes(lost, "b/lost")
        objects = self.fill(8, 64 * KIB, SEED + 9)
        for at in (0, 17 * KIB, 33 * KIB):  # three of its four data fragments
            self.hit(lost, at)
        c.run("get", "b/lost", "-", binary=True, code=LOST)
        for name, data in objects.items():
            self.hit(data, 50 * KIB)
            self.assertEqual(c.get_bytes(name), data, name)
        wait_until(lambda: c.status()["repair_rows"] == 1 and c.status()["repair_failed"] == 1, 60, "the others to be mended")
        repair = c.run("repair", "--json").json
        self.assertEqual([f["objects"] for f in repair["failures"]], ["b/lost"])
        self.assertEqual(repair["levels"], [{"readable": False, "margin": 0, "runs": 1}])
        self.assertIsNone(repair["eta_ms"])  # nobody knows when, or whether
        self.assertEqual(repair["fill"]["eta_ms"], 0)  # there is nothing to fill
        self.assertIn("b/lost", c.run("repair", "--watch", code=LOST).out)
        verify = c.run("verify", "--json", code=LOST).json
        self.assertEqual(verify["fragments"] - verify["fragments_good"], 3)
        self.check_all(objects)
        c.run("rm", "b/lost")
        self.healed()
        repair = c.run("repair", "--json").json
        self.assertEqual((repair["failures"], repair["eta_ms"]), ([], 0))

    def test_lost_stripe_keeps_no_other_waiting(self):
        c = self.cluster
        data = content(8 * MIB, SEED + 15)  # two stripes
        c.put_bytes(data, "b/half")
        for fragment in range(3):
            self.hit(data, fragment * MIB)
        c.run("get", "b/half", "-", binary=True, code=LOST)
        wait_until(lambda: c.status()["repair_failed"] == 1, 60, "the first attempt to fail")
        for fragment in (4, 5):
            self.hit(data, fragment * MIB)
        c.run("verify", code=LOST)
        wait_until(lambda: c.run("repair", "--json").json["fragments"] == 3, 15, "the other stripe to be whole again")
        self.assertEqual(c.run("explain", "b/half", "--json", code=LOST).json["worst_kept"], 3)

    def test_the_dial_is_kept(self):
        c = self.cluster
        self.assertEqual(c.run("repair", "--json").json["priority"], "normal")
        self.assertEqual(c.run("repair", "--priority", "high", "--json").json["priority"], "high")
        self.assertEqual(c.run("repair", "--json").json["deadline"], "none")
        c.run("repair", "--deadline", "soon", code=USAGE)
        c.run("repair", "--deadline", "0", code=USAGE)
        c.run("repair", "--deadline", "4h")
        c.run("repair", "--priority", "fast", code=USAGE)
        c.kill(f"coordinator.{self.leader()}")
        wait_until(lambda: c.run("repair", "--json", code=None).code == OK, 30, "a new leader")
        self.assertEqual(c.run("repair", "status", "--json").json["priority"], "high")
        c.kill(*c.names())
        c.up()
        repair = c.run("repair", "--json").json
        self.assertEqual(repair["priority"], "high")
        self.assertTrue(3.9 * 3600e3 < repair["deadline_ms"] <= 4 * 3600e3, repair)
        wait_until(lambda: c.run("repair", "--json").json["deadline"] == "kept", 10, "the deadline to be kept, as nothing is to be done")
        self.assertIn("it will be kept", c.run("repair").out)
        c.run("repair", "--deadline", "2s")
        wait_until(lambda: c.run("repair", "--json").json["deadline"] == "met", 10, "the deadline to have been kept")
        self.assertRegex(c.run("repair").out, "deadline +was kept; it was .* ago")
        self.assertEqual(c.run("repair", "--json").json["deadline_ms"], 0)
        self.assertGreater(c.run("repair", "--json").json["deadline_ago_ms"], 0)
        c.run("repair", "--deadline", "none")
        wait_until(lambda: c.run("repair", "--json").json["deadline"] == "none", 10, "no deadline")


class Moves(ClusterTest):
    """An OSD that is gone for good needs nobody: others take its slots and fill them."""
    options = {"coordinators": 3, "osds": 5, "profile": "2+1"}

    def setUp(self):
        super().setUp()
        c = self.cluster
        c.configure(down_ms=2000, out_ms=4000)
        c.run("mb", "b")
        self.objects = {}

    def put(self, name, size, seed, code=OK):
        data = content(size, seed)
        done = self.cluster.put_bytes(data, f"b/{name}", code=code).code == OK
        if done:
            self.objects[f"b/{name}"] = data
        return done

    def check_all(self):
        for name, data in self.objects.items():
            self.assertEqual(self.cluster.get_bytes(name), data, name)

    def is_full(self):
        status = self.cluster.status()
        redundancy = status.get("redundancy")
        return redundancy and redundancy["whole"] == redundancy["stripes"] and status["repair_rows"] == 0 and \
            not any(o["filling_slots"] for o in status["osds"])

    def gone_and_full(self, osd, seconds=60):
        wait_until(lambda: self.cluster.status()["osds"][osd]["state"] == "out" and self.is_full(), seconds, "redundancy without it")

    def waited_for(self):
        return [o["osd"] for o in self.cluster.run("repair", "--json").json["left"]["waits_for"]]

    def verified(self):
        verify = self.cluster.run("verify", "--json").json
        self.assertEqual(verify["fragments"], verify["fragments_good"])
        self.assertEqual(verify["fragments"], 3 * sum(-(-len(d) // (2 * MIB)) for d in self.objects.values()))

    def test_gone_for_good_under_puts(self):
        c = self.cluster
        for i in range(25):
            self.put(f"before.{i}", 60 * KIB + i, SEED + i)
        self.put("large", 9 * MIB + 1, SEED + 90)
        c.kill_osds(2)
        end, i = False, 0
        while not end:  # 2+1 takes no puts without all three, until the slots have moved
            end = self.put(f"after.{i}", 30 * KIB + i, SEED + 100 + i, code=None) and i > 20 and self.is_full()
            i += 1
        self.gone_and_full(2)
        self.verified()
        self.check_all()
        self.assertIn("osd.2 is out", c.run("status").out)
        c.up()  # it comes back, owns nothing, and breaks nothing
        wait_until(lambda: c.status()["osds"][2]["state"] == "up", 30, "osd.2 to be up")
        self.put("again", 100 * KIB, SEED + 200)
        self.verified()
        self.check_all()
        rebuild = c.run("osd", "rebuild", "2")
        self.assertIn("expected  0 fragments", rebuild.out)
        self.gone_again(0)

    def gone_again(self, osd):
        """The one that came back takes slots of the next one that goes; a leader dies meanwhile."""
        c = self.cluster
        c.kill_osds(osd)
        leader = next(x["id"] for x in c.status()["coordinators"] if x["role"] == "leader")
        c.kill(f"coordinator.{leader}")
        self.gone_and_full(osd)
        for i, line in enumerate(c.run("osd", "ls").out.splitlines()[1:6]):
            if i == osd:
                self.assertRegex(line, rf"^osd\.{i} +out +complete +- +- +- ")  # this leader never heard it: that is not 0 B
            else:
                self.assertRegex(line, rf"^osd\.{i} +(up|suspect) +complete +\d+ +\d[^-]+B +\d[^-]+B ")
        self.verified()
        self.check_all()

    def test_says_who_goes_out_when(self):
        c = self.cluster

        def are(*states):
            return [o["state"] for o in c.status()["osds"]] == list(states)

        def lines():
            return [line for line in c.run("status").out.splitlines() if "osd." in line or "over a third" in line]

        wait_until(lambda: are(*["up"] * 5), 30, "all OSDs")
        c.kill_osds(4)
        wait_until(lambda: are(*["up"] * 4, "down"), 30, "osd.4 to be down")
        status = c.status()
        self.assertEqual((status["osds"][4]["goes_out"]["behind_osd"], status["osds"][3]["goes_out"], status["many_osds_away"]),
                         (None, None, False))
        self.assertTrue(0 < status["osds"][4]["goes_out"]["in_ms"] <= 2000, status["osds"][4])
        said = lines()
        if are(*["up"] * 4, "down"):  # it is for two seconds
            self.assertRegex("".join(said), r"osd\.4 is down, silent for .*, goes out (in|now)")
        c.up()
        wait_until(lambda: all(o["state"] in ("up", "suspect") for o in c.status()["osds"]), 30, "all OSDs")
        c.kill_osds(2, 3)
        wait_until(lambda: [o["state"] for o in c.status()["osds"]].count("down") == 2, 30, "two of five to be down")
        wait_until(lambda: c.status()["osds"][2]["silent_ms"] > 5000, 30, "the time after which they would be out")
        said = "".join(lines())
        self.assertIn("over a third of the OSDs are away: no other goes out", said)
        self.assertNotIn("goes out in", said)
        self.assertNotIn("goes out now", said)
        status = c.status()
        self.assertEqual([o["state"] for o in status["osds"]].count("down"), 2)
        self.assertTrue(status["many_osds_away"])

    def taken_over(self, osd, state):
        """It answers, so it is not out, but its slots go as if it were."""
        c = self.cluster
        wait_until(lambda: c.status()["osds"][osd]["state"] == state, 30, f"osd.{osd} to be {state}")
        said = c.run("status").out
        if c.status()["osds"][osd]["goes_out"]:  # it may have gone by now
            self.assertRegex(said, rf"osd\.{osd} is {state}, .*, its slots go to others (in \d|now)")
        wait_until(self.is_full, 60, "redundancy without it")
        self.assertEqual(c.status()["osds"][osd]["state"], state)
        self.check_all()

    def test_a_blank_one_that_is_left_alone(self):
        c = self.cluster
        for i in range(10):
            self.put(f"o.{i}", 60 * KIB + i, SEED + i)
        c.wipe_osd(2)
        c.up()
        self.taken_over(2, "blank")
        self.put("meanwhile", 100 * KIB, SEED + 50)
        self.assertIn("expected  0 fragments", c.run("osd", "rebuild", "2").out)
        self.assertEqual(c.status()["osds"][2]["state"], "up")
        self.put("again", 100 * KIB, SEED + 51)
        self.verified()
        c.kill_osds(0)  # gives it something to do again
        self.gone_and_full(0)
        self.verified()
        self.check_all()

    @unittest.skipIf(os.environ.get("LILIO_SANITIZE"), "another library comes first")
    def test_a_failed_one_that_is_left_alone(self):
        c = self.cluster
        for i in range(10):
            self.put(f"o.{i}", 60 * KIB + i, SEED + i)
        c.kill_osds(2)
        with faulty_disks(c) as switch:
            c.up()
        wait_until(lambda: c.status()["osds"][2]["state"] == "up", 30, "osd.2 to be up")
        switch("write-eio 1 " + c.path("osd.2"))
        wait_until(lambda: not self.put("breaks it", 300 * KIB, SEED + 40, code=None) or c.status()["osds"][2]["state"] == "failed", 30,
                   "a put that meets the bad disk")
        self.taken_over(2, "failed")
        self.put("meanwhile", 100 * KIB, SEED + 50)
        c.kill_osds(2)
        c.up()
        wait_until(lambda: c.status()["osds"][2]["state"] == "up", 30, "osd.2 to be well again")
        self.verified()
        self.check_all()

    def test_nowhere_to_go(self):
        """Two disks that die one after the other are healed; what is as wide as the cluster needs a replacement, and that is said."""
        c = self.cluster
        for i in range(10):
            self.put(f"o.{i}", 60 * KIB + i, SEED + i)
        c.kill_osds(4)
        wait_until(lambda: c.status()["osds"][4]["state"] == "out", 30, "osd.4 to be out")
        left = c.run("repair", "--watch", "--json").json["left"]  # the slots of osd.4 fill elsewhere before it ends
        self.assertEqual((left["stripes"], left["goes_on"], left["waits_for"]), (0, False, []))
        self.gone_and_full(4, seconds=1)
        c.run("explain", "b/o.1")
        looks = c.run("gc", "status", "--json", code=UNAVAILABLE).json["osds"]
        self.assertEqual([o["reason"] for o in looks], [None] * 4 + ["it is out"])  # it was not waited for
        said = c.run("gc", "status", code=UNAVAILABLE).out
        self.assertRegex(said, r"osd\.4 +- .*it is out")
        c.kill_osds(3)
        wait_until(lambda: c.run("repair", "--json").json["left"]["stripes"], 30, "osd.3 to be missed")
        self.assertNotIn(4, self.waited_for())  # it is away as well, but has nothing that others wait for
        self.gone_and_full(3)  # one after the other, though nobody replaced the first one
        self.check_all()
        c.up()
        wait_until(self.is_full, 60, "everything to be there again")
        self.verified()
        wide = c.run("mb", "wide", "--profile", "3+2")
        self.assertEqual(wide.code, OK)
        c.put_bytes(content(50 * KIB, SEED), "wide/o")
        c.kill_osds(4)
        wait_until(lambda: c.status().get("redundancy", {}).get("stranded") == 1, 60, "the stripe that has nowhere to go")
        self.assertIn("have no OSD to go to", c.run("status").out)
        self.assertEqual(self.waited_for(), [4])
        self.assertEqual(c.get_bytes("wide/o"), content(50 * KIB, SEED))
        c.wipe_osd(4)
        c.up()
        wait_until(lambda: c.status()["osds"][4]["state"] == "blank", 30, "osd.4 to be blank")
        self.assertIn("1 stripes have no OSD to go to", c.run("status").out)
        c.run("osd", "rebuild", "4")
        self.assertEqual(c.status()["redundancy"]["stranded"], 0)

    def test_many_at_once(self):
        """More than a third gone is no time to move anything: they come back with what they had."""
        c = self.cluster
        for i in range(10):
            self.put(f"o.{i}", 60 * KIB + i, SEED + i)
        c.kill_osds(3, 4)
        wait_until(lambda: all(c.status()["osds"][i]["state"] == "down" for i in (3, 4)), 30, "both to be down")
        end = time.monotonic() + 10  # out would be 4 s
        while time.monotonic() < end:
            osds = c.status()["osds"]
            self.assertEqual([osds[i]["state"] for i in (3, 4)], ["down", "down"])
            self.assertFalse(any(o["filling_slots"] for o in osds))
        c.up()
        wait_until(self.is_full, 60, "everything to be there again")
        self.verified()
        self.check_all()


@unittest.skipUnless(os.geteuid() == 0, "a small tmpfs needs root to mount")
class NoRoom(unittest.TestCase):
    def test_what_could_not_be_mended_is_tried_again(self):
        with small_cluster(self, "osd.2", "128m", coordinators=1, osds=6) as (c, small):
            c.up()
            c.run("mb", "b")
            c.kill_osds(2)
            for i in range(3):
                c.put_bytes(content(300 * KIB, SEED + i), f"b/{i}")
            with open(os.path.join(small, "filler"), "wb") as f:  # an eighth is kept for the index
                space = os.statvfs(small)
                os.posix_fallocate(f.fileno(), 0, space.f_bavail * space.f_frsize - 14 * MIB)
            c.up()
            wait_until(lambda: c.status()["repair_failed"] == 3, 30, "all three to fail")
            said = c.run("repair", "--watch", code=DAMAGED).out
            self.assertIn("for another attempt: 3 stored runs", said)
            self.assertRegex(said, r"not mended +b/\d: osd\.2: .*\(tried \d times, again in ")
            self.assertEqual([c.get_bytes(f"b/{i}") for i in range(3)], [content(300 * KIB, SEED + i) for i in range(3)])


if __name__ == "__main__":
    main()
