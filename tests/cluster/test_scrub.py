#!/usr/bin/env python3
"""Scrub: bits are flipped and fragments lost where nobody reads; a scrub finds all of it and nothing else, repair mends it, the next
scrub is clean. A round that is killed in the middle goes on."""
import os
import re
import shutil
import signal
import subprocess

from lilio import BIN, KIB, MIB, NOT_FOUND, USAGE, ClusterTest, content, main, wait_until

SEED = int(os.environ.get("LILIO_SEED", "1"))


class Scrub(ClusterTest):
    options = {"coordinators": 1, "osds": 6}

    def setUp(self):
        super().setUp()
        self.cluster.run("mb", "b")

    def fill(self, count, size, seed):
        objects = {f"b/{seed}.{i}": content(size + i, seed * 1000 + i) for i in range(count)}
        for name, data in objects.items():
            self.cluster.put_bytes(data, name)
        return objects

    def flip(self, data, at):
        """A bit of these bytes of an object, in the one segment that holds them; of which OSD that is."""
        hits = []
        for osd in range(6):
            for path in self.cluster.segments(osd):
                with open(path, "r+b") as f:
                    found = f.read().find(data[at:at + 64])
                    if found >= 0:
                        f.seek(found)
                        f.write(bytes([data[at] ^ 1]))
                        hits.append(osd)
        self.assertEqual(len(hits), 1)
        return hits[0]

    def scrubs(self, kind):
        """By OSD, as they say themselves."""
        return {o["osd"]: o["scrub"][kind] for o in self.cluster.run("scrub", "status", "--json").json["osds"]}

    def found(self, kind):
        osds = self.cluster.run("scrub", "status", "--json").json["osds"]
        return sorted((f["objects"], f["stripe"], f["index"], f["what"]) for o in osds for f in o["found"] if f["scrub"] == kind)

    def scrub(self, kind):
        """A round of all OSDs from its order to its end; fragments good, bad and not read."""
        wait_until(lambda: all(self.scrubs(kind).values()), 10, "the OSDs to tell of their scrubs")
        before = {osd: s["rounds"] for osd, s in self.scrubs(kind).items()}
        self.cluster.run("scrub", "start", "--" + kind)
        self.cluster.run("scrub", "status", "--watch")
        last = self.scrubs(kind)
        self.assertEqual({osd: s["rounds"] for osd, s in last.items()}, {osd: n + 1 for osd, n in before.items()})
        self.assertTrue(all(s["state"] == "rests" for s in last.values()))
        return tuple(sum(s["last"][what] for s in last.values()) for what in ("good", "bad", "not_read"))

    def healed(self):
        wait_until(lambda: self.cluster.status()["repair_rows"] == 0, 30, "the repair rows to go")

    def check_all(self, objects):
        for name, data in objects.items():
            self.assertEqual(self.cluster.get_bytes(name), data, name)

    def test_deep_finds_all_flips_and_only_those(self):
        c = self.cluster
        wait_until(lambda: "not known" not in c.run("status").out, 10, "the OSDs to tell of their scrubs")
        self.assertIn("deep scrub    never scrubbed", c.run("status").out)
        objects = self.fill(12, 64 * KIB, SEED)
        objects |= self.fill(1, 8 * MIB, SEED + 1)
        fragments = 6 * (12 + 2)
        hurt = []
        for i in (1, 4, 7, 10):  # a data fragment of 64 KiB + i bytes has a quarter of them, rounded up to 64
            name, index = f"b/{SEED}.{i}", i // 3 % 4
            length = -(-(64 * KIB + i) // 4 // 64) * 64
            self.flip(objects[name], index * length + 100)
            hurt.append((name, 0, index, "corrupt"))
        big = f"b/{SEED + 1}.0"
        self.flip(objects[big], 4 * MIB + MIB + 700)
        hurt.append((big, 1, 1, "corrupt"))
        self.assertEqual(self.scrub("light"), (fragments, 0, 0))  # the index is as it was
        good, bad, unread = self.scrub("deep")
        self.assertEqual((bad, unread), (len(hurt), 0))
        self.assertEqual(good, fragments - len(hurt))
        self.assertEqual(self.found("deep"), sorted(hurt))
        self.healed()
        self.assertEqual(self.scrub("deep"), (fragments, 0, 0))
        self.assertEqual(self.found("deep"), [])
        verify = c.run("verify", "--json").json
        self.assertEqual((verify["fragments"], verify["fragments_good"]), (fragments, fragments))
        self.check_all(objects)
        wait_until(lambda: "deep scrub    the oldest verification" in c.run("status").out, 5, "the heartbeats")
        told = c.status()["osds"]
        self.assertEqual(sum(o["scrub"]["deep"]["last"]["good"] for o in told), fragments)
        c.run("scrub", "start", "--osd", "17", code=NOT_FOUND)
        c.run("scrub", "start", "--rate", "5M", code=USAGE)

    def redundancy(self):
        return self.cluster.status()["redundancy"]

    def heard(self, not_heard=0):
        wait_until(lambda: self.redundancy()["scrubbed"]["osds_not_heard"] == not_heard, 20, "what the OSDs read to be told")
        return self.redundancy()

    def deep(self, osd):
        """A deep scrub of one OSD, which says that it was one when it ends."""
        rounds = (self.scrubs("deep")[osd] or {"rounds": 0})["rounds"]
        self.cluster.run("scrub", "start", "--deep", "--osd", str(osd))
        self.cluster.run("scrub", "status", "--watch")
        wait_until(lambda: self.cluster.status()["osds"][osd]["scrub"]["deep"]["rounds"] > rounds, 20, "the heartbeat")

    def test_what_deep_scrubs_read_is_verified(self):
        c = self.cluster
        self.fill(4, 64 * KIB, SEED + 6)
        told = self.heard()
        self.assertEqual((told["scrubbed"], told["verified_by"], told["unverified"]),
                         ({"osds": 6, "osds_not_read": 6, "osds_not_heard": 0}, None, 4))
        for osd in range(5):
            self.deep(osd)
        out = c.run("status").out
        self.assertIn("not by deep scrubs: 1 of 6 OSDs not read through yet", out)
        self.assertIn("never verified, so no more can be said", out)
        self.assertEqual((self.redundancy()["unverified"], c.status()["state"]), (4, "unverified"))
        self.assertEqual(c.run("osd", "ls").out.count(" never "), 1)
        self.deep(5)
        told = self.redundancy()
        self.assertEqual((told["verified_by"], told["unverified"], c.status()["state"]), ("scrubs", 0, "verified"))
        self.assertEqual((told["scrubbed"]["osds_not_read"], told["scrubbed"]["oldest_osd"]), (0, 0))
        self.assertRegex(c.run("status").out, r"every fragment there was at index \d+ was read within .* by deep scrubs \(oldest: osd.0\)")
        self.fill(1, 64 * KIB, SEED + 7)
        self.assertEqual((self.redundancy()["unverified"], c.status()["state"]), (1, "unverified"))
        self.assertIn("1 not verified yet, the others read within", c.run("status").out)

        # A coordinator that starts knows it when all OSDs have told, and not before.
        c.kill("coordinator.0")
        c.kill("osd.5", sig=signal.SIGSTOP)
        try:
            up = c.start("up", "--dir", c.dir, "--detach", config=False)  # waits for osd.5
            wait_until(lambda: c.run("status", code=None).code == 0, 20, "the coordinator")
            told = self.heard(1)
            self.assertEqual((told["verified_by"], told["unverified"]), (None, 5))
        finally:
            c.kill("osd.5", sig=signal.SIGCONT)
        up.communicate(timeout=60)
        told = self.heard()
        self.assertEqual((told["verified_by"], told["unverified"]), ("scrubs", 1))

        # Nobody has read the disk that came in the place of another.
        c.wipe_osd(2)
        c.up()
        c.run("osd", "rebuild", "2")
        told = self.heard()
        self.assertEqual((told["scrubbed"]["osds_not_read"], told["verified_by"], told["unverified"]), (1, None, 5))
        self.deep(2)
        told = self.redundancy()
        self.assertEqual((told["scrubbed"]["osds_not_read"], told["verified_by"], told["unverified"]), (0, "scrubs", 1))
        c.run("verify")
        told = self.redundancy()
        self.assertEqual((told["verified_by"], told["unverified"], c.status()["state"]), ("verify", 0, "verified"))
        self.assertIn("ago by `lilio-ec verify'; not verified since then", c.run("status").out)

    def test_a_restart_forgets_no_round(self):
        """Before an OSD has read how its scrubs are it says nothing, and never that there was none."""
        self.fill(3, 64 * KIB, SEED)
        self.scrub("light")
        self.cluster.kill_osds(2)
        self.cluster.up()
        seen = set()

        def told():
            scrub = self.scrubs("light")[2]
            seen.add(scrub["rounds"] if scrub else None)
            return scrub
        wait_until(told, 10, "osd.2 to tell of its scrubs")
        self.assertEqual(seen - {None}, {1})

    def test_light_finds_a_lost_fragment(self):
        """The OSD forgets one: its store is put back to what it was before the put."""
        c = self.cluster
        objects = self.fill(3, 64 * KIB, SEED + 2)
        c.kill_osds(2)
        kept = c.path("osd.2") + ".kept"
        os.rename(c.path("osd.2"), kept)
        self.copy(kept, c.path("osd.2"))
        c.up()
        wait_until(lambda: c.status()["osds"][2]["state"] == "up", 20, "osd.2 to be up")
        late = self.fill(2, 64 * KIB, SEED + 3)
        self.healed()
        c.kill_osds(2)
        os.rename(c.path("osd.2"), c.path("osd.2") + ".late")
        os.rename(kept, c.path("osd.2"))
        c.up()
        wait_until(lambda: c.status()["osds"][2]["state"] == "up", 20, "osd.2 to be up")
        self.assertEqual(self.scrub("light"), (6 * 5 - 2, 2, 0))
        self.assertEqual([(f[0], f[3]) for f in self.found("light")], [(name, "missing") for name in sorted(late)])
        self.healed()
        self.assertEqual(self.scrub("light"), (6 * 5, 0, 0))
        self.assertEqual(self.scrub("deep"), (6 * 5, 0, 0))
        self.check_all(objects | late)

    def test_light_that_is_due_waits_for_deep(self):
        """A deep scrub that reads a large object slowly says what it holds up."""
        c = self.cluster
        c.configure(scrub_light_ms=2000)
        self.fill(1, 8 * MIB, SEED + 5)
        c.run("scrub", "start", "--deep", "--osd", "3", "--rate", "50K")  # ten seconds a fragment
        wait_until(lambda: self.scrubs("light")[3]["state"] == "waits", 30, "a light scrub to be due")
        lights = [line for line in c.run("scrub", "status").out.splitlines() if " light " in line]
        parts = [re.search(r"due, waits for deep \((\d+) %\)", line) for line in lights]
        self.assertEqual([i for i in range(6) if parts[i]], [3])
        self.assertTrue(0 < int(parts[3][1]) < 100, lights[3])
        wait_until(lambda: "; due on 1 OSDs that read for a deep scrub first" in c.run("status").out, 5, "the heartbeat")
        rounds = self.scrubs("light")[3]["rounds"]
        c.run("scrub", "start", "--deep", "--osd", "3")
        c.run("scrub", "status", "--watch")
        wait_until(lambda: self.scrubs("light")[3]["rounds"] > rounds, 30, "the light scrub")
        self.assertNotIn("due", c.run("scrub", "status").out)

    @staticmethod
    def copy(source, target):
        os.makedirs(target)
        for folder, _, files in os.walk(source):
            there = os.path.join(target, os.path.relpath(folder, source))
            os.makedirs(there, exist_ok=True)
            for name in files:
                with open(os.path.join(folder, name), "rb") as a, open(os.path.join(there, name), "wb") as b:
                    b.write(a.read())

    def test_killed_in_the_middle(self):
        c = self.cluster
        self.fill(30, 64 * KIB, SEED + 4)
        c.run("scrub", "start", "--deep", "--osd", "3", "--rate", "200K")  # 30 fragments of 16 KiB: 2.5 s
        wait_until(lambda: self.scrubs("deep")[3].get("round", {}).get("good", 0) >= 16, 20, "a part of it to be read")
        c.kill_osds(3)
        c.up()
        wait_until(lambda: "round" in (self.scrubs("deep")[3] or {}), 20, "the round to go on")
        again = self.scrubs("deep")[3]["round"]
        self.assertTrue(again["ordered"])
        self.assertGreater(again["good"], 4)  # a second of it may be done again
        self.assertLess(again["coverage_permille"], 1000)
        c.run("scrub", "status", "--watch")
        last = self.scrubs("deep")[3]
        self.assertEqual((last["rounds"], last["last"]["good"], last["last"]["bad"]), (1, 30, 0))

    def test_parity_that_could_not_be_computed(self):
        """A data fragment's OSD hangs while the others' rounds run: then nobody knows whether the parity fits."""
        c = self.cluster
        self.fill(6, 64 * KIB, SEED + 8)
        self.heard()
        c.kill("osd.5", sig=signal.SIGSTOP)
        try:
            for osd in range(5):
                c.run("scrub", "start", "--deep", "--osd", str(osd))
            wait_until(lambda: self.redundancy()["scrubbed"]["osds_not_read"] <= 1, 100, "the rounds")
        finally:
            c.kill("osd.5", sig=signal.SIGCONT)
        wait_until(lambda: c.status()["osds"][5]["state"] == "up", 30, "osd.5 to be up")
        self.deep(5)
        told = self.redundancy()
        unread = sum(o["scrub"]["deep"]["last"]["stripes_not_read"] for o in c.status()["osds"])
        self.assertGreater(unread, 0)
        self.assertEqual((told["scrubbed"]["osds_not_read"], told["unverified"]), (0, unread))
        self.assertEqual(c.status()["state"], "unverified")
        self.assertIn(f"; {unread} stripes whose parity could not be checked", c.run("status").out)
        self.assertEqual(self.scrub("deep")[1:], (0, 0))
        wait_until(lambda: c.status()["state"] == "verified", 10, "the heartbeats")

    def counts(self):
        return [o["scrub"]["deep"]["last"]["counts"] for o in self.cluster.status()["osds"]]

    def test_what_a_round_found_bad_and_a_restart(self):
        """The disk may be an older copy, from before it was mended: such a round counts until the OSD starts again."""
        c = self.cluster
        (data,) = self.fill(1, 64 * KIB, SEED + 9).values()
        victim = self.flip(data, 16 * KIB + 100)  # fragment 1: whether the parity fits is for another to say
        self.heard()
        self.deep(victim)
        self.healed()
        for osd in set(range(6)) - {victim}:
            self.deep(osd)
        self.assertEqual(c.status()["state"], "verified")
        c.kill_osds(victim)
        c.up()
        self.heard()
        self.assertEqual(self.counts(), [osd != victim for osd in range(6)])
        self.assertEqual(c.run("osd", "ls").out.count(" ago, not all "), 1)
        self.assertEqual(c.status()["state"], "unverified")
        self.deep(victim)
        self.assertEqual(self.counts(), [True] * 6)
        self.assertNotIn("not all", c.run("osd", "ls").out)
        self.assertEqual(c.status()["state"], "verified")
        c.kill_osds(victim)
        c.up()
        self.heard()
        self.assertEqual(self.counts(), [True] * 6)  # that round found nothing bad


class PutBack(ClusterTest):
    """The maps are put back from an earlier time: rounds from the time that is gone never count again."""
    options = {"coordinators": 3, "osds": 4, "profile": "2+1"}

    def scrubbed(self):
        return self.cluster.status()["redundancy"]["scrubbed"]

    def heard(self):
        wait_until(lambda: self.scrubbed()["osds_not_heard"] == 0, 30, "what the OSDs read to be told")

    def deep(self):
        self.heard()
        self.cluster.run("scrub", "start", "--deep")
        self.cluster.run("scrub", "status", "--watch")
        wait_until(lambda: self.scrubbed()["osds_not_read"] == 0, 20, "the heartbeats")

    def put_back(self):
        """All is down then; the index up to which rounds went that are gone."""
        c = self.cluster
        folders = [c.path(f"coordinator.{i}") for i in range(self.options["coordinators"])]
        c.run("mb", "b")
        c.put_bytes(content(64 * KIB, SEED), "b/kept")
        c.down()
        for folder in folders:
            shutil.copytree(folder, folder + ".kept")
        c.up()
        for i in range(6):
            c.put_bytes(content(64 * KIB, SEED + i), f"b/lost{i}")
        self.deep()
        gone = self.scrubbed()["index"]
        c.down()
        for folder in folders:
            shutil.rmtree(folder)
            shutil.move(folder + ".kept", folder)
        return gone

    def never_counts(self, gone):
        c = self.cluster
        c.up()
        self.heard()
        count = 0
        while c.status()["redundancy"]["index"] <= gone + 5:
            c.run("put", "-", f"b/new{count}", data=content(64 * KIB, 100 + count), code=None)  # ids of the time that is gone are given again
            count += 1
        self.assertEqual(self.scrubbed()["osds_not_read"], 4)
        self.assertEqual(c.status()["state"], "unverified")
        self.assertEqual(c.run("osd", "ls").out.count(" ago, not all "), 4)
        c.down()
        c.up()
        self.heard()
        self.assertEqual(self.scrubbed()["osds_not_read"], 4)
        self.deep()

    def test_all_from_one_moment(self):
        self.never_counts(self.put_back())


class PutBackAlone(PutBack):
    options = {"coordinators": 1, "osds": 4, "profile": "2+1"}

    def test_one_goes_on_alone(self):
        gone = self.put_back()
        subprocess.run([os.path.join(BIN, "lilio-coordinator"), "--config", self.cluster.path("lilio.yaml"), "--id", "0", "--alone"],
                       check=True, stdout=subprocess.DEVNULL, timeout=60)
        self.never_counts(gone)


if __name__ == "__main__":
    main()
