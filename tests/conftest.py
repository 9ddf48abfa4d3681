"""A small simulated station for tests that are about behaviour, not about pixels."""

import faulthandler
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from station.assembly import assemble
from station.calibrate import calibrate
from station.case import Job
from station.config import RoomFile, load_room
from station.controller import Controller
from station.devices import SwitchStage
from station.exam import Exam, Patient, Sex, Side, WorklistItem, new_uid
from station.hospital import Hospital
from station.operate import Operator
from station.states import State, Trigger

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
SMALL_PANEL = {"rows": 1200, "columns": 960, "spacing_mm": 0.25}


# This machine is shared: how long one example takes is no property of what is tested.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_LEAVE_S = 120.0  # for threads and processes that tests left behind


def pytest_unconfigure() -> None:
    """All is told: a thread that a failed test left behind must not keep this process for ever."""
    faulthandler.dump_traceback_later(_LEAVE_S, exit=True, file=sys.__stderr__)


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


class Bench(Operator):
    """An operator with the moves that tests need."""

    def journal(self, kind: str | None = None) -> list[str]:
        """Names of the journal's entries, of one kind or all."""
        return [e.name for e in self.controller.parts.journal.entries() if kind in {None, e.kind}]

    def to_ready(self, job: Job) -> None:
        """Open the exam and press the first stage until READY."""
        self.controller.submit(Trigger.OPEN_EXAM, job=job)
        self.press(SwitchStage.RELEASED)
        self.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")
        self.press(SwitchStage.PREPARE)
        self.wait(lambda s: s.state is State.READY, "ready")

    def exposures(self) -> int:
        """What the generator has counted."""
        return self.controller.parts.equipment.generator.status().exposures

    def pass_time(self, seconds: float) -> None:
        """Step for that long."""
        clock = self.controller.parts.clock
        until = clock.now() + seconds
        while clock.now() < until:
            self.controller.step()
            clock.sleep(0.01)


MakeStation = Callable[..., Bench]


@pytest.fixture(scope="session")
def small_room() -> RoomFile:
    """The simulated room with a coarse panel: quick, and too coarse to be measured."""
    room = load_room("sim")
    detector = room.devices.detector.model_copy(update={"settings": SMALL_PANEL})
    devices = room.devices.model_copy(update={"detector": detector})
    return room.model_copy(update={"devices": devices})


@pytest.fixture(scope="session")
def calibration(small_room: RoomFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small room's calibration, made once."""
    folder = tmp_path_factory.mktemp("calibrated")
    controller = assemble(small_room, {}, folder, real_time=False)
    controller.start()
    calibrate(Operator(controller, quiet))
    controller.close()
    controller.parts.journal.close()
    return folder / "calibration"


@pytest.fixture
def make_station(tmp_path: Path, small_room: RoomFile, calibration: Path) -> Iterator[MakeStation]:
    """Makes started, calibrated stations on one disk."""
    made: list[Controller] = []

    def make(
        *faults: str,
        room: RoomFile | None = None,
        start: bool = True,
        hospital: Hospital | None = None,
        **simulation: Any,
    ) -> Bench:
        room = room or small_room
        shutil.copytree(calibration, tmp_path / "calibration", dirs_exist_ok=True)
        given = {**simulation, "faults": list(faults)}
        controller = assemble(room, given, tmp_path, real_time=False, hospital=hospital)
        made.append(controller)
        if start:
            controller.start()
        return Bench(controller, quiet)

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
