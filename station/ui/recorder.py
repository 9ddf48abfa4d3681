"""The flight recorder: any exam of this station, step by step, as the journal has it."""

from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import DataTable, Static

from station import amend, recording
from station.dossier import Books
from station.exam import Release
from station.operators import Role, Task, may
from station.recording import Recorded, Step
from station.ui.frame import StationScreen, person_name

_LONGEST_WAIT_S = 2.0  # in a replay: people's thinking is left out


class RecorderScreen(StationScreen):
    """Exams on the left, steps of the chosen one on the right."""

    place = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self._exams: list[Recorded] = []
        self._steps: tuple[Step, ...] = ()
        self._uid = ""
        self._timer: Timer | None = None

    def body(self) -> ComposeResult:
        with Horizontal(id="recorder"):
            yield DataTable[Text](id="exams", cursor_type="row")
            with Vertical():
                yield Static("", id="moment")
                yield DataTable[Text](id="steps", cursor_type="row")
        yield Static("", id="step-note")

    def on_mount(self) -> None:
        """Columns; the list of exams has the keys."""
        super().on_mount()
        self.query_one("#exams", DataTable).add_columns("opened", "patient", "end")
        self.query_one("#steps", DataTable).add_columns("at ms", "+ms", "state", "what happened")
        self.query_one("#exams", DataTable).focus()

    def on_screen_resume(self) -> None:
        """The journal may have grown."""
        super().on_screen_resume()
        self.run_worker(self._read_exams, thread=True, exclusive=True)

    def _read_exams(self) -> None:
        parts = self.station.attended.parts
        found = recording.exams(parts.journal, parts.spool)[:200]
        names = [_who(one) for one in found]
        self.app.call_from_thread(self._fill_exams, found, names)

    def _fill_exams(self, found: list[Recorded], names: list[str]) -> None:
        table = self.query_one("#exams", DataTable)
        at, self._exams = table.cursor_row, found
        table.clear()
        for one, name in zip(found, names, strict=True):
            cells = (f"{one.opened_at.astimezone():%d %b %H:%M}", name, f"{one.ended} {one.code}")
            table.add_row(*(Text(cell) for cell in cells))
        if found:
            table.move_cursor(row=min(at, len(found) - 1))

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another exam's steps, or another step."""
        if event.data_table.id == "exams" and 0 <= event.cursor_row < len(self._exams):
            uid = self._exams[event.cursor_row].uid
            if uid != self._uid:
                self._uid = uid
                self.run_worker(partial(self._read_steps, uid), thread=True, exclusive=True)
        elif event.data_table.id == "steps":
            self._show_step()

    def _read_steps(self, uid: str) -> None:
        steps = recording.steps(self.station.attended.parts.journal, uid)
        self.app.call_from_thread(self._fill_steps, uid, steps)

    def _fill_steps(self, uid: str, steps: tuple[Step, ...]) -> None:
        if uid != self._uid:
            return
        self._steps = steps
        table = self.query_one("#steps", DataTable)
        table.clear()
        for step in steps:
            mark = "× " if step.grave else ""
            cells = (
                f"{step.offset_ms:.0f}",
                f"{step.since_previous_ms:.0f}",
                step.state,
                mark + step.sentence,
            )
            table.add_row(*(Text(cell, style="bold" if step.grave else "") for cell in cells))
        self._show_step()

    def _show_step(self) -> None:
        row = self.query_one("#steps", DataTable).cursor_row
        if not 0 <= row < len(self._steps):
            self.query_one("#moment", Static).update("no exam is chosen")
            return
        moment, step = recording.moment_at(self._steps, row), self._steps[row]
        dap = f", DAP {moment.dap_ugym2:.2f} µGy·m²" if moment.dap_ugym2 is not None else ""
        unknown = f", {moment.doses_unknown} not reported yet" if moment.doses_unknown else ""
        text = Text(f"step {row + 1} of {len(self._steps)}  {moment.state.upper()}", style="bold")
        text.append(f"\n{moment.exposures} exposures, {moment.mas:.2f} mAs{dap}{unknown}", style="not bold")
        self.query_one("#moment", Static).update(text)
        found = ", ".join(moment.findings)
        said = f"{step.at.astimezone():%H:%M:%S}  {step.sentence}  {step.who}"
        self.query_one("#step-note", Static).update(Text(f"{said}  {found}"))

    # --- actions -------------------------------------------------------------------------------------

    def do_later_step(self) -> None:
        """One on."""
        self._move(1)

    def do_earlier_step(self) -> None:
        """One back."""
        self._move(-1)

    def _move(self, by: int) -> bool:
        table = self.query_one("#steps", DataTable)
        row = table.cursor_row + by
        if not 0 <= row < len(self._steps):
            return False
        table.move_cursor(row=row)
        return True

    def do_play(self) -> None:
        """From here in the time it took; again: stop."""
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
            return
        self._next()

    def _next(self) -> None:
        row = self.query_one("#steps", DataTable).cursor_row + 1
        self._timer = None
        if row < len(self._steps):
            wait_s = min(self._steps[row].since_previous_ms / 1000, _LONGEST_WAIT_S)
            self._timer = self.set_timer(wait_s, self._played)

    def _played(self) -> None:
        if self._move(1):
            self._next()

    def do_release(self) -> None:
        """The chosen exam's charge; by a physician its report."""
        operator = self.station.operator
        if operator is None or not may(operator.role, Task.RELEASE_CHARGE):
            self.notify("not for this role; a technologist or physician must sign in", severity="warning")
            return
        attended = self.station.attended
        parts, uid = attended.parts, self._uid
        given = Release(operator.name, parts.clock.wall(), operator.role is Role.PHYSICIAN)
        books = Books(parts.spool, parts.setting, parts.dispatch)
        attended.begin("release", lambda _: amend.release(books, uid, given), steps=1)


def _who(one: Recorded) -> str:
    if one.calibration:
        return "calibration"
    exam = one.exam()
    return person_name(exam.item.patient.name) if exam else "(folder gone)"
