"""The simulated panel's own memory: which doses belong to which exposure, optionally on disk.

A file is `<uid>.json`, written whole (temporary file, fsync, rename, fsync of the folder).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from station.devices import BadSettings, DeviceRefused
from station.durable import fsync_folder, replacing


@dataclass(frozen=True, slots=True)
class Dose:
    """Radiation of one quality that fell on the panel."""

    kvp: float
    mas: float  # what counts of it: of a lag only the remaining share
    hand: bool  # in the beam
    field_mm: tuple[float, float]
    scene: Mapping[str, Any]  # the hand's settings
    lag: bool = False


@dataclass(frozen=True, slots=True)
class Latent:
    """A frame before it is made into numbers: all that they depend on."""

    uid: str
    doses: tuple[Dose, ...]
    temperature_c: float
    acquired_at: datetime
    sid_mm: float
    seed: int
    number: int  # of the window

    def to_json(self) -> str:
        """As text."""
        return json.dumps({**asdict(self), "acquired_at": self.acquired_at.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> "Latent":
        """Back from text. Raises ValueError, KeyError or TypeError on anything else."""
        stored = json.loads(text)
        stored["acquired_at"] = datetime.fromisoformat(stored["acquired_at"])
        stored["doses"] = tuple(_dose(dose) for dose in stored["doses"])
        return cls(**stored)


class PanelMemory:
    """Frames by exposure UID, a limited number."""

    def __init__(self, limit: int, folder: Path | None) -> None:
        self._limit = limit
        self._folder = folder
        self._kept: dict[str, Latent] = {}
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("*.json")):
                self._kept[path.stem] = _read(path)

    @property
    def free(self) -> int:
        """Frames that still fit."""
        return self._limit - len(self._kept)

    def refuse_unless_free(self, uid: str) -> None:
        """Raise `DeviceRefused` if the memory is full or has that frame already."""
        if uid in self._kept:
            raise DeviceRefused(f"the detector holds a frame {uid} already; recover or discard it")
        if self.free < 1:
            raise DeviceRefused(
                f"the detector's memory is full with {self._limit} frames; discard what is on disk"
            )

    def keep(self, latent: Latent) -> None:
        """Keep a frame until it is discarded."""
        self._kept[latent.uid] = latent
        self.safeguard(latent)

    def safeguard(self, latent: Latent) -> None:
        """Put what is known of a frame on disk, before its window has ended."""
        if not self._folder:
            return
        with replacing(self._folder / f"{latent.uid}.json") as file:
            file.write(latent.to_json().encode())

    def latent(self, uid: str) -> Latent:
        """The frame of that UID. Raises `DeviceRefused` if there is none."""
        if uid not in self._kept:
            raise DeviceRefused(
                f"the detector holds no frame {uid}; it holds {', '.join(self._kept) or 'none'}"
            )
        return self._kept[uid]

    def discard(self, uid: str) -> None:
        """Forget a frame. Raises `DeviceRefused` if there is none."""
        self.latent(uid)
        del self._kept[uid]
        self.forget_safeguard(uid)

    def forget_safeguard(self, uid: str) -> None:
        """Take a frame off the disk, also one whose window never ended."""
        if self._folder:
            (self._folder / f"{uid}.json").unlink(missing_ok=True)
            fsync_folder(self._folder)


def _dose(stored: Mapping[str, Any]) -> Dose:
    rows_mm, columns_mm = stored["field_mm"]
    field_mm = (rows_mm, columns_mm)
    return Dose(stored["kvp"], stored["mas"], stored["hand"], field_mm, stored["scene"], stored["lag"])


def _read(path: Path) -> Latent:
    try:
        return Latent.from_json(path.read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadSettings(
            f"sim-detector: {path} in memory_folder is no stored frame ({error}); "
            "remove it or name another folder"
        ) from error
