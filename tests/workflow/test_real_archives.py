"""A whole exam to two real archives at once: every kind of object is taken, kept and given back as it was."""

import io
import urllib.request

import pydicom
import pytest
from archive_rigs import orthanc
from hospital_rooms import Beside, accept, all_done, expose, file_of, ordered, retake, until
from peers import HERE, free_port, process

from station.config import load_room
from station.hospital import Archive
from station.outbox.job import Kind

KINDS = {"DX", "PR", "SR", "DOC", "KO"}


@pytest.fixture
def archives(tmp_path):
    """Orthanc, which commits by calling the station, and dcmtk's storescp, which only stores."""
    kept, port = tmp_path / "dcmtk", free_port()
    kept.mkdir()
    options = ["-aet", "DCMTK", "-od", str(kept), "+uf", str(port)]
    with orthanc(tmp_path / "orthanc") as one, process(tmp_path, port, "storescp", *options):
        second = Archive(host=HERE, port=port, ae_title="DCMTK", plain=True, commitment=False, rejected=True)
        yield one, one.hospital(rejected=True).archives | {"second": second}, kept


def test_orthanc_and_dcmtk_take_every_object_of_an_exam_and_give_it_back(
    archives, tmp_path, peers, big_calibration
):
    real, both, kept = archives
    own = file_of(peers).model_copy(
        update={"ae_title": "DXR", "bind": HERE, "port": real.listener, "archives": both, "priors": None}
    )
    beside = Beside(tmp_path / "station", load_room("sim"), big_calibration, peers, own)
    with beside.station() as (operator, liaison):
        exam = expose(operator, ordered(beside))
        retake(operator, "111209")
        accept(operator, released_by="Test^Person")
        until(liaison, all_done, 60)
        jobs = [job for job in liaison.outbox.jobs(exam.uid) if job.kind is Kind.OBJECT]
    ours = {
        str(one.SOPInstanceUID): one
        for one in map(pydicom.dcmread, (beside.folder / "spool").glob(f"{exam.uid}/**/*.dcm"))
    }
    assert {one.Modality for one in ours.values()} == KINDS
    assert {(job.destination, job.name) for job in jobs} == {(to, uid) for to in both for uid in ours}
    assert [job for job in jobs if (job.committed_at is None) == (job.destination == "pacs")] == []
    places = real.instances()
    for uid, one in ours.items():
        with urllib.request.urlopen(
            f"http://{HERE}:{real.web}/instances/{places[uid]}/file", timeout=20
        ) as answer:
            assert pydicom.dcmread(io.BytesIO(answer.read())) == one
    assert {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, kept.iterdir())} == ours
