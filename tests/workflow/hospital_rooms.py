"""A station beside a simulated hospital: an exam from its order to what the hospital received."""

import shutil
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pydicom

from simulators.pacs import Hospital as SimulatedHospital
from station.assembly import assemble
from station.case import Job
from station.config import RoomFile
from station.controller import Controller
from station.devices import SwitchStage
from station.exam import Exam, WorklistItem, new_uid
from station.hospital import Hospital
from station.liaison import Liaison, connected
from station.operate import Operator
from station.outbox.job import Job as Delivery
from station.states import State, Trigger


@dataclass
class Beside:
    """One station's folder, room and hospital; a station is started, used and closed by each call."""

    folder: Path
    room: RoomFile
    calibration: Path
    peers: SimulatedHospital
    hospital: Hospital

    @contextmanager
    def station(
        self, *, delivering: bool = True, **simulation: Any
    ) -> Generator[tuple[Operator, Liaison | None]]:
        """A started station; with or without its threads to the hospital."""
        shutil.copytree(self.calibration, self.folder / "calibration", dirs_exist_ok=True)
        controller = assemble(self.room, simulation, self.folder, real_time=False, hospital=self.hospital)
        with ExitStack() as stack:
            stack.callback(controller.parts.journal.close)
            stack.callback(controller.close)
            parts = controller.parts
            way = connected(parts.dispatch, parts.journal, self.folder) if delivering else None
            liaison = stack.enter_context(way) if way else None
            controller.start()
            yield Operator(controller, lambda _: None), liaison

    def changed(self, **update: Any) -> "Beside":
        """The same with another hospital file."""
        return replace(self, hospital=self.hospital.model_copy(update=update))

    def archived(self, **update: Any) -> "Beside":
        """The same with other settings of the archive."""
        archive = self.hospital.archives["pacs"].model_copy(update=update)
        return self.changed(archives={"pacs": archive})


def job_of(controller: Controller, item: WorklistItem) -> Job:
    protocol = controller.parts.setting.protocol
    exam = Exam(new_uid(), item, protocol.id, controller.parts.clock.wall(), "medium")
    return Job(exam, protocol.technique("medium"))


def expose(operator: Operator, item: WorklistItem) -> Exam:
    """From the order to the review of an image."""
    job = job_of(operator.controller, item)
    operator.expose(job)
    operator.wait(lambda s: s.outcome is not None, "analysis")
    return job.exam


def accept(operator: Operator, **detail: Any) -> None:
    operator.controller.submit(Trigger.ACCEPT, by="operator", **detail)
    done = operator.wait(lambda s: s.state is State.STANDBY, "standby", 60)
    assert done.finished is not None, done.message


def retake(operator: Operator, reason: str) -> None:
    """Reject, and expose again."""
    operator.controller.submit(Trigger.REJECT, reason=reason, by="operator")
    operator.wait(lambda s: s.view.readiness is not None and s.view.readiness.ready, "readiness")
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.state is State.REVIEW and s.outcome is not None, "the second analysis")
    operator.press(SwitchStage.RELEASED)


def until(liaison: Liaison, so: Callable[[tuple[Delivery, ...]], bool], seconds: float = 30) -> None:
    """Wait for the outbox to be so, and say what it is if it never is."""
    deadline = monotonic() + seconds
    while not so(liaison.outbox.jobs()):
        assert monotonic() < deadline, [(job.id, job.state, job.error) for job in liaison.outbox.jobs()]
        sleep(0.02)


def heads(folder: Path, name: str = "*.dcm") -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob(name))]
