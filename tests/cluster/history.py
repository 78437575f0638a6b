"""Histories of registers with unique values (load.c writes them), and whether they are linearizable.

With unique values every read names its write, so a history is linearizable exactly when (Gibbons and Korach 1997, section 4), per
key, with f the earliest end and s the latest beginning of the operations of one value (its write and its reads):

    no read ends before its write begins
    no two forward zones (f < s: the interval f..s) overlap
    no backward zone (s <= f: the interval s..f) lies inside a forward zone

A write whose outcome is unknown has no end; if nobody read it, it never happened. A write that failed must not be read.
A lost or a doubled COMMIT is no linearizable history: an older value is read after a newer one."""
import bisect
import collections
import math

Op = collections.namedtuple("Op", "client kind key value begin end result why")


def parse(lines):
    ops = []
    for line in lines:
        words = line.rstrip("\n").split(" ", 7)
        if len(words) < 7 or not line.endswith("\n"):
            continue
        client, kind, key, value, begin, end, result = words[:7]
        ops.append(Op(int(client), kind, int(key), value, int(begin), int(end), result, words[7] if len(words) > 7 else ""))
    return ops


def check(ops):
    """What is wrong with the history, as sentences; none: it is linearizable."""
    wrong = []
    keys = collections.defaultdict(list)
    for op in ops:
        if op.result == "corrupt":
            wrong.append(f"bytes that nobody wrote: {op}")
        keys[op.key].append(op)
    for key, list_ in sorted(keys.items()):
        wrong += [f"key {key}: {text}" for text in check_key(list_)]
    return wrong


def check_key(ops):
    wrong = []
    values = {None: (-math.inf, -math.inf)}  # value -> (f, s); None: nothing was there yet
    begins = {None: -math.inf}
    failed = {}
    for op in ops:
        if op.kind != "put":
            continue
        if op.value in begins:
            wrong.append(f"{op.value} was written twice by the load itself")
        begins[op.value] = op.begin
        if op.result == "failed":
            failed[op.value] = op
        elif op.result == "ok":
            values[op.value] = (op.end, op.begin)
        else:
            values[op.value] = (math.inf, op.begin)
    read = set()
    for op in ops:
        if op.kind != "get" or op.result not in ("ok", "none"):
            continue
        value = op.value if op.result == "ok" else None
        if value in failed:
            wrong.append(f"a write that was called not done was read: {failed[value]} by {op}")
        elif value not in values:
            wrong.append(f"a value nobody wrote: {op}")
        elif op.end < begins[value]:
            wrong.append(f"read before it was written: {op}")
        else:
            f, s = values[value]
            values[value] = (min(f, op.end), max(s, op.begin))
            read.add(value)
    known = {v: z for v, z in values.items() if v in read or z[0] < math.inf}
    return wrong + check_zones(known)


def check_zones(values):
    wrong = []
    forward = sorted((f, s, v) for v, (f, s) in values.items() if f < s)
    for (f1, s1, v1), (f2, s2, v2) in zip(forward, forward[1:]):
        if f2 < s1:
            wrong.append(f"{v1} and {v2} were each read after the other was there: {f1}..{s1}, {f2}..{s2}")
    ends = [s for _, s, _ in forward]
    begins = [f for f, _, _ in forward]
    for value, (f, s) in values.items():
        if f < s:
            continue
        i = bisect.bisect_left(begins, s) - 1  # the last forward zone that begins before this backward zone
        if i >= 0 and f < ends[i]:
            wrong.append(f"{value} came and went inside the time of {forward[i][2]}: {s}..{f} in {forward[i][0]}..{ends[i]}")
    return wrong
