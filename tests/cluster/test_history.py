#!/usr/bin/env python3
"""The checker of histories (history.py) against a slow one that tries every order, on small random histories."""
import itertools
import random
import unittest

from history import Op, check, parse


def slow(ops):
    """Is there an order of these operations that a register obeys and that respects time?"""
    sure = [op for op in ops if op.result in ("ok", "none")]
    maybe = [op for op in ops if op.kind == "put" and op.result == "unknown"]
    for count in range(len(maybe) + 1):
        for chosen in itertools.combinations(maybe, count):
            late = [op._replace(end=10**9) for op in chosen]
            if order(sure + late, None):
                return True
    return False


def order(left, value):
    if not left:
        return True
    first_end = min(op.end for op in left)
    for op in left:
        if op.begin > first_end:
            continue  # another one ended before it began
        rest = [o for o in left if o is not op]
        if op.kind == "put":
            if order(rest, op.value):
                return True
        elif (op.value if op.result == "ok" else None) == value and order(rest, value):
            return True
    return False


def made(rng):
    """A history of a register that is now and then a liar."""
    ops, value, time = [], None, 0
    written = [None]
    for i in range(rng.randrange(2, 7)):
        time += rng.randrange(0, 4)
        begin, end = time + rng.random(), time + rng.randrange(1, 9) + rng.random()
        if rng.random() < 0.5:
            result = "unknown" if rng.random() < 0.3 else "ok"
            ops.append(Op(0, "put", 0, f"V{i}", begin, end, result, ""))
            written.append(f"V{i}")
            value = f"V{i}" if rng.random() < 0.9 else value
        else:
            seen = rng.choice(written) if rng.random() < 0.5 else value
            ops.append(Op(0, "get", 0, seen or "-", begin, end, "ok" if seen else "none", ""))
    return ops


class History(unittest.TestCase):
    def test_it_agrees_with_trying_every_order(self):
        rng = random.Random(1)
        verdicts = {True: 0, False: 0}
        for _ in range(6000):
            ops = made(rng)
            good = slow(ops)
            verdicts[good] += 1
            self.assertEqual(check(ops) == [], good, ops)
        self.assertGreater(min(verdicts.values()), 300, verdicts)

    def test_what_a_lost_and_a_doubled_commit_look_like(self):
        def ops(text):
            return parse(line + "\n" for line in text.split("; "))
        self.assertEqual(check(ops("0 put 1 V1 0 1 ok; 0 put 1 V2 2 3 ok; 1 get 1 V2 4 5 ok")), [])
        self.assertTrue(check(ops("0 put 1 V1 0 1 ok; 0 put 1 V2 2 3 ok; 1 get 1 V1 4 5 ok")))  # V2 is lost
        self.assertTrue(check(ops("0 put 1 V1 0 1 ok; 1 get 1 - 4 5 none")))
        self.assertTrue(check(ops("0 put 1 V1 0 1 ok; 0 put 1 V2 2 3 ok; 1 get 1 V2 4 5 ok; 1 get 1 V1 6 7 ok")))  # V1 doubled
        self.assertTrue(check(ops("0 put 1 V1 0 1 failed; 1 get 1 V1 4 5 ok")))
        self.assertTrue(check(ops("1 get 1 - 4 5 corrupt")))
        self.assertEqual(check(ops("0 put 1 V1 0 1 unknown; 1 get 1 - 4 5 none; 1 get 1 V1 6 7 ok")), [])
        self.assertEqual(check(ops("0 put 1 V1 0 1 failed; 1 get 1 - 4 5 none")), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
