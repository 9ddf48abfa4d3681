"""GenICam flat panel: detector over GigE Vision.

Any panel that speaks GigE Vision with a GenICam description, has a software trigger and an unpacked mono
format of more than 8 bits; through Aravis 0.8 (`libaravis-0.8-0`), without GTK and PyGObject.

The conversation
----------------
GVCP (UDP port 3956, register reads and writes, each answered; Aravis asks again after 0.5 s, six times):

- connect: find the camera, take control (privilege register 0x0A00), clear all triggers, set PixelFormat,
  region, AcquisitionMode=Continuous, TriggerMode=On with TriggerSource=Software, and read format and region
  back. Trigger settings outlive a client, so they are never taken for granted.
- a window: AcquisitionStart, then TriggerSoftware for the clearing readout and again for the exposure's,
  AcquisitionStop once the frame is here. A triggered camera left acquiring for long is known to drop packets
  (Aravis issue 818), so it acquires only while a window is open.
- Aravis keeps the control alive once a second; the driver itself reads the privilege register every 0.1 s: a
  camera that rebooted or was taken over answers with another privilege, a dead one not at all.

GVSP (UDP to a port of ours): leader, data, trailer for each frame. A frame is taken only if Aravis calls it a
success (every packet came) and size and pixel format are as set. Every window has a stream, so a port, of its
own; only a clearing frame that is known to be lost is triggered again on the same one. With CAP_NET_RAW
Aravis reads packets past the socket, which loses none under load; without it let net.core.rmem_max be 4 MB or
more.

Silence: a register that is not answered in about 3 s, or control lost, closes the camera; it is opened again
by itself. An open window's frame is then lost.

A panel integrates between readouts; `drivers.panel` says what follows from that.

Sources: GigE Vision and GenICam SFNC names as used by Aravis (LGPL), its public headers and issue tracker.

Inferred
--------
- INFERRED: TriggerSoftware reads the panel out at once and starts the next integration; true of panels with
  one readout per trigger, wrong for one that starts a fixed exposure at its trigger
- INFERRED: a camera does not execute a repeated GVCP write twice; if it does, the second frame ends the
  window
- MEMORY: Mono12 and Mono14 are unpacked and aligned to the least significant bit
- MEMORY: pixel data is little-endian
- MEMORY: the node DeviceTemperature, where there is one, is the panel's temperature in °C
"""

import ctypes
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from ctypes import byref
from dataclasses import dataclass
from typing import Any

from drivers import aravis
from drivers.aravis import Aravis, AravisError
from drivers.gvsp import GvspImage, GvspStream
from drivers.panel import IntegratingPanel
from drivers.panel_source import TIMING_KEYS, Arrived, Orientation, PanelFacts, Timing
from station.devices import BadSettings, CommunicationLost, DetectorInfo, NotConnected, Room
from station.settings import Settings

_FORMATS = {"Mono16": (0x01100007, 16), "Mono14": (0x01100025, 14), "Mono12": (0x01100005, 12)}  # PFNC
_PRIVILEGE_REGISTER = 0x0A00  # GigE Vision bootstrap: control channel privilege
_IN_CONTROL = 0b11  # exclusive or control access
_TEMPERATURE = b"DeviceTemperature"  # SFNC
_OTHER_GONE_S = 4.0  # a program that ended without a word keeps control for the heartbeat's 3 s
_ASK_AGAIN_S = 0.3


@dataclass(frozen=True, slots=True)
class _Wanted:
    address: str  # IP, name or serial; empty for the first camera found
    library: str
    pixel_format: str
    rows: int  # 0 for the whole sensor
    columns: int
    spacing_mm: float
    lsb_per_ugy: float
    saturation: float  # 0 for the format's largest value
    packet_size: int  # 0: Aravis negotiates it
    packet_delay_ns: int
    packet_timeout_ms: int
    frame_retention_ms: int
    orientation: Orientation

    @classmethod
    def read(cls, read: Settings) -> "_Wanted":
        pixel_format = read.text("pixel_format", "Mono16")
        if pixel_format not in _FORMATS:
            raise BadSettings(
                f"{read.what}: pixel_format={pixel_format!r} given; allowed are {', '.join(_FORMATS)}"
            )
        spacing_mm = read.number("spacing_mm", 0, 0.02, 1)
        if not spacing_mm:
            raise BadSettings(
                f"{read.what}: spacing_mm is missing; GenICam does not tell it, take the pixel pitch in mm "
                "from the panel's data sheet"
            )
        return cls(
            read.text("address", ""),
            read.text("library", ""),
            pixel_format,
            read.whole("rows", 0, 16, 8192),
            read.whole("columns", 0, 16, 8192),
            spacing_mm,
            read.number("lsb_per_ugy", 1000, 1, 1e5),
            read.number("saturation", 0, 255, 65535),
            read.whole("packet_size", 0, 576, 65500),
            read.whole("packet_delay_ns", 0, 0, 1_000_000),
            read.whole("packet_timeout_ms", 40, 1, 1000),
            read.whole("frame_retention_ms", 200, 10, 10_000),
            Orientation.read(read),
        )


_KEYS = (
    "address",
    "library",
    "pixel_format",
    "rows",
    "columns",
    "spacing_mm",
    "lsb_per_ugy",
    "saturation",
    "packet_size",
    "packet_delay_ns",
    "packet_timeout_ms",
    "frame_retention_ms",
    "rotate",
    "mirror",
    *TIMING_KEYS,
)


class GenicamDetector(IntegratingPanel):
    """Satisfies `station.devices.Detector`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("genicam", settings)
        read.only(*_KEYS)
        timing = Timing.read(read)
        super().__init__("genicam", _AravisSource(_Wanted.read(read)), room.clock, timing)


class _AravisSource:
    """Satisfies `drivers.panel_source.Source`."""

    def __init__(self, wanted: _Wanted) -> None:
        self._wanted = wanted
        self._loaded: Aravis | None = None
        self._camera: int | None = None
        self._image: GvspImage | None = None
        self._stream: GvspStream | None = None
        self._answers = True  # False: telling it anything more only costs time
        self._tells_temperature = False
        self._control_lost = threading.Event()
        self._on_control_lost = aravis.SignalCallback(self._note_control_lost)
        self._signal: tuple[int, int] | None = None  # device and handler

    @property
    def _library(self) -> Aravis:
        if self._loaded is None:
            self._loaded = Aravis(self._wanted.library)
        return self._loaded

    def open(self) -> PanelFacts:
        library = self._library
        until_s = time.monotonic() + _OTHER_GONE_S
        while not self._take_control() and time.monotonic() < until_s:
            time.sleep(_ASK_AGAIN_S)
        if not self._camera:
            raise NotConnected("genicam: another program controls the camera; end it and connect again")
        self._answers = True
        with self._said("setting the camera up"):
            self._watch_control()
            self._image = self._set_up()
            self._tells_temperature = bool(
                library.arv_camera_is_feature_available(self._camera, _TEMPERATURE)
            )
            self._stream = self._new_stream(self._camera, self._image)
            return self._facts(self._image)

    def _take_control(self) -> bool:
        """False if another program has it, perhaps one that has just ended. Raises `NotConnected`."""
        self.close()
        library, address = self._library, self._wanted.address
        try:
            self._camera = library.arv_camera_new(address.encode() or None)
        except AravisError as error:
            where = f"at {address}" if address else "on any interface"
            raise NotConnected(
                f"genicam: no camera {where} that can be controlled ({error}); check power, cable and "
                "address, and that no other program controls it"
            ) from error
        if not self._camera or not library.arv_camera_is_gv_device(self._camera):
            raise NotConnected("genicam: no GigE Vision camera found; check power, cable and address")
        if library.arv_gv_device_is_controller(library.arv_camera_get_device(self._camera)):
            return True
        self.close()
        return False

    def _watch_control(self) -> None:
        library = self._library
        self._control_lost.clear()
        device = library.arv_camera_get_device(self._camera)
        handler = library.g_signal_connect_data(device, b"control-lost", self._on_control_lost, None, None, 0)
        self._signal = (device, handler)

    def _note_control_lost(self, _camera: int | None, _data: int | None) -> None:
        """Runs on Aravis's heartbeat thread."""
        self._control_lost.set()

    def _set_up(self) -> GvspImage:
        library, wanted, camera = self._library, self._wanted, self._camera
        code, _ = _FORMATS[wanted.pixel_format]
        width, height = ctypes.c_int(), ctypes.c_int()
        library.arv_camera_clear_triggers(camera)
        library.arv_camera_set_pixel_format_from_string(camera, wanted.pixel_format.encode())
        library.arv_camera_get_sensor_size(camera, byref(width), byref(height))
        columns, rows = wanted.columns or width.value, wanted.rows or height.value
        if rows > height.value or columns > width.value:
            raise NotConnected(
                f"genicam: {rows} x {columns} asked, the sensor has {height.value} x {width.value}; "
                "correct rows and columns"
            )
        library.arv_camera_set_region(camera, 0, 0, columns, rows)
        library.arv_camera_set_acquisition_mode(camera, aravis.CONTINUOUS)
        library.arv_camera_set_trigger(camera, b"Software")
        if wanted.packet_size:
            library.arv_camera_gv_set_packet_size(camera, wanted.packet_size)
        if wanted.packet_delay_ns:
            library.arv_camera_gv_set_packet_delay(camera, wanted.packet_delay_ns)
        x, y = ctypes.c_int(), ctypes.c_int()
        library.arv_camera_get_region(camera, byref(x), byref(y), byref(width), byref(height))
        image = GvspImage(rows, columns, code, wanted.orientation)
        given = library.arv_camera_get_pixel_format(camera)
        size = library.arv_camera_get_payload(camera)
        if (height.value, width.value, given) != (rows, columns, code) or size < image.size:
            raise NotConnected(
                f"genicam: {rows} x {columns} {wanted.pixel_format} ({code:#x}) asked, the camera gives "
                f"{height.value} x {width.value} in format {given:#x}; correct rows, columns, pixel_format"
            )
        return image

    def _facts(self, image: GvspImage) -> PanelFacts:
        library, wanted = self._library, self._wanted
        maker = library.arv_camera_get_vendor_name(self._camera).decode(errors="replace")
        model = library.arv_camera_get_model_name(self._camera).decode(errors="replace")
        serial = library.arv_camera_get_device_serial_number(self._camera) or b""
        bits = _FORMATS[wanted.pixel_format][1]
        rows, columns = wanted.orientation.shape(image.rows, image.columns)
        spacing_mm = (wanted.spacing_mm, wanted.spacing_mm)
        name = f"{maker} {model}"
        return PanelFacts(
            DetectorInfo(
                name, serial.decode(errors="replace"), rows, columns, spacing_mm, bits, wanted.lsb_per_ugy
            ),
            name,
            wanted.saturation or float(2**bits - 1),
            history=wanted.orientation.history(),
        )

    def start(self, arrived: Arrived) -> None:
        with self._said("starting the acquisition"):
            stream = self._stream
            if stream is not None and stream.arrived is not None and stream.triggered == stream.finished:
                stream.arrived = arrived  # its socket has grown meanwhile: see `drivers.gvsp`
                return
            if stream is None or stream.arrived is not None:
                self.stop()
            if self._stream is None:
                raise CommunicationLost("genicam: the camera is closed; connect again")
            self._stream.arrived = arrived
            self._library.arv_camera_start_acquisition(self._camera)

    def trigger(self) -> None:
        if self._stream is None:
            raise CommunicationLost("genicam: the camera is closed; connect again")
        self._stream.triggered += 1
        with self._said("triggering a readout"):
            self._library.arv_camera_software_trigger(self._camera)

    def stop(self) -> None:
        """Stop, and make the next window's stream now: that takes longer than a command may."""
        if self._camera is None or self._image is None:
            return
        with self._said("stopping the acquisition"):
            self._library.arv_camera_stop_acquisition(self._camera)
            self._drop_stream()
            self._stream = self._new_stream(self._camera, self._image)

    def poll(self) -> float | None:
        if self._control_lost.is_set() or self._camera is None:
            self._answers = False
            raise CommunicationLost("genicam: control of the camera was lost")
        privilege = ctypes.c_uint32()
        with self._said("asking who controls the camera"):
            device = self._library.arv_camera_get_device(self._camera)
            self._library.arv_device_read_register(device, _PRIVILEGE_REGISTER, byref(privilege))
            if not privilege.value & _IN_CONTROL:
                raise CommunicationLost("genicam: the camera was restarted or taken over by another program")
            if not self._tells_temperature:
                return None
            return float(self._library.arv_camera_get_float(self._camera, _TEMPERATURE))

    def close(self) -> None:
        if self._camera is None:
            return
        if self._answers and self._stream is not None and self._stream.arrived is not None:
            with suppress(AravisError):
                self._library.arv_camera_stop_acquisition(self._camera)
        self._drop_stream()
        if self._signal is not None:
            self._library.g_signal_handler_disconnect(*self._signal)
        self._library.unref(self._camera)
        self._camera = self._signal = self._image = None

    @contextmanager
    def _said(self, doing: str) -> Generator[None]:
        """Aravis's errors in the station's words."""
        try:
            yield
        except AravisError as error:
            self._answers = False
            raise CommunicationLost(
                f"genicam: {doing} failed: {error}; check the panel's power and cable"
            ) from error

    def _new_stream(self, camera: int, image: GvspImage) -> GvspStream:
        wanted = self._wanted
        return GvspStream(self._library, camera, image, wanted.packet_timeout_ms, wanted.frame_retention_ms)

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
