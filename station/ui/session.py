"""One working session at the terminal: station, hospital and screens started, and ended in the right order.

The screens may fail or be closed at any moment: the station's thread goes on until an exposure under way is
on disk. Screens that failed are shown again, with what happened; the station does not notice.
"""

import gc
import signal
import sys
import termios
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from station.assembly import assemble
from station.attended import Attended
from station.calibrate import calibrate, give_up, said
from station.config import load_room
from station.hospital import Hospital, load_hospital
from station.keys import load_keys
from station.liaison import connected
from station.operators import load_operators
from station.states import State
from station.ui.app import StationApp
from station.ui.picture import Pictures, way_of
from station.ui.tty import Tty, is_there

_SCREENS = 5  # so often they are shown again after they failed
_SWITCH_S = 0.001  # of the interpreter between threads: screens wait that long for the station's


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line."""

    room: str
    simulation: Mapping[str, Any]
    folder: Path
    operators: Path | None
    keys: Path | None
    hint: str
    pictures: Pictures = "auto"


def work(stack: ExitStack, wish: Wish, hospital: Hospital | None) -> int:
    """Until the people leave. Raises `BadFile`, `BadSettings`, `UnknownDriver`; 4 if the screens failed."""
    keys = load_keys(wish.keys)
    operators = load_operators(str(wish.operators)) if wish.operators else None
    room = load_room(wish.room)
    peers = hospital or (load_hospital(room.hospital) if room.hospital else None)
    pictures = way_of(wish.pictures)
    sys.setswitchinterval(_SWITCH_S)
    controller = assemble(room, wish.simulation, wish.folder, real_time=True, hospital=peers)
    parts = controller.parts
    liaison = stack.enter_context(connected(parts.dispatch, parts.journal, wish.folder)) if peers else None
    attended = Attended(controller, liaison, first=calibrate_if_missing)
    sign_in = operators.sign_in if operators else None
    gc.freeze()  # what stays to the end: to look all of it through for garbage stops every thread for 0.1 s
    with attended.running():
        for _ in range(_SCREENS):
            app = StationApp(attended, sign_in, keys, wish.hint, pictures)
            app.driver_class = Tty
            _leave_in_order(app)
            _forget_what_was_typed()
            app.run()
            if app.return_code == 0:
                return 0
            if not is_there():
                break
            attended.news = "the screens failed and were started again; the station went on"
            where = ("device", "screens-failed")
            parts.journal.record(where, attended.snapshot.state, parts.clock.wall(), None, {})
    return 4


def _forget_what_was_typed() -> None:
    """Before there is a screen no key means anything; a terminal's late answer would be taken for keys."""
    with suppress(termios.error, OSError):  # no terminal, or it has just gone
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _leave_in_order(app: StationApp) -> None:
    """Also when the connection breaks or the machine goes down: the exposure under way comes first."""

    def leave(number: int, frame: FrameType | None) -> None:
        del number, frame
        app.call_later(app.exit)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def calibrate_if_missing(attended: Attended) -> None:
    """In a room that says so, the panel is calibrated before the first exam."""
    run = attended.parts.room.calibration
    ready = attended.snapshot.state is State.STANDBY
    if ready and run.at_start_if_missing and attended.controller.conduct.lookout.maps is None:
        attended.begin("calibration", calibrate, steps=said(attended.controller), give_up=give_up)
