"""The station's side of the hospital's network, as one thing to start and to stop.

While it runs, the courier serves the outbox (a thread for each destination), the listener hears commitments
that come later, the worklist is asked for at its interval, and earlier results of a patient are looked for
when an exam opens. Nobody in the room waits for any of them.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING

from station.clock import RealClock
from station.dispatch import Dispatch
from station.durable import replacing
from station.hospital import Hospital
from station.journal import Journal
from station.network import NetworkError
from station.orders import Answer, Cache
from station.outbox.archives import asking, listening, storing
from station.outbox.courier import Courier, Happened, Routes, one_by_one
from station.outbox.job import Job, Kind, State
from station.outbox.queue import Outbox
from station.refresh import Refresh

if TYPE_CHECKING:
    from station.dicom.priors import Inbox

Note = Callable[[Happened], None]
_SETTLE_POLL_S = 0.05
_LOOK_S = 0.5  # between looks whether to end
_WORKLIST = "worklist.json"


@contextmanager
def connected(dispatch: Dispatch, journal: Journal, folder: Path) -> Generator["Liaison"]:
    """A running liaison of a station, its events in the station's journal."""

    def note(event: Happened) -> None:
        at, exam = RealClock().wall(), event.exam_uid or None
        journal.record(("network", event.name), "", at, exam, asdict(event))

    with Liaison(dispatch.hospital, dispatch.outbox, folder, note).running(dispatch) as liaison:
        yield liaison


def worklist_now(hospital: Hospital | None, folder: Path) -> tuple[Answer | None, str]:
    """The worklist as the RIS says it now, or as it was kept; with why it is not the newest or not whole."""
    cache = Cache(folder / _WORKLIST)
    why = "no worklist in the hospital file"
    if hospital is not None and hospital.worklist is not None:
        try:
            answer = _query(hospital)
        except NetworkError as error:
            why = str(error)
        else:
            cache.write(answer)
            return answer, _missing(answer)
    kept, damaged = cache.read()
    if kept is None:
        return None, f"{why}; {damaged.message if damaged else 'none was kept'}"
    why = f"{why}; the worklist shown is {kept.age(RealClock().wall())}"
    return kept, "; ".join(filter(None, (why, _missing(kept))))


def _missing(answer: Answer) -> str:
    """That orders may be missing, and what to do; empty where none are."""
    return f"{answer.warning.message}; {answer.warning.remedy}" if answer.warning else ""


def _query(hospital: Hospital) -> Answer:
    from station.dicom.worklist import query

    return query(hospital, RealClock().wall())


class Liaison:
    """Threads between outbox and hospital; the outbox goes on filling while it is stopped."""

    def __init__(self, hospital: Hospital, outbox: Outbox, folder: Path, note: Note) -> None:
        self.hospital, self.outbox = hospital, outbox
        self.courier = Courier(outbox, hospital, _routes(hospital, outbox), RealClock(), note)
        self.worklist: Refresh | None = None
        if hospital.worklist is not None:
            ask = partial(_query, hospital)
            self.worklist = Refresh(ask, Cache(folder / _WORKLIST), hospital.worklist.refresh_s)
        self._note = note
        self._stop = threading.Event()

    @contextmanager
    def running(self, dispatch: Dispatch | None = None) -> Generator["Liaison"]:
        """All threads, until the block is left. A port that is taken is a note, not an error.

        With `dispatch`, earlier visits of whoever's exam is opened are looked for.
        """
        with ExitStack() as stack:
            inbox = self._listen(stack)
            self._stop.clear()
            stack.callback(self.outbox.ring)
            work = [self._deliver]
            if dispatch is not None and self.hospital.priors is not None:
                work.append(partial(self._keep_earlier, dispatch, inbox))
            for target in work:
                thread = threading.Thread(target=target, name="liaison")
                thread.start()
                stack.callback(thread.join)
            stack.callback(self.outbox.ring)
            stack.callback(self._stop.set)
            if self.worklist is not None:
                self.worklist.start()
                stack.callback(self.worklist.stop)
            yield self

    def _listen(self, stack: ExitStack) -> "Inbox | None":
        """Open the station's port, where it has one: for commitments, and for reports that are moved."""
        if self.hospital.port is None:
            return None
        from station.dicom.priors import Inbox

        inbox = Inbox()
        try:
            stack.enter_context(
                listening(self.hospital, self.courier, contexts=inbox.contexts, handlers=inbox.handlers)
            )
        except NetworkError as error:
            self._note(Happened("failed", "listener", "", (), error.message, error.remedy, alarm=True))
            return None
        return inbox

    def goes_in_s(self, job: Job) -> float | None:
        """Seconds until the next attempt with this job; None where nothing or only a person keeps it."""
        return self.courier.goes_in_s(job)

    def settle(self, exam_uid: str | None, seconds: float) -> dict[str, int]:
        """Wait until nothing of the exam, or of any, is on its way, at most so long; jobs by state."""
        until = monotonic() + seconds
        while monotonic() < until:
            jobs = self.outbox.jobs(exam_uid)
            if all(job.state in {State.COMMITTED, State.PARKED} for job in jobs):
                break
            self._stop.wait(_SETTLE_POLL_S)
        jobs = self.outbox.jobs(exam_uid)
        return {str(state): sum(job.state is state for job in jobs) for state in State}

    def _deliver(self) -> None:
        if self.hospital.archives or self.hospital.mpps:
            import_module("station.dicom.association")  # before the first exam opens, not in its time
        self.courier.run(self._stop)

    def _keep_earlier(self, dispatch: Dispatch, inbox: "Inbox | None") -> None:
        while not self._stop.is_set():
            with suppress(Empty):
                exam = dispatch.opened.get(timeout=_LOOK_S)
                try:
                    dispatch.fetch_earlier(exam, inbox)
                except NetworkError as error:
                    self._note(Happened("unreachable", "priors", exam.uid, (), error.message, error.remedy))
                except Exception as error:  # noqa: BLE001  a thread's top: an exam without its priors goes on
                    self._note(Happened("failed", "priors", exam.uid, (), repr(error), alarm=True))


def _routes(hospital: Hospital, outbox: Outbox) -> Routes:
    ways = {
        Kind.STEP_CREATED: _step,
        Kind.STEP_SET: _step,
        Kind.RESULTS: _message,
        Kind.CHARGE: _message,
        Kind.BUNDLE: _bundle,
    }
    send = {kind: one_by_one(partial(way, hospital, outbox)) for kind, way in ways.items()}
    return Routes({Kind.OBJECT: storing(hospital, outbox), **send}, asking(hospital, outbox))


def _step(hospital: Hospital, outbox: Outbox, job: Job) -> None:
    from station.dicom import mpps

    uid, dataset = mpps.read(outbox.path(job))
    mpps.send(hospital, "create" if job.kind is Kind.STEP_CREATED else "set", uid, dataset)


def _message(hospital: Hospital, outbox: Outbox, job: Job) -> None:
    from station.messages import mllp

    told = hospital.messages
    endpoint = told.results if job.kind is Kind.RESULTS else told.charges
    if endpoint is None:
        raise NetworkError(f"the hospital file has no receiver for {job.kind}", "add it; the message waits")
    text = outbox.path(job).read_bytes().decode()  # read as text, its carriage returns would be lost
    mllp.send(hospital, endpoint, text)


def _bundle(hospital: Hospital, outbox: Outbox, job: Job) -> None:
    folder = hospital.messages.fhir
    if folder is None:
        raise NetworkError("the hospital file has no folder for FHIR", "add it; the bundle waits")
    try:
        with replacing(folder / outbox.path(job).name) as file:
            file.write(outbox.path(job).read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NetworkError(f"{folder}: {error}", "make the folder writable; the bundle waits") from error
