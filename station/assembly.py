"""The composition root: a room file becomes a controller that is ready to start."""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from station.clock import RealClock, VirtualClock
from station.conduct import Parts
from station.config import RoomFile, build
from station.controller import Controller
from station.dispatch import Dispatch
from station.dossier import Books
from station.hospital import Hospital
from station.issue import load
from station.journal import Journal
from station.outbox.queue import Outbox
from station.pipeline import Setting
from station.protocols import load_protocol, load_reference
from station.spool import Spool
from station.study import Equipment


class Inline(Executor):
    """Runs at once in the caller's thread: with a virtual clock, time stands still while work is done."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  as every executor: the future carries it to whoever asks
            future.set_exception(error)
        return future


_NOBODY = Hospital(name="none", ae_title="DXRSTATION")  # nobody is told of anything


def assemble(
    room: RoomFile,
    simulation: Mapping[str, Any],
    folder: Path,
    *,
    real_time: bool,
    hospital: Hospital | None = None,
) -> Controller:
    """Make a station that keeps everything in `folder`; without a hospital nothing leaves it.

    Raises
    ------
    BadFile, UnknownDriver, BadSettings
        What was asked cannot be built.
    """
    equipment, clock = build(room, simulation, real_time=real_time)
    books = books_of(room, folder, hospital)
    executor = Inline() if isinstance(clock, VirtualClock) else ThreadPoolExecutor(1, "pipeline")
    if isinstance(clock, RealClock):
        executor.submit(load)
    parts = Parts(
        room=room,
        equipment=equipment,
        clock=clock,
        spool=books.spool,
        journal=Journal(folder / "journal.db"),
        calibration=folder / "calibration",
        setting=books.setting,
        executor=executor,
        dispatch=books.dispatch,
    )
    return Controller(parts)


def books_of(room: RoomFile, folder: Path, hospital: Hospital | None) -> Books:
    """What a station keeps in `folder`, without its devices. Raises `BadFile`."""
    protocol = load_protocol(room.protocol)
    site = Equipment(
        manufacturer=room.site.manufacturer,
        model=room.site.model,
        serial=room.site.serial,
        station_name=room.site.station_name,
        institution=room.site.institution,
        focal_spot_mm=room.site.focal_spot_mm,
    )
    setting = Setting(protocol, load_reference(protocol.analysis.reference), site, room.site.paper)
    spool = Spool(folder / "spool")
    outbox = Outbox(folder, RealClock())  # the hospital's time is real
    return Books(spool, setting, Dispatch(hospital or _NOBODY, outbox, spool, site))
