"""The image and what was measured: accept it, or reject it with a coded reason, before the hand lifts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll

from station import dossier
from station.actions import Situation, disagreement
from station.controller import Snapshot
from station.devices import Delivered
from station.dossier import Books
from station.exam import REJECTION_REASONS, Exam, Exposure
from station.notes import exposure_notes
from station.operators import Task, may
from station.pipeline import Outcome
from station.report.charts import AgeCurve, Dot, age_curve
from station.report.sheet import Outline
from station.result import Bone, DxrResult, Measurement, Reason, Refused
from station.spool import SpoolError
from station.statements import relative_risk
from station.states import State, Trigger
from station.ui.charts import AgeChart
from station.ui.dialogs import Choice
from station.ui.drawing import Look, Radiograph, preview
from station.ui.frame import Said, StationScreen, identifiers, person_name, side_mark
from station.ui.large import large
from station.ui.picture import Picture
from station.visits import compared

_ZOOM, _PAN, _WINDOW = 1.5, 0.2, 0.1  # factor; share of the view; share of the window
_HAND_USV = 0.1  # effective dose of a hand view, 0.0001 mSv as a maker of bone age software states
_NATURAL_USV_PER_H = 2400 / 8766  # 2.4 mSv a year, the world's mean as UNSCEAR gives it [M]


class ReviewScreen(StationScreen):
    """Decide on the newest image."""

    place = "review"

    def __init__(self) -> None:
        super().__init__()
        self._exposure_uid = ""  # whose image is shown
        self._outcome: Outcome | None = None
        self._radiograph: Radiograph | None = None
        self._outlines: Sequence[Outline] = ()
        self._view: Look | None = None

    def body(self) -> ComposeResult:
        yield Said("", id="large")
        with Horizontal(id="review"):
            yield Picture(alt="the image is being made", way=self.station.pictures, id="image")
            with VerticalScroll(id="review-side", can_focus=False):
                yield Said("", id="result")
                yield AgeChart(id="ages")
                yield Said("", id="gates")

    def look(self, now: Situation) -> None:
        """Image and outcome are drawn once each; the words follow every change."""
        words = _movement(now.snapshot)
        self.query_one("#large", Said).update(large(words, self.size.width))
        self.query_one("#result", Said).update(_result(now))
        self.query_one("#gates", Said).update(self._notes(now))
        self._follow(now.snapshot)

    def _follow(self, snapshot: Snapshot) -> None:
        """The raw frame as soon as there is one, then what became of it; never another exposure's."""
        newest = snapshot.exposures[-1] if snapshot.exposures and snapshot.exposures[-1].image else None
        uid = newest.uid if newest else ""
        if uid != self._exposure_uid:
            self._exposure_uid, self._outcome = uid, None
            self._radiograph, self._view, self._outlines = None, None, ()
            self.query_one("#image", Picture).show(None, "the image is being made")
            self.query_one(AgeChart).show_nothing()
            if snapshot.job and newest and snapshot.outcome is None:
                self.run_worker(partial(self._preview, snapshot.job.exam, newest), exclusive=True)
        if snapshot.outcome is not None and snapshot.outcome is not self._outcome:
            self._outcome = snapshot.outcome
            self.run_worker(partial(self._prepare, snapshot.outcome, snapshot), exclusive=True)

    def on_picture_resized(self) -> None:
        """Drawn anew in the new size."""
        self._draw()

    async def _preview(self, exam: Exam, exposure: Exposure) -> None:
        """Not corrected, not measured: whether the hand is on it is seen half a second sooner."""
        spool = self.station.attended.parts.spool
        try:
            radiograph = await asyncio.to_thread(lambda: preview(spool.raw(exam, exposure).pixels))
        except SpoolError:
            return  # what becomes of it says so
        if self._exposure_uid == exposure.uid and self._outcome is None:
            self._radiograph, self._outlines, self._view = radiograph, (), radiograph.first_look
            self._draw()

    async def _prepare(self, outcome: Outcome, snapshot: Snapshot) -> None:
        """Beside the loop: sizes of the picture, then earlier visits from the disk."""
        shown = outcome.presentation
        radiograph = await asyncio.to_thread(
            Radiograph, shown.frame.pixels, shown.window_center, shown.window_width
        )
        self._take(outcome, radiograph)
        found = await asyncio.to_thread(self._visits, outcome, snapshot)
        if found is not None and outcome is self._outcome:
            self.query_one(AgeChart).show(*found, self.station.attended.parts.setting.reference)

    def _visits(self, outcome: Outcome, snapshot: Snapshot) -> tuple[AgeCurve, Dot, list[Dot]] | None:
        """What the chart shows; None where age, sex or density are not known."""
        parts, job = self.station.attended.parts, snapshot.job
        books = Books(parts.spool, parts.setting, parts.dispatch)
        if job is None or not isinstance(outcome.result, DxrResult):
            return None
        try:
            study = dossier.study_of(books, parts.spool.record(parts.spool.folder(job.exam)))
        except SpoolError:
            return None  # accepting says what is wrong; the result stands without its chart
        priors, _ = compared(study, parts.dispatch.earlier(job.exam))
        patient, bmd = job.exam.item.patient, outcome.result.bmd_g_cm2
        curve, born = age_curve(parts.setting.reference, patient.sex), patient.birth_date
        age = patient.age_at(job.exam.opened_at.date())
        if curve is None or bmd is None or age is None or born is None:
            return None
        dots = [
            Dot(
                (one.taken - born).days / 365.25,
                one.bmd_g_cm2,
                one.u95_g_cm2 or 0.0,
                comparable=not one.why_not,
            )
            for one in priors
        ]
        return curve, Dot(age, bmd.value, bmd.u95), dots

    def _take(self, outcome: Outcome, radiograph: Radiograph) -> None:
        if outcome is self._outcome:
            self._radiograph, self._outlines = radiograph, outcome.outlines
            self._view = radiograph.first_look.onto(outcome.outlines)
            self._draw()

    def _draw(self) -> None:
        picture = self.query_one("#image", Picture)
        if self._radiograph is None or self._view is None or min(picture.size_px) < 4:
            return
        drawn = self._radiograph.draw(self._view, picture.size_px, self._outlines)
        picture.show(drawn.pixels, drawn.words)

    def _see(self, view: Look | None) -> None:
        if view is not None and view is not self._view:
            self._view = view
            self._draw()

    # --- actions -------------------------------------------------------------------------------------

    def do_accept(self) -> None:
        """With the charge released, or without."""
        now = self.station.situation
        job, operator = now.snapshot.job, self.station.operator
        if job is None or operator is None:
            return
        item = job.exam.item
        text = (
            f"{person_name(item.patient.name)}\n{identifiers(item.patient, self.station.today)}\n"
            f"{side_mark(item.side)}   order {item.accession_number}\n"
        )
        measured = now.snapshot.outcome is not None and isinstance(now.snapshot.outcome.result, DxrResult)
        choices = {"later": "Accept; somebody releases the result later"}
        if measured and may(operator.role, Task.RELEASE_CHARGE):
            choices = {"release": f"Accept, and release the charge as {operator.name}", **choices}
        if measured and may(operator.role, Task.RELEASE_REPORT):
            choices = {"final": f"Accept; {operator.name} has interpreted it: final report", **choices}

        def chosen(answer: str | None) -> None:
            if answer is None:
                return
            released = {} if answer == "later" else {"released_by": operator.name}
            self.station.submit(Trigger.ACCEPT, physician=answer == "final", **released)

        self.app.push_screen(Choice("Accept this image for this patient?", choices, text), chosen)

    def do_reject(self) -> None:
        """A coded reason; before it what another exposure costs and gains."""
        now = self.station.situation

        def chosen(reason: str | None) -> None:
            if reason is not None:
                self.station.submit(Trigger.REJECT, reason=reason)

        self.app.push_screen(Choice("Reject: why?", REJECTION_REASONS, retake_card(now.snapshot)), chosen)

    def do_zoom_in(self) -> None:
        """Closer."""
        self._see(self._view and self._view.zoomed(_ZOOM))

    def do_zoom_out(self) -> None:
        """Farther."""
        self._see(self._view and self._view.zoomed(1 / _ZOOM))

    def do_pan_left(self) -> None:
        """To the left."""
        self._see(self._view and self._view.panned(0, -_PAN))

    def do_pan_right(self) -> None:
        """To the right."""
        self._see(self._view and self._view.panned(0, _PAN))

    def do_pan_up(self) -> None:
        """Up."""
        self._see(self._view and self._view.panned(-_PAN, 0))

    def do_pan_down(self) -> None:
        """Down."""
        self._see(self._view and self._view.panned(_PAN, 0))

    def do_darker(self) -> None:
        """The window's centre up."""
        self._see(self._view and self._view.windowed(center=_WINDOW))

    def do_brighter(self) -> None:
        """The window's centre down."""
        self._see(self._view and self._view.windowed(center=-_WINDOW))

    def do_invert(self) -> None:
        """Bone dark or bright."""
        self._see(self._view and replace(self._view, inverted=not self._view.inverted))

    def do_outlines(self) -> None:
        """With or without."""
        self._see(self._view and replace(self._view, overlay=not self._view.overlay))

    def do_fit(self) -> None:
        """All of it."""
        self._see(self._radiograph and self._radiograph.first_look)

    def do_more(self) -> None:
        """The result further down."""
        self.query_one("#review-side", VerticalScroll).scroll_page_down(animate=False)

    def do_less(self) -> None:
        """The result further up."""
        self.query_one("#review-side", VerticalScroll).scroll_page_up(animate=False)

    def _notes(self, now: Situation) -> Text:
        """Gates that failed, limits of the result, the exposure's own notes; each with what to do."""
        snapshot = now.snapshot
        outcome, text = snapshot.outcome, Text()
        if outcome is None or not snapshot.exposures:
            return text
        found = outcome.result
        protocol = self.station.attended.parts.setting.protocol
        notes = found.notes if isinstance(found, DxrResult) else ()
        exposed = exposure_notes(snapshot.exposures[-1], outcome.exposure_index, protocol)
        for note in (*notes, *exposed):
            text.append(f"⚠ {note.message}\n  → {note.remedy}\n")
        return text


def _movement(snapshot: Snapshot) -> str:
    """What the patient may do: the hand lifts when there is a result that nobody would repeat."""
    if snapshot.state is not State.REVIEW or snapshot.outcome is None:
        return "KEEP STILL"
    return "YOU MAY MOVE" if isinstance(snapshot.outcome.result, DxrResult) else "KEEP STILL"


def _result(now: Situation) -> Text:
    snapshot, text = now.snapshot, Text()
    outcome = snapshot.outcome
    if outcome is None:
        return Text("The image is on disk and being measured …", style="bold")
    found = outcome.result
    if isinstance(found, Refused):
        text.append("NOT MEASURED\n", style="bold")
        for reason in found.reasons:
            text.append(f"× {reason.message}\n  → {reason.remedy}\n")
    else:
        _density(text, found)
    _sides(text, now)
    if isinstance(found, DxrResult):
        _measured(text, found)
    if snapshot.exposures:
        _exposed(text, snapshot.exposures[-1], outcome)
    return text


def _density(text: Text, found: DxrResult) -> None:
    bmd = found.bmd_g_cm2
    text.append(
        f"DXR-BMD {_with(bmd)} g/cm² (estimate)\n" if bmd else "no density: ratios only\n", style="bold"
    )
    if found.t_score is not None:
        z = f"   Z {found.z_score:+.1f}" if found.z_score is not None else ""
        text.append(f"T {found.t_score:+.1f}{z}", style="bold")
        text.append(f"   {found.reference}, {found.reference_status or 'status unknown'}\n")


def _measured(text: Text, found: DxrResult) -> None:
    if found.triage is not None:
        text.append(f"{found.triage.band}: {found.triage.message}\n")
        text.append("".join(f"  {caveat}\n" for caveat in found.triage.caveats), style="italic")
    for hazard in found.hazards:
        text.append(f"{relative_risk(hazard)}\n")
    text.append(f"MCI {_with(found.mci)}\n")
    for bone in found.bones:
        text.append(_bone(bone))


def _bone(bone: Bone) -> str:
    size = f" T {_with(bone.t_mm, 2)} W {_with(bone.w_mm, 2)} mm" if bone.t_mm and bone.w_mm else ""
    return f"MC{bone.number}{size} MCI {bone.mci.value:.3f} {bone.valid_fraction:.0%} valid\n"


def _with(one: Measurement, digits: int = 3) -> str:
    return f"{one.value:.{digits}f} ± {one.u95:.{digits}f}"


def _sides(text: Text, now: Situation) -> None:
    """Order and image must agree; the operator's word opened the exam."""
    job, outcome = now.snapshot.job, now.snapshot.outcome
    if job is None or outcome is None:
        return
    against = disagreement(now)
    image = outcome.result.side.word if outcome.result.side else "not seen"
    mark = "×" if against else "✔"
    text.append(
        f"{mark} side: order {job.exam.item.side.word}, image {image}\n", style="bold" if against else ""
    )
    if against:
        text.append(f"  {against}\n", style="bold")


def _exposed(text: Text, exposure: Exposure, outcome: Outcome) -> None:
    index = outcome.exposure_index
    said = "EI unknown" if isinstance(index, Reason) else f"EI {index.ei:.0f} DI {index.di:+.1f}"
    text.append(f"{_given(exposure.delivered)}  {said}")
    text.append(
        f"  DAP {exposure.dap_ugym2:.2f} µGy·m²\n" if exposure.dap_ugym2 is not None else "  DAP unknown\n"
    )


def _given(delivered: Delivered | None) -> str:
    if delivered is None:
        return "dose unknown"
    return f"{delivered.kvp:.1f} kV {delivered.mas:.2f} mAs, {delivered.end}"


def retake_card(snapshot: Snapshot) -> str:
    """What one more exposure costs the patient, and what it could gain."""
    minutes = _HAND_USV / _NATURAL_USV_PER_H * 60
    dap = snapshot.exposures[-1].dap_ugym2 if snapshot.exposures else None
    cost = f"DAP {dap:.2f} µGy·m² once more, " if dap is not None else ""
    known = f"as {minutes:.0f} minutes of natural background (derived, not measured on this patient)"
    lines = [
        f"This was exposure {len(snapshot.exposures)}. One more: {cost}about {_HAND_USV:g} µSv, {known}."
    ]
    outcome = snapshot.outcome
    if outcome is None:
        lines.append("The image is not measured yet: wait for its result.")
    elif isinstance(outcome.result, Refused):
        remedies = [reason.remedy for reason in outcome.result.reasons] or ["unknown"]
        lines.append(f"Gain: a result, if this can be changed: {remedies[0]}")
    elif outcome.result.bmd_g_cm2 is not None:
        bmd = outcome.result.bmd_g_cm2
        lines.append(
            f"Gain: little. It is measured to ± {bmd.u95:.3f} g/cm²; the mean of two would be ± "
            f"{bmd.u95 / 2**0.5:.3f} at best."
        )
    else:
        lines.append("Gain: none for the ratios that were measured.")
    return "\n".join(lines) + "\n"
