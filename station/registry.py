"""Which device drivers are installed, and how one is made: by entry point, so the station imports none."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from station.devices import Room

DRIVER_GROUP = "dxr_station.drivers"


class UnknownDriver(LookupError):  # noqa: N818
    """No driver of that name is installed."""


def installed_drivers() -> dict[str, EntryPoint]:
    """Driver name → entry point, not yet imported."""
    return {point.name: point for point in sorted(entry_points(group=DRIVER_GROUP))}


def make_device(driver: str, settings: Mapping[str, Any], room: Room) -> Any:
    """Import and construct one device.

    Raises
    ------
    UnknownDriver
        With the names that are installed.
    """
    installed = installed_drivers()
    if driver not in installed:
        raise UnknownDriver(
            f"driver '{driver}' is not installed; installed are: {', '.join(installed) or 'none'}. "
            "Correct the room file or install the package that brings it"
        )
    return installed[driver].load()(settings, room)
