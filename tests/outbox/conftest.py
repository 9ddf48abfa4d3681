"""A hospital of two archives that do as they are told, without a network, and a clock that jumps."""

import os
from collections import Counter, deque
from datetime import timedelta

import pytest

from station.clock import VirtualClock
from station.hospital import Archive, Hospital
from station.network import NetworkError, PeerRefused, PeerSilent, Unreachable
from station.outbox.courier import Courier, Routes, Verdict
from station.outbox.job import Job, Kind
from station.outbox.queue import Outbox

CT = "1.2.840.10008.5.1.4.1.1.2"


class JumpyClock(VirtualClock):
    """Its wall time can be set; its monotonic time cannot."""

    jump = timedelta(0)

    def wall(self):
        return super().wall() + self.jump


class FakeArchive:
    """Takes, loses, refuses, or is not there, as its mood says; commits as `mode` says."""

    def __init__(self):
        self.mood = deque()  # one per association; when empty, all goes well
        self.mode = "same"  # same association, later (by `answers`), never
        self.received = Counter()  # how often each UID came
        self.kept = set()
        self.associations = 0
        self.asked = []  # transaction UIDs
        self.answers = deque()

    def send(self, jobs):
        self.associations += 1
        mood = self.mood.popleft() if self.mood else "well"
        if mood == "down":
            raise Unreachable("nobody there", "start it")
        for number, job in enumerate(jobs):
            if mood == "killed" and number == len(jobs) // 2:
                self.received[job.name] += 1  # it came, and may even be kept, but nobody says so
                raise PeerSilent("broken", "again")
            if mood == "full":
                yield job, Verdict(PeerRefused("no room", "make room", 0xA700))
                continue
            if mood == "refuses" or (mood == "refuses-first" and number == 0):
                yield job, Verdict(PeerRefused("not this", "mend it", 0xA900, again=False))
                continue
            self.received[job.name] += 1
            if mood != "loses":
                self.kept.add(job.name)
            yield job, Verdict()

    def ask(self, jobs, transaction_uid):
        self.asked.append(transaction_uid)
        if self.mode == "refuses":
            raise PeerRefused("no commitment", "enable it", 0x0112)
        names = {job.name for job in jobs}
        answer = frozenset(names & self.kept), dict.fromkeys(names - self.kept, 0x0112)
        if self.mode == "same":
            return answer
        if self.mode == "later":
            self.answers.append((transaction_uid, answer))
        return None


class Rig:
    """An outbox with its courier on one disk; `restart` makes both again."""

    def __init__(self, folder, **archive):
        self.folder = folder
        self.clock = JumpyClock()
        self.archives = {"pacs": FakeArchive(), "second": FakeArchive()}
        self.messages = []  # what MPPS and HL7 receivers got, in order
        self.message_mood = deque()
        self.happened = []
        settings = {"host": "127.0.0.1", "ae_title": "PACS", "plain": True, **archive}
        self.hospital = Hospital(
            name="test",
            ae_title="DXR",
            archives={"pacs": Archive(port=1, **settings), "second": Archive(port=2, **settings)},
        )
        self.restart()

    def restart(self):
        self.outbox = Outbox(self.folder, self.clock)
        routes = Routes(
            {Kind.OBJECT: self._send, **dict.fromkeys(set(Kind) - {Kind.OBJECT}, self._message)},
            lambda jobs, transaction: self.archives[jobs[0].destination].ask(jobs, transaction),
        )
        self.courier = Courier(self.outbox, self.hospital, routes, self.clock, self.happened.append)

    def _send(self, jobs):
        return self.archives[jobs[0].destination].send(jobs)

    def _message(self, jobs):
        for job in jobs:
            mood = self.message_mood.popleft() if self.message_mood else None
            if isinstance(mood, NetworkError):
                yield job, Verdict(mood)
            else:
                self.messages.append(job.kind.value)
                yield job, Verdict()

    def objects(self, exam="1.2", count=3, destinations=("pacs",)):
        return [
            Job(Kind.OBJECT, exam, where, f"{exam}.{number}", f"{exam}/{number}.dcm", CT)
            for where in destinations
            for number in range(1, count + 1)
        ]

    def until_quiet(self, limit_s=24 * 3600):
        """Step, letting time pass, until nothing is left to do by itself."""
        end_s = self.clock.now() + limit_s
        while (wait_s := self.courier.step()) is not None and self.clock.now() + wait_s < end_s:
            self.clock.sleep(wait_s)

    def states(self, **which):
        return {job.id: job.state.value for job in self.outbox.jobs(**which)}

    def on_disk(self):
        """Job ID to the folders that have it."""
        places = {}
        for path in (self.folder / "outbox").glob("*/*.json"):
            places.setdefault(path.stem, []).append(path.parent.name)
        return places

    def names(self, name):
        return [event for event in self.happened if event.name == name]


@pytest.fixture(autouse=True)
def power(monkeypatch):
    """What dies here is the process, not the power: waiting for the disk would only cost time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def make_rig(tmp_path):
    """Makes rigs, each on a folder of its own."""
    made = []

    def make(**archive):
        made.append(Rig(tmp_path / f"station-{len(made)}", **archive))
        return made[-1]

    return make


@pytest.fixture
def rig(make_rig):
    return make_rig()
