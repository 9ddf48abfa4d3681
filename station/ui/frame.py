"""What every screen shows around its own: who, which side, what state, and which keys.

The side is said by word, by arrow and by place: a left hand stands at the left edge, a right hand at the
right.
"""

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.visual import VisualType
from textual.widget import Widget
from textual.widgets import Static

from station.actions import Action, Situation, actions
from station.exam import Patient, Purpose, Side
from station.keys import Keys, shown
from station.states import State

if TYPE_CHECKING:
    from station.ui.app import StationApp

# Word and shape of each state; colour comes from the theme and only repeats them
STATES = {
    State.STARTING: ("…", "STARTING"),
    State.STANDBY: ("○", "STANDBY"),
    State.POSITIONING: ("◔", "POSITIONING"),
    State.PREPARING: ("◑", "PREPARING"),
    State.READY: ("◕", "READY FOR X-RAY"),
    State.EXPOSING: ("☢", "X-RAY ON"),
    State.READOUT: ("▼", "IMAGE IS COMING"),
    State.EXPOSED_NO_IMAGE: ("✖", "EXPOSED, NO IMAGE"),
    State.REVIEW: ("▣", "REVIEW"),
    State.FAULT: ("✖", "FAULT"),
    State.SERVICE: ("⚙", "SERVICE"),
}
_SILENT_S = 3.0  # longer than accepting holds the station's thread
_WIDE = 100  # columns from which the banner has room for everything


def person_name(name: str) -> str:
    """A DICOM person name for reading: FAMILY, Given."""
    first, *others = name.split("=")
    family, _, given = first.partition("^")
    said = f"{family.upper()}, {given.replace('^', ' ').strip()}".strip(", ")
    return f"{said} ({' '.join(group.replace('^', ' ') for group in others)})" if others else said


def identifiers(patient: Patient, today: date) -> str:
    """Two identifiers besides the name: birth date and ID."""
    born = f"born {patient.birth_date:%Y-%m-%d}" if patient.birth_date else "birth date UNKNOWN"
    age = patient.age_at(today) if patient.birth_date and patient.birth_date <= today else None
    years = f" ({int(age)} y)" if age is not None else ""
    return f"{born}{years}  {patient.sex or '?'}  ID {patient.id}"


def side_mark(side: Side) -> str:
    """Word and shape."""
    return "◀ LEFT HAND" if side is Side.LEFT else "RIGHT HAND ▶"


class Said(Static):
    """Words. What is said already is not drawn again: an update lays out the whole screen anew."""

    _said: object = None

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        """As `Static`, if it is something else than before."""
        said = (content.plain, content.style, content.spans) if isinstance(content, Text) else content
        if said != self._said:
            self._said = said
            super().update(content, layout=layout)


class Banner(Widget):
    """The patient in hand, on every screen."""

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Said("", id="side-left", classes="side")
            yield Said("", id="who")
            yield Said("", id="side-right", classes="side")

    def look(self, now: Situation, today: date) -> None:
        """Show whoever is in hand."""
        job = now.snapshot.job
        left, who, right = (self.query_one(f"#{name}", Said) for name in ("side-left", "who", "side-right"))
        self.set_class(job is None, "nobody")
        if job is None:
            texts = ("", Text("NO PATIENT\nchoose an order on the worklist"), "")
        elif job.exam.purpose is Purpose.CALIBRATION:
            texts = ("", Text("CALIBRATION\nno patient: the panel must be clear"), "")
        else:
            item = job.exam.item
            mark = side_mark(item.side)
            said = Text(person_name(item.patient.name), style="bold", no_wrap=True, overflow="ellipsis")
            accession = f"  order {item.accession_number}" if self.size.width >= _WIDE else ""
            said.append(f"\n{identifiers(item.patient, today)}{accession}", style="not bold")
            texts = (mark, said, "") if item.side is Side.LEFT else ("", said, mark)
        left.display, right.display = bool(texts[0]), bool(texts[2])
        left.update(str(texts[0]))
        who.update(texts[1], layout=False)
        right.update(str(texts[2]))


class StateLine(Said):
    """The station's state in word and shape, who works, and what needs somebody."""

    def look(self, now: Situation, alarms: str, silent_s: float) -> None:
        """One line; a state that is not looked at any more is no state."""
        sign, word = STATES[now.state]
        if _is_silent(now, silent_s):
            sign, word = "✖", f"NOT LIVE: no news from the station for {silent_s:.0f} s, last {word}"
        line = Text(f" {sign} {word} ", style="bold")
        if now.task:
            left = now.task.remaining_s()
            rest = f", about {left:.0f} s left" if left is not None else ""
            line.append(f" {now.task.name}: {now.task.step} {now.task.done:.0%}{rest} ", style="not bold")
        elif now.snapshot.message:
            line.append(f" {now.snapshot.message} ", style="not bold")
        if alarms:
            line.append(f" ⚠ {alarms} ", style="reverse")
        who = f"operator: {person_name(now.operator.name)}" if now.operator else "LOCKED"
        line.append(f" {who}", style="not bold")
        self.update(line, layout=False)
        self.set_classes(f"state-{now.state}")


def _is_silent(now: Situation, silent_s: float) -> bool:
    return silent_s > _SILENT_S and now.state is not State.STARTING


class KeyBar(Said):
    """Keys of the screen, then everybody's; what is not possible is marked ×."""

    def look(self, now: Situation, keys: Keys, place: str) -> None:
        """A few lines, as wide as the terminal; a key stays with its title."""
        lines = [Text()]
        for where in (place, "everywhere"):
            for action in actions(where):
                if not (action.shown(now) and action.name in _NAMED[where]):
                    continue
                item = _key(action, keys.of(where)[action.name], now)
                if lines[-1] and lines[-1].cell_len + item.cell_len > self.app.size.width:
                    lines.append(Text())
                lines[-1].append_text(item)
        self.update(Text("\n").join(lines))


_NAMED = {
    "everywhere": (
        *("abort", "help", "worklist", "patient", "outbox", "service", "recorder"),  # the rest: F1
        *("attendant", "clear_fault", "lock"),
    ),
    "worklist": ("choose", "refresh", "emergency"),
    "exam": ("squeeze", "checklist", "earlier", "cancel_exam", "acknowledge"),
    "review": ("accept", "reject", "zoom_in", "invert", "outlines", "fit", "more"),
    "outbox": ("retry", "retry_all"),
    "service": ("calibrate", "cancel_task"),
    "recorder": ("release", "reconcile", "next_grave", "play", "earlier_step", "later_step"),
}


def _key(action: Action, key: str, now: Situation) -> Text:
    blocked = bool(action.why_not(now))
    item = Text(f" {shown(key)} ", style="dim" if blocked else "reverse")
    return item.append(f"{'×' if blocked else ' '}{action.title} ", style="dim" if blocked else "not reverse")


def bindings(place: str, keys: Keys) -> Iterable[Binding]:
    """A screen's keys, for Textual."""
    for action in actions(place):
        first = place == "everywhere" or action.name == "choose"
        key = keys.of(place)[action.name]
        yield Binding(key, f"app.act('{action.name}')", action.title, show=False, priority=first)


class StationScreen(Screen[None]):
    """A screen of the station: `body` is its own, `look` is called whenever there is something new.

    Textual calls a message's handlers of all classes, base last: so a screen has hooks here instead.
    """

    place = ""

    @property
    def station(self) -> "StationApp":
        """The app, by its own name."""
        return cast("StationApp", self.app)

    def compose(self) -> ComposeResult:
        yield Banner()
        yield StateLine()
        yield from self.body()
        yield KeyBar()

    def body(self) -> ComposeResult:
        """What is between banner and keys."""
        yield from ()

    def on_mount(self) -> None:
        """Take this place's keys."""
        for binding in bindings(self.place, self.station.keys):
            self._bindings.key_to_bindings.setdefault(binding.key, []).append(binding)
        if self.station.is_running:  # else the screens ended while this one opened: not all of it is there
            self.refresh_frame()
            self.set_up()

    def on_screen_resume(self) -> None:
        """Shown again: what changed meanwhile must be seen."""
        if self.station.is_running:
            self.refresh_frame()
            self.look(self.station.situation)
            self.come_back()

    def set_up(self) -> None:
        """Once, before it is shown for the first time."""

    def come_back(self) -> None:
        """Every time it is shown."""

    def refresh_frame(self) -> None:
        """Banner, state and keys."""
        now = self.station.situation
        self.query_one(Banner).look(now, self.station.today)
        attended = self.station.attended
        troubles = "; ".join(filter(None, (attended.trouble, self.station.alarms)))
        self.query_one(StateLine).look(now, troubles, attended.silent_s())
        self.set_class(_is_silent(now, attended.silent_s()), "silent")  # old instructions are none
        self.query_one(KeyBar).look(now, self.station.keys, self.place)

    def look(self, now: Situation) -> None:
        """The station changed."""
        del now
