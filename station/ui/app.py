"""The operator's terminal: snapshots in, triggers out. It owns nothing and may end at any moment.

The state decides which screen is shown when it changes: worklist, exam, review, service. Between the changes
people may look elsewhere, but never while radiation is possible.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from rich.traceback import Traceback
from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.events import Event, Key, MouseEvent
from textual.message import Message
from textual.screen import Screen
from textual.theme import Theme

from station.actions import ACTIONS, Action, Situation
from station.attended import RADIATION, Attended
from station.keys import Keys, load_keys, shown
from station.operators import Operator, local_operator
from station.outbox.job import State as JobState
from station.states import State, Trigger
from station.ui.dialogs import Attendant, Help, SignIn
from station.ui.exam import ExamScreen
from station.ui.frame import StationScreen
from station.ui.outbox import OutboxScreen
from station.ui.picture import Way
from station.ui.recorder import RecorderScreen
from station.ui.review import ReviewScreen
from station.ui.service import ServiceScreen
from station.ui.worklist import WorklistScreen

_SCREEN_OF = {
    State.STARTING: "worklist",
    State.STANDBY: "worklist",
    State.REVIEW: "review",
    State.SERVICE: "service",
}
_RADIATION_SHOWN_S = 0.25  # at least: an exposure may be over within milliseconds, and must be seen
_SLOW_LOOK_S = 2.0  # between looks at the outbox's alarms
_HEARTBEAT_S = 0.05  # of the watch on this loop
_BEATS = 2000  # that it remembers
_STOOD_STILL_MS = 1000.0  # later than this is noticed by people, and journalled

THEMES = (
    Theme("station-dark", primary="#5fafff", accent="#ffd75f", warning="#ffaf00", error="#ff5f5f",
          success="#87d787", background="#101418", surface="#1a2026", panel="#252d36", dark=True,
          variables={"block-cursor-blurred-background": "#284058"}),
    Theme("station-light", primary="#005faf", accent="#875f00", warning="#875f00", error="#af0000",
          success="#005f00", foreground="#101418", background="#f4f4f0", surface="#e6e6e0",
          panel="#d5d5cd", dark=False, variables={"block-cursor-blurred-background": "#b4cbdb"}),
    Theme("station-contrast", primary="#ffffff", accent="#ffff00", warning="#ffff00", error="#ff8080",
          success="#80ff80", foreground="#ffffff", background="#000000", surface="#000000",
          panel="#202020", dark=True,
          variables={"block-cursor-blurred-background": "#ffffff",
                     "block-cursor-blurred-foreground": "#000000"}),
)  # fmt: skip


class Looked(Message):
    """There is a newer snapshot."""


class StationApp(App[None]):
    """One terminal at one station."""

    CSS_PATH = Path(__file__).with_name("station.tcss")
    TITLE = "DXR station"
    ENABLE_COMMAND_PALETTE = True
    SCREENS = {
        "worklist": WorklistScreen,
        "exam": ExamScreen,
        "review": ReviewScreen,
        "outbox": OutboxScreen,
        "service": ServiceScreen,
        "recorder": RecorderScreen,
    }

    def __init__(
        self,
        attended: Attended,
        sign_in: Callable[[str, str], Operator] | None = None,
        keys: Keys | None = None,
        hint: str = "",
        pictures: Way = "cells",
    ) -> None:
        super().__init__()
        self.attended = attended
        self.keys = keys or load_keys()
        self.check_pin = sign_in  # None: whoever is logged in at this computer
        self.operator: Operator | None = None
        self.hint = hint
        self.pictures: Way = pictures  # how stills are shown
        self.idle_s = 300.0  # without a key: locked
        self.alarms = ""
        self.lags_ms: list[float] = []
        self._queued = False
        self._touched_s = time.monotonic()
        self._beat_s = 0.0
        self._radiated = False  # since the last look
        self._radiation_s = -math.inf  # when that was seen
        self._shown_state: State | None = None
        self._working = False  # there was a task at the last look

    # --- what screens read ---------------------------------------------------------------------------

    @property
    def situation(self) -> Situation:
        """The newest of everything that decides what is possible."""
        attended, snapshot = self.attended, self.attended.snapshot
        camera = attended.parts.equipment.camera is not None
        just_now = time.monotonic() - self._radiation_s < _RADIATION_SHOWN_S
        if snapshot.state is State.READOUT and just_now:
            snapshot = replace(snapshot, state=State.EXPOSING)
        return Situation(snapshot, self.operator, attended.task, attended.switch is not None, camera)

    @property
    def today(self) -> date:
        return self.attended.parts.clock.wall().astimezone().date()

    # --- start and end -------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """First screen, then the station's news."""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name
        for name, key in self.keys.everywhere.items():
            self._bindings.key_to_bindings[key] = [Binding(key, f"act('{name}')", show=False, priority=True)]
        if self.check_pin is None:
            self.use(local_operator())
        self.push_screen("worklist")
        if self.operator is None:
            self.ask_who()
        self.attended.watch(self._tell)
        self.set_interval(_HEARTBEAT_S, self._beat)
        self.set_interval(1.0, self._each_second)
        self.set_interval(_SLOW_LOOK_S, self._look_at_outbox)
        self._tell()

    def use(self, operator: Operator | None) -> None:
        """Whose actions these are from now on."""
        self.operator = operator
        self.attended.sign_in(operator)
        self._touched_s = time.monotonic()

    def ask_who(self) -> None:
        """Nobody is signed in: nothing is shown but that, and nobody answers another's question."""
        self.use(None)
        self._close_dialogs()
        self.push_screen(SignIn(self.check_pin or _whoever), self._let_in)

    def _let_in(self, operator: Operator | None) -> None:
        """Somebody signed in: the station may be elsewhere than when it was locked."""
        self.use(operator)
        self.call_later(lambda: self.show(self._screen_of(self.situation.state)))

    def _tell(self) -> None:
        """Called from the station's thread: one message at a time, the newest wins."""
        if self.attended.snapshot.state is State.EXPOSING:
            self._radiated = True
        if not self._queued:
            self._queued = True
            self.post_message(Looked())

    async def on_looked(self) -> None:
        """Something is new."""
        self._queued = False
        if not (self.is_running and self.screen_stack):
            return  # the screens are being closed
        if self._radiated:
            self._radiated, self._radiation_s = False, time.monotonic()
        now = self.situation
        worked, self._working = self._working, now.task is not None
        if now.state is not self._shown_state or (worked and not self._working):
            self._follow(now.state)
        screen = self.screen
        if isinstance(screen, StationScreen) and screen.is_mounted:
            screen.refresh_frame()
            screen.look(now)

    def _follow(self, state: State) -> None:
        """The state changed: show where it is worked on, and sound what must be heard."""
        self._shown_state = state
        if state in {State.READY, State.EXPOSING, State.READOUT, State.EXPOSED_NO_IMAGE, State.FAULT}:
            self.bell()
        self.show("service" if self.attended.task else self._screen_of(state))  # until its end, for x

    @staticmethod
    def _screen_of(state: State) -> str:
        return _SCREEN_OF.get(state, "exam")

    def show(self, name: str) -> None:
        """That screen, above nothing; a sign-in stays."""
        if isinstance(self.screen, SignIn):
            return
        self._close_dialogs()
        if self.screen is not self.get_screen(name):
            self.switch_screen(name)

    def _close_dialogs(self) -> None:
        """What they asked is no longer the question."""
        while len(self.screen_stack) > 2:
            self.pop_screen()

    # --- actions -------------------------------------------------------------------------------------

    def action_act(self, name: str) -> None:
        """One action of the table, or why not."""
        if name == "abort":
            self.do_abort()
            return
        if isinstance(self.screen, SignIn) and name != "quit":
            return
        place = self.screen.place if isinstance(self.screen, StationScreen) else ""
        action = next((a for a in ACTIONS if a.name == name and a.place in {place, "everywhere"}), None)
        if action is None:
            return
        if why := action.why_not(self.situation):
            self.refuse(action, why)
            return
        target = self.screen if action.place == place else self
        getattr(target, f"do_{name}")()

    def refuse(self, action: Action, why: str) -> None:
        """A key that does nothing says so."""
        self.notify(why, title=f"{action.title}: not now", severity="warning")

    def submit(self, trigger: Trigger, **detail: Any) -> None:
        """A person's decision, with who made it."""
        who = self.operator
        self.attended.submit(trigger, by=who.id if who else "", **detail)

    def do_abort(self) -> None:
        """From anywhere, whatever is shown; a dialog is left as well."""
        self.attended.abort(self.operator.id if self.operator else "")
        if not isinstance(self.screen, StationScreen | SignIn) and len(self.screen_stack) > 1:
            self.pop_screen()

    def do_help(self) -> None:
        """Keys of this screen."""
        screen = self.screen
        if isinstance(screen, StationScreen):
            self.push_screen(Help(screen.place, self.keys, self.situation))

    def do_worklist(self) -> None:
        """Today's orders."""
        self.show("worklist")

    def do_patient(self) -> None:
        """The exam or its image."""
        self.show("review" if self.situation.state is State.REVIEW else "exam")

    def do_outbox(self) -> None:
        """What is on its way."""
        self.show("outbox")

    def do_service(self) -> None:
        """Devices."""
        self.show("service")

    def do_recorder(self) -> None:
        """Replays."""
        self.show("recorder")

    def do_attendant(self) -> None:
        """Tell the person in the room what to do."""
        if self.attended.switch:
            self.push_screen(Attendant(self.attended.switch.attendant))

    def do_clear_fault(self) -> None:
        """Go on after a fault."""
        self.submit(Trigger.CLEAR_FAULT)

    def do_lock(self) -> None:
        """Sign out."""
        self.ask_who()

    def do_look(self) -> None:
        """The next theme."""
        names = [theme.name for theme in THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]

    def do_palette(self) -> None:
        """By name."""
        self.action_command_palette()

    def do_quit(self) -> None:
        """End."""
        self.exit()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Only what is possible now."""
        place = screen.place if isinstance(screen, StationScreen) else ""
        for action in ACTIONS:
            here = action.place in {place, "everywhere"} and action.shown(self.situation)
            if here and not action.why_not(self.situation):
                key = shown(self.keys.of(action.place)[action.name])
                run = partial(self.action_act, action.name)
                yield SystemCommand(f"{action.title} ({key})", action.help, run)

    def _fatal_error(self) -> None:
        """Where it failed, without the values of variables: those hold a patient's name."""
        self._exit_renderables.append(Traceback(show_locals=False))
        self._close_messages_no_wait()

    # --- watches -------------------------------------------------------------------------------------

    async def on_event(self, event: Event) -> None:
        """Somebody is there."""
        if isinstance(event, Key | MouseEvent):
            self._touched_s = time.monotonic()
        await super().on_event(event)

    def _each_second(self) -> None:
        """A station without news tells nobody; and nobody's station is locked."""
        if self.is_running and isinstance(self.screen, StationScreen) and self.screen.is_mounted:
            self.screen.refresh_frame()
        idle_s = time.monotonic() - self._touched_s
        free = self.situation.state not in RADIATION and self.attended.task is None
        if idle_s > self.idle_s and free and self.operator is not None:
            self.ask_who()

    def _beat(self) -> None:
        """How late this loop is."""
        now_s = time.monotonic()
        if self._beat_s:
            late_ms = max(now_s - self._beat_s - _HEARTBEAT_S, 0) * 1000
            self.lags_ms.append(late_ms)
            del self.lags_ms[:-_BEATS]
            if late_ms > _STOOD_STILL_MS:
                self.run_worker(partial(self._record_lag, late_ms), thread=True, group="lag")
        self._beat_s = now_s

    def _record_lag(self, late_ms: float) -> None:
        parts, entry = self.attended.parts, ("device", "screens-late")
        parts.journal.record(
            entry, self.attended.snapshot.state, parts.clock.wall(), None, {"ms": round(late_ms)}
        )

    def _look_at_outbox(self) -> None:
        outbox = self.attended.parts.dispatch.outbox
        self.run_worker(partial(self._count, outbox), thread=True, exclusive=True, group="alarms")

    def _count(self, outbox: Any) -> None:
        parked = len(outbox.jobs(state=JobState.PARKED))
        self.alarms = f"{parked} not delivered: see the outbox" if parked else ""


def _whoever(id_: str, pin: str) -> Operator:
    """Without a list of operators: the computer's user."""
    del id_, pin
    return local_operator()
