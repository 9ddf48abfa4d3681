"""Calibration maps of one panel: offset, gain, defects and sensitivity, built from darks and flats.

Assumes
    Darks and flats of one panel, taken in one session with the integration time of the exam; flats with
    nothing in the beam, the field open over the whole panel, at a known detector air kerma.
Tolerates
    Any number of frames (they are streamed), slow non-uniformity of beam and panel, defects within `defects`.
Method
    offset = mean dark; gain = mean(flat − offset) / (flat − offset) over good pixels; sensitivity = mean
    good signal / kerma. Beam non-uniformity of the flat (heel effect, inverse square) goes into the gain,
    as usual.
Meaning
    (raw − offset) × gain is proportional to detector air kerma, relative to the flat's beam shape.
    `lsb_per_ugy` holds at the beam quality of the flats, not at RQA5.
Known failures
    A large object that attenuates less than a quarter over its whole area looks like beam shape. Lag of an
    exposure shortly before the darks stays in the offset.
"""

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from station.durable import replacing
from station.frame import Frame, Signal, Stage
from station.imaging import defects as defective
from station.imaging.defects import Float, Mask, Patches
from station.result import Reason

# Acceptance limits, status: derived (flat far from noise and saturation, a maker's advice on clusters).
MIN_FRAMES = 4
FLAT_LEVEL_RANGE = (0.15, 0.75)  # of saturation
OBJECT_CONTRAST = 0.25  # a block that differs that much from the median block is an object or the collimator
OBJECT_AREA_FRACTION = 0.005
DRIFT_FRACTION = 0.1  # of the mean signal, between frames of one series
MAX_DEFECT_FRACTION = 0.01

_BLOCK_PX = 16
_CLOCK_TOLERANCE = timedelta(minutes=5)
_ARRAYS = ("offset", "gain", "defects", "targets", "sources", "weights")
_REMEDY = "run dxr-station calibrate"


class CalibrationRejected(ValueError):  # noqa: N818  reads as the message it is
    """These frames make no calibration; `reason` says why and what to do."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"{reason.message}; {reason.remedy}")
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """Everything that turns a raw frame into one proportional to dose."""

    serial: str
    shape: tuple[int, int]
    offset: Float  # (rows, columns) LSB
    gain: Float  # (rows, columns) factor, 1 at defects
    defects: Mask  # (rows, columns)
    patches: Patches
    raw_saturation: float  # LSB, as the panel clips
    ceiling_lsb: float  # lowest corrected value at which a good pixel clips; a corrected frame ends there
    lsb_per_ugy: float  # corrected signal per detector air kerma at the beam quality of the flats
    made_at: datetime
    technique: str
    dark_count: int
    flat_count: int
    sha256: str = ""  # over all of the above


def build(
    darks: Iterable[Frame],
    flats: Iterable[Frame],
    flat_kerma_ugy: float,
    made_at: datetime,
    technique: str = "",
) -> Maps:
    """Maps from raw frames; the frames may come from a generator, none is kept.

    Parameters
    ----------
    darks, flats : iterable of Frame
        RAW, Signal.DOSE, at least `MIN_FRAMES` each, one serial, one shape.
    flat_kerma_ugy : float
        Detector air kerma of one flat, µGy, mean over the panel.
    made_at : datetime
        Aware.
    technique : str
        How the flats were taken, for the record.

    Raises
    ------
    CalibrationRejected
        Naming what is wrong with the frames and what to do.
    ValueError
        Kerma or date that cannot be.
    """
    if not 0 < flat_kerma_ugy < 1e4:
        raise ValueError(f"flat kerma must be within 0-10000 µGy, got {flat_kerma_ugy}")
    if made_at.tzinfo is None:
        raise ValueError("the calibration time needs a time zone")
    dark, flat = _stacked(darks, "dark"), _stacked(flats, "flat")
    if (dark.serial, dark.mean.shape, dark.saturation) != (flat.serial, flat.mean.shape, flat.saturation):
        raise _rejected(
            "series-differ", "darks and flats are of different panels or modes", "take both again"
        )
    _refuse_levels(dark, flat)
    _refuse_object(flat.mean - dark.mean)
    maps = _maps(dark, flat, flat_kerma_ugy, made_at, technique)
    return replace(_frozen(maps), sha256=_digest(maps))


def _maps(dark: "_Stack", flat: "_Stack", flat_kerma_ugy: float, made_at: datetime, technique: str) -> Maps:
    signal = flat.mean - dark.mean
    bad = defective.find(dark.mean, dark.noise, signal, dark.saturation)
    _refuse_defects(bad)
    good = ~bad
    level = float(signal[good].mean(dtype=np.float64))
    gain = np.ones_like(signal)
    np.divide(np.float32(level), signal, out=gain, where=good)
    return Maps(
        serial=dark.serial,
        shape=(signal.shape[0], signal.shape[1]),
        offset=dark.mean,
        gain=gain,
        defects=bad,
        patches=defective.plan(bad),
        raw_saturation=dark.saturation,
        ceiling_lsb=float(((np.float32(dark.saturation) - dark.mean) * gain)[good].min()),
        lsb_per_ugy=level / flat_kerma_ugy,
        made_at=made_at,
        technique=technique,
        dark_count=dark.count,
        flat_count=flat.count,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """Mean and SD of a series."""

    serial: str
    saturation: float
    mean: Float
    noise: Float
    count: int


def _stacked(frames: Iterable[Frame], name: str) -> _Stack:
    """Streamed mean and SD, relative to the first frame so that float32 is enough."""
    first: Frame | None = None
    base = total = squares = np.empty((0, 0), np.float32)
    level, count = 0.0, 0
    for frame in frames:
        _refuse_frame(frame, first, name)
        if first is None or first.saturation is None:
            first, level = frame, float(frame.pixels.mean())
            base = frame.pixels.astype(np.float32)
            total, squares = np.zeros_like(base), np.zeros_like(base)
        else:
            if abs(float(frame.pixels.mean()) - level) > DRIFT_FRACTION * level:
                raise _rejected(
                    f"{name}-series-unequal",
                    f"the {name} frames differ in level by more than 10 %",
                    "take them again",
                )
            difference = np.subtract(frame.pixels, base, dtype=np.float32)
            cv2.accumulate(difference, total)
            cv2.accumulateSquare(difference, squares)
        count += 1
    if first is None or first.saturation is None or count < MIN_FRAMES:
        raise _rejected(f"{name}-count", f"{count} {name} frames given, {MIN_FRAMES} are needed", "take more")
    total /= count
    squares = np.sqrt(np.maximum(squares - count * total * total, 0) / (count - 1))
    return _Stack(first.source, first.saturation, base + total, squares, count)


def _refuse_frame(frame: Frame, first: Frame | None, name: str) -> None:
    if frame.stage is not Stage.RAW or frame.signal is not Signal.DOSE or frame.saturation is None:
        raise _rejected(
            f"{name}-not-raw", f"a {name} frame is not a raw detector frame", "take it from the detector"
        )
    if first and (frame.source, frame.shape, frame.saturation) != (
        first.source,
        first.shape,
        first.saturation,
    ):
        raise _rejected(
            f"{name}-series-mixed",
            f"{name} frames of {first.source} {first.shape} and {frame.source} {frame.shape} are mixed",
            "calibrate one panel at a time",
        )


def _refuse_levels(dark: _Stack, flat: _Stack) -> None:
    low, high = FLAT_LEVEL_RANGE
    dark_level = float(np.median(dark.mean)) / dark.saturation
    if dark_level >= low:
        raise _rejected(
            "dark-level",
            f"the darks stand at {dark_level:.0%} of saturation, allowed is below {low:.0%}",
            "make sure that nothing radiates and take them again",
        )
    level = float(np.median(flat.mean)) / flat.saturation
    if not low <= level <= high:
        remedy = "raise the mAs" if level < low else "lower the mAs"
        raise _rejected(
            "flat-level",
            f"the flats stand at {level:.0%} of saturation, allowed is {low:.0%}-{high:.0%}",
            remedy,
        )


def _refuse_object(signal: Float) -> None:
    """A block of the flat far off the median block is an object, or the panel outside the field."""
    rows, columns = (max(1, n // _BLOCK_PX) for n in signal.shape)
    blocks = np.asarray(cv2.resize(signal, (columns, rows), interpolation=cv2.INTER_AREA))
    blocks = np.asarray(
        cv2.medianBlur(blocks.astype(np.float32), 3)
    )  # a dead column is a defect, not an object
    ratio = blocks / max(float(np.median(blocks)), 1.0)
    fraction = float(((ratio < 1 - OBJECT_CONTRAST) | (ratio > 1 / (1 - OBJECT_CONTRAST))).mean())
    if fraction > OBJECT_AREA_FRACTION:
        raise _rejected(
            "flat-not-uniform",
            f"{fraction:.1%} of the flat differs by more than {OBJECT_CONTRAST:.0%}, "
            f"allowed is {OBJECT_AREA_FRACTION:.1%}",
            "clear the panel, open the collimator over all of it and take the flats again",
        )


def _refuse_defects(bad: Mask) -> None:
    fraction, reach = float(bad.mean()), defective.deepest(bad)
    if fraction > MAX_DEFECT_FRACTION:
        message = f"{fraction:.2%} of the pixels are defective, allowed is {MAX_DEFECT_FRACTION:.0%}"
        raise _rejected(
            "defects-too-many", message, "take the frames again; if it stays, have the panel serviced"
        )
    if reach > defective.CLUSTER_REACH_PX:
        limit = defective.CLUSTER_REACH_PX
        message = f"a cluster of defects is {2 * reach - 1} px wide, {2 * limit - 1} px can be replaced"
        raise _rejected(
            "defects-cluster", message, "clean the panel and take the frames again, or have it serviced"
        )


def _rejected(name: str, message: str, remedy: str) -> CalibrationRejected:
    return CalibrationRejected(Reason(f"calibration-{name}", message, remedy))


# --- validity -------------------------------------------------------------------------------------------


def check(
    maps: Maps | Reason | None, serial: str, shape: tuple[int, int], now: datetime, max_age_days: float
) -> Reason | None:
    """Why these maps must not be used for that panel now, None if they may; takes what `load` returns."""
    if maps is None:
        return Reason("calibration-missing", f"panel {serial} has no calibration", _REMEDY)
    if isinstance(maps, Reason):
        return maps
    if (maps.serial, maps.shape) != (serial, shape):
        return Reason(
            "calibration-foreign",
            f"the calibration is of panel {maps.serial} {maps.shape}, the panel is {serial} {shape}",
            _REMEDY,
        )
    if maps.made_at > now + _CLOCK_TOLERANCE:
        message = f"the calibration is dated {maps.made_at:%Y-%m-%d %H:%M}, later than now"
        return Reason("calibration-in-future", message, f"correct the clock, or {_REMEDY}")
    age_days = (now - maps.made_at) / timedelta(days=1)
    if age_days > max_age_days:
        message = f"the calibration is {age_days:.1f} days old, allowed is {max_age_days:g}"
        return Reason("calibration-expired", message, _REMEDY, age_days, max_age_days)
    return None


# --- file -----------------------------------------------------------------------------------------------


def save(maps: Maps, folder: Path) -> Path:
    """Write the maps as the panel's current ones, atomically; returns the file."""
    path = _path(folder, maps.serial)
    text = json.dumps({**_facts(maps), "sha256": maps.sha256})
    with replacing(path) as file:
        np.savez(file, facts=np.frombuffer(text.encode(), np.uint8), allow_pickle=False, **_arrays(maps))
    return path


def load(folder: Path, serial: str) -> Maps | Reason | None:
    """The panel's current maps; None if there are none, a Reason if the file is not what was saved."""
    path = _path(folder, serial)
    if not path.is_file():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            facts: dict[str, Any] = json.loads(file["facts"].tobytes())
            arrays: dict[str, npt.NDArray[Any]] = {name: file[name] for name in _ARRAYS}
        patches = Patches(arrays.pop("targets"), arrays.pop("sources"), arrays.pop("weights"))
        shape = (int(facts.pop("rows")), int(facts.pop("columns")))
        made_at = datetime.fromisoformat(facts.pop("made_at"))
        maps = Maps(shape=shape, made_at=made_at, patches=patches, **arrays, **facts)
        intact = _digest(maps) == maps.sha256
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        return Reason("calibration-corrupt", f"{path.name} cannot be read ({error})", _REMEDY)
    if not intact:
        return Reason("calibration-corrupt", f"{path.name} was altered after it was saved", _REMEDY)
    return _frozen(maps)


def _path(folder: Path, serial: str) -> Path:
    return folder / f"{re.sub(r'[^A-Za-z0-9.-]', '_', serial)}.npz"


def _facts(maps: Maps) -> dict[str, Any]:
    return {
        "serial": maps.serial,
        "rows": maps.shape[0],
        "columns": maps.shape[1],
        "raw_saturation": maps.raw_saturation,
        "ceiling_lsb": maps.ceiling_lsb,
        "lsb_per_ugy": maps.lsb_per_ugy,
        "made_at": maps.made_at.isoformat(),
        "technique": maps.technique,
        "dark_count": maps.dark_count,
        "flat_count": maps.flat_count,
    }


def _arrays(maps: Maps) -> dict[str, npt.NDArray[Any]]:
    own = {"offset": maps.offset, "gain": maps.gain, "defects": maps.defects}
    return {
        **own,
        "targets": maps.patches.targets,
        "sources": maps.patches.sources,
        "weights": maps.patches.weights,
    }


def _digest(maps: Maps) -> str:
    """SHA-256 over facts and arrays (name, type and shape included)."""
    digest = hashlib.sha256(json.dumps(_facts(maps), sort_keys=True).encode())
    for name, array in _arrays(maps).items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _frozen(maps: Maps) -> Maps:
    for array in _arrays(maps).values():
        array.flags.writeable = False
    return maps
