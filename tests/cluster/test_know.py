#!/usr/bin/env python3
"""What the cluster knows of itself: `damage' names exactly the objects that are hurt, the worst first, and so do `explain' and the
histogram of `status'; a thousand among five thousand are named in bounded memory; certificates are held against the cluster."""
import hashlib
import json
import os
import signal
import subprocess
import sys

from lilio import BIN, DAMAGED, EXISTS, KIB, LOST, MIB, NOT_FOUND, OK, UNAVAILABLE, USAGE, ClusterTest, content, main, wait_until

SEED = int(os.environ.get("LILIO_SEED", "1"))


def flip_all(path, marker):
    """Flips a bit behind every place where the marker is found."""
    with open(path, "r+b") as f:
        data, at, done = f.read(), -1, 0
        while (at := data.find(marker, at + 1)) >= 0:
            f.seek(at)
            f.write(bytes([data[at] ^ 1]))
            done += 1
    return done


class Know(ClusterTest):
    def damage(self, *args, code=OK):
        result = self.cluster.run("damage", "--json", *args, code=code).json
        return {f"{o['bucket']}/{o['key']}": o for o in result["objects"]}, result

    def redundancy(self):
        return self.cluster.status()["redundancy"]

    def levels(self, bucket):
        line = next(x for x in self.redundancy()["buckets"] if x["bucket"] == bucket)
        return {x["good"]: x["stripes"] for x in line["levels"]} | {"unreadable": line["unreadable"], "lost": line["lost"]}

    def hit(self, data, at):
        hits = sum(flip_all(s, data[at:at + 64]) for osd in range(6) for s in self.cluster.segments(osd))
        self.assertEqual(hits, 1)

    def data_fragments(self, name, without):
        """Indexes of data fragments that are not on an OSD."""
        fragments = self.cluster.run("explain", name, "--json").json["fragments"]
        return [f["index"] for f in fragments if f["index"] < 4 and f["osd"] != without]

    def test_a_rebuild_is_no_standstill(self):
        """`status' and `repair' tell of a rebuild under way, and `repair --watch' waits for it."""
        c = self.cluster
        c.run("mb", "b")
        for i in range(20):
            c.put_bytes(content(300 * KIB, SEED + i), f"b/{i}")
        c.wipe_osd(2)
        c.up()
        c.kill("osd.0", "osd.1", sig=signal.SIGSTOP)  # three sources are too few
        rebuild = c.start("osd", "rebuild", "2")
        watch = None
        try:
            wait_until(lambda: "rebuild       osd.2: " in c.run("status").out, 20, "the rebuild to be told of")
            self.assertEqual([r["osd"] for r in c.status()["rebuilds"]], [2])
            watch = c.start("repair", "--watch", "--json")
        finally:
            c.kill("osd.0", "osd.1", sig=signal.SIGCONT)
            self.assertEqual(rebuild.wait(60), OK)
            if watch:
                said = json.loads(watch.communicate(timeout=60)[0])
        self.assertEqual((watch.returncode, said["left"]["stripes"], said["left"]["rebuilds"]), (OK, 0, []))
        self.assertEqual(c.status()["rebuilds"], [])

    def test_exactly_what_is_hurt(self):
        c = self.cluster
        c.run("mb", "b")
        c.run("mb", "other")
        objects = {f"b/{i}": content(64 * KIB, SEED * 100 + i) for i in range(6)}
        for name, data in objects.items():
            c.put_bytes(data, name)
        c.put_bytes(content(64 * KIB, SEED * 100 + 50), "other/whole")
        listed, result = self.damage()
        self.assertEqual((listed, result["walked"]), ({}, False))
        self.assertEqual(self.levels("b"), {6: 6, "unreadable": 0, "lost": 0})

        # b/0: three data fragments flipped: lost. b/1: two, and one out of reach. b/2: one, which is mended.
        chosen = {name: self.data_fragments(name, 5) for name in objects}
        for index in chosen["b/0"][:3]:
            self.hit(objects["b/0"], index * 16 * KIB)
        c.run("get", "b/0", "-", binary=True, code=LOST)
        c.kill_osds(5)
        wait_until(lambda: c.status()["osds"][5]["state"] == "down", 30, "osd.5 to be down")
        for name, count in (("b/1", 2), ("b/2", 1)):
            for index in chosen[name][:count]:
                self.hit(objects[name], index * 16 * KIB)
        c.run("get", "b/1", "-", binary=True, code=None)
        self.assertEqual(c.get_bytes("b/2"), objects["b/2"])
        c.run("verify", code=LOST)
        wait_until(lambda: self.levels("b").get(5) == 4, 60, "what can be mended to be mended")

        listed, result = self.damage(code=LOST)
        self.assertEqual(list(listed)[:2], ["b/0", "b/1"])
        self.assertEqual(set(listed), set(objects) | {"other/whole"})
        self.assertEqual((listed["b/0"]["state"], listed["b/0"]["kept"]), ("lost", 3))
        self.assertEqual((listed["b/1"]["state"], listed["b/1"]["good"], listed["b/1"]["kept"]), ("unreadable", 3, 4))
        for name in ["b/2", "b/3", "b/4", "b/5", "other/whole"]:
            self.assertEqual((listed[name]["state"], listed[name]["survives"]), ("degraded", 1), name)
        self.assertEqual((result["objects_lost"], result["objects_unreadable"], result["objects_hurt"]), (1, 1, 7))
        self.assertIn("LOST: 3 of 4", c.run("damage", code=LOST).out.splitlines()[0])
        self.assertEqual(set(self.damage("--bucket", "other")[0]), {"other/whole"})
        self.assertEqual([list(self.damage("--limit", "1", code=LOST)[0]), self.damage("--limit", "1", code=LOST)[1]["omitted"]],
                         [["b/0"], 6])

        # The same judgement everywhere.
        self.assertIn("LOST: a stripe has 3 of 4", c.run("explain", "b/0", code=LOST).out)
        c.run("explain", "b/0", "--maps-only", "--json", code=LOST)
        self.assertIn("3 of 4 needed fragments within reach", c.run("explain", "b/1", code=DAMAGED).out)
        self.assertIn("any 1 more", c.run("explain", "b/3").out)
        self.assertIn("any 1 more", c.run("explain", "b/3", "--maps-only").out)
        self.assertEqual(self.levels("b"), {5: 4, "unreadable": 1, "lost": 1})
        self.assertEqual(c.status()["state"], "lost")

        # What if more were lost.
        up = [f["osd"] for f in c.run("explain", "b/1", "--json", code=DAMAGED).json["fragments"] if f["state"] == "good"]
        listed, result = self.damage("--if-lost", f"osd.{up[0]}", "--bucket", "b", code=LOST)
        self.assertEqual((listed["b/3"]["state"], listed["b/3"]["survives"], result["objects_lost"]), ("degraded", 0, 2))
        listed, _ = self.damage("--if-lost", f"osd.{up[0]},{up[1]}", "--bucket", "b", code=LOST)
        self.assertEqual((listed["b/3"]["state"], listed["b/3"]["good"], listed["b/3"]["kept"]), ("unreadable", 3, 4))
        listed, result = self.damage("--if-lost", f"osd.{up[0]},{up[1]},osd.5", code=LOST)
        self.assertEqual({o["state"] for o in listed.values()}, {"lost"})
        c.run("damage", "--if-lost", "osd.77", code=NOT_FOUND)
        c.run("damage", "--if-lost", "osd.1,,2", code=USAGE)

        # Back again: what could only not be read is mended, the lost one stays named until it is deleted.
        c.up()
        wait_until(lambda: set(self.damage(code=None)[0]) == {"b/0"}, 60, "all but the lost one to be mended")
        self.assertEqual(c.get_bytes("b/1"), objects["b/1"])
        c.run("verify", code=LOST)
        c.run("rm", "b/0")
        self.assertEqual(self.damage()[1]["walked"], False)
        # What the last verification found is told as that, beside what is so now.
        told = c.run("status").out
        self.assertNotEqual(c.status()["state"], "lost")
        self.assertNotIn("LOST:", told)
        self.assertRegex(told, r"ago it found 1 objects that could not be restored; no stripe is known to be lost now")
        verified = c.status()["last_verify"]
        self.assertEqual(c.run("verify", "other", "--json").json["objects_checked"], 1)
        self.assertEqual(c.status()["last_verify"], verified)
        c.run("verify")
        self.assertEqual(c.status()["state"], "verified")
        self.assertNotIn("could not be restored", c.run("status").out)
        self.assertEqual(self.redundancy()["unverified"], 0)
        c.put_bytes(content(64 * KIB, 1), "b/new")
        self.assertEqual(self.redundancy()["unverified"], 1)
        self.assertEqual(c.status()["state"], "unverified")

    def test_without_coordinators_it_fails_once(self):
        self.cluster.kill("coordinator.0")
        result = self.cluster.run("damage", code=UNAVAILABLE)
        self.assertFaster(result.seconds, 15)  # one time-out of 10 s

    def damage_measured(self):
        """Objects, and the peak of memory: of a child of a small process, since a child's peak begins at its parent's."""
        code = ("import resource,subprocess,sys; p=subprocess.run(sys.argv[1:]); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(p.returncode)")
        command = [sys.executable, "-c", code, os.path.join(BIN, "lilio-ec"), "damage", "--json", "--config",
                   self.cluster.path("lilio.yaml")]
        result = subprocess.run(command, capture_output=True, timeout=120)
        self.assertEqual(result.returncode, LOST, result.stderr)
        return json.loads(result.stdout)["objects"], int(result.stderr.split()[-1]) * KIB

    def test_a_thousand_among_five_thousand(self):
        c = self.cluster
        c.run("mb", "b", "--profile", "2+1", "--fragment", "4KiB")
        folder = os.path.join(c.home, "in")
        os.mkdir(folder)
        hurt, block = set(), 4 * KIB
        for i in range(5000):
            is_hurt = i % 5 == 2
            marker = b"HURT" if is_hurt else b"keep"
            part = content(block - 64, i)
            data = b"".join(marker * 12 + b"%015d" % i + bytes([n]) + part for n in range(2))
            with open(os.path.join(folder, f"{i:05}"), "wb") as f:
                f.write(data)
            if is_hurt:
                hurt.add(f"b/{i:05}")
        c.run("put", "--recursive", folder, "b/", timeout=600)
        self.assertEqual(self.redundancy()["whole"], 5000)
        self.assertEqual(self.damage()[1]["walked"], False)
        flips = sum(flip_all(s, b"HURT" * 12) for osd in range(6) for s in c.segments(osd))
        self.assertEqual(flips, 2000)
        c.run("verify", "--json", code=LOST, timeout=600)
        listed, peak = self.damage_measured()
        self.assertEqual({f"{o['bucket']}/{o['key']}" for o in listed}, hurt)
        self.assertEqual({(o["state"], o["kept"]) for o in listed}, {("lost", 1)})
        print(f"1000 of 5000 named in {peak / MIB:.0f} MiB")
        self.assertLess(peak, 64 * MIB)
        self.assertEqual(self.levels("b"), {3: 4000, "unreadable": 0, "lost": 1000})
        self.assertEqual(c.run("damage", "--limit", "3", code=LOST).out.count("LOST"), 3)

    def test_certificates_are_held_against_the_cluster(self):
        c = self.cluster
        c.run("mb", "b")
        for i in range(8):
            c.put_bytes(content(300 * KIB, SEED + i), f"b/{i}")
        c.run("osd", "rebuild", "2")
        folder = c.path("certificates")
        certificate = os.path.join(folder, os.listdir(folder)[0])
        c.put_bytes(content(300 * KIB, SEED + 20), "b/newer")
        c.run("rm", "b/3")
        holds = c.run("verify-cert", certificate, "--json").json
        self.assertEqual((holds["holds"], holds["verified"], holds["expected"]), (True, holds["expected"], holds["expected"]))
        self.assertGreater(holds["deleted"], 0)
        self.assertEqual(holds["expected"] + holds["deleted"], holds["certificate_expected"])

        with open(certificate) as f:
            text = f.read()
        forged = os.path.join(c.home, "forged.json")
        with open(forged, "w") as f:
            f.write(text.replace('"incarnation":\t1', '"incarnation":\t2'))
        self.assertIn("changed", c.run("verify-cert", forged, code=DAMAGED).err)
        c.run("verify-cert", os.path.join(c.home, "none.json"), code=NOT_FOUND)

        c.kill_osds(2)
        answer = c.run("verify-cert", certificate, "--json", code=DAMAGED).json
        self.assertEqual((answer["holds"], answer["unread"]), (False, answer["expected"]))
        c.wipe_osd(2)
        c.up()
        c.run("osd", "rebuild", "2")
        self.assertIn("incarnation", c.run("verify-cert", certificate, code=EXISTS).err)

        # What it could not do before the rebuild is not told for ever.
        wait_until(lambda: c.status()["osds"][2]["fragments"] > 0, 30, "osd.2 to tell what it has")
        self.assertIsNone(c.status()["osds"][2]["inventory"]["reason"])


class Speaks(ClusterTest):
    """A certificate speaks for the slots its OSD had, whatever became of them."""
    options = {"osds": 6, "profile": "2+1"}

    def certificate(self, osd):
        folder = self.cluster.path("certificates")
        made = self.cluster.run("osd", "rebuild", str(osd), "--json").json
        return os.path.join(folder, f"osd.{osd}-{made['index']}.json"), made["expected"]

    def test_slots_that_came_later_and_slots_that_went(self):
        c = self.cluster
        c.run("mb", "b")
        for i in range(60):
            c.put_bytes(content(100 * KIB, SEED + i), f"b/{i}")
        c.run("osd", "drain", "5")
        c.run("osd", "drain", "5", "--cancel")
        empty, nothing = self.certificate(5)
        self.assertEqual(nothing, 0)
        went, lost = self.certificate(4)
        c.run("osd", "drain", "4")
        some, had = self.certificate(5)
        self.assertGreater(min(had, lost), 0)
        c.run("osd", "drain", "0")
        self.assertGreater(self.stripes_of(5), had)

        told = c.run("verify-cert", empty, "--json").json
        self.assertEqual((told["holds"], told["expected"], told["elsewhere"]), (True, 0, 0))
        told = c.run("verify-cert", some, "--json").json
        self.assertEqual((told["holds"], told["expected"], told["deleted"], told["elsewhere"]), (True, had, 0, 0))
        self.assertIn("nothing it speaks for is left", c.run("verify-cert", went, code=EXISTS).err)

        # What it never spoke for does not make it fail.
        c.kill_osds(5)
        for segment in c.segments(5):
            os.truncate(segment, 4 * KIB)
        c.up()
        wait_until(lambda: c.status()["osds"][5]["state"] == "up", 30, "osd.5 to be back")
        self.assertTrue(c.run("verify-cert", empty, "--json").json["holds"])

    def stripes_of(self, osd):
        return next(x["stripes"] for x in self.cluster.status()["redundancy"]["osds"] if x["id"] == osd)

    def test_what_it_finds_bad_is_mended(self):
        c, data = self.cluster, content(100 * KIB, SEED)
        c.run("mb", "b")
        c.put_bytes(data, "b/o")
        osd = c.run("explain", "b/o", "--json").json["fragments"][0]["osd"]
        path, expected = self.certificate(osd)
        self.assertEqual((expected, sum(flip_all(s, data[:64]) for s in c.segments(osd))), (1, 1))
        told = c.run("verify-cert", path, "--json", code=DAMAGED).json
        self.assertEqual((told["holds"], told["corrupt"]), (False, 1))
        wait_until(lambda: c.run("verify-cert", path, code=None).code == OK, 60, "it to be mended")

    def test_one_of_an_older_version_says_so(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(content(100 * KIB, SEED), "b/o")
        path, expected = self.certificate(2)
        with open(path) as f:
            made = json.load(f)
        for member in ("slots", "slots_unsure", "sha256"):
            del made[member]
        made["sha256"] = hashlib.sha256(json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
        with open(path, "w") as f:
            json.dump(made, f)
        told = c.run("verify-cert", path)
        self.assertIn("it does not say which slots it is about", told.out)
        self.assertIn("IT HOLDS", told.out)
        made["proven"] = False
        del made["sha256"]
        made["sha256"] = hashlib.sha256(json.dumps(made, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
        with open(path, "w") as f:
            json.dump(made, f)
        self.assertIn("it proved nothing when it was made", c.run("verify-cert", path, code=DAMAGED).out)


if __name__ == "__main__":
    main()
