#!/usr/bin/env python3
"""Bits flipped in written ranges of the segments and the index of up to two OSDs: right bytes or a clear error, verify names
what is damaged, rebuild mends it."""
import os
import random
import shutil

from lilio import DAMAGED, KIB, LOST, MIB, OK, ClusterTest, content, main, wait_until

SEED = int(os.environ.get("LILIO_SEED", "1"))


def flip(path, rng, count, first=0):
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        for _ in range(count):
            at = rng.randrange(first, size)
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << rng.randrange(8))]))
    return size


class Damage(ClusterTest):
    def fill(self):
        c = self.cluster
        c.run("mb", "b")
        objects = {f"b/{i}": content(size, i) for i, size in enumerate([1, 5000, 300 * KIB, 4 * MIB, 17 * MIB + 3, 64 * KIB])}
        for name, data in objects.items():
            c.put_bytes(data, name)
        return objects

    def check_all(self, objects):
        for name, data in objects.items():
            self.assertEqual(self.cluster.get_bytes(name), data, name)

    def mend(self, *osds):
        c = self.cluster
        for i in osds:
            certificate = c.run("osd", "rebuild", str(i), "--json").json
            self.assertEqual(certificate["failed"], 0)
            self.assertEqual(certificate["expected"], certificate["verified"])
        verify = c.run("verify", "--json").json
        self.assertEqual(verify["fragments"], verify["fragments_good"])

    def test_flips_in_the_segments_of_two_running_osds(self):
        c, rng = self.cluster, random.Random(SEED)
        objects = self.fill()
        for i in (1, 4):
            for segment in c.segments(i):
                flip(segment, rng, 60)
        self.check_all(objects)
        verify = c.run("verify", "--json", code=DAMAGED)  # once: what it reports mends itself
        self.assertGreater(verify.json["fragments_corrupt"] + verify.json["fragments_missing"], 0)
        self.assertIn('"key":"4"', verify.out.replace(" ", ""))
        self.mend(1, 4)
        self.check_all(objects)

    def test_flips_found_after_a_restart(self):
        c, rng = self.cluster, random.Random(SEED + 1)
        objects = self.fill()
        c.kill(*c.names())
        for i in (0, 5):
            for segment in c.segments(i):
                flip(segment, rng, 60)
        c.up()
        self.check_all(objects)
        c.run("verify", code=DAMAGED)
        self.mend(0, 5)
        self.check_all(objects)

    def test_damaged_and_lost_index(self):
        c, rng = self.cluster, random.Random(SEED + 2)
        objects = self.fill()
        c.kill(*c.names())
        for folder, _, files in os.walk(c.path("osd.2", "index")):
            for f in files:
                path = os.path.join(folder, f)
                if os.path.getsize(path):
                    flip(path, rng, 20)
        shutil.rmtree(c.path("osd.3", "index"))
        c.up()
        self.check_all(objects)
        c.run("verify", code=(OK, DAMAGED))
        self.mend(2, 3)

    def test_damaged_superblock_is_refused_and_named(self):
        c = self.cluster
        objects = self.fill()
        c.kill_osds(1)
        with open(c.path("osd.1", "superblock"), "r+b") as f:
            f.write(b"\xff" * os.path.getsize(c.path("osd.1", "superblock")))
        c.up()
        self.check_all(objects)

    def test_damaged_maps_are_refused_never_shortened(self):
        c, rng = self.cluster, random.Random(SEED + 4)
        c.run("mb", "b")
        for i in range(20):
            c.put_bytes(content(3000, i), f"b/{i}")
        c.kill("coordinator.0")
        folder, saved = c.path("coordinator.0"), os.path.join(c.home, "saved")
        shutil.copytree(folder, saved)
        refused = 0
        for _ in range(8):
            logs = {}  # the places of what was written: records end at whole blocks
            for name in os.listdir(os.path.join(folder, "log")):
                with open(os.path.join(folder, "log", name), "rb") as f:
                    logs[f.name] = [at for at, byte in enumerate(f.read()) if byte]
            log, written = max(logs.items(), key=lambda item: len(item[1]))
            with open(log, "r+b") as f:
                at = written[rng.randrange(len(written) // 10, len(written) * 8 // 10)]
                f.seek(at)
                byte = f.read(1)[0]
                f.seek(at)
                f.write(bytes([byte ^ (1 << rng.randrange(8))]))
            result = c.up(code=None)
            if result.code == OK:
                self.assertEqual(len(c.run("ls", "b", "--recursive", "--json").json["entries"]), 20)
                c.kill("coordinator.0")
            else:
                self.assertIn("coordinator.0", result.err)
                refused += 1
            shutil.rmtree(folder)
            shutil.copytree(saved, folder)
        self.assertGreater(refused, 0)
        c.up()
        self.assertEqual(c.get_bytes("b/7"), content(3000, 7))

    def test_folders_removed_under_a_running_osd(self):
        """Puts on handles that no restart finds again are no puts, and nothing is proven over them."""
        c = self.cluster
        objects = self.fill()
        for n, folder in enumerate(("segments", "index")):
            shutil.rmtree(c.path("osd.1", folder))
            if folder == "segments":
                name = f"b/late{n}"
                objects[name] = content(3 * MIB, 100 + n)
                result = c.put_bytes(objects[name], name, "--json", code=None)
                self.assertLess(result.json["durable"], 6, result)
            wait_until(lambda: c.status()["osds"][1]["state"] != "up", 20, "osd.1 to notice")
            self.mend(1)  # looks at what is at the path now
            c.kill_osds(1)
            c.up()
            self.check_all(objects)
            verify = c.run("verify", "--json").json
            self.assertEqual(verify["fragments"], verify["fragments_good"])

    def test_three_osds_damaged_is_an_error_never_wrong_bytes(self):
        c, rng = self.cluster, random.Random(SEED + 3)
        objects = self.fill()
        for i in (0, 1, 2):
            for segment in c.segments(i):
                with open(segment, "r+b") as f:
                    size = os.path.getsize(segment)
                    for at in range(4096, size, 2048):
                        f.seek(at)
                        f.write(b"\x5a")
        for name, data in objects.items():
            result = c.run("get", name, "-", binary=True, code=None)
            if result.code == OK:
                self.assertEqual(result.out, data)
            else:
                self.assertEqual(result.code, LOST, result)
                self.assertIn("osd.", result.err)
        self.assertEqual(c.run("verify", code=LOST).code, LOST)


if __name__ == "__main__":
    main()
