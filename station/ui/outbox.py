"""What is on its way to the hospital: each object's chain, and what is parked with its reason."""

from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import DataTable, Static

from station.actions import Situation
from station.outbox.job import Job, State
from station.ui.frame import StationScreen

_EVERY_S = 1.0
_MARKS = {
    State.PENDING: "… waiting",
    State.STORED: "◔ stored",
    State.COMMITTED: "✔ kept",
    State.PARKED: "× PARKED",
}
_MOST = 500  # rows: the newest, after all that are parked


class OutboxScreen(StationScreen):
    """Look, and send again."""

    place = "outbox"

    def __init__(self) -> None:
        super().__init__()
        self._jobs: tuple[Job, ...] = ()

    def body(self) -> ComposeResult:
        yield Static("", id="outbox-note")
        yield DataTable[Text](id="jobs", cursor_type="row", zebra_stripes=True)
        yield Static("", id="job-note")

    def on_mount(self) -> None:
        """Columns; then look every second while shown."""
        super().on_mount()
        table = self.query_one(DataTable)
        table.add_columns("state", "what", "to", "made", "stored", "kept", "tries", "object")
        table.focus()
        self.set_interval(_EVERY_S, self._ask)
        self._ask()

    def look(self, now: Situation) -> None:
        """The outbox has its own pace."""
        del now

    def do_retry(self) -> None:
        """The parked job under the cursor."""
        job = self._chosen()
        if job is None or job.state is not State.PARKED:
            self.notify(
                "only a parked job can be sent again; the others go by themselves", severity="warning"
            )
            return
        try:
            self.station.attended.parts.dispatch.outbox.retry(job.id)
        except ValueError as error:
            self.notify(f"{error}", severity="warning", markup=False)
        self._ask()

    def on_data_table_row_highlighted(self) -> None:
        """What stands in the way of this one."""
        job = self._chosen()
        note = self.query_one("#job-note", Static)
        if job is None:
            note.update("")
        elif job.error:
            note.update(Text(f"{job.error} → {job.remedy}", style="bold"))
        else:
            note.update(Text(f"{job.name}  exam {job.exam_uid}"))

    def _chosen(self) -> Job | None:
        row = self.query_one(DataTable).cursor_row
        return self._jobs[row] if 0 <= row < len(self._jobs) else None

    def _ask(self) -> None:
        if self.is_current:
            self.run_worker(self._read, thread=True, exclusive=True)

    def _read(self) -> None:
        outbox = self.station.attended.parts.dispatch.outbox
        jobs = outbox.jobs()
        parked = [job for job in jobs if job.state is State.PARKED]
        others = [job for job in jobs if job.state is not State.PARKED]
        self.app.call_from_thread(self._fill, (*parked, *others[::-1][: _MOST - len(parked)]), len(jobs))

    def _fill(self, jobs: tuple[Job, ...], total: int) -> None:
        counts = ", ".join(f"{sum(j.state is s for j in jobs)} {mark[2:]}" for s, mark in _MARKS.items())
        more = f" (the newest {len(jobs)} of {total})" if total > len(jobs) else ""
        self.query_one("#outbox-note", Static).update(
            f"{counts}{more}" if jobs else "nothing was to be sent yet"
        )
        if jobs == self._jobs:
            return
        self._jobs = jobs
        table = self.query_one(DataTable)
        at = table.cursor_row
        table.clear()
        for job in jobs:
            table.add_row(*(Text(cell) for cell in _cells(job)))
        if jobs:
            table.move_cursor(row=min(at, len(jobs) - 1))


def _cells(job: Job) -> tuple[str, ...]:
    times = (_time(job.created_at), _time(job.stored_at), _time(job.committed_at))
    return (_MARKS[job.state], str(job.kind), job.destination, *times, str(job.attempts), job.name[-24:])


def _time(at: datetime | None) -> str:
    return f"{at.astimezone():%H:%M:%S}" if at else ""
