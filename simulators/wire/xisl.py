"""The simulated panel behind a stand-in for the vendor's XISL library.

The library is a file of C with the vendor's ABI, built with gcc into a folder when it is needed; a driver
loads it as it would load the vendor's. It lives in the driver's process: a vendor library is no wire between
processes.
Its pixels come from the room's simulated detector, kept integrating: each readout ends the model's window,
takes its frame and opens the next one. A readout before the model's first window is open gives a dark frame.

Quirks it has: callbacks on its own thread; a second acquisition is refused; no frame while the last one is
not acknowledged (SetReady); soft triggers are heard in trigger mode 3 only, and not by a panel that was left
alone for longer than `idle_s`; every error code that is scripted; calls that never return; frames that never
come or come uncalled.
"""

import ctypes
import shutil
import subprocess
import time
from collections.abc import Mapping
from ctypes import c_char_p, c_int, c_uint, c_ushort
from pathlib import Path
from typing import Any

import numpy as np

from simulators.detector import SimulatedDetector
from station.devices import BadSettings, DetectorState, NotConnected, Room
from station.frame import Pixels
from station.settings import Settings

SOURCE = Path(__file__).with_name("xisl.c")
_READOUT = ctypes.CFUNCTYPE(c_int, ctypes.POINTER(c_ushort), c_uint, c_uint)
_WINDOW_MS = 60_000.0  # the longest of the model; it is opened again when it ends
_NAME_LENGTH = 15  # the vendor's arrays hold 16 with the final zero
_MODEL_S = 5.0  # real time the model may take from one state to the next


def build(folder: Path, *options: str) -> Path:
    """The library, built into that folder unless it is there; raises `NotConnected`.

    `options` go to gcc. Each copy of the file is another panel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"libxisl{''.join(options)}.so"
    if library.exists() and library.stat().st_mtime >= SOURCE.stat().st_mtime:
        return library
    compiler = shutil.which("gcc")
    if compiler is None:
        raise NotConnected("gcc is not installed: the stand-in for the XISL library cannot be built")
    command = [compiler, "-shared", "-fPIC", "-O2", "-pthread", *options, "-o", str(library), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  a fixed command
    if done.returncode:
        raise NotConnected(f"the stand-in for the XISL library cannot be built: {done.stderr.strip()}")
    return library


class XislFace:
    """A panel of the room behind a library file; `start` before a driver loads it."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("simulated xisl", settings)
        read.only("folder", "rows", "columns", "spacing_mm", "serial", "seed", "transfer_ms", "idle_s")
        self._folder = Path(read.text("folder", ""))
        self._path = self._folder
        self._rows = read.whole("rows", 640, 64, 4400)
        self._columns = read.whole("columns", 512, 64, 4400)
        self._spacing_mm = read.number("spacing_mm", 0.2, 0.05, 0.25)
        self._serial = read.text("serial", "XRD-SIM")
        if not self._serial.isascii() or len(self._serial) > _NAME_LENGTH:
            raise BadSettings(
                f"{read.what}: serial={self._serial!r} given; allowed are {_NAME_LENGTH} characters"
            )
        self._transfer_ms = read.whole("transfer_ms", 0, 0, 10_000)
        self._idle_s = read.number("idle_s", 20, 0.01, 1000)
        panel = {
            "rows": self._rows,
            "columns": self._columns,
            "spacing_mm": self._spacing_mm,
            "serial": self._serial,
            "seed": settings.get("seed"),
            "arming_s": 0.001,
            "reading_s": 0.001,
        }
        self.model = SimulatedDetector(panel, room)
        self._windows = 0
        self._readout = _READOUT(self._read_out)
        self._library: Any = None

    def start(self, *options: str) -> None:
        """Build and load the library and let the model integrate. Raises `NotConnected`."""
        self._path = build(self._folder, *options)
        self._library = library = ctypes.CDLL(str(self._path))
        library.sim_xisl_panel.argtypes = (c_uint, c_uint, c_char_p, _READOUT)
        library.sim_xisl_script.argtypes = (c_char_p, c_uint)
        library.sim_xisl_behave.argtypes = (c_char_p, c_uint)
        library.sim_xisl_hang.argtypes = (c_char_p,)
        library.sim_xisl_panel(self._rows, self._columns, self._serial.encode("ascii"), self._readout)
        self.behave("transfer_ms", self._transfer_ms)
        self.behave("idle_ms", round(self._idle_s * 1000))
        self.model.connect()
        self._integrate()

    def stop(self) -> None:
        """Unplug the model: the library stays loaded and gives black frames."""
        if self._library is not None:
            self.hang("")
            self._library.sim_xisl_panel(self._rows, self._columns, self._serial.encode("ascii"), _READOUT())
        self.model.close()

    def config(self) -> dict[str, Any]:
        """Settings of a `varex-xisl` detector that finds this panel."""
        return {
            "library": str(self._path),
            "address": f"name:{self._serial}",
            "rows": self._rows,
            "columns": self._columns,
            "spacing_mm": self._spacing_mm,
            "gain": 1,
            "lsb_per_ugy": self.model.info().lsb_per_ugy,
        }

    # --- faults ---

    def script(self, function: str, code: int) -> None:
        """The next call of Acquisition_<function> returns that code and does nothing."""
        self._library.sim_xisl_script(f"Acquisition_{function}".encode("ascii"), code)

    def unplug(self, code: int = 6) -> None:
        """Every call that needs the panel returns that code; 0 plugs it in again."""
        self.behave("unreachable", code)

    def hang(self, function: str) -> None:
        """Calls of Acquisition_<function> do not return until another one hangs."""
        self._library.sim_xisl_hang(f"Acquisition_{function}".encode("ascii") if function else b"")

    def behave(self, what: str, value: int) -> None:
        """Set drop_frames, extra_frames, late_frames, transfer_ms, idle_ms, present, data_type.

        `end_acquisition` ends one now, with that error code.
        """
        self._library.sim_xisl_behave(what.encode("ascii"), value)

    def calls(self) -> list[str]:
        """Names of the vendor functions called since the last time this was asked, at most 256."""
        text = ctypes.create_string_buffer(16384)
        self._library.sim_xisl_calls(text, c_uint(len(text)))
        return text.value.decode("ascii").split()

    # --- the model ---

    def _integrate(self) -> None:
        self._windows += 1
        self.model.arm(f"readout-{self._windows}", _WINDOW_MS)
        self._wait(DetectorState.READY)

    def _read_out(self, into: Any, rows: int, columns: int) -> int:
        """Called on the library's thread; 0 for a frame, 1 for none. Never raises."""
        try:
            pixels = self._frame()
            np.ctypeslib.as_array(into, (rows, columns))[:] = pixels
        except Exception:  # noqa: BLE001  a foreign thread's top: nothing may reach the library
            return 1
        return 0

    def _frame(self) -> Pixels:
        self.model.read_out()
        self._wait(DetectorState.FRAME_HELD)
        pixels = self.model.fetch().pixels
        self.model.discard(f"readout-{self._windows}")
        self._integrate()
        return pixels

    def _wait(self, state: DetectorState) -> None:
        deadline = time.monotonic() + _MODEL_S
        while self.model.status().state is not state:
            if time.monotonic() > deadline:
                raise NotConnected(f"the simulated detector does not become {state}")
            time.sleep(0.001)
