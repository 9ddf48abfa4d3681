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
own.

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
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from ctypes import byref
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers import aravis
from drivers.aravis import Aravis, AravisError
from drivers.panel import IntegratingPanel
from drivers.panel_source import Arrived, Lost, Orientation, PanelFacts, Timing
from station.devices import BadSettings, CommunicationLost, DetectorInfo, NotConnected, Room
from station.settings import Settings

_FORMATS = {"Mono16": (0x01100007, 16), "Mono14": (0x01100025, 14), "Mono12": (0x01100005, 12)}  # PFNC
_PRIVILEGE_REGISTER = 0x0A00  # GigE Vision bootstrap: control channel privilege
_IN_CONTROL = 0b11  # exclusive or control access
_BUFFERS = 2
_TEMPERATURE = b"DeviceTemperature"  # SFNC


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
    "frame_timeout_s",
    "connect_timeout_s",
    "command_timeout_s",
    "clearing_frames",
)


class GenicamDetector(IntegratingPanel):
    """Satisfies `station.devices.Detector`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("genicam", settings)
        read.only(*_KEYS)
        timing = Timing(
            frame_s=read.number("frame_timeout_s", 5, 0.1, 60),
            connect_s=read.number("connect_timeout_s", 10, 1, 60),
            command_s=read.number("command_timeout_s", 2, 0.1, 10),
            clears=read.whole("clearing_frames", 1, 1, 10),
        )
        super().__init__("genicam", _AravisSource(_Wanted.read(read)), room.clock, timing)


@dataclass(frozen=True, slots=True)
class _Image:
    """What a buffer must hold to be a frame."""

    rows: int
    columns: int
    pixel_format: int
    orientation: Orientation

    @property
    def size(self) -> int:
        """In bytes."""
        return 2 * self.rows * self.columns


class _AravisSource:
    """Satisfies `drivers.panel_source.Source`."""

    def __init__(self, wanted: _Wanted) -> None:
        self._wanted = wanted
        self._loaded: Aravis | None = None
        self._camera: int | None = None
        self._image: _Image | None = None
        self._stream: _Stream | None = None
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
        self.close()
        library, wanted = self._library, self._wanted
        try:
            self._camera = library.arv_camera_new(wanted.address.encode() or None)
        except AravisError as error:
            where = f"at {wanted.address}" if wanted.address else "on any interface"
            raise NotConnected(
                f"genicam: no camera {where} that can be controlled ({error}); check power, cable and "
                "address, and that no other program controls it"
            ) from error
        if not self._camera or not library.arv_camera_is_gv_device(self._camera):
            raise NotConnected("genicam: no GigE Vision camera found; check power, cable and address")
        if not library.arv_gv_device_is_controller(library.arv_camera_get_device(self._camera)):
            raise NotConnected(
                "genicam: another program controls the camera; end it, or wait 3 s after its end"
            )
        self._answers = True
        with self._said("setting the camera up"):
            self._watch_control()
            self._image = self._set_up()
            self._tells_temperature = bool(
                library.arv_camera_is_feature_available(self._camera, _TEMPERATURE)
            )
            self._stream = _Stream(library, self._camera, self._image, wanted)
            return self._facts(self._image)

    def _watch_control(self) -> None:
        library = self._library
        self._control_lost.clear()
        device = library.arv_camera_get_device(self._camera)
        handler = library.g_signal_connect_data(device, b"control-lost", self._on_control_lost, None, None, 0)
        self._signal = (device, handler)

    def _note_control_lost(self, _camera: int | None, _data: int | None) -> None:
        """Runs on Aravis's heartbeat thread."""
        self._control_lost.set()

    def _set_up(self) -> _Image:
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
        image = _Image(rows, columns, code, wanted.orientation)
        given = library.arv_camera_get_pixel_format(camera)
        size = library.arv_camera_get_payload(camera)
        if (height.value, width.value, given) != (rows, columns, code) or size < image.size:
            raise NotConnected(
                f"genicam: {rows} x {columns} {wanted.pixel_format} ({code:#x}) asked, the camera gives "
                f"{height.value} x {width.value} in format {given:#x}; correct rows, columns, pixel_format"
            )
        return image

    def _facts(self, image: _Image) -> PanelFacts:
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
            stream = self._fresh_stream()
            stream.arrived = arrived
            self._library.arv_camera_start_acquisition(self._camera)

    def _fresh_stream(self) -> "_Stream":
        if self._stream is None or self._stream.arrived is not None:
            self.stop()
        if self._stream is None:
            raise CommunicationLost("genicam: the camera has no stream; connect again")
        return self._stream

    def trigger(self) -> None:
        with self._said("triggering a readout"):
            self._library.arv_camera_software_trigger(self._camera)

    def stop(self) -> None:
        """Stop, and make the next window's stream now: that takes longer than a command may."""
        if self._camera is None or self._image is None:
            return
        with self._said("stopping the acquisition"):
            self._library.arv_camera_stop_acquisition(self._camera)
            self._drop_stream()
            self._stream = _Stream(self._library, self._camera, self._image, self._wanted)

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

    def _drop_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


class _Stream:
    """One GVSP stream with its buffers; its callback runs on a thread of Aravis."""

    def __init__(self, library: Aravis, camera: int, image: _Image, wanted: _Wanted) -> None:
        self._library, self._image = library, image
        self.arrived: Arrived | None = None
        self._callback = aravis.StreamCallback(self._happened)  # alive as long as the stream
        self._handle = library.arv_camera_create_stream(camera, self._callback, None)
        for name, value in (
            ("socket-buffer", aravis.AUTOMATIC),  # else 0.2 MB, too little for a burst
            ("packet-timeout", 1000 * wanted.packet_timeout_ms),  # µs
            ("frame-retention", 1000 * wanted.frame_retention_ms),
        ):
            library.set_property(self._handle, name, value)
        for _ in range(_BUFFERS):
            library.arv_stream_push_buffer(self._handle, library.arv_buffer_new_allocate(image.size))

    def close(self) -> None:
        """Ends Aravis's thread; no callback comes afterwards."""
        self.arrived = None
        self._library.unref(self._handle)

    def _happened(self, _data: int | None, kind: int, _buffer: int | None) -> None:
        arrived = self.arrived
        if kind != aravis.BUFFER_DONE or arrived is None:
            return
        try:
            arrived(self._taken())
        except Exception as error:  # noqa: BLE001  Aravis's thread: nothing may be raised into C
            arrived(Lost(f"the frame could not be copied: {error!r}"))

    def _taken(self) -> Any:
        buffer = self._library.arv_stream_try_pop_buffer(self._handle)
        if not buffer:
            return Lost("the frame was gone before it could be copied")
        try:
            return self._copied(buffer)
        finally:
            self._library.arv_stream_push_buffer(self._handle, buffer)

    def _copied(self, buffer: int) -> Any:
        library, image = self._library, self._image
        status = library.arv_buffer_get_status(buffer)
        if status != aravis.SUCCESS:
            return Lost(f"the frame came incomplete: {aravis.BUFFER_STATUS.get(status, status)}")
        shape = (library.arv_buffer_get_image_height(buffer), library.arv_buffer_get_image_width(buffer))
        size = ctypes.c_size_t()
        address = library.arv_buffer_get_image_data(buffer, byref(size))
        pixel_format = library.arv_buffer_get_image_pixel_format(buffer)
        if (
            shape != (image.rows, image.columns)
            or pixel_format != image.pixel_format
            or size.value < image.size
        ):
            return Lost(f"a frame of {shape[0]} x {shape[1]} in format {pixel_format:#x} came, not as set")
        memory = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint16))
        return image.orientation.seen(np.ctypeslib.as_array(memory, shape))
