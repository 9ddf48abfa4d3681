"""Earlier results of the same person: found at the archive, fetched, identity checked, read.

::

    C-FIND study     patient ID                      all three ways of DIMSE begin so; DICOMweb asks QIDO
    C-FIND series    modality SR
    C-FIND image     those of the measurement classes
    C-GET            over the same association       method: get
    C-MOVE           to the station's own port       method: move
    WADO             over HTTPS                      method: web

An archive matches as it likes (wildcards, other case): what it sends counts only if the patient
ID is the same, and the birth date where both are known. Whatever cannot be used is left out with a note, and
the exam goes on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from station.dicom import priors_dimse
from station.dicom.priors_dimse import Inbox
from station.dicom.reading import Level, Unreadable, day_of
from station.durable import replacing
from station.exam import Patient, Side
from station.hospital import Hospital
from station.result import Reason

__all__ = ["Found", "Inbox", "Prior", "Reader", "Wanted", "fetch", "kept"]

Reader = Callable[[Dataset], dict[str, Any]]  # `earlier.read`; ValueError for what is not ours


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose results of which hand; those of `own_study` are not earlier ones."""

    patient: Patient
    side: Side
    own_study: str = ""


@dataclass(frozen=True, slots=True)
class Prior:
    """One earlier result."""

    uid: str  # of the report
    report: dict[str, Any]  # what the reader made of it
    path: Path


@dataclass(frozen=True, slots=True)
class Found:
    """Earlier results, newest first, and what was left out and why."""

    priors: tuple[Prior, ...]
    notes: tuple[Reason, ...]


def fetch(
    hospital: Hospital, wanted: Wanted, folder: Path, read: Reader, inbox: Inbox | None = None
) -> Found:
    """Earlier results of this hand; it may take as long as the hospital's timeouts allow.

    `inbox` is the running listener's; without one C-MOVE opens the station's port for itself.

    Raises
    ------
    NetworkError
        Its narrowest kind; what was fetched before it is in the folder.
    """
    if hospital.priors is None:
        return Found((), ())
    archive = hospital.archives[hospital.priors.archive]
    notes: list[Reason] = []
    who, own = wanted.patient.id, wanted.own_study
    if hospital.priors.method == "web":
        from station.dicom import priors_web  # HTTP is loaded where it is used

        datasets, there = priors_web.fetched(hospital, hospital.priors, who, own)
    else:
        datasets, there = priors_dimse.fetched(hospital, archive, who, own, inbox)
    if there > len(datasets):
        message = f"the archive names {there} reports, {len(datasets)} came"
        notes.append(Reason("prior-missing", message, "read the others at the archive"))
    priors = [prior for dataset in datasets if (prior := _prior(dataset, wanted, folder, read, notes))]
    priors.sort(key=lambda prior: _taken(prior.report), reverse=True)
    return Found(tuple(priors), tuple(notes))


def kept(folder: Path, wanted: Wanted, read: Reader) -> Found:
    """Earlier results that were fetched before, without any network."""
    notes: list[Reason] = []
    datasets: list[Dataset] = []
    for path in sorted(folder.glob("prior-*.dcm")):
        try:
            datasets.append(dcmread(path))
        except (OSError, InvalidDicomError, ValueError, EOFError) as error:
            notes.append(Reason("prior-unreadable", f"{path.name} cannot be read: {error}", "fetch it again"))
    priors = [prior for dataset in datasets if (prior := _prior(dataset, wanted, folder, read, notes))]
    priors.sort(key=lambda prior: _taken(prior.report), reverse=True)
    return Found(tuple(priors), tuple(notes))


# --- what counts -------------------------------------------------------------------------------------


def _prior(dataset: Dataset, wanted: Wanted, folder: Path, read: Reader, notes: list[Reason]) -> Prior | None:
    """The report if it is this person's, of this hand, and ours."""
    try:
        level = Level.of(dataset)
        uid = level.text("SOPInstanceUID")
        why = _other_person(level, wanted.patient)
        if why:
            notes.append(
                Reason("prior-other-person", f"report {uid}: {why}", "compare the patient's records")
            )
            return None
        report = read(dataset)
    except (Unreadable, ValueError) as error:
        notes.append(Reason("prior-foreign", f"a report was left out: {error}", "read it at the archive"))
        return None
    if report.get("side") != wanted.side:
        message = f"report {uid} is of the other hand"
        notes.append(Reason("prior-other-side", message, "hands are compared with themselves only"))
        return None
    path = folder / f"prior-{uid}.dcm"
    if not path.is_file():
        with replacing(path) as file:
            dataset.save_as(file, enforce_file_format=True)
    return Prior(uid, report, path)


def _other_person(level: Level, patient: Patient) -> str:
    if level.text("PatientID") != patient.id:
        return "another patient ID"
    born = day_of(level.text("PatientBirthDate"))
    if born and patient.birth_date and born != patient.birth_date:
        return f"same patient ID, but born on {born}"
    return ""


def _taken(report: dict[str, Any]) -> str:
    return str((report.get("visit") or {}).get("taken") or "")
