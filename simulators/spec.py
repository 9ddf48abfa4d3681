"""What a simulated hand is asked to be: `key=value` text from a room file or command line, checked.

Every value out of range is refused with what is allowed; nothing is clipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from station.devices import BadSettings

MEASURED = (2, 3, 4)  # metacarpals that radiogrammetry uses
# Share of each bone in the mean over 2-4, memory (adult anatomy, W about 8.2 / 8.2 / 6.9 mm).
_W_SHARE = {2: 8.2, 3: 8.2, 4: 6.9}
_T_SHARE = {2: 1.03, 3: 1.06, 4: 0.91}

SIZES = {"small": 0.92, "medium": 1.0, "large": 1.09}  # scale of lengths and soft tissue, derived

# t, w in mm at the narrowest place, mean over metacarpals 2-4; size. Derived from the group means of
# Dhainaut 2013 (women of 67: T 1.61, W 8.2), a young-adult DXR-BMD of 0.59, and men 12.8 % above women.
PRESETS: Mapping[str, tuple[float, float, str]] = {
    "woman-30": (1.95, 8.0, "medium"),
    "woman-50": (1.85, 8.1, "medium"),
    "woman-65": (1.61, 8.2, "medium"),
    "woman-80": (1.30, 8.3, "small"),
    "man-30": (2.15, 9.1, "large"),
    "man-50": (2.15, 9.2, "large"),
    "man-70": (1.95, 9.3, "large"),
}

_RANGES = {  # mm, the wider of plausible and drawable
    "t": (0.5, 3.5),
    "w": (5.0, 12.0),
    "porosity": (0.0, 0.05),  # fraction
    "depth": (0.9, 1.1),  # depth/width of the shafts' cross-section
    "shape": (0.0, 1.5),  # how far outlines leave the ellipse: 0 not at all, 1 as real metacarpals do
    "tissue": (8.0, 40.0),  # mm of hand at the middle of the palm
    "seed": (0, 2**31),
}
_POSE_RANGES = {
    "rotation": (-180.0, 180.0),  # degrees, clockwise as displayed
    "spread": (0.0, 2.4),  # factor on the fingers' angles
    "pronation": (-30.0, 30.0),  # degrees about the hand's long axis; positive lifts the thumb side
    "height": (0.0, 100.0),  # mm, metacarpal axis above the panel
}
_SHIFT_LIMIT_MM = 300.0


@dataclass(frozen=True, slots=True)
class Panel:
    """A detector's pixel grid, centred under the focal spot."""

    rows: int
    columns: int
    spacing_mm: float

    def px(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        """(row, column) of a place on the panel; integers are pixel centres."""
        return (
            y_mm / self.spacing_mm + (self.rows - 1) / 2,
            x_mm / self.spacing_mm + (self.columns - 1) / 2,
        )


@dataclass(frozen=True, slots=True)
class HandSpec:
    """The hand itself: object-plane T and W of metacarpals 2-4 at their narrowest place, and its size.

    `t`, `w` are means over the three bones; `t_of`, `w_of` set single bones instead.
    """

    t: float = 1.61
    w: float = 8.2
    size: str = "medium"
    porosity: float = 0.011
    depth: float = 1.0
    shape: float = 0.0
    tissue: float = 25.6
    seed: int = 1
    t_of: Mapping[int, float] = field(default_factory=dict[int, float])
    w_of: Mapping[int, float] = field(default_factory=dict[int, float])

    def __post_init__(self) -> None:
        _choice("phantom", "size", self.size, SIZES)
        for key, allowed in _RANGES.items():
            _within("phantom", key, getattr(self, key), allowed)
        for key, singles in (("t", self.t_of), ("w", self.w_of)):
            for bone, value in singles.items():
                _within("phantom", f"{key}{bone}", value, _RANGES[key])
        for bone in MEASURED:
            t, w = self.t_mm(bone), self.w_mm(bone)
            if t > 0.45 * w:
                raise BadSettings(
                    f"phantom: wall {t:.2f} mm of metacarpal {bone} leaves no canal in {w:.2f} mm; "
                    f"at most {0.45 * w:.2f} mm is allowed"
                )

    @classmethod
    def parse(cls, text: str) -> "HandSpec":
        """From `"preset=woman-65,t=1.6,w2=8.4,size=small,porosity=0.02,depth=1.03,seed=7"`."""
        given = _pairs(text, "phantom")
        values: dict[str, Any] = {}
        preset = given.pop("preset", None)
        if preset is not None:
            t, w, size = PRESETS[_choice("phantom", "preset", preset, PRESETS)]
            values = {"t": t, "w": w, "size": size}
        t_of: dict[int, float] = {}
        w_of: dict[int, float] = {}
        for key, value in given.items():
            if key == "size":
                values[key] = value
            elif key in _RANGES:
                values[key] = _number("phantom", key, value)
            elif len(key) == 2 and key[0] in "tw" and key[1] in "234":
                (t_of if key[0] == "t" else w_of)[int(key[1])] = _number("phantom", key, value)
            else:
                known = ["preset", "size", *_RANGES, "t2", "t3", "t4", "w2", "w3", "w4"]
                raise BadSettings(f"phantom: unknown '{key}'; allowed are {', '.join(known)}")
        seed = float(values.get("seed", 1))
        if not seed.is_integer():
            raise BadSettings(f"phantom: seed={seed:g} given; allowed are whole numbers")
        values["seed"] = int(seed)
        return cls(**values, t_of=t_of, w_of=w_of)

    @property
    def scale(self) -> float:
        """Factor on all lengths but T and W."""
        return SIZES[self.size]

    def t_mm(self, bone: int) -> float:
        """Wall of metacarpal 2, 3 or 4 at its narrowest place."""
        return self.t_of.get(bone, self.t * _T_SHARE[bone] * 3 / sum(_T_SHARE.values()))

    def w_mm(self, bone: int) -> float:
        """Outer width of metacarpal 2, 3 or 4 at its narrowest place."""
        return self.w_of.get(bone, self.w * _W_SHARE[bone] * 3 / sum(_W_SHARE.values()))


@dataclass(frozen=True, slots=True)
class Pose:
    """How the hand lies on the panel."""

    side: str = "L"
    rotation: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)  # mm, x:y in the hand's own plane
    spread: float = 1.0
    pronation: float = 0.0
    height: float = 15.0

    def __post_init__(self) -> None:
        _choice("pose", "side", self.side, ("L", "R"))
        for key, allowed in _POSE_RANGES.items():
            _within("pose", key, getattr(self, key), allowed)
        for key, value in zip(("shift x", "shift y"), self.shift, strict=True):
            _within("pose", key, value, (-_SHIFT_LIMIT_MM, _SHIFT_LIMIT_MM))

    @classmethod
    def parse(cls, text: str) -> "Pose":
        """From `"side=R,rotation=10,shift=5:-3,spread=1.2,pronation=5,height=12"`."""
        values: dict[str, Any] = {}
        for key, value in _pairs(text, "pose").items():
            if key == "side":
                values[key] = value
            elif key == "shift":
                values[key] = _shift(value)
            elif key in _POSE_RANGES:
                values[key] = _number("pose", key, value)
            else:
                known = ", ".join(["side", "shift", *_POSE_RANGES])
                raise BadSettings(f"pose: unknown '{key}'; allowed are {known}")
        return cls(**values)


def side_of(text: str) -> str:
    """The side a radiograph is declared to show, from `"side=R"`; its pose is what it is."""
    for key in _pairs(text, "pose"):
        if key != "side":
            raise BadSettings(f"pose: {key} given; a radiograph allows side only, it cannot be posed anew")
    return Pose.parse(text).side


def _pairs(text: str, what: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in str(text).split(","))):
        key, equals, value = part.partition("=")
        if not equals or key.strip() in pairs:
            raise BadSettings(f"{what}: '{part}' is not a new key=value; write e.g. 'key=1.5,other=2'")
        pairs[key.strip()] = value.strip()
    return pairs


def _number(what: str, key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BadSettings(f"{what}: {key}='{text}' is no number; write e.g. {key}=1.5") from error


def _within(what: str, key: str, value: float, allowed: tuple[float, float]) -> None:
    low, high = allowed
    if not low <= value <= high:
        raise BadSettings(f"{what}: {key}={value:g} given; allowed is {low:g} to {high:g}")


def _choice(what: str, key: str, text: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    if text not in allowed:
        raise BadSettings(f"{what}: {key}='{text}' given; allowed are {', '.join(allowed)}")
    return text


def _shift(text: str) -> tuple[float, float]:
    x, colon, y = text.partition(":")
    if not colon:
        raise BadSettings(f"pose: shift='{text}' given; write x:y in mm, e.g. shift=5:-3")
    return _number("pose", "shift x", x), _number("pose", "shift y", y)
