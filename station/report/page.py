"""Sets the page: a sheet becomes words and charts, those become one tagged PDF.

What a person typed travels as data and is never read as markup. The document claims PDF/UA-1 and PDF/A-2a,
whose rules typst checks while it writes: a figure without alternative text, or a character that no font has,
is refused by it instead of printed.

Characters. The fonts that come with typst have Latin, Greek, Cyrillic and Hebrew, no Chinese, Japanese,
Korean or Arabic. Where a text needs more, the fonts of the machine are used as well. What they do not have
either is marked `[?]` and told on the page; an ideographic name that cannot be shown whole is left out beside
the alphabetic one, which is told too.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal

import numpy as np

from station.report import facts, findings
from station.report.charts import Dot, age_chart, age_curve, band_bar
from station.report.glyphs import MARK, STANDARDS, Glyphs, texts_in
from station.report.picture import picture_of, picture_words
from station.report.sheet import Sheet
from station.result import DxrResult

Paper = Literal["a4", "us-letter"]

TITLE = "DXR-BMD report"  # of the file too, where it is seen beside names of other patients
_LEVELS = 5  # of how closely the page is set, wide first
_CANNOT_SHOW = "could not be displayed"  # typst's words
_NO_ROOM = ("no room for the notes", "longer than one page")  # the template's own words
_NAME_LEFT_OUT = "The name in its own characters is left out: no font of this machine has them all."
_MARKED = f"Characters that no font of this machine has are marked {MARK}: read them in the order."


class ReportFailed(RuntimeError):  # noqa: N818  reads as the message it is
    """The page could not be set; the message says why."""


def render(sheet: Sheet, paper: Paper = "a4") -> bytes:
    """The report as a PDF of one page; the same bytes for the same sheet.

    Raises
    ------
    ReportFailed
        The page could not be set, or would not be one page.
    """
    words = content(sheet)
    drawn = {"picture": picture_of(sheet), "age": _age(sheet), "band": _band(sheet)}
    made_at = sheet.study.made_at.astimezone(UTC).replace(microsecond=0)  # all that typst takes
    try:
        return _set(words, drawn, Glyphs(texts_in(words)), paper, made_at)
    except ReportFailed as failed:
        if _CANNOT_SHOW not in str(failed):
            raise
    # characters that fail only in their places: a page with marks is better than none
    return _set(words, drawn, Glyphs(texts_in(words), sure_only=True), paper, made_at)


def _set(
    words: dict[str, Any], drawn: dict[str, Any], glyphs: Glyphs, paper: Paper, made_at: datetime
) -> bytes:
    """The page, as wide as everything has room."""
    import typst

    data = json.dumps(_shown(words, glyphs) | drawn)
    failure: typst.TypstError | None = None
    for level in range(_LEVELS):
        try:
            return typst.compile(
                files("station.report").joinpath("report.typ").read_bytes(),
                format="pdf",
                font_paths=glyphs.fonts,
                ignore_system_fonts=True,
                sys_inputs={"data": data, "paper": paper, "level": str(level)},
                pdf_standards=list(STANDARDS),
                timestamp=made_at,
            )
        except typst.TypstError as error:
            failure = error
            if not any(told in error.message for told in _NO_ROOM):
                break
    raise ReportFailed(f"the report could not be set: {failure.message if failure else ''}") from failure


def content(sheet: Sheet) -> dict[str, Any]:
    """Every word on the page, by its place."""
    study, result = sheet.study, sheet.study.result
    measured = isinstance(result, DxrResult)
    final, banner, under = facts.status(sheet)
    name, other = facts.name_groups(study.exam.item.patient)
    side, why = facts.hand(sheet)
    return {
        "title": TITLE,
        "institution": study.equipment.institution,
        "station": study.equipment.station_name,
        "final": final,
        "status": banner,
        "status_detail": under,
        "name": name or other or "Name unknown",
        "other_name": other if name else "",
        "patient": facts.patient_facts(sheet),
        "order": facts.order_facts(sheet),
        "side": side,
        "side_letter": study.exam.item.side.value,
        "why": why,
        "measured": measured,
        "no_result": "" if measured else findings.no_result(result),
        "tiles": findings.tiles(sheet, result) if measured else [],
        "band_words": findings.band(result) if measured else "",
        "band_alternative": findings.band_alternative(result) if measured else "",
        "band_caveat": findings.BAND_CAVEAT,
        "reasons": [] if measured else findings.reasons(result),
        "bones": findings.bones(result) if measured else None,
        "below_bones": findings.below_bones(result) if measured else "",
        "risk": [*(findings.risk(sheet, result) if measured else ()), *findings.change(sheet)],
        "quality": facts.quality_facts(sheet),
        "exposure": facts.exposure_facts(sheet),
        "basis": facts.basis_facts(sheet),
        "charge": facts.charge_facts(sheet),
        "notes": findings.notes(sheet),
        "picture_words": picture_words(sheet),
        "age_words": _age_words(sheet),
        "footer": facts.footer(sheet),
    }


def _shown(words: dict[str, Any], glyphs: Glyphs) -> dict[str, Any]:
    """The words as the fonts can show them, and what of them they cannot."""
    notices: list[str] = []
    if not glyphs.shows(words["other_name"]):
        words = words | {"other_name": ""}
        notices.append(_NAME_LEFT_OUT)
    if not all(glyphs.shows(text) for text in texts_in(words)):
        notices.append(_MARKED)
    return glyphs.marked(words) | {"notices": notices}


def _age(sheet: Sheet) -> dict[str, Any] | None:
    dots = _dots(sheet)
    curve = age_curve(sheet.reference, sheet.study.exam.item.patient.sex)
    if dots is None or curve is None:
        return None
    chart = asdict(age_chart(curve, dots[0], dots[1], sheet.reference))
    return chart | {"lines": {str(n): points for n, points in chart["lines"].items()}}


def _dots(sheet: Sheet) -> tuple[Dot, list[Dot]] | None:
    """The patient and the priors on the chart; None where there is no density or no age."""
    result, patient = sheet.study.result, sheet.study.exam.item.patient
    age = patient.age_at(sheet.study.exam.opened_at.date())
    if not isinstance(result, DxrResult) or result.bmd_g_cm2 is None or age is None:
        return None
    priors = [
        Dot(earlier, prior.bmd_g_cm2, prior.u95_g_cm2 or 0.0, comparable=not prior.why_not)
        for prior in sheet.priors
        if (earlier := patient.age_at(prior.taken)) is not None
    ]
    return Dot(age, result.bmd_g_cm2.value, result.bmd_g_cm2.u95), priors


def _age_words(sheet: Sheet) -> str:
    """The chart in words, or why there is none."""
    dots, sex = _dots(sheet), sheet.study.exam.item.patient.sex
    if dots is None:
        return "No chart over age: it needs a density and the patient's age."
    curve = age_curve(sheet.reference, sex)
    if curve is None:
        return f"No chart over age: {sheet.reference.id} has no curve of this sex."
    patient, priors = dots
    here = f"{patient.value:.3f} ± {patient.u95:.3f} g/cm² at {patient.age:.1f} years"
    mean, sd = (float(np.interp(patient.age, curve.ages, line)) for line in (curve.mean, curve.sd))
    words = f"DXR-BMD over age: patient {here}"
    if curve.ages[0] <= patient.age <= curve.ages[-1]:
        words += f"; reference mean at this age {mean:.3f}, SD {sd:.3f} g/cm²"
    return words + _prior_words(priors) + "."


def _prior_words(priors: Iterable[Dot]) -> str:
    told = (
        f"{dot.value:.3f} at {dot.age:.1f} years{'' if dot.comparable else ' (not comparable)'}"
        for dot in sorted(priors, key=lambda dot: dot.age)
    )
    listed = ", ".join(told)
    return f"; earlier {listed}" if listed else ""


def _band(sheet: Sheet) -> dict[str, Any] | None:
    result = sheet.study.result
    if not isinstance(result, DxrResult) or result.triage is None:
        return None
    if result.t_score is None or result.bmd_g_cm2 is None:
        return None
    return asdict(
        band_bar(result.t_score, result.bmd_g_cm2.u95 / sheet.reference.young_adult.sd, result.triage)
    )
