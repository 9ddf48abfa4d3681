"""A person at the station, in code: presses the hand switch, waits, and says what keeps them waiting.

In a simulated room the attendant's hand does it; in a real room these are instructions to people, and the
switch is theirs alone.
"""

from collections.abc import Callable

from station.controller import Controller, Job, Snapshot
from station.devices import SwitchStage, Technique
from station.exam import Exam, WorklistItem, new_uid
from station.positioning import CHECKLIST, confirmed
from station.readiness import Finding
from station.states import State, Trigger

_STEP_S = 0.01
_PATIENCE_S = 20.0  # longer than any device may take by the room's limits; people get more
_PEOPLE_S = 300.0

Progress = Callable[[str], None]


class Stuck(Exception):  # noqa: N818  reads as the message it is
    """What was waited for did not come; the findings say what stands in the way."""

    def __init__(self, message: str, state: State, findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.state = state
        self.findings = findings


class Cancelled(Stuck):
    """A person ended it; nothing stays armed."""


def job_for(
    controller: Controller, item: WorklistItem, hand_size: str, technique: Technique | None = None
) -> Job:
    """A new exam of this order, with the protocol's technique unless another is given."""
    protocol = controller.parts.setting.protocol
    exam = Exam(new_uid(), item, protocol.id, controller.parts.clock.wall(), hand_size)
    return Job(exam, technique or protocol.technique(hand_size))


def _never() -> bool:
    return False


class Operator:
    """Works one controller on the caller's thread; `cancelled` is asked at every step of a wait."""

    def __init__(
        self, controller: Controller, progress: Progress, cancelled: Callable[[], bool] = _never
    ) -> None:
        self.controller = controller
        self.say = progress
        self._cancelled = cancelled
        self._attendant = controller.parts.equipment.attendant

    def wait(self, done: Callable[[Snapshot], bool], what: str, patience_s: float = _PATIENCE_S) -> Snapshot:
        """Step until it is so. Raises `Stuck` when it takes too long or the station is in FAULT."""
        clock = self.controller.parts.clock
        deadline = clock.now() + patience_s
        while True:
            self.controller.step()
            snapshot = self.controller.snapshot
            if done(snapshot):
                return snapshot
            if self._cancelled():
                raise Cancelled(f"cancelled while waiting for {what}", snapshot.state)
            if snapshot.state is State.FAULT or clock.now() > deadline:
                readiness = snapshot.view.readiness
                raise Stuck(
                    f"waiting for {what}: {snapshot.message or 'nothing happened'}",
                    snapshot.state,
                    readiness.blocking if readiness else (),
                )
            clock.sleep(_STEP_S)

    def press(self, stage: SwitchStage) -> None:
        """Work the switch, or ask the person to."""
        if self._attendant:
            self._attendant.press(stage)
        elif stage is not SwitchStage.RELEASED:
            self.say(f"press the hand switch: {stage.name.lower()}")

    def clear_panel(self) -> None:
        """Nothing on the panel, collimator open."""
        if self._attendant:
            self._attendant.clear_panel()
        else:
            self.say("clear the panel and open the collimator")

    def place_hand(self) -> None:
        """The hand on the panel."""
        if self._attendant:
            self._attendant.place_hand()
        else:
            self.say("place the hand on the panel")

    def expose(self, job: Job, positioned_by: str = "") -> Snapshot:
        """One exposure from order to frame on disk: REVIEW, or EXPOSED_NO_IMAGE.

        `positioned_by` signs the positioning checklist in a room without a camera. Raises `Stuck` before any
        radiation if the station does not become ready.
        """
        patience_s = _PATIENCE_S if self._attendant else _PEOPLE_S
        self.controller.submit(Trigger.OPEN_EXAM, job=job)
        self.press(SwitchStage.RELEASED)
        self.wait(lambda s: s.state is State.POSITIONING, "the exam to open")
        self.say("positioning")
        if positioned_by:
            every_item = [name for name, _ in CHECKLIST]
            at = self.controller.parts.clock.now()
            self.controller.confirm_positioning(confirmed(every_item, positioned_by, at))
        self.wait(_ready, "readiness", patience_s)
        self.say("ready: prepare")
        self.press(SwitchStage.PREPARE)
        self.wait(lambda s: s.state is State.READY, "generator and detector", patience_s)
        self.press(SwitchStage.EXPOSE)
        self.say("X-ray on")
        after = {State.READOUT, State.REVIEW, State.EXPOSED_NO_IMAGE}
        self.wait(lambda s: s.state in after or _refused(s), "the exposure", patience_s)
        self.press(SwitchStage.RELEASED)
        self.say("reading the detector")
        return self.wait(lambda s: s.state is not State.READOUT, "the frame", 30)


def _ready(snapshot: Snapshot) -> bool:
    readiness = snapshot.view.readiness
    return readiness is not None and readiness.ready


def _refused(snapshot: Snapshot) -> bool:
    """Back in POSITIONING: the exposure did not take place."""
    return snapshot.state is State.POSITIONING
