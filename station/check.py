"""`dxr-station check`: every YAML file the station reads, and what they name."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from station.config import RoomFile, build, load_room
from station.devices import BadSettings
from station.hospital import load_hospital
from station.keys import load_keys
from station.operators import load_operators
from station.protocols import Reference, RiskTable, load_protocol, load_reference
from station.registry import installed_drivers
from station.yaml_file import BadFile, read, shipped


def check_files(files: Iterable[Path] | None) -> list[dict[str, Any]]:
    """One verdict per file: its kind and its problems, none if it is good."""
    every = (
        list(files)
        if files
        else [*shipped("config").glob("*.yaml"), *sorted(shipped("protocols").rglob("*.yaml"))]
    )
    return [_verdict(path) for path in every]


def _verdict(path: Path) -> dict[str, Any]:
    kind = _kind(path)
    try:
        return {"file": str(path), "kind": kind, "problems": _problems(path, kind)}
    except BadFile as error:
        return {"file": str(path), "kind": kind, "problems": str(error).splitlines()}


def _kind(path: Path) -> str:
    """By the keys that only one kind has; an unreadable file counts as a room and is reported as such."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return "room"
    keys = set(data) if isinstance(data, dict) else set[str]()
    if keys & {"techniques", "view"}:
        return "protocol"
    if "outcomes" in keys:
        return "risk table"
    for own, kind in (("everywhere", "keys"), ("operators", "operators")):
        if own in keys:
            return kind
    if keys & {"ae_title", "worklist", "archives"}:
        return "hospital"
    return "reference" if keys & {"women", "men", "young_adult"} else "room"


def _problems(path: Path, kind: str) -> list[str]:
    if kind == "protocol":
        load_reference(load_protocol(str(path)).analysis.reference)
        return []
    loaders: dict[str, Callable[[str], Any]] = {
        "hospital": load_hospital,
        "operators": load_operators,
        "keys": lambda name: load_keys(Path(name)),
    }
    if kind in loaders:
        loaders[kind](str(path))
        return []
    if kind in {"reference", "risk table"}:
        read(path, Reference if kind == "reference" else RiskTable)
        return []
    room = load_room(str(path))
    load_protocol(room.protocol)
    named = [entry.driver for entry in _devices(room)]
    missing = sorted(set(named) - set(installed_drivers()))
    if missing:
        return [f"{path}: driver '{name}' is not installed; see dxr-station drivers" for name in missing]
    try:
        build(room, {}, real_time=room.clock == "real")  # makes the devices, opens nothing
    except (BadSettings, BadFile) as error:
        return [f"{path}: {error}"]
    return []


def _devices(room: RoomFile) -> list[Any]:
    devices = room.devices
    every = (devices.generator, devices.detector, devices.io, devices.camera, devices.dap)
    return [entry for entry in every if entry is not None]
