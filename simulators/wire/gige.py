"""Our X-ray frames over real GigE Vision: libaravis's own camera, hosted in this process.

Aravis brings a GigE Vision camera made for tests (GVCP server, GVSP sender, GenICam description) and asks for
the pixels of every frame through a callback. Behind it stands the room's `SimulatedDetector`, turned into a
panel that always integrates: a trigger reads the model out and arms it again before the frame leaves.

Facts found by trying (Aravis 0.8.26, loopback):

- the callback comes only after TriggerSoftware, on Aravis's one thread; while it runs no register is
  answered;
- triggers are looked for at the rate of `set_trigger_frequency` (25 a second by default), and the first one
  after AcquisitionStart up to 0.1 s late;
- a trigger written while nothing is acquired is kept and fires at the next AcquisitionStart;
- registers 0x118 and 0x11C are the sensor's height and width, in this order, in the camera's GenICam
  description;
- the camera listens on UDP port 3956 of an address that an interface of this machine has: one camera per
  address, and 127.0.0.2 is none. A second one there seems to run, but hears nothing: the port is tried first;
- lost packets are not sent again.

Quirks of the model seen over this wire: a window of it ends by itself after 60 s, what falls on the panel
after that is seen as lag only; while a frame is computed (0.05 to 0.7 s) radiation is seen as lag only.
"""

import ctypes
import socket
import threading
import time
from collections.abc import Mapping
from ctypes import byref
from typing import Any

import numpy as np

from drivers.aravis import Aravis, FillCallback
from simulators.detector import SimulatedDetector
from station.devices import BadSettings, DetectorState, DeviceError, NotConnected, Room
from station.frame import Pixels
from station.settings import Settings

_SENSOR_HEIGHT, _SENSOR_WIDTH = 0x118, 0x11C
_GVCP_PORT = 3956
_MONO16 = 0x01100007
_TRIGGER_HZ = (
    100.0  # a trigger waits 5 ms on average; the camera's thread spins the faster, the higher this is
)
_WINDOW_MS = 60_000.0  # the model's longest
_MODEL_S = 0.001  # arming and reading of the model: the wire's own times are what counts here
_STEP_DEADLINE_S = 2.0
_END_S = 10.0
_PACKET_SIZE = 1500  # Ethernet's; larger ones come in bursts that overflow a socket without CAP_NET_RAW


class GigeFace:
    """A GigE Vision camera on an address of this machine with a simulated panel behind it."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("gige", settings)
        read.only("address", "serial", "library", "rows", "columns", "spacing_mm", "seed", "start_timeout_s")
        self._address = read.text("address", "127.0.0.1")
        self._serial = read.text("serial", "XRAY-01")
        if len(self._serial.encode()) > 15:
            raise BadSettings(f"gige: serial={self._serial!r} given; allowed are up to 15 bytes")
        self._library_path = read.text("library", "")
        self._start_timeout_s = read.number("start_timeout_s", 5, 0, 600)
        model = {key: settings[key] for key in ("rows", "columns", "spacing_mm", "seed") if key in settings}
        self.model = SimulatedDetector(
            {**model, "serial": self._serial, "arming_s": _MODEL_S, "reading_s": _MODEL_S}, room
        )
        self._library: Aravis | None = None
        self._camera: int | None = None
        self._fill = FillCallback(self._on_frame)  # as long as the camera lives
        self._lock = threading.Lock()
        self._frames = 0
        self._shape = (0, 0)
        self.newest: Pixels | None = None  # as handed to the wire
        self.problem = ""  # why the newest frame is empty

    def start(self) -> None:
        """Host the camera. Raises `NotConnected` if the address is taken or no interface has it."""
        self.model.connect()
        info = self.model.info()
        self._shape = (info.rows, info.columns)
        library = self._library = Aravis(self._library_path)
        until_s = time.monotonic() + self._start_timeout_s
        camera = self._hosted(library)
        while camera is None and time.monotonic() < until_s:  # another one may be about to end
            time.sleep(0.05)
            camera = self._hosted(library)
        if camera is None:
            raise NotConnected(
                f"gige: no camera can be hosted on {self._address}: UDP port 3956 is in use there or no "
                "interface has that address; end the other camera or name another address"
            )
        self._read_out()  # the panel's maps are made now, not while a client waits for a register
        self._camera = camera
        inner = library.arv_gv_fake_camera_get_fake_camera(camera)
        library.arv_fake_camera_write_register(inner, _SENSOR_HEIGHT, info.rows)
        library.arv_fake_camera_write_register(inner, _SENSOR_WIDTH, info.columns)
        library.arv_fake_camera_set_trigger_frequency(inner, _TRIGGER_HZ)
        library.arv_fake_camera_set_fill_pattern(inner, self._fill, None)

    def _hosted(self, library: Aravis) -> int | None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            try:
                trial.bind((self._address, _GVCP_PORT))
            except OSError:
                return None
        camera = library.arv_gv_fake_camera_new(self._address.encode(), self._serial.encode())
        if library.arv_gv_fake_camera_is_running(camera):
            return camera
        library.unref(camera)
        return None

    def stop(self) -> None:
        """End the camera and its thread; a client sees silence."""
        camera, self._camera = self._camera, None
        if self._library is not None:
            ending = threading.Thread(target=self._library.unref, args=(camera,), daemon=True)
            ending.start()  # it waits for Aravis's thread, which may be stuck in C
            ending.join(_END_S)
        self.model.close()

    def lose_packets(self, share: float) -> None:
        """From now on drop that share of the stream's packets; 0 for none."""
        if self._library is not None and self._camera is not None:
            self._library.set_property(self._camera, "gvsp-lost-ratio", float(share))

    def config(self) -> dict[str, Any]:
        """Settings with which the driver `genicam` connects to this camera."""
        info = self.model.info()
        return {
            "address": self._address,
            "spacing_mm": info.spacing_mm[0],
            "lsb_per_ugy": info.lsb_per_ugy,
            "packet_size": _PACKET_SIZE,
        }

    def _on_frame(self, buffer: int, _data: int | None, _exposure_us: int, _gain: int, form: int) -> None:
        """Aravis's thread asks for pixels; nothing may be raised into C."""
        try:
            with self._lock:
                self._send(buffer, form)
        except Exception as error:  # noqa: BLE001  a thread's top: the frame is black, `problem` says why
            self.problem = repr(error)

    def _send(self, buffer: int, form: int) -> None:
        library = self._library
        if library is None:
            return
        address = library.arv_buffer_get_data(buffer, byref(ctypes.c_size_t()))
        shape = (library.arv_buffer_get_image_height(buffer), library.arv_buffer_get_image_width(buffer))
        if form != _MONO16 or any(asked > there for asked, there in zip(shape, self._shape, strict=True)):
            self.problem = (
                f"{shape} in format {form:#x} asked; this panel sends Mono16 of up to {self._shape}"
            )
            return
        ctypes.memset(address, 0, 2 * shape[0] * shape[1])  # never an earlier frame again
        pixels = np.ascontiguousarray(self._read_out()[: shape[0], : shape[1]])
        ctypes.memmove(address, pixels.ctypes.data, pixels.nbytes)
        self.newest, self.problem = pixels, ""

    def _read_out(self) -> Pixels:
        """What the panel collected since the last readout; it integrates again when this returns."""
        model = self.model
        if model.status().state is DetectorState.IDLE:
            self._arm()
        model.read_out()  # harmless if the window ended by itself
        self._reach(DetectorState.FRAME_HELD)
        frame = model.fetch()
        model.discard(self._uid)
        self._arm()
        return frame.pixels

    @property
    def _uid(self) -> str:
        return f"wire.{self._frames}"

    def _arm(self) -> None:
        self._frames += 1
        self.model.arm(self._uid, _WINDOW_MS)
        self._reach(DetectorState.READY)

    def _reach(self, state: DetectorState) -> None:
        until_s = time.monotonic() + _STEP_DEADLINE_S
        while self.model.status().state is not state:
            if time.monotonic() > until_s:
                raise DeviceError(f"the simulated panel is {self.model.status().state}, not {state}")
            time.sleep(0.0005)
