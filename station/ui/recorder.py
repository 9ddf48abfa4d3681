"""The flight recorder: any exam of this station, step by step, as the journal has it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import DataTable

from station import amend, recording
from station.actions import Situation, record_deed, record_refusal
from station.attended import Attended
from station.dossier import Books
from station.exam import Purpose, Release, WorklistItem
from station.operators import Operator, Role
from station.orders import Row
from station.recording import Recorded, Step
from station.refresh import Shown
from station.spool import Record, SpoolError
from station.ui.dialogs import Choice, Join
from station.ui.frame import Said, StationScreen, identifiers, person_name, side_mark

_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.02, 2.0  # in a replay: to be seen at all; people's thinking is left out
_MOST = 200  # exams in the list, the newest
_TOLD = frozenset({"message", "findings", "operator", "by", "role"})  # said by sentence and name already


class RecorderScreen(StationScreen):
    """Exams on the left, steps of the chosen one on the right."""

    place = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self._exams: list[Recorded] = []
        self._charges: dict[str, str] = {}  # by exam: who stands for the charge, or that nobody does yet
        self._records: dict[str, Record] = {}  # by exam, those on disk
        self._steps: tuple[Step, ...] = ()
        self._uid = ""
        self._timer: Timer | None = None
        self._amending = False

    def body(self) -> ComposeResult:
        with Horizontal(id="recorder"):
            yield DataTable[Text](id="exams", cursor_type="row")
            with Vertical():
                yield Said("", id="moment")
                yield DataTable[Text](id="steps", cursor_type="row")
        yield Said("", id="step-note")

    def set_up(self) -> None:
        """Columns; the list of exams has the keys, but those that step belong to the screen."""
        for found in self._bindings.key_to_bindings.values():
            found[:] = [replace(one, priority=one.action.startswith("app.act")) for one in found]
        self.query_one("#exams", DataTable).add_columns("opened", "patient", "end")
        self.query_one("#steps", DataTable).add_columns("at ms", "+ms", "what happened", "state")
        self.query_one("#exams", DataTable).focus()

    def come_back(self) -> None:
        """The journal may have grown."""
        self.run_worker(self._read_exams, exclusive=True, group="exams")

    def on_screen_suspend(self) -> None:
        """Nobody looks: a replay stops."""
        self._stop()

    def look(self, now: Situation) -> None:
        """A release or a joining ended: say how."""
        if self._amending and now.task is None:
            self._amending = False
            self.notify(self.station.attended.news, markup=False)
            self.run_worker(self._read_exams, exclusive=True, group="exams")

    # --- what is shown -------------------------------------------------------------------------------

    async def _read_exams(self) -> None:
        """In a thread, as all that reads the journal: the longer the station lives, the longer it takes."""
        parts = self.station.attended.parts

        def read() -> list[tuple[Recorded, Record | None]]:
            found = recording.exams(parts.journal, parts.spool)[:_MOST]
            return [(one, one.record()) for one in found]

        found = await asyncio.to_thread(read)
        if self.query("#exams"):  # else the screens ended meanwhile
            self._fill_exams(found)

    def _fill_exams(self, found: list[tuple[Recorded, Record | None]]) -> None:
        table, uid = self.query_one("#exams", DataTable), self._uid
        self._exams = [one for one, _ in found]
        self._charges = {one.uid: _charge(one, record) for one, record in found}
        self._records = {one.uid: record for one, record in found if record is not None}
        table.clear()
        for one, record in found:
            opened = one.opened_at.astimezone()
            when = f"{opened:%H:%M}" if opened.date() == self.station.today else f"{opened:%d %b %H:%M}"
            standing = self._charges[one.uid].partition(" ")[0]  # all of it stands beside, when chosen
            ended = ", ".join(filter(None, (f"{one.ended} {one.code}".strip(), standing)))
            cells = (when, _who(one, record), ended)
            table.add_row(*(Text(cell) for cell in cells))
        if not found:
            self.query_one("#moment", Said).update("no exam was made here yet")
            return
        row = next((n for n, one in enumerate(self._exams) if one.uid == uid), 0)
        table.move_cursor(row=row)
        self._choose(row)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another exam's steps, or another step."""
        if event.data_table.id == "steps":
            self._show_step()
        elif event.cursor_row < len(self._exams) and self._exams[event.cursor_row].uid != self._uid:
            self._stop()
            self._choose(event.cursor_row)

    def _choose(self, row: int) -> None:
        self._uid = self._exams[row].uid
        self.run_worker(partial(self._read_steps, self._uid), exclusive=True, group="steps")

    async def _read_steps(self, uid: str) -> None:
        steps = await asyncio.to_thread(recording.steps, self.station.attended.parts.journal, uid)
        if self.query("#steps") and uid == self._uid:
            self._fill_steps(steps)

    def _fill_steps(self, steps: tuple[Step, ...]) -> None:
        table = self.query_one("#steps", DataTable)
        same = self._steps and steps and self._steps[0].number == steps[0].number
        row = table.cursor_row if same else 0
        self._steps = steps
        table.clear()
        for step in steps:
            mark, style = ("× ", "bold") if step.grave else ("", "")
            times = (f"{step.offset_ms:.0f}", f"{step.since_previous_ms:.0f}")
            cells = (*times, mark + step.sentence, step.state)
            table.add_row(*(Text(cell, style) for cell in cells))
        table.move_cursor(row=row)
        self._show_step()

    def _show_step(self) -> None:
        row = self.query_one("#steps", DataTable).cursor_row
        if not 0 <= row < len(self._steps):
            return
        moment, step = recording.moment_at(self._steps, row), self._steps[row]
        dap = f", DAP {moment.dap_ugym2:.2f} µGy·m²" if moment.dap_ugym2 is not None else ""
        unknown = f", {moment.doses_unknown} not reported yet" if moment.doses_unknown else ""
        graves = sum(one.grave for one in self._steps)
        play = "▶ " if self._timer else ""
        text = Text(f"{play}step {row + 1} of {len(self._steps)}  {moment.state.upper()}", style="bold")
        text.append(f"   {graves} marked ×\n" if graves else "\n", style="not bold")
        text.append(f"{moment.exposures} exposures, {moment.mas:.2f} mAs{dap}{unknown}", style="not bold")
        if charge := self._charges.get(self._uid):
            text.append(f"\ncharge {charge}", style="not bold")
        self.query_one("#moment", Said).update(text)
        self.query_one("#step-note", Said).update(_detail(step, moment.findings))

    # --- actions -------------------------------------------------------------------------------------

    def do_later_step(self) -> None:
        """One on."""
        self._move(1)

    def do_earlier_step(self) -> None:
        """One back."""
        self._move(-1)

    def do_next_grave(self) -> None:
        """The next one behind the cursor, from the end to the first again."""
        at = self.query_one("#steps", DataTable).cursor_row
        graves = [row for row, step in enumerate(self._steps) if step.grave]
        if not graves:
            self.notify("nothing in this exam was refused, faulty or in doubt", markup=False)
            return
        self.query_one("#steps", DataTable).move_cursor(row=next((r for r in graves if r > at), graves[0]))

    def _move(self, by: int) -> bool:
        table = self.query_one("#steps", DataTable)
        row = table.cursor_row + by
        if not 0 <= row < len(self._steps):
            return False
        table.move_cursor(row=row)
        return True

    def do_play(self) -> None:
        """From here in the time it took; again: stop."""
        table = self.query_one("#steps", DataTable)
        if self._timer is not None:
            self._stop()
        else:
            if table.cursor_row + 1 >= len(self._steps):
                table.move_cursor(row=0)
            self._next()
        self._show_step()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def _next(self) -> None:
        row = self.query_one("#steps", DataTable).cursor_row + 1
        self._timer = None
        if row < len(self._steps):
            took_s = self._steps[row].since_previous_ms / 1000
            wait_s = max(min(took_s, _LONGEST_WAIT_S), _SHORTEST_WAIT_S)
            self._timer = self.set_timer(wait_s, self._played)

    def _played(self) -> None:
        if self._move(1):
            self._next()
            self._show_step()

    def do_release(self) -> None:
        """The chosen exam's charge; by a physician its report."""
        operator = self.station.operator
        if operator is None or not self._uid:
            self.notify("no exam is chosen", severity="warning")
            return
        given = Release(operator.name, self._now(), operator.role is Role.PHYSICIAN)
        self._amend("release", self._uid, partial(amend.release, given=given))

    def do_reconcile(self) -> None:
        """The chosen exam was an emergency's, or opened under a wrong order: ask for the right one."""
        liaison, uid = self.station.attended.liaison, self._uid
        record = self._records.get(uid)
        if record is None or record.exam.purpose is not Purpose.PATIENT:
            self.notify("no patient's exam is chosen", severity="warning")
            return
        shown = liaison.worklist.shown() if liaison and liaison.worklist else Shown()
        if shown.answer is None:
            self.notify("there is no worklist; doctor says why", severity="warning")
            return
        item = record.exam.item
        others = [row for row in shown.answer.rows if row.accession_number != item.accession_number]
        join = Join(self._said(item), item.side, others)
        self.app.push_screen(join, partial(self._ask_to_join, uid, item))

    def _ask_to_join(self, uid: str, item: WorklistItem, row: Row | None) -> None:
        """Both persons, one above the other, and the question; enter alone says no."""
        if row is None or (order := row.item) is None:
            return
        text = f"exam    {self._said(item)}\norder   {self._said(order)}\n"
        choices = {
            "no": "No, leave the exam as it is",
            "yes": "Yes: the hand in this exam is that patient's; withdraw what was sent under another name",
        }

        def chosen(answer: str | None) -> None:
            if answer == "yes":
                deed = partial(amend.reconcile, order=order, at=self._now())
                self._amend("reconcile", uid, deed, order=order.accession_number)

        self.app.push_screen(Choice("Join this exam to this order?", choices, text), chosen)

    def _said(self, item: WorklistItem) -> str:
        who = f"{person_name(item.patient.name)}  {identifiers(item.patient, self.station.today)}"
        return f"{who}  {side_mark(item.side)}  order {item.accession_number}"

    def _now(self) -> datetime:
        return self.station.attended.parts.clock.wall()

    def _amend(self, name: str, uid: str, deed: Callable[[Books, str], object], **detail: str) -> None:
        """On the station's thread, so that no exam is in anybody's hand meanwhile."""
        operator, attended = self.station.operator, self.station.attended
        if operator is None:
            self.notify("the station is locked; sign in", severity="warning")
            return
        work = partial(_amended, attended, operator, (name, uid), deed, detail)
        try:
            attended.begin(name, lambda _: work(), steps=1)
        except ValueError as error:  # another task began between look and key
            self.notify(str(error), severity="warning", markup=False)
            return
        self._amending = True


def _amended(
    attended: Attended,
    operator: Operator,
    what: tuple[str, str],
    deed: Callable[[Books, str], object],
    detail: Mapping[str, str],
) -> None:
    """Do it. Raises ValueError with whatever stands in the way, journalled."""
    parts, (name, uid) = attended.parts, what
    record_deed(attended, operator, name, uid, **detail)
    try:
        deed(Books(parts.spool, parts.setting, parts.dispatch), uid)
    except (ValueError, SpoolError, OSError) as error:
        record_refusal(attended, operator, name, uid, str(error))
        raise ValueError(str(error)) from error


def _who(one: Recorded, record: Record | None) -> str:
    if one.calibration:
        return "calibration"
    return person_name(record.exam.item.patient.name) if record else "(folder gone)"


def _charge(one: Recorded, record: Record | None) -> str:
    """Who stands for the charge, or that it waits for somebody; empty where there is none."""
    if not one.code or record is None or record.decision is None:
        return ""
    release = record.decision.release
    return f"released by {person_name(release.by)}" if release else "waits for release"


def _detail(step: Step, findings: tuple[str, ...]) -> Text:
    """The whole row: time, sentence, who, and what else it says."""
    text = Text(f"{step.at.astimezone():%H:%M:%S}  {'× ' if step.grave else ''}{step.sentence}", "bold")
    text.append(f"  {step.who}" if step.who else "", "not bold")
    text.append(f"\nin the way: {', '.join(findings)}" if findings else "", "not bold")
    more = "  ".join(f"{key}: {_shown(value)}" for key, value in step.detail.items() if key not in _TOLD)
    text.append(f"\n{more}" if more else "", "not bold")
    return text


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
