"""Today's orders: as old as it says, searched while typing; what is scanned opens its order."""

from datetime import date
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.events import Key
from textual.widgets import DataTable, Input

from station.actions import Situation
from station.exam import Side, WorklistItem, new_uid
from station.orders import AMBIGUOUS, Row, containing, emergency, select
from station.refresh import Shown
from station.result import Reason
from station.states import State
from station.ui.dialogs import Confirm, Emergency
from station.ui.frame import Said, StationScreen, identifiers, person_name

_KEYS = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}


class WorklistScreen(StationScreen):
    """Choose who comes next."""

    place = "worklist"

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[Row, ...] = ()
        self._seen: tuple[object, str] | None = None
        self._pointed = False  # at a row, since the search was typed

    def body(self) -> ComposeResult:
        yield Said("", id="age")
        yield Input(placeholder="type to search, or scan a barcode", id="search")
        yield DataTable[Text](id="orders", cursor_type="row", zebra_stripes=True)
        yield Said("", id="row-note")

    def set_up(self) -> None:
        """Columns; the search has the keys."""
        table = self.query_one(DataTable)
        table.can_focus = False
        table.add_columns("time", "side", "patient", "born", "ID", "order", "procedure")
        self.query_one(Input).focus()
        self.set_interval(1.0, self._refresh)
        self._refresh()

    def look(self, now: Situation) -> None:
        """Whether a patient can be opened changes with the state."""
        del now
        self._say()

    def on_input_changed(self) -> None:
        """Search as you type."""
        self._pointed = False
        self._refresh()

    def on_key(self, event: Key) -> None:
        """Arrows move through the list while the search keeps the keys."""
        if event.key in _KEYS and self._rows:
            table = self.query_one(DataTable)
            row = min(max(table.cursor_row + _KEYS[event.key], 0), len(self._rows) - 1)
            table.move_cursor(row=row)
            self._pointed = True
            self._say()
            event.stop()

    # --- actions -------------------------------------------------------------------------------------

    def do_refresh(self) -> None:
        """Ask now."""
        liaison = self.station.attended.liaison
        if liaison is None or liaison.worklist is None:
            self.notify("no worklist in the hospital file; emergency patients only", severity="warning")
            return
        liaison.worklist.now()

    def do_choose(self) -> None:
        """The row under the cursor, or what was scanned.

        A scanner is faster than the search: its last letters may still be on their way to the field.
        """
        self.query_one(Input).call_later(self.call_later, self._choose)

    def _choose(self) -> None:
        self._refresh()
        typed = self.query_one(Input).value
        scanned = select(self._all(), typed) if typed.strip() else None
        several = isinstance(scanned, Reason) and scanned.id == AMBIGUOUS
        if isinstance(scanned, Row):
            self._ask(scanned)
        elif self._rows and (self._pointed or not several):  # the first of several is nobody's choice
            self._ask(self._rows[self.query_one(DataTable).cursor_row])
        elif isinstance(scanned, Reason):
            self.notify(f"{scanned.message}; {scanned.remedy}", severity="warning", markup=False)
        else:
            self.notify("there is no order to open; F5 asks the hospital, F8 opens an emergency")

    def do_emergency(self) -> None:
        """Somebody without an order."""

        def asked(answer: tuple[str, Side, str, object] | None) -> None:
            if answer is not None:
                self._emergency(*answer)

        self.app.push_screen(Emergency(), asked)

    def _emergency(self, name: str, side: Side, born: str, sex: object) -> None:
        at = self.station.attended.parts.clock.wall().astimezone()
        try:
            day = date.fromisoformat(born) if born.strip() else None
            item = emergency(name, side, at, new_uid(), birth_date=day, sex=sex)  # type: ignore[arg-type]
        except ValueError as error:
            self.notify(f"{error}", title="Emergency not opened", severity="error", markup=False)
            return
        self._confirm(item, ())

    def _ask(self, row: Row) -> None:
        if row.item is None:
            problems = "; ".join(f"{one.message} → {one.remedy}" for one in row.problems)
            self.notify(problems, title="This order cannot be used", severity="error", markup=False)
            return
        self._confirm(row.item, tuple(one.message for one in row.problems))

    def _confirm(self, item: WorklistItem, warnings: tuple[str, ...]) -> None:
        who = f"{person_name(item.patient.name)}\n{identifiers(item.patient, self.station.today)}"
        techniques = self.station.attended.parts.setting.protocol.techniques
        sizes = {name: str(setting.as_technique()) for name, setting in techniques.items()}
        self.app.push_screen(Confirm(item, who, sizes, warnings), partial(self._open, item))

    def _open(self, item: WorklistItem, answer: tuple[Side, str] | None) -> None:
        if answer is None:
            return
        seen, hand_size = answer
        if self.station.situation.state is not State.STANDBY:
            self.notify("the station left standby meanwhile; nothing was opened", severity="warning")
            return
        operator = self.station.operator
        by = operator.id if operator else ""
        self.station.attended.open(item, hand_size, by=by, side_seen=str(seen))
        self.query_one(Input).value = ""

    # --- the list ------------------------------------------------------------------------------------

    def _answer(self) -> Shown:
        liaison = self.station.attended.liaison
        return liaison.worklist.shown() if liaison and liaison.worklist else Shown()

    def _all(self) -> tuple[Row, ...]:
        answer = self._answer().answer
        return answer.rows if answer else ()

    def _refresh(self) -> None:
        """Fill the table anew only when list or search changed."""
        if not self.app.is_running:
            return
        found, wanted = self._answer(), self.query_one(Input).value
        if self._seen != (found.answer, wanted):
            self._seen = (found.answer, wanted)
            self._rows = containing(self._all(), wanted)
            self._fill()
        self._say_age(found)
        self._say()

    def _fill(self) -> None:
        table = self.query_one(DataTable)
        at = table.cursor_row
        table.clear()
        for row in self._rows:
            table.add_row(*_cells(row))
        if self._rows:
            table.move_cursor(row=min(at, len(self._rows) - 1))

    def _say_age(self, found: Shown) -> None:
        wall = self.station.attended.parts.clock.wall()
        line = Text()
        if found.answer is None:
            line.append("no worklist" if not found.asking else "asking the hospital for its orders …")
        else:
            usable = len(found.answer.usable)
            line.append(f"{usable} orders, {len(found.answer.unusable)} not usable, {found.answer.age(wall)}")
        if found.trouble:
            line.append(f"  ⚠ {found.trouble.message}; {found.trouble.remedy}", style="bold")
        attended = self.station.attended
        for said in (attended.trouble, attended.news):
            if said:
                line.append(f"  {said}", style="bold")
        self.query_one("#age", Said).update(line)

    def _say(self) -> None:
        """Why the row under the cursor cannot be used, or what to press."""
        if not self.app.is_running:
            return  # the screens are being closed, widget by widget
        note = self.query_one("#row-note", Said)
        row = self._rows[self.query_one(DataTable).cursor_row] if self._rows else None
        if row is not None and row.problems:
            mark = "⚠" if row.item else "× cannot be used:"
            note.update(Text(f"{mark} " + "; ".join(f"{one.message} → {one.remedy}" for one in row.problems)))
        else:
            note.update(Text(self.station.hint))


def _cells(row: Row) -> tuple[Text, ...]:
    at = f"{row.scheduled_at.astimezone():%H:%M}" if row.scheduled_at else "?"
    if row.item is None:
        style, side = "dim", "×"
        born = "?"
    else:
        style = ""
        side = "◀ LEFT" if row.item.side is Side.LEFT else "RIGHT ▶"
        born = str(row.item.patient.birth_date or "unknown")
    name = person_name(row.patient_name) if row.patient_name else "?"
    cells = (at, side, name, born, row.patient_id, row.accession_number, row.procedure)
    return tuple(Text(cell, style=style) for cell in cells)
