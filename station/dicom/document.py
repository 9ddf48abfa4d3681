"""The report page as an Encapsulated PDF (PS3.3 A.45.1), for archives that show no structured report.

The page carries name and numbers as text a person reads: Burned In Annotation is YES. Its sources are the
objects it was made from. The bytes of the page are kept as they are; one byte of padding where their number
is odd, with the true length beside them.
"""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from station.dicom.modules import coded, items, reference
from station.dicom.report import begin_report, predecessor
from station.statements import physician_release
from station.study import Study

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.104.1"
CONCEPT = ("18748-4", "LN", "Diagnostic imaging report")
_KIND = "document"


def build(study: Study, pdf: bytes, sources: Sequence[Dataset]) -> Dataset:
    """The page as a DICOM object; `sources` are images and reports of the same study.

    Raises
    ------
    ValueError
        Not a PDF, or no source.
    """
    if not pdf.startswith(b"%PDF-"):
        raise ValueError(f"a document must be a PDF, got {len(pdf)} bytes beginning with {pdf[:8]!r}")
    if not sources:
        raise ValueError("a report page needs the objects it was made from; give at least one image")
    release = physician_release(study)
    dataset = begin_report(study, _KIND, SOP_CLASS, "DOC")
    acquired = study.exposure.started_at.astimezone(study.exam.opened_at.tzinfo)
    dataset.AcquisitionDateTime = f"{acquired:%Y%m%d%H%M%S.%f}"
    dataset.ImageLaterality = study.exam.item.side.value
    dataset.BurnedInAnnotation = "YES"
    dataset.ConversionType = "SYN"  # made by a program, not scanned
    dataset.SourceInstanceSequence = items(*map(reference, sources))
    dataset.DocumentTitle = "DXR-BMD report"
    dataset.ConceptNameCodeSequence = items(coded(*CONCEPT))
    dataset.VerificationFlag = "UNVERIFIED" if release is None else "VERIFIED"
    if release is not None:
        dataset.PredecessorDocumentsSequence = predecessor(dataset, study, _KIND)
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return dataset
