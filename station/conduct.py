"""What the station does: `after_<trigger>` follows a transition, `while_<state>` is called at every step.

The controller moves by the table and calls in here on its own thread; here is all that touches an exam and
its exposure. Radiation needs, in this order: a fresh readiness without blocking findings, the hand switch's
first stage, generator and detector ready, a single-use arm token not older than its limit, the second stage,
and readiness once more. The journal row and the exposure's record are on disk before the generator is told.
"""

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from station.acquisition import Acquisition, Ended
from station.case import Case
from station.clock import Clock
from station.config import Equipment, RoomFile
from station.devices import DeviceError, DeviceRefused, Lamp, SwitchStage
from station.dispatch import Dispatch
from station.dossier import Books
from station.exam import Decision, Purpose
from station.frame import Frame
from station.issue import Issued, ObjectRefused
from station.journal import Journal
from station.lookout import Lookout, View
from station.pipeline import Outcome, Setting, process
from station.spool import Record, Spool, SpoolError
from station.states import State, Trigger

_RECOVERY_INTERVAL_S = 1.0
_EQUIPMENT_FAILURE, _UNSPECIFIED = "110501", "110513"  # of DISCONTINUATION_REASONS


@dataclass(frozen=True, slots=True)
class Parts:
    """What a station is made of."""

    room: RoomFile
    equipment: Equipment
    clock: Clock
    spool: Spool
    journal: Journal
    calibration: Path  # folder of the maps
    setting: Setting
    executor: Executor
    dispatch: Dispatch


class Desk(Protocol):
    """What conduct asks of the controller."""

    def fire(self, trigger: Trigger, **detail: Any) -> bool:
        """Move by the table; False if refused."""
        ...

    def note(self, name: str, **detail: Any) -> None:
        """A device event for the journal."""
        ...

    def processed(self, exposure_uid: str, future: "Future[Outcome]") -> None:
        """The pipeline is done; called from its thread."""
        ...


@dataclass(frozen=True, slots=True)
class _ArmToken:
    issued_at: float
    epoch: int  # an abort since then voids it


class Conduct:
    """The exam in hand, its exposure and the arm token."""

    def __init__(self, parts: Parts, desk: Desk) -> None:
        self.parts, self._desk = parts, desk
        self.lookout = Lookout(parts.room, parts.equipment, parts.clock, parts.setting.protocol, parts.spool)
        self._books = Books(parts.spool, parts.setting, parts.dispatch)
        self.case: Case | None = None
        self.finished: Issued | None = None
        self.view: View = View(parts.clock.now())
        self.message = ""  # the newest refusal or fault, in words for the operator
        self.epoch = 0  # counts aborts
        self._acquisition: Acquisition | None = None
        self._token: _ArmToken | None = None
        self._switch_was_released = False
        self._next_recovery_s = 0.0

    def look(self, state: State) -> View:
        """Sense everything anew."""
        underway = state in {State.PREPARING, State.READY}
        self.view = self.lookout.look(underway=underway, hand_matters=underway or state is State.POSITIONING)
        return self.view

    def act(self, trigger: Trigger, detail: Mapping[str, Any]) -> None:
        """What follows a transition."""
        action = getattr(self, f"after_{trigger}", None)
        if action:
            action(detail)

    def wait(self, state: State) -> None:
        """What a state waits for, once per step."""
        watch = getattr(self, f"while_{state}", None)
        if watch:
            watch()

    def disarm(self) -> None:
        """End preparation. Never after an expose: then the frame is read."""
        self._token = None
        if self._acquisition is not None and not self._acquisition.exposed:
            self._acquisition.disarm()

    # --- guards --------------------------------------------------------------------------------------

    def everything_ready(self) -> bool:
        readiness = self.view.readiness
        return readiness is not None and readiness.ready

    def armed(self) -> bool:
        """A token that is fresh and that no abort has voided."""
        token = self._token
        if token is None or token.epoch != self.epoch:
            return False
        return self.parts.clock.now() - token.issued_at <= self.parts.room.limits.arm_token_s

    def processing_done(self) -> bool:
        case = self.case
        return case is not None and (case.outcome is not None or case.job.exam.purpose is Purpose.CALIBRATION)

    # --- after_<trigger>: actions after the transition -----------------------------------------------

    def after_resume_exam(self, _: Mapping[str, Any]) -> None:
        self._position()

    def after_release(self, _: Mapping[str, Any]) -> None:
        self._position()

    def after_refused_by_generator(self, _: Mapping[str, Any]) -> None:
        self._position()

    def after_recovered(self, detail: Mapping[str, Any]) -> None:
        self.after_frame_stored(detail)

    def after_review_pending(self, detail: Mapping[str, Any]) -> None:
        self.after_frame_stored(detail)

    def after_open_exam(self, detail: Mapping[str, Any]) -> None:
        self.finished = None
        self.case = Case.open(detail["job"], self._books)
        self._position()

    def _position(self) -> None:
        """Into POSITIONING: disarmed, and everything must be seen anew."""
        self.disarm()
        self._acquisition = None
        self._switch_was_released = False
        if self.case:
            self.case.outcome = None
        self.lookout.attend_to(self.case.job if self.case else None)
        self._show(Lamp.OFF)

    def after_cancel_exam(self, detail: Mapping[str, Any]) -> None:
        reason = str(detail.get("reason", _UNSPECIFIED))
        self._need_case().give_up("cancelled", reason, self.parts.clock.wall())
        self._leave()

    def _leave(self) -> None:
        self.case, self._acquisition, self._token = None, None, None
        self.lookout.attend_to(None)

    def after_prepare(self, _: Mapping[str, Any]) -> None:
        case = self._need_case()
        self._acquisition = Acquisition(
            self.parts.equipment,
            self.parts.clock,
            self.parts.room.limits,
            case.job.technique,
            case.next_uid(),
        )
        self._acquisition.prepare()

    def after_devices_ready(self, _: Mapping[str, Any]) -> None:
        self._token = _ArmToken(self.parts.clock.now(), self.epoch)
        self._show(Lamp.READY)

    def after_expose(self, _: Mapping[str, Any]) -> None:
        """The record first, then the generator; the token is used up whatever happens."""
        self._token = None
        case, acquisition = self._need_case(), self._need_acquisition()
        exposure = case.begin_exposure(self.parts.clock.wall(), self.parts.setting.protocol.geometry.sid_mm)
        self._desk.note("expose", exposure=exposure.uid, technique=str(exposure.requested))
        self._show(Lamp.XRAY_ON)
        try:
            acquisition.expose()
        except DeviceRefused as error:
            case.not_started(str(error))
            self._desk.fire(Trigger.REFUSED_BY_GENERATOR, message=str(error))
        except DeviceError as error:
            self._desk.note("expose-unclear", message=str(error))  # the watch finds out how it ended

    def after_abort(self, _: Mapping[str, Any]) -> None:
        if not self._need_acquisition().exposed:
            self._position()

    def after_exposure_ended(self, _: Mapping[str, Any]) -> None:
        self._show(Lamp.END_OF_EXPOSURE)
        self._need_acquisition().read_out()

    def after_frame_stored(self, _: Mapping[str, Any]) -> None:
        """The raw frame is on disk: analyse it at once."""
        case = self._need_case()
        if case.job.exam.purpose is Purpose.PATIENT:
            uid = self._need_acquisition().uid
            future = self.parts.executor.submit(
                process, case.raw(), case.job.exam, self.parts.setting, self.lookout.usable_maps()
            )
            future.add_done_callback(lambda done: self._desk.processed(uid, done))

    def after_accept(self, detail: Mapping[str, Any]) -> None:
        case = self._need_case()
        if case.job.exam.purpose is Purpose.PATIENT:
            self._finish(case, Decision.of(True, detail, self.parts.clock.wall()))
        else:
            case.close_calibration()
        self._leave()

    def _finish(self, case: Case, decision: Decision) -> None:
        try:
            self.finished = case.accept(decision)
        except ObjectRefused as error:
            self.message = f"the DICOM objects contradict themselves and were not written: {error}"
            self._desk.note("objects-refused", message=str(error))
            case.give_up("accepted, objects refused", _EQUIPMENT_FAILURE, self.parts.clock.wall())

    def after_reject(self, detail: Mapping[str, Any]) -> None:
        try:
            self._need_case().reject(Decision.of(False, detail, self.parts.clock.wall()))
        except ObjectRefused as error:
            self._desk.note("objects-refused", message=str(error))
        self._position()

    def after_acknowledge(self, detail: Mapping[str, Any]) -> None:
        self._need_case().document_no_image(str(detail["reason"]))
        self._position()

    def after_clear_fault(self, _: Mapping[str, Any]) -> None:
        self.parts.equipment.generator.acknowledge()
        self.take_up()

    # --- while_<state>: what each state waits for ----------------------------------------------------

    def while_positioning(self) -> None:
        self.lookout.load_technique()
        switch = self._switch()
        if switch is SwitchStage.RELEASED:
            self._switch_was_released = True
        elif self._switch_was_released and switch is not None:
            self._switch_was_released = False  # one press, one try
            self._desk.fire(Trigger.PREPARE)

    def while_preparing(self) -> None:
        if self._let_go() or self._lost_readiness():
            return
        if self._need_acquisition().devices_ready():
            self._desk.fire(Trigger.DEVICES_READY)

    def while_ready(self) -> None:
        if self._let_go() or self._lost_readiness():
            return
        token = self._token
        if token and self.parts.clock.now() - token.issued_at > self.parts.room.limits.arm_token_s:
            self._desk.fire(
                Trigger.RELEASE, message="ready for too long; release the switch and prepare again"
            )
        elif self._switch() is SwitchStage.EXPOSE:
            self._desk.fire(Trigger.EXPOSE)

    def while_exposing(self) -> None:
        acquisition, inputs = self._need_acquisition(), self.view.inputs
        if inputs is not None and not (inputs.door_closed and inputs.emergency_stop_released):
            self.parts.equipment.generator.abort()
        if self._switch() is not SwitchStage.EXPOSE:
            acquisition.let_go()
        ended = acquisition.ended()
        if ended is None:
            return
        self._account(ended)
        self._desk.fire(Trigger.EXPOSURE_ENDED, end=str(ended.delivered.end))

    def _account(self, ended: Ended) -> None:
        """Every delivered dose is on disk and in the journal, image or not."""
        case = self._need_case()
        case.ended(ended)
        dose = asdict(ended.delivered) | {"dap_ugym2": ended.dap_ugym2}
        self._desk.note("delivered", exposure=self._need_acquisition().uid, **dose)

    def while_readout(self) -> None:
        try:
            frame = self._need_acquisition().frame()
            if frame is not None:
                self._store(frame, Trigger.FRAME_STORED, recovered=False)
        except (DeviceError, SpoolError) as error:
            self._next_recovery_s = self.parts.clock.now() + _RECOVERY_INTERVAL_S
            self._desk.fire(Trigger.FRAME_LOST, message=str(error))

    def while_exposed_no_image(self) -> None:
        """Radiation without an image: ask the detector's memory until it answers or a person decides."""
        exposure, acquisition = self._need_case().exposure, self._need_acquisition()
        if exposure and exposure.delivered is None:
            ended = acquisition.ended() if acquisition.exposed else acquisition.assumed()
            if ended:
                self._account(ended)
        if self.parts.clock.now() < self._next_recovery_s:
            return
        self._next_recovery_s = self.parts.clock.now() + _RECOVERY_INTERVAL_S
        try:
            self._store(acquisition.recover(), Trigger.RECOVERED, recovered=True)
        except (DeviceError, SpoolError) as error:
            self.message = f"exposed, no image yet: {error}"

    def _store(self, frame: Frame, trigger: Trigger, *, recovered: bool) -> None:
        acquisition = self._need_acquisition()
        self._need_case().store(frame, recovered=recovered)
        self._desk.note("frame-on-disk", exposure=acquisition.uid, recovered=recovered)
        self._desk.fire(trigger)
        try:
            acquisition.discard()
        except DeviceError as error:
            self._desk.note("discard-failed", message=str(error))

    def _switch(self) -> SwitchStage | None:
        return self.view.inputs.switch if self.view.inputs else None

    def _let_go(self) -> bool:
        return self._switch() in {None, SwitchStage.RELEASED} and self._desk.fire(
            Trigger.RELEASE, message="switch released"
        )

    def _lost_readiness(self) -> bool:
        readiness = self.view.readiness
        if readiness is None or readiness.ready:
            return False
        return self._desk.fire(Trigger.RELEASE, message=readiness.blocking[0].message)

    # --- after a restart or a fault ------------------------------------------------------------------

    def take_up(self) -> None:
        """Unfinished exams first: an exposure without frame, then a frame without decision."""
        held = self.case
        for record in self.parts.spool.unfinished():
            if self._take_up_record(
                record, in_hand=held is not None and held.job.exam.uid == record.exam.uid
            ):
                return
        self._leave()
        self._desk.fire(Trigger.STARTED)

    def _take_up_record(self, record: Record, *, in_hand: bool) -> bool:
        if record.exam.purpose is Purpose.CALIBRATION:
            self.parts.spool.close(record.exam, "abandoned")
            return False
        technique = self.parts.setting.protocol.technique(record.exam.hand_size)
        case = Case.taken_up(record, technique, self._books)
        exposure = case.exposure
        self.case = case
        if exposure:
            self._acquisition = Acquisition(
                self.parts.equipment, self.parts.clock, self.parts.room.limits, technique, exposure.uid
            )
        if exposure and not exposure.image and exposure.number not in record.acknowledged:
            self._desk.fire(Trigger.EXPOSURE_UNRESOLVED, exposure=exposure.uid)
        elif exposure and exposure.image and record.decision is None:
            self._desk.fire(Trigger.REVIEW_PENDING, exposure=exposure.uid)
        elif record.decision and record.decision.accepted:
            case.outcome = process(case.raw(), record.exam, self.parts.setting, self.lookout.usable_maps())
            self._finish(case, record.decision)
            self.case = None
        elif in_hand:
            self._desk.fire(Trigger.RESUME_EXAM)
        else:
            self._desk.note("abandoned", why="the station stopped before this exam was exposed or retaken")
            case.give_up("abandoned", _EQUIPMENT_FAILURE, self.parts.clock.wall())
            self.case = None
        return self.case is not None

    def _show(self, lamp: Lamp) -> None:
        try:
            self.parts.equipment.io.show(lamp)
        except DeviceError as error:
            self._desk.note("lamp-failed", message=str(error))

    def _need_case(self) -> Case:
        if self.case is None:
            raise RuntimeError("no exam is open")
        return self.case

    def _need_acquisition(self) -> Acquisition:
        if self._acquisition is None:
            raise RuntimeError("no exposure is under way")
        return self._acquisition
