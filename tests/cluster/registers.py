"""Objects that one thread each writes and everybody reads: what a read may return, at once and without a search.

Each key has one writer, so its states are in an order: absent, then what each put and each rm made of it. A read that lasted from
`begin` to `end` may return any state s with
    s was begun before `end`
    s was not said to have failed
    no later state was acknowledged before `begin`, and none was read by a read that ended before `begin`
A change whose outcome is unknown may happen at any time, also after what its writer does next; its key is written no more, so that
two states are all it can have."""
import threading
import time
from collections import Counter

NOT_DONE = {"TIMEOUT", "UNAVAILABLE", "NO_QUORUM", "BUSY", "NO_SPACE"}  # a change that ended so did not happen
NOT_NOW = NOT_DONE | {"VERSION_GONE", "NOT_LEADER", "STALE_EPOCH", "OUTCOME_UNKNOWN", "EXHAUSTED", "BLANK"}


class State:
    __slots__ = ("name", "size", "begin", "end", "outcome", "read")

    def __init__(self, name, size, begin):
        self.name, self.size, self.begin, self.end, self.outcome, self.read = name, size, begin, None, None, False

    @property
    def value(self):
        """What a get of it answers."""
        return None if self.name is None else ("-", 0) if self.size == 0 else (self.name, self.size)

    def __str__(self):
        return f"{self.name or 'absent'}({self.size} bytes, {self.outcome or 'under way'})"


class Key:
    def __init__(self, name):
        self.name, self.lock = name, threading.Lock()
        first = State(None, 0, 0.0)
        first.end, first.outcome = 0.0, "ok"
        self.states, self.reads = [first], []  # reads: (end, index), of the newest states only
        self.closed = False  # the outcome of its last change is unknown

    def change(self, name, size, now):
        with self.lock:
            self.states.append(State(name, size, now))

    def changed(self, outcome, now):
        """outcome: ok, failed (it did not happen), unknown. What is wrong with it, or None."""
        with self.lock:
            state = self.states[-1]
            state.outcome, state.end = outcome, now
            self.closed = outcome == "unknown"
            if outcome == "failed":
                self.states.pop()
                if state.read:
                    return f"{self.name}: {state} was read, and then called not done"
                self.reads = [(end, i) for end, i in self.reads if i < len(self.states)]
        return None

    def floor(self, begin):
        """The oldest state that a read may see which begins now."""
        acknowledged = max(i for i, s in enumerate(self.states) if s.outcome == "ok" and s.end < begin)
        return max([acknowledged] + [i for end, i in self.reads if end < begin])

    def check_read(self, value, begin, end):
        """value: (name, size), None for an absent key. What is wrong with it, or None."""
        with self.lock:
            floor = self.floor(begin)
            for i in range(floor, len(self.states)):
                state = self.states[i]
                if state.value == value and state.begin < end:
                    state.read = True
                    self.reads.append((end, i))
                    self.trim(floor)
                    return None
            states = ", ".join(map(str, self.states[floor:]))
            return f"{self.name}: read {value}, and could only be one of: {states}"

    def trim(self, floor):
        """States that nothing which is under way may see (calls last less than ten minutes) are forgotten."""
        if floor > 64 and self.states[floor].end is not None and self.states[floor].end < time.monotonic() - 600:
            del self.states[:floor]
            self.reads = [(end, i - floor) for end, i in self.reads if i >= floor]
        elif len(self.reads) > 64:
            best = max(self.reads[:32], key=lambda read: read[1])
            self.reads = [best] + self.reads[32:]

    def may_be(self):
        """All that it may be now, while nobody changes it."""
        with self.lock:
            return [s for s in self.states[self.floor(float("inf")):] if s.outcome != "failed"]


class Tally:
    """What was done and what came of it, by all threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts, self.errors = Counter(), Counter()
        self.wrong, self.last, self.longest, self.slowest = [], {}, {}, {}
        self.bytes, self.timed = 0, False  # timed: pauses count

    def note(self, verb, code, begin, end, size=0):
        with self.lock:
            self.counts[verb, "ok" if code in ("ok", "none") else "unknown" if code == "unknown" else "failed"] += 1
            self.slowest[verb] = max(self.slowest.get(verb, 0), end - begin)
            if code in ("ok", "none"):
                self.bytes += size
                if self.timed:
                    self.longest[verb] = max(self.longest.get(verb, 0), end - self.last.get(verb, end))
                    self.last[verb] = end
            else:
                self.errors[verb, code] += 1

    def accuse(self, text):
        with self.lock:
            self.wrong.append(text)
