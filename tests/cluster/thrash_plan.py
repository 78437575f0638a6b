"""What the thrasher will do: waves of faults that follow from a seed."""
import collections
import itertools
import random

Event = collections.namedtuple("Event", "at target kind seconds detail")
Wave = collections.namedtuple("Wave", "number victims events")
DISK_FAULTS = ["read-eio", "write-eio", "write-torn", "write-short", "sync-eio"]
OSD_KINDS = ["kill", "kill", "stop", "longstop", "wipe", "wipe", "flip", "flip", "full", "cut", "part", *DISK_FAULTS]
COORDINATOR_KINDS = ["kill", "kill", "stop", "longstop", "cut", "part"]


class Planner:
    def __init__(self, seed, osds, parity, coordinators, kinds, full, long_stop):
        self.rng, self.osds, self.parity, self.coordinators = random.Random(f"plan {seed}"), osds, parity, coordinators
        self.kinds, self.full, self.long_stop = kinds, set(full), long_stop
        self.decks = {"osd": [], "coordinator": []}

    def draw(self, kind, target):
        """The next card that suits: each kind comes once before any comes again."""
        for _ in range(3):
            deck = self.decks[kind]
            for card in deck:
                if card != "full" or target in self.full:
                    deck.remove(card)
                    return card
            more = [c for c in (OSD_KINDS if kind == "osd" else COORDINATOR_KINDS) if c in self.kinds]
            self.rng.shuffle(more)
            deck += more
        return "kill"

    def seconds(self, card):
        short = {"stop": 3, "longstop": self.long_stop}
        return short.get(card) or round(self.rng.uniform(0.3, 8), 1)

    def detail(self, card, target):
        rng = self.rng
        if card == "part":
            others = [f"coordinator.{i}" for i in range(self.coordinators)] + [f"osd.{i}" for i in range(self.osds)]
            return rng.choice([o for o in others if o != target])
        if card == "flip":
            return rng.choice(["live", "stopped"]), rng.choice([1 << 16, 1 << 18, 1 << 20]), rng.randrange(1 << 30)
        if card in DISK_FAULTS:
            return rng.choice(["segments/", ""]), rng.choice([1, 3, 20])
        return rng.choice(["leader", "any"])

    def string(self, kind, target, first, counts):
        at, events = self.rng.uniform(*first), []
        for _ in range(self.rng.choice(counts)):
            card = self.draw(kind, target)
            seconds = self.seconds(card)
            events.append(Event(round(at, 1), target, card, seconds, self.detail(card, target)))
            at += seconds + self.rng.uniform(0.5, 5)
        return events

    def waves(self):
        for number in itertools.count(1):
            victims = sorted(self.rng.sample(range(self.osds), self.parity))
            events = [e for v in victims for e in self.string("osd", f"osd.{v}", (0.5, 5), [1, 2, 2, 3])]
            events += self.string("coordinator", f"coordinator.{self.rng.randrange(self.coordinators)}", (1, 8), [0, 1, 2, 2])
            yield Wave(number, victims, sorted(events))


def tell(event):
    detail = "" if event.detail == "any" or event.kind in ("stop", "longstop", "kill", "wipe", "full", "cut") and \
        event.target.startswith("osd") else f" {event.detail}"
    return f"{event.at:5.1f} s  {event.target:14} {event.kind}{detail}, {event.seconds} s"
