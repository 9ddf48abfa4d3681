"""A line to a device: one thread owns the port and holds the driver's whole conversation.

Nobody else touches the port. A driver hands over what is to be said as a job (`run`), which the owner carries
out as straight-line code: `exchange` sends a frame and waits for its answer, by a deadline, always. Between
jobs the owner polls. An urgent frame (`abort`) overtakes: it goes out while an exchange still waits for its
answer, and voids every job that was handed over before it, also one already begun: it sends nothing more.

When an answer does not come by its deadline, the driver's `greet` is held again before anything else is said:
it asks for something unmistakable, so that an answer that comes late is never taken for another one. A port
that is gone is opened anew, again and again. Nothing that was said is ever said twice by this module.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from typing import Any, TypeVar

from drivers.port import Bell, Port, PortGone, wait
from station.clock import Clock
from station.devices import Aborted, CommunicationLost, DeviceError, NotConnected

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_TRAFFIC_LINES = 4000
_RETRY_S = 0.5  # between attempts to open a port that is gone
_END_WITHIN_S = 5.0  # a port that is being opened may hold the owner up longer
_LONGEST = 65536  # bytes without a whole frame; more is no frame of any device here


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the device is and how long it may take."""

    name: str  # of the device, for messages
    url: str
    answer_within_s: float
    baud: int = 9600


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a driver brings: how bytes become frames, and what is said when; called by the owner."""

    split: Callable[[bytearray], bytes | None]  # takes the first whole frame off, and noise before it
    describe: Callable[[bytes], str]  # a frame in words; by any thread
    greet: Callable[[], None]  # first words on an open port, and after a lost answer
    poll: Callable[[], float | None]  # gives the seconds until the next one, or None: `period_s`
    heard: Callable[[bytes], None]  # a frame that nobody waited for
    period_s: float = 0.1


@dataclass(frozen=True, slots=True)
class Traffic:
    """One frame on the line."""

    at: float  # clock time, s
    sent: bool
    data: bytes
    meaning: str


@dataclass(slots=True)
class _Job:
    work: Callable[[], Any]
    what: str
    epoch: int | None  # the aborts that it knows of; None: it is carried out whatever was aborted
    future: "Future[Any]" = field(default_factory=Future[Any])
    given_up: bool = False


class Link:
    """See the module."""

    def __init__(self, port: Whereabouts, dialogue: Dialogue, clock: Clock) -> None:
        self._settings, self._dialogue, self._clock = port, dialogue, clock
        self._lock = threading.Lock()
        self._epoch = 0
        self._urgent: deque[bytes] = deque()
        self._jobs: deque[_Job] = deque()
        self._job: _Job | None = None
        self._bell = Bell()
        self._port: Port | None = None
        self._buffer = bytearray()
        self._greeted = False
        self._trouble = "not opened yet"
        self._due_s = 0.0
        self._stop = False
        self._thread: threading.Thread | None = None
        self._traffic: deque[tuple[float, bool, bytes]] = deque(maxlen=_TRAFFIC_LINES)

    # --- any thread ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the port, anew if it is open, and greet. Raises `NotConnected` or `CommunicationLost`."""
        if not self._is_running():
            self._see_it_ended()
            self._bell.hang_up()
            self._stop, self._due_s = False, time.monotonic() + _RETRY_S
            self._thread = threading.Thread(
                target=self._main, name=f"link {self._settings.name}", daemon=True
            )
            self._thread.start()
        self.run(self._reopen, "connect", within_s=10.0, even_aborted=True)

    def close(self) -> None:
        """End the conversation and the thread; no call blocks any longer."""
        self._stop = True
        self._bell.ring()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_END_WITHIN_S)

    def _see_it_ended(self) -> None:
        """A port has one owner: one that was closed and is held up in its port still has it."""
        self.close()
        if self._thread is not None and self._thread.is_alive():
            raise CommunicationLost(
                f"{self._settings.name}: {self._settings.url} is still being closed; check it, connect again"
            )

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._stop

    def run(
        self, work: Callable[[], T], what: str, *, within_s: float = 2.0, even_aborted: bool = False
    ) -> T:
        """Have the owner carry it out, and wait.

        Raises
        ------
        NotConnected
            There is no conversation, or no port to hold it on.
        Aborted
            An abort came after the call began.
        CommunicationLost
            It was not done in time; what of it was not begun is never done.
        """
        if not self._is_running():
            raise NotConnected(f"{self._settings.name} is not connected; connect first")
        with self._lock:
            job = _Job(work, what, None if even_aborted else self._epoch)
            self._jobs.append(job)
        self._bell.ring()
        try:
            return job.future.result(within_s)
        except NotInTime:
            job.given_up = True
            raise CommunicationLost(
                f"{self._settings.name}: '{what}' was not done within {within_s:g} s "
                f"({self._trouble or 'busy'}); check its power and line"
            ) from None

    def later(self, work: Callable[[], Any], what: str) -> None:
        """Have the owner carry it out next, whatever was aborted, once if it waits already; nobody waits."""
        if self._is_running():
            with self._lock:
                if all(job.work != work for job in self._jobs):
                    self._jobs.appendleft(_Job(work, what, None))
            self._bell.ring()

    def abort(self, data: bytes) -> None:
        """Void every job handed over so far and send `data` before anything else.

        Raises `CommunicationLost` if there is no port to send it on; the jobs are void all the same. On a
        link that was never opened or is closed nothing can be in flight: then nothing happens.
        """
        with self._lock:
            self._epoch += 1
            self._urgent.append(data)
        self._bell.ring()
        if self._port is None and self._is_running():
            raise CommunicationLost(
                f"{self._settings.name}: an abort cannot be sent: {self._trouble}; use the emergency stop"
            )

    @property
    def trouble(self) -> str:
        """Why the line is not well; empty while it is."""
        return self._trouble

    def traffic(self) -> tuple[Traffic, ...]:
        """The newest frames in both directions, decoded."""
        return tuple(
            Traffic(at, sent, data, self._dialogue.describe(data)) for at, sent, data in self._traffic.copy()
        )

    # --- the owner: what jobs, greeting and polling may call ---------------------------------------------

    def exchange(self, data: bytes, answer: Callable[[bytes], T | None], within_s: float | None = None) -> T:
        """Send a frame and give what `answer` makes of the first frame that it recognises.

        Raises
        ------
        Aborted
            The job was overtaken; the frame was not sent.
        CommunicationLost
            No answer by the deadline.
        NotConnected
            The conversation is being closed.
        """
        self.send(data)
        patience_s = within_s or self._settings.answer_within_s
        deadline_s = time.monotonic() + patience_s
        while (frame := self._next_frame(deadline_s)) is not None:
            result = answer(frame)
            if result is not None:
                return result
            self._dialogue.heard(frame)
        self._greeted = False
        if self._stop:
            raise NotConnected(f"{self._settings.name} was closed; connect first")
        raise self._lost(f"no answer to {self._dialogue.describe(data)} within {patience_s:g} s")

    def send(self, data: bytes, *, even_aborted: bool = False) -> None:
        """Send a frame that has no answer. Raises as `exchange`."""
        with self._lock:
            if not even_aborted:
                self._refuse_overtaken(self._job)
            self._write_urgent()
            self._write(data)

    def poll_next(self) -> None:
        """Poll as soon as no job waits: a job has changed what is to be watched."""
        self._due_s = 0.0

    def listen(self, seconds: float) -> None:
        """Hand what comes to `heard` for that long."""
        deadline_s = time.monotonic() + seconds
        while (frame := self._next_frame(deadline_s)) is not None:
            self._dialogue.heard(frame)

    # --- the owner's loop ----------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            while not self._stop:
                try:
                    self._step()
                except Exception:  # noqa: BLE001  the thread's top: a line outlives a mistake of its driver, and says so
                    _LOG.exception("%s: the driver failed", self._settings.name)
                    self._trouble, self._greeted = "the driver failed; see the log", False
                    self._buffer.clear()
                    self._due_s = time.monotonic() + _RETRY_S
        finally:
            self._shut("closed")
            while self._jobs:
                self._jobs.popleft().future.set_exception(
                    NotConnected(f"{self._settings.name} was closed; connect first")
                )
            self._bell.take_down()

    def _step(self) -> None:
        job = self._next_job()
        if job is not None:
            self._carry_out(job)
        elif time.monotonic() >= self._due_s:
            self._keep_up()

    def _next_job(self) -> _Job | None:
        """The next job, or None when it is time to poll; meanwhile it listens."""
        while not self._stop:
            with self._lock:
                if self._jobs:
                    return self._jobs.popleft()
            if time.monotonic() >= self._due_s:
                return None
            try:
                frame = self._next_frame(self._due_s, once=True)
                if frame is not None:
                    self._dialogue.heard(frame)
            except DeviceError:
                return None
        return None

    def _carry_out(self, job: _Job) -> None:
        """Hand the outcome to whoever waits, whatever it is."""
        self._job = job
        try:
            self._refuse_overtaken(job)
            if job.work != self._reopen:
                self._be_ready()
            result = job.work()
            self._refuse_overtaken(job)
            job.future.set_result(result)
        except Exception as error:  # noqa: BLE001  the future carries it to whoever asked
            job.future.set_exception(self._overtaken(job) or error)
        finally:
            self._job = None

    def _refuse_overtaken(self, job: _Job | None) -> None:
        overtaken = self._overtaken(job)
        if overtaken:
            raise overtaken

    def _overtaken(self, job: _Job | None) -> Aborted | None:
        """Why the job is void: whatever else went wrong with it is of no interest then."""
        if job is not None and (job.given_up or job.epoch not in {None, self._epoch}):
            return Aborted(f"{self._settings.name}: '{job.what}' was overtaken; start anew")
        return None

    def _keep_up(self) -> None:
        """Poll; a line that is not well is tried again and again, slowly."""
        try:
            self._be_ready()
            pause_s = self._dialogue.poll()
            self._due_s = time.monotonic() + (self._dialogue.period_s if pause_s is None else pause_s)
        except DeviceError:
            pause_s = _RETRY_S if self._port is None else self._dialogue.period_s
            self._due_s = time.monotonic() + pause_s

    def _be_ready(self) -> None:
        if self._port is None:
            self._open_port()
        if not self._greeted:
            self._buffer.clear()
            self._dialogue.greet()
            self._greeted, self._trouble = True, ""

    def _reopen(self) -> None:
        self._shut("being opened")
        self._be_ready()
        self.poll_next()

    # --- the port ------------------------------------------------------------------------------------

    def _open_port(self) -> None:
        settings = self._settings
        try:
            port = Port(settings.url, settings.baud)
        except PortGone as error:
            self._trouble = str(error)
            raise NotConnected(
                f"{settings.name} is not there: {error}; check power, line and room file"
            ) from error
        with self._lock:
            self._urgent.clear()  # an abort never queues: what was to overtake on an old port is stale
            self._port, self._greeted = port, False
        self._buffer.clear()

    def _shut(self, why: str) -> None:
        port, self._port, self._greeted = self._port, None, False
        self._trouble = why
        if port is not None:
            port.close()

    def _lost(self, why: str) -> CommunicationLost:
        self._trouble = why
        return CommunicationLost(f"{self._settings.name}: {why}; check its power and line")

    def _next_frame(self, deadline_s: float, *, once: bool = False) -> bytes | None:
        """The next frame; None at the deadline, with `once` also when woken. Raises `CommunicationLost`."""
        while True:
            frame = self._take()
            left_s = deadline_s - time.monotonic()
            if frame is not None or left_s <= 0 or self._stop:
                return frame
            woken = self._listen(left_s)
            with self._lock:
                self._write_urgent()
            if woken and once:
                return self._take()

    def _take(self) -> bytes | None:
        frame = self._dialogue.split(self._buffer)
        if frame is None and len(self._buffer) > _LONGEST:  # a device that babbles must not fill the memory
            self._buffer.clear()
        if frame is not None:
            self._traffic.append((self._clock.now(), False, frame))
        return frame

    def _listen(self, seconds: float) -> bool:
        """Until something comes or somebody rings; True if rung."""
        if self._port is None:
            return wait(self._bell, seconds)
        try:
            woken = self._port.wait(self._bell, seconds)
            self._buffer += self._port.read()
        except PortGone as error:
            self._shut(str(error))
            raise self._lost(str(error)) from error
        return woken

    def _write_urgent(self) -> None:
        while self._urgent:
            self._write(self._urgent.popleft())

    def _write(self, data: bytes) -> None:
        if self._port is None:
            raise self._lost(self._trouble or "the port is not open")
        self._traffic.append((self._clock.now(), True, data))
        try:
            self._port.write(data)
        except PortGone as error:
            self._shut(str(error))
            raise self._lost(str(error)) from error
