"""The stream of frames of a GigE Vision camera, through Aravis: whole ones, copied, or the news of a loss."""

import ctypes
from ctypes import byref
from dataclasses import dataclass

import numpy as np

from drivers import aravis
from drivers.aravis import Aravis
from drivers.panel_source import Arrived, Lost, Orientation
from station.frame import Pixels

_BUFFERS = 2


@dataclass(frozen=True, slots=True)
class GvspImage:
    """What a buffer must hold to be a frame."""

    rows: int
    columns: int
    pixel_format: int
    orientation: Orientation

    @property
    def size(self) -> int:
        """In bytes."""
        return 2 * self.rows * self.columns


class GvspStream:
    """One GVSP stream with its buffers; its callback runs on a thread of Aravis.

    Aravis enlarges the socket's buffer only when the first packet is here, so a burst may overflow it once.
    """

    def __init__(
        self, library: Aravis, camera: int, image: GvspImage, packet_timeout_ms: int, frame_retention_ms: int
    ) -> None:
        self._library, self._image = library, image
        self.arrived: Arrived | None = None
        self.triggered = 0  # counted by the owner
        self.finished = 0  # frames come or given up, counted here
        self._callback = aravis.StreamCallback(self._happened)  # alive as long as the stream
        self._handle = library.arv_camera_create_stream(camera, self._callback, None)
        for name, value in (
            ("socket-buffer", aravis.FIXED),
            ("socket-buffer-size", 4 * image.size),  # headers count too; the system may allow less
            ("packet-timeout", 1000 * packet_timeout_ms),  # µs
            ("frame-retention", 1000 * frame_retention_ms),
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
            taken = self._taken()
            self.finished += 1
            arrived(taken)
        except Exception as error:  # noqa: BLE001  Aravis's thread: nothing may be raised into C
            arrived(Lost(f"the frame could not be copied: {error!r}"))

    def _taken(self) -> Pixels | Lost:
        buffer = self._library.arv_stream_try_pop_buffer(self._handle)
        if not buffer:
            return Lost("the frame was gone before it could be copied")
        try:
            return self._copied(buffer)
        finally:
            self._library.arv_stream_push_buffer(self._handle, buffer)

    def _copied(self, buffer: int) -> Pixels | Lost:
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
