"""Varex (PerkinElmer) XRD and XRpad panels: detector over the vendor's XISL library, called through ctypes.

Sources: the vendor's header Acq.h and reference manual as published with areaDetector/ADPerkinElmer, that
driver and its documentation, psavery/PyLAD, and other public clients. `drivers.xisl` has the signatures.

The conversation
----------------
All calls begin with Acquisition_ and are made on one thread; 0 is success, anything else an error code.
connect::

    Global_Init(0xFFFFFFFF)                                   newer libraries
    EnumSensors(&n, 1, 0) · GetNextSensor(&position, &h)      without `address`: the sensor numbered `sensor`
    GbIF_Init(&h, 0, 1, 0, 0, 1, 0, how, address)             with it; how: 1 IP, 2 MAC, 3 name
    Abort(h)                                                  what another program may have left running
    GetCommChannel(h) · GetHwHeaderInfoEx(h) · GbIF_GetDetectorProperties(h)      who is it
    SetCallbacksAndMessages(h, 0, 0, 0, end of frame, end of acquisition)
    SetCameraMode(h, 0) · SetCameraGain(h, gain) · SetCameraBinningMode(h, none)
    SetCameraTriggerMode(h, 3)                                framewise
    GetConfiguration(h) · DefineDestBuffers(h, buffers, 2, rows, columns)

arm, and the readouts of its window::

    Abort(h) and the end of an acquisition that still runs
    ResetFrameCnt(h) · SetReady(h, 1)
    SetFrameSyncMode(h, 1)                                    soft; at once before the acquisition
    Acquire_Image(h, 2, 0, 0x100, 0, 0, 0)                    returns at once; the buffers are a ring
    SetFrameSync(h)                                           a readout that clears: its frame is thrown away
        end of frame: GetActFrame(h, ..) says which buffer; copied; SetReady(h, 1)
    SetFrameSync(h)                                           the readout that carries the exposure
    Abort(h)

Why framewise: in this mode the stream of frames has the pace of the soft triggers, so the panel collects
charge from one SetFrameSync to the next. In the modes "data delivered on demand" (0, 1) a trigger throws the
running frame away and starts a new one of at most 5 s: an exposure made before the trigger would be lost.
That is documented with ADPerkinElmer, and public clients make single shots framewise.

Between readouts nothing is set or asked but whether the connection stands (GetConnectionStatus; older
libraries: the hardware header). A panel left alone for about 20 s falls asleep and hears no trigger: longer
windows are refused. Temperature (XRpad only) is asked while no window is open.

Silence: calls return 6, 56, 57, 134, 144 (or another code of `drivers.xisl`), the question whether the
connection stands three times in a row: the panel is closed and opened again until it answers. A frame that
does not come within `frame_timeout_s` is lost. A call that never returns cannot be ended: the status grows
stale, callers give up after their deadline, and if it stays the station must be restarted.

The library may write into its buffers until it says that it is closed, and sometimes after: they are never
freed, and neither are the callbacks. They are a driver's for good and used again by its next connection.

Inferred
--------
- INFERRED: in trigger mode 3 with soft triggers the panel does not read itself out between two triggers
- INFERRED: Acquire_Image with the continuous ring neither clears the panel nor delivers a frame by itself
- INFERRED: GetConnectionStatus and GetHwHeaderInfoEx ask the panel (not a cache) and do not disturb a window
- INFERRED: a frame that is announced is whole; the library drops one with lost packets
- INFERRED: the end-of-acquisition callback follows every Abort of a running acquisition
- INFERRED: data type 2 of GetConfiguration is 16 bits a pixel in the destination buffers
- INFERRED: values of GetTemperature are in 1/1000 °C, unused sensors are 0
- INFERRED: `unique_id` of the detector's properties is its serial number; without it PROM-<id> of the header
- INFERRED: rows come top down and columns left to right as seen from the tube; else set rotate and mirror
- INFERRED: handles and DWORDs of a Linux library have either of the sizes that `drivers.xisl` allows for
- INFERRED: binning mode 1 is none for header 14 with camera type 2 and above, 0 for older panels
- MEMORY: asleep after about 20 s (a client's note; the vendor's text names no time)
- MEMORY: gain modes 0 to 7; what they mean differs between models
"""

from collections.abc import Mapping
from typing import Any

from drivers import xisl
from drivers.panel import IntegratingPanel
from drivers.panel_source import TIMING_KEYS, Orientation, Timing
from drivers.varex_source import Wanted, XislSource
from station.devices import BadSettings, Room
from station.settings import Settings

_POLL_S = 0.2  # between two questions whether the connection stands
_KEYS = (
    "library",
    "address",
    "sensor",
    "rows",
    "columns",
    "spacing_mm",
    "gain",
    "lsb_per_ugy",
    "bits",
    "rotate",
    "mirror",
    *TIMING_KEYS,
)


class VarexDetector(IntegratingPanel):
    """Satisfies `station.devices.Detector`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("varex-xisl", settings)
        read.only(*_KEYS)
        timing = Timing.read(read, connect_s=30, poll_s=_POLL_S)
        super().__init__("varex-xisl", XislSource(_wanted(read)), room.clock, timing)


def _wanted(read: Settings) -> Wanted:
    for key in ("spacing_mm", "gain", "lsb_per_ugy"):
        if read.given.get(key) is None:
            raise BadSettings(f"{read.what}: {key} is missing; the library does not tell it")
    how, address = _address(read.text("address", ""))
    return Wanted(
        library=read.text("library", xisl.DEFAULT_LIBRARY),
        how=how,
        address=address,
        sensor=read.whole("sensor", 1, 1, 16),
        rows=read.whole("rows", 0, 0, 8192),
        columns=read.whole("columns", 0, 0, 8192),
        spacing_mm=read.number("spacing_mm", 0, 0.02, 1),
        gain=read.whole("gain", 0, 0, 7),
        lsb_per_ugy=read.number("lsb_per_ugy", 0, 0.1, 1e6),
        bits=read.whole("bits", 16, 12, 16),
        orientation=Orientation.read(read),
    )


def _address(text: str) -> tuple[int | None, str]:
    if not text:
        return None, ""
    how, _, address = text.partition(":")
    if how not in xisl.BY_ADDRESS or not address.isascii() or not 0 < len(address) <= xisl.ADDRESS_LENGTH:
        raise BadSettings(
            f"varex-xisl: address={text!r} given; allowed are ip:…, mac:… and name:… with up to "
            f"{xisl.ADDRESS_LENGTH} characters"
        )
    return xisl.BY_ADDRESS[how], address
