"""What an integrating panel's driver brings: the vendor's library as a `Source` of readouts.

`drivers.panel` makes windows and held frames of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from station.devices import BadSettings, DetectorInfo
from station.frame import Frame, Pixels, Signal, Stage
from station.settings import Settings


@dataclass(frozen=True, slots=True)
class Lost:
    """A readout whose frame did not come whole."""

    reason: str


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a sensor's image becomes the one seen from the tube: turned first, then mirrored left to right."""

    quarter_turns: int = 0  # clockwise
    mirrored: bool = False

    @classmethod
    def read(cls, settings: Settings) -> "Orientation":
        """From the settings `rotate` (0, 90, 180 or 270 degrees clockwise) and `mirror`."""
        degrees = settings.whole("rotate", 0, 0, 270)
        if degrees % 90:
            raise BadSettings(f"{settings.what}: rotate={degrees} given; allowed are 0, 90, 180 and 270")
        return cls(degrees // 90, settings.flag("mirror", default=False))

    def seen(self, pixels: Pixels) -> Pixels:
        """An own copy as seen from the tube."""
        turned = np.rot90(pixels, -self.quarter_turns)
        return np.array(turned[:, ::-1] if self.mirrored else turned, order="C")

    def shape(self, rows: int, columns: int) -> tuple[int, int]:
        """(rows, columns) as seen from the tube."""
        return (columns, rows) if self.quarter_turns % 2 else (rows, columns)

    def history(self) -> tuple[str, ...]:
        """For a frame's history; empty if nothing is done."""
        turned = (f"turned {90 * self.quarter_turns} degrees clockwise",) if self.quarter_turns else ()
        return (*turned, "mirrored left to right") if self.mirrored else turned


Arrived = Callable[[Pixels | Lost], None]


@dataclass(frozen=True, slots=True)
class PanelFacts:
    """What a source knows of its panel once open, for frames as they arrive."""

    info: DetectorInfo
    detector_type: str  # maker and model
    saturation: float
    scale_known: bool = True
    history: tuple[str, ...] = ()  # what the source does to every frame

    def frame(self, pixels: Pixels, acquired_at: datetime) -> Frame:
        """The raw frame of these pixels."""
        return Frame(
            pixels,
            Stage.RAW,
            Signal.DOSE,
            self.info.spacing_mm,
            self.info.serial,
            scale_known=self.scale_known,
            acquired_at=acquired_at,
            saturation=self.saturation,
            history=self.history,
            detector_type=self.detector_type,
            detector_serial=self.info.serial,
        )


class Source(Protocol):
    """An SDK's view of one panel. Raises `CommunicationLost` or `NotConnected` when the line is dead."""

    def open(self) -> PanelFacts:
        """Find the panel and take control of it, within the connect timeout; nothing is triggered."""
        ...

    def start(self, arrived: Arrived) -> None:
        """Make ready for triggers, also after an earlier `start`.

        `arrived` takes an own copy of a frame, (rows, columns) uint16, or `Lost`; it may be called on any
        thread, returns at once and never raises. No frame of an earlier trigger may come through it.
        """
        ...

    def trigger(self) -> None:
        """Read the panel out once."""
        ...

    def stop(self) -> None:
        """Expect no more frames; harmless if not started."""
        ...

    def poll(self) -> float | None:
        """Really ask the panel something; its temperature in °C if it tells."""
        ...

    def close(self) -> None:
        """Let go of the panel, in any state. Never raises `DeviceError`."""
        ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Deadlines of one panel in real seconds."""

    frame_s: float  # from trigger to a whole frame
    connect_s: float = 10.0
    command_s: float = 1.0
    poll_s: float = 0.1
    clears: int = 1  # clearing readouts before a window
    clear_tries: int = 3  # incomplete clearing frames before arming is given up

    @classmethod
    def read(cls, read: Settings, connect_s: float = 10.0, poll_s: float = 0.1) -> "Timing":
        """From `TIMING_KEYS` of a driver's settings. Raises `BadSettings`."""
        return cls(
            frame_s=read.number("frame_timeout_s", 5, 0.1, 60),
            connect_s=read.number("connect_timeout_s", connect_s, 1, 120),
            command_s=read.number("command_timeout_s", 2, 0.1, 10),
            poll_s=poll_s,
            clears=read.whole("clearing_frames", 1, 1, 10),
        )


TIMING_KEYS = ("frame_timeout_s", "connect_timeout_s", "command_timeout_s", "clearing_frames")
