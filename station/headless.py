"""One exam without a screen: order in, JSON summary out, with the exit code that says how it went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from station.calibrate import calibrate
from station.controller import Controller, Snapshot
from station.devices import Technique
from station.exam import Exam, Exposure, Side, WorklistItem
from station.imaging.calibration import CalibrationRejected
from station.liaison import Liaison
from station.notes import exposure_notes
from station.operate import Operator, Progress, Stuck, job_for
from station.result import Reason, Refused
from station.states import State, Trigger
from station.summary import exposure_json, reason_json, refusal, summary, visit_json

DONE, USAGE, REFUSED, FAULT, NETWORK = 0, 2, 3, 4, 5

_RECOVERY_S = 60.0
_USAGE_FINDINGS = ("calibration-", "technique-", "window-")
_FAULT_FINDINGS = (
    "stuck-",
    "station-",
    "exposed-",
    "generator-",
    "detector-",
    "room-",
    "tube-",
    "door-",
    "emergency-",
    "disk-",
    "camera-",
)


@dataclass(frozen=True, slots=True)
class Report:
    """The JSON contract and the exit code."""

    json: dict[str, Any]
    exit_code: int


@dataclass(frozen=True, slots=True)
class Order:
    """What to expose: the worklist row, the hand's size, and a technique if not the protocol's."""

    item: WorklistItem
    hand_size: str
    technique: Technique | None = None
    positioned_by: str = ""  # who signs the positioning checklist where there is no camera
    released_by: str = ""  # who stands for result and charge at once; empty: nobody yet
    physician: bool = False


def run_exam(controller: Controller, order: Order, progress: Progress) -> Report:
    """Finish what a former run left, calibrate if the room says so, then make the exam."""
    operator = Operator(controller, progress)
    try:
        controller.start()
        finish_left_over(operator)
        missing = controller.conduct.lookout.maps is None
        if missing and controller.parts.room.calibration.at_start_if_missing:
            progress("calibrating")
            calibrate(operator)
        problem = controller.conduct.lookout.calibration_problem()
        if problem is not None:  # no person at the panel can help it: an exam would wait for nothing
            return Report(refusal(_source(controller), order.item.side, [problem]), _exit_code([problem.id]))
        job = job_for(controller, order.item, order.hand_size, order.technique)
        operator.expose(job, order.positioned_by)
        return _review(operator, {"released_by": order.released_by, "physician": order.physician})
    except Stuck as stuck:
        return _stuck(controller, stuck, order.item.side)
    except CalibrationRejected as rejected:
        return Report(refusal(_source(controller), order.item.side, [rejected.reason]), FAULT)
    finally:
        controller.close()


def deliver(reports: Sequence[Report], liaison: Liaison, seconds: float) -> None:
    """Wait for the hospital, at most so long; each report then says how far its exam got, job by job."""
    for report in reports:
        if uid := report.json.get("exam"):
            report.json["outbox"] = liaison.settle(uid, seconds)


def run_calibration(controller: Controller, progress: Progress) -> Report:
    """Make new maps."""
    operator = Operator(controller, progress)
    try:
        controller.start()
        finish_left_over(operator)
        maps = calibrate(operator)
    except (Stuck, CalibrationRejected) as error:
        return Report({"status": "refused", "message": str(error)}, FAULT)
    finally:
        controller.close()
    message = (
        f"panel {maps.serial} calibrated: {int(maps.defects.sum())} defects, {maps.lsb_per_ugy:.0f} LSB/µGy"
    )
    return Report({"status": "done", "message": message, "sha256": maps.sha256}, DONE)


def recover(controller: Controller, acknowledge: str, progress: Progress) -> list[Report]:
    """Finish the exams a former run left, and nothing else.

    `acknowledge` is a person's account of an exposure whose image will not come; without it such an exposure
    goes on blocking the station.
    """
    operator = Operator(controller, progress)
    try:
        controller.start()
        return finish_left_over(operator, acknowledge)
    except Stuck as stuck:
        job = controller.snapshot.job
        return [_stuck(controller, stuck, job.exam.item.side if job else None)]
    finally:
        controller.close()


def finish_left_over(operator: Operator, acknowledge: str = "") -> list[Report]:
    """Bring a station that came up with an unfinished exam to standby. Raises `Stuck`."""
    reports: list[Report] = []
    while operator.controller.snapshot.state is not State.STANDBY:
        operator.say("finishing the exam of a former run")
        try:
            reports.append(_review(operator))
        except Stuck as stuck:
            if stuck.state is not State.EXPOSED_NO_IMAGE or not acknowledge:
                raise
            reports.append(_acknowledge(operator, acknowledge))
    return reports


def _acknowledge(operator: Operator, reason: str) -> Report:
    """The image will not come: document it, and end the exam with its dose on record."""
    controller = operator.controller
    before = controller.snapshot
    controller.submit(Trigger.ACKNOWLEDGE, reason=reason, by="headless")
    controller.submit(Trigger.CANCEL_EXAM)
    operator.wait(lambda s: s.state is State.STANDBY, "standby")
    remedy = "order the exam anew if the image is still needed"
    why = Reason("no-image-acknowledged", f"exposed without an image, accounted for: {reason}", remedy)
    side = before.job.exam.item.side if before.job else None
    return Report(refusal(_source(controller), side, [why], exposure_json(before.exposures, None)), REFUSED)


def _review(operator: Operator, release: Mapping[str, Any] | None = None) -> Report:
    """From a frame, or from waiting for one, to the accepted exam."""
    controller = operator.controller
    if controller.snapshot.state is State.EXPOSED_NO_IMAGE:
        operator.say("no frame arrived: looking into the detector's memory")
    operator.wait(lambda s: s.state is State.REVIEW, "the frame", _RECOVERY_S)
    reviewed = operator.wait(lambda s: s.outcome is not None, "the analysis", _RECOVERY_S)
    controller.submit(Trigger.ACCEPT, by="headless", **(release or {}))
    done = operator.wait(lambda s: s.state is not State.REVIEW, "acceptance", _RECOVERY_S)
    return _report(controller, reviewed, done)


def _report(controller: Controller, reviewed: Snapshot, done: Snapshot) -> Report:
    outcome, job = reviewed.outcome, reviewed.job
    if outcome is None or job is None:
        raise RuntimeError("nothing was reviewed")
    finished = done.finished
    code = finished.charge.code if finished else None
    objects = [str(path) for path in finished.objects] if finished else []
    refused = (
        () if finished else (Reason("objects-refused", done.message, "correct the order or call service"),)
    )
    json = summary(
        outcome.result,
        outcome.processing.source,
        code,
        job.exam.item.side,
        outcome.timings_ms,
        exposure_json(reviewed.exposures, outcome),
        objects,
        _visit(controller, job.exam, reviewed.exposures[-1]),
    )
    json["exam"] = job.exam.uid
    protocol = controller.parts.setting.protocol
    notes = (*exposure_notes(reviewed.exposures[-1], outcome.exposure_index, protocol), *refused)
    json["reasons"] += [reason_json(reason) for reason in notes]
    return Report(json, REFUSED if refused or isinstance(outcome.result, Refused) else DONE)


def _visit(controller: Controller, exam: Exam, exposure: Exposure) -> dict[str, Any]:
    """The type is said as in the images, so that a later analysis of them says the same."""
    equipment = controller.parts.setting.equipment
    day = exposure.started_at.astimezone(exam.opened_at.tzinfo).date()
    return visit_json(day, equipment.kind, _source(controller))


def _stuck(controller: Controller, stuck: Stuck, side: Side | None) -> Report:
    """Nothing was measured: say why, and leave the station disarmed."""
    exposure = exposure_json(controller.snapshot.exposures, None)
    controller.abort()
    if stuck.state is State.POSITIONING:
        controller.submit(Trigger.CANCEL_EXAM)
        controller.step()
    reasons = [Reason(f.id, f.message, f.remedy) for f in stuck.findings]
    if stuck.state is State.EXPOSED_NO_IMAGE:
        remedy = (
            "do not expose again: exam --recover when the detector answers, or --recover --acknowledge REASON"
        )
        reasons = [
            Reason("exposed-no-image", f"the dose is recorded, the image is missing: {stuck.message}", remedy)
        ]
    elif stuck.state is State.FAULT:
        reasons = [Reason("station-fault", stuck.message, "remove the cause, then make the exam anew")]
    reasons = reasons or [
        Reason(f"stuck-in-{stuck.state}".replace("_", "-"), stuck.message, "see the journal, then try again")
    ]
    ids = [reason.id for reason in reasons]
    return Report(refusal(_source(controller), side, reasons, exposure), _exit_code(ids))


def _exit_code(ids: list[str]) -> int:
    if any(i.startswith(_FAULT_FINDINGS) for i in ids):
        return FAULT
    if any(i.startswith(_USAGE_FINDINGS) for i in ids):
        return USAGE
    return REFUSED


def _source(controller: Controller) -> str:
    return controller.parts.equipment.detector.info().serial
