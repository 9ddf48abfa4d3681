"""Faults a simulated room can be told to have: names, arguments, and when they strike.

Written in a room file as `faults: ["name", "name:argument"]`. A fault of a moment strikes once; a lasting
fault stays until it is cleared. `KINDS` is the one table of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from station.devices import BadSettings


class Moment(StrEnum):
    """What a fault waits for."""

    LASTING = "lasting"
    PREPARE = "prepare"  # the rotor starts
    EXPOSURE = "exposure"  # radiation starts
    AFTER_EXPOSURE = "after exposure"
    FETCH = "fetch"


class FaultName(StrEnum):
    """Every fault there is."""

    SWITCH_RELEASED = "switch-released-after"
    DOOR_OPENS_IN_PREPARE = "door-opens-during-prepare"
    DOOR_OPENS_IN_EXPOSURE = "door-opens-during-exposure"
    EMERGENCY_STOP = "emergency-stop-during-exposure"
    GENERATOR_FAULT = "generator-fault-during-exposure"
    GENERATOR_NEVER_READY = "generator-never-ready"
    GENERATOR_SILENT = "generator-silent"
    GENERATOR_SILENT_IN_EXPOSURE = "generator-silent-during-exposure"
    GENERATOR_WEAK = "generator-underdelivers"
    DETECTOR_NEVER_READY = "detector-never-ready"
    DETECTOR_SILENT = "detector-silent-after-exposure"
    DETECTOR_LINE_CUT = "detector-line-cut"
    DAP_SILENT = "dap-silent"
    CAMERA_FROZEN = "camera-frozen"
    IO_SILENT = "io-silent"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    moment: Moment
    says: str
    unit: str = ""  # of its number; empty if it takes none
    default: float = 0.0
    allowed: tuple[float, float] = (0.0, 0.0)
    moments: tuple[tuple[str, Moment], ...] = ()  # words it takes instead of a number, first is the default


KINDS: dict[FaultName, Kind] = {
    FaultName.SWITCH_RELEASED: Kind(
        Moment.EXPOSURE, "the hand switch is let go that long into the exposure", "ms", 5, (0, 5000)
    ),
    FaultName.DOOR_OPENS_IN_PREPARE: Kind(
        Moment.PREPARE, "the door opens that long into the preparation", "ms", 300, (0, 60000)
    ),
    FaultName.DOOR_OPENS_IN_EXPOSURE: Kind(
        Moment.EXPOSURE, "the door opens that long into the exposure", "ms", 5, (0, 5000)
    ),
    FaultName.EMERGENCY_STOP: Kind(
        Moment.EXPOSURE, "the emergency stop is pressed that long into the exposure", "ms", 5, (0, 5000)
    ),
    FaultName.GENERATOR_FAULT: Kind(Moment.EXPOSURE, "the tube arcs that long into it", "ms", 5, (0, 5000)),
    FaultName.GENERATOR_NEVER_READY: Kind(Moment.LASTING, "preparation never ends"),
    FaultName.GENERATOR_SILENT: Kind(Moment.LASTING, "the line answers nothing after connecting"),
    FaultName.GENERATOR_SILENT_IN_EXPOSURE: Kind(
        Moment.EXPOSURE, "the line falls silent when radiation starts, until connected again"
    ),
    FaultName.GENERATOR_WEAK: Kind(
        Moment.LASTING, "the tube current is too low by that much", "%", 20, (0, 90)
    ),
    FaultName.DETECTOR_NEVER_READY: Kind(Moment.LASTING, "arming never ends"),
    FaultName.DETECTOR_SILENT: Kind(
        Moment.AFTER_EXPOSURE, "the line is silent that long after radiation ended", "s", 3, (0, 600)
    ),
    FaultName.DETECTOR_LINE_CUT: Kind(
        Moment.FETCH,
        "the line breaks, until connected again",
        moments=(("during-fetch", Moment.FETCH), ("after-exposure", Moment.AFTER_EXPOSURE)),
    ),
    FaultName.DAP_SILENT: Kind(Moment.LASTING, "the dose meter answers nothing"),
    FaultName.CAMERA_FROZEN: Kind(Moment.LASTING, "the camera repeats its last picture"),
    FaultName.IO_SILENT: Kind(Moment.LASTING, "the room's contacts are unknown"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault asked for."""

    name: FaultName
    moment: Moment
    value: float  # in the unit of its kind


def parse_fault(text: str) -> Fault:
    """Read `name` or `name:argument`. Raises `BadSettings` naming what exists or is allowed."""
    word, _, argument = text.partition(":")
    if word not in set(FaultName):
        raise BadSettings(f"fault '{word}' does not exist; there are {', '.join(FaultName)}")
    name = FaultName(word)
    kind = KINDS[name]
    if kind.moments:
        words = dict(kind.moments)
        if argument and argument not in words:
            raise BadSettings(f"fault {name}: '{argument}' given; allowed are {', '.join(words)}")
        return Fault(name, words.get(argument, kind.moment), kind.default)
    if not argument:
        return Fault(name, kind.moment, kind.default)
    return Fault(name, kind.moment, _number(name, kind, argument))


def _number(name: FaultName, kind: Kind, argument: str) -> float:
    low, high = kind.allowed
    if not kind.unit:
        raise BadSettings(f"fault {name} takes no argument, '{argument}' given; {kind.says}")
    try:
        value = float(argument)
    except ValueError as error:
        raise BadSettings(f"fault {name}: '{argument}' is no number of {kind.unit}") from error
    if not low <= value <= high:
        raise BadSettings(f"fault {name}: {value:g} {kind.unit} given; allowed is {low:g} to {high:g}")
    return value


class FaultScript:
    """The faults still to come, of one world. Its owner guards it."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._pending = [parse_fault(text) for text in texts]

    def add(self, text: str) -> None:
        """Let a fault strike from now on."""
        self._pending.append(parse_fault(text))

    def clear(self, name: FaultName) -> None:
        """The cause is gone."""
        self._pending = [fault for fault in self._pending if fault.name is not name]

    def lasting(self, name: FaultName) -> Fault | None:
        """That lasting fault, if it is there."""
        return next((f for f in self._pending if f.name is name and f.moment is Moment.LASTING), None)

    def take(self, name: FaultName, moment: Moment) -> Fault | None:
        """That fault if it strikes at this moment; it strikes once."""
        for index, fault in enumerate(self._pending):
            if fault.name is name and fault.moment is moment:
                return self._pending.pop(index)
        return None
