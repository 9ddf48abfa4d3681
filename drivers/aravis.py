"""The part of Aravis 0.8's C interface that a GigE Vision panel needs, through ctypes: no GTK, no PyGObject.

Names, signatures and enum values are those of the public C headers of Aravis 0.8 (LGPL) and GLib 2. Every
call that can fail raises `AravisError` with the library's own words. Objects are plain addresses; whoever
makes one gives it back with `unref`.
"""

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

from station.devices import NotConnected

SUCCESS = 0  # ArvBufferStatus
BUFFER_STATUS = {
    -1: "unknown",
    1: "cleared",
    2: "timeout",
    3: "missing packets",
    4: "wrong packet id",
    5: "size mismatch",
    6: "still filling",
    7: "aborted",
    8: "payload not supported",
}
BUFFER_DONE = 3  # ArvStreamCallbackType: init, exit, start buffer, buffer done
CONTINUOUS = 0  # ArvAcquisitionMode
FIXED = 0  # ArvGvStreamSocketBuffer
_FILE = "libaravis-0.8.so.0"  # found by the loader; `find_library` would start a process at every connection
_STRING, _HANDLE, _NOTHING = c_char_p, c_void_p, None

StreamCallback = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p)  # user data, kind, buffer
SignalCallback = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)  # object, user data
FillCallback = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_uint32, c_uint32, c_uint32)

_Signature = tuple[Any, tuple[Any, ...]]
_SURE: dict[str, _Signature] = {  # calls that cannot fail
    "arv_camera_get_device": (_HANDLE, (_HANDLE,)),
    "arv_camera_is_gv_device": (c_int, (_HANDLE,)),
    "arv_gv_device_is_controller": (c_int, (_HANDLE,)),
    "arv_stream_push_buffer": (_NOTHING, (_HANDLE, _HANDLE)),
    "arv_stream_try_pop_buffer": (_HANDLE, (_HANDLE,)),
    "arv_buffer_new_allocate": (_HANDLE, (c_size_t,)),
    "arv_buffer_get_status": (c_int, (_HANDLE,)),
    "arv_buffer_get_image_data": (_HANDLE, (_HANDLE, POINTER(c_size_t))),
    "arv_buffer_get_data": (_HANDLE, (_HANDLE, POINTER(c_size_t))),
    "arv_buffer_get_image_width": (c_int, (_HANDLE,)),
    "arv_buffer_get_image_height": (c_int, (_HANDLE,)),
    "arv_buffer_get_image_pixel_format": (c_uint32, (_HANDLE,)),
    "arv_gv_fake_camera_new": (_HANDLE, (_STRING, _STRING)),
    "arv_gv_fake_camera_is_running": (c_int, (_HANDLE,)),
    "arv_gv_fake_camera_get_fake_camera": (_HANDLE, (_HANDLE,)),
    "arv_fake_camera_set_fill_pattern": (_NOTHING, (_HANDLE, FillCallback, _HANDLE)),
    "arv_fake_camera_set_trigger_frequency": (_NOTHING, (_HANDLE, c_double)),
    "arv_fake_camera_write_register": (c_int, (_HANDLE, c_uint32, c_uint32)),
    "arv_fake_camera_read_register": (c_int, (_HANDLE, c_uint32, POINTER(c_uint32))),
    "g_object_unref": (_NOTHING, (_HANDLE,)),
    "g_error_free": (_NOTHING, (_HANDLE,)),
    "g_signal_connect_data": (c_size_t, (_HANDLE, _STRING, SignalCallback, _HANDLE, _HANDLE, c_int)),
    "g_signal_handler_disconnect": (_NOTHING, (_HANDLE, c_size_t)),
}
_FALLIBLE: dict[str, _Signature] = {  # calls with a GError** behind their arguments
    "arv_camera_new": (_HANDLE, (_STRING,)),
    "arv_camera_get_vendor_name": (_STRING, (_HANDLE,)),
    "arv_camera_get_model_name": (_STRING, (_HANDLE,)),
    "arv_camera_get_device_serial_number": (_STRING, (_HANDLE,)),
    "arv_camera_get_sensor_size": (_NOTHING, (_HANDLE, POINTER(c_int), POINTER(c_int))),
    "arv_camera_set_region": (_NOTHING, (_HANDLE, c_int, c_int, c_int, c_int)),
    "arv_camera_get_region": (_NOTHING, (_HANDLE, *(POINTER(c_int),) * 4)),
    "arv_camera_set_pixel_format_from_string": (_NOTHING, (_HANDLE, _STRING)),
    "arv_camera_get_pixel_format": (c_uint32, (_HANDLE,)),
    "arv_camera_set_acquisition_mode": (_NOTHING, (_HANDLE, c_int)),
    "arv_camera_clear_triggers": (_NOTHING, (_HANDLE,)),
    "arv_camera_set_trigger": (_NOTHING, (_HANDLE, _STRING)),
    "arv_camera_software_trigger": (_NOTHING, (_HANDLE,)),
    "arv_camera_start_acquisition": (_NOTHING, (_HANDLE,)),
    "arv_camera_stop_acquisition": (_NOTHING, (_HANDLE,)),
    "arv_camera_get_payload": (c_uint, (_HANDLE,)),
    "arv_camera_create_stream": (_HANDLE, (_HANDLE, StreamCallback, _HANDLE)),
    "arv_camera_gv_set_packet_size": (_NOTHING, (_HANDLE, c_int)),
    "arv_camera_gv_set_packet_delay": (_NOTHING, (_HANDLE, ctypes.c_int64)),
    "arv_camera_is_feature_available": (c_int, (_HANDLE, _STRING)),
    "arv_camera_get_float": (c_double, (_HANDLE, _STRING)),
    "arv_device_read_register": (c_int, (_HANDLE, c_uint64, POINTER(c_uint32))),
}


class _GError(ctypes.Structure):
    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


class AravisError(Exception):
    """What the library says went wrong."""


class Aravis:
    """The loaded library. `aravis.arv_camera_new(name)`: every declared call is a method."""

    def __init__(self, library: str) -> None:
        path = library or _FILE
        try:
            self._library = ctypes.CDLL(path)
            self._calls = {name: self._sure(name, *how) for name, how in _SURE.items()}
            self._calls |= {name: self._fallible(name, *how) for name, how in _FALLIBLE.items()}
        except (OSError, AttributeError) as error:
            raise NotConnected(
                f"genicam: the Aravis library {path} cannot be used ({error}); install libaravis-0.8-0 "
                "or name the file under `library`"
            ) from error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A declared call."""
        try:
            return self.__dict__["_calls"][name]
        except KeyError:
            raise AttributeError(f"{name} is not declared in drivers/aravis.py") from None

    def set_property(self, thing: int, name: str, value: float) -> None:
        """Set an integer or floating point property of a GObject, by the type of `value`."""
        g_object_set = self._library.g_object_set
        g_object_set.restype = None
        number = c_uint(value) if isinstance(value, int) else c_double(value)
        g_object_set(c_void_p(thing), c_char_p(name.encode()), number, c_void_p(None))

    def unref(self, thing: int | None) -> None:
        """Give an object back; none is fine."""
        if thing:
            self.g_object_unref(thing)

    def _sure(self, name: str, result: Any, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        call = getattr(self._library, name)
        call.restype, call.argtypes = result, arguments
        return call

    def _fallible(self, name: str, result: Any, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        call = self._sure(name, result, (*arguments, POINTER(POINTER(_GError))))

        def checked(*given: Any) -> Any:
            error = POINTER(_GError)()
            answer = call(*given, byref(error))
            if error:
                text = (error.contents.message or b"").decode(errors="replace")
                self.g_error_free(ctypes.cast(error, c_void_p))
                raise AravisError(f"{name[4:]}: {text}")
            return answer

        return checked
