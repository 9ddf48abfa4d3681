"""Worklist matches as a RIS makes them, and RISes that give them."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers import HERE, free_port, process, serving
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind

from station.hospital import Hospital, Timeouts, Worklist

STUDY_UID = "1.2.3.4.5"


def code(value: str, scheme: str = "C4", meaning: str = "Hand view for DXR") -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def match(**changes: Any) -> Dataset:
    """A good match for a left hand; `step_…` changes the step, None removes an attribute."""
    step = Dataset()
    step.ScheduledStationAETitle = "DXR1"
    step.Modality = "DX"
    step.ScheduledProcedureStepStartDate = "20260302"
    step.ScheduledProcedureStepStartTime = "093000"
    step.ScheduledProcedureStepID = "SPS1"
    step.ScheduledProcedureStepDescription = "Hand PA left"
    step.ScheduledProtocolCodeSequence = [code("0750T")]
    order = Dataset()
    order.SpecificCharacterSet = "ISO_IR 192"
    order.AccessionNumber = "ACC1"
    order.ReferringPhysicianName = "Okafor^Ada"
    order.PatientName = "Test^Person"
    order.PatientID = "P1"
    order.PatientBirthDate = "19610504"
    order.PatientSex = "F"
    order.StudyInstanceUID = STUDY_UID
    order.RequestedProcedureDescription = "Bone density of the hand"
    order.RequestedProcedureID = "RP1"
    order.RequestedProcedureCodeSequence = [code("0750T")]
    order.ScheduledProcedureStepSequence = [step]
    for name, value in changes.items():
        where, keyword = (step, name[5:]) if name.startswith("step_") else (order, name)
        if value is None:
            delattr(where, keyword)
        else:
            setattr(where, keyword, value)
    return order


def wired(dataset: Dataset, *, implicit: bool = False) -> Dataset:
    """As it comes out of the network."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, implicit
    write_dataset(file, dataset)
    return read_dataset(io.BytesIO(file.getvalue()), implicit, True)


def hospital(port: int, **worklist: Any) -> Hospital:
    """One with a RIS on this port."""
    waits = Timeouts(connect_s=5, answer_s=worklist.pop("answer_s", 10), network_s=20)
    ris = Worklist(host=HERE, port=port, plain=True, ae_title=worklist.pop("ae_title", "RIS"), **worklist)
    return Hospital(name="Test", ae_title="DXR1", worklist=ris, timeouts=waits)


@contextmanager
def ris(matches: Sequence[Dataset], *end: tuple[int, None]) -> Iterator[int]:
    """A RIS that gives these matches, and ends with another status than success if one is given; its port."""
    entity = AE("RIS")
    entity.add_supported_context(ModalityWorklistInformationFind)

    def answer(_: Any) -> Iterator[tuple[int, Dataset]]:
        for one in matches:
            yield 0xFF00, one
        yield from end

    with serving(entity, (evt.EVT_C_FIND, answer)) as port:
        yield port


def write_worklist_files(folder: Path, matches: Sequence[Dataset]) -> None:
    """As wlmscpfs and Orthanc read them."""
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for number, one in enumerate(matches):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = ModalityWorklistInformationFind
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{number}.wl"
        FileDataset(str(path), one, file_meta=meta, preamble=b"\0" * 128).save_as(
            path, enforce_file_format=True
        )


def write_many_worklist_files(folder: Path, count: int) -> None:
    """With accession numbers A00000, A00001, …"""
    write_worklist_files(folder, [match(AccessionNumber="A00000")])
    first = (folder / "0.wl").read_bytes()
    for number in range(count):
        (folder / f"{number}.wl").write_bytes(first.replace(b"A00000", f"A{number:05}".encode()))


@contextmanager
def wlmscpfs(folder: Path, matches: Sequence[Dataset] | int) -> Iterator[int]:
    """dcmtk's worklist server, with these matches or that many."""
    if isinstance(matches, int):
        write_many_worklist_files(folder / "RIS", matches)
    else:
        write_worklist_files(folder / "RIS", matches)
    port = free_port()
    options = ["--single-process", "-csk", "-dfp", str(folder), str(port)]
    with process(folder, port, "wlmscpfs", *options):
        yield port


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[tuple[int, int]]:
    """Orthanc with its plugins; gives its DICOM and HTTP ports."""
    dicom, http = free_port(), free_port()
    configuration = {
        "Name": "Test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "DicomPort": dicom,
        "HttpPort": http,
        "DicomAet": "ORTHANC",
        "DefaultEncoding": "Utf8",  # as shipped it drops what Latin 1 has not
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowFindWorklist": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowStore": True,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": ["/usr/share/orthanc/plugins"],
        "DicomWeb": {"Enable": True},
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with process(folder, http, "Orthanc", str(path)):
        yield dicom, http
