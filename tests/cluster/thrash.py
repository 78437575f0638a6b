#!/usr/bin/env python3
"""The thrasher: a storm of faults on a real cluster under load, a checker, and proof that the cluster healed itself afterwards.

Three coordinators and seven OSDs run as processes of their own. Clients put, get, overwrite and delete without a pause. Wave by wave,
as many OSDs as the profile has parity fragments are hurt, again and again, and one coordinator besides:

    kill       kill -9, started again a moment later        wipe      the disk is empty; the operator says `osd rebuild`
    stop       SIGSTOP 3 s, longstop: 30 s                  flip      bits of segment files, OSD running or stopped
    cut        the link of its namespace is down            full      somebody else takes all the space of its disk
    part       it does not reach one of the others          read-eio write-eio write-torn write-short sync-eio   its disk fails

An OSD counts as hurt until the cluster proved that it is whole: at the end of each wave all faults end, what needs an operator is done
as docs/operations.md says, and the next wave begins when `status` counts every stripe as whole and `verify` has read every fragment.
A second disk loses its content only after `damage --if-lost' said that both can be spared. So at most m OSDs of a stripe are ever
hurt, and then these are failures (exit code 1): a get that says LOST or CORRUPT, wrong bytes, an older state than the one that was
acknowledged or read before (tests/cluster/registers.py), a daemon that ends by itself, anything that does not come back after
healing. "Not now" is no failure while there are faults; how long it lasted is printed.

    tests/cluster/thrash.py                                  30 minutes, a new seed
    tests/cluster/thrash.py --seed 7 --list                  only say what seed 7 would do
    tests/cluster/thrash.py --seed 7 --minutes 2 --beyond    then lose one disk more than the profile can
    tests/cluster/thrash.py --minutes 1 --plant flip         hurt more than the checker is told: must fail

The plan follows from the seed, --osds, --profile, --minutes < 5 (a long stop is 12 s then) and what the machine allows; what leads or what
is under way when a fault strikes does not. Cuts need root and `ip`, full disks root: without them these faults are left out, and said so.
Exit code: 0 all was well, 1 it was not (the folder with logs is kept and named), 2 arguments, 130 interrupted.
"""
import argparse
import collections
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

import rack as racks
from lilio import BIN, DAMAGED, LOST, OK
from registers import Tally
from thrash_load import BUCKET, Hand, Load
from thrash_plan import COORDINATOR_KINDS, DISK_FAULTS, OSD_KINDS, Planner, tell

HEAL_GUARD_S = 900  # what takes longer does not heal


# ---- the storm ----

class Storm:
    def __init__(self, options, folder):
        self.options, self.tally = options, Tally()
        _, parity = (int(n) for n in options.profile.split("+"))
        self.parity, self.seed = parity, options.seed
        shim = os.path.join(options.tests, "libdisk_faults.so")
        self.shim = shim if os.path.exists(shim) and not os.environ.get("LILIO_SANITIZE") else None
        self.rack = racks.Rack(folder, options.bin, options.osds, options.profile, suspect_ms=options.suspect_ms, down_ms=options.down_ms,
                               out_ms=options.out_ms, gc_grace_ms=options.gc_grace_ms, election_ms=options.election_ms,
                               shim=self.shim, cut=not options.no_cuts)
        self.hand = os.path.join(options.tests, "lilio-hand")
        self.load = Load(self.hand, self.rack.config, self.tally, options.seed, options.clients, options.keys, plant=options.plant)
        self.faults, self.withheld, self.heals, self.active = collections.Counter(), 0, [], {}
        self.destroyed, self.destroy_lock, self.stopping = set(), threading.Lock(), threading.Event()
        self.excused, self.began, self.log_lock = set(), time.monotonic(), threading.Lock()
        self.journal, self.wave, self.beyond = None, 0, None

    def say(self, text):
        line = f"{time.monotonic() - self.began:7.1f}  {text}"
        with self.log_lock:
            self.journal.write(line + "\n")
            self.journal.flush()
            if sys.stderr.isatty():
                sys.stderr.write("\r\033[K")
            sys.stderr.write(line + "\n")

    def accuse(self, text):
        self.say(f"WRONG: {text}")
        self.tally.accuse(text)

    def planner(self):
        kinds = set(OSD_KINDS + COORDINATOR_KINDS)
        if not self.rack.spaces:
            kinds -= {"cut", "part"}
        if not self.shim:
            kinds -= set(DISK_FAULTS)
        full = [f"osd.{i}" for i in (range(self.options.osds // 2, self.options.osds) if os.geteuid() == 0 else [])]
        if not full:
            kinds.discard("full")
        missing = sorted(set(OSD_KINDS) - kinds)
        return Planner(self.seed, self.options.osds, self.parity, 3, kinds, full, 30 if self.options.minutes >= 5 else 12), missing

    # ---- one fault ----

    def pause(self, seconds):
        self.stopping.wait(seconds)

    def strike(self, event):
        target = event.target
        if target.startswith("coordinator") and event.detail == "leader":
            leader = self.rack.leader()
            target = event.target if leader is None else f"coordinator.{leader}"
        act = getattr(self, "strike_" + ("disk" if event.kind in DISK_FAULTS else event.kind.replace("longstop", "stop")))
        self.active[target] = event.kind
        self.say(f"{target} {event.kind} {event.seconds} s")
        act(target, event)
        self.active.pop(target, None)
        self.faults[target.split(".")[0], event.kind] += 1

    def strike_kill(self, target, event):
        self.rack.kill(target)
        self.pause(event.seconds)
        self.rack.run(target)

    def strike_stop(self, target, event):
        self.rack.signal(target, signal.SIGSTOP)
        self.pause(event.seconds)
        self.rack.signal(target, signal.SIGCONT)

    def strike_cut(self, target, event):
        self.rack.cut(target, True)
        self.pause(event.seconds)
        self.rack.cut(target, False)

    def strike_part(self, target, event):
        if event.detail in ("leader", "any", target):
            return self.strike_cut(target, event)
        self.rack.part(target, event.detail, True)
        self.pause(event.seconds)
        self.rack.part(target, event.detail, False)

    def strike_full(self, target, event):
        self.rack.fill(target, True)
        self.pause(event.seconds)
        self.rack.fill(target, False)

    def strike_disk(self, target, event):
        """Then the operator exchanges the cable and starts the OSD again."""
        prefix, one_in = event.detail
        self.excused.add(target)
        self.rack.switch(target, f"{event.kind} {one_in} {os.path.realpath(self.rack.path(target))}/{prefix}\n")
        self.pause(event.seconds)
        self.rack.switch(target, "")
        self.pause(0.1)
        self.rack.kill(target)
        self.rack.run(target)
        self.excused.discard(target)

    def strike_wipe(self, target, event):
        def destroy():
            self.rack.kill(target)
            self.rack.wipe(target)
        if self.destroy(target, destroy):
            self.rack.run(target)
            self.pause(event.seconds)
            self.rebuild(int(target.split(".")[1]))

    def strike_flip(self, target, event):
        how, every, seed = event.detail

        def destroy():
            if how == "stopped":
                self.rack.kill(target)
            self.say(f"{target}: {self.rack.flip(target, random.Random(seed), every)} bits flipped")
        if self.destroy(target, destroy):
            self.pause(event.seconds)
            if how == "stopped":
                self.rack.run(target)

    def destroy(self, target, act):
        """Takes content from an OSD, if no stripe is left with too little by that."""
        osd = int(target.split(".")[1])
        with self.destroy_lock:
            others = self.destroyed - {osd}
            if not others:
                self.destroyed.add(osd)
                act()
                return True
            lost = ",".join(f"osd.{i}" for i in sorted(others | {osd}))
            end = time.monotonic() + 10
            while time.monotonic() < end and not self.stopping.is_set():
                self.load.hold()
                try:
                    if self.rack.cli("damage", "--if-lost", lost, "--timeout", "5s")[0] in (OK, DAMAGED):
                        self.destroyed.add(osd)
                        act()
                        return True
                finally:
                    self.load.release()
                self.pause(1)
            self.withheld += 1
            self.say(f"{target}: withheld, {lost} together are too many just now")
            return False

    def rebuild(self, osd):
        began = time.monotonic()
        code, certificate, why = self.rack.cli("osd", "rebuild", str(osd), timeout=HEAL_GUARD_S)
        told = f"{certificate.get('rebuilt')} of {certificate.get('expected')} fragments {certificate.get('text') or ''}" if certificate else why
        self.say(f"osd.{osd} rebuild: exit {code} after {time.monotonic() - began:.1f} s, {told}")
        return code == OK

    # ---- waves ----

    def storm(self):
        end = self.began + self.options.minutes * 60
        planner, _ = self.planner()
        for wave in planner.waves():
            self.wave = wave.number
            self.say(f"wave {wave.number}: osd {', '.join(map(str, wave.victims))}")
            self.destroyed.clear()
            began = time.monotonic()
            actors = [threading.Thread(target=self.act, args=(began, list(events)))
                      for _, events in itertools.groupby(sorted(wave.events, key=lambda e: (e.target, e.at)), key=lambda e: e.target)]
            for actor in actors:
                actor.start()
            for actor in actors:
                actor.join()
            if self.options.plant == "flip":
                self.say("planted: one OSD more than the budget is flipped")
                self.load.hold()  # what is overwritten is well again
                for i in range(self.parity + 1):
                    self.rack.flip(f"osd.{i}", random.Random(i), 8192)
            last = time.monotonic() >= end
            if last:
                self.load.stop()
            if not self.stopping.is_set():
                self.heal(last)
            if last or self.tally.wrong:
                return

    def act(self, began, events):
        try:
            for event in events:
                self.pause(max(0, began + event.at - time.monotonic()))
                if self.stopping.is_set():
                    return
                self.strike(event)
        except Exception as error:  # a fault that could not be made is a failure of the test
            self.accuse(f"the thrasher itself: {type(error).__name__}: {error}")

    def watch(self):
        """Daemons that end by themselves; the line of progress; the end at the first thing that is wrong."""
        while not self.watching.wait(0.5):
            for name, code in self.rack.died():
                if name in self.excused:
                    self.say(f"{name} ended with {code} while its disk failed")
                else:
                    self.accuse(f"{name} ended by itself, exit code {code}")
            if self.tally.wrong and not self.stopping.is_set():
                self.say(f"WRONG: {self.tally.wrong[0]}")
                self.stopping.set()
            if sys.stderr.isatty():
                done = sum(self.tally.counts.values())
                now = ", ".join(f"{k} {v}" for k, v in sorted(self.active.items()))
                text = f"wave {self.wave}, {time.monotonic() - self.began:.0f} s, {done} operations, {sum(self.faults.values())} faults: {now}"
                with self.log_lock:
                    sys.stderr.write("\r\033[K" + text[:shutil.get_terminal_size().columns - 1])
                    sys.stderr.flush()

    # ---- healing ----

    def operate(self, status):
        """What the docs say an operator does. True if there is nothing left to do."""
        for name in self.rack.names():
            if not self.rack.runs(name):
                self.rack.run(name)
                return False
        whole = True
        for osd in status["osds"]:
            name = f"osd.{osd['id']}"
            if osd["state"] == "failed":
                self.say(f"{name} is failed: restarted")
                self.rack.kill(name)
                self.rack.run(name)
            elif osd["state"] == "blank" or osd["state"] == "up" and not osd["complete"]:
                self.rebuild(osd["id"])
            elif osd["state"] == "up":
                continue
            whole = False
        return whole

    def heal(self, quiet):
        """Until everything is whole and proven; the load goes on, and pauses its changes when that takes long."""
        began, eta, rows_gone, rounds, held = time.monotonic(), None, None, 0, False
        while not self.tally.wrong:
            spent = time.monotonic() - began
            if spent > HEAL_GUARD_S:
                self.accuse(f"not healed after {HEAL_GUARD_S} s: {json.dumps(self.rack.status())[:3000]}")
                break
            if spent > 20 and not quiet and not held:
                held = True
                self.load.hold()
            status = self.rack.status()
            if not status or "redundancy" not in status:
                time.sleep(0.3)
                continue
            redundancy = status["redundancy"]
            if redundancy["lost"]:
                self.accuse(f"{redundancy['lost']} stripes are lost, within the budget")
                break
            if eta is None and status["repair_eta_ms"]:
                eta = (spent, status["repair_eta_ms"] / 1000, status["repair_rows"])
            if not self.operate(status) or status["repair_rows"] or redundancy["whole"] != redundancy["stripes"]:
                time.sleep(0.3)
                continue
            rows_gone = rows_gone or spent
            rounds += 1
            code, found, why = self.rack.cli("verify", "--timeout", "30s")
            if code == OK:
                break
            if code == LOST:
                self.accuse(f"verify says lost, within the budget: {json.dumps(found)[:2000]}")
            self.say(f"verify: exit {code} {why} {self.brief(found)}")
            time.sleep(0.5)
        if held:
            self.load.release()
        if self.tally.wrong:
            return
        self.heals.append({"wave": self.wave, "seconds": time.monotonic() - began, "known_gone_s": rows_gone, "verified_rounds": rounds,
                           "eta_s": eta and eta[1], "eta_rows": eta and eta[2],
                           "eta_was_s": eta and rows_gone and max(rows_gone - eta[0], 0)})
        self.say(f"healed after {time.monotonic() - began:.1f} s" + (f", ETA first shown {eta[1]:.1f} s for {eta[2]} rows, "
                 f"known faults gone {(rows_gone or 0) - eta[0]:.1f} s later" if eta else ""))

    @staticmethod
    def brief(found):
        return {k: v for k, v in (found or {}).items() if k.startswith(("fragments", "objects_")) and v}

    def prove(self):
        """Nothing is missing any more, by every way to ask."""
        self.load.strict = True
        code, found, _ = self.rack.cli("damage")
        if code != OK or found["objects_hurt"]:
            self.accuse(f"damage after healing: exit {code} {json.dumps(found)[:1000]}")
        code, found, why = self.rack.cli("verify")
        if code != OK:
            self.accuse(f"verify after healing: exit {code} {why} {self.brief(found)}")
        else:
            self.say(f"verify: {found['fragments_good']} of {found['fragments']} fragments good, {found['objects_checked']} objects")
        self.load.read_all()
        if not self.tally.wrong:
            self.load.start(0.05)
            self.pause(5)
            self.load.stop()
        status = self.rack.status()
        if not self.tally.wrong and status["redundancy"]["lost"]:
            self.accuse("stripes are lost")

    # ---- more than parity covers ----

    def doomed(self, osds):
        """Objects of which a stripe has too few fragments elsewhere, by the placement that `explain' shows."""
        lost, known = set(), {}
        for key in self.load.keys:
            code, found, why = self.rack.cli("explain", f"{BUCKET}/{key.name}", "--maps-only")
            if code not in (OK, DAMAGED, LOST):
                continue
            known[key.name] = True
            stripes = collections.Counter(f["stripe"] for f in found["fragments"] if f["osd"] in osds)
            if any(count > self.parity for count in stripes.values()):
                lost.add(key.name)
        return lost

    def lose_more(self):
        """One disk more than parity covers is wiped: exactly what that takes is named, and all else is whole."""
        rng = random.Random(f"beyond {self.seed}")
        osds = sorted(rng.sample(range(self.options.osds), self.parity + 1))
        must = self.doomed(osds)
        self.say(f"beyond: osd {osds} wiped, {len(must)} of {len(self.load.keys)} objects must be lost")
        for i in osds:
            self.rack.kill(f"osd.{i}")
            self.rack.wipe(f"osd.{i}")
            self.rack.run(f"osd.{i}")
        racks.wait_until(lambda: [o["state"] for o in (self.rack.status() or {"osds": []})["osds"]].count("blank") == len(osds), 120, "blank OSDs")
        self.named("damage, disks blank", must)
        self.read_beyond(must)
        for i in osds:
            self.rebuild(i)
        end = time.monotonic() + HEAL_GUARD_S
        while True:  # what can be saved is: repair still mends what the first rebuild had too few sources for
            code, found, why = self.rack.cli("verify")
            left = {o["key"] for o in (found or {}).get("objects", [])}
            if code == (LOST if must else OK) and left == must:
                break
            if time.monotonic() > end:
                self.accuse(f"what can be saved was not saved: verify exit {code} {why}, {sorted(left ^ must)[:20]}")
                break
            time.sleep(1)
        self.named("damage, disks rebuilt", must)
        self.read_beyond(must)
        for name in must:
            self.rack.cli("rm", f"{BUCKET}/{name}")
        for i in osds:
            end = time.monotonic() + HEAL_GUARD_S
            while not self.rebuild(i):  # a rebuild that lost its leader is run again
                if time.monotonic() > end:
                    self.accuse(f"osd.{i} is not proven although what is lost was deleted")
                    break
        code, found, why = self.rack.cli("verify")
        if code != OK or self.rack.status()["state"] != "verified":
            self.accuse(f"beyond: verify after the lost were deleted: exit {code} {why} {self.brief(found)}")
        self.beyond = {"osds": osds, "objects": len(self.load.keys), "lost": len(must)}

    def named(self, when, must):
        code, found, _ = self.rack.cli("damage", "--limit", "100000")
        names = {o["key"] for o in (found or {}).get("objects", []) if o["state"] == "lost"}
        if names != must or code != (LOST if must else OK):
            self.accuse(f"{when}: exit {code}, not named {sorted(must - names)[:20]}, named too much {sorted(names - must)[:20]}")
        else:
            self.say(f"{when}: names exactly the {len(must)} lost ones")

    def read_beyond(self, must):
        """Lost ones say so, or have the right bytes all the same; all others are there."""
        hand = Hand(self.hand, self.rack.config)
        try:
            for key in self.load.keys:
                if key.name not in must:
                    self.load.get(hand, key)
                    continue
                code, rest = hand.call("get", key.name)
                if code == "ok":  # a short stripe has its bytes in its first fragments, which may be there: then they are right
                    self.load.get(hand, key)
                elif code != "LOST":
                    self.accuse(f"beyond: get {key.name} should say LOST: {code} {rest}")
        finally:
            hand.end()

    # ---- all of it ----

    def run(self):
        self.journal = open(self.rack.path("journal"), "w")
        planner, missing = self.planner()
        self.say(f"seed {self.seed}, {self.options.profile} on {self.options.osds} OSDs, {self.options.minutes:g} min, folder {self.rack.folder}" +
                 (f"; this machine has no {', '.join(missing)}" if missing else ""))
        self.rack.start()
        bucket = self.rack.cli("mb", BUCKET, "--profile", self.options.profile, "--fragment", "64KiB")
        if bucket[0] != OK:
            raise RuntimeError(f"mb: {bucket}")
        self.watching = threading.Event()
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        self.began = time.monotonic()
        try:
            self.load.start()
            self.storm()
            self.load.stop()
            if not self.tally.wrong:
                self.prove()
            if self.options.beyond and not self.tally.wrong:
                self.lose_more()
        finally:
            self.stopping.set()
            self.load.stop()
            self.watching.set()
            watcher.join()
            if self.tally.wrong:
                self.keep_evidence()
        for text in self.rack.complaints():
            self.accuse(text)

    def keep_evidence(self):
        for words in (["status"], ["damage"], ["repair"], ["verify"], ["osd", "ls"], ["coordinator", "ls"]):
            try:
                with open(self.rack.path(f"at-the-end.{'-'.join(words)}.json"), "w") as f:
                    json.dump(self.rack.cli(*words, "--timeout", "10s", timeout=120), f, indent=1)
            except Exception as error:
                self.say(f"{words}: {error}")
        with open(self.rack.path("wrong"), "w") as f:
            f.write("\n".join(self.tally.wrong) + "\n")

    def result(self):
        tally = self.tally
        return {"seed": self.seed, "profile": self.options.profile, "osds": self.options.osds, "seconds": time.monotonic() - self.began,
                "waves": self.wave, "faults": {f"{who} {kind}": n for (who, kind), n in sorted(self.faults.items())},
                "withheld": self.withheld, "operations": {f"{verb} {code}": n for (verb, code), n in sorted(tally.counts.items())},
                "errors": {f"{verb} {code}": n for (verb, code), n in sorted(tally.errors.items())}, "bytes": tally.bytes,
                "keys": len(self.load.keys), "longest_pause_s": tally.longest, "slowest_s": tally.slowest, "heals": self.heals,
                "beyond": self.beyond, "wrong": tally.wrong[:50], "folder": self.rack.folder if tally.wrong or self.options.keep else None}


def report(result):
    print(f"seed {result['seed']}: {result['waves']} waves in {result['seconds']:.0f} s, {result['keys']} keys, {result['bytes'] / 1e6:.0f} MB moved")
    print("\noperation      ok  failed  unknown  slowest  longest without one")
    for verb in ("put", "get", "rm"):
        counts = [result["operations"].get(f"{verb} {code}", 0) for code in ("ok", "failed", "unknown")]
        print(f"{verb:6} {counts[0]:10} {counts[1]:7} {counts[2]:8} {result['slowest_s'].get(verb, 0):6.1f} s {result['longest_pause_s'].get(verb, 0):10.1f} s")
    print("not now: " + (", ".join(f"{k} {v}" for k, v in result["errors"].items()) or "never"))
    print("\nfaults: " + ", ".join(f"{k} {v}" for k, v in result["faults"].items()) +
          (f"; {result['withheld']} withheld to stay within the budget" if result["withheld"] else ""))
    print("\nwave  healed after  ETA first shown  it took")
    for heal in result["heals"]:
        shown = f"{heal['eta_s']:13.1f} s {heal['eta_was_s'] or 0:7.1f} s" if heal["eta_s"] else "           none"
        print(f"{heal['wave']:4} {heal['seconds']:11.1f} s {shown}")
    if result["beyond"]:
        print(f"\nbeyond: osd {result['beyond']['osds']} lost, {result['beyond']['lost']} of {result['beyond']['objects']} objects named, all others whole")
    print("\n" + ("all was well" if not result["wrong"] else f"WRONG, folder {result['folder']}:\n  " + "\n  ".join(result["wrong"][:20])))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None, help="of the plan (default: a new one, printed)")
    parser.add_argument("--minutes", type=float, default=30, help="of storm; the last wave begins before (default 30)")
    parser.add_argument("--list", action="store_true", help="print the first waves of the plan and end")
    parser.add_argument("--profile", default="4+2", help="K+M of the bucket (default 4+2)")
    parser.add_argument("--osds", type=int, default=7, help="default 7")
    parser.add_argument("--clients", type=int, default=6, help="threads with a client each (default 6)")
    parser.add_argument("--keys", type=int, default=20, help="keys of each client (default 20)")
    parser.add_argument("--beyond", action="store_true", help="at the end lose one disk more than parity covers")
    parser.add_argument("--plant", choices=["flip", "lie"], help="a fault that the checker is not told of: must end with exit code 1")
    parser.add_argument("--suspect-ms", type=int, default=1500)
    parser.add_argument("--down-ms", type=int, default=4000)
    parser.add_argument("--out-ms", type=int, default=600000)
    parser.add_argument("--gc-grace-ms", type=int, default=2000)
    parser.add_argument("--election-ms", type=int, default=1000, help="on a machine with much else to do, leaders come and go below that")
    parser.add_argument("--no-cuts", action="store_true", help="no namespaces: sockets in the folder")
    parser.add_argument("--bin", default=BIN, help="folder of the programs (default $LILIO_BIN or build/release/bin)")
    parser.add_argument("--tests", help="folder of lilio-hand and libdisk_faults.so (default BIN/../tests)")
    parser.add_argument("--dir", help="where the temporary folder is made")
    parser.add_argument("--keep", action="store_true", help="leave the folder with logs and journal")
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    options.tests = os.path.abspath(options.tests or os.path.join(options.bin, "..", "tests"))
    options.seed = random.randrange(1 << 20) if options.seed is None else options.seed
    parts = options.profile.split("+")
    if len(parts) != 2 or not all(p.isdigit() and int(p) for p in parts) or sum(map(int, parts)) > options.osds or options.osds > 40:
        parser.error("--profile is K+M, with at least K+M --osds, at most 40")
    if not os.path.exists(os.path.join(options.tests, "lilio-hand")):
        parser.error(f"{options.tests}/lilio-hand is not there: build it, or name --bin and --tests")
    return options


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT):  # also where it was started in the background
        signal.signal(number, signal.default_int_handler)
    folder = tempfile.mkdtemp(prefix="lilio-thrash-", dir=options.dir)
    storm, code, keep = Storm(options, folder), 1, options.keep
    try:
        if options.list:
            for wave in itertools.islice(storm.planner()[0].waves(), 8):
                print(f"wave {wave.number}\n  " + "\n  ".join(map(tell, wave.events)))
            code = 0
            return code
        storm.run()
        result = storm.result()
        code = 1 if result["wrong"] else 0
        print(json.dumps(result)) if options.json else report(result)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        keep = keep or code == 1
        if keep:
            storm.rack.keep_disks()
        storm.rack.end()
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
