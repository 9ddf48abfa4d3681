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
from importlib.resources import files
from typing import Any, Literal

import cv2
import numpy as np

from station.report import facts, findings
from station.report.charts import Cut, Dot, age_chart, age_curve, band_bar, cut_to, lines_in
from station.report.glyphs import MARK, STANDARDS, Glyphs, texts_in
from station.report.sheet import Picture, Sheet
from station.result import DxrResult

Paper = Literal["a4", "us-letter"]

TITLE = "DXR-BMD report"  # of the file too, where it is seen beside names of other patients
_PICTURE_ASPECT = 1.02  # height over width of the part that is shown large
_SHOWN_PX = 1000  # its height; about 300 per inch
_SMALL_PX = 300  # height of the whole picture beside it
_JPEG_QUALITY = 88
_MARGIN = 0.16  # about the metacarpals, of their extent
_UNBROKEN = 24  # characters of a word that may be longer than its column
_BREAK = "\u200b"
_NAME_LEFT_OUT = "The name in its own characters is left out: no font of this machine has them all."
_MARKED = f"Characters that no font of this machine has are marked {MARK}: read them in the order."
_DRAWN = ("hand", "path", "periosteal", "endosteal", "region", "narrowest", "failed")


class ReportFailed(RuntimeError):  # noqa: N818  reads as the message it is
    """The page could not be set; the message says why."""


def render(sheet: Sheet, paper: Paper = "a4") -> bytes:
    """The report as a PDF of one page; the same bytes for the same sheet.

    Raises
    ------
    ReportFailed
        The page could not be set, or would not be one page.
    """
    import typst

    words = content(sheet)
    glyphs = Glyphs(texts_in(words))
    drawn = {"picture": _picture(sheet), "age": _age(sheet), "band": _band(sheet)}
    try:
        return typst.compile(
            files("station.report").joinpath("report.typ").read_bytes(),
            format="pdf",
            font_paths=glyphs.fonts,
            ignore_system_fonts=True,
            sys_inputs={"data": json.dumps(_shown(words, glyphs) | drawn), "paper": paper},
            pdf_standards=list(STANDARDS),
            timestamp=sheet.study.made_at,
        )
    except typst.TypstError as error:
        raise ReportFailed(f"the report could not be set: {error.message}") from error


def content(sheet: Sheet) -> dict[str, Any]:
    """Every word on the page, by its place."""
    study, result = sheet.study, sheet.study.result
    measured = isinstance(result, DxrResult)
    final, banner = facts.status(sheet)
    name, other = facts.name_groups(study.exam.item.patient)
    side, why = facts.hand(sheet)
    return {
        "title": TITLE,
        "institution": study.equipment.institution,
        "station": study.equipment.station_name,
        "final": final,
        "status": banner,
        "name": name or other or "Name unknown",
        "other_name": other if name else "",
        "patient": facts.patient_facts(sheet),
        "order": facts.order_facts(sheet),
        "side": side,
        "side_letter": study.exam.item.side.value,
        "why": why,
        "measured": measured,
        "tiles": findings.tiles(sheet, result) if measured else [],
        "band_words": findings.band(result) if measured else "",
        "reasons": [] if measured else findings.reasons(result),
        "bones": findings.bones(result) if measured else None,
        "below_bones": findings.below_bones(result) if measured else "",
        "risk": [*(findings.risk(sheet, result) if measured else ()), *findings.change(sheet)],
        "quality": facts.quality_facts(sheet),
        "exposure": facts.exposure_facts(sheet),
        "basis": facts.basis_facts(sheet),
        "charge": facts.charge_facts(sheet),
        "notes": findings.notes(sheet),
        "picture_words": _picture_words(sheet),
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
    whole = {key: words[key] for key in ("name", "footer", "title")}
    return _breakable(glyphs.marked(words)) | glyphs.marked(whole) | {"notices": notices}


def _breakable(data: Any) -> Any:
    """Words longer than a column get places to break at, which are not seen."""
    if isinstance(data, str):
        return " ".join(
            _BREAK.join(word[i : i + _UNBROKEN] for i in range(0, len(word), _UNBROKEN)) or word
            for word in data.split(" ")
        )
    if isinstance(data, dict):
        return {key: _breakable(value) for key, value in data.items()}
    return [_breakable(value) for value in data] if isinstance(data, (list, tuple)) else data


def _picture(sheet: Sheet) -> dict[str, Any] | None:
    """The metacarpals large with their outlines, and the whole picture small."""
    picture = sheet.picture
    if picture is None:
        return None
    shape = (picture.pixels.shape[0], picture.pixels.shape[1])
    outlines = [outline for outline in sheet.outlines if outline.kind in _DRAWN]
    cut = _widened(cut_to(sheet.outlines, ("axis", "region", "failed"), _MARGIN, shape), shape)
    close = (cut.bottom - cut.top, cut.right - cut.left) != shape
    rows, columns = shape
    box = [cut.left / columns, cut.top / rows, cut.right / columns, cut.bottom / rows]
    return {
        "image": list(_jpeg(picture, cut, _SHOWN_PX)),
        "aspect": (cut.bottom - cut.top) / (cut.right - cut.left),
        "lines": [asdict(line) for line in lines_in(outlines, cut, _SHOWN_PX)],
        "labels": _labels(sheet, cut),
        "whole": list(_jpeg(picture, Cut(0, rows, 0, columns), _SMALL_PX)) if close else None,
        "whole_aspect": rows / columns,
        "box": box,
        "scale_10mm": _ten_mm(sheet, picture, cut),
    }


def _widened(cut: Cut, shape: tuple[int, int]) -> Cut:
    """The cut brought to the shape of its place on the page, as far as the picture reaches."""
    height, width = cut.bottom - cut.top, cut.right - cut.left
    wanted = (max(height, round(width * _PICTURE_ASPECT)), max(width, round(height / _PICTURE_ASPECT)))
    ends: list[int] = []
    for first, last, size, limit in zip(
        (cut.top, cut.left), (cut.bottom, cut.right), wanted, shape, strict=True
    ):
        start = min(max((first + last - size) // 2, 0), max(limit - size, 0))
        ends += [start, min(start + size, limit)]
    return Cut(*ends)


def _labels(sheet: Sheet, cut: Cut) -> list[dict[str, Any]]:
    """The number of each bone at the head of its axis."""
    height, width = cut.bottom - cut.top, cut.right - cut.left
    found: list[dict[str, Any]] = []
    for outline in sheet.outlines:
        if outline.kind != "axis":
            continue
        row, column = (float(end) for end in outline.points_px[-1])
        at = [(column - cut.left) / width, (row - cut.top) / height]
        if all(0 < share < 1 for share in at):
            found.append({"at": at, "text": "".join(c for c in outline.label if c.isdigit())})
    return found


def _ten_mm(sheet: Sheet, picture: Picture, cut: Cut) -> float | None:
    """Ten millimetres at the bone as a share of the shown width."""
    if picture.spacing_mm is None:
        return None
    enlarged = sheet.study.protocol.geometry.magnification
    return 10 * enlarged / picture.spacing_mm[1] / (cut.right - cut.left)


def _jpeg(picture: Picture, cut: Cut, height_px: int) -> bytes:
    """Windowed to eight bits and reduced; never enlarged."""
    part = picture.pixels[cut.top : cut.bottom, cut.left : cut.right].astype(np.float32)
    shrink = height_px / part.shape[0]
    if shrink < 1:
        size = (max(round(part.shape[1] * shrink), 1), height_px)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA))
    low = picture.window_center - picture.window_width / 2
    grey = np.clip((part - low) / picture.window_width * 255, 0, 255).astype(np.uint8)
    done, coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ReportFailed(f"a picture of {grey.shape} pixels could not be encoded")
    return coded.tobytes()


def _picture_words(sheet: Sheet) -> str:
    side = sheet.study.exam.item.side.word
    result = sheet.study.result
    drawn = {outline.kind for outline in sheet.outlines}
    if isinstance(result, DxrResult):
        edges = f" with the measured edges of the {findings.bone_words(result)} metacarpal"
    else:
        edges = " with what the analysis saw of it" if drawn else ""
    return f"Radiograph of the {side} hand, posteroanterior{edges}."


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
    return asdict(band_bar(result.t_score, result.bmd_g_cm2.u95 / sheet.reference.young_adult.sd, result.triage))
