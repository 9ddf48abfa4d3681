"""Charts as numbers: curves, dots and outlines in shares of their own box, to be drawn by whoever shows them.

A box runs from 0 to 1 in both directions, the origin at its upper left corner, as a page and a terminal draw.
Nothing is clipped silently: an axis grows until everything given lies on it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor

import cv2
import numpy as np

from station.exam import Sex
from station.protocols import Reference
from station.report.sheet import Outline
from station.result import Triage

Point = tuple[float, float]  # x, y

_AGES = (20.0, 90.0)  # years; at least these are on the axis
_BMD_STEP = 0.1  # g/cm²
_MOST_TICKS = 12  # of an axis
_T_AXIS = (-4.5, 2.0)  # at least these T-scores are on the band
_SIMPLIFIED_PX = 0.4  # how far a drawn outline may leave its points, in pixels of the printed picture


@dataclass(frozen=True, slots=True)
class AgeCurve:
    """Mean and SD of a reference over age, in its own unit."""

    ages: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def at(self, sds: float) -> tuple[float, ...]:
        """The line so many SD from the mean."""
        return tuple(mean + sds * sd for mean, sd in zip(self.mean, self.sd, strict=True))


def age_curve(reference: Reference, sex: Sex | None) -> AgeCurve | None:
    """The reference's curve of a sex, None where it has none."""
    points = {Sex.FEMALE: reference.women, Sex.MALE: reference.men}.get(sex) if sex else None
    if not points:
        return None
    return AgeCurve(
        tuple(point.age for point in points),
        tuple(point.mean for point in points),
        tuple(point.sd for point in points),
    )


@dataclass(frozen=True, slots=True)
class Dot:
    """A density at an age; the bar is the half width of its 95 % interval."""

    age: float
    value: float
    u95: float = 0.0
    comparable: bool = True


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at a share of its axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class AgeChart:
    """The curve with the patient on it; lines by their distance from the mean in SD."""

    lines: dict[int, tuple[Point, ...]]
    patient: Point
    bar: tuple[float, float]  # y of its upper and lower end
    priors: tuple[tuple[Point, bool], ...]  # oldest first; whether they may be compared
    ages: tuple[Tick, ...]
    values: tuple[Tick, ...]
    scores: tuple[Tick, ...]  # T-scores on the other side


def age_chart(curve: AgeCurve, patient: Dot, priors: Sequence[Dot], reference: Reference) -> AgeChart:
    """Lay out the age chart."""
    dots = (patient, *priors)
    low_age = min(_AGES[0], *(10 * floor(dot.age / 10) for dot in dots))
    high_age = max(_AGES[1], *(10 * ceil(dot.age / 10) for dot in dots))
    every = [*curve.at(-2), *curve.at(2), *(d.value - d.u95 for d in dots), *(d.value + d.u95 for d in dots)]
    low, high = (_BMD_STEP * way(end / _BMD_STEP) for way, end in ((floor, min(every)), (ceil, max(every))))

    def x(age: float) -> float:
        return (age - low_age) / (high_age - low_age)

    def y(value: float) -> float:
        return (high - value) / (high - low)

    young = reference.young_adult
    scores = _whole((low - young.mean) / young.sd, (high - young.mean) / young.sd)
    return AgeChart(
        lines={
            n: tuple((x(a), y(v)) for a, v in zip(curve.ages, curve.at(n), strict=True))
            for n in (-2, -1, 0, 1, 2)
        },
        patient=(x(patient.age), y(patient.value)),
        bar=(y(patient.value + patient.u95), y(patient.value - patient.u95)),
        priors=tuple(((x(d.age), y(d.value)), d.comparable) for d in sorted(priors, key=lambda d: d.age)),
        ages=tuple(Tick(x(a), f"{a:g}") for a in np.arange(low_age, high_age + 1, 10)),
        values=tuple(
            Tick(y(n * _BMD_STEP), f"{n * _BMD_STEP:.1f}")
            for n in _whole(low / _BMD_STEP - 1e-6, high / _BMD_STEP + 1e-6)
        ),
        scores=tuple(Tick(y(young.mean + t * young.sd), signed(t, 0)) for t in scores),
    )


def _whole(low: float, high: float) -> range:
    """Whole numbers from low to high, so many that their labels do not touch."""
    step = ceil((floor(high) - ceil(low) + 1) / _MOST_TICKS)
    first = step * ceil(ceil(low) / step)  # zero stays among them
    return range(first, floor(high) + 1, step)


@dataclass(frozen=True, slots=True)
class BandBar:
    """The triage bands along the T-score, shares from left to right."""

    limits: tuple[Tick, Tick]  # likely at or below, unlikely above
    score: float
    interval: tuple[float, float]
    ticks: tuple[Tick, ...]


def band_bar(t: float, t_u95: float, triage: Triage) -> BandBar:
    """Lay out the bands with the patient's score on them."""
    low = min(_T_AXIS[0], floor(t - t_u95))
    high = max(_T_AXIS[1], ceil(t + t_u95))

    def x(score: float) -> float:
        return (score - low) / (high - low)

    return BandBar(
        limits=(
            Tick(x(triage.lower_t), signed(triage.lower_t)),
            Tick(x(triage.upper_t), signed(triage.upper_t)),
        ),
        score=x(t),
        interval=(x(t - t_u95), x(t + t_u95)),
        ticks=tuple(Tick(x(n), signed(n, 0)) for n in _whole(low, high)),
    )


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, with the sign that typesetters use; nothing is not signed."""
    text = f"{value:+.{digits}f}".replace("-", "\u2212")
    return text[1:] if not text.strip("+\u22120.") else text


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline in shares of a picture's width and height."""

    kind: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a picture is shown: rows and columns."""

    top: int
    bottom: int
    left: int
    right: int


def cut_to(outlines: Iterable[Outline], kinds: Sequence[str], margin: float, shape: tuple[int, int]) -> Cut:
    """The box about outlines of these kinds, with a margin of its longer side; without any the whole."""
    points = [o.points_px for o in outlines if o.kind in kinds and len(o.points_px)]
    rows, columns = shape
    if not points:
        return Cut(0, rows, 0, columns)
    low, high = np.vstack(points).min(axis=0), np.vstack(points).max(axis=0)
    wider = margin * float((high - low).max()) + 1
    top, left = (max(floor(end - wider), 0) for end in low)
    bottom, right = (min(ceil(end + wider), size) for end, size in zip(high, shape, strict=True))
    if bottom - top < 2 or right - left < 2:
        return Cut(0, rows, 0, columns)
    return Cut(top, bottom, left, right)


def lines_in(outlines: Iterable[Outline], cut: Cut, shown_px: int) -> tuple[Line, ...]:
    """Outlines over a picture cut so and shown `shown_px` high; who draws them clips what runs out of it."""
    height, width = cut.bottom - cut.top, cut.right - cut.left
    tolerance_px = _SIMPLIFIED_PX * height / shown_px
    found: list[Line] = []
    for outline in outlines:
        points = np.asarray(outline.points_px, np.float32).reshape(-1, 1, 2)
        if len(points) < 2:
            continue
        kept = cv2.approxPolyDP(points, tolerance_px, closed=False).reshape(-1, 2)
        # the origin of pixels is the centre of the first one, of a picture its corner
        y, x = (kept[:, 0] + 0.5 - cut.top) / height, (kept[:, 1] + 0.5 - cut.left) / width
        if x.max() >= 0 and x.min() <= 1 and y.max() >= 0 and y.min() <= 1:
            line = zip(x.round(5).tolist(), y.round(5).tolist(), strict=True)
            found.append(Line(outline.kind, tuple(line)))
    return tuple(found)
