"""One thread that owns a device's line or library; everybody else hands it jobs and waits with a deadline.

A caller gets the first of: the job's end, its error, an abort that overtook it, its deadline. A job that
nobody waits for any more is not begun, unless it `matters`; one under way learns from `Job.finish` at its
decisive step whether its caller was told otherwise meanwhile.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from station.devices import CommunicationLost, DeviceError, NotConnected

_JOIN_S = 5.0  # longer than any single call into a vendor's library should take


@dataclass(slots=True)
class Job:
    """Something asked of the owner; whoever finishes it first decides how it ended."""

    what: str
    action: "Callable[[Job], None]"
    matters: bool  # run it even if its caller gave up waiting
    done: threading.Event = field(default_factory=threading.Event)
    error: DeviceError | None = None
    overtaken: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def finish(self, error: DeviceError | None = None, *, overtaken: bool = False) -> bool:
        """True if this call decided the end."""
        with self._lock:
            if self.done.is_set():
                return False
            self.error, self.overtaken = error, overtaken
            self.done.set()
            return True


class Owner:
    """The thread. `tick` runs after every job and says in how many seconds it wants to run again."""

    def __init__(self, name: str, tick: Callable[[], float], broke: Callable[[str], None]) -> None:
        self._name, self._tick, self._broke = name, tick, broke
        self._lock = threading.Lock()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._pending: list[Job] = []

    @property
    def running(self) -> bool:
        """True between `start` and `stop`."""
        return self._thread is not None and not self._stopping

    @property
    def busy(self) -> bool:
        """True while something waits to be run."""
        return not self._inbox.empty()

    def start(self) -> None:
        """Start unless running. Raises `CommunicationLost` while a stopped thread is stuck in its library."""
        if self.running:
            return
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            if self._thread.is_alive():
                raise CommunicationLost(
                    f"{self._name}: the device's library has not come back from an earlier call; "
                    "restart the station"
                )
        self._stopping, self._inbox = False, queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(self._inbox,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self, last: Callable[[], None]) -> None:
        """Run `last` on the thread and end it; returns without it if the library does not come back."""
        thread = self._thread
        if thread is None or self._stopping:
            return
        self._stopping = True
        self.overtake(NotConnected(f"{self._name}: closed meanwhile; connect first"))
        self._inbox.put(last)
        self._inbox.put(None)
        thread.join(_JOIN_S)
        if not thread.is_alive():
            self._thread = None

    def tell(self, action: Callable[[], None]) -> None:
        """Run `action` on the thread; nobody waits."""
        self._inbox.put(action)

    def ask(
        self, what: str, action: Callable[[Job], None], deadline_s: float, *, matters: bool = False
    ) -> None:
        """Run `action` on the thread and wait for its end. Raises its `DeviceError`."""
        job = Job(what, action, matters)
        with self._lock:
            self._pending.append(job)
        self._inbox.put(lambda: self._work(job))
        if not job.done.wait(deadline_s):
            job.finish(
                CommunicationLost(
                    f"{self._name}: no answer to '{what}' within {deadline_s:g} s; "
                    "check the device's power and cable, then connect"
                )
            )
        if job.error is not None:
            raise job.error

    def overtake(self, error: DeviceError) -> None:
        """End every job that somebody waits for; one that has not begun is never begun."""
        with self._lock:
            pending = list(self._pending)
        for job in pending:
            job.finish(error, overtaken=True)

    def _work(self, job: Job) -> None:
        try:
            if not job.done.is_set() or (job.matters and not job.overtaken):
                job.action(job)
            job.finish()
        except DeviceError as error:
            job.finish(error)
        finally:
            job.finish(CommunicationLost(f"{self._name}: '{job.what}' failed inside the driver"))
            with self._lock:
                self._pending.remove(job)

    def _run(self, inbox: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        due_s = time.monotonic()
        while True:
            try:
                action = inbox.get(timeout=max(due_s - time.monotonic(), 0.0))
            except queue.Empty:
                action = _nothing
            if action is None:
                return
            try:
                action()
                due_s = time.monotonic() + self._tick()
            except Exception as error:  # noqa: BLE001  a thread's top: the device is given up, not the thread
                self._broke(f"internal error: {error!r}")
                due_s = time.monotonic() + 1.0


def _nothing() -> None:
    pass
