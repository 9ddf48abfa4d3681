"""What one analysis saw on its way to an answer, as far as it came: for drawing, never for numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from station.dxr.edges import Axis, Walls
from station.dxr.localise import Located
from station.dxr.radiogrammetry import Profile
from station.result import Reason


@dataclass(frozen=True, slots=True)
class Traced:
    """A bone with what was measured on it; `reason` is the gate that it failed."""

    number: Literal[2, 3, 4]
    walls: Walls
    profile: Profile
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Trace:
    """Empty where the analysis did not come so far."""

    located: Located | None = None
    axes: Mapping[int, Axis] = field(default_factory=dict[int, Axis])
    bones: tuple[Traced, ...] = ()
