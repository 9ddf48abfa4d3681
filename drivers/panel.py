"""Panels that integrate between readouts and keep no frame of their own: what their drivers share.

Such a panel (an industrial flat panel on GigE Vision, GenTL or a vendor's library) collects charge all the
time; every trigger reads it out and so clears it. From that alone a window is made::

    IDLE ─ arm ─▶ ARMING ─ clearing frames whole ─▶ READY ─ read_out, or the window is over ─▶ READING
    READING ─ frame whole ─▶ FRAME_HELD ─ fetch ─▶ IDLE
    ARMING, a clearing frame incomplete: trigger again, at most `clear_tries` times, then IDLE
    READING, the frame incomplete or late: IDLE, and the frame is lost

- `arm` triggers a clearing readout and throws its frame away; what fell on the panel before is gone with it,
  except lag. The frame of the next trigger carries all charge since.
- A frame is used only if it came whole, in the right shape, between its own trigger and its deadline. The
  source is restarted for every window: a late frame of an earlier trigger cannot be taken for a later one.
- A lost frame is never asked for again, for its charge is gone: `fetch` and `recover` say so, `arm` works.
- If the line breaks while a window is open its frame is lost, whatever the camera kept: nobody can tell
  whether it was cleared meanwhile.
- Frames are held in this process under the exposure's UID until `discard`; a restart of the station drops
  them, a new connection to the camera does not.

One thread owns the source; every method of `Source` but the `arrived` it was given is called on that thread.
A line that falls silent is closed and opened again until it answers; nothing is triggered by that.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from drivers.held import Held, HeldFrames
from drivers.owner import Job, Owner
from drivers.panel_source import Lost, PanelFacts, Source, Timing
from station.clock import Clock
from station.devices import (
    Aborted,
    CommunicationLost,
    DetectorInfo,
    DetectorState,
    DetectorStatus,
    DeviceError,
    DeviceRefused,
    NotConnected,
)
from station.frame import Frame, Pixels

SHORTEST_WINDOW_MS = 10.0
_UID = re.compile(r"[0-9A-Za-z.-]{1,64}")
_BACKOFF_S = (0.5, 5.0)  # between attempts to open a silent line: first and longest
_WINDOW_STATES = frozenset({DetectorState.ARMING, DetectorState.READY})
_OPEN_STATES = _WINDOW_STATES | {DetectorState.READING}


class IntegratingPanel:
    """Satisfies `station.devices.Detector` over a `Source`."""

    def __init__(self, name: str, source: Source, clock: Clock, timing: Timing) -> None:
        self._name, self._source, self._clock, self._timing = name, source, clock, timing
        self._lock = threading.RLock()  # for bookkeeping only, never held while the source is called
        self._owner = Owner(name, self._tick, self._line_lost)
        self._facts: PanelFacts | None = None
        self._alive, self._why_dead = False, "not opened yet"
        self._state, self._uid, self._why_idle = DetectorState.UNKNOWN, "", ""
        self._epoch = 0  # of the window: arrivals and steps of an earlier one do nothing
        self._window_s, self._cleared, self._failed = 0.0, 0, 0
        self._due_s = 0.0  # of the awaited frame, or of the window's end
        self._poll_due_s, self._open_due_s, self._backoff_s = 0.0, 0.0, _BACKOFF_S[0]
        self._read_at = clock.wall()
        self._frames = HeldFrames(name)
        self._at = clock.now()
        self._temperature_c: float | None = None
        self._known = DetectorStatus(self._state, self._at, None, 0)

    # --- contract, any thread ---

    def connect(self) -> None:
        self._owner.start()
        try:
            self._owner.ask("connect", lambda _: self._connect(), self._timing.connect_s)
        finally:
            if self._facts is None:  # never was there: nothing to keep trying for
                self.close()

    def close(self) -> None:
        self._owner.stop(self._source.close)
        with self._lock:
            self._alive, self._why_dead = False, "closed"
            self._end_window(
                DetectorState.UNKNOWN, "the detector was closed", lost=self._state in _OPEN_STATES
            )

    def info(self) -> DetectorInfo:
        if self._facts is None:
            raise NotConnected(f"{self._name}: not connected; connect first")
        return self._facts.info

    def status(self) -> DetectorStatus:
        return self._known

    def arm(self, exposure_uid: str, window_ms: float) -> None:
        low, high = SHORTEST_WINDOW_MS, self.info().longest_window_ms
        if not low <= window_ms <= high:
            raise DeviceRefused(
                f"{self._name}: window of {window_ms:g} ms asked, {low:g} to {high:g} ms is allowed; "
                "change the room's prepare_timeout_s or arm_token_s"
            )
        if not _UID.fullmatch(exposure_uid):
            raise DeviceRefused(
                f"{self._name}: exposure UID '{exposure_uid}' is no name for a frame; "
                "1 to 64 letters, digits, dots and dashes are allowed"
            )
        self._command("arm", lambda job: self._arm(exposure_uid, window_ms / 1000, job))

    def read_out(self) -> None:
        # done even if the caller gave up waiting: it may carry dose
        self._command("read out", lambda _: self._read_out(), matters=True)

    def fetch(self) -> Frame:
        with self._lock:
            if self._state is not DetectorState.FRAME_HELD:
                self._need_facts("fetch a frame")
                self._frames.say_if_lost(self._uid)
                self._refuse_unless(DetectorState.FRAME_HELD, "fetch a frame")
            return self.recover(self._uid)

    def recover(self, exposure_uid: str) -> Frame:
        with self._lock:
            facts = self._need_facts("recover a frame")
            held = self._frames.get(exposure_uid)
            self._let_go(exposure_uid)
        return facts.frame(held.pixels.copy(), held.acquired_at)

    def discard(self, exposure_uid: str) -> None:
        with self._lock:
            self._need_facts("discard a frame")
            self._frames.discard(exposure_uid)
            self._let_go(exposure_uid)

    def abort(self) -> None:
        with self._lock:
            self._owner.overtake(Aborted(f"{self._name}: overtaken by an abort; arm anew"))
            if self._state in _WINDOW_STATES:
                self._end_window(DetectorState.IDLE, "the window was aborted")
                self._owner.tell(self._settle)

    def _command(self, what: str, action: Callable[[Job], None], *, matters: bool = False) -> None:
        with self._lock:
            self._need_facts(what)
            if not self._alive:
                raise CommunicationLost(
                    f"{self._name}: cannot {what}: {self._why_dead}. The line is tried again by itself; "
                    "check the panel's power and cable"
                )
        self._owner.ask(what, action, self._timing.command_s, matters=matters)

    # --- bookkeeping, under the lock ---

    def _need_facts(self, what: str) -> PanelFacts:
        if self._facts is None or not self._owner.running:
            raise NotConnected(f"{self._name}: cannot {what}: not connected; connect first")
        return self._facts

    def _refuse_unless(self, needed: DetectorState, what: str) -> None:
        if self._state is not needed:
            why = f" ({self._why_idle})" if self._why_idle else ""
            raise DeviceRefused(
                f"{self._name}: cannot {what}: the detector is in {self._state}{why}, it must be in {needed}"
            )

    def _let_go(self, uid: str) -> None:
        """A frame was taken or dropped: the panel is free for the next window."""
        if self._state is DetectorState.FRAME_HELD and self._uid == uid:
            self._state = DetectorState.IDLE if self._alive else DetectorState.UNKNOWN
        self._publish()

    def _enter(self, state: DetectorState) -> None:
        self._state = state
        self._publish()

    def _end_window(self, state: DetectorState, why: str, *, lost: bool = False) -> None:
        """Whatever belonged to the window is void from here on."""
        self._epoch += 1
        self._why_idle = why
        if lost:
            self._frames.lose(self._uid, why)
        self._enter(state)

    def _publish(self) -> None:
        free = self._frames.free if self._alive else 0
        self._known = DetectorStatus(self._state, self._at, self._temperature_c, free)

    # --- the owner's thread ---

    def _connect(self) -> None:
        if self._alive:
            self._poll()
        if not self._alive:
            self._open()

    def _open(self) -> None:
        """Open the line; raises what the source raises."""
        try:
            facts = self._source.open()
            self._refuse_another(facts.info)
            temperature_c = self._source.poll()
        except DeviceError as error:
            self._source.close()
            self._why_dead = str(error)
            self._open_due_s = time.monotonic() + self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, _BACKOFF_S[1])
            raise
        with self._lock:
            self._facts, self._alive, self._backoff_s = facts, True, _BACKOFF_S[0]
            self._temperature_c, self._at = temperature_c, self._clock.now()
            held = self._state is DetectorState.FRAME_HELD
            self._enter(DetectorState.FRAME_HELD if held else DetectorState.IDLE)

    def _refuse_another(self, info: DetectorInfo) -> None:
        """Frames and calibration belong to one panel."""
        if self._facts is not None and self._facts.info != info:
            raise NotConnected(
                f"{self._name}: {info.model} {info.serial} ({info.rows} x {info.columns}) answers instead of "
                f"{self._facts.info.serial}; connect the former panel or restart the station"
            )

    def _line_lost(self, why: str) -> None:
        """Close what does not answer; `_tick` opens it again."""
        with self._lock:
            self._alive, self._why_dead = False, why
            self._open_due_s = time.monotonic() + self._backoff_s
            if self._state in _OPEN_STATES:
                why = f"the line broke while its window was open ({why})"
                self._end_window(DetectorState.UNKNOWN, why, lost=True)
            elif self._state is DetectorState.IDLE:
                self._enter(DetectorState.UNKNOWN)
            else:
                self._publish()
        self._source.close()

    def _poll(self) -> None:
        try:
            temperature_c = self._source.poll()
        except DeviceError as error:
            self._line_lost(str(error))
            return
        with self._lock:
            self._temperature_c, self._at = temperature_c, self._clock.now()
            self._publish()
        self._poll_due_s = time.monotonic() + self._timing.poll_s

    def _tick(self) -> float:
        """What time alone brings about; gives the seconds until it wants to be asked again."""
        if self._facts is None:
            return self._timing.poll_s
        if not self._alive:
            return self._reopen()
        overdue = self._state in _OPEN_STATES and time.monotonic() >= self._due_s
        if overdue and not self._owner.busy:  # a frame that came in time may wait behind a slow call
            self._overdue()
        if self._alive and time.monotonic() >= self._poll_due_s:
            self._poll()
        due_s = self._poll_due_s
        if self._state in _OPEN_STATES:
            due_s = min(due_s, self._due_s)
        return max(due_s - time.monotonic(), 0.0)

    def _reopen(self) -> float:
        if time.monotonic() >= self._open_due_s:
            with suppress(DeviceError):  # `_open` has noted why and when to try again
                self._open()
        return self._timing.poll_s

    def _overdue(self) -> None:
        if self._state is DetectorState.READY:
            with suppress(DeviceError):  # `_read_out` has closed the line and noted the loss
                self._read_out()
        else:
            self._arrived(self._epoch, Lost(f"no whole frame within {self._timing.frame_s:g} s"))

    # --- windows, on the owner's thread ---

    def _arm(self, uid: str, window_s: float, job: Job) -> None:
        with self._lock:
            self._refuse_unless(DetectorState.IDLE, "arm")
            self._frames.refuse_unless_free(uid)
            if job.done.is_set():
                return
            self._uid, self._window_s, self._cleared, self._failed = uid, window_s, 0, 0
            self._why_idle = ""
            self._epoch += 1
            self._enter(DetectorState.ARMING)
        self._clear()
        with self._lock:
            if not job.finish() and self._state is DetectorState.ARMING:  # its caller was told that it failed
                self._end_window(DetectorState.IDLE, "arming took too long")
                self._owner.tell(self._settle)

    def _clear(self) -> None:
        """Restart the source and trigger a readout whose frame will be thrown away."""
        epoch = self._epoch
        try:
            self._source.start(lambda arrival: self._owner.tell(lambda: self._arrived(epoch, arrival)))
            self._source.trigger()
            self._due_s = time.monotonic() + self._timing.frame_s
        except (CommunicationLost, NotConnected) as error:
            self._line_lost(str(error))
            raise
        except DeviceError as error:
            self._give_up_arming(str(error))
            raise

    def _give_up_arming(self, why: str) -> None:
        with self._lock:
            if self._state is DetectorState.ARMING:
                self._end_window(DetectorState.IDLE, f"arming was given up: {why}")
        self._settle()

    def _read_out(self) -> None:
        with self._lock:
            if self._state in {DetectorState.READING, DetectorState.FRAME_HELD}:
                return  # the window ended by itself a moment ago: the frame follows all the same
            self._frames.say_if_lost(self._uid)
            self._refuse_unless(DetectorState.READY, "read out")
            epoch = self._epoch
        try:
            self._source.trigger()
        except DeviceError as error:
            self._line_lost(str(error))  # whether it was read out is unknown: never trigger again for it
            raise
        self._due_s = time.monotonic() + self._timing.frame_s
        with self._lock:
            if epoch == self._epoch:  # else an abort came first
                self._read_at = self._clock.wall()
                self._enter(DetectorState.READING)

    def _arrived(self, epoch: int, arrival: Pixels | Lost) -> None:
        """A frame, or the news that it did not come whole."""
        if not isinstance(arrival, Lost):
            arrival = self._checked(arrival)
        with self._lock:
            if epoch != self._epoch:
                return
            state = self._state
            if not isinstance(arrival, Lost):
                self._at = self._clock.now()
            if state is DetectorState.READING:
                self._end_reading(arrival)
            elif state is DetectorState.READY:
                self._end_window(DetectorState.IDLE, "the panel was read out by somebody else", lost=True)
        if state is DetectorState.ARMING:
            self._cleared_one(arrival)
        else:
            self._settle()

    def _checked(self, pixels: Pixels) -> Pixels | Lost:
        info = self.info()
        if pixels.shape != (info.rows, info.columns) or pixels.dtype != np.uint16:
            return Lost(f"a frame of {pixels.shape} {pixels.dtype} came, not {info.rows} x {info.columns}")
        return pixels

    def _end_reading(self, arrival: Pixels | Lost) -> None:
        if isinstance(arrival, Lost):
            self._end_window(DetectorState.IDLE, arrival.reason, lost=True)
            return
        self._frames.keep(self._uid, Held(arrival, self._read_at))
        self._end_window(DetectorState.FRAME_HELD, "")

    def _cleared_one(self, arrival: Pixels | Lost) -> None:
        if isinstance(arrival, Lost):
            self._failed += 1
            if self._failed >= self._timing.clear_tries:
                self._give_up_arming(
                    f"{self._failed} clearing frames were lost, the last one: {arrival.reason}"
                )
                return
        else:
            self._cleared += 1
        if self._cleared < self._timing.clears:
            with self._lock:
                self._epoch += self._state is DetectorState.ARMING  # the failed one may still come
            with suppress(DeviceError):  # `_clear` has closed the line or given up
                self._clear()
            return
        with self._lock:
            if self._state is DetectorState.ARMING:
                self._due_s = time.monotonic() + self._window_s
                self._enter(DetectorState.READY)

    def _settle(self) -> None:
        """The source need not run between windows; a line idle for long is known to drop frames."""
        if self._alive and self._state not in _OPEN_STATES:
            try:
                self._source.stop()
            except DeviceError as error:
                self._line_lost(str(error))
