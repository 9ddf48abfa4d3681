"""The simulated camera as a network camera: Motion JPEG over HTTP on loopback, ten pictures a second.

One endless answer of parts (`multipart/x-mixed-replace`), each with its `Content-Length`. A frozen camera
(the world's `camera-frozen`) sends its last picture again and again, bit for bit; with `silent` set it keeps
the connection and sends nothing.
"""

import http.server
import threading
from typing import Any

import cv2

from simulators.camera import SimulatedCamera
from station.devices import CameraView, Room

_PERIOD_S = 0.1
_BOUNDARY = "picture"
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # colours in full


class CameraFace:
    """One network camera."""

    def __init__(self, room: Room, *, port: int = 0) -> None:
        self._camera = SimulatedCamera({}, room)
        self._port = port
        self._stopped = threading.Event()
        self._server: http.server.ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.silent = False

    def start(self) -> None:
        """Serve from threads of its own; the port stays the same for the next start."""
        self._camera.connect()
        self._stopped.clear()
        face = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 2.0  # s, for a client that no longer reads

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                self.end_headers()
                face.send(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name
                """Nobody reads a log of requests."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = False  # stop() waits for them
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="camera-face", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End all connections and refuse new ones."""
        self._stopped.set()
        server, self._server = self._server, None
        if server and self._thread:
            server.shutdown()
            server.server_close()
            self._thread.join()

    def config(self) -> dict[str, Any]:
        """Settings of the driver that connects to this."""
        view = self._picture()
        return {
            "source": f"http://127.0.0.1:{self._port}/video.mjpg",
            "panel_size_mm": list(view.panel_size_mm),
            "mm_per_px": view.mm_per_px,
            "panel_origin_px": list(view.panel_origin_px),
        }

    def send(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Send pictures until somebody has enough."""
        sent, jpeg = None, b""
        while not self._stopped.wait(_PERIOD_S if sent else _PERIOD_S / 10):
            view = self._camera.view()
            if view is None or self.silent:
                continue
            if view is not sent:
                sent, jpeg = view, cv2.imencode(".jpg", view.pixels, _QUALITY)[1].tobytes()
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            try:
                request.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                return

    def _picture(self) -> CameraView:
        while (view := self._camera.view()) is None:
            if self._stopped.wait(_PERIOD_S / 10):
                raise RuntimeError("the camera face is stopped; start it first")
        return view
