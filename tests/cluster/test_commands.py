#!/usr/bin/env python3
"""What lilio-ec says without a cluster: every command teaches, the completion knows every option, errors are one JSON object."""
import json
import os
import re
import subprocess
import tempfile
import unittest

BIN = os.path.abspath(os.path.join(os.environ.get("LILIO_BIN", "build/release/bin"), "lilio-ec"))
COMPLETION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "completion", "lilio-ec.bash")
COMMANDS = ["up", "down", "mb", "rb", "put", "get", "ls", "stat", "rm", "cp", "mv", "status", "df", "osd ls", "osd rebuild", "verify",
            "explain", "bench", "repair", "scrub start", "scrub status", "gc status", "gc run", "damage", "verify-cert", "coordinator ls", "coordinator add", "coordinator rm", "coordinator replace", "coordinator transfer"]


def run(*args, **kw):
    environment = {k: v for k, v in os.environ.items() if k != "LILIO_CONFIG"}
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run([BIN, *args], capture_output=True, text=True, timeout=30, env=environment, cwd=empty, **kw)


def complete(*words):
    script = f"""source {COMPLETION}
COMP_WORDS=(lilio-ec {' '.join(repr(w) for w in words)}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _lilio_ec; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30).stdout.split()


class Commands(unittest.TestCase):
    def test_help_lists_every_command(self):
        out = run("--help").stdout
        for command in COMMANDS:
            self.assertRegex(out, rf"(?m)^  {command} ")
        for command in COMMANDS:
            help_text = run(*command.split(), "--help")
            self.assertEqual(help_text.returncode, 0)
            self.assertIn(f"Usage: lilio-ec {command}", help_text.stdout)
            self.assertRegex(help_text.stdout, rf"Examples?:\n  .*lilio-ec {command}")
            self.assertEqual(run("help", *command.split()).stdout, help_text.stdout)
        self.assertRegex(run("--version").stdout, r"^lilio-ec \d+\.\d+\.\d+\n$")

    def test_help_says_what_the_exit_code_means(self):
        for command in ("status", "verify", "verify-cert", "damage", "explain", "osd rebuild", "repair", "scrub start", "scrub status", "gc status",
                        "gc run"):
            self.assertRegex(" ".join(run(*command.split(), "--help").stdout.split()), r"[Ee]xit codes?:? .*\b0 ", command)

    def test_completion_knows_every_command_and_option(self):
        self.assertTrue(set(c.split()[0] for c in COMMANDS) <= set(complete("")))
        self.assertEqual(complete("osd", ""), ["ls", "drain", "rebuild"])
        for command in COMMANDS:
            options = set(re.findall(r"(?m)^ +(?:-.,? )? *(--[a-z-]+)", run(*command.split(), "--help").stdout)) - {"--usage"}
            self.assertGreaterEqual(len(options), 5)
            self.assertEqual(options - set(complete(*command.split(), "--")), set(), command)

    def test_options_before_and_behind(self):
        for words in (["--json", "ls"], ["ls", "--json"], ["osd", "--json", "ls"], ["--timeout", "1s", "ls", "--json"]):
            done = run(*words)
            self.assertEqual(done.returncode, 2, done)
            self.assertEqual(json.loads(done.stdout)["error"]["name"], "CONFIG")

    def test_errors_are_one_object(self):
        for words in (["--json"], ["nonsense", "--json"], ["osd", "--json"], ["put", "--json"], ["put", "--frob", "--json"], ["ls", "a", "b", "--json"],
                      ["--timeout", "--json"], ["mb", "UPPER", "--json"], ["ls", "--timeout", "soon", "--json"], ["stat", "b/\x1b", "--json"]):
            done = run(*words)
            self.assertEqual(done.returncode, 2, done)
            self.assertEqual(done.stderr, "", words)
            error = json.loads(done.stdout)["error"]
            self.assertEqual(error["exit"], 2)
            self.assertTrue(error["message"])
            plain = run(*(w for w in words if w != "--json"))
            self.assertEqual(plain.returncode, 2)
            self.assertEqual(plain.stdout, "")
            self.assertTrue(plain.stderr)

    def test_hostile_words_do_not_reach_the_terminal(self):
        done = run("mb", "a\x1b[31mb\x07")
        self.assertEqual(done.returncode, 2)
        done = run("\x1b]0;x\x07")
        self.assertEqual(done.returncode, 2)
        self.assertNotIn("\x1b", done.stderr)

    def test_missing_configuration(self):
        done = run("ls", "--config", "/nonexistent/lilio.yaml")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent", done.stderr)

    def test_a_folder_as_configuration(self):
        done = run("ls", "--config", "/tmp")
        self.assertEqual(done.returncode, 2)
        self.assertIn("lilio.yaml", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
