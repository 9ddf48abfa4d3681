"""A panel behind the XISL library as a source of readouts; `drivers.varex_detector` has the conversation."""

import ctypes
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from drivers import xisl
from drivers.panel_source import Arrived, Lost, Orientation, PanelFacts
from drivers.xisl import Library, Word
from station.devices import CommunicationLost, DetectorInfo, DeviceError, NotConnected
from station.frame import Pixels

_BUFFERS = 2  # frames: one is copied while the next may come
_END_S = 1.0  # from Abort to the end-of-acquisition callback
_ASKED = 3  # times, before no answer is silence
_TEMPERATURE_S = 5.0  # between two questions

_AWAKE_MS = 20_000.0  # a panel left alone for longer hears no trigger, MEMORY


@dataclass(frozen=True, slots=True)
class Wanted:
    """The settings of one panel."""

    library: str
    how: int | None  # of the address; None: enumerate
    address: str
    sensor: int  # in the enumeration, from 1
    rows: int  # 0: as the panel says
    columns: int
    spacing_mm: float
    gain: int
    lsb_per_ugy: float
    bits: int
    orientation: Orientation


class XislSource:
    """Satisfies `drivers.panel_source.Source`: one panel behind the library."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._library: Library | None = None
        self._handle: int | None = None
        self._enumerated = False
        self._callbacks: tuple[xisl.Callback, ...] = ()
        self._buffers: Pixels = np.empty((0, 0, 0), np.uint16)
        self._lock = threading.Lock()  # for the two below: the library's thread uses them too
        self._arrived: Arrived | None = None
        self._acquiring = False
        self._ended = threading.Event()
        self._keeps_status = False
        self._temperature_c: float | None = None
        self._temperature_due_s: float | None = None

    # --- the owner's thread ---

    def open(self) -> PanelFacts:
        self.close()
        if self._library is None:
            self._library = Library(self._wanted.library)
        try:
            return self._set_up(self._library)
        except (NotConnected, CommunicationLost):
            raise
        except DeviceError as error:  # whatever it is, there is no panel to work with
            raise NotConnected(f"{error} (while connecting)") from error

    def _set_up(self, library: Library) -> PanelFacts:
        wanted = self._wanted
        if library.has("Global_Init"):
            library.call("Global_Init", xisl.INIT_EVERYTHING)
        self._handle = handle = self._find(library)
        self._try(library, "Abort", handle)  # nothing to stop may be an error
        library.call("GetCommChannel", handle, Word().out, Word().out)
        words = xisl.header(library, handle)
        identity = xisl.identity(words, xisl.properties(library, handle))
        library.call("SetCallbacksAndMessages", handle, None, 0, 0, *self._callback_addresses())
        library.call("SetCameraMode", handle, 0)
        library.call("SetCameraGain", handle, wanted.gain)
        library.call("SetCameraBinningMode", handle, 1 if xisl.newer_binning(words) else 0)
        library.call("SetCameraTriggerMode", handle, xisl.TRIGGER_FRAMEWISE)
        rows, columns = self._configuration(library, handle)
        self._give_buffers(library, handle, rows, columns)
        self._keeps_status = self._answers_status(library, handle)
        self._temperature_due_s = time.monotonic() if library.has("GetTemperature") else None
        rows, columns = wanted.orientation.shape(rows, columns)
        spacing_mm = (wanted.spacing_mm, wanted.spacing_mm)
        size = (rows, columns, spacing_mm)
        info = DetectorInfo(
            identity.model, identity.serial, *size, wanted.bits, wanted.lsb_per_ugy, _AWAKE_MS
        )
        return PanelFacts(
            info, identity.model, float(2**wanted.bits - 1), history=wanted.orientation.history()
        )

    def _find(self, library: Library) -> int:
        wanted, handle = self._wanted, Word()
        if wanted.how is not None:
            address = ctypes.create_string_buffer(wanted.address.encode("ascii"), xisl.ADDRESS_LENGTH + 1)
            library.call("GbIF_Init", handle.out, 0, 1, 0, 0, 1, 0, wanted.how, address)
            return handle.pointer
        count, position = Word(), Word()
        self._enumerated = True
        library.call("EnumSensors", count.out, 1, 0)
        if count.number < wanted.sensor:
            raise NotConnected(
                f"varex-xisl: {count.number} panels were found, number {wanted.sensor} was asked for; check "
                "power and cable, or give an address"
            )
        for _ in range(wanted.sensor):
            library.call("GetNextSensor", position.out, handle.out)
        return handle.pointer

    def _configuration(self, library: Library, handle: int) -> tuple[int, int]:
        """Rows and columns. Raises `NotConnected` for another panel than the settings describe."""
        answers = [Word() for _ in range(10)]
        library.call("GetConfiguration", handle, *(answer.out for answer in answers))
        rows, columns, kind = (answer.number for answer in answers[1:4])
        wanted = (self._wanted.rows or rows, self._wanted.columns or columns)
        if (rows, columns) != wanted or 0 in wanted or max(wanted) > 16384:
            raise NotConnected(
                f"varex-xisl: the panel has {rows} x {columns} pixels, the settings say {wanted[0]} x "
                f"{wanted[1]}; correct rows and columns, or connect the other panel"
            )
        if kind != xisl.DATA_16_BIT:
            raise NotConnected(
                f"varex-xisl: the panel delivers data of type {kind}, this driver reads 16 bits "
                f"({xisl.DATA_16_BIT}) only; set it up with the vendor's tool"
            )
        return rows, columns

    def _give_buffers(self, library: Library, handle: int, rows: int, columns: int) -> None:
        shape = (_BUFFERS, rows, columns)
        if self._buffers.shape != shape:
            self._buffers = np.zeros(shape, np.uint16)
            _pin(self._buffers)
        library.call("DefineDestBuffers", handle, self._buffers.ctypes.data, *shape)

    def _answers_status(self, library: Library, handle: int) -> bool:
        if not library.has("GetConnectionStatus"):
            return False
        try:
            library.call("GetConnectionStatus", handle)
        except (CommunicationLost, NotConnected):
            raise
        except DeviceError:
            return False  # this panel does not know the question
        return True

    def _callback_addresses(self) -> list[int | None]:
        if not self._callbacks:
            self._callbacks = (xisl.CALLBACK(self._frame_ended), xisl.CALLBACK(self._acquisition_ended))
            _pin(self._callbacks)
        return [ctypes.cast(callback, ctypes.c_void_p).value for callback in self._callbacks]

    def start(self, arrived: Arrived) -> None:
        library, handle = self._need()
        self.stop()
        library.call("ResetFrameCnt", handle)
        library.call("SetReady", handle, 1)
        library.call("SetFrameSyncMode", handle, xisl.SYNC_SOFT)
        self._ended.clear()
        with self._lock:
            self._arrived, self._acquiring = arrived, True
        try:
            library.call("Acquire_Image", handle, _BUFFERS, 0, xisl.SEQUENCE_CONTINUOUS, None, None, None)
        except DeviceError:
            with self._lock:
                self._arrived, self._acquiring = None, False
            raise

    def trigger(self) -> None:
        library, handle = self._need()
        library.call("SetFrameSync", handle)

    def stop(self) -> None:
        with self._lock:
            self._arrived = None
            running = self._acquiring
        if not running:
            return
        library, handle = self._need()
        library.call("Abort", handle)
        if not self._ended.wait(_END_S):
            raise CommunicationLost(
                f"varex-xisl: the library has not ended an acquisition {_END_S:g} s after it was told to; "
                "the panel is opened again by itself"
            )

    def poll(self) -> float | None:
        library, handle = self._need()
        self._ask_whether_it_is_there(library, handle)
        due_s = self._temperature_due_s
        if due_s is not None and not self._acquiring and time.monotonic() >= due_s:
            self._ask_temperature(library, handle)
        return self._temperature_c

    def _ask_whether_it_is_there(self, library: Library, handle: int) -> None:
        """Repeated before it counts as silence: giving up the line in a window would cost its frame."""
        for left in reversed(range(_ASKED)):
            try:
                if self._keeps_status:
                    library.call("GetConnectionStatus", handle)
                else:
                    xisl.header(library, handle)
            except DeviceError:
                if not left:
                    raise
            else:
                return

    def _ask_temperature(self, library: Library, handle: int) -> None:
        values = (ctypes.c_uint * 16)()  # 8 in the header, and room
        try:
            library.call("GetTemperature", handle, values)
        except (CommunicationLost, NotConnected):
            self._temperature_due_s = time.monotonic() + _TEMPERATURE_S  # whether it is there, others ask
        except DeviceError:
            self._temperature_c, self._temperature_due_s = None, None  # not an XRpad: do not ask again
        else:
            told = [value for value in values[:8] if value]
            self._temperature_c = max(told) / 1000 if told else None
            self._temperature_due_s = time.monotonic() + _TEMPERATURE_S

    def close(self) -> None:
        with self._lock:
            self._arrived, self._acquiring = None, False
        library, handle, self._handle = self._library, self._handle, None
        enumerated, self._enumerated = self._enumerated, False
        if library is None:
            return
        if handle is not None:
            self._try(library, "Abort", handle)
            self._try(library, "SetCallbacksAndMessages", handle, None, 0, 0, None, None)
        if enumerated:  # which opened every panel it found
            self._try(library, "CloseAll")
        elif handle is not None:
            self._try(library, "Close", handle)
        if library.has("Global_Cleanup"):
            self._try(library, "Global_Cleanup")

    def _try(self, library: Library, name: str, *arguments: object) -> None:
        with suppress(DeviceError):
            library.call(name, *arguments)

    def _need(self) -> tuple[Library, int]:
        if self._library is None or self._handle is None:
            raise NotConnected("varex-xisl: not connected; connect first")
        return self._library, self._handle

    # --- the library's thread ---

    def _frame_ended(self, _: object) -> None:
        with self._lock:
            arrived = self._arrived
        try:
            library, handle = self._need()
            arrival = self._copied(library, handle)
            library.call("SetReady", handle, 1)
        except Exception as error:  # noqa: BLE001  a foreign thread's top: nothing may reach the library
            arrival = Lost(f"the frame could not be taken over: {error}")
        if arrived is not None:
            arrived(arrival)

    def _copied(self, library: Library, handle: int) -> Pixels:
        acquired, buffered = Word(), Word()
        library.call("GetActFrame", handle, acquired.out, buffered.out)
        return self._wanted.orientation.seen(self._buffers[(buffered.number - 1) % _BUFFERS])

    def _acquisition_ended(self, _: object) -> None:
        with self._lock:
            arrived, self._arrived, self._acquiring = self._arrived, None, False
        self._ended.set()
        if arrived is not None:
            arrived(Lost(self._why_ended()))

    def _why_ended(self) -> str:
        code, board = Word(), Word()
        try:
            library, handle = self._need()
            library.call("GetErrorCode", handle, code.out, board.out)
        except DeviceError as error:
            return f"the library ended the acquisition and does not say why: {error}"
        return f"the library ended the acquisition: {xisl.error_of('GetErrorCode', code.number)}"


def _pin(thing: object) -> None:
    """Keep it until the process ends: the library gives no sign when it will not touch it any more."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
