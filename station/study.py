"""What the objects, messages and report of an exam are made from; the same study makes the same again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Protocol

from station.exam import Exam, Exposure, Rejection, Release
from station.protocols import Code
from station.protocols import Protocol as AcquisitionProtocol
from station.result import DxrResult, Refused

_LO_CHARACTERS = 64  # PS3.5 table 6.2-1
_SH_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Equipment:
    """The station with its tube and panel, from the room file; what is not known stays empty.

    The panel's serial is not here: every frame carries it.
    """

    institution: str
    station_name: str
    manufacturer: str = ""
    model: str = "dxr-station"
    serial: str = ""  # of the station
    software_version: str = field(default_factory=lambda: version("dxr-station"))
    focal_spot_mm: tuple[float, float] | None = None  # nominal, small and large
    anode_material: str = "TUNGSTEN"
    grid: str = "NONE"

    def __post_init__(self) -> None:
        for name in ("institution", "manufacturer", "model", "serial", "software_version"):
            self._refuse_long(name, _LO_CHARACTERS)
        self._refuse_long("station_name", _SH_CHARACTERS)
        if self.focal_spot_mm is not None and not all(0 < size <= 3 for size in self.focal_spot_mm):
            raise ValueError(f"focal spots must be within 0-3 mm, got {self.focal_spot_mm}")

    @property
    def kind(self) -> str:
        """The type of the detector, as images and results say it."""
        return f"{self.manufacturer} {self.model}".strip()

    def _refuse_long(self, name: str, limit: int) -> None:
        value = getattr(self, name)
        if len(value) > limit or "\\" in value:
            raise ValueError(f"equipment {name} allows {limit} characters without backslash, got '{value}'")


class Index(Protocol):
    """What `imaging.exposure_index` finds."""

    @property
    def ei(self) -> float: ...
    @property
    def target(self) -> float: ...
    @property
    def di(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Study:
    """An exam with all that happened in it."""

    exam: Exam
    equipment: Equipment
    protocol: AcquisitionProtocol
    detector_serial: str
    made_at: datetime  # of the decision: the content time of everything derived, also when made again
    exposures: tuple[Exposure, ...]  # every irradiation event, oldest first, with or without image
    rejections: Mapping[int, Rejection]  # by the exposure's number
    indices: Mapping[int, Index]  # exposure index, target and deviation by the exposure's number
    result: DxrResult | Refused | None = None  # of the newest exposure
    calibrated_at: datetime | None = None
    code: Code | None = None  # decided by billing, never by DICOM
    release: Release | None = None

    @property
    def exposure(self) -> Exposure:
        """The newest irradiation event."""
        return self.exposures[-1]
