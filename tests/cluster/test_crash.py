#!/usr/bin/env python3
"""Power of kill -9: every process is killed at random moments while objects are put; each acknowledged object is intact
afterwards, each unacknowledged one absent or whole. LILIO_ROUNDS sets the rounds (default 4)."""
import os
import random
import signal
import threading
import time

from lilio import KIB, MIB, NOT_FOUND, OK, ClusterTest, content, main

ROUNDS = int(os.environ.get("LILIO_ROUNDS", "4"))
SEED = int(os.environ.get("LILIO_SEED", "1"))


class Crash(ClusterTest):
    def test_kill_everything_while_putting(self):
        c, rng = self.cluster, random.Random(SEED)
        print(f"seed {SEED}, {ROUNDS} rounds")
        c.run("mb", "b")
        acknowledged, uncertain = {}, {}
        lock, stop = threading.Lock(), threading.Event()

        def writer(worker, round_number):
            i = 0
            while not stop.is_set():
                name, seed = f"b/{worker}-{round_number}-{i}", random.Random((worker, round_number, i).__hash__()).randrange(1 << 30)
                size = [1, 3000, 64 * KIB + 1, MIB, 5 * MIB][(worker + i) % 5]
                result = c.run("put", "-", name, "--timeout", "3s", data=content(size, seed), code=None)
                with lock:
                    (acknowledged if result.code == OK else uncertain)[name] = (size, seed)
                i += 1

        for number in range(ROUNDS):
            stop.clear()
            threads = [threading.Thread(target=writer, args=(w, number)) for w in range(3)]
            for t in threads:
                t.start()
            time.sleep(rng.uniform(0.2, 2.0))
            names = c.names()
            rng.shuffle(names)
            if rng.random() < 0.5:
                c.kill(*names)
            else:
                for name in names:
                    c.kill(name)
                    time.sleep(rng.uniform(0, 0.05))
            stop.set()
            for t in threads:
                t.join()
            c.up()
        self.assertGreater(len(acknowledged), ROUNDS)
        for name, (size, seed) in acknowledged.items():
            self.assertEqual(c.get_bytes(name), content(size, seed), name)
        absent = 0
        for name, (size, seed) in uncertain.items():
            result = c.run("get", name, "-", binary=True, code=(OK, NOT_FOUND))
            absent += result.code == NOT_FOUND
            if result.code == OK:
                self.assertEqual(result.out, content(size, seed), name)
        print(f"{len(acknowledged)} acknowledged and intact; {len(uncertain)} unacknowledged, {absent} of them absent")
        verify = c.run("verify", "--json", code=(OK, 7)).json
        self.assertEqual(verify["objects_lost"], 0)

    def test_paused_osd_does_not_stop_puts_or_gets(self):
        c = self.cluster
        c.run("mb", "b")
        data = content(20 * MIB, 3)
        c.put_bytes(data, "b/before")
        c.kill("osd.2", sig=signal.SIGSTOP)
        try:
            c.put_bytes(data, "b/during")
            self.assertEqual(c.get_bytes("b/before"), data)
            self.assertEqual(c.get_bytes("b/during"), data)
        finally:
            c.kill("osd.2", sig=signal.SIGCONT)
        self.assertEqual(c.get_bytes("b/during"), data)
        mended = c.run("osd", "rebuild", "2", "--json").json
        self.assertEqual(mended["failed"], 0)
        self.assertEqual(c.run("verify", "--json").json["fragments_missing"], 0)

    def test_interrupted_put_leaves_nothing(self):
        c = self.cluster
        c.run("mb", "b")
        import subprocess
        put = c.start("put", "-", "b/half", stdin=subprocess.PIPE)
        put.stdin.write(content(12 * MIB, 1))
        put.stdin.flush()
        time.sleep(0.3)
        put.send_signal(signal.SIGINT)
        put.stdin.close()
        put.stdin = None
        put.communicate(timeout=30)
        self.assertNotEqual(put.returncode, 0)
        c.run("stat", "b/half", code=NOT_FOUND)


if __name__ == "__main__":
    main()
