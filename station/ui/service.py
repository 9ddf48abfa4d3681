"""For who looks after the station: devices, lines with their traffic, calibration, and what went wrong."""

import asyncio
import statistics
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import DataTable, ProgressBar, RichLog

from station import wording
from station.actions import Situation, record_deed
from station.attended import Attended, Task
from station.calibrate import calibrate, give_up, said
from station.devices import DeviceError
from station.imaging.calibration import Maps
from station.keys import shown
from station.operate import Operator
from station.result import Reason
from station.ui.frame import Said, StationScreen

_LINE_S = 0.25  # between looks at the lines
_LOG_S = 2.0
_MOST_FRAMES = 200
_SEARCHED_ROWS = 2000  # of the journal, the newest
_GRAVE_ROWS = 50
_HEX_BYTES = 12  # of a frame; its meaning says the rest
_LAGS = 100  # looks at the loop before its lag says something
_DEVICES = ("generator", "detector", "io", "camera", "dap")

Identity = tuple[str, str]  # model and serial


class ServiceScreen(StationScreen):
    """Devices at a glance, and the calibration run."""

    place = "service"

    def __init__(self) -> None:
        super().__init__()
        self._identities: dict[str, Identity] = {}
        self._newest: dict[str, Any] = {}  # frame of each line that was shown last
        self._asking: set[str] = set()
        self._maps: Maps | Reason | None = None
        self._calibrated = ""

    def body(self) -> ComposeResult:
        yield Said("", id="service-note")
        yield ProgressBar(id="progress", show_eta=False)
        yield DataTable[Text](id="devices-table", cursor_type="none")
        with Horizontal(id="service"):
            yield RichLog(id="traffic", max_lines=_MOST_FRAMES, wrap=True, min_width=20)
            with VerticalScroll(id="errors-box"):
                yield Said("", id="errors")

    def set_up(self) -> None:
        """Columns, and the paces of line and log."""
        table = self.query_one("#devices-table", DataTable)
        table.add_columns("device", "state", "last word", "model", "serial")
        for name in _DEVICES:
            table.add_row(*(Text(cell) for cell in (name, "", "", "", "")))
        self.set_interval(_LINE_S, self._ask_lines)
        self.set_interval(_LOG_S, self._ask_errors)

    def come_back(self) -> None:
        """Shown again: what went wrong meanwhile is seen at once."""
        self._ask_errors()
        self._ask_lines()

    def look(self, now: Situation) -> None:
        """Devices and progress."""
        table = self.query_one("#devices-table", DataTable)
        for number, row in enumerate(self._devices(now)):
            for column, cell in enumerate(row):
                if str(table.get_cell_at((number, column))) != cell:  # type: ignore[arg-type]
                    table.update_cell_at((number, column), Text(cell), update_width=True)  # type: ignore[arg-type]
        bar = self.query_one(ProgressBar)
        bar.display = now.task is not None
        if now.task:
            bar.update(total=1.0, progress=now.task.done)
        self.query_one("#service-note", Said).update(self._note(now))

    # --- actions -------------------------------------------------------------------------------------

    def do_calibrate(self) -> None:
        """As the protocol's run says; cancelled, the station comes back to standby."""
        attended, person = self.station.attended, self.station.operator
        if person is None:
            return

        def work(operator: Operator) -> Maps:
            record_deed(attended, person, "calibrate")
            return calibrate(operator)

        try:
            attended.begin("calibration", work, steps=said(attended.controller), give_up=give_up)
        except ValueError as error:  # another task began between look and key
            self.notify(str(error), severity="warning", markup=False)

    def do_cancel_task(self) -> None:
        """At its next step."""
        self.station.attended.cancel()

    # --- what is shown -------------------------------------------------------------------------------

    def _note(self, now: Situation) -> Text:
        text = Text(self._calibration())
        lags = self.station.lags_ms
        if len(lags) > _LAGS:
            late_ms = statistics.quantiles(lags, n=100)[98]
            text.append(f"   screen's loop: {late_ms:.0f} ms late at most (99 %)")
        if now.task:
            text.append(f"\n{self._progress(now.task)}", "bold")
        elif self.station.attended.news:
            text.append(f"\n{self.station.attended.news}", "bold")
        return text

    def _progress(self, task: Task) -> str:
        left_s = task.remaining_s()
        rest = f", about {left_s:.0f} s left" if left_s is not None else ""
        key = shown(self.station.keys.service["cancel_task"])
        return f"{task.name}: {task.step or 'begins'}  {task.done:.0%}{rest}; {key} cancels"

    def _calibration(self) -> str:
        """Of the maps in use; their defects are counted once, not at every look."""
        maps = self.station.attended.controller.conduct.lookout.maps
        if maps is not self._maps or not self._calibrated:
            self._maps = maps
            if isinstance(maps, Maps):
                made = f"{maps.made_at.astimezone():%Y-%m-%d %H:%M}"
                self._calibrated = f"calibrated {made}, {int(maps.defects.sum())} defects"
            else:
                key = shown(self.station.keys.service["calibrate"])
                self._calibrated = f"NOT CALIBRATED{f': {maps.message}' if maps else ''}; {key} calibrates"
        return self._calibrated

    def _devices(self, now: Situation) -> list[tuple[str, ...]]:
        equipment, view = self.station.attended.parts.equipment, now.snapshot.view
        words: dict[str, Any] = {
            "generator": view.generator,
            "detector": view.detector,
            "io": view.inputs,
            "camera": view.picture,
        }
        rows: list[tuple[str, ...]] = []
        for name in _DEVICES:
            model, serial = self._identities.get(name, ("", ""))
            word = words.get(name)
            if getattr(equipment, name) is None:
                rows.append((name, "none in this room", "", "", ""))
            elif word is None:
                rows.append((name, _SILENT.get(name, "× DOES NOT ANSWER"), "—", model, serial))
            else:
                state = str(getattr(word, "state", "answers"))
                age_s = max(view.at - word.at, 0)
                rows.append((name, state, f"{age_s:.1f} s ago", model, serial))
        return rows

    # --- lines and log, read beside the loop -----------------------------------------------------------

    def _ask_lines(self) -> None:
        if self.is_current and "lines" not in self._asking:
            self._asking.add("lines")
            self.run_worker(self._read_lines, group="lines")

    async def _read_lines(self) -> None:
        """What went over the wires since the last look; drivers decode all they keep at every call."""
        attended = self.station.attended
        try:
            lines = await asyncio.to_thread(_traffic, attended.parts.equipment)
        finally:
            self._asking.discard("lines")
        if not self.query("#traffic"):  # the screens ended meanwhile
            return
        log, first = self.query_one(RichLog), not self._newest
        if not lines and first:
            self._newest[""] = None
            log.write("no line to listen to: the devices of this room are in this process")
        news: list[tuple[str, Any]] = []
        for name, frames in lines.items():
            news += [(name, one) for one in since(frames, self._newest.get(name))]
            if frames:
                self._newest[name] = frames[-1]
        clock = attended.parts.clock
        wall, at_s = clock.wall().astimezone(), clock.now()
        for name, one in sorted(news, key=lambda pair: pair[1].at)[-_MOST_FRAMES:]:
            when = wall - timedelta(seconds=at_s - one.at)
            arrow = "→" if one.sent else "←"
            raw = one.data[:_HEX_BYTES].hex(" ") + (" …" if len(one.data) > _HEX_BYTES else "")
            text = Text(f"{when:%H:%M:%S.%f}"[:12] + f" {arrow} {name} ")
            log.write(text.append(str(one.meaning), "bold").append(f"  {raw}", "dim"))

    def _ask_errors(self) -> None:
        if self.is_current and "errors" not in self._asking:
            self._asking.add("errors")
            self.run_worker(self._read_errors, group="errors")

    async def _read_errors(self) -> None:
        try:
            errors, identities = await asyncio.to_thread(_slow_look, self.station.attended)
        finally:
            self._asking.discard("errors")
        if self.query("#errors"):  # else the screens ended meanwhile
            self._identities = identities
            self.query_one("#errors", Said).update(errors)


# Devices that say nothing unless they are asked for something
_SILENT = {"camera": "looks only at a hand", "dap": "tells after an exposure"}


def since(frames: Sequence[Any], newest: Any) -> Sequence[Any]:
    """Frames behind the one that was shown last; all where it is not kept any more."""
    for number in range(len(frames) - 1, -1, -1):
        if frames[number] == newest:
            return frames[number + 1 :]
    return frames


def _traffic(equipment: Any) -> dict[str, Sequence[Any]]:
    """Of every device that has a line to listen to."""
    listened = {name: getattr(getattr(equipment, name), "traffic", None) for name in _DEVICES}
    return {name: traffic() for name, traffic in listened.items() if traffic is not None}


def _slow_look(attended: Attended) -> tuple[Text, dict[str, Identity]]:
    """What went wrong, newest first, and who the devices are."""
    equipment = attended.parts.equipment
    text = Text("Refusals and faults, newest first\n", style="bold")
    found = [
        row
        for row in attended.parts.journal.newest(_SEARCHED_ROWS)
        if wording.grave(row.kind, row.name, row.detail)
    ]
    for row in found[:_GRAVE_ROWS]:
        who = wording.who(row.detail)
        said = wording.sentence(row.kind, row.name, row.detail)
        text.append(f"{row.at.astimezone():%d %b %H:%M:%S} {said}{f'  ({who})' if who else ''}\n", "not bold")
    if not found:
        text.append("none among the journal's newest rows", "not bold")
    return text, {name: _identity(getattr(equipment, name)) for name in _DEVICES}


def _identity(device: Any) -> Identity:
    if device is None:
        return "", ""
    info = getattr(device, "info", None)
    if info is None:
        return type(device).__name__, ""
    try:
        found = info()
    except DeviceError as error:
        return str(error), ""
    return found.model, found.serial
