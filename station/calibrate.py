"""The calibration run: darks, then flats on a clear panel, through the same single path as any exposure."""

from collections.abc import Iterator

from station.case import Job
from station.controller import Controller
from station.devices import DetectorState
from station.exam import Exam, Patient, Purpose, Side, WorklistItem, new_uid
from station.frame import Frame
from station.imaging.calibration import Maps, build, save
from station.operate import Operator, Stuck
from station.states import State, Trigger

# what an operator says in one flat: its number, positioning, ready, X-ray on, reading; to people also both
# stages of the switch
_SAID_PER_FLAT, _SAID_TO_PEOPLE = 5, 2
_DARK_WINDOW_MS = 500.0  # as long as the exam's integration is at least


def calibrate(operator: Operator) -> Maps:
    """Take the frames, build the maps, save them and take them into use.

    Raises
    ------
    Stuck
        The station did not become ready, or an exposure gave no frame.
    CalibrationRejected
        The frames make no calibration.
    """
    controller = operator.controller
    run = controller.parts.room.calibration
    operator.clear_panel()
    try:
        maps = build(
            _darks(operator, run.darks),
            _flats(operator, run.flats),
            run.flat_kerma_ugy,
            controller.parts.clock.wall(),
            str(run.flat_technique.as_technique()),
        )
    finally:
        operator.place_hand()
    save(maps, controller.parts.calibration)
    controller.conduct.lookout.use_maps(maps)
    return maps


def said(controller: Controller) -> int:
    """How often a run tells its progress, by which it is measured."""
    run, directed = controller.parts.room.calibration, controller.parts.equipment.attendant is not None
    return run.darks + run.flats * (_SAID_PER_FLAT + (0 if directed else _SAID_TO_PEOPLE))


def give_up(operator: Operator) -> None:
    """Bring a calibration that was ended halfway to standby, disarmed. Raises `Stuck`."""
    controller = operator.controller
    controller.abort()
    if controller.snapshot.state is State.SERVICE:
        controller.parts.equipment.detector.abort()
        controller.submit(Trigger.LEAVE_SERVICE)
    rest = {State.STANDBY, State.POSITIONING, State.REVIEW}
    state = operator.wait(lambda s: s.state in rest, "the exposure under way to end").state
    if state is not State.STANDBY:
        controller.submit(
            Trigger.CANCEL_EXAM if state is State.POSITIONING else Trigger.ACCEPT, by="calibration"
        )
    operator.wait(lambda s: s.state is State.STANDBY, "standby")


def _darks(operator: Operator, count: int) -> Iterator[Frame]:
    controller = operator.controller
    detector = controller.parts.equipment.detector
    controller.submit(Trigger.ENTER_SERVICE)
    operator.wait(lambda s: s.state is State.SERVICE, "service mode")
    for number in range(count):
        operator.say(f"dark {number + 1} of {count}")
        uid = new_uid()
        detector.arm(uid, _DARK_WINDOW_MS)
        operator.wait(lambda _: detector.status().state is DetectorState.READY, "the detector to clear")
        detector.read_out()
        operator.wait(lambda _: detector.status().state is DetectorState.FRAME_HELD, "a dark frame")
        yield detector.fetch()
        detector.discard(uid)
    controller.submit(Trigger.LEAVE_SERVICE)
    operator.wait(lambda s: s.state is State.STANDBY, "standby")


def _flats(operator: Operator, count: int) -> Iterator[Frame]:
    controller = operator.controller
    technique = controller.parts.room.calibration.flat_technique.as_technique()
    for number in range(count):
        operator.say(f"flat {number + 1} of {count}")
        job = Job(_exam(operator), technique)
        snapshot = operator.expose(job)
        if snapshot.state is not State.REVIEW:
            raise Stuck(f"flat {number + 1} gave no frame: {snapshot.message}", snapshot.state)
        yield controller.parts.spool.raw(job.exam, snapshot.exposures[-1])
        controller.submit(Trigger.ACCEPT, by="calibration")
        operator.wait(lambda s: s.state is State.STANDBY, "standby")


def _exam(operator: Operator) -> Exam:
    """A calibration has no patient; its dose is recorded like any other."""
    item = WorklistItem("", Patient("CALIBRATION", "", None, None), Side.LEFT, "", new_uid())
    return Exam(
        new_uid(), item, "flat-field", operator.controller.parts.clock.wall(), "medium", Purpose.CALIBRATION
    )
