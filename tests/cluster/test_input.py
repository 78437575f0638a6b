#!/usr/bin/env python3
"""Bad input of every kind: a clear message and the right exit code, nothing lost, no daemon harmed."""
import json
import os
import random
import socket
import struct

from lilio import EXISTS, FAILURE, MIB, NOT_FOUND, OK, UNAVAILABLE, USAGE, Cluster, ClusterTest, alive, content, main


class Arguments(ClusterTest):
    def test_refusals(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(b"x", "b/k")
        cases = [
            (NOT_FOUND, "put", os.path.join(c.home, "nowhere"), "b/x"), (NOT_FOUND, "get", "nope/k", "f"),
            (NOT_FOUND, "get", "b/nope", "f"), (NOT_FOUND, "stat", "b/nope"), (NOT_FOUND, "rm", "b/nope"), (NOT_FOUND, "ls", "nope"),
            (NOT_FOUND, "rb", "nope"), (NOT_FOUND, "explain", "b/nope"), (NOT_FOUND, "verify", "b/nope"), (NOT_FOUND, "verify", "nope"),
            (NOT_FOUND, "osd", "rebuild", "77"), (USAGE, "osd", "rebuild", "x"), (USAGE, "put"), (USAGE, "nonsense"), (USAGE, "put", "a"),
            (USAGE, "mb", "UPPER"), (USAGE, "mb", "a" * 64), (USAGE, "mb", ""), (USAGE, "mb", "b2", "--profile", "0+2"),
            (USAGE, "mb", "b2", "--profile", "4+20"), (USAGE, "mb", "b2", "--profile", "33+1"), (USAGE, "mb", "b2", "--profile", "four"),
            (USAGE, "mb", "b2", "--profile", "8+3"), (USAGE, "mb", "b2", "--quorum", "99"), (USAGE, "get", "b/k"),
            (USAGE, "bench", "put", "--size", "lots"), (USAGE, "put", "-", "b/"), (USAGE, "ls", "--frobnicate"),
            (EXISTS, "mb", "b"),
        ]
        for code, *args in cases:
            with self.subTest(args=args):
                result = c.run(*args, code=code)
                self.assertTrue(result.err.strip(), args)
                answer = c.run(*args, "--json", code=code)
                self.assertIn("error", json.loads(answer.out), args)
        wide = c.run("mb", "b2", "--profile", "8+3", code=USAGE)
        self.assertIn("11", wide.err)
        self.assertIn("6", wide.err)

    def test_errors_name_what_they_are_about(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(b"x", "b/k")
        long = "b/" + "k" * 1000
        cases = [(NOT_FOUND, "b/nope", command, "b/nope", *more) for command, *more in
                 (["get", "f"], ["stat"], ["rm"], ["explain"], ["verify"], ["cp", "b/to"], ["mv", "b/to"])]
        cases += [(NOT_FOUND, "no bucket nope", command, "nope/k", *more) for command, *more in
                  (["get", "f"], ["stat"], ["rm"], ["explain"], ["verify"], ["cp", "b/to"])]
        cases += [(NOT_FOUND, "no bucket nope", "cp", "b/k", "nope/to"), (NOT_FOUND, "no bucket nope", "rb", "nope"),
                  (NOT_FOUND, "b/nope", "get", "-r", "b/nope", "f"), (NOT_FOUND, "b/nope", "rm", "-r", "b/nope"),
                  (EXISTS, "b/k", "cp", "b/k", "b/k", "--if-absent"), (NOT_FOUND, "b/" + "k" * 200, "explain", long)]
        c.put_bytes(b"x", "b/other")
        cases += [(EXISTS, "b/other", command, "b/k", "b/other", "--if-absent") for command in ("cp", "mv")]
        for code, name, *args in cases:
            with self.subTest(args=args):
                said = c.run(*args, code=code).err
                self.assertEqual(said.count(name), 1, said)
                self.assertIn(name, c.run(*args, "--json", code=code).json["error"]["message"])
        self.assertIn("kkk...: no such key", c.run("explain", long, code=NOT_FOUND).err)
        c.put_bytes(b"x", "b/odd/../name")
        message = c.run("get", "-r", "b/odd", os.path.join(c.home, "folder"), "--json", code=USAGE).json["error"]["message"]
        self.assertIn("1 failed, the first: b/odd/../name: ", message)

    def test_answers_that_are_one_thing_only(self):
        c = self.cluster
        self.assertEqual(list(c.run("ls", "nosuch", "--json", code=NOT_FOUND).json), ["error"])
        c.run("mb", "b")
        self.assertEqual(c.run("ls", "b", "--json").json["entries"], [])
        c.put_bytes(b"x", "b/x")
        self.assertEqual(c.put_bytes(b"y", "b/x", "--if-absent", code=EXISTS).err.count("b/x"), 1)
        result = c.run("get", "b/none", "-", "--json", code=NOT_FOUND)
        self.assertEqual((result.out, json.loads(result.err)["error"]["exit"]), ("", NOT_FOUND))
        back = os.path.join(c.home, "back")
        c.run("get", "-r", "b/none", back, code=NOT_FOUND)
        self.assertFalse(os.path.exists(back))
        c.run("osd", "rebuild", "1", "--disk", os.path.join(c.home, "no", "disk"), code=NOT_FOUND)
        self.assertFalse(os.path.exists(os.path.join(c.home, "no")))
        c.run("coordinator", "rm", "0", code=EXISTS)
        c.run("coordinator", "rm", "5", code=NOT_FOUND)
        c.run("coordinator", "replace", "5", code=NOT_FOUND)
        c.kill_osds(0, 1, 2)
        c.run("bench", "put", "--size", "1MiB", "--seconds", "1", code=UNAVAILABLE)
        c.kill("coordinator.0")
        self.assertFaster(c.run("verify", "--timeout", "1500ms", code=UNAVAILABLE).seconds, 2.9)
        self.assertIn("coordinator.0", c.run("coordinator", "ls", code=UNAVAILABLE).out)

    def test_keys(self):
        c = self.cluster
        c.run("mb", "b")
        c.put_bytes(b"x", "b/" + "k" * 1025, code=USAGE)
        c.put_bytes(b"x", b"b/\xff\xfe".decode(errors="surrogateescape"), code=USAGE)
        c.put_bytes(b"x", "b/" + "k" * 100_000, code=USAGE)
        self.assertEqual(c.run("ls", "b", "--json").json["entries"], [])

    def test_configuration(self):
        c = self.cluster
        c.run("status", config=False, code=(USAGE, NOT_FOUND))
        for text in (b"", b"\x00\x01", b"a: [", b"format: 1\ncluster_id: zzz\n", b"&a [*a, *a]", b"[" * 10000, b"format: 99\n"):
            bad = os.path.join(c.home, "bad.yaml")
            with open(bad, "wb") as f:
                f.write(text)
            result = c.run("status", "--config", bad, config=False, code=(FAILURE, USAGE))
            self.assertTrue(result.err)
        for program in ("lilio-osd", "lilio-coordinator"):
            import subprocess
            from lilio import BIN
            done = subprocess.run([os.path.join(BIN, program), "--config", bad, "--id", "0"], capture_output=True, text=True, timeout=30)
            self.assertNotEqual(done.returncode, 0)
            self.assertTrue(done.stderr)
            self.assertGreaterEqual(done.returncode, 0, "ended by a signal")

    def test_help_and_version(self):
        c = self.cluster
        for args in (["--help"], ["--version"], ["put", "--help"], ["osd", "--help"], ["osd", "rebuild", "--help"], ["up", "--help"]):
            self.assertTrue(c.run(*args, config=False).out)


class Sockets(ClusterTest):
    options = {"listen": "127.0.0.1:0"}

    def ports(self):
        import re
        with open(self.cluster.path("lilio.yaml")) as f:
            return [int(p) for p in re.findall(r"tcp://127\.0\.0\.1:(\d+)", f.read())]

    def test_garbage_on_every_socket(self):
        c, rng = self.cluster, random.Random(1)
        c.run("mb", "b")
        data = content(5 * MIB, 1)
        c.put_bytes(data, "b/k")
        pids = {n: c.pid(n) for n in c.names()}
        greeting = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x01" + b"NULL" + b"\0" * 16 + b"\0" + b"\0" * 31
        ready = b"\x04\x26\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
        frames = [b"", b"\xc1", b"\x93\x01\x02", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 3000, rng.randbytes(500)]
        for port in self.ports():
            for i in range(12):
                with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
                    try:
                        if i < 3:
                            s.sendall(rng.randbytes(2000))
                            continue
                        s.sendall(greeting + ready)
                        for _ in range(rng.randrange(1, 6)):
                            frame = rng.choice(frames)
                            more = rng.randrange(2)
                            s.sendall(struct.pack(">BQ", 2 | more, len(frame)) + frame)
                        s.sendall(struct.pack(">BQ", 2, 1 << 40))
                        s.sendall(b"x" * 1000)
                    except (BrokenPipeError, ConnectionResetError):
                        pass
        self.assertEqual(pids, {n: c.pid(n) for n in c.names()})
        self.assertEqual(c.get_bytes("b/k"), data)
        c.put_bytes(data, "b/k2")

    def test_port_in_use(self):
        port = self.ports()[0]
        other = Cluster(up=False)
        self.addCleanup(other.close)
        result = other.run("up", "--dir", other.dir, "--detach", "--listen", f"127.0.0.1:{port}", config=False, code=(FAILURE, USAGE))
        self.assertIn(str(port), result.err)
        self.assertFalse([n for n in other.names() if other.pid(n)], "something was left running")

    def test_public_address_needs_insecure(self):
        other = Cluster(up=False)
        self.addCleanup(other.close)
        result = other.run("up", "--dir", other.dir, "--detach", "--listen", "0.0.0.0:0", config=False, code=(FAILURE, USAGE))
        self.assertIn("--insecure", result.err)


if __name__ == "__main__":
    main()
