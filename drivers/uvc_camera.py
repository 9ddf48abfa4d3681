"""USB or network positioning camera: live pictures over V4L2, HTTP (MJPEG) or from a file, through OpenCV.

Source: OpenCV's documentation of VideoCapture and its issue tracker (numbers below).

The conversation is OpenCV's: open, `grab` a frame, `retrieve` it. One thread grabs every frame, so that the
driver's queue never fills with old ones (#13145; the buffer size is often ignored, #11047), and stamps it
with the room's clock when the grab returns, less `latency_ms`. A frame that was there at once had been
waiting: its age is unknown, it is thrown away. Frames are decoded only while somebody asks for views, so an
idle station grabs and nothing more; MJPEG through FFmpeg stays undecoded until then (CAP_PROP_FORMAT -1).

Silence: a view older than 0.5 s is no view. A camera that repeats a frame bit for bit is frozen, for a live
one always has noise; repeated frames are not news, so the view grows old and vanishes in the same way. This
also catches a `grab` that goes on saying True after unplugging (#14044). A `grab` may block for ever (#4506,
#4468): only the thread waits in it, `view` and `close` do not; a blocked thread is left behind and ends if
the call ever returns. After a failure the source is opened again with growing pauses. A file is played at its
own speed and starts over at its end; it is a recording, for tests and demonstrations.

Geometry: with `panel_corners_px`, the (row, column) of the panel's four corners in the camera's picture,
clockwise from the panel's top left as the tube sees it, the picture is rectified to `mm_per_px`, `margin_mm`
around the panel. Counter-clockwise corners mean a mirrored picture, in which a left hand looks like a right
one: refused. Without corners the camera looks straight down: `mm_per_px` and `panel_origin_px` say where the
panel lies. A panel outside the picture is refused: the camera's resolution is not the one it was measured at.

Inferred
--------
- a picture was taken `latency_ms` before its grab returned; 0 unless set, no source gives a number (INFERRED)
- opening through Windows' Media Foundation can take 20 s, so DirectShow is used there (MEMORY, never tried)
- V4L2 and USB cameras were not tried: only files and HTTP were within reach (INFERRED from documentation)
- network cameras send whole JPEGs with their Huffman tables; if not, FFmpeg decodes every frame (INFERRED)
"""

import os
import sys
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from drivers.camera_geometry import Geometry, geometry_from
from station.clock import Clock
from station.devices import (
    BadSettings,
    CameraView,
    CommunicationLost,
    DeviceError,
    DeviceRefused,
    NotConnected,
    Room,
)
from station.frame import Pixels
from station.settings import Settings

_STALE_S = 0.5  # older is no view; 5 frames of a 10 Hz camera
_ASKED_S = 1.0  # frames are decoded for so long after the last question
_QUEUED_S = 0.002  # a grab that took less found a frame waiting; derived: 1/10 of a 50 Hz camera's period
_QUEUED_LIMIT = 200  # so many at once are no camera
_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0  # after a failure, doubled each time
_DOUBLINGS = 20  # or the power would outgrow a float after an hour without an answer
_OPEN_TIMEOUT_MS, _READ_TIMEOUT_MS = 3000, 1000  # FFmpeg's; its own default is 30 s
_JOIN_S = 1.5  # for the thread's last words
_FILE_FRAMES_PER_S = 10.0  # of a file that does not tell
_JPEG_END, _JPEG_TAIL = b"\xff\xd9", 64  # the end marker, and how far from the end it may stand

_KEYS = (
    "source",
    "width",
    "height",
    "frames_per_s",
    "panel_size_mm",
    "panel_corners_px",
    "mm_per_px",
    "margin_mm",
    "panel_origin_px",
    "latency_ms",
    "open_timeout_s",
)


# --- settings and source --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """All settings."""

    source: int | str  # number of a camera, address or file
    width: int  # 0: as the camera comes up
    height: int
    frames_per_s: float
    geometry: Geometry
    latency_s: float
    open_timeout_s: float

    @property
    def is_device(self) -> bool:
        """At this machine, by number or by a name like /dev/v4l/by-id/…, which survives replugging."""
        return isinstance(self.source, int) or self.source.startswith("/dev/")

    @property
    def is_file(self) -> bool:
        """A recording, which has no pace of its own."""
        return not self.is_device and "://" not in str(self.source)


def plan_from(given: Mapping[str, Any]) -> Plan:
    """Read the settings of a room file. Raises `BadSettings`."""
    read, source = Settings("uvc-camera", given), given.get("source")
    read.only(*_KEYS)
    if isinstance(source, str) and source.isdecimal():
        source = int(source)
    if isinstance(source, bool) or not isinstance(source, int | str) or source in {"", -1}:
        raise BadSettings(
            f"uvc-camera: source={source!r} given; allowed is a camera's number, a file or an URL"
        )
    width, height = read.whole("width", 0, 16, 8192), read.whole("height", 0, 16, 8192)
    if bool(width) != bool(height):
        raise BadSettings("uvc-camera: width and height belong together; give both or none")
    return Plan(
        source,
        width,
        height,
        read.number("frames_per_s", 0, 1, 120),
        geometry_from(given),
        read.number("latency_ms", 0, 0, 400) / 1000,
        read.number("open_timeout_s", 10, 1, 60),
    )


class _Source:
    """An open VideoCapture; used by one thread only. Raises the device errors."""

    def __init__(self, plan: Plan, *, undecoded: bool) -> None:
        self._plan, self._what = plan, f"positioning camera (uvc-camera, {plan.source})"
        self._capture = self._opened()
        if not self._capture.isOpened():
            raise NotConnected(
                f"{self._what} cannot be opened; check its cable, number, address or file name"
            )
        self._refuse_other_size()
        is_mjpeg = int(self._capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")
        by_ffmpeg = is_mjpeg and not plan.is_device
        self.undecoded = undecoded and by_ffmpeg and self._capture.set(cv2.CAP_PROP_FORMAT, -1)
        self.undecodable = False
        told = self._capture.get(cv2.CAP_PROP_FPS)
        self.period_s = 1 / (plan.frames_per_s or (told if 1 <= told <= 120 else _FILE_FRAMES_PER_S))

    def _opened(self) -> cv2.VideoCapture:
        plan = self._plan
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # both write over a terminal's
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # screen; AV_LOG_QUIET, read at the first use
        if not plan.is_device:
            open_ms = min(_OPEN_TIMEOUT_MS, round(1000 * plan.open_timeout_s))
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_ms]
            limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS]
            return cv2.VideoCapture(str(plan.source), cv2.CAP_FFMPEG, limits)
        backend = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW}.get(sys.platform, cv2.CAP_ANY)
        capture = cv2.VideoCapture(plan.source, backend)
        wanted = {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG") if plan.width else 0,
            cv2.CAP_PROP_FRAME_WIDTH: plan.width,
            cv2.CAP_PROP_FRAME_HEIGHT: plan.height,
            cv2.CAP_PROP_FPS: plan.frames_per_s,
            cv2.CAP_PROP_BUFFERSIZE: 1,
        }
        for name, value in wanted.items():
            if value and capture.isOpened():
                capture.set(name, value)
        return capture

    def _refuse_other_size(self) -> None:
        names = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        width, height = (round(self._capture.get(name)) for name in names)
        if self._plan.width and (width, height) != (self._plan.width, self._plan.height):
            self.close()
            raise DeviceRefused(
                f"{self._what} gives {width} x {height}, {self._plan.width} x {self._plan.height} is asked; "
                "choose a size it offers"
            )

    def grab(self) -> bool:
        """Wait for a frame; False at the end."""
        return self._capture.grab()

    def retrieve(self) -> tuple[int, Pixels]:
        """Fingerprint and picture of the frame grabbed last."""
        try:
            good, frame = self._capture.retrieve()
            data: npt.NDArray[Any] = np.ascontiguousarray(frame)
            if not good or not data.size:
                raise self.lost("a picture could not be read")
            if self.undecoded and _JPEG_END not in data.ravel()[-_JPEG_TAIL:].tobytes():
                raise self.lost("a picture was cut short")
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if self.undecoded else data
        except cv2.error as error:
            raise self.lost(f"a picture could not be read ({error})") from error
        if picture is None or picture.ndim != 3 or picture.dtype != np.uint8:
            self.undecodable = self.undecoded
            raise self.lost("a picture is no colour picture")
        return zlib.crc32(data.data), np.asarray(picture, np.uint8)

    def lost(self, why: str) -> CommunicationLost:
        return CommunicationLost(f"{self._what}: {why}; check its cable and power, it is opened again")

    def close(self) -> None:
        self._capture.release()


# --- the driver -----------------------------------------------------------------------------------------


class _Session:
    """From one connect to its close: the thread that owns the capture, and what it publishes."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan, self._clock = plan, clock
        self._stop, self.settled = threading.Event(), threading.Event()
        self._asked_s = time.monotonic()  # the first frame is looked at, so that connect can judge its size
        self._newest: tuple[CameraView, float] | None = None  # and the monotonic time of its grab
        self._digest: int | None = None
        self._undecoded = True
        self.trouble: DeviceError | None = None
        self._thread = threading.Thread(target=self._run, name="uvc-camera", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(_JOIN_S)

    def view(self) -> CameraView | None:
        self._asked_s = time.monotonic()
        newest = self._newest
        return newest[0] if newest and self._asked_s - newest[1] <= _STALE_S else None

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                failures = 0 if self._follow() else failures + 1
            except DeviceError as error:
                failures, self.trouble = failures + 1, error
            except Exception as error:  # noqa: BLE001  a thread's top: OpenCV raises what it likes
                failures += 1
                self.trouble = CommunicationLost(f"uvc-camera stumbled over {error!r}; call service")
            if failures:
                self.settled.set()
                self._stop.wait(min(_PAUSE_S * 2 ** min(failures - 1, _DOUBLINGS), _LONGEST_PAUSE_S))

    def _follow(self) -> bool:
        """Grab until the source ends; True if a recording came to its end and may start over."""
        source = _Source(self._plan, undecoded=self._undecoded)
        queued, frames, due_s = 0, 0, time.monotonic()
        try:
            while not self._stop.is_set():
                if self._plan.is_file:
                    due_s = max(due_s + source.period_s, time.monotonic() - source.period_s)
                    self._stop.wait(max(due_s - time.monotonic(), 0))
                began_s = time.monotonic()
                if not source.grab():
                    if self._plan.is_file and frames:
                        return True
                    raise source.lost("no picture came")
                grabbed_s, at = time.monotonic(), self._clock.now() - self._plan.latency_s
                frames += 1
                queued = queued + 1 if grabbed_s - began_s < _QUEUED_S and not self._plan.is_file else 0
                if queued > _QUEUED_LIMIT:
                    raise source.lost("pictures come without end, faster than they can be read")
                if not queued and grabbed_s - self._asked_s < _ASKED_S:
                    self._look(source, grabbed_s, at)
        finally:
            self._undecoded = self._undecoded and not source.undecodable  # or FFmpeg does it from now on
            source.close()
        return True

    def _look(self, source: _Source, grabbed_s: float, at: float) -> None:
        digest, picture = source.retrieve()
        if digest != self._digest:
            self._digest = digest
            self._plan.geometry.refuse_outside(*picture.shape[:2])
            self._newest = (self._plan.geometry.rectify(picture, at), grabbed_s)
            self.trouble = None
        elif self._newest is None or grabbed_s - self._newest[1] > _STALE_S:
            self.trouble = source.lost("it repeats its last picture")
        self.settled.set()


class UvcCamera:
    """Satisfies `station.devices.Camera`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        self._plan, self._clock = plan_from(settings), room.clock
        self._session: _Session | None = None

    def connect(self) -> None:
        self.close()
        session = _Session(self._plan, self._clock)
        session.start()
        settled = session.settled.wait(self._plan.open_timeout_s)
        if session.trouble or not settled:
            session.stop()
            raise session.trouble or CommunicationLost(
                f"positioning camera (uvc-camera, {self._plan.source}) gave no picture within "
                f"{self._plan.open_timeout_s:g} s; check its cable, or give it more open_timeout_s"
            )
        self._session = session

    def close(self) -> None:
        session, self._session = self._session, None
        if session:
            session.stop()

    def view(self) -> CameraView | None:
        session = self._session
        return session.view() if session else None

    def trouble(self) -> DeviceError | None:
        """Why there is no view, None if nothing is wrong; for the service pages."""
        session = self._session
        return session.trouble if session else None
