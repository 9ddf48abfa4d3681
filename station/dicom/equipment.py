"""How DICOM's General Equipment module says what is known about the equipment."""

import hashlib
import uuid

from pydicom.dataset import Dataset

from station.study import Equipment


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


def device_uid(equipment: Equipment) -> str:
    """UID of the station as an observer: the same in every exam, another for another station."""
    known = (equipment.manufacturer, equipment.model, equipment.serial, equipment.station_name)
    digest = hashlib.sha256("/".join(("device", equipment.institution, *known)).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
