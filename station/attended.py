"""A station with people at it: its thread, its long tasks, and what its screens may see.

One thread owns the controller. Screens never touch it: they read `snapshot`, the newest frozen picture of
the station, and send triggers that name the exam they were meant for. Long work (a calibration) is carried
out by the same thread between steps, shows how far it came, and can be cancelled. When the screens end,
whatever they were showing, the thread first brings an exposure under way to disk.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from station.clock import Clock
from station.controller import Controller, Snapshot
from station.devices import Attendant, DeviceError, SwitchStage
from station.exam import WorklistItem
from station.liaison import Liaison
from station.operate import Cancelled, Operator, job_for
from station.operators import Operator as Person
from station.positioning import PositioningReport
from station.states import State, Trigger

RADIATION = frozenset({State.PREPARING, State.READY, State.EXPOSING, State.READOUT})  # nothing may distract

_STEP_S = 0.01
_TELL_S = 0.1  # between looks at what changes all the time
_RETRY_S = 3.0  # between attempts to connect
_END_S = 30.0  # for an exposure under way to reach the disk
_HOLD_S = 0.3  # a hand lets go of a switch that does nothing


@dataclass(frozen=True, slots=True)
class Task:
    """Long work under way."""

    name: str
    step: str  # what is being done, in words
    done: float  # 0 to 1
    began_s: float  # monotonic

    def remaining_s(self) -> float | None:
        """By the pace so far; None before there is any."""
        passed_s = time.monotonic() - self.began_s
        return passed_s * (1 - self.done) / self.done if self.done else None


@dataclass(frozen=True, slots=True)
class _Wish:
    task: Task
    work: Callable[[Operator], Any]
    give_up: Callable[[Operator], None]
    steps: int  # how often it says something


class HandSwitch:
    """The switch in the hand of a person whom software can direct.

    A terminal has no key-up: each squeeze goes one stage further, and the hand lets go by itself when the
    exposure is over or nothing comes of it.
    """

    def __init__(self, attendant: Attendant, clock: Clock) -> None:
        self.attendant = attendant
        self._clock = clock
        self.stage = SwitchStage.RELEASED
        self._since_s = 0.0

    def squeeze(self) -> None:
        """One stage further."""
        self._hold(SwitchStage.PREPARE if self.stage is SwitchStage.RELEASED else SwitchStage.EXPOSE)

    def let_go(self) -> None:
        """Release it."""
        self._hold(SwitchStage.RELEASED)

    def follow(self, state: State) -> None:
        """What a person does who sees the station in this state."""
        if self.stage is SwitchStage.RELEASED or state in {State.PREPARING, State.READY, State.EXPOSING}:
            return
        if state is not State.POSITIONING or self._clock.now() - self._since_s > _HOLD_S:
            self.let_go()

    def _hold(self, stage: SwitchStage) -> None:
        self.stage, self._since_s = stage, self._clock.now()
        self.attendant.press(stage)


class Attended:
    """One station while people are at it."""

    def __init__(
        self,
        controller: Controller,
        liaison: Liaison | None = None,
        first: "Callable[[Attended], None] | None" = None,
    ) -> None:
        self.controller = controller
        self.parts = controller.parts
        self.liaison = liaison
        attendant = controller.parts.equipment.attendant
        self.switch = HandSwitch(attendant, self.parts.clock) if attendant else None
        self.snapshot: Snapshot = controller.snapshot
        self.trouble = ""  # why the station does not start or does not go on, in words
        self.task: Task | None = None
        self.news = ""  # how the last task ended
        self._first = first  # what is done as soon as the station has started
        self._changed: Callable[[], None] = _nothing
        self._wish: _Wish | None = None
        self._cancel = threading.Event()
        self._stop = threading.Event()
        self._started = False
        self._failing = False  # its last step did
        self._retry_at_s = 0.0
        self._told_s = 0.0
        controller.listeners.append(self._see)

    # --- any thread ----------------------------------------------------------------------------------

    def silent_s(self) -> float:
        """For how long the station has not looked around: what is shown is as old as that."""
        return self.parts.clock.now() - self.snapshot.view.at

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` (from the station's thread; it must return at once) when there is something new."""
        self._changed = changed

    def submit(self, trigger: Trigger, **detail: Any) -> None:
        """A trigger for the exam that is shown now."""
        job = self.snapshot.job
        self.controller.submit(trigger, **({"exam": job.exam.uid} if job else {}), **detail)

    def open(self, item: WorklistItem, hand_size: str, **detail: Any) -> None:
        """A new exam of this order."""
        job = job_for(self.controller, item, hand_size)
        self.controller.submit(Trigger.OPEN_EXAM, job=job, **detail)

    def confirm(self, report: PositioningReport) -> None:
        """The operator's list, in rooms without a camera."""
        job = self.snapshot.job
        self.controller.confirm_positioning(report, exam=job.exam.uid if job else "")

    def sign_in(self, operator: Person | None) -> None:
        """Whose actions these are from now on; None locks the station."""
        if operator is None:
            self.controller.lock()
        else:
            self.controller.sign_in(operator.id, operator.role)

    def abort(self, by: str = "") -> None:
        """End radiation, preparation and any task, from any state."""
        self._cancel.set()
        if self.switch:
            self.switch.let_go()
        self.controller.abort(by)

    def begin(
        self,
        name: str,
        work: Callable[[Operator], Any],
        *,
        steps: int,
        give_up: Callable[[Operator], None] | None = None,
    ) -> None:
        """Carry out long work on the station's thread. Raises ValueError while there is another task."""
        if self.task is not None:
            raise ValueError(f"{self.task.name} is under way; wait for it or cancel it")
        self._cancel.clear()
        self.task = Task(name, "", 0.0, time.monotonic())
        self._wish = _Wish(self.task, work, give_up or _leave, steps)

    def cancel(self) -> None:
        """End the task at its next step."""
        self._cancel.set()

    # --- the station's thread ------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Generator["Attended"]:
        """The thread, until the block is left; then an exposure under way is brought to disk."""
        thread = threading.Thread(target=self._run, name="station")
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._cancel.set()  # a task holds the thread until its next step
            thread.join()

    def turn(self) -> None:
        """One step: connect what is not connected, carry out a task, or look around."""
        if not self._started:
            self._start()
        elif (wish := self._wish) is not None:
            self._wish = None
            self._carry_out(wish)
        else:
            self.controller.step()

    def survive(self, step: Callable[[], None]) -> None:
        """A defect of ours ends radiation and is told; the thread stays, for a frame may be on its way."""
        try:
            step()
        except Exception as error:  # noqa: BLE001  whatever it is
            self.trouble = f"the station's program failed ({error!r}): end it, start it again, call service"
            if not self._failing:
                self.controller.abort()
            self._failing = True
            self._tell()
        else:
            self._failing = False

    def finish(self) -> None:
        """Bring an exposure under way to disk, and disconnect."""
        if self.snapshot.state in {State.PREPARING, State.READY}:
            self.abort()
        until_s = self.parts.clock.now() + _END_S
        while self.snapshot.state in RADIATION and self.parts.clock.now() < until_s:
            self.controller.step()
            self.parts.clock.sleep(_STEP_S)
        with suppress(DeviceError):
            self.controller.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.survive(self.turn)
            self.parts.clock.sleep(_STEP_S)
        self.survive(self.finish)

    def _start(self) -> None:
        if self.parts.clock.now() < self._retry_at_s:
            return
        try:
            self.controller.start()
        except DeviceError as error:
            self.trouble = str(error)
            self._retry_at_s = self.parts.clock.now() + _RETRY_S
            with suppress(DeviceError):
                self.controller.close()
        else:
            self._started, self.trouble = True, ""
            self.controller.step()
            if self._first:
                self._first(self)
        self._tell()

    def _carry_out(self, wish: _Wish) -> None:
        said = 0

        def say(text: str) -> None:
            nonlocal said
            said += 1
            self.task = replace(wish.task, step=text, done=min(said / wish.steps, 1.0))
            self._tell()

        operator = Operator(self.controller, say, self._cancel.is_set)
        try:
            wish.work(operator)
        except Exception as error:  # noqa: BLE001  a task that fails must not take the station's thread along
            self.news = f"{wish.task.name}: {error}"
            self._give_up(wish, cancelled=isinstance(error, Cancelled))
        else:
            self.news = f"{wish.task.name}: done"
        self.task = None
        self._tell()

    def _give_up(self, wish: _Wish, *, cancelled: bool) -> None:
        self._cancel.clear()
        try:
            wish.give_up(Operator(self.controller, _ignore))
        except Exception as error:  # noqa: BLE001  as above
            self.news += f"; {error}"
        if cancelled:
            self.news = f"{wish.task.name}: cancelled"

    def _see(self, snapshot: Snapshot) -> None:
        before, self.snapshot = self.snapshot, snapshot
        if self.switch:
            self.switch.follow(snapshot.state)
        if _differs(before, snapshot) or self.parts.clock.now() - self._told_s > _TELL_S:
            self._tell()

    def _tell(self) -> None:
        self._told_s = self.parts.clock.now()
        self._changed()


def _differs(before: Snapshot, now: Snapshot) -> bool:
    return (
        before.state is not now.state
        or before.job is not now.job
        or before.outcome is not now.outcome
        or before.finished is not now.finished
        or before.exposures != now.exposures
        or before.message != now.message
    )


def _leave(operator: Operator) -> None:
    """Nothing to bring back."""
    del operator


def _ignore(_: str) -> None:
    """Nobody listens."""


def _nothing() -> None:
    """Nobody looks."""
