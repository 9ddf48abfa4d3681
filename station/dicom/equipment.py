"""What is known about the room's equipment, and how DICOM's General Equipment module says it."""

from dataclasses import dataclass, field
from importlib.metadata import version

from pydicom.dataset import Dataset

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

    def _refuse_long(self, name: str, limit: int) -> None:
        value = getattr(self, name)
        if len(value) > limit or "\\" in value:
            raise ValueError(f"equipment {name} allows {limit} characters without backslash, got '{value}'")


def describe(dataset: Dataset, equipment: Equipment) -> None:
    """Write the General Equipment module."""
    dataset.Manufacturer = equipment.manufacturer
    dataset.InstitutionName = equipment.institution
    dataset.StationName = equipment.station_name
    dataset.SoftwareVersions = equipment.software_version
    if equipment.model:
        dataset.ManufacturerModelName = equipment.model
    if equipment.serial:
        dataset.DeviceSerialNumber = equipment.serial
