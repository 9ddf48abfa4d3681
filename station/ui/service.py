"""For who looks after the station: devices, lines with their traffic, calibration, and what went wrong."""

import statistics
from functools import partial
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import DataTable, ProgressBar, RichLog, Static

from station.actions import Situation
from station.calibrate import calibrate, give_up
from station.devices import DeviceError
from station.imaging.calibration import Maps
from station.ui.frame import StationScreen

_LINE_S = 0.25  # between looks at the lines
_LOG_S = 2.0
_MOST_FRAMES = 200
_GRAVE_ROWS = 50
_SAID_PER_FLAT = 7  # what an operator says in one exposure, with the instructions to people


class ServiceScreen(StationScreen):
    """Devices at a glance, and the calibration run."""

    place = "service"

    def __init__(self) -> None:
        super().__init__()
        self._traffic_until = -1.0

    def body(self) -> ComposeResult:
        yield Static("", id="service-note")
        yield ProgressBar(id="progress", show_eta=False)
        yield DataTable[Text](id="devices-table", cursor_type="none")
        with Horizontal(id="service"):
            yield RichLog(id="traffic", max_lines=_MOST_FRAMES, wrap=True)
            with VerticalScroll(id="errors-box"):
                yield Static("", id="errors")

    def on_mount(self) -> None:
        """Columns, and the paces of line and log."""
        super().on_mount()
        self.query_one("#devices-table", DataTable).add_columns(
            "device", "model", "serial", "state", "last word"
        )
        self.set_interval(_LINE_S, self._read_lines)
        self.set_interval(_LOG_S, self._ask_errors)
        self._ask_errors()

    def look(self, now: Situation) -> None:
        """Devices and progress."""
        table = self.query_one("#devices-table", DataTable)
        rows = self._devices(now)
        if table.row_count != len(rows):
            table.clear()
            for row in rows:
                table.add_row(*(Text(cell) for cell in row))
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                if str(table.get_cell_at((number, column))) != cell:  # type: ignore[arg-type]
                    table.update_cell_at((number, column), Text(cell))  # type: ignore[arg-type]
        bar = self.query_one(ProgressBar)
        bar.display = now.task is not None
        if now.task:
            bar.update(total=1.0, progress=now.task.done)
        self.query_one("#service-note", Static).update(self._note())

    def do_calibrate(self) -> None:
        """As the protocol's run says; cancelled, the station comes back to standby."""
        run = self.station.attended.parts.room.calibration
        steps = run.darks + _SAID_PER_FLAT * run.flats
        self.station.attended.begin("calibration", calibrate, steps=steps, give_up=give_up)

    def do_cancel_task(self) -> None:
        """At its next step."""
        self.station.attended.cancel()

    def _note(self) -> Text:
        maps = self.station.attended.controller.conduct.lookout.maps
        if isinstance(maps, Maps):
            said = f"calibrated {maps.made_at.astimezone():%Y-%m-%d %H:%M}, {int(maps.defects.sum())} defects"
        else:
            said = f"not calibrated{f': {maps.message}' if maps else ''}; k calibrates"
        lags = self.station.lags_ms
        if len(lags) > 100:
            late_ms = statistics.quantiles(lags, n=100)[98]
            said += f"   this screen's loop: at most {late_ms:.0f} ms late (99 %)"
        return Text(f"{said}   {self.station.attended.news}")

    def _devices(self, now: Situation) -> list[tuple[str, ...]]:
        equipment, view = self.station.attended.parts.equipment, now.snapshot.view
        rows: list[tuple[str, ...]] = []
        for name in ("generator", "detector", "io", "camera", "dap"):
            device = getattr(equipment, name)
            status: Any = getattr(view, name, None) if name != "io" else view.inputs
            if device is None:
                rows.append((name, "none in this room", "", "", ""))
                continue
            model, serial = _identity(device)
            state = str(getattr(status, "state", "connected" if status is not None else "—"))
            age = f"{max(view.at - status.at, 0):.1f} s ago" if status is not None else "—"
            rows.append((name, model, serial, state, age))
        return rows

    def _read_lines(self) -> None:
        """What went over the wires since the last look, decoded by the drivers."""
        if not self.is_current:
            return
        log, equipment = self.query_one(RichLog), self.station.attended.parts.equipment
        frames: list[tuple[float, str, Any]] = []
        for name in ("generator", "detector", "io", "dap"):
            traffic = getattr(getattr(equipment, name), "traffic", None)
            if traffic is not None:
                frames += [(one.at, name, one) for one in traffic() if one.at > self._traffic_until]
        if not frames and self._traffic_until < 0:
            self._traffic_until = 0.0
            log.write("the devices of this room have no lines: they are in this process")
        for at, name, one in sorted(frames, key=lambda frame: frame[0]):
            arrow = "→" if one.sent else "←"
            log.write(Text(f"{at:10.3f} {arrow} {name:<9} {one.meaning}  {one.data.hex(' ')[:60]}"))
            self._traffic_until = at

    def _ask_errors(self) -> None:
        if self.is_current:
            self.run_worker(self._read_errors, thread=True, exclusive=True)

    def _read_errors(self) -> None:
        rows = [
            row for row in self.station.attended.parts.journal.newest(2000) if _is_grave(row.kind, row.name)
        ]
        text = Text("Refusals and faults, newest first\n", style="bold")
        for row in rows[:_GRAVE_ROWS]:
            said = row.detail.get("message") or row.detail.get("why") or ""
            text.append(f"{row.at.astimezone():%d %b %H:%M:%S} {row.name}: {said}\n", style="not bold")
        self.app.call_from_thread(partial(self.query_one("#errors", Static).update, text))


def _is_grave(kind: str, name: str) -> bool:
    return kind == "refusal" or name in {"fault", "frame_lost", "expose-unclear", "parked", "failed"}


def _identity(device: Any) -> tuple[str, str]:
    info = getattr(device, "info", None)
    if info is None:
        return type(device).__name__, ""
    try:
        found = info()
    except DeviceError as error:
        return str(error), ""
    return found.model, found.serial
