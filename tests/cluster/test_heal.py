#!/usr/bin/env python3
"""Faults mend themselves, without a rebuild: what a put could not write, what a reader met, while coordinators are killed; what is
beyond saving is named and holds up nothing else."""
import os

from lilio import KIB, LOST, MIB, OK, USAGE, ClusterTest, content, main, wait_until

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
        self.assertIn("14 for OSDs that are not up", c.run("repair", "--watch").out)
        c.up()
        self.healed()
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
        self.assertIn("b/lost", c.run("repair", "--watch").out)
        verify = c.run("verify", "--json", code=LOST).json
        self.assertEqual(verify["fragments"] - verify["fragments_good"], 3)
        self.check_all(objects)
        c.run("rm", "b/lost")
        self.healed()
        self.assertEqual(c.run("repair", "--json").json["failures"], [])

    def test_the_dial_is_kept(self):
        c = self.cluster
        self.assertEqual(c.run("repair", "--json").json["priority"], "normal")
        self.assertEqual(c.run("repair", "--priority", "high", "--json").json["priority"], "high")
        c.run("repair", "--priority", "fast", code=USAGE)
        c.kill(f"coordinator.{self.leader()}")
        wait_until(lambda: c.run("repair", "--json", code=None).code == OK, 30, "a new leader")
        self.assertEqual(c.run("repair", "status", "--json").json["priority"], "high")
        c.kill(*c.names())
        c.up()
        self.assertEqual(c.run("repair", "--json").json["priority"], "high")


if __name__ == "__main__":
    main()
