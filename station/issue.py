"""What an exam gives out: every object that follows from its pair of images, checked before it is written.

| file | what |
|---|---|
| for-processing.dcm, for-presentation.dcm | the pair |
| edges.dcm | presentation state: what was measured, over the picture |
| measurements.dcm | structured report, where something was measured |
| report.dcm, report.pdf | one page for people; the same as plain PDF |
| dose.dcm | every irradiation event, rejected ones too |
| exposure-N/… .dcm, rejected.dcm | the pair of a rejected image and the note on it |

A report that a physician has released is another document: report-released.dcm, measurements-released.dcm.
`issue` makes all when an image is accepted; `release` adds the released reports later, `reissue` makes all
anew for an exam that is joined to its order, `withdraw` takes back what was sent under a wrong one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from station.billing import Charge
from station.dicom import document, dose, image, lint, measurements, presentation_state, rejection
from station.dicom.modules import write
from station.durable import replacing
from station.exam import Coded
from station.findings import Findings
from station.notes import exposure_notes
from station.protocols import Reference
from station.report.gates import gates_of
from station.report.page import Paper, ReportFailed, render
from station.report.sheet import Calibration, Picture, Sheet
from station.result import DxrResult
from station.study import Study
from station.visits import compared

PAIR = ("for-processing.dcm", "for-presentation.dcm")
WITHDRAWN = "withdrawn.dcm"
_REJECTED = Coded("113001", "DCM", "Rejected for Quality Reasons")
_WRONG_ORDER = Coded("113038", "DCM", "Incorrect Modality Worklist Entry")


class ObjectRefused(ValueError):  # noqa: N818  reads as the message it is
    """An object contradicts itself or cannot be built, and is not written."""


@dataclass(frozen=True, slots=True)
class Papers:
    """What the report says besides the study."""

    reference: Reference
    charge: Charge
    earlier: tuple[Mapping[str, Any], ...] = ()  # visits, as the JSON of `exam`
    paper: Paper = "a4"
    source: Path | None = None  # where the exam's images lie, if not where the objects go
    keep: bool = False  # what lies there already may have been sent: it stays as it is


@dataclass(frozen=True, slots=True)
class Issued:
    """What an accepted exam left behind; `objects` are files in its folder."""

    study: Study
    charge: Charge
    objects: tuple[Path, ...]
    report: Path  # the page as PDF


def load() -> None:
    """Import what only the first issue would wait for: half a second."""
    for name in ("highdicom", "highdicom.sr", "typst"):
        import_module(name)


def issue(
    study: Study, findings: Findings, pair: tuple[Dataset, Dataset], papers: Papers, folder: Path
) -> Issued:
    """Make, check and write all objects. Raises `ObjectRefused` before anything is written."""
    picture = pair[1]
    named: dict[str, Dataset] = dict(zip(PAIR, pair, strict=True))
    final = "-released" if study.release and study.release.physician else ""
    try:
        named["edges.dcm"] = presentation_state.build(study, picture, findings.outlines)
        if isinstance(findings.result, DxrResult):
            named[f"measurements{final}.dcm"] = measurements.build(study, pair[0])
        named["dose.dcm"] = dose.build(study, pair)
        page = _page(study, findings, picture, papers)
        named[f"report{final}.dcm"] = document.build(study, page, list(named.values()))
    except (ValueError, ReportFailed) as error:
        raise ObjectRefused(str(error)) from error
    objects = _write_checked(study, named, folder, keep=papers.keep)
    report = folder / f"report{final}.pdf"
    if not papers.keep:
        _stamp_rejected(study, papers.source or folder, folder)
    if not (papers.keep and report.is_file()):
        with replacing(report) as file:
            file.write(page)
    return Issued(study, papers.charge, objects, report)


def reissue(study: Study, findings: Findings, papers: Papers, source: Path, folder: Path) -> Issued:
    """Under another order: all objects anew, from the pair in `source`. Raises `ObjectRefused`."""
    pair = image.identify(study, *(pydicom.dcmread(source / name) for name in PAIR))
    return issue(study, findings, pair, replace(papers, source=source), folder)


def release(study: Study, findings: Findings, papers: Papers, folder: Path) -> Issued:
    """What a release adds to the objects that are there; those stay. Raises `ObjectRefused`."""
    processing, presentation = (pydicom.dcmread(folder / name) for name in PAIR)
    return issue(study, findings, (processing, presentation), replace(papers, keep=True), folder)


def withdraw(study: Study, sent: Iterable[Path], folder: Path) -> Path:
    """A note that these objects were made for the wrong order (IHE IOCM)."""
    heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(sent)]
    note = rejection.build(study, heads, _WRONG_ORDER, None)
    (path,) = _write_checked(study, {WITHDRAWN: note}, folder, keep=True)  # it may have been sent already
    return path


def set_aside(study: Study, pair: tuple[Dataset, Dataset], folder: Path) -> tuple[Path, ...]:
    """The pair of a rejected image and the note on it. Raises `ObjectRefused`."""
    return _rejected(study, study.exposure.number, pair, folder)


def _stamp_rejected(study: Study, source: Path, folder: Path) -> None:
    """All objects of a study say the same of patient, order and procedure, those of rejected images too."""
    for number in study.rejections:
        paths = [source / f"exposure-{number}" / name for name in PAIR]
        if all(path.is_file() for path in paths):
            pair = image.identify(study, *(pydicom.dcmread(path) for path in paths))
            _rejected(study, number, pair, folder)


def _rejected(study: Study, number: int, pair: tuple[Dataset, Dataset], folder: Path) -> tuple[Path, ...]:
    rejected = study.rejections[number]
    note = rejection.build(study, pair, _REJECTED, Coded(rejected.code, "DCM", rejected.meaning))
    named: dict[str, Dataset] = {**dict(zip(PAIR, pair, strict=True)), "rejected.dcm": note}
    return _write_checked(study, named, folder / f"exposure-{number}")


def dose_only(study: Study, folder: Path) -> tuple[Path, ...]:
    """What an exam leaves that was given up: its dose, where there was any. Raises `ObjectRefused`."""
    if not dose.irradiated(study):
        return ()
    return _write_checked(study, {"dose.dcm": dose.build(study)}, folder)


def _page(study: Study, findings: Findings, picture: Dataset, papers: Papers) -> bytes:
    row_mm, column_mm = (float(value) for value in picture.ImagerPixelSpacing)
    shown = Picture(
        picture.pixel_array, float(picture.WindowCenter), float(picture.WindowWidth), (row_mm, column_mm)
    )
    priors, change = compared(study, papers.earlier)
    sheet = Sheet(
        study=study,
        reference=papers.reference,
        picture=shown,
        outlines=findings.outlines,
        charge=papers.charge,
        priors=priors,
        change=change,
        gates=gates_of(findings.result),
        notes=exposure_notes(study.exposure, study.indices.get(study.exposure.number), study.protocol),
        calibration=Calibration(findings.calibrated_at, findings.calibration, findings.detector_serial),
    )
    return render(sheet, papers.paper)


def _write_checked(
    study: Study, named: Mapping[str, Dataset], folder: Path, *, keep: bool = False
) -> tuple[Path, ...]:
    problems = lint.problems(list(named.values()), study.exam)
    if problems:
        raise ObjectRefused("; ".join(problem.message for problem in problems))
    for name, dataset in named.items():
        if not (keep and (folder / name).is_file()):
            write(dataset, folder / name)
    return tuple(folder / name for name in named)
