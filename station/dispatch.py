"""What the hospital is told of an exam: everything becomes a job of the outbox, on disk, and nobody waits.

| when | what | to |
|---|---|---|
| exam opened | MPPS N-CREATE | the RIS |
| image accepted | objects; rejected images with their notes where wanted | every archive |
| | MPPS N-SET completed, with the charge if it is released | the RIS |
| | results with the page; FHIR bundle | HL7 receiver; folder |
| charge released | DFT, once for an exam and an accession number | HL7 receiver |
| exam given up | dose; MPPS N-SET discontinued with its reason | archives, RIS |
| joined to another order | results and bundle taken back, the charge credited | HL7 receiver; folder |

A step that was completed under the wrong order stays: MPPS has no way to change it.

Jobs and their contents follow from the exam alone, so whatever is told again after a crash is the same job.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.dataset import Dataset

from station.billing import Basis, proof_json, proof_text
from station.dicom import mpps
from station.durable import replacing
from station.exam import Exam, Exposure
from station.hospital import Hospital
from station.issue import WITHDRAWN, Issued
from station.ledger import Ledger
from station.messages import fhir, hl7, withdrawal
from station.outbox.job import Job, Kind
from station.outbox.queue import Outbox
from station.protocols import Code
from station.result import DxrResult
from station.spool import Spool
from station.study import Equipment, Study

if TYPE_CHECKING:
    from station.dicom.priors import Inbox, Wanted


_REVERSED = {
    Kind.RESULTS: withdrawal.results,
    Kind.BUNDLE: withdrawal.bundle,
    Kind.CHARGE: withdrawal.charge,
}
_TAKEN_BACK = "withdrawn-"  # begins the names of their files


@dataclass(frozen=True, slots=True)
class End:
    """How an exam ended without an accepted image."""

    reason: str  # one of DISCONTINUATION_REASONS
    at: datetime


class Dispatch:
    """Turns what happens to exams into jobs; returns when they are on disk."""

    def __init__(self, hospital: Hospital, outbox: Outbox, spool: Spool, equipment: Equipment) -> None:
        self.hospital, self.outbox = hospital, outbox
        self._spool, self._equipment = spool, equipment
        self._station = spool.root.parent
        self.opened: SimpleQueue[Exam] = SimpleQueue()  # whose earlier visits are wanted
        self._ledger = Ledger(self._station / "charges.db")
        if hospital.messages.fhir is not None:
            fhir.load()

    def started(self, exam: Exam) -> None:
        """The exam is open."""
        if self.hospital.priors is not None:  # else nobody takes them out
            self.opened.put(exam)
        self._begin_step(exam)

    def finished(self, issued: Issued) -> None:
        """An image was accepted or its report released; told again after a crash, the same."""
        study = issued.study
        exam = study.exam
        self._begin_step(exam)
        heads = [_head(path) for path in issued.objects]
        basis = _basis(study, heads)
        self._keep_proof(issued, basis)
        charge = self._claimed(issued, basis)
        self.objects(exam, (*issued.objects, *self._rejected(exam)))
        jobs = [*self._messages(issued, charge)]
        if self.hospital.mpps is not None:
            heads += [_head(path) for path in self._wanted_rejected(exam)]
            step = mpps.completed(study, heads, charge=charge, retrieve_ae_title=self._keeper)
            jobs.append(self._step(exam, Kind.STEP_SET, step))
        self.outbox.put(jobs)

    def objects(self, exam: Exam, paths: Iterable[Path]) -> None:
        """DICOM files for every archive; rejected images only for those that want them."""
        paths = tuple(paths)
        self.outbox.put(self._storing(exam, paths))

    def given_up(self, exam: Exam, exposures: Sequence[Exposure], paths: Iterable[Path], end: End) -> None:
        """No image was accepted; exposures and objects tell of the dose, where there was any."""
        paths = tuple(paths)
        self._begin_step(exam)
        self.objects(exam, (*paths, *self._rejected(exam)))
        if self.hospital.mpps is not None:
            heads = [_head(path) for path in paths]
            step = mpps.discontinued(exam, end.reason, end.at, exposures, heads)
            self.outbox.put([self._step(exam, Kind.STEP_SET, step)])

    def sent(self, exam: Exam) -> set[Path]:
        """Files of what an archive was given, or may have been, under the exam's order, without the note."""
        folder = self._spool.objects(exam)
        own = {folder, *folder.glob("exposure-*")}
        objects = (job for job in self.outbox.jobs(exam.uid) if job.kind is Kind.OBJECT)
        paths = {path for job in objects if (path := self.outbox.path(job)).parent in own}
        return paths - {folder / WITHDRAWN}

    def withdrawn(self, exam: Exam) -> bool:
        """Take back all that tells who the exam is of; False if some of it may have left the station."""
        kinds = {Kind.OBJECT, Kind.RESULTS, Kind.CHARGE, Kind.BUNDLE}
        if not self.outbox.withdraw(exam.uid, kinds):
            return False
        steps = [job for job in self.outbox.jobs(exam.uid) if job.kind is Kind.STEP_SET]
        if not any(self.outbox.may_have_left(job) for job in steps):  # a step may have told the charge
            self._ledger.take_back(exam.uid, "withdrawn before anything was sent")
        return True

    def take_back(self, exam: Exam, order: str, at: datetime) -> bool:
        """Take back what was told under the exam's order, the newest of each kind: it goes to another.

        Each goes after what it takes back, however late that arrives. Once the credit is on disk, the exam
        may be charged under the other order, after the credit. False if nothing was told.
        """
        folder, jobs = self._spool.objects(exam), list[Job]()
        for kind, reverse in _REVERSED.items():
            told = [job for job in self.outbox.jobs(exam.uid) if job.kind is kind]
            paths = {job.id: self.outbox.path(job) for job in told}
            own = [job for job in told if paths[job.id].parent == folder]
            for job in [job for job in own if not paths[job.id].name.startswith(_TAKEN_BACK)][-1:]:
                sent = paths[job.id].read_bytes().decode()  # read as text, carriage returns would be lost
                text = reverse(sent, at.astimezone(exam.opened_at.tzinfo))
                made = self._told(exam, kind, job.destination, text, taking_back=job.name)
                jobs.append(replace(made, after=job.id))
        self.outbox.put(jobs)
        if any(job.kind is Kind.CHARGE for job in jobs):
            self._ledger.take_back(exam.uid, f"credited, the exam goes to order {order}")
        return bool(jobs)

    def already_charged(self, exam: Exam) -> bool:
        """Whether another exam of this order was charged."""
        return self._ledger.already_charged(exam.uid, exam.item.accession_number)

    def charged_as(self, exam: Exam) -> str:
        """What to do where the exam was charged under another order than it has now; empty otherwise."""
        proof = self._ledger.proof(exam.uid)
        if proof is None or proof["accession_number"] == exam.item.accession_number:
            return ""
        sent = f"{proof['code']['value']} was charged under order {proof['accession_number']}"
        return f"{sent} and is not charged again; have billing move it to {exam.item.accession_number}"

    def earlier(self, exam: Exam) -> tuple[Mapping[str, Any], ...]:
        """Earlier visits as far as they were fetched by now, as the JSON of `exam`; nobody waits for more."""
        folder = self.earlier_folder(exam)
        if not folder.is_dir():
            return ()
        from station.dicom import earlier, priors  # pynetdicom takes its time

        return tuple(one.report for one in priors.kept(folder, _wanted(exam), earlier.read).priors)

    def fetch_earlier(self, exam: Exam, inbox: "Inbox | None" = None) -> None:
        """Look for earlier visits at the archive, in the caller's thread. Raises `NetworkError`."""
        from station.dicom import earlier, priors

        if self.hospital.priors is not None:
            folder = self.earlier_folder(exam)
            folder.mkdir(exist_ok=True)
            priors.fetch(self.hospital, _wanted(exam), folder, earlier.read, inbox)

    def earlier_folder(self, exam: Exam) -> Path:
        """Where the reports of earlier visits are kept."""
        return self._spool.folder(exam) / "earlier"

    # --- jobs ----------------------------------------------------------------------------------------

    def _storing(self, exam: Exam, paths: Iterable[Path]) -> Iterator[Job]:
        for path in paths:
            meta = pydicom.dcmread(path, specific_tags=[]).file_meta
            uid, sop_class = str(meta.MediaStorageSOPInstanceUID), str(meta.MediaStorageSOPClassUID)
            rejected = path.parent.name.startswith("exposure-")
            for name, archive in self.hospital.archives.items():
                if archive.rejected or not rejected:
                    yield Job(Kind.OBJECT, exam.uid, name, uid, self._relative(path), sop_class)

    def _rejected(self, exam: Exam) -> list[Path]:
        return sorted(self._spool.objects(exam).glob("exposure-*/*.dcm"))

    def _wanted_rejected(self, exam: Exam) -> list[Path]:
        """Rejected images leave the station only where an archive wants them."""
        wanted = any(archive.rejected for archive in self.hospital.archives.values())
        return self._rejected(exam) if wanted else []

    @property
    def _keeper(self) -> str:
        """AE title of the archive that the RIS may fetch from: the first."""
        return next((archive.ae_title for archive in self.hospital.archives.values()), "")

    def _step(self, exam: Exam, kind: Kind, step: Dataset) -> Job:
        path = self._spool.objects(exam) / f"{kind}.dataset"  # no object: it has no study of its own
        mpps.write(step, path)
        created = Job(Kind.STEP_CREATED, exam.uid, "mpps", mpps.uid(exam), self._relative(path))
        return created if kind is Kind.STEP_CREATED else replace(created, kind=kind, after=created.id)

    def _begin_step(self, exam: Exam) -> None:
        if self.hospital.mpps is not None:
            step = mpps.created(exam, self._equipment, self.hospital.ae_title)
            self.outbox.put([self._step(exam, Kind.STEP_CREATED, step)])

    def _keep_proof(self, issued: Issued, basis: Basis) -> None:
        """Why this code or none, beside the objects: for programs and for print."""
        folder = issued.report.parent
        for name, text in (
            ("charge.json", json.dumps(proof_json(issued.charge, basis), indent=1)),
            ("charge.txt", proof_text(issued.charge, basis)),
        ):
            with replacing(folder / name) as file:
                file.write(text.encode())

    def _claimed(self, issued: Issued, basis: Basis) -> Code | None:
        """The code that may be charged: due, and the first for this exam and order."""
        charge = issued.charge
        if not charge.due:
            return None
        return charge.code if self._ledger.claim(charge, basis) else None

    def _messages(self, issued: Issued, charge: Code | None) -> Iterator[Job]:
        study, told = issued.study, self.hospital.messages
        if told.results is not None:
            text = hl7.results(study, told, issued.report.read_bytes())
            yield self._told(study.exam, Kind.RESULTS, "results", text)
        if told.charges is not None and charge is not None:
            text = hl7.charge(study, issued.charge, told)
            made = self._told(study.exam, Kind.CHARGE, "charges", text)
            jobs = self.outbox.jobs(study.exam.uid)
            before = [job.id for job in jobs if job.kind is Kind.CHARGE and job.id != made.id]
            yield replace(made, after=before[-1] if before else "")
        if told.fhir is not None:
            granted = issued.charge if charge is not None else None
            text = fhir.bundle(study, granted, issued.report.read_bytes())
            yield self._told(study.exam, Kind.BUNDLE, "fhir", text)

    def _told(self, exam: Exam, kind: Kind, destination: str, text: str, *, taking_back: str = "") -> Job:
        prefix = _TAKEN_BACK if taking_back else ""
        if kind is Kind.BUNDLE:
            name = exam.uid_for("bundle", taking_back or text)  # what is released later is another bundle
            path = self._spool.objects(exam) / f"{prefix}{name}.json"
        else:
            name = hl7.control_id(text)
            path = self._spool.objects(exam) / f"{prefix}{kind}-{name}.hl7"
        with replacing(path) as file:
            file.write(text.encode())
        return Job(kind, exam.uid, destination, name, self._relative(path))

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._station))


def _wanted(exam: Exam) -> "Wanted":
    from station.dicom.priors import Wanted

    return Wanted(exam.item.patient, exam.item.side, exam.item.study_instance_uid)


def _head(path: Path) -> Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True)


def _basis(study: Study, heads: Iterable[Dataset]) -> Basis:
    """Where the facts of the charge can be looked up."""
    return Basis(
        exam_uid=study.exam.uid,
        accession_number=study.exam.item.accession_number,
        protocol=study.exam.protocol,
        algorithm=study.result.algorithm if isinstance(study.result, DxrResult) else "",
        irradiation_events=tuple(exposure.uid for exposure in study.exposures),
        instances=tuple(str(head.SOPInstanceUID) for head in heads if "Rows" in head),
    )
