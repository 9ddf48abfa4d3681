"""What every driver must prove; also on real devices: `pytest tests/conformance --rig ROOM.yaml -m hardware`.

Tests that need no simulator have a case named `hardware`, marked so. It takes the room file's device of its
kind, on the real clock, and is left out without `--rig`. None of them lets radiation out.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from generator_rigs import ROWS, GeneratorRig, RealRig, SimulatedRig

from simulators.scene import EmptyScene
from station.clock import RealClock
from station.config import load_room
from station.devices import Room
from station.registry import make_device


def pytest_addoption(parser):
    parser.addoption("--rig", help="a room file whose real devices are tested, with -m hardware")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--rig", default=None):
        return
    real = [item for item in items if item.get_closest_marker("hardware")]
    items[:] = [item for item in items if item not in real]
    config.hook.pytest_deselected(items=real)


@pytest.fixture
def real_device(request) -> Callable[[str], Any]:
    """Makes the room file's device of one kind (`generator`, `detector`, …), not yet connected."""

    def make(kind: str) -> Any:
        entry = getattr(load_room(request.config.getoption("--rig")).devices, kind)
        if entry is None:
            pytest.skip(f"the room has no {kind}")
        return make_device(entry.driver, entry.settings, Room(RealClock()))

    return make


@pytest.fixture
def new_generator_rig(request, tmp_path, monkeypatch) -> Iterator[GeneratorRig]:
    """The generator of a row, or the real one; not connected."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())  # nobody looks at a picture
    rows = {row.name: row for row in ROWS}
    made = (
        SimulatedRig(rows[request.param], tmp_path)
        if request.param in rows
        else RealRig(request.getfixturevalue("real_device")("generator"))
    )
    yield made
    made.close()
