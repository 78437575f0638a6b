"""The load of the thrasher: threads that put, get, overwrite and delete through lilio-hand, each the only writer of its keys."""
import random
import select
import subprocess
import threading
import time

from registers import NOT_DONE, NOT_NOW, Key

BUCKET, CALL_MS, GUARD_S = "thrash", 8000, 240
SIZES = [(6, lambda r: r.randrange(40, 2000)), (1, lambda r: 0), (2, lambda r: 16384 + r.randrange(-2, 3)),
         (6, lambda r: r.randrange(17000, 262144)), (1, lambda r: 262144 + r.randrange(-1, 2)), (3, lambda r: r.randrange(262145, 3 << 20))]


class Hand:
    def __init__(self, program, config):
        self.process = subprocess.Popen([program, config, BUCKET, str(CALL_MS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        start_new_session=True)

    def call(self, *words):
        """(code, rest of the answer)."""
        try:
            self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return "DIED", f"exit {self.process.wait()}"
        if not select.select([self.process.stdout], [], [], GUARD_S)[0]:
            return "HANGS", f"no answer for {GUARD_S} s"
        code, _, rest = self.process.stdout.readline().decode(errors="replace").rstrip("\n").partition(" ")
        return (code, rest) if code else ("DIED", f"exit {self.process.wait()}")

    def end(self):
        self.process.kill()
        self.process.wait()


class Gate:
    """Changes go through it; closed and empty, nothing changes."""

    def __init__(self):
        self.condition, self.open, self.inside = threading.Condition(), True, 0

    def enter(self):
        with self.condition:
            self.inside += self.open
            return self.open

    def leave(self):
        with self.condition:
            self.inside -= 1
            self.condition.notify_all()

    def close(self):
        with self.condition:
            self.open = False
            self.condition.wait_for(lambda: self.inside == 0, GUARD_S)

    def reopen(self):
        with self.condition:
            self.open = True
            self.condition.notify_all()


class Load:
    def __init__(self, program, config, tally, seed, threads=6, keys=20, pause=0.03, plant=None):
        self.program, self.config, self.tally, self.pause, self.plant = program, config, tally, pause, plant
        self.seed, self.threads, self.per_thread = seed, threads, keys
        self.gate, self.stopping, self.strict = Gate(), threading.Event(), False
        self.keys, self.lock, self.running = [], threading.Lock(), []
        self.made = [0] * threads
        self.own = [[self.key(i, j) for j in range(keys)] for i in range(threads)]
        self.rounds = 0

    def key(self, i, number):
        key = Key(f"w{i}.{number}")
        with self.lock:
            self.keys.append(key)
        return key

    def start(self, pause=None):
        self.stopping.clear()
        self.gate.reopen()
        self.rounds += 1
        self.tally.last.clear()
        self.tally.timed = True
        self.running = [threading.Thread(target=self.work, args=(i, self.pause if pause is None else pause), daemon=True)
                        for i in range(self.threads)]
        for thread in self.running:
            thread.start()

    def stop(self):
        self.stopping.set()
        self.tally.timed = False
        for thread in self.running:
            thread.join()
        self.running = []

    def work(self, i, pause):
        rng, hand = random.Random(f"{self.seed}.{self.rounds}.{i}"), Hand(self.program, self.config)
        try:
            while not self.stopping.is_set():
                if rng.random() < 0.45 and self.gate.enter():
                    try:
                        self.change(hand, rng, i)
                    finally:
                        self.gate.leave()
                else:
                    self.get(hand, rng.choice(self.keys))
                if pause:
                    time.sleep(rng.uniform(0, 2 * pause))
        finally:
            hand.end()

    def hold(self):
        """No changes until release(), none is under way."""
        self.gate.close()

    def release(self):
        self.gate.reopen()
        with self.tally.lock:  # that pause was ours
            self.tally.last.pop("put", None)
            self.tally.last.pop("rm", None)

    # ---- one operation ----

    def size(self, rng):
        return rng.choices([make for _, make in SIZES], [weight for weight, _ in SIZES])[0](rng)

    def change(self, hand, rng, i):
        j = rng.randrange(self.per_thread)
        key = self.own[i][j]
        if key.closed:
            self.made[i] += 1
            key = self.own[i][j] = self.key(i, self.per_thread + self.made[i])
        if key.states[-1].name and rng.random() < 0.2:
            self.remove(hand, key)
        else:
            self.made[i] += 1
            self.put(hand, key, f"V{i}.{self.made[i]}", self.size(rng))

    def put(self, hand, key, name, size):
        begin = time.monotonic()
        key.change(name, size, begin)
        lies = self.plant == "lie" and self.made[int(name[1:].split(".")[0])] % 40 == 0
        code, rest = ("ok", "") if lies else hand.call("put", key.name, name, size)
        self.changed("put", key, code, rest, begin, size)

    def remove(self, hand, key):
        begin = time.monotonic()
        key.change(None, 0, begin)
        code, rest = hand.call("rm", key.name)
        self.changed("rm", key, code, rest, begin, 0)

    def changed(self, verb, key, code, rest, begin, size):
        end = time.monotonic()
        outcome = "ok" if code == "ok" else "failed" if code in NOT_DONE else "unknown"
        if code != "ok" and (code not in NOT_NOW or self.strict):
            self.tally.accuse(f"{verb} {key.name}: {code} {rest}")
        wrong = key.changed(outcome, end)
        if wrong:
            self.tally.accuse(wrong)
        self.tally.note(verb, "ok" if code == "ok" else code, begin, end, size)

    def get(self, hand, key):
        """True if it was answered."""
        begin = time.monotonic()
        code, rest = hand.call("get", key.name)
        end = time.monotonic()
        words = rest.split(" ")
        value = (words[0], int(words[1])) if code == "ok" else None
        answered = code in ("ok", "NO_KEY")
        wrong = key.check_read(value, begin, end) if answered else None
        if wrong:
            self.tally.accuse(wrong)
        elif not answered and (code not in NOT_NOW or self.strict):
            self.tally.accuse(f"get {key.name}: {code} {rest}")
        self.tally.note("get", "ok" if answered else code, begin, end, value[1] if value else 0)
        return answered

    def read_all(self, seconds=120):
        """Every key once more; nothing may be missing now."""
        hand = Hand(self.program, self.config)
        try:
            for key in list(self.keys):
                end = time.monotonic() + seconds
                while not self.get(hand, key):
                    if time.monotonic() > end or self.tally.wrong:
                        self.tally.accuse(f"{key.name} could not be read after healing")
                        return
                    time.sleep(0.2)
        finally:
            hand.end()
