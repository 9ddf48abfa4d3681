"""What an exam gives out: every object that follows from its pair of images, checked before it is written.

| file | what |
|---|---|
| for-processing.dcm, for-presentation.dcm | the pair |
| edges.dcm | presentation state: what was measured, over the picture |
| measurements.dcm | structured report, where something was measured |
| report.dcm, report.pdf | one page for people; the same as plain PDF |
| dose.dcm | every irradiation event, rejected ones too |
| exposure-N/… .dcm, rejected.dcm | the pair of a rejected image and the note on it |

`issue` makes them when an image is accepted. `reissue` makes them anew from what is on disk: a report that a
physician releases, an exam that was joined to its order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from station.protocols import Reference
from station.result import DxrResult
from station.study import Study

PAIR = ("for-processing.dcm", "for-presentation.dcm")
_REJECTED = Coded("113001", "DCM", "Rejected for Quality Reasons")


class ObjectRefused(ValueError):  # noqa: N818  reads as the message it is
    """An object contradicts itself or cannot be built, and is not written."""


@dataclass(frozen=True, slots=True)
class Papers:
    """What the report says besides the study."""

    reference: Reference
    charge: Charge
    priors: tuple[Mapping[str, Any], ...] = ()  # earlier visits, as the JSON of `exam`
    paper: str = "a4"


@dataclass(frozen=True, slots=True)
class Issued:
    """What an accepted exam left behind; `objects` are files in its folder."""

    study: Study
    charge: Charge
    objects: tuple[Path, ...]
    rejected: tuple[Path, ...] = field(default=())  # pairs and notes, for archives that want them
    report: Path | None = None  # the page as PDF


def issue(
    study: Study, findings: Findings, pair: tuple[Dataset, Dataset], papers: Papers, folder: Path
) -> Issued:
    """Make, check and write all objects. Raises `ObjectRefused` before anything is written."""
    picture = pair[1]
    page = _page(study, findings, picture, papers)
    named: dict[str, Dataset] = dict(zip(PAIR, pair, strict=True))
    try:
        named["edges.dcm"] = presentation_state.build(study, picture, findings.outlines)
        if isinstance(findings.result, DxrResult):
            named["measurements.dcm"] = measurements.build(study, picture)
        named["dose.dcm"] = dose.build(study)
        named["report.dcm"] = document.build(study, page, list(named.values()))
    except ValueError as error:
        raise ObjectRefused(str(error)) from error
    objects = _write_checked(study, named, folder)
    with replacing(folder / "report.pdf") as file:
        file.write(page)
    return Issued(study, papers.charge, objects, _set_aside(folder), folder / "report.pdf")


def reissue(study: Study, findings: Findings, papers: Papers, folder: Path) -> Issued:
    """All objects anew, with the identity of `study`, from the pair on disk. Raises `ObjectRefused`."""
    pair = image.identify(study, *(pydicom.dcmread(folder / name) for name in PAIR))
    return issue(study, findings, pair, papers, folder)


def set_aside(study: Study, pair: tuple[Dataset, Dataset], folder: Path) -> tuple[Path, ...]:
    """The pair of a rejected image and the note on it. Raises `ObjectRefused`."""
    number = study.exposure.number
    rejected = study.rejections[number]
    note = rejection.build(study, pair, _REJECTED, Coded(rejected.code, "DCM", rejected.meaning))
    named = dict(zip((*PAIR, "rejected.dcm"), (*pair, note), strict=True))
    return _write_checked(study, named, folder / f"exposure-{number}")


def dose_only(study: Study, folder: Path) -> tuple[Path, ...]:
    """What an exam leaves that was given up: its dose. Raises `ObjectRefused`."""
    return _write_checked(study, {"dose.dcm": dose.build(study)}, folder)


def _write_checked(study: Study, named: Mapping[str, Dataset], folder: Path) -> tuple[Path, ...]:
    problems = lint.problems(list(named.values()), study.exam)
    if problems:
        raise ObjectRefused("; ".join(problem.message for problem in problems))
    for name, dataset in named.items():
        write(dataset, folder / name)
    return tuple(folder / name for name in named)


def _set_aside(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("exposure-*/*.dcm")))
