#!/usr/bin/env python3
"""Two minutes of the thrasher (thrash.py), and that it can fail: its checker with histories that are wrong, one disk more than the
budget damaged behind its back, puts that never happened."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from registers import Key

THRASH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "thrash.py")
SEED = os.environ.get("LILIO_SEED", "4")


def thrash(*words):
    """(exit code, result, what it said); what it leaves behind when it fails stays."""
    done = subprocess.run([sys.executable, THRASH, "--seed", SEED, "--json", *words], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


class Checker(unittest.TestCase):
    """A key: absent, A from 1 to 2, B from 3 to 4, removed from 5 to 6, C from 7 on."""

    def setUp(self):
        self.key = Key("k")
        for name, begin, end in (("A", 1, 2), ("B", 3, 4), (None, 5, 6)):
            self.key.change(name, 50 if name else 0, begin)
            self.assertIsNone(self.key.changed("ok", end))
        self.key.change("C", 50, 7)

    def read(self, name, begin, end):
        return self.key.check_read(name and (name, 50), begin, end)

    def test_what_may_be_read(self):
        self.assertIsNone(self.read(None, 6.5, 6.9))
        self.assertIsNone(self.read("A", 1.5, 3.5))
        self.assertIsNone(self.read(None, 6.5, 8))
        self.assertIsNone(self.read("C", 6.5, 8))

    def test_older_than_acknowledged(self):
        for value in ("A", "B"):
            self.assertIn("could only be", self.read(value, 6.5, 8))

    def test_acknowledged_and_gone(self):
        self.key.changed("ok", 8)
        self.assertIn("could only be", self.read(None, 8.5, 9))

    def test_bytes_nobody_wrote(self):
        self.assertIn("could only be", self.read("X", 6.5, 9))
        self.assertIn("could only be", self.key.check_read(("C", 49), 6.5, 9))

    def test_read_before_it_began(self):
        self.assertIn("could only be", self.read("C", 6.1, 6.9))

    def test_older_than_read(self):
        self.assertIsNone(self.read("C", 7.1, 8))
        self.assertIn("could only be", self.read(None, 8.5, 9))
        self.assertIsNone(self.read("C", 8.5, 9))

    def test_read_and_then_called_not_done(self):
        self.assertIsNone(self.read("C", 7.1, 8))
        self.assertIn("called not done", self.key.changed("failed", 9))

    def test_not_done_and_then_read(self):
        self.assertIsNone(self.key.changed("failed", 9))
        self.assertIn("could only be", self.read("C", 9.5, 10))
        self.assertIsNone(self.read(None, 9.5, 10))

    def test_outcome_unknown(self):
        self.key.changed("unknown", 9)
        self.assertTrue(self.key.closed)
        self.assertIsNone(self.read(None, 9.5, 10))
        self.assertIsNone(self.read("C", 10.5, 11))
        self.assertIn("could only be", self.read(None, 11.5, 12))


class Storm(unittest.TestCase):
    def test_two_minutes(self):
        code, result, said = thrash("--minutes", "2", "--beyond")
        self.assertEqual(code, 0, said[-6000:])
        print(json.dumps({k: result[k] for k in ("faults", "operations", "heals", "beyond")}), file=sys.stderr)
        self.assertGreater(sum(result["faults"].values()), 5)
        self.assertGreater(result["operations"]["put ok"], 100)

    def planted(self, fault, pattern):
        with tempfile.TemporaryDirectory(prefix="lilio-") as folder:
            code, result, said = thrash("--minutes", "0.1", "--plant", fault, "--dir", folder)
            self.assertEqual(code, 1, said[-6000:])
            self.assertRegex(result["wrong"][0], pattern)

    def test_more_than_it_is_told(self):
        self.planted("flip", "LOST|lost")

    def test_puts_that_never_were(self):
        self.planted("lie", "could only be|NO_KEY")


if __name__ == "__main__":
    unittest.main(verbosity=2)
