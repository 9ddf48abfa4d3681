"""Questions and lists above a screen; each returns its answer, None when it is left.

`escape` leaves any of them (and aborts, as everywhere).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from station.actions import Situation, actions
from station.devices import Attendant as Person
from station.devices import BadSettings
from station.exam import Sex, Side, WorklistItem
from station.keys import Keys, shown
from station.operators import NotAllowed, Operator
from station.orders import Row, containing

Answer = TypeVar("Answer")

_USUAL = "medium"
_LONGEST_LIST = 200  # orders; beyond it somebody searches
_ALONE_S = 0.05  # a letter with another one closer than this comes from a scanner, not from a person [D]


class Dialog(ModalScreen[Answer]):
    """A box in the middle of the screen."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield from self.body()

    def body(self) -> ComposeResult:
        """What is asked."""
        yield from ()


class Choice(Dialog[str | None]):
    """One of several, by arrows and enter, or by its number."""

    def __init__(self, title: str, choices: Mapping[str, str], text: str = "") -> None:
        super().__init__()
        self._title, self._choices, self._text = title, choices, text

    def body(self) -> ComposeResult:
        yield Label(self._title, classes="title")
        if self._text:
            yield Static(self._text)
        numbered = enumerate(self._choices.items(), start=1)
        yield OptionList(*(Option(Text(f"{number}  {said}"), id=name) for number, (name, said) in numbered))

    def on_mount(self) -> None:
        """The list has the keys."""
        self.query_one(OptionList).focus()

    def on_key(self, event: Key) -> None:
        """A digit chooses at once."""
        names = list(self._choices)
        if event.key in "123456789" and int(event.key) <= len(names):
            event.stop()
            self.dismiss(names[int(event.key) - 1])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(event.option_id)


class Confirm(Dialog[tuple[Side, str] | None]):
    """Who is it, and which hand: answered by the side that the operator sees, never by a mere enter.

    Gives the side and the hand's size, one of the keys of `sizes`; arrows change it.
    """

    def __init__(
        self, item: WorklistItem, who: str, sizes: Mapping[str, str], warnings: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self._item, self._who, self._sizes, self._warnings = item, who, sizes, warnings
        self._hand_size = _USUAL if _USUAL in sizes else next(iter(sizes))
        self._keys, self._key_s = 0, 0.0  # how many, and when the newest

    def body(self) -> ComposeResult:
        item = self._item
        yield Label("Is this the patient, and which hand?", classes="title")
        yield Static(Text(self._who, style="bold"))
        yield Static(f"order {item.accession_number or '(none)'}  {item.procedure or item.step}")
        yield Static(
            Text("ORDERED: " + ("◀ LEFT HAND" if item.side is Side.LEFT else "RIGHT HAND ▶"), "bold")
        )
        for warning in self._warnings:
            yield Static(Text(f"⚠ {warning}"))
        yield Static(
            "\n1. Let the patient say name and birth date.\n"
            "2. Look at the hand that is to be laid on the panel:\n"
        )
        yield Static(Text("   press  L  for the left hand,  R  for the right hand", style="bold"))
        yield Static(self._size_line(), id="hand-size")
        yield Static("\nEsc: it is not this patient", id="wrong")

    def on_key(self, event: Key) -> None:
        """L or R, pressed alone: a barcode that is scanned once more may contain them."""
        alone, self._key_s = event.time - self._key_s > _ALONE_S, event.time
        self._keys += 1
        if event.key in {"up", "down"}:
            names = list(self._sizes)
            step = 1 if event.key == "down" else -1
            self._hand_size = names[(names.index(self._hand_size) + step) % len(names)]
            self.query_one("#hand-size", Static).update(self._size_line())
        seen = {"l": Side.LEFT, "r": Side.RIGHT}.get(event.key.lower())
        if seen is not None:
            event.stop()
            self.set_timer(_ALONE_S, partial(self._answer, seen, self._keys if alone else -1))

    def _size_line(self) -> Text:
        said = Text(f"\nhand size ↑↓  {self._hand_size}: ", style="bold")
        return said.append(self._sizes[self._hand_size], style="not bold")

    def _answer(self, seen: Side, key: int) -> None:
        """The side that was not ordered opens nothing."""
        if key != self._keys:
            self.query_one("#wrong", Static).update(Text("\nA scan is no answer; press one letter.", "bold"))
            return
        if seen is self._item.side:
            self.dismiss((seen, self._hand_size))
            return
        words = (
            f"The {self._item.side.word} hand is ordered, you see the {seen.word} one. Nothing was opened."
        )
        self.query_one("#wrong", Static).update(
            Text(f"\n{words}\nAsk the patient and the ward; press Esc, or the ordered side's letter.", "bold")
        )
        self.app.bell()


class Emergency(Dialog[tuple[str, Side, str, Sex | None] | None]):
    """A patient without an order: name, side, birth date if known."""

    def body(self) -> ComposeResult:
        yield Label("Patient without an order", classes="title")
        yield Input(placeholder="Family^Given (empty: made up)", id="name", max_length=64)
        yield Input(placeholder="birth date YYYY-MM-DD (empty: unknown)", id="born", max_length=10)
        yield Input(placeholder="sex F, M, O (empty: unknown)", id="sex", max_length=1, restrict="[FMOfmo]?")
        yield Static("Enter in a field goes on; then choose the hand", id="why")
        yield OptionList(Option("◀ LEFT hand", id="L"), Option("RIGHT hand ▶", id="R"), id="side")

    def on_input_submitted(self) -> None:
        """On to the next field."""
        self.focus_next()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """The side ends it."""
        letter = self.query_one("#sex", Input).value.upper()
        sex = Sex(letter) if letter else None
        name, born = self.query_one("#name", Input).value, self.query_one("#born", Input).value
        self.dismiss((name, Side(str(event.option_id)), born, sex))


class Join(Dialog[Row | None]):
    """Which order an exam belongs to: searched while typing. Whether it is meant is asked next."""

    def __init__(self, who: str, side: Side, orders: Sequence[Row]) -> None:
        super().__init__()
        self._who, self._side = who, side
        self._orders = tuple(row for row in orders if row.item and row.item.side is side)
        self._found = self._orders

    def body(self) -> ComposeResult:
        yield Label("Which order does this exam belong to?", classes="title")
        yield Static(Text(self._who, style="bold"))
        yield Static(f"orders for the {self._side.word} hand; the exam shows no other one", markup=False)
        yield Input(placeholder="type to search: name, ID, order", id="search")
        yield OptionList(id="orders")
        yield Static("Enter goes to the list; then choose. Esc: none of these", id="why")

    def on_mount(self) -> None:
        """All of them, until something is typed."""
        self._fill()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as you type."""
        self._found = containing(self._orders, event.value)
        self._fill()

    def on_input_submitted(self) -> None:
        """On to the list."""
        shown = self.query_one(OptionList)
        shown.focus()
        shown.highlighted = 0 if self._found else None

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(self._found[event.option_index])

    def _fill(self) -> None:
        shown = self.query_one(OptionList)
        shown.clear_options()
        for row in self._found[:_LONGEST_LIST]:
            said = f"{row.accession_number}  {row.patient_name.replace('^', ' ')}  {row.patient_id}"
            shown.add_option(Option(Text(said)))
        if not self._found:
            shown.add_option(
                Option(Text("no such order; F5 on the worklist asks the hospital"), disabled=True)
            )


class SignIn(ModalScreen[Operator]):
    """Nobody is signed in; what was shown is hidden until somebody is."""

    def __init__(self, check: Callable[[str, str], Operator]) -> None:
        super().__init__()
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label("LOCKED", classes="title")
            yield Static("Who works here? Enter signs in; the station exposes nothing meanwhile.")
            yield Input(placeholder="name", id="id")
            yield Input(placeholder="PIN (where one is asked)", password=True, id="pin")
            yield Static("", id="why")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """From the name to the PIN, from the PIN inside."""
        if event.input.id == "id":
            self.query_one("#pin", Input).focus()
            return
        id_, pin = self.query_one("#id", Input).value.strip(), self.query_one("#pin", Input).value
        self.run_worker(partial(self._sign_in, id_, pin), exclusive=True)

    async def _sign_in(self, id_: str, pin: str) -> None:
        try:
            operator = await asyncio.to_thread(self._check, id_, pin)
        except NotAllowed as error:
            self.query_one("#why", Static).update(Text(str(error), "bold"))
        else:
            self.dismiss(operator)


class Attendant(Dialog[None]):
    """The person in the room whom software can direct."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self._person = person

    def body(self) -> ComposeResult:
        yield Label("SIMULATED ROOM: tell the person in it", classes="title")
        yield OptionList(*(Option(move, id=move) for move in self._person.moves()))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Done beside the screen: making a hand takes a moment."""
        move = str(event.option_id)
        self.app.run_worker(partial(self._move, move))
        self.dismiss(None)

    async def _move(self, move: str) -> None:
        app = self.app  # this dialog is gone before the hand lies
        try:
            await asyncio.to_thread(self._person.move, move)
        except BadSettings as error:  # it changed its mind between list and choice
            app.notify(str(error), severity="warning")


class Help(Dialog[None]):
    """Every key of a screen, with what it does and why not now."""

    def __init__(self, place: str, keys: Keys, now: Situation) -> None:
        super().__init__()
        self._place, self._keys, self._now = place, keys, now

    def body(self) -> ComposeResult:
        with VerticalScroll():
            for title, place in ((f"Keys of {self._place}", self._place), ("Everywhere", "everywhere")):
                yield Label(title, classes="title")
                for action in actions(place):
                    if action.shown(self._now):
                        why = action.why_not(self._now)
                        line = Text(f"{shown(self._keys.of(place)[action.name]):>8}  ", style="bold")
                        line.append(f"{action.title}: {action.help}", style="not bold")
                        line.append(f"  × {why}" if why else "", style="italic")
                        yield Static(line)
            yield Static("\nEsc leaves this, and aborts, as everywhere. No key of the keyboard exposes.")
