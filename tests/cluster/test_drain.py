#!/usr/bin/env python3
"""An OSD that is to go gives what it has to others, while it serves: with a certificate at the end, after which nothing needs it."""
import json
import os
import signal
import subprocess
import threading
import time
import unittest

from lilio import DAMAGED, EXISTS, KIB, MIB, OK, UNAVAILABLE, ClusterTest, content, main, small_cluster, wait_until

INTERRUPTED = 130
SEED = int(os.environ.get("LILIO_SEED", "1"))


class Drain(ClusterTest):
    options = {"osds": 6, "profile": "2+1"}
    victim = 3

    def setUp(self):
        super().setUp()
        self.cluster.configure(down_ms=2000, out_ms=600000)
        self.cluster.run("mb", "b")
        self.objects = {}

    def put(self, name, size):
        self.objects[name] = content(size, SEED + len(self.objects))
        self.cluster.put_bytes(self.objects[name], name)

    def assertAllThere(self):
        for name, data in self.objects.items():
            self.assertEqual(self.cluster.get_bytes(name), data, name)

    def osd(self, i=None):
        return self.cluster.status()["osds"][self.victim if i is None else i]

    def certificate(self):
        """The newest one."""
        folder = self.cluster.path("certificates")
        names = [name for name in os.listdir(folder) if name.startswith(f"osd.{self.victim}-drained-")]
        return os.path.join(folder, max(names, key=lambda name: int(name.split("-")[-1].split(".")[0])))

    def test_while_it_is_written_and_then_taken_away(self):
        """What puts acknowledged with the older map is where the certificate looks, too."""
        c = self.cluster
        for i in range(20):
            self.put(f"b/{i}", 700 * KIB + i)
        ended = threading.Event()

        def puts():
            i = 0
            while not ended.is_set():
                self.put(f"b/more-{i}", 90 * KIB + i)
                i += 1
        writer = threading.Thread(target=puts)
        writer.start()
        try:
            made = c.run("osd", "drain", f"osd.{self.victim}", "--json").json
        finally:
            ended.set()
            writer.join()
        self.assertTrue(made["proven"])
        self.assertGreater(made["expected"], 0)
        self.assertEqual(made["verified"], made["expected"])
        self.assertTrue(self.osd()["draining"])
        wait_until(lambda: c.status()["repair_rows"] == 0, 60, "what the puts with an older map missed")
        c.run("osd", "drain", str(self.victim))  # again: of all that was put since
        self.assertIn(f"osd.{self.victim} is drained: nothing needs it", c.run("status").out)
        c.kill_osds(self.victim)
        wait_until(lambda: self.osd()["state"] == "down", 20, "it to be missed")
        self.assertNotEqual(c.status()["state"], "degraded")
        self.assertAllThere()
        self.put("b/without", 5000 * KIB)
        self.assertEqual(c.run("verify").code, OK)
        self.assertIn("IT HOLDS", c.run("verify-cert", self.certificate()).out)

    def test_a_certificate_holds_as_long_as_others_have_it(self):
        c = self.cluster
        for i in range(40):
            self.put(f"b/{i}", 300 * KIB)
        path = self.certificate_of_drain()
        with open(path) as f:
            text = f.read()
        expected = json.loads(text)["expected"]
        for i in range(20):
            c.run("rm", f"b/{i}")
            del self.objects[f"b/{i}"]
        told = c.run("verify-cert", path, "--json").json
        self.assertTrue(told["holds"])
        self.assertEqual(told["of"], "osd drain")
        self.assertEqual(told["expected"] + told["deleted"], expected)
        self.assertGreater(told["expected"], 0)
        with open(path, "w") as f:
            f.write(text.replace(f'"osd":\t{self.victim}', '"osd":\t1').replace(f'"osd": {self.victim}', '"osd": 1'))
        self.assertIn("was changed", c.run("verify-cert", path, code=DAMAGED).err)
        with open(path, "w") as f:
            f.write(text)
        c.kill_osds(*[i for i in range(6) if i != self.victim][:2])  # what went to these is not to be read now
        self.assertIn("IT DOES NOT HOLD", c.run("verify-cert", path, code=DAMAGED).out)

    def certificate_of_drain(self):
        self.cluster.run("osd", "drain", str(self.victim))
        return self.certificate()

    def test_a_copy_that_rotted_is_decoded_instead(self):
        c = self.cluster
        for i in range(10):
            self.put(f"b/{i}", 300 * KIB)
        c.kill_osds(self.victim)
        for segment in c.segments(self.victim):
            with open(segment, "r+b") as f:
                f.seek(0, os.SEEK_END)
                for at in range(64 * KIB, f.tell(), 64 * KIB):
                    f.seek(at)
                    was = f.read(1)
                    f.seek(at)
                    f.write(bytes([was[0] ^ 0x40]) if was else b"")
        c.up()
        wait_until(lambda: self.osd()["state"] == "up", 30, "it to be back")
        self.assertTrue(c.run("osd", "drain", str(self.victim), "--json").json["proven"])
        self.assertAllThere()
        self.assertEqual(c.run("verify").code, OK)

    def test_it_dies_meanwhile(self):
        c = self.cluster
        for i in range(30):
            self.put(f"b/{i}", 700 * KIB)
        process = c.start("osd", "drain", str(self.victim), "--json")
        wait_until(lambda: self.osd()["draining"], 20, "the drain to begin")
        c.kill_osds(self.victim)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, OK, err)
        self.assertTrue(json.loads(out)["proven"])
        self.assertAllThere()

    def test_interrupted_it_goes_on_and_cancelled_it_stops(self):
        c = self.cluster
        for i in range(10):
            self.put(f"b/{i}", 300 * KIB)
        process = c.start("osd", "drain", str(self.victim))
        wait_until(lambda: self.osd()["draining"], 20, "the drain to begin")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        if process.returncode != OK:  # else it was done before
            self.assertEqual(process.returncode, INTERRUPTED)
            self.assertIn("drains on", err.decode())
        wait_until(lambda: f"osd.{self.victim} has given everything" in c.run("status").out, 60, "it to go on by itself")
        c.run("osd", "drain", str(self.victim), "--cancel")
        self.assertFalse(self.osd()["draining"])
        self.assertAllThere()
        told = c.run("osd", "drain", "99", code=None)
        self.assertIn("osd.99 is not in this cluster", told.err)


    def test_who_follows_it_is_told_when_somebody_cancels(self):
        c = self.cluster
        for i in range(30):
            self.put(f"b/{i}", 700 * KIB)
        process = c.start("osd", "drain", str(self.victim))
        wait_until(lambda: self.osd()["draining"] or process.poll() is not None, 20, "the drain to begin")
        c.run("osd", "drain", str(self.victim), "--cancel")
        _, err = process.communicate(timeout=30)
        if process.returncode != OK:  # else it was done before
            self.assertEqual(process.returncode, EXISTS, err)
            self.assertIn("does not drain any more", err.decode())

    def left(self):
        return self.cluster.status()["redundancy"]["osds"][self.victim]["drain_left"]

    def test_nothing_says_that_nothing_needs_it_while_somebody_may(self):
        """Who has now what it had goes away, then is out and others take over: its copy may be wanted until they have all."""
        c = self.cluster
        c.down()
        with open(c.path("lilio.yaml"), "r+") as f:
            text = f.read().replace("out_ms: 600000", "out_ms: 25000")
            f.seek(0)
            f.write(text)
            f.truncate()
        c.up()
        for i in range(60):
            self.put(f"b/{i}", 100 * KIB)
        first = c.run("osd", "drain", str(self.victim), "--json").json
        path, stripes = self.certificate(), c.status()["redundancy"]["stripes"]
        self.assertLessEqual(first["expected"], stripes)
        self.assertIn(f"osd.{self.victim} is drained: nothing needs it", c.run("status").out)
        c.kill_osds(0)
        wait_until(lambda: self.left() > 0, 30, "osd.0 to be missed")
        told = c.run("status").out
        self.assertIn(f"osd.{self.victim} is drained, but {self.left()} stripes are not whole now and may want what it has", told)
        self.assertNotIn("nothing needs it", told)
        again = c.start("osd", "drain", str(self.victim), "--json")
        with self.assertRaises(subprocess.TimeoutExpired):
            again.communicate(timeout=5)
        out, err = again.communicate(timeout=120)
        self.assertEqual(again.returncode, OK, err)
        self.assertEqual(self.left(), 0)
        second = json.loads(out)
        self.assertTrue(second["proven"])
        self.assertGreaterEqual(second["expected"], first["expected"])
        held = c.run("verify-cert", path, "--json").json
        self.assertEqual((held["holds"], held["slots_known"]), (True, True))
        self.assertEqual((held["expected"], held["deleted"]), (first["expected"], 0))
        self.assertAllThere()

    def test_slots_of_an_earlier_drain_are_not_counted_again(self):
        c = self.cluster
        for i in range(60):
            self.put(f"b/{i}", 100 * KIB)
        for osd in (self.victim, 4):  # what the second one has goes to the first one, too
            c.run("osd", "drain", str(osd))
            c.run("osd", "drain", str(osd), "--cancel")
        had = next(x["stripes"] for x in c.status()["redundancy"]["osds"] if x["id"] == self.victim)
        self.assertGreater(had, 0)
        made = c.run("osd", "drain", str(self.victim), "--json").json
        self.assertEqual((made["expected"], made["verified"], made["slots_unsure"]), (had, had, 0))

    def test_one_with_nothing_in_it(self):
        """Slots go, too, where there are no stripes in them."""
        self.assertEqual(self.cluster.run("osd", "drain", "3", "--json").json["expected"], 0)
        self.assertTrue(self.osd()["drained"])

    def test_without_coordinators_it_ends(self):
        c = self.cluster
        for i in range(10):
            self.put(f"b/{i}", 300 * KIB)
        c.kill_osds(0, 1, 2)  # half of them: nothing moves
        wait_until(lambda: c.status()["many_osds_away"], 30, "that to be noticed")
        c.run("osd", "drain", "3", "--timeout", "2s", code=EXISTS)  # nowhere to go among those that are up
        c.up()
        wait_until(lambda: not c.status()["many_osds_away"], 30, "them to be back")
        process = c.start("osd", "drain", "3", "--timeout", "2s")
        wait_until(lambda: self.osd()["draining"], 20, "the drain to begin")
        c.kill("coordinator.0")
        _, err = process.communicate(timeout=120)
        self.assertNotEqual(process.returncode, OK)
        self.assertIn("coordinator", err.decode())
        c.up()
        c.run("osd", "drain", "3")
        self.assertAllThere()


class Narrow(ClusterTest):
    options = {"osds": 6, "profile": "4+2"}

    def test_refused_where_there_is_nobody_to_spare(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(content(300 * KIB, SEED), "b/o")
        said = c.run("osd", "drain", "3", code=EXISTS)
        self.assertIn("nowhere to go", said.err)
        self.assertFalse(c.status()["osds"][3]["draining"])
        self.assertEqual(c.get_bytes("b/o"), content(300 * KIB, SEED))


@unittest.skipUnless(os.geteuid() == 0, "a small tmpfs needs root to mount")
class NoRoom(unittest.TestCase):
    def objects(self, c, count, size):
        c.run("mb", "b")
        for i in range(count):
            c.put_bytes(content(size, SEED + i), f"b/{i}")
        return {f"b/{i}": content(size, SEED + i) for i in range(count)}

    def drain_into_a_full_one(self, c, small):
        """osd.2 gets slots of osd.3 and has no room for what is in them, which nobody knew."""
        c.up()
        c.configure(down_ms=8000, out_ms=600000)
        stored = self.objects(c, 20, 300 * KIB)
        time.sleep(8)  # before that nothing moves
        c.kill("osd.2", sig=signal.SIGSTOP)  # so nobody knows that its disk is full
        with open(os.path.join(small, "filler"), "wb") as f:  # an eighth is kept for the index
            space = os.statvfs(small)
            os.posix_fallocate(f.fileno(), 0, space.f_bavail * space.f_frsize - 14 * MIB)
        process = c.start("osd", "drain", "3")
        wait_until(lambda: c.status()["osds"][2]["filling_slots"], 6, "slots to move to it")
        c.kill("osd.2", sig=signal.SIGCONT)
        return process, stored

    def test_fills_that_fail_are_what_it_waits_for(self):
        with small_cluster(self, "osd.2", "128m", coordinators=1, osds=4, profile="2+1") as (c, small):
            process, _ = self.drain_into_a_full_one(c, small)  # what it got nobody else may have
            _, err = process.communicate(timeout=300)  # the pause between two attempts has to be a minute
            self.assertEqual(process.returncode, UNAVAILABLE, err)
            self.assertRegex(err.decode(), r"still need osd\.3, and nothing goes on: osd\.2 could not fill its slots: .*space.* It tries again by itself")
            self.assertNotIn("away", err.decode())
            os.unlink(os.path.join(small, "filler"))
            process = c.start("osd", "drain", "3")  # once there is room it goes on
            self.assertEqual(process.communicate(timeout=300)[1].decode().count("could not"), 0)
            self.assertEqual(process.returncode, OK)

    def test_what_a_full_one_cannot_fill_others_do(self):
        with small_cluster(self, "osd.2", "128m", coordinators=1, osds=6, profile="2+1") as (c, small):
            process, stored = self.drain_into_a_full_one(c, small)
            _, err = process.communicate(timeout=300)
            self.assertEqual(process.returncode, OK, err)
            status = c.status()
            self.assertEqual([o["filling_slots"] for o in status["osds"]], [0] * 6)
            self.assertEqual(status["redundancy"]["whole"], status["redundancy"]["stripes"])
            for name, data in stored.items():
                self.assertEqual(c.get_bytes(name), data, name)

    def test_refused_where_there_is_too_little_room(self):
        with small_cluster(self, None, "400m", coordinators=1, osds=4, profile="2+1") as (c, small):
            c.up()
            self.objects(c, 40, 1 * MIB)
            time.sleep(3)  # what was allocated ahead is given back
            with open(os.path.join(small, "filler"), "wb") as f:  # an eighth is kept
                space = os.statvfs(small)
                os.posix_fallocate(f.fileno(), 0, space.f_bavail * space.f_frsize - 52 * MIB)
            wait_until(lambda: all(0 < o["free_bytes"] < 54 * MIB for o in c.status()["osds"]), 20, "heartbeats to say so")
            said = c.run("osd", "drain", "3", code=EXISTS).err
            self.assertRegex(said, r"osd\.3 holds \d+ MiB, and the OSDs that may take its slots have room for \d MiB: \d+ MiB are missing")
            self.assertFalse(c.status()["osds"][3]["draining"])
            os.remove(os.path.join(small, "filler"))
            wait_until(lambda: all(o["free_bytes"] > 80 * MIB for o in c.status()["osds"]), 20, "heartbeats to say so")
            c.run("osd", "drain", "3")


if __name__ == "__main__":
    main()
