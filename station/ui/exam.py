"""The exam in hand: the hand on the panel, one instruction at a time, everything that stands in the way.

What the patient must do stands in large letters: KEEP STILL from the first stage of the switch until the
image is on disk.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll

from station import dossier
from station.actions import Situation
from station.devices import RoomInputs, SwitchStage
from station.dossier import Books
from station.exam import DISCONTINUATION_REASONS, Exam, Exposure
from station.positioning import CHECKLIST, Points, PositioningReport, confirmed
from station.readiness import Finding, Severity
from station.states import State, Trigger
from station.ui import drawing
from station.ui.dialogs import Choice
from station.ui.frame import Said, StationScreen
from station.ui.large import large
from station.ui.picture import Picture

_SAID = {
    State.PREPARING: "KEEP STILL",
    State.READY: "KEEP STILL",
    State.EXPOSING: "X-RAY ON",
    State.READOUT: "KEEP STILL",
    State.EXPOSED_NO_IMAGE: "NO IMAGE",
    State.FAULT: "STOP",
}
_NO_IMAGE = {
    "detector gave no frame": "The detector gave no frame, and its memory holds none",
    "detector switched off": "The detector was switched off before the frame was read",
    "other": "Another cause, found in the error log",
}


class ExamScreen(StationScreen):
    """Position, prepare, expose."""

    place = "exam"

    def __init__(self) -> None:
        super().__init__()
        self._earlier: Points | None = None  # None: still looked for
        self._with_earlier = True
        self._seen_at = -1.0
        self._drawn: PositioningReport | None = None  # whose outline is shown
        self._uid = ""

    def body(self) -> ComposeResult:
        yield Said("", id="large")
        yield Said("", id="instruction")
        with Horizontal(id="exam"):
            yield Picture(live=True, alt="no camera picture", id="camera")
            with Vertical(id="exam-side"):
                with VerticalScroll(id="findings-box", can_focus=False):
                    yield Said("", id="findings")
                yield Said("", id="technique")
                yield Said("", id="devices")

    def look(self, now: Situation) -> None:
        """Everything anew; the picture only when there is a newer one."""
        view, job = now.snapshot.view, now.snapshot.job
        if job is not None and job.exam.uid != self._uid:
            self._uid, self._earlier = job.exam.uid, None
            self.run_worker(partial(self._find_earlier, job.exam), thread=True, exclusive=True)
        self._say(now)
        self.query_one("#findings", Said).update(_findings(now))
        self.query_one("#technique", Said).update(_technique(now))
        self.query_one("#devices", Said).update(_devices(now))
        if view.picture is not None and view.picture.at != self._seen_at:
            self._seen_at = view.picture.at
            self._draw(now)

    def _find_earlier(self, exam: Exam) -> None:
        parts = self.station.attended.parts
        outline = dossier.earlier_pose(Books(parts.spool, parts.setting, parts.dispatch), exam)
        if exam.uid == self._uid:
            self._earlier = outline

    def on_picture_resized(self) -> None:
        """Drawn anew in the new size."""
        self._draw(self.station.situation)

    def _say(self, now: Situation) -> None:
        word = _SAID.get(now.state, "")
        self.query_one("#large", Said).update(large(word, self.size.width) if word else "")
        self.query_one("#large", Said).display = bool(word)
        switch = self.station.attended.switch
        text = Text(_instruction(now), style="bold")
        if switch is not None:
            stage = {0: "released", 1: "first stage: held", 2: "second stage: held"}[int(switch.stage)]
            text.append(f"\nSIMULATED HAND SWITCH {stage} (space: next stage, Esc: let go)", style="not bold")
        self.query_one("#instruction", Said).update(text)

    def _draw(self, now: Situation) -> None:
        picture, view = self.query_one("#camera", Picture), now.snapshot.view
        if view.picture is None or min(picture.size_px) < 4:
            return
        drawn = drawing.camera(
            view.picture,
            picture.size_px,
            field_mm=self.station.attended.parts.setting.protocol.geometry.field_mm,
            report=self._steady(view.positioning),
            earlier_mm=(self._earlier or ()) if self._with_earlier else (),
        )
        picture.show(drawn.pixels, drawn.words)

    def _steady(self, report: PositioningReport | None) -> PositioningReport | None:
        """A hand that holds still keeps the outline drawn: the camera's noise moves it all the time."""
        drawn = self._drawn
        if report and drawn and report.outline_mm and report.still_s >= report.at - drawn.at:
            return replace(report, outline_mm=drawn.outline_mm, zone_mm=drawn.zone_mm)
        self._drawn = report if report and report.outline_mm else None
        return report

    # --- actions -------------------------------------------------------------------------------------

    def do_squeeze(self) -> None:
        """The hand switch of a room whose person can be directed."""
        if self.station.attended.switch:
            self.station.attended.switch.squeeze()

    def do_checklist(self) -> None:
        """The operator's word where there is no camera."""
        text = "\n".join(f"□ {item}" for _, item in CHECKLIST)

        def answered(answer: str | None) -> None:
            if answer == "yes":
                at = self.station.attended.parts.clock.now()
                names = [name for name, _ in CHECKLIST]
                self.station.attended.confirm(confirmed(names, self._by(), at))

        choices = {"no": "Not yet", "yes": "All of this is so"}
        self.app.push_screen(Choice("Positioning without a camera", choices, text), answered)

    def do_more(self) -> None:
        """What is in the way, further down."""
        self.query_one("#findings-box", VerticalScroll).scroll_page_down(animate=False)

    def do_less(self) -> None:
        """What is in the way, further up."""
        self.query_one("#findings-box", VerticalScroll).scroll_page_up(animate=False)

    def do_earlier(self) -> None:
        """The earlier exam's outline, shown or not; or why there is none."""
        if not self._earlier:
            words = (
                "still looked for"
                if self._earlier is None
                else "no earlier exam of this hand on this station"
            )
            self.notify(words, title="Earlier pose", markup=False)
            return
        self._with_earlier = not self._with_earlier
        self._draw(self.station.situation)

    def do_cancel_exam(self) -> None:
        """With a coded reason."""

        def chosen(reason: str | None) -> None:
            if reason is not None:
                self.station.submit(Trigger.CANCEL_EXAM, reason=reason)

        self.app.push_screen(Choice("Why is the exam given up?", DISCONTINUATION_REASONS), chosen)

    def do_acknowledge(self) -> None:
        """An exposure whose image will not come."""

        def chosen(reason: str | None) -> None:
            if reason is not None:
                self.station.submit(Trigger.ACKNOWLEDGE, reason=reason)

        text = "The dose is on record. The detector's memory is asked again every second."
        self.app.push_screen(Choice("Why is there no image?", _NO_IMAGE, text), chosen)

    def _by(self) -> str:
        operator = self.station.operator
        return operator.id if operator else ""


def _instruction(now: Situation) -> str:
    """One thing at a time: the first thing that stands in the way, as what to do."""
    snapshot = now.snapshot
    if now.state is State.POSITIONING:
        readiness = snapshot.view.readiness
        if readiness is None:
            return "Looking …"
        if readiness.ready:
            return "✔ READY. Press the hand switch: first stage."
        first = min(readiness.blocking, key=_order)
        return f"→ {first.remedy}"
    return {
        State.PREPARING: "Preparing: hold the first stage.",
        State.READY: "READY. Press the hand switch fully to expose.",
        State.EXPOSING: "☢ X-RAY ON. Hold until the tone.",
        State.READOUT: "End of exposure. The image is coming; no second exposure.",
        State.EXPOSED_NO_IMAGE: f"Do not expose again. {snapshot.message}",
        State.FAULT: f"{snapshot.message}\n→ Clear the fault; if it comes again, call service.",
    }.get(now.state, "")


def _order(finding: Finding) -> int:
    """Side first, then the hand, then the room."""
    return 0 if finding.id == "wrong-side" else 1 if finding.hazard == "bad-geometry" else 2


def _findings(now: Situation) -> Text:
    readiness = now.snapshot.view.readiness
    text = Text()
    if readiness is None:
        return text
    if now.state is State.FAULT:
        return text.append("× the fault", style="bold")  # what was ready before it says nothing now
    blocking = sum(f.severity is Severity.BLOCKS for f in readiness.findings)
    text.append(f"× {blocking} in the way" if blocking else "✔ everything is ready", style="bold")
    text.append("  (PgDn, PgUp)\n" if len(readiness.findings) > 1 else "\n")
    for finding in sorted(readiness.findings, key=_order):
        mark = "×" if finding.severity is Severity.BLOCKS else "⚠"
        text.append(f"{mark} {finding.message}\n")
        text.append(f"  → {finding.remedy}\n", style="italic")
    return text


def _technique(now: Situation) -> Text:
    job, view = now.snapshot.job, now.snapshot.view
    if job is None:
        return Text()
    text = Text(f"{job.exam.hand_size} hand  {job.technique}\n")
    same = view.read_back == job.technique
    text.append(f"read back {'the same' if same else view.read_back or 'not yet'}\n")
    text.append(_delivered(now.snapshot.exposures))
    return text


def _delivered(exposures: Sequence[Exposure]) -> str:
    if not exposures or exposures[-1].delivered is None:
        return "delivered: nothing yet"
    newest, got = exposures[-1], exposures[-1].delivered
    dap = f"  DAP {newest.dap_ugym2:.2f} µGy·m²" if newest.dap_ugym2 is not None else "  DAP unknown"
    return f"delivered #{newest.number} {got.kvp:.1f} kV {got.mas:.2f} mAs{dap}  {got.end}"


def _devices(now: Situation) -> Text:
    view = now.snapshot.view
    generator, detector = view.generator, view.detector
    heat = (
        f"{generator.heat_percent:.0f} %" if generator and generator.heat_percent is not None else "unknown"
    )
    warm = f" {detector.temperature_c:.0f} °C" if detector and detector.temperature_c is not None else ""
    return Text(
        f"generator {generator.state if generator else 'UNKNOWN'}, tube heat {heat}\n"
        f"detector {detector.state if detector else 'UNKNOWN'}{warm}\n{_room(view.inputs)}"
    )


def _room(inputs: RoomInputs | None) -> str:
    if inputs is None:
        return "room UNKNOWN"
    door = {True: "closed", False: "OPEN", None: "UNKNOWN"}[inputs.door_closed]
    stop = {True: "released", False: "PRESSED", None: "UNKNOWN"}[inputs.emergency_stop_released]
    return f"door {door}, emergency stop {stop}, switch {SwitchStage(inputs.switch).name.lower()}"
