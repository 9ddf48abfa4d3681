"""Earlier results fetched from Orthanc in all three ways; whose they are is never taken on trust."""

import io
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from certificates import certificates
from peers import HERE, free_port
from pydicom import Dataset, dcmwrite
from worklist_rigs import orthanc

from station.dicom.earlier import read
from station.dicom.image import build_pair
from station.dicom.measurements import build
from station.dicom.priors import Found, Inbox, Wanted, fetch, kept
from station.dicom.storage import Listener
from station.exam import Patient, Side
from station.hospital import Archive, Hospital, Priors, Timeouts
from station.network import NetworkError, TlsFailed, Unreachable, server_context

METHODS = ["get", "move", "web"]
REAL = 10  # s; peers start and answer faster


@pytest.fixture
def visit(exam, exposure, processing, presentation, context, make_study) -> Callable[..., Dataset]:
    """Makes the report of a visit so many days earlier."""

    def make(days: int, side: Side = Side.LEFT, **patient: Any) -> Dataset:
        item = replace(
            exam.item,
            study_instance_uid=f"2.25.9{days}",
            side=side,
            patient=replace(exam.item.patient, **patient),
        )
        then = replace(exam, uid=f"2.25.8{days}", item=item, opened_at=exam.opened_at - timedelta(days=days))
        shot = replace(exposure, uid=f"2.25.7{days}", started_at=exposure.started_at - timedelta(days=days))
        study = make_study()
        study = replace(
            study,
            exam=then,
            exposures=(shot,),
            made_at=study.made_at - timedelta(days=days),
            result=replace(study.result, side=side),
        )
        earlier = replace(context, calibrated_at=context.calibrated_at - timedelta(days=days))
        return build(study, build_pair(then, shot, processing, presentation, earlier)[0])

    return make


@contextmanager
def archive(folder, method: str, reports: Sequence[Dataset]):
    """A hospital whose archive keeps these reports."""
    own = free_port()
    modalities = {"dxr": ["DXR1", HERE, own]}
    with orthanc(folder, DicomModalities=modalities) as (dicom, http):
        for report in reports:
            file = io.BytesIO()
            dcmwrite(file, report, enforce_file_format=True)
            answer = requests.post(f"http://{HERE}:{http}/instances", data=file.getvalue(), timeout=REAL)
            assert answer.status_code == 200
        yield Hospital(
            name="Test",
            ae_title="DXR1",
            port=own,
            bind=HERE,
            timeouts=Timeouts(connect_s=2, answer_s=10, network_s=20),
            archives={"pacs": Archive(host=HERE, port=dicom, plain=True, ae_title="ORTHANC")},
            priors=Priors(archive="pacs", method=method, web=f"http://{HERE}:{http}/dicom-web"),
        )


@pytest.fixture
def wanted(exam) -> Wanted:
    return Wanted(exam.item.patient, Side.LEFT, exam.item.study_instance_uid)


def foreign(report: Dataset) -> Dataset:
    """A report of somebody else's making, about the same person."""
    other = deepcopy(report)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "2.25.404"
    other.SeriesInstanceUID = "2.25.405"
    other.ContentSequence = []
    return other


@pytest.mark.parametrize("method", METHODS)
def test_earlier_results_of_this_hand_come_newest_first_and_the_rest_is_noted(
    tmp_path, method, visit, wanted
):
    old, newer, right = visit(700), visit(300), visit(310, Side.RIGHT)
    own = visit(10)
    reports = [old, newer, right, foreign(old), own]
    wanted = replace(wanted, own_study=str(own.StudyInstanceUID))
    with archive(tmp_path, method, reports) as hospital:
        found = fetch(hospital, wanted, tmp_path / "priors", read)
    assert [prior.uid for prior in found.priors] == [newer.SOPInstanceUID, old.SOPInstanceUID]
    assert [prior.report for prior in found.priors] == [read(newer), read(old)]
    assert sorted(note.id for note in found.notes) == ["prior-foreign", "prior-other-side"]
    assert kept(tmp_path / "priors", wanted, read).priors == found.priors


def test_somebody_else_is_left_out_whatever_the_archive_matches(tmp_path, visit, wanted):
    born_later = visit(300, birth_date=date(1970, 1, 1))
    other_letters = visit(310, id="p-17")  # Orthanc ignores the case
    with archive(tmp_path, "get", [born_later, other_letters]) as hospital:
        found = fetch(hospital, wanted, tmp_path, read)
    assert found.priors == ()
    assert {note.id for note in found.notes} == {"prior-other-person"}


def test_a_patient_id_with_wildcards_is_not_asked_for(tmp_path, visit, wanted):
    everybody = replace(wanted, patient=Patient("P*", "Test^Person", None, None))
    with archive(tmp_path, "get", [visit(300)]) as hospital, pytest.raises(NetworkError, match="wildcards"):
        fetch(hospital, everybody, tmp_path, read)


def test_a_move_arrives_at_the_listener_that_runs_already(tmp_path, visit, wanted):
    inbox = Inbox()
    with archive(tmp_path, "move", [visit(300)]) as hospital:
        listener = Listener(hospital, lambda _: False, contexts=inbox.contexts, handlers=inbox.handlers)
        with listener:
            assert len(fetch(hospital, wanted, tmp_path, read, inbox).priors) == 1


def test_a_move_to_a_station_that_the_archive_does_not_know_says_so(tmp_path, visit, wanted):
    with archive(tmp_path, "move", [visit(300)]) as hospital:
        unknown = hospital.model_copy(update={"ae_title": "NOBODY"})
        with pytest.raises(NetworkError, match="title"):
            fetch(unknown, wanted, tmp_path, read)


def test_what_nobody_asked_for_is_not_taken():
    class Event:
        class request:  # noqa: N801  as the library names it
            AffectedSOPInstanceUID = "1.2.3"

    inbox = Inbox()
    ((_, take),) = inbox.handlers
    assert take(Event) == 0x0124
    assert inbox.fetched(["1.2.3"], 0) == []


@pytest.mark.parametrize("method", METHODS)
def test_an_archive_that_is_down_is_unreachable(tmp_path, method, wanted):
    hospital = Hospital(
        name="Test",
        ae_title="DXR1",
        port=free_port(),
        archives={"pacs": Archive(host=HERE, port=free_port(), plain=True, ae_title="PACS")},
        priors=Priors(archive="pacs", method=method, web=f"http://{HERE}:{free_port()}/dicom-web"),
    )
    with pytest.raises(Unreachable):
        fetch(hospital, wanted, tmp_path, read)


class NothingThere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: Any) -> None:
        pass


def test_dicomweb_is_spoken_with_certificates_on_both_sides(tmp_path, wanted):
    server, client, other = certificates(tmp_path / "trust")
    served = ThreadingHTTPServer((HERE, 0), NothingThere)
    served.socket = server_context(server).wrap_socket(served.socket, server_side=True)
    thread = threading.Thread(target=served.serve_forever, args=[0.05])
    thread.start()
    try:
        for tls, error in ((client, None), (other, TlsFailed)):
            hospital = Hospital(
                name="Test",
                ae_title="DXR1",
                tls=tls.model_copy(update={"authorities": client.authorities}),
                archives={"pacs": Archive(host=HERE, port=1, ae_title="PACS")},
                priors=Priors(archive="pacs", method="web", web=f"https://{HERE}:{served.server_port}/web"),
            )
            with pytest.raises(error) if error else nullcontext():
                assert fetch(hospital, wanted, tmp_path, read) == Found((), ())
    finally:
        served.shutdown()
        served.server_close()
        thread.join(REAL)


def test_a_damaged_file_of_before_is_noted(tmp_path, wanted):
    (tmp_path / "prior-1.2.dcm").write_bytes(b"cut")
    assert [note.id for note in kept(tmp_path, wanted, read).notes] == ["prior-unreadable"]
