"""The course of an exposure as a driver keeps it for a device that itself knows little more than on and off.

The link's owner writes it, anybody reads it: every change publishes a new frozen status. `aborted` is set by
whoever aborts, before anything else is done, so that no expose that comes after an abort finds READY.
"""

from dataclasses import dataclass, field, replace

from station.clock import Clock
from station.devices import (
    Aborted,
    Delivered,
    DeviceFault,
    DeviceRefused,
    EndOfExposure,
    GeneratorState,
    GeneratorStatus,
    Technique,
)


@dataclass(slots=True)
class Shot:
    """An exposure from the moment before it is started; times by time.monotonic."""

    technique: Technique
    earliest_s: float  # radiation did not begin before
    latest_s: float | None = None  # nor after; None while nobody has seen it
    unseen: bool = False  # the line was silent: what happened meanwhile is unknown
    samples: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  # kV, mA measured

    def delivered(self, ms: float, end: EndOfExposure) -> Delivered:
        """The mean of what was measured, or what was set if nothing was."""
        samples = self.samples or [(self.technique.kvp, self.technique.ma)]
        kvp, ma = (sum(values) / len(samples) for values in zip(*samples, strict=True))
        return Delivered(round(kvp, 2), round(ma, 4), round(ms, 2), round(ma * ms / 1000, 6), end)


class Course:
    """See the module."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name, self._clock = name, clock
        self.status = GeneratorStatus(GeneratorState.UNKNOWN, clock.now(), None, 0)
        self.technique: Technique | None = None  # as the device has read it back
        self.aborted = False

    @property
    def state(self) -> GeneratorState:
        return self.status.state

    def begin(self) -> None:
        """A new connection: nothing is loaded, nothing was exposed; a latched fault stays."""
        state = GeneratorState.FAULT if self.status.fault else GeneratorState.STANDBY
        self.technique = None
        self.status = replace(self.status, state=state, exposures=0)

    def contact(self) -> None:
        """The device has just answered."""
        self.status = replace(self.status, at=self._clock.now())

    def enter(self, state: GeneratorState) -> None:
        """Into a state; a latched fault is not left by it."""
        if self.status.fault is None:
            self.status = replace(self.status, state=state)

    def ended(self, delivered: Delivered) -> None:
        """An exposure is over."""
        self.status = replace(self.status, exposures=self.status.exposures + 1, last=delivered)
        self.enter(GeneratorState.STANDBY)

    def fail(self, fault: DeviceFault) -> None:
        """Latch a fault, the first one counts."""
        if self.status.fault is None:
            self.status = replace(self.status, state=GeneratorState.FAULT, fault=fault)

    def clear(self) -> None:
        """The fault is acknowledged and its cause gone."""
        self.status = replace(self.status, state=GeneratorState.STANDBY, fault=None)

    def need(self, state: GeneratorState, what: str) -> None:
        """Raise `DeviceRefused` unless in that state, `Aborted` if an abort is why."""
        if self.aborted and state is GeneratorState.READY:
            raise Aborted(f"cannot {what}: {self._name} was aborted; prepare anew")
        if self.state is not state:
            because = f" ({self.status.fault})" if self.status.fault else ""
            raise DeviceRefused(
                f"cannot {what}: {self._name} is in {self.state}{because}, it must be in {state}"
            )

    def loaded(self, what: str) -> Technique:
        """The technique. Raises `DeviceRefused` if there is none."""
        if self.technique is None:
            raise DeviceRefused(f"cannot {what}: {self._name} has no technique; load one in standby")
        return self.technique
