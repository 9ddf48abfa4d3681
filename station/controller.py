"""The one owner of the station's state: inbox → table → action → snapshot.

One thread calls `step()` (or `run()`): it takes what was submitted, looks at the devices, and moves the state
machine. Everybody else submits triggers and reads snapshots. Only `abort()` goes another way: it speaks to
the generator at once from whatever thread calls it, voids the arm token, and then lets the state follow.
What is done in each state is in `conduct.py`.
"""

import queue
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from station.case import Job
from station.conduct import Conduct, Parts
from station.devices import CommunicationLost, DeviceError
from station.exam import REJECTION_REASONS, Exposure, Purpose
from station.imaging.calibration import load
from station.issue import Issued
from station.lookout import View
from station.pipeline import Outcome
from station.positioning import PositioningReport
from station.spool import SpoolError
from station.states import Refusal, State, StationMachine, Trigger

_FROM_PEOPLE = frozenset(
    {
        Trigger.OPEN_EXAM,
        Trigger.CANCEL_EXAM,
        Trigger.ACKNOWLEDGE,
        Trigger.ACCEPT,
        Trigger.REJECT,
        Trigger.CLEAR_FAULT,
        Trigger.ENTER_SERVICE,
        Trigger.LEAVE_SERVICE,
    }
)


_ANOTHER_EXAM = "meant for another exam: nothing was done; look at the banner and decide again"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who answers for what is done here; commands without a screen leave both empty."""

    by: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a user interface may show; made anew at every step."""

    state: State
    job: Job | None
    exposures: tuple[Exposure, ...]
    view: View
    outcome: Outcome | None
    finished: Issued | None
    message: str  # the newest refusal or fault, in words for the operator
    signed_in: SignedIn | None  # None: the station is locked


@dataclass(frozen=True, slots=True)
class _Event:
    trigger: Trigger
    exam: str  # that the person meant; empty: whichever is in hand
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Confirmed:
    report: PositioningReport
    exam: str


@dataclass(frozen=True, slots=True)
class _Session:
    who: SignedIn | None


@dataclass(frozen=True, slots=True)
class _Processed:
    exposure_uid: str
    future: Future[Outcome]


_Item = _Event | _Confirmed | _Session | _Processed


class Controller:
    """Owns the state machine and the thread."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.conduct = Conduct(parts, self)
        self.listeners: list[Callable[[Snapshot], None]] = []
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._abort_failure = ""
        self._aborts: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()  # who asked
        self._who: SignedIn | None = SignedIn()
        self._told: Issued | None = None
        self._detail: Mapping[str, Any] = {}
        self._machine = StationMachine(
            {
                "everything_ready": self._everything_ready,
                "armed_and_ready": lambda: self.conduct.armed() and self._everything_ready(),
                "reason_given": lambda: bool(self._detail.get("reason")),
                "reason_coded": lambda: self._detail.get("reason") in REJECTION_REASONS,
                "processing_done": self.conduct.processing_done,
            }
        )

    # --- any thread ----------------------------------------------------------------------------------

    def submit(self, trigger: Trigger, *, exam: str = "", **detail: Any) -> None:
        """Ask for a transition; the answer is seen in the snapshot and the journal.

        `exam` is the UID the person was looking at: if another exam is in hand when the trigger is taken,
        nothing is done. `by` and `role` default to who is signed in then.
        """
        if trigger not in _FROM_PEOPLE:
            raise ValueError(
                f"{trigger} comes from the hardware; people submit {', '.join(sorted(_FROM_PEOPLE))}"
            )
        self._inbox.put(_Event(trigger, exam, detail))

    def confirm_positioning(self, report: PositioningReport, exam: str = "") -> None:
        """Without a camera: the operator's confirmed list, for the exam of that UID."""
        self._inbox.put(_Confirmed(report, exam))

    def sign_in(self, by: str | None, role: str = "") -> None:
        """From here on this person answers for what is done; None locks the station.

        A locked station prepares no exposure and takes a permission back; radiation that is on goes on.
        Through the inbox, so that what a person asked before leaving stays theirs.
        """
        self._inbox.put(_Session(None if by is None else SignedIn(by, role)))

    def lock(self) -> None:
        """Nobody is signed in any more."""
        self.sign_in(None)

    def abort(self, by: str = "", role: str = "") -> None:
        """End radiation and preparation at once; any thread, any time, never queued."""
        self.conduct.epoch += 1
        try:
            self.parts.equipment.generator.abort()
        except DeviceError as error:
            self._abort_failure = str(error)
        self._aborts.put({key: text for key, text in (("by", by), ("role", role)) if text})

    def processed(self, exposure_uid: str, future: Future[Outcome]) -> None:
        """The pipeline is done; called from its thread."""
        self._inbox.put(_Processed(exposure_uid, future))

    @property
    def snapshot(self) -> Snapshot:
        """The station as it was at the last step."""
        conduct = self.conduct
        case = conduct.case
        return Snapshot(
            self._machine.state,
            case.job if case else None,
            case.exposures if case else (),
            conduct.view,
            case.outcome if case else None,
            conduct.finished,
            conduct.message,
            self._who,
        )

    # --- the owner's thread --------------------------------------------------------------------------

    def start(self) -> None:
        """Connect the devices and take up what a former run left, disarmed. Raises `DeviceError`."""
        for device in self._devices():
            device.connect()
        serial = self.parts.equipment.detector.info().serial
        self.conduct.lookout.use_maps(load(self.parts.calibration, serial))
        self._guarded(self.conduct.take_up)

    def close(self) -> None:
        """Disconnect; nothing stays armed."""
        for device in self._devices():
            device.close()

    def run(self, stop: threading.Event, period_s: float = 0.01) -> None:
        """Step until told to stop."""
        while not stop.is_set():
            self.step()
            self.parts.clock.sleep(period_s)

    def step(self) -> None:
        """One turn: abort first, then the inbox, the devices, and what the state waits for."""
        self._guarded(self._turn)
        snapshot = self.snapshot
        for listener in self.listeners:
            listener(snapshot)

    def _turn(self) -> None:
        while not self._aborts.empty():
            self._aborted(self._aborts.get())
        while not self._inbox.empty():
            self._take(self._inbox.get())
        self.conduct.look(self._machine.state)
        self.conduct.wait(self._machine.state)
        self._tell_issued()

    def _guarded(self, work: Callable[[], None]) -> None:
        """The top of the owner's thread: whatever goes wrong becomes FAULT and is journalled whole."""
        try:
            work()
        except (DeviceError, SpoolError) as error:
            self._fault(str(error))
        except Exception as error:  # noqa: BLE001  as the docstring says
            self._fault(f"internal error: {error}", traceback.format_exc())

    def fire(self, trigger: Trigger, **detail: Any) -> bool:
        """Move by the table, journal it, then act. A refusal is journalled and shown."""
        self._detail = detail
        conduct, before = self.conduct, self._machine.state
        shown = _in_words(detail)
        try:
            self._machine.fire(trigger)
        except Refusal as refusal:
            readiness = conduct.view.readiness
            findings = [finding.id for finding in readiness.findings] if readiness else []
            conduct.message = str(refusal)
            self._record(("refusal", trigger), shown | {"message": str(refusal), "findings": findings})
            return False
        conduct.message = str(detail.get("message", ""))
        opened = shown.get("opens") if trigger is Trigger.OPEN_EXAM else None  # it is in hand only after this
        self._record(("trigger", trigger), shown | {"from": before}, opened)
        conduct.act(trigger, detail)
        return True

    def note(self, name: str, **detail: Any) -> None:
        """A device event for the journal."""
        self._record(("device", name), detail)

    def _aborted(self, who: Mapping[str, str]) -> None:
        failure, self._abort_failure = self._abort_failure, ""
        if self._machine.allows(Trigger.ABORT):
            self.fire(Trigger.ABORT, message="aborted", **who)
        else:
            self.note("abort-requested", **who)  # the generator was told all the same
        if failure:
            raise CommunicationLost(f"the generator did not confirm an abort: {failure}")

    def _devices(self) -> list[Any]:
        kinds = self.parts.equipment
        return [
            d for d in (kinds.generator, kinds.detector, kinds.io, kinds.camera, kinds.dap) if d is not None
        ]

    def _take(self, item: _Item) -> None:
        if isinstance(item, _Session):
            self._let_in(item.who)
        elif isinstance(item, _Processed):
            self._take_outcome(item)
        elif item.exam not in {"", self._exam}:
            self._refuse_other_exam(item)
        elif isinstance(item, _Confirmed):
            self.conduct.lookout.confirm(item.report)
            self.note("positioning-confirmed", by=item.report.confirmed_by)
        else:
            self.fire(item.trigger, **self._signed(item.detail))

    def _refuse_other_exam(self, item: _Event | _Confirmed) -> None:
        """What somebody decided about one person's exam is never done to another's."""
        self.conduct.message = _ANOTHER_EXAM
        said = {"meant": item.exam, "message": _ANOTHER_EXAM}
        if isinstance(item, _Event):
            self._record(("refusal", item.trigger), _in_words(self._signed(item.detail)) | said)
        else:
            self._record(("refusal", "positioning-confirmed"), {"by": item.report.confirmed_by} | said)

    def _signed(self, detail: Mapping[str, Any]) -> Mapping[str, Any]:
        """With who asked: as it says, or who is signed in."""
        who = self._who
        return {"by": who.by, **detail} if who and who.by else detail

    @property
    def _exam(self) -> str:
        case = self.conduct.case
        return case.job.exam.uid if case else ""

    def _let_in(self, who: SignedIn | None) -> None:
        self._who = who
        self.conduct.lookout.signed_in = who is not None
        self.note("locked" if who is None else "signed-in")

    def _take_outcome(self, done: _Processed) -> None:
        case = self.conduct.case
        exposure = case.exposure if case else None
        if (
            case
            and exposure
            and exposure.uid == done.exposure_uid
            and self._machine.allows(Trigger.PROCESSED)
        ):
            case.processed(done.future.result())
            self.fire(Trigger.PROCESSED)

    def _everything_ready(self) -> bool:
        self.conduct.look(self._machine.state)
        return self.conduct.everything_ready()

    def _fault(self, message: str, trace: str = "") -> None:
        conduct = self.conduct
        for end in (self.parts.equipment.generator.abort, conduct.disarm):
            try:
                end()
            except DeviceError as error:
                message = f"{message}; the abort was not confirmed: {error}"
        if self._machine.state is not State.FAULT:
            self.fire(Trigger.FAULT, message=message, trace=trace)
        conduct.message = message

    def _tell_issued(self) -> None:
        """What an accepted exam gave out, also one that a former run accepted."""
        finished = self.conduct.finished
        if finished is not None and finished is not self._told:
            code = finished.charge.code
            said = {"code": code.value if code else "", "objects": [path.name for path in finished.objects]}
            self._record(("device", "issued"), said, finished.study.exam.uid)
        self._told = finished

    def _record(self, entry: tuple[str, str], detail: Mapping[str, Any], exam: str | None = None) -> None:
        who = self._who or SignedIn()
        session = {"operator": who.by} if who.by else {}
        if who.role and detail.get("by", who.by) == who.by:  # a role is never lent to another name
            session["role"] = who.role
        row = session | dict(detail)
        uid = exam or self._exam or None
        self.parts.journal.record(entry, self._machine.state, self.parts.clock.wall(), uid, row)


def _in_words(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a detail that a journal row can hold; of a job what names nobody."""
    words = {key: value for key, value in detail.items() if isinstance(value, str | int | float)}
    job = detail.get("job")
    if isinstance(job, Job):
        exam = job.exam
        side = exam.item.side.word if exam.purpose is Purpose.PATIENT else ""
        words |= {"opens": exam.uid, "purpose": exam.purpose, "protocol": exam.protocol, "side": side}
    return words
