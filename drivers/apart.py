"""A panel's source in a process of its own, for libraries that stop the interpreter or never come back.

Some bindings keep Python's global lock while they wait for their device; in the station's own process an
abort would wait with them. Here the source works in a child process, and a call that does not come back
within its deadline ends the child: the next `open` starts a new one with the library loaded afresh.

Between the processes runs one pipe. To the child: the name of a method of `Source` and its arguments. Back:
`answer` or `error` for each call, and `frame` with an epoch at any time, its pixels following as plain bytes.
"""

import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from drivers.panel_source import Arrived, Lost, PanelFacts, Source
from station.devices import CommunicationLost, DeviceError, DeviceRefused, NotConnected
from station.frame import Pixels

_END_S = 2.0  # to close the library before the child is killed
_ERRORS = {kind.__name__: kind for kind in (NotConnected, CommunicationLost, DeviceRefused)}

Maker = Callable[[Any], Source]  # of what is wanted


class Apart:
    """Satisfies `drivers.panel_source.Source` by one in another process."""

    def __init__(self, name: str, make: Maker, wanted: Any, open_s: float, answer_s: float) -> None:
        self._name, self._make, self._wanted = name, make, wanted  # both must be picklable
        self._open_s, self._answer_s = open_s, answer_s
        self._process: Any = None  # a `Process` of one of two contexts
        self._line: Connection[Any, Any] | None = None
        self._reader: threading.Thread | None = None
        self._answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._expected: tuple[int, Arrived] | None = None  # epoch, and who takes its frames
        self._epoch = 0

    def open(self) -> PanelFacts:
        self.close()
        self._line, there = multiprocessing.Pipe()
        process = _context(self._make.__module__).Process(
            target=_serve, args=(self._make, self._wanted, there), name=self._name, daemon=True
        )
        process.start()
        there.close()
        self._process = process
        self._answers = queue.SimpleQueue()
        self._reader = threading.Thread(
            target=self._read, args=(self._line, self._answers), name=f"{self._name} frames", daemon=True
        )
        self._reader.start()
        return self._ask(self._open_s, "open")

    def start(self, arrived: Arrived) -> None:
        self._epoch += 1
        self._expected = (self._epoch, arrived)
        self._ask(self._answer_s, "start", self._epoch)

    def trigger(self) -> None:
        self._ask(self._answer_s, "trigger")

    def stop(self) -> None:
        self._expected = None
        self._ask(self._answer_s, "stop")

    def poll(self) -> float | None:
        return self._ask(self._answer_s, "poll")

    def close(self) -> None:
        process, line, reader = self._process, self._line, self._reader
        self._process = self._line = self._reader = self._expected = None
        if process is None or line is None or reader is None:
            return
        try:
            line.send(("close",))
        except OSError:
            process.kill()  # it is gone or going
        process.join(_END_S)
        if process.exitcode is None:
            process.kill()
            process.join()
        reader.join()  # the pipe has ended with the process
        line.close()
        process.close()

    def _ask(self, deadline_s: float, *call: Any) -> Any:
        if self._process is None or self._line is None:
            raise CommunicationLost(f"{self._name}: the panel's process has ended; connect again")
        try:
            self._line.send(call)
            kind, value = self._answers.get(timeout=deadline_s)
        except (OSError, queue.Empty) as error:
            self._process.kill()  # stuck: a late answer must not be taken for the next one's
            raise CommunicationLost(
                f"{self._name}: the panel's library did not come back from '{call[0]}' within "
                f"{deadline_s:g} s and was ended; check the panel's power and cable"
            ) from error
        if kind == "answer":
            return value
        raise _ERRORS.get(kind, CommunicationLost)(value)

    def _read(self, line: "Connection[Any, Any]", answers: queue.SimpleQueue[tuple[str, Any]]) -> None:
        """The thread that takes what the child says, until the pipe ends."""
        try:
            while True:
                kind, value = line.recv()
                if kind == "frame":
                    self._hand_on(value[0], value[1], line)
                else:
                    answers.put((kind, value))
        except (EOFError, OSError):
            answers.put(
                ("CommunicationLost", f"{self._name}: the panel's process has ended; see its messages")
            )

    def _hand_on(self, epoch: int, frame: Lost | tuple[int, int], line: "Connection[Any, Any]") -> None:
        arrival: Pixels | Lost
        if isinstance(frame, Lost):
            arrival = frame
        else:
            arrival = np.frombuffer(line.recv_bytes(), np.uint16).reshape(frame)
        expected = self._expected
        if expected is not None and expected[0] == epoch:
            expected[1](arrival)


def _context(module: str) -> Any:
    """Forks of a server that has imported the source once, where the system can; never of this process."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


# --- the child ------------------------------------------------------------------------------------------


def _serve(make: Maker, wanted: Any, line: "Connection[Any, Any]") -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    source, lock = make(wanted), threading.Lock()

    def say(kind: str, value: Any, pixels: Pixels | None = None) -> None:
        with lock:
            line.send((kind, value))
            if pixels is not None:
                line.send_bytes(pixels.data)

    def arrived(epoch: int, arrival: Pixels | Lost) -> None:
        if isinstance(arrival, Lost):
            say("frame", (epoch, arrival))
        else:
            say("frame", (epoch, arrival.shape), np.ascontiguousarray(arrival))

    try:
        while True:
            name, *arguments = line.recv()
            if name == "close":
                return
            if name == "start":
                arguments = [partial(arrived, arguments[0])]
            say(*_done(getattr(source, name), arguments))
    except (EOFError, OSError):
        pass  # the parent is gone
    finally:
        source.close()
        line.close()


def _done(call: Callable[..., Any], arguments: list[Any]) -> tuple[str, Any]:
    try:
        return "answer", call(*arguments)
    except DeviceError as error:
        return type(error).__name__, str(error)
    except Exception as error:  # noqa: BLE001  a process's top: the parent is told, the child goes on
        return "CommunicationLost", f"internal error in the panel's process: {error!r}"
