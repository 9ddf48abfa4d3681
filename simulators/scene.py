"""What lies between tube and panel: the scene a simulated detector and camera look at.

Coordinates are mm on the panel, origin at its centre under the focal spot, x along columns, y along rows
(down). Seen from the tube (PA, palm down, fingers towards row 0) a left hand has its thumb at larger columns.

A scene is asked for in a room file by `phantom` and `pose` (a parametric hand with known truth) or by
`radiograph` (replay of a real image); with neither, nothing lies on the panel.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from simulators.phantom import HandPhantom
from simulators.radiograph import ReplayedRadiograph
from simulators.spec import HandSpec, Panel, Pose, side_of
from station.devices import BadSettings

__all__ = ["EmptyScene", "Panel", "Scene", "of_side", "scene_from"]

_KEYS = ("phantom", "pose", "radiograph", "pixel_spacing_mm")


class Scene(Protocol):
    """The object, as both the detector and the camera need it."""

    @property
    def side(self) -> str:
        """`"L"` or `"R"`."""
        ...

    @property
    def scale_known(self) -> bool:
        """False where the object's size on the panel is arbitrary (a radiograph without spacing)."""
        ...

    def relative_signal(self, panel: Panel, kvp: float, sid_mm: float) -> npt.NDArray[np.float32]:
        """Noise-free energy-integrated detector signal relative to the open field.

        Returns
        -------
        float32 (rows, columns)
            1 where nothing is in the beam; scatter included, before detector blur. The collimator is not
            part of the scene.
        """
        ...

    def silhouette(self, panel: Panel) -> npt.NDArray[np.bool_]:
        """Outline of hand and forearm as a camera above sees it, projected to the panel plane."""
        ...


@dataclass(frozen=True, slots=True)
class EmptyScene:
    """Nothing in the beam."""

    side: str = "L"
    scale_known: bool = True

    def relative_signal(self, panel: Panel, kvp: float, sid_mm: float) -> npt.NDArray[np.float32]:
        """Open field everywhere, at any quality and distance."""
        del kvp, sid_mm
        return np.ones((panel.rows, panel.columns), np.float32)

    def silhouette(self, panel: Panel) -> npt.NDArray[np.bool_]:
        return np.zeros((panel.rows, panel.columns), np.bool_)


def scene_from(settings: Mapping[str, Any]) -> Scene:
    """Build the scene a room file asks for.

    Parameters
    ----------
    settings : mapping
        `phantom` (`"t=1.6,w=8.2,t2=1.5"`), `pose` (`"side=R,rotation=10,shift=5:-3"`), `radiograph` (path),
        `pixel_spacing_mm` (of the radiograph). An absent key and None mean the same.

    Raises
    ------
    BadSettings
        Unknown key, value out of range, or both a phantom and a radiograph.
    """
    unknown = sorted(set(settings) - set(_KEYS))
    if unknown:
        raise BadSettings(f"scene: unknown {', '.join(unknown)}; allowed are {', '.join(_KEYS)}")
    given = {key: value for key, value in settings.items() if value is not None}
    if "radiograph" in given:
        if "phantom" in given:
            raise BadSettings("scene: phantom and radiograph exclude each other; give one of them")
        return ReplayedRadiograph.read(
            Path(str(given["radiograph"])), given.get("pixel_spacing_mm"), given.get("pose", "")
        )
    if "pixel_spacing_mm" in given:
        raise BadSettings("scene: pixel_spacing_mm belongs to a radiograph; give radiograph or leave it out")
    if "phantom" not in given and "pose" not in given:
        return EmptyScene()
    return HandPhantom(HandSpec.parse(given.get("phantom", "")), Pose.parse(given.get("pose", "")))


def of_side(settings: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """The same person's hand of that side (`"L"`, `"R"`), otherwise posed alike, as scene settings.

    Raises
    ------
    BadSettings
        A radiograph shows one hand: there is no picture of the other, and a mirrored one would be no hand
        that anybody has.
    """
    pose = str(settings.get("pose") or "")
    if settings.get("radiograph") is not None:
        shown = side_of(pose)
        if shown != side:
            raise BadSettings(
                f"side {side} asked for, the replayed radiograph shows side {shown}; lay that one, or leave "
                "the radiograph out"
            )
        return settings
    kept = [part for part in pose.split(",") if part.strip() and part.partition("=")[0].strip() != "side"]
    return {**settings, "pose": ",".join([*kept, f"side={side}"])}
