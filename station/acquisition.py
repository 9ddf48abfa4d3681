"""One exposure's dealings with generator, detector and dose meter, from prepare to the raw frame.

Every wait has a deadline and says who did not answer. Nothing here decides: the controller does, by the
state table. Nothing here retries an expose; reading a frame again is allowed.
"""

from contextlib import suppress
from dataclasses import dataclass

from station.clock import Clock
from station.config import Equipment, Limits
from station.devices import (
    CommunicationLost,
    Delivered,
    DetectorState,
    DeviceError,
    DeviceRefused,
    EndOfExposure,
    GeneratorState,
    NotConnected,
    Technique,
)
from station.frame import Frame

_WINDOW_SLACK_MS = 1000.0  # the panel integrates longer than any switch, generator and line delay


def window_ms(limits: Limits, technique: Technique) -> float:
    """How long the panel must integrate at most: from arming to the end of the latest exposure."""
    waiting_s = limits.prepare_timeout_s + limits.arm_token_s
    return waiting_s * 1000 + technique.ms + _WINDOW_SLACK_MS


@dataclass(frozen=True, slots=True)
class Ended:
    """How an exposure ended."""

    delivered: Delivered
    dap_ugym2: float | None


class Acquisition:
    """One exposure; made when the switch asks for preparation, thrown away when its frame is safe."""

    def __init__(
        self, equipment: Equipment, clock: Clock, limits: Limits, technique: Technique, uid: str
    ) -> None:
        self.uid = uid
        self.technique = technique
        self._generator = equipment.generator
        self._detector = equipment.detector
        self._dap = equipment.dap
        self._clock = clock
        self._limits = limits
        self._since = clock.now()
        self._exposures_before = 0
        self._released = False
        self.exposed = False  # radiation may have been released

    # --- before radiation ----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Start rotor and panel. Raises `DeviceError`."""
        self._since = self._clock.now()
        if self._dap:
            self._dap.reset()
        self._generator.prepare()
        self._detector.arm(self.uid, window_ms(self._limits, self.technique))

    def devices_ready(self) -> bool:
        """Rotor up and panel integrating. Raises `DeviceFault`, `CommunicationLost` when overdue."""
        generator, detector = self._generator.status(), self._detector.status()
        if generator.fault:
            raise generator.fault
        if generator.state is GeneratorState.READY and detector.state is DetectorState.READY:
            return True
        if self._clock.now() - self._since > self._limits.prepare_timeout_s:
            late = "detector" if generator.state is GeneratorState.READY else "generator"
            state = detector.state if late == "detector" else generator.state
            raise CommunicationLost(
                f"the {late} is still {state} after {self._limits.prepare_timeout_s:g} s of preparation; "
                "release the switch and try again, then call service"
            )
        return False

    def disarm(self) -> None:
        """End preparation; certainly no radiation was released."""
        try:
            self._generator.release()
        finally:
            self._detector.abort()

    # --- radiation -----------------------------------------------------------------------------------

    def expose(self) -> None:
        """Start exactly one exposure.

        Raises
        ------
        DeviceRefused
            The generator certainly did not start.
        CommunicationLost
            Unclear: `ended()` finds out.
        """
        self._exposures_before = self._generator.status().exposures
        self._since = self._clock.now()
        self.exposed = True
        try:
            self._generator.expose()
        except DeviceRefused as error:
            status = self._generator.status()
            if status.state is GeneratorState.EXPOSING or status.exposures != self._exposures_before:
                raise CommunicationLost(f"refused, yet the generator is {status.state}: {error}") from error
            self.exposed = False
            raise

    def let_go(self) -> None:
        """The switch was released: tell the generator, once."""
        if not self._released:
            self._released = True
            self._generator.release()

    def ended(self) -> Ended | None:
        """How it ended, None while it runs; a generator that stays silent ends it as UNKNOWN."""
        status = self._generator.status()
        if status.exposures > self._exposures_before and status.last is not None:
            return Ended(status.last, self._dose())
        elapsed_s = self._clock.now() - self._since
        if elapsed_s <= self.technique.ms / 1000 + self._limits.exposure_margin_s:
            return None
        with suppress(DeviceError):  # silent: what it delivered is unknown either way
            self._generator.abort()
        return self.assumed()

    def assumed(self) -> Ended:
        """Nobody can say what was delivered: count it in full."""
        asked = self.technique
        return Ended(Delivered(asked.kvp, asked.ma, asked.ms, asked.mas, EndOfExposure.UNKNOWN), self._dose())

    def _dose(self) -> float | None:
        try:
            return self._dap.read_ugym2() if self._dap else None
        except DeviceError:
            return None  # the dose is then calculated from the delivered technique

    # --- frame ---------------------------------------------------------------------------------------

    def read_out(self) -> None:
        """Close the window; the frame follows."""
        self._since = self._clock.now()
        self._detector.read_out()

    def frame(self) -> Frame | None:
        """The raw frame once it is held, None before. Raises `CommunicationLost` when overdue."""
        if self._detector.status().state is DetectorState.FRAME_HELD:
            return self._detector.fetch()
        if self._clock.now() - self._since > self._limits.readout_timeout_s:
            raise CommunicationLost(
                f"no frame within {self._limits.readout_timeout_s:g} s; the detector's memory is asked"
            )
        return None

    def recover(self) -> Frame:
        """The frame from the detector's memory, over a new connection if the old one is dead.

        Raises `DeviceError`.
        """
        try:
            return self._detector.recover(self.uid)
        except (CommunicationLost, NotConnected):
            self._detector.connect()
            return self._detector.recover(self.uid)

    def discard(self) -> None:
        """Free the detector's memory of a frame that is on disk. Raises `DeviceError`."""
        self._detector.discard(self.uid)
