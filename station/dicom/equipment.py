"""How DICOM's General Equipment module says what is known about the equipment."""

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
