"""What is on its way to the hospital: each object's chain, and what is parked with its reason."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable

from station.actions import Situation, record_deed
from station.operators import Operator
from station.outbox.job import Job, Kind, State, Summary
from station.outbox.queue import Outbox
from station.spool import SpoolError
from station.ui.frame import Said, StationScreen, person_name

_EVERY_S = 1.0
_MARKS = {
    State.PARKED: "× PARKED",
    State.PENDING: "… waiting",
    State.STORED: "◔ stored",
    State.COMMITTED: "✔ kept",
}
_WORDS = {
    Kind.OBJECT: "object",
    Kind.STEP_CREATED: "step begun",
    Kind.STEP_SET: "step ended",
    Kind.RESULTS: "results",
    Kind.CHARGE: "charge",
    Kind.BUNDLE: "FHIR bundle",
}
_OBJECTS = {  # by their file
    "for-processing": "image, raw",
    "for-presentation": "image, shown",
    "edges": "edges",
    "measurements": "measurements",
    "dose": "dose report",
    "report": "report page",
    "rejected": "rejection note",
    "withdrawn": "withdrawal",
}
_MOST = 500  # rows: the newest, after all that are parked
_TROUBLES = 2  # destinations whose trouble is told above the table; the rest by their jobs


class OutboxScreen(StationScreen):
    """Look, and send again."""

    place = "outbox"

    def __init__(self) -> None:
        super().__init__()
        self._jobs: tuple[Job, ...] = ()
        self._patients: dict[str, str] = {}  # names by exam, as the rows show them
        self._asking = False

    def body(self) -> ComposeResult:
        yield Said("", id="outbox-note")
        yield DataTable[Text](id="jobs", cursor_type="row", zebra_stripes=True)
        yield Said("", id="job-note")

    def set_up(self) -> None:
        """Columns; then look every second while shown."""
        table = self.query_one(DataTable)
        table.add_columns("state", "what", "to", "created", "stored", "kept", "patient", "tries")
        table.focus()
        self.set_interval(_EVERY_S, self._ask)

    def come_back(self) -> None:
        """Shown again: jobs went on meanwhile, and an exam may have been joined to its order."""
        self._patients = {}
        self._ask()

    def look(self, now: Situation) -> None:
        """The outbox has its own pace."""
        del now

    # --- actions -------------------------------------------------------------------------------------

    def do_retry(self) -> None:
        """The parked job under the cursor."""
        job = self._chosen()
        self._send_again([job] if job else [])

    def do_retry_all(self) -> None:
        """All that is parked for the destination under the cursor."""
        job = self._chosen()
        self._send_again([one for one in self._jobs if job and one.destination == job.destination])

    def _send_again(self, jobs: Sequence[Job]) -> None:
        parked = [job for job in jobs if job.state is State.PARKED]
        operator = self.station.operator
        if not parked or operator is None:
            words = "only a parked job can be sent again; the others go by themselves"
            self.notify(words, severity="warning", markup=False)
            return
        self.run_worker(partial(self._retry, parked, operator), group="retry")

    async def _retry(self, jobs: Sequence[Job], operator: Operator) -> None:
        """Beside the loop: every job is a write that waits for the disk."""
        refused = await asyncio.to_thread(self._retried, jobs, operator)
        if refused:
            self.notify("; ".join(refused), title="Not sent again", severity="warning", markup=False)
        else:
            self.notify(f"{len(jobs)} sent again", markup=False)
        self._show(*await asyncio.to_thread(self._newest, self._patients))

    def _retried(self, jobs: Sequence[Job], operator: Operator) -> list[str]:
        refused: list[str] = []
        for job in jobs:
            try:
                self._outbox.retry(job.id)
            except (ValueError, OSError) as error:
                refused.append(str(error))
            else:
                said = {"job": job.id, "destination": job.destination}
                record_deed(self.station.attended, operator, "retry", job.exam_uid, **said)
        return refused

    # --- what is shown -------------------------------------------------------------------------------

    @property
    def _outbox(self) -> Outbox:
        return self.station.attended.parts.dispatch.outbox

    def on_data_table_row_highlighted(self) -> None:
        """What stands in the way of this one."""
        job, liaison = self._chosen(), self.station.attended.liaison
        next_s = liaison.goes_in_s(job) if liaison and job else None
        self.query_one("#job-note", Said).update(_chain(job, next_s) if job else Text())

    def _chosen(self) -> Job | None:
        row = self.query_one(DataTable).cursor_row
        return self._jobs[row] if 0 <= row < len(self._jobs) else None

    def _ask(self) -> None:
        if self.is_current and not self._asking:
            self._asking = True
            self.run_worker(self._read, group="read")

    async def _read(self) -> None:
        """In a thread: there may be thousands of jobs, and their lock is the couriers'."""
        known = self._patients
        try:
            found = await asyncio.to_thread(self._newest, known)
        finally:
            self._asking = False
        if self._patients is known:  # else the screen was opened anew meanwhile, and names may be others
            self._show(*found)

    def _show(self, jobs: tuple[Job, ...], patients: dict[str, str], summaries: tuple[Summary, ...]) -> None:
        if not self.query("#jobs"):  # the screens ended meanwhile
            return
        self.query_one("#outbox-note", Said).update(_overview(summaries, len(jobs)))
        if (jobs, patients) == (self._jobs, self._patients):
            self.on_data_table_row_highlighted()  # its next attempt comes nearer
            return
        table = self.query_one(DataTable)
        chosen, self._jobs, self._patients = self._chosen(), jobs, patients
        table.clear()
        for job in jobs:
            style = "bold" if job.state is State.PARKED else ""
            cells = _cells(job, patients[job.exam_uid])
            table.add_row(*(Text(cell, style) for cell in cells))
        row = next((n for n, job in enumerate(jobs) if chosen and job.id == chosen.id), 0)
        table.move_cursor(row=row)
        self.on_data_table_row_highlighted()

    def _newest(self, known: dict[str, str]) -> tuple[tuple[Job, ...], dict[str, str], tuple[Summary, ...]]:
        """What is parked, then the newest of the others; and whose they are, by exam."""
        jobs = self._outbox.jobs()
        parked = [job for job in jobs if job.state is State.PARKED]
        others = [job for job in jobs if job.state is not State.PARKED]
        listed = (*parked, *others[::-1][: max(_MOST - len(parked), 0)])
        uids = {job.exam_uid for job in listed}
        names = {uid: known[uid] if uid in known else self._whose(uid) for uid in uids}
        return listed, names, self._outbox.summary()

    def _whose(self, exam_uid: str) -> str:
        spool = self.station.attended.parts.spool
        try:
            return person_name(spool.record(spool.root / exam_uid).exam.item.patient.name)
        except SpoolError:
            return "(folder gone)"


def _overview(summaries: Sequence[Summary], rows: int) -> Text:
    """Counts over all jobs, then whose trouble is worst."""
    counts = {state: sum(one.counts[state] for one in summaries) for state in _MARKS}
    total = sum(counts.values())
    if not total:
        return Text("nothing was to be sent yet")
    text = Text("   ".join(f"{counts[state]} {mark}" for state, mark in _MARKS.items() if counts[state]))
    text.stylize("bold")
    if total > rows:
        text.append(f"   (parked and newest {rows} of {total} are listed)", "not bold")
    for trouble in list(_troubles(summaries))[:_TROUBLES]:
        text.append(f"\n{trouble}", "not bold")
    return text


def _troubles(summaries: Sequence[Summary]) -> Iterator[str]:
    """Destinations with parked jobs first, then those that do not answer."""
    for one in summaries:
        if parked := one.counts[State.PARKED]:
            yield f"× {one.destination}: {parked} parked; choose a row for reason and remedy"
    for one in summaries:
        if one.error and not one.counts[State.PARKED]:
            yield f"… {one.destination}: {one.error} → {one.remedy}"


def _chain(job: Job, next_s: float | None) -> Text:
    """One job's way so far, when it goes on, and what stands in it."""
    steps = [f"created {_time(job.created_at)}"]
    for word, at in (("stored", job.stored_at), ("kept", job.committed_at)):
        steps.append(f"{word} {_time(at)}{_after(job.created_at, at)}" if at else f"{word} —")
    text = Text(" → ".join(steps), style="bold")
    if next_s is not None:
        what = "next try" if job.state is State.PENDING else "asked again"
        text.append(f"   {what} in {next_s:.0f} s", "not bold")
    if job.error:
        text.append(f"\n{job.error} → {job.remedy}", "bold")
    elif job.after and job.state is State.PENDING:
        text.append(f"\ngoes after {job.after}", "not bold")
    if job.warning:
        text.append(f"\nthe archive says: {job.warning}", "not bold")
    lost = f"   lost {job.lost} times by the archive" if job.lost else ""
    text.append(f"\n{job.name}  exam {job.exam_uid}{lost}", "not bold")
    return text


def _cells(job: Job, patient: str) -> tuple[str, ...]:
    times = (_time(job.created_at), _time(job.stored_at), _time(job.committed_at))
    return (_MARKS[job.state], _what(job), job.destination, *times, patient, str(job.attempts))


def _what(job: Job) -> str:
    if job.kind is not Kind.OBJECT:
        return _WORDS[job.kind]
    name = Path(job.file).stem.removesuffix("-released")
    return _OBJECTS.get(name, _WORDS[job.kind])


def _time(at: datetime | None) -> str:
    return f"{at.astimezone():%H:%M:%S}" if at else "—"


def _after(began: datetime | None, at: datetime) -> str:
    return f" (+{(at - began).total_seconds():.1f} s)" if began else ""
