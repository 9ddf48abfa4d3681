"""Readiness: may this station expose now? One pure function per check over one frozen `Facts`.

All checks are run and all findings shown, in any order. What is not known is not ready: a status that is
missing or older than the room's limit blocks like a fault. No switch turns a check off; limits are numbers
in the room and protocol files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from station.config import Limits
from station.devices import (
    DetectorState,
    DetectorStatus,
    GeneratorState,
    GeneratorStatus,
    RoomInputs,
    Technique,
)
from station.exam import Purpose
from station.positioning import PositioningReport
from station.protocols import TechniqueLimits
from station.result import Reason

_CLOCK_ROUNDING_S = 1e-3  # a time stamp may be rounded up; later than that is a broken clock


class Severity(StrEnum):
    """What a finding does."""

    BLOCKS = "blocks"
    WARNS = "warns"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that stands in the way, with the hazard it guards against and the way out."""

    id: str
    hazard: str  # id in hazards.yaml
    severity: Severity
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that readiness looks at, gathered at one instant."""

    now: float
    purpose: Purpose
    limits: Limits
    technique_limits: TechniqueLimits
    generator: GeneratorStatus | None
    detector: DetectorStatus | None
    inputs: RoomInputs | None
    technique: Technique | None  # asked for
    read_back: Technique | None  # what the generator says it has
    technique_refusal: str | None
    calibration: Reason | None  # None: maps are valid
    positioning: PositioningReport | None
    free_bytes: int
    frame_bytes: int
    window_ms: float  # the panel will be asked to integrate
    longest_window_ms: float  # it can
    own_timer: bool  # the generator itself ends an exposure
    underway: bool  # preparing or ready: generator and detector are meant to have left standby
    signed_in: bool  # somebody answers for what is done here; a locked station has nobody


@dataclass(frozen=True, slots=True)
class Readiness:
    """Every finding of one evaluation."""

    at: float
    findings: tuple[Finding, ...]

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """The findings that forbid an exposure."""
        return tuple(f for f in self.findings if f.severity is Severity.BLOCKS)

    @property
    def ready(self) -> bool:
        """Nothing forbids an exposure."""
        return not self.blocking


def evaluate(facts: Facts) -> Readiness:
    """Run all checks."""
    return Readiness(facts.now, tuple(finding for check in CHECKS for finding in check(facts)))


def _blocks(id_: str, hazard: str, message: str, remedy: str) -> Finding:
    return Finding(id_, hazard, Severity.BLOCKS, message, remedy)


def _stale(facts: Facts, at: float) -> bool:
    return not -_CLOCK_ROUNDING_S <= facts.now - at <= facts.limits.status_age_s


def somebody_is_signed_in(facts: Facts) -> Iterator[Finding]:
    if not facts.signed_in:
        yield _blocks(
            "station-locked",
            "wrong-patient",
            "nobody is signed in",
            "unlock the station: your name and PIN",
        )


def generator_answers(facts: Facts) -> Iterator[Finding]:
    status = facts.generator
    if status is None or status.state is GeneratorState.UNKNOWN or _stale(facts, status.at):
        yield _blocks(
            "generator-silent",
            "unintended-exposure",
            "the generator does not answer",
            "check its power and line; the station goes on by itself when it answers",
        )


def generator_is_in_standby(facts: Facts) -> Iterator[Finding]:
    status = facts.generator
    if status is None:
        return  # generator_answers blocks
    if status.fault is not None or status.state is GeneratorState.FAULT:
        yield _blocks(
            "generator-fault",
            "unintended-exposure",
            f"the generator reports a fault: {status.fault or 'without a code'}",
            status.fault.next_action if status.fault else "clear the fault at the generator",
        )
    elif not facts.underway and status.state is not GeneratorState.STANDBY:
        yield _blocks(
            "generator-busy",
            "unintended-exposure",
            f"the generator is {status.state}",
            "wait for standby or abort",
        )


def generator_ends_exposures_itself(facts: Facts) -> Iterator[Finding]:
    if facts.purpose is Purpose.PATIENT and not facts.own_timer:
        yield _blocks(
            "generator-without-timer",
            "unintended-exposure",
            "this generator has no exposure timer of its own: only this computer would end the radiation",
            "use it for phantoms and calibration; patients need a generator with a timer",
        )


def tube_is_cool(facts: Facts) -> Iterator[Finding]:
    if facts.generator is None or facts.generator.heat_percent is None:
        return  # generator_answers blocks; a generator that does not tell its heat refuses by itself
    if facts.generator.heat_percent > facts.limits.heat_percent:
        yield _blocks(
            "tube-hot",
            "equipment-damage",
            f"the anode holds {facts.generator.heat_percent:.0f} % of its heat, "
            f"the limit is {facts.limits.heat_percent:g} %",
            "let the tube cool",
        )


def detector_answers(facts: Facts) -> Iterator[Finding]:
    status = facts.detector
    if status and status.state is DetectorState.ARMING and facts.underway:
        return  # a panel that is being cleared need not answer: only its frame makes it READY, by a deadline
    if status is None or status.state is DetectorState.UNKNOWN or _stale(facts, status.at):
        yield _blocks(
            "detector-silent",
            "exposure-without-image",
            "the detector does not answer",
            "check its power and line; the station goes on by itself when it answers",
        )


def detector_is_idle(facts: Facts) -> Iterator[Finding]:
    status = facts.detector
    if status is None or status.state is DetectorState.UNKNOWN:
        return  # detector_answers blocks
    allowed = {DetectorState.IDLE}
    if facts.underway:
        allowed |= {DetectorState.ARMING, DetectorState.READY}
    if status.state not in allowed:
        yield _blocks(
            "detector-busy",
            "exposure-without-image",
            f"the detector is {status.state}",
            "wait; if it stays, restart the detector",
        )


def detector_can_wait_long_enough(facts: Facts) -> Iterator[Finding]:
    if facts.window_ms > facts.longest_window_ms:
        yield _blocks(
            "window-too-long",
            "exposure-without-image",
            f"the detector may have to integrate for {facts.window_ms / 1000:.3g} s, it can for "
            f"{facts.longest_window_ms / 1000:.3g} s",
            "lower prepare_timeout_s or arm_token_s in the room file's limits",
        )


def detector_has_memory(facts: Facts) -> Iterator[Finding]:
    if facts.detector and facts.detector.memory_free < 1 and not facts.underway:
        yield _blocks(
            "detector-memory-full",
            "exposure-without-image",
            "the detector has no free memory for a frame",
            "recover or discard the frames it holds",
        )


def calibration_is_valid(facts: Facts) -> Iterator[Finding]:
    if facts.purpose is Purpose.PATIENT and facts.calibration is not None:
        reason = facts.calibration
        yield _blocks(reason.id, "wrong-calibration", reason.message, reason.remedy)


def room_answers(facts: Facts) -> Iterator[Finding]:
    if facts.inputs is None or _stale(facts, facts.inputs.at):
        yield _blocks(
            "room-io-silent",
            "unintended-exposure",
            "the room's contacts do not answer",
            "check the I/O module",
        )


def door_is_closed(facts: Facts) -> Iterator[Finding]:
    if facts.inputs is not None and not facts.inputs.door_closed:
        yield _blocks("door-open", "bystander-exposed", "the door is open", "close the door")


def emergency_stop_is_released(facts: Facts) -> Iterator[Finding]:
    if facts.inputs is not None and not facts.inputs.emergency_stop_released:
        yield _blocks(
            "emergency-stop",
            "unintended-exposure",
            "the emergency stop is pressed",
            "release the emergency stop",
        )


def technique_is_confirmed(facts: Facts) -> Iterator[Finding]:
    """Asked and read back agree within the protocol's limit; a refusal is shown in the device's words."""
    if facts.technique_refusal:
        yield _blocks(
            "technique-refused", "wrong-exposure", facts.technique_refusal, "correct the protocol's technique"
        )
        return
    if facts.technique is None or facts.read_back is None:
        yield _blocks(
            "technique-unknown",
            "wrong-exposure",
            "the generator has not confirmed the technique",
            "wait or reload it",
        )
        return
    for name in ("kvp", "ma", "ms"):
        asked, got = getattr(facts.technique, name), getattr(facts.read_back, name)
        deviation = abs(got / asked - 1) * 100
        if deviation > facts.technique_limits.read_back_percent:
            yield _blocks(
                "technique-differs",
                "wrong-exposure",
                f"{name} asked {asked:g}, the generator says {got:g} ({deviation:.1f} %)",
                "reload the technique; if it stays, call service",
            )
    focus, got = facts.technique.focal_spot, facts.read_back.focal_spot
    if got is not focus:
        yield _blocks(
            "technique-differs",
            "wrong-exposure",
            f"the {focus} focus was asked, the generator says {got}",
            "reload the technique; if it stays, call service",
        )


def hand_is_positioned(facts: Facts) -> Iterator[Finding]:
    if facts.purpose is Purpose.CALIBRATION:
        return
    report = facts.positioning
    if report is None:
        yield _blocks(
            "positioning-unknown",
            "bad-geometry",
            "positioning has not been checked",
            "wait for the camera; in a room without one, confirm the checklist",
        )
    elif report.confirmed_by is None and _stale(facts, report.at):
        yield _blocks(
            "positioning-stale", "bad-geometry", "the positioning check is out of date", "check the camera"
        )
    else:
        for reason in report.findings:
            hazard = "wrong-side" if reason.id == "wrong-side" else "bad-geometry"
            yield _blocks(reason.id, hazard, reason.message, reason.remedy)


def disk_has_room(facts: Facts) -> Iterator[Finding]:
    needed = facts.limits.disk_reserve_mb * 1e6 + 4 * facts.frame_bytes
    if facts.free_bytes < needed:
        yield _blocks(
            "disk-full",
            "image-lost",
            f"{facts.free_bytes / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB are needed before an exposure",
            "free space on the spool's disk",
        )


CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    somebody_is_signed_in,
    generator_answers,
    generator_is_in_standby,
    generator_ends_exposures_itself,
    tube_is_cool,
    detector_answers,
    detector_is_idle,
    detector_can_wait_long_enough,
    detector_has_memory,
    calibration_is_valid,
    room_answers,
    door_is_closed,
    emergency_stop_is_released,
    technique_is_confirmed,
    hand_is_positioned,
    disk_has_room,
)
