#!/usr/bin/env python3
"""Bytes come back identical: sizes around every boundary, all OSDs up, every pair of two killed, one wiped and rebuilt,
through files, pipes and ranges. Space and its spread are what the profile says."""
import itertools
import os
import subprocess
import unittest

from lilio import KIB, MIB, NOT_FOUND, OK, UNAVAILABLE, USAGE, EXISTS, ClusterTest, content, digest, disk_use, main, peak_rss

SIZES = [0, 1, 63, 64, 65, 4095, 4096, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 21 * MIB + 77]


class Store(ClusterTest):
    def test_sizes_with_every_pair_of_osds_killed(self):
        c = self.cluster
        c.run("mb", "b")
        files = {}
        for size in SIZES:
            files[f"b/s{size}"] = self.file(size, seed=size + 1, name=f"f{size}")
            out = c.put(files[f"b/s{size}"], f"b/s{size}").out
            if size:
                self.assertIn("durable 6/6", out)
        for name, path in files.items():
            self.assertStored(name, path)
        some = ["b/s0", "b/s1", f"b/s{64 * KIB + 1}", f"b/s{4 * MIB + 1}", f"b/s{21 * MIB + 77}"]
        for pair in itertools.combinations(range(6), 2):
            with self.subTest(killed=pair):
                c.kill_osds(*pair)
                for name in some:
                    self.assertStored(name, files[name])
                c.up()

    def test_wiped_osd_is_rebuilt_and_proven(self):
        c = self.cluster
        c.run("mb", "b")
        files = {f"b/{s}": self.file(s, seed=s, name=str(s)) for s in (0, 1, 70 * KIB, 9 * MIB + 5, 40 * MIB)}
        for name, path in files.items():
            c.put(path, name)
        c.wipe_osd(3)
        c.up()
        osd = c.run("osd", "ls", "--json").json["osds"][3]
        self.assertEqual(osd["state"], "blank")
        for name, path in files.items():
            self.assertStored(name, path)
        certificate = c.run("osd", "rebuild", "3", "--json").json
        self.assertEqual(certificate["expected"], certificate["verified"])
        self.assertGreater(certificate["rebuilt"], 0)
        self.assertEqual(certificate["failed"], 0)
        verify = c.run("verify", "--json").json
        self.assertEqual(verify["fragments"], verify["fragments_good"])
        again = c.run("osd", "rebuild", "osd.3", "--json").json
        self.assertEqual(again["rebuilt"], 0, "a rerun skips what verifies")
        c.kill_osds(0, 5)
        for name, path in files.items():
            self.assertStored(name, path)

    def test_any_two_osd_folders_deleted(self):
        c = self.cluster
        c.run("mb", "b")
        path = self.file(13 * MIB + 3)
        c.put(path, "b/k")
        c.wipe_osd(0)
        c.wipe_osd(4)
        c.up()
        self.assertStored("b/k", path)

    def test_space_is_what_the_profile_says(self):
        c = self.cluster
        c.run("mb", "b")
        size = 300 * MIB
        c.put(self.file(size), "b/big")
        uses = []

        def settled():
            uses[:] = [disk_use(c.path(f"osd.{i}")) for i in range(6)]
            return abs(sum(uses) - 1.5 * size) <= 0.1 * 1.5 * size
        from lilio import wait_until
        wait_until(settled, 20, "the preallocation to be trimmed")
        mean = sum(uses) / 6
        for use in uses:
            self.assertLessEqual(abs(use - mean), 0.2 * mean)
        log = disk_use(c.path("coordinator.0", "log"))  # zeroed ahead, whatever is in it
        self.assertLess(disk_use(c.path("coordinator.0")) - log, 0.01 * size)
        self.assertLess(log, 256 * MIB)

    @unittest.skipIf(os.environ.get("LILIO_SANITIZE"), "sanitizers have memory of their own")
    def test_memory_does_not_grow_with_the_object(self):
        c = self.cluster
        c.run("mb", "b")
        path = self.file(300 * MIB)
        copy = os.path.join(c.home, "copy")
        for args in (("put", path, "b/big"), ("get", "b/big", copy)):
            process = c.start(*args)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            process.communicate()
            self.assertEqual(process.returncode, OK)
            self.assertLessEqual(usage.ru_maxrss * KIB, 96 * MIB, args)
        self.assertEqual(digest(copy), digest(path))
        for name in c.names():
            self.assertLessEqual(peak_rss(c.pid(name)), 256 * MIB, name)

    def test_every_acknowledged_put_was_flushed(self):
        c = self.cluster
        device = os.stat(c.home).st_dev
        try:
            def flushes():
                with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat") as f:
                    return int(f.read().split()[15])
            flushes()
        except (FileNotFoundError, IndexError):
            self.skipTest("no block device below the temporary folder tells its flushes")
        c.run("mb", "b")
        before, count = flushes(), 25
        for i in range(count):
            c.put_bytes(content(10 * KIB, i), f"b/{i}")
        self.assertGreaterEqual(flushes() - before, count)

    def test_ranges(self):
        c = self.cluster
        c.run("mb", "b")
        size = 9 * MIB + 12345
        data = content(size, 5)
        c.put_bytes(data, "b/k")
        for text, want in [("0-0", data[:1]), ("0-99", data[:100]), (f"{4 * MIB - 1}-{4 * MIB}", data[4 * MIB - 1:4 * MIB + 1]),
                           (f"{MIB - 7}-{6 * MIB + 9}", data[MIB - 7:6 * MIB + 10]), (f"{size - 5}-", data[-5:]), ("-17", data[-17:]),
                           (f"{65536 * 3 + 1}-{65536 * 3 + 1}", data[65536 * 3 + 1:65536 * 3 + 2])]:
            self.assertEqual(c.get_bytes("b/k", "--range", text), want, text)
        c.kill_osds(1, 2)
        self.assertEqual(c.get_bytes("b/k", "--range", f"{MIB - 7}-{6 * MIB + 9}"), data[MIB - 7:6 * MIB + 10])
        c.run("get", "b/k", "-", "--range", f"{size + 1}-{size + 9}", code=(USAGE, 1))
        for bad in ("5-2", "x", "-", "1-2-3", "99999999999999999999-"):
            c.run("get", "b/k", "-", "--range", bad, code=USAGE)

    def test_pipes_and_names(self):
        c = self.cluster
        c.run("mb", "b")
        for key in ("../../etc/passwd", "a b", "ü/ö", "x" * 1024, "-dash", "a//b/", "."):
            data = content(1000, len(key))
            c.put_bytes(data, f"b/{key}")
            self.assertEqual(c.get_bytes(f"b/{key}"), data)
        big = content(33 * MIB + 1, 9)
        c.put_bytes(big, "b/stream")
        self.assertEqual(c.get_bytes("b/stream"), big)

    def test_conditions_and_versions(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(b"one", "b/k", "--if-absent")
        c.put_bytes(b"two", "b/k", "--if-absent", code=EXISTS)
        self.assertEqual(c.get_bytes("b/k"), b"one")
        version = c.run("stat", "b/k", "--json").json["version"]
        c.put_bytes(b"three", "b/k", "--if-version", version)
        c.put_bytes(b"four", "b/k", "--if-version", version, code=EXISTS)
        self.assertEqual(c.get_bytes("b/k"), b"three")

    def test_names_listing_copy_move_remove(self):
        c = self.cluster
        c.run("mb", "b")
        c.run("mb", "wide", "--profile", "2+1")
        c.run("mb", "b", code=EXISTS)
        for key in ("a", "dir/x", "dir/y", "dir/sub/z", "e"):
            c.put_bytes(key.encode(), f"b/{key}")
        top = c.run("ls", "b", "--json").json["entries"]
        self.assertEqual([e.get("key") or e["prefix"] for e in top], ["a", "dir/", "e"])
        everything = c.run("ls", "b", "--recursive", "--json").json["entries"]
        self.assertEqual([e["key"] for e in everything], ["a", "dir/sub/z", "dir/x", "dir/y", "e"])
        c.run("cp", "b/a", "b/copy")
        c.run("rm", "b/a")
        self.assertEqual(c.get_bytes("b/copy"), b"a")
        c.run("get", "b/a", "-", code=NOT_FOUND)
        c.run("mv", "b/copy", "wide/moved")
        self.assertEqual(c.get_bytes("wide/moved"), b"a")
        c.run("stat", "b/copy", code=NOT_FOUND)
        c.run("rb", "b", code=EXISTS)
        c.run("rm", "b/dir/", "--recursive")
        self.assertEqual([e["key"] for e in c.run("ls", "b", "--recursive", "--json").json["entries"]], ["e"])
        c.run("rb", "b", "--force")
        c.run("ls", "b", code=NOT_FOUND)

    def test_folders(self):
        c = self.cluster
        c.run("mb", "b")
        tree = os.path.join(c.home, "tree")
        os.makedirs(os.path.join(tree, "sub", "deep"))
        for name, size in (("one", 10), ("sub/two", 100 * KIB), ("sub/deep/three", 5 * MIB), ("empty", 0)):
            with open(os.path.join(tree, name), "wb") as f:
                f.write(content(size, size))
        c.run("put", "-r", tree, "b/t")
        back = os.path.join(c.home, "back")
        c.run("get", "-r", "b/t", back)
        subprocess.run(["diff", "-r", tree, back], check=True)

    def test_a_folder_without_what_an_osd_has(self):
        """Objects that cannot be read now do not keep the others from being got."""
        c = self.cluster
        c.run("mb", "b", "--profile", "1+0")
        tree, back = os.path.join(c.home, "tree"), os.path.join(c.home, "back")
        os.makedirs(tree)
        for i in range(40):
            with open(os.path.join(tree, f"{i:02}"), "wb") as f:
                f.write(content(20 * KIB, i))
        c.run("put", "-r", tree, "b/t")
        c.kill_osds(2)
        done = c.run("get", "-r", "b/t", back, code=UNAVAILABLE)
        self.assertIn("not heard, and may have them: osd.2", done.err)
        got, all_names = set(os.listdir(back)), set(os.listdir(tree))
        self.assertEqual({name for name in all_names if f"b/t/{name}" in done.err}, all_names - got)
        self.assertGreater(len(got), 20)
        for name in got:
            with open(os.path.join(tree, name), "rb") as a, open(os.path.join(back, name), "rb") as b:
                self.assertEqual(a.read(), b.read(), name)

    def test_attributes_and_explain(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(content(5 * MIB, 1), "b/k", "--type", "text/plain", "--meta", "who=me")
        stat = c.run("stat", "b/k", "--json").json
        self.assertEqual(stat["size"], 5 * MIB)
        self.assertIn("text/plain", c.run("stat", "b/k").out)
        self.assertIn("who", c.run("stat", "b/k").out)
        self.assertEqual(c.run("explain", "b/k", "--json").json["survives"], 2)


if __name__ == "__main__":
    main()
