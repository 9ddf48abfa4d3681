"""A small simulated station for tests that are about behaviour, not about pixels."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from station.assembly import assemble
from station.calibrate import calibrate
from station.case import Job
from station.config import RoomFile, load_room
from station.controller import Controller
from station.exam import Exam, Patient, Sex, Side, WorklistItem, new_uid
from station.operate import Operator

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
SMALL_PANEL = {"rows": 600, "columns": 480, "spacing_mm": 0.5}


def quiet(_: str) -> None:
    """No progress."""


@pytest.fixture
def data() -> Path:
    """The folder of real data, where there is one."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real data beside this checkout")
    return SHARED_DATA


@pytest.fixture
def item() -> WorklistItem:
    """An order for a left hand."""
    patient = Patient("P1", "Test^Person", date(1961, 5, 4), Sex.FEMALE)
    return WorklistItem("ACC1", patient, Side.LEFT, "0750T", new_uid())


@pytest.fixture
def small_room() -> RoomFile:
    """The simulated room with a coarse panel: quick, and too coarse to be measured."""
    room = load_room("sim")
    detector = room.devices.detector.model_copy(update={"settings": SMALL_PANEL})
    devices = room.devices.model_copy(update={"detector": detector})
    return room.model_copy(update={"devices": devices})


MakeStation = Callable[..., Operator]


@pytest.fixture
def make_station(tmp_path: Path, small_room: RoomFile) -> Iterator[MakeStation]:
    """Makes started, calibrated stations on one disk; faults strike after the calibration."""
    made: list[Controller] = []

    def make(*faults: str, room: RoomFile | None = None, start: bool = True, **simulation: Any) -> Operator:
        room = room or small_room
        calibrated = list((tmp_path / "calibration").glob("*.npz"))
        if not calibrated:
            first = assemble(room, {}, tmp_path, real_time=False)
            first.start()
            calibrate(Operator(first, quiet))
            first.close()
        controller = assemble(room, {**simulation, "faults": list(faults)}, tmp_path, real_time=False)
        made.append(controller)
        if start:
            controller.start()
        return Operator(controller, quiet)

    yield make
    for controller in made:
        controller.parts.journal.close()


@pytest.fixture
def job_for(item: WorklistItem) -> Callable[[Operator], Job]:
    """Makes the job of the order."""

    def make(operator: Operator, **changes: Any) -> Job:
        parts = operator.controller.parts
        protocol = parts.setting.protocol
        exam = Exam(new_uid(), replace(item, **changes), protocol.id, parts.clock.wall(), "medium")
        return Job(exam, protocol.technique("medium"))

    return make
