#!/usr/bin/env python3
"""Space: deletes and overwrites give it back after the grace; a full disk refuses puts, keeps what it has and still deletes;
readers are safe from overwrites and deletes."""
import errno
import os
import threading
import unittest

from lilio import FAILURE, KIB, MIB, NOT_FOUND, OK, UNAVAILABLE, ClusterTest, content, disk_use, main, small_cluster, wait_until


class Collection(ClusterTest):
    options = {"gc_grace": "1s"}

    def used(self):
        return sum(disk_use(self.cluster.path(f"osd.{i}", "segments")) for i in range(6))

    def test_removed_and_overwritten_bytes_are_given_back(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(content(2 * MIB, 0), "b/stays")
        for i in range(4):
            c.put_bytes(content(24 * MIB, i), "b/k")
        c.run("rm", "b/k")
        wait_until(lambda: self.used() < 8 * MIB, 60, "the space to come back")
        self.assertEqual(c.get_bytes("b/stays"), content(2 * MIB, 0))
        self.assertEqual(c.status()["gc_rows"], 0)
        c.kill(*c.names())
        c.up()
        self.assertEqual(c.get_bytes("b/stays"), content(2 * MIB, 0))
        c.run("get", "b/k", "-", code=NOT_FOUND)
        self.assertEqual(c.run("verify", "--json").json["fragments_missing"], 0)

    def test_a_reader_that_is_done_holds_nothing_up(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(content(64 * MIB, 0), "b/k")
        self.assertEqual(c.get_bytes("b/k"), content(64 * MIB, 0))
        c.run("rm", "b/k")
        wait_until(lambda: self.used() < 8 * MIB, 20, "the space to come back")

    def test_a_get_serves_exactly_one_version(self):
        c = self.cluster
        c.run("mb", "b")
        versions = [content(12 * MIB, i) for i in range(3)]
        c.put_bytes(versions[0], "b/k")
        stop = threading.Event()

        def overwrite():
            i = 0
            while not stop.is_set():
                i += 1
                c.run("put", "-", "b/k", data=versions[i % 3], code=None)
                if i % 4 == 0:
                    c.run("rm", "b/k", code=None)

        thread = threading.Thread(target=overwrite)
        thread.start()
        try:
            path = os.path.join(c.home, "copy")
            whole = 0
            for _ in range(15):
                result = c.run("get", "b/k", path, code=None)
                if result.code == OK:
                    with open(path, "rb") as f:
                        self.assertIn(f.read(), versions)
                    whole += 1
                else:
                    self.assertTrue(result.err)
            self.assertGreater(whole, 0)
        finally:
            stop.set()
            thread.join()


def take_all(path):
    """At once, so that it does not go on with what is given up because of it. False: somebody else took some of it first."""
    space = os.statvfs(os.path.dirname(path))
    with open(path, "wb") as f:
        try:
            os.posix_fallocate(f.fileno(), 0, space.f_bavail * space.f_frsize - 128 * KIB)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False
    return True


@unittest.skipUnless(os.geteuid() == 0, "a small tmpfs needs root to mount")
class FullDisk(unittest.TestCase):
    def test_full_disk_refuses_puts_and_still_deletes(self):
        with small_cluster(self, "", "400m") as (c, _):
            c.up(gc_grace="1s")
            c.run("mb", "b")
            stored, failed = [], None
            for i in range(40):
                result = c.run("put", "-", f"b/{i}", data=content(16 * MIB, i), code=None)
                if result.code != OK:
                    failed = result
                    break
                stored.append(i)
            self.assertIsNotNone(failed, "the disk never filled up")
            self.assertIn(failed.code, (FAILURE, UNAVAILABLE))
            self.assertIn("space", failed.err)
            self.assertGreater(len(stored), 3)
            for i in stored:
                self.assertEqual(c.get_bytes(f"b/{i}"), content(16 * MIB, i))
            for i in stored[:-1]:
                c.run("rm", f"b/{i}")
            wait_until(lambda: c.run("put", "-", "b/again", data=content(16 * MIB, 99), code=None).code == OK, 60, "space after the deletes")
            self.assertEqual(c.get_bytes(f"b/{stored[-1]}"), content(16 * MIB, stored[-1]))

    def test_a_follower_says_that_its_disk_is_nearly_full(self):
        with small_cluster(self, "coordinator.1", "256m", coordinators=3) as (c, small):
            c.up()
            c.run("coordinator", "transfer", "0")
            trouble = lambda: {m["id"]: m["trouble"] for m in c.status()["coordinators"]}
            self.assertEqual(set(trouble().values()), {""})
            wait_until(lambda: os.path.exists(os.path.join(small, "reserve")), 10, "the reserve to be set aside")
            disk = os.statvfs(small)
            with open(os.path.join(small, "filler"), "wb") as f:
                os.posix_fallocate(f.fileno(), 0, disk.f_bavail * disk.f_frsize - 16 * MIB)
            wait_until(lambda: "nearly full" in trouble()[1], 10, "a warning")
            self.assertEqual((trouble()[0], trouble()[2]), ("", ""))
            self.assertIn("WARNING: coordinator.1: its disk is nearly full", c.run("coordinator", "ls").out)
            os.unlink(os.path.join(small, "filler"))
            wait_until(lambda: not trouble()[1], 10, "the end of the warning")

    def test_a_rebuild_onto_a_disk_that_is_too_small(self):
        with small_cluster(self, "small", "48m") as (c, small):
            c.up()
            c.run("mb", "b")
            for i in range(20):
                c.put_bytes(content(16 * MIB, i), f"b/{i}")
            told = c.run("osd", "rebuild", "3", "--disk", small, code=UNAVAILABLE, timeout=300)
            self.assertIn("the disk of osd.3 is full", told.err)
            self.assertIn("--disk", told.err)
            self.assertEqual(c.status()["redundancy"]["lost"], 0)

    def test_deletes_go_on_when_others_filled_the_coordinators_disk(self):
        with small_cluster(self, "coordinator.0", "256m") as (c, small):
            c.up(gc_grace="1s")
            c.run("mb", "b")
            for i in range(20):
                c.run("put", "-", f"b/{i}", data=content(MIB, i))
            reserve, filler = os.path.join(small, "reserve"), os.path.join(small, "filler")
            wait_until(lambda: os.path.exists(reserve), 10, "the reserve to be set aside")
            wait_until(lambda: take_all(filler), 10, "a moment to take all that is free")
            wait_until(lambda: not os.path.exists(reserve), 10, "the reserve to be given up")
            put = lambda: c.run("put", "-", "b/new", data=content(MIB, 99), code=None)
            wait_until(lambda: put().code != OK, 10, "puts to be refused")  # what was free a moment ago is believed for a second
            refused = put()
            self.assertNotEqual(refused.code, OK)
            self.assertIn("full", refused.err)
            for i in range(19):
                c.run("rm", f"b/{i}")
            self.assertEqual(c.get_bytes("b/19"), content(MIB, 19))
            c.kill("coordinator.0")
            c.up()
            self.assertEqual(c.get_bytes("b/19"), content(MIB, 19))
            c.run("rm", "b/19")
            os.unlink(filler)
            wait_until(lambda: os.path.exists(reserve), 10, "the reserve to come back")
            c.run("put", "-", "b/new", data=content(MIB, 99))


if __name__ == "__main__":
    main()
