"""GenICam flat panel: detector over any GenTL producer (.cti), by harvesters.

For panels whose maker ships a GenTL producer instead of speaking plain GigE Vision. Needs the extra `gentl`
(harvesters and genicam).

The conversation
----------------
- connect: load the producer, find the device, open it, set PixelFormat and size, TriggerSelector=FrameStart,
  TriggerMode=On, TriggerSource=Software, and read format and size back.
- a window: AcquisitionStart with fresh buffers, TriggerSoftware for the clearing readout and again for the
  exposure's, AcquisitionStop once the frame is here. Buffers are copied and given back at once.
- every 0.1 s a node is read past GenApi's cache.

`trigger: free-run`, for producers without trigger nodes, must be asked for. The device then runs by itself
and "reading out" takes the next whole frame that comes. Such a frame is not bound to the exposure: it was
integrated for one frame period, not since the panel was cleared, and part of the radiation may lie in other
frames. It proves the line, it is no radiograph; so the frame says `scale_known=False`, from which no length
is computed, and the model's name and the frame's history say "free-running".

Mono8 is accepted and widened to 16 bit; 8 bit are too few for bone density.

Silence: harvesters throws incomplete buffers away, so a lost frame shows as one that never comes. An error of
producer or node closes the device; it is opened again by itself.

The `genicam` package keeps Python's global lock while it waits inside a producer (found by trying: genicam
1.6, harvesters 1.4.3), and every thread of the process with it. So harvesters and the producer run in a
process of their own (`drivers.apart`); one that does not come back is ended and started anew.

Sources: GenICam SFNC and GenTL standard names; harvesters (Apache-2.0); the producer in the genicam wheel.

Inferred
--------
- INFERRED: TriggerSoftware reads the panel out at once and starts the next integration
- INFERRED: a dead device makes reading a node past the cache fail; the producer we have never dies
- INFERRED: the software trigger itself; the producer we have has no trigger nodes, only free-run is proven
- MEMORY: Mono10 to Mono14 are unpacked and aligned to the least significant bit
- MEMORY: the node DeviceTemperature, where there is one, is the panel's temperature in °C
"""

import logging
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.apart import Apart
from drivers.panel import IntegratingPanel
from drivers.panel_source import TIMING_KEYS, Arrived, Lost, Orientation, PanelFacts, Timing
from station.devices import BadSettings, CommunicationLost, DetectorInfo, DeviceError, NotConnected, Room
from station.frame import Pixels
from station.settings import Settings

_FORMATS = {"Mono16": 16, "Mono14": 14, "Mono12": 12, "Mono10": 10, "Mono8": 8}  # bits
_TRIGGERS = ("software", "free-run")
_BUFFERS = 3
_WAIT_MS = 5  # in the producer, with Python's global lock held: nodes are read in between
_PAUSE_S = 0.001  # between two such waits
_FREE_RUN = "free-running: the next whole frame, not bound to the exposure"
_KEYS = (
    "producer",
    "device",
    "trigger",
    "pixel_format",
    "rows",
    "columns",
    "spacing_mm",
    "lsb_per_ugy",
    "saturation",
    "rotate",
    "mirror",
    *TIMING_KEYS,
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    producer: str
    device: str  # id or serial number; empty for the first
    free_run: bool
    pixel_format: str
    rows: int  # 0 for as it is
    columns: int
    spacing_mm: float
    lsb_per_ugy: float
    saturation: float  # 0 for the format's largest value
    orientation: Orientation

    @classmethod
    def read(cls, read: Settings) -> "_Wanted":
        trigger, pixel_format = read.text("trigger", "software"), read.text("pixel_format", "Mono16")
        for key, value, allowed in (
            ("trigger", trigger, _TRIGGERS),
            ("pixel_format", pixel_format, tuple(_FORMATS)),
        ):
            if value not in allowed:
                raise BadSettings(f"{read.what}: {key}={value!r} given; allowed are {', '.join(allowed)}")
        producer, spacing_mm = read.text("producer", ""), read.number("spacing_mm", 0, 0.02, 1)
        if not producer or not spacing_mm:
            missing = "spacing_mm (the pixel pitch)" if producer else "producer (path of the .cti file)"
            raise BadSettings(f"{read.what}: {missing} is missing; the panel's maker tells it")
        return cls(
            producer,
            read.text("device", ""),
            trigger == "free-run",
            pixel_format,
            read.whole("rows", 0, 16, 8192),
            read.whole("columns", 0, 16, 8192),
            spacing_mm,
            read.number("lsb_per_ugy", 1000, 1, 1e5),
            read.number("saturation", 0, 1, 65535),
            Orientation.read(read),
        )


class GentlDetector(IntegratingPanel):
    """Satisfies `station.devices.Detector`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("gentl", settings)
        read.only(*_KEYS)
        timing = Timing.read(read)
        wanted = _Wanted.read(read)
        source = Apart("gentl", HarvestersSource, wanted, timing.connect_s, timing.command_s)
        super().__init__("gentl", source, room.clock, timing)


class HarvestersSource:
    """Satisfies `drivers.panel_source.Source`; works in a process of its own."""

    def __init__(self, wanted: _Wanted) -> None:
        self._wanted = wanted
        self._harvester: Any = None
        self._device: Any = None
        self._shape = (0, 0)
        self._pump: _Pump | None = None

    def open(self) -> PanelFacts:
        self.close()
        with _said("opening the device", self._wanted):
            from harvesters.core import Harvester

            logging.getLogger("harvesters.core").disabled = True  # its errors are raised as well
            self._harvester = Harvester()
            self._harvester.add_file(self._wanted.producer, check_existence=True, check_validity=True)
            self._harvester.update()
            info = self._found()
            self._device = self._harvester.create({"id_": info.id_})
            self._device.timeout_period_on_update_event_data_call = _WAIT_MS
            self._device.num_buffers = _BUFFERS
            self._set_up(self._device.remote_device.node_map)
            return self._facts(info)

    def _found(self) -> Any:
        there = list(self._harvester.device_info_list)
        for info in there:
            if self._wanted.device in {"", info.id_, info.serial_number}:
                return info
        seen = ", ".join(info.id_ for info in there) or "none"
        raise NotConnected(
            f"gentl: device '{self._wanted.device or 'any'}' not found; the producer sees {seen}. "
            "Check power and cable, that no other program uses the producer, and `device`"
        )

    def _set_up(self, nodes: Any) -> None:
        wanted = self._wanted
        _set(nodes, "PixelFormat", wanted.pixel_format)
        _set(nodes, "Height", wanted.rows or nodes.Height.value)
        _set(nodes, "Width", wanted.columns or nodes.Width.value)
        _set(nodes, "AcquisitionMode", "Continuous")
        if not wanted.free_run:
            missing = [
                n for n in ("TriggerMode", "TriggerSource", "TriggerSoftware") if not nodes.has_node(n)
            ]
            if missing:
                raise NotConnected(
                    f"gentl: the device has no {', '.join(missing)}, so it cannot be triggered; a "
                    "free-running device makes no radiographs, `trigger: free-run` only proves its line"
                )
            _set(nodes, "TriggerSelector", "FrameStart")
            _set(nodes, "TriggerSource", "Software")
        _set(nodes, "TriggerMode", "Off" if wanted.free_run else "On")
        self._shape = (int(nodes.Height.value), int(nodes.Width.value))
        asked = (wanted.rows or self._shape[0], wanted.columns or self._shape[1])
        if self._shape != asked or nodes.PixelFormat.value != wanted.pixel_format:
            raise NotConnected(
                f"gentl: {asked} {wanted.pixel_format} asked, the device gives {self._shape} "
                f"{nodes.PixelFormat.value}; correct rows, columns and pixel_format"
            )

    def _facts(self, info: Any) -> PanelFacts:
        wanted = self._wanted
        rows, columns = wanted.orientation.shape(*self._shape)
        bits = _FORMATS[wanted.pixel_format]
        name = f"{info.vendor} {info.model}"
        return PanelFacts(
            DetectorInfo(
                f"{name} (free-running)" if wanted.free_run else name,
                info.serial_number or info.id_,
                rows,
                columns,
                (wanted.spacing_mm, wanted.spacing_mm),
                bits,
                wanted.lsb_per_ugy,
            ),
            name,
            wanted.saturation or float(2**bits - 1),
            scale_known=not wanted.free_run,
            history=(*wanted.orientation.history(), *((_FREE_RUN,) if wanted.free_run else ())),
        )

    def start(self, arrived: Arrived) -> None:
        self.stop()
        with _said("starting the acquisition", self._wanted):
            self._device.start()
        self._pump = _Pump(self._device, self._shape, self._wanted, arrived)

    def trigger(self) -> None:
        if self._pump is None:
            raise CommunicationLost("gentl: triggered while nothing is acquired; arm anew")
        if self._wanted.free_run:
            self._pump.wanted.set()
            return
        with _said("triggering a readout", self._wanted):
            self._device.remote_device.node_map.TriggerSoftware.execute()

    def stop(self) -> None:
        pump, self._pump = self._pump, None
        if pump is None:
            return
        pump.end()
        with _said("stopping the acquisition", self._wanted):
            self._device.stop()

    def poll(self) -> float | None:
        if self._pump is not None and self._pump.problem:
            raise CommunicationLost(f"gentl: waiting for frames failed: {self._pump.problem}")
        with _said("reading a node", self._wanted):
            nodes = self._device.remote_device.node_map
            nodes.Width.get_value(False, True)  # not verified, past the cache
            if nodes.has_node("DeviceTemperature"):
                return float(nodes.DeviceTemperature.get_value(False, True))
            return None

    def close(self) -> None:
        for end in (self.stop, self._destroy, self._reset):
            try:
                with _said("closing the device", self._wanted):
                    end()
            except DeviceError:
                continue  # what is dead cannot be closed any better
        self._device = self._harvester = None

    def _destroy(self) -> None:
        if self._device is not None:
            self._device.destroy()

    def _reset(self) -> None:
        if self._harvester is not None:
            self._harvester.reset()


class _Pump:
    """A thread that takes frames off the producer while it acquires."""

    def __init__(self, device: Any, shape: tuple[int, int], wanted: _Wanted, arrived: Arrived) -> None:
        self._device, self._shape, self._settings, self._arrived = device, shape, wanted, arrived
        self.wanted = threading.Event()  # free-running: somebody waits for a frame
        self.problem = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gentl frames", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No frame arrives afterwards."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_PAUSE_S):
            try:
                buffer = self._device.try_fetch(timeout=_WAIT_MS / 1000)
                if buffer is not None:
                    self._take(buffer)
            except Exception as error:  # noqa: BLE001  a thread's top; `poll` tells
                self.problem = str(error) or repr(error)
                self._arrived(Lost(f"waiting for the frame failed: {self.problem}"))
                return

    def _take(self, buffer: Any) -> None:
        try:
            if self._settings.free_run and not self.wanted.is_set():
                return
            arrival = self._copied(buffer)
        finally:
            buffer.queue()
        self.wanted.clear()
        self._arrived(arrival)

    def _copied(self, buffer: Any) -> Pixels | Lost:
        components = buffer.payload.components
        if len(components) != 1 or components[0].data_format != self._settings.pixel_format:
            return Lost(f"a frame in another format than {self._settings.pixel_format} came")
        image = components[0]
        if (image.height, image.width) != self._shape:
            return Lost(f"a frame of {image.height} x {image.width} came, not as set")
        return self._settings.orientation.seen(image.data.reshape(self._shape)).astype(np.uint16, copy=False)


def _set(nodes: Any, name: str, value: Any) -> None:
    """Set a node the device has; one that stands right may be read-only."""
    if nodes.has_node(name) and nodes.get_node(name).value != value:
        nodes.get_node(name).value = value


@contextmanager
def _said(doing: str, wanted: _Wanted) -> Generator[None]:
    """What harvesters, GenApi and producers raise, in the station's words."""
    try:
        from genicam import genapi, gentl
        from harvesters import core as _  # noqa: F401  both must be there
    except ImportError as error:
        raise NotConnected(
            f"gentl: {error.name} is not installed; install the station with its extra `gentl`"
        ) from error
    try:
        yield
    except FileNotFoundError as error:
        raise NotConnected(
            f"gentl: there is no producer {wanted.producer}; install the maker's and correct `producer`"
        ) from error
    except (genapi.GenericException, gentl.GenericException, OSError, RuntimeError, ValueError) as error:
        raise CommunicationLost(
            f"gentl: {doing} failed: {str(error) or repr(error)}; check the panel's power and cable, and "
            "that no other program uses it"
        ) from error
