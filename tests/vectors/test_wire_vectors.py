#!/usr/bin/env python3
"""Aim: docs/formats/wire.md is enough to speak the protocol. Method: a reader of msgpack, of the field kinds and of the
partition hash, written from that page alone, reads every value of wire.json and must find the fields that stand beside it.

    test_wire_vectors.py wire.json"""
import json
import sys

MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)


def rotate(x, by):
    return (x << by | x >> (64 - by)) & MASK


def round64(acc, lane):
    return rotate((acc + lane * P2) & MASK, 31) * P1 & MASK


def xxh64(data):
    """XXH64 with seed 0 of fewer than 32 bytes."""
    h, i = (P5 + len(data)) & MASK, 0
    while i + 8 <= len(data):
        h = (rotate(h ^ round64(0, int.from_bytes(data[i:i + 8], "little")), 27) * P1 + P4) & MASK
        i += 8
    if i + 4 <= len(data):
        h = (rotate(h ^ (int.from_bytes(data[i:i + 4], "little") * P1 & MASK), 23) * P2 + P3) & MASK
        i += 4
    for byte in data[i:]:
        h = rotate(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        assert self.at + size <= len(self.data), "cut off"
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size, signed=False):
        return int.from_bytes(self.take(size), "big", signed=signed)

    def value(self):
        first = self.number(1)
        if first <= 0x7f:
            return first
        if first >= 0xe0:
            return first - 256
        if first & 0xf0 == 0x90:
            return [self.value() for _ in range(first & 15)]
        if first & 0xe0 == 0xa0:
            return self.take(first & 31).decode()
        if first in (0xc2, 0xc3):
            return first == 0xc3
        if first in (0xc4, 0xc5, 0xc6):
            return self.take(self.number(1 << first - 0xc4))
        if first in (0xd9, 0xda, 0xdb):
            return self.take(self.number(1 << first - 0xd9)).decode()
        if 0xcc <= first <= 0xcf:
            return self.number(1 << first - 0xcc)
        if 0xd0 <= first <= 0xd3:
            return self.number(1 << first - 0xd0, signed=True)
        if first in (0xdc, 0xdd):
            return [self.value() for _ in range(self.number(2 << first - 0xdc))]
        raise AssertionError(f"kind {first:#x}")


BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64}


def check_field(kind, got, wanted):
    if kind in BITS:
        assert type(got) is int and 0 <= got < 1 << BITS[kind] and got == int(wanted)
    elif kind == "i32":
        assert type(got) is int and -(1 << 31) <= got < 1 << 31 and got == wanted
    elif kind in ("bool", "str"):
        assert type(got) is (bool if kind == "bool" else str) and got == wanted
    elif kind in ("bin", "oid", "uuid"):
        assert type(got) is bytes and got.hex() == wanted and (kind == "bin" or len(got) == 16)
    elif kind == "sub":
        check_value(got, wanted)
    else:
        assert type(got) is list and len(got) == len(wanted)
        for element, wanted_element in zip(got, wanted):
            if kind == "list":
                check_value(element, wanted_element)
            else:
                check_field("u64", element, wanted_element)


def check_value(got, fields):
    assert type(got) is list and got[0] == 1 and len(got) == len(fields) + 1
    for element, (name, kind, wanted) in zip(got[1:], fields):
        try:
            check_field(kind, element, wanted)
        except AssertionError as error:
            raise AssertionError(f"{name} ({kind}): {element!r} is not {wanted!r}") from error


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        vectors = json.load(f)
    assert xxh64(b"") == 0xef46db3751d8e999 and xxh64(b"a") == 0xd24ec4f1a98c6e5b
    kinds = set()
    for entry in vectors["packed"]:
        reader = Reader(bytes.fromhex(entry["packed"]))
        value = reader.value()
        assert reader.at == len(reader.data), "surplus bytes"
        try:
            check_value(value, entry["fields"])
        except AssertionError as error:
            raise AssertionError(f"{entry['type']}: {error}") from error
        kinds |= {kind for _, kind, _ in entry["fields"]}
    assert kinds == set(BITS) | {"i32", "bool", "str", "bin", "oid", "uuid", "sub", "list", "u64s"}, kinds
    for entry in vectors["partitions"]:
        h = xxh64(bytes.fromhex(entry["oid"]) + entry["stripe"].to_bytes(4, "big"))
        assert h >> 64 - entry["bits"] == entry["partition"], entry
    print(f"{len(vectors['packed'])} values, {len(vectors['partitions'])} partitions")


if __name__ == "__main__":
    main()
