#!/usr/bin/env python3
"""What a compiler cannot see: layers, comments, banned words, headers that compile alone.

    tidy.py [--root DIR] [--headers]     exit 0 when the tree is clean, 1 with one line per finding
    tidy.py --canary                     plants one fault of each kind in a copy and demands that each is found
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Who may include whom: the rooms table of docs/ARCHITECTURE.md.
USES = {
    "base": {"base"},
    "codec": {"codec", "base"},
    "proto": {"proto", "codec", "base"},
    "osd": {"osd", "proto", "codec", "base"},
    "coordinator": {"coordinator", "proto", "codec", "base"},
    "client": {"client", "proto", "codec", "base"},
    "tools": {"tools", "client", "proto", "codec", "base"},
}
# Libraries wrapped in one file each (a folder's own public pieces aside).
WRAPPED = {
    "zmq.h": {"proto/transport.c", "proto/endpoint.c"},
    "msgpack.h": {"proto/pack.c"},
    "rocksdb/c.h": {"base/kv_rocksdb.c"},
    "yaml.h": {"base/config.c"},
    "openssl/evp.h": {"base/digest.c"},
    "isa-l.h": {"codec/isal.c"},
    "xxhash.h": {"proto/placement.c", "proto/ring.c"},
    "cjson/cJSON.h": None,  # only tools and tests
}
ROOT_ALLOWED = {
    "CMakeLists.txt", "CMakePresets.json", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "base", "codec", "proto",
    "osd", "coordinator", "client", "gateway", "tools", "tests", "deploy", "docs", "cmake",
}
MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
PATHS = re.compile(r"(?<![\w.])/(home|root|work)/[\w]")


def tracked(root):
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True)
        names = out.stdout.splitlines()
    except (subprocess.CalledProcessError, FileNotFoundError):
        names = [os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs]
    return [n for n in names if os.path.isfile(os.path.join(root, n)) and not n.startswith((".git/", "build/"))]


def strip_literals(text):
    """Comments and strings blanked, so that '//' inside them does not count; block comments keep their line breaks."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m[0])
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def findings(root, headers):
    found = []
    names = tracked(root)
    for top in sorted({n.split("/")[0] for n in names}):
        if not top.startswith(".") and top not in ROOT_ALLOWED:
            found.append(f"{top}: does not belong into the root folder")
    for name in names:
        if not name.endswith((".c", ".h", ".py", ".sh", ".txt", ".cmake", ".md", ".def", ".json", "/run")):
            continue
        with open(os.path.join(root, name), encoding="utf-8", errors="replace") as f:
            text = f.read()
        if name != "tests/tidy/tidy.py":
            for i, line in enumerate(text.splitlines(), 1):
                if PATHS.search(line):
                    found.append(f"{name}:{i}: path of one machine")
                if name.endswith((".c", ".h")) and MARKS.search(line):
                    found.append(f"{name}:{i}: leftover mark")
        if not name.endswith((".c", ".h", ".def")):
            continue
        room = name.split("/")[0]
        for i, line in enumerate(strip_literals(text).splitlines(), 1):
            if "//" in line:
                found.append(f"{name}:{i}: // comment")
            if "\t" in line:
                found.append(f"{name}:{i}: tab")
        for m in re.finditer(r'^#include\s+["<]([^">]+)[">]', text, re.M):
            target, number = m[1], text.count("\n", 0, m.start()) + 1
            if room in USES and "/" in target and target.split("/")[0] in USES and target.split("/")[0] not in USES[room]:
                found.append(f"{name}:{number}: {room} must not use {target}")
            if room in USES and target in WRAPPED:
                allowed = WRAPPED[target]
                if (allowed is None and room != "tools") or (allowed is not None and name not in allowed):
                    found.append(f"{name}:{number}: {target} is wrapped elsewhere")
        if room in USES and name.endswith(".c") and "/examples/" not in name and '"base/banned.h"' not in text:
            found.append(f"{name}: does not include base/banned.h")
    if headers:
        found += check_headers(root, [n for n in names if n.endswith(".h") and n.split("/")[0] in USES])
    return found


def check_headers(root, names):
    found = []
    for name in names:
        source = f'#include "{name}"\n#include "{name}"\nint tidy_unit;\n'
        done = subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-I", root, "-fsyntax-only", "-x", "c", "-"], input=source,
                              capture_output=True, text=True)
        if done.returncode:
            found.append(f"{name}: does not compile alone: {done.stderr.splitlines()[0] if done.stderr else ''}")
    return found


def canary():
    faults = {
        "codec/canary.c": '#include "proto/pack.h"\n#include "base/banned.h"\n',
        "base/canary_comment.c": 'int x; // no\n#include "base/banned.h"\n',
        "osd/canary_zmq.c": '#include <zmq.h>\n#include "base/banned.h"\n',
        "tools/canary_mark.c": '/* TO' + 'DO: later. */\n#include "base/banned.h"\n',
        "client/canary_path.c": '/* see /ho' + 'me/x. */\n#include "base/banned.h"\n',
        "proto/canary_banned.c": "int y;\n",
        "base/canary.h": "struct canary { size_t incomplete_type_here; };\n",
        "stray.c": "int z;\n",
    }
    folder = tempfile.mkdtemp(prefix="lilio-tidy-")
    try:
        for name, text in faults.items():
            os.makedirs(os.path.join(folder, os.path.dirname(name)), exist_ok=True)
            with open(os.path.join(folder, name), "w") as f:
                f.write(text)
        found = "\n".join(findings(folder, headers=True))
    finally:
        shutil.rmtree(folder)
    missed = [n for n in faults if n not in found]
    for n in missed:
        print(f"the fault planted in {n} was not found")
    return 1 if missed else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    p.add_argument("--headers", action="store_true", help="also compile each header alone and twice")
    p.add_argument("--canary", action="store_true")
    args = p.parse_args()
    if args.canary:
        sys.exit(canary())
    found = findings(os.path.abspath(args.root), args.headers)
    print("\n".join(found) if found else "clean")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
