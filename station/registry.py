"""Which device drivers are installed, and how one is made: by entry point, so the station imports none.

What is to be known of a driver stands in its module's docstring: the first line says which device on which
wire, the section "Inferred" lists what no source proves.
"""

import inspect
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from station.devices import Room

DRIVER_GROUP = "dxr_station.drivers"


class UnknownDriver(LookupError):  # noqa: N818
    """No driver of that name is installed."""


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """What a driver says of itself."""

    name: str
    entry_point: str
    summary: str = ""  # one line
    inferred: tuple[str, ...] = ()  # facts that no source proves
    conversation: str = ""  # the whole docstring
    trouble: str = ""  # why it cannot be imported here

    @property
    def json(self) -> dict[str, Any]:
        """Everything."""
        return asdict(self)


def installed_drivers() -> dict[str, EntryPoint]:
    """Driver name → entry point, not yet imported."""
    return {point.name: point for point in sorted(entry_points(group=DRIVER_GROUP))}


def find_driver(name: str) -> EntryPoint:
    """The driver of that name. Raises `UnknownDriver` with the names that are installed."""
    installed = installed_drivers()
    if name not in installed:
        raise UnknownDriver(
            f"driver '{name}' is not installed; installed are: {', '.join(installed) or 'none'}. "
            "Correct the name or install the package that brings it"
        )
    return installed[name]


def make_device(driver: str, settings: Mapping[str, Any], room: Room) -> Any:
    """Import and construct one device. Raises `UnknownDriver`."""
    return find_driver(driver).load()(settings, room)


def describe(point: EntryPoint) -> DriverFacts:
    """Import a driver and read its docstring; one that cannot be imported says why."""
    try:
        point.load()
    except Exception as error:  # noqa: BLE001  a foreign package may fail in any way; the others are still listed
        return DriverFacts(point.name, point.value, trouble=f"{type(error).__name__}: {error}")
    text = inspect.cleandoc(sys.modules[point.module].__doc__ or "")
    return DriverFacts(point.name, point.value, text.partition("\n")[0], inferred_facts(text), text)


def inferred_facts(docstring: str) -> tuple[str, ...]:
    """The bullets of the section "Inferred", one line each; "nothing" is none."""
    lines = docstring.splitlines()
    headings = [n for n, line in enumerate(lines[1:]) if line and not line.strip("-") and lines[n].strip()]
    begin = next((n for n in headings if lines[n].strip() == "Inferred"), None)
    if begin is None:
        return ()
    end = next((n for n in headings if n > begin), len(lines))
    facts: list[str] = []
    for line in lines[begin + 2 : end]:
        if line.startswith("- "):
            facts.append(line[2:].strip())
        elif facts and line.strip():
            facts[-1] += f" {line.strip()}"
    return tuple(fact for fact in facts if fact != "nothing")


def listing(found: Iterable[DriverFacts], *, whole: bool) -> str:
    """A table of drivers, or with `whole` all they say of themselves."""
    if whole:
        return "\n\n".join(f"{f.name} ({f.entry_point})\n\n{f.trouble or f.conversation}" for f in found)
    rows = [("driver", "inferred", "device")]
    for facts in found:
        says = f"cannot be used: {facts.trouble}" if facts.trouble else facts.summary
        rows.append((facts.name, str(len(facts.inferred)), says))
    return "\n".join(f"{name:<16} {count:>8}  {says}" for name, count, says in rows)
