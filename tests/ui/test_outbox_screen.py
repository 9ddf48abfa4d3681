"""What is on its way to the hospital, seen by who works here: the archive is down, or refuses for good."""

from contextlib import ExitStack

import pytest

from simulators.pacs import Hospital as SimulatedHospital
from simulators.pacs import Setup
from station.clock import VirtualClock
from station.hospital import Archive, Hospital
from station.liaison import Liaison
from station.network import Unreachable
from station.outbox.courier import Courier, Routes, Verdict
from station.outbox.job import Kind
from station.outbox.job import State as Fate

ALARM = "1 not delivered: see the outbox"
DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    """Looks at the outbox come every second or two, of the machine's clock."""
    monkeypatch.setattr("station.ui.outbox._EVERY_S", 0.1)
    monkeypatch.setattr("station.ui.app._SLOW_LOOK_S", 0.2)


class ArchiveDown:
    """The way to an archive that answers nobody until it is there; the real courier on a virtual clock."""

    def __init__(self, worklist, hospital, outbox):
        self.worklist = worklist
        self.clock = VirtualClock()
        self.there = False
        routes = Routes({Kind.OBJECT: self._send}, lambda jobs, _: (frozenset(job.name for job in jobs), {}))
        self._courier = Courier(outbox, hospital, routes, self.clock, lambda _: None)
        self.goes_in_s = self._courier.goes_in_s

    def _send(self, jobs):
        if not self.there:
            raise Unreachable("the archive 'pacs' does not answer", "tell its people; the objects wait")
        for job in jobs:
            yield job, Verdict()

    def deliver(self):
        """All that is due; seconds until there is more to do."""
        return self._courier.step()


@pytest.fixture
def down(worklist):
    """Keywords of a station whose archive is down, and the way there."""
    hospital = Hospital(
        name="test",
        ae_title="DXR",
        archives={"pacs": Archive(host="127.0.0.1", port=1, ae_title="PACS", plain=True)},
    )
    made = []

    def connect(parts):
        made.append(ArchiveDown(worklist, hospital, parts.dispatch.outbox))
        return made[-1]

    return {"hospital": hospital, "connect": connect}, made


async def accept_an_exam(t):
    await t.open()
    await t.ready()
    await t.expose()
    await t.accept()


def fates(t):
    return {job.state for job in t.attended.parts.dispatch.outbox.jobs()}


def attempts(t, fate):
    return [job.attempts for job in t.attended.parts.dispatch.outbox.jobs(state=fate)]


@pytest.mark.hazard("image-lost")
def test_while_the_archive_is_down_the_next_exam_begins_and_the_outbox_says_why_and_when_again(play, down):
    station, made = down

    async def story(t):
        await accept_an_exam(t)
        (way,) = made
        first_s = way.deliver()
        assert fates(t) == {Fate.PENDING}
        await t.open()
        await t.ready()
        await t.press("f4")
        await t.sees("… waiting", "does not answer → tell its people", f"next try in {first_s:.0f} s")
        way.clock.sleep(first_s + 1)
        second_s = way.deliver()
        assert second_s > first_s
        await t.sees(f"next try in {second_s:.0f} s")
        way.clock.sleep(second_s - 1)
        await t.sees("next try in 1 s")
        assert "not delivered" not in t.text, "it goes by itself: nobody must act"
        way.there = True
        way.clock.sleep(1)
        way.deliver()
        assert fates(t) == {Fate.COMMITTED}
        await t.sees("✔ kept")
        assert "waiting" not in t.text
        assert "next try" not in t.text
        await t.press("f3")
        await t.ready()

    play(story, size=(80, 24), **station)


@pytest.fixture
def peers():
    with SimulatedHospital(Setup(commitment="same")) as hospital:
        yield hospital


@pytest.fixture
def beside(peers, worklist):
    """Keywords of a station whose archive is the simulated one, and on its way there as every station is."""
    archives = Hospital.model_validate(peers.config()).archives
    hospital = Hospital(name="test", ae_title="DXR1", archives=archives)
    with ExitStack() as running:

        def connect(parts):
            liaison = Liaison(hospital, parts.dispatch.outbox, parts.spool.root.parent, lambda _: None)
            running.enter_context(liaison.running())
            liaison.worklist = worklist  # orders need no RIS here
            return liaison

        yield {"hospital": hospital, "connect": connect}


@pytest.mark.hazard("image-lost")
def test_what_the_archive_refuses_for_good_is_an_alarm_on_every_screen_until_it_is_sent_again(
    play, beside, peers
):
    peers.spoil("refuse-class", DOSE_REPORT)

    async def story(t):
        await accept_an_exam(t)
        await t.seen(lambda: fates(t) == {Fate.COMMITTED, Fate.PARKED}, "one refused, the others kept")
        await t.sees(ALARM)
        for key, place in (("f4", "outbox"), ("f6", "service"), ("f7", "recorder"), ("f2", "worklist")):
            await t.press(key)
            await t.at(place)
            await t.sees(ALARM)
        await t.open()
        await t.ready()
        await t.sees(ALARM)
        await t.press("f4")
        await t.sees("1 × PARKED", "created ", "stored —", "dose report", "image, raw", "TEST, Person")
        (parked,) = t.attended.parts.dispatch.outbox.jobs(state=Fate.PARKED)
        assert parked.sop_class_uid == DOSE_REPORT
        await t.sees(parked.name[-8:], parked.error.split()[0])
        await t.press("r")
        await t.sees("sent again")
        await t.seen(lambda: attempts(t, Fate.PARKED) == [2], "refused again: nothing was mended")
        peers.heal()
        await t.sees("1 × PARKED")
        await t.press("r")
        await t.seen(lambda: fates(t) == {Fate.COMMITTED}, "everything kept")
        assert peers.received[parked.name] == 1
        await t.seen(lambda: "not delivered" not in t.text and "PARKED" not in t.text, "no alarm any more")
        await t.press("f3")
        await t.ready()

    entries = play(story, **beside).parts.journal.entries()
    retries = [entry for entry in entries if (entry.kind, entry.name) == ("operator", "retry")]
    assert len(retries) == 2
    assert all(entry.detail["operator"] for entry in retries)
