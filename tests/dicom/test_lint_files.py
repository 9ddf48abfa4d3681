import shutil
import subprocess
from datetime import timedelta

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whole import objects_of, study_of

from station.dicom.lint import lint_files
from station.dicom.modules import write


@pytest.fixture(scope="session")
def whole_study(make_study, exposure, context):
    return study_of(make_study, exposure, context)


@pytest.fixture(scope="session")
def folder(whole_study, processing, presentation, context, tmp_path_factory):
    """The whole exam as files."""
    folder = tmp_path_factory.mktemp("exam")
    for name, dataset in objects_of(whole_study, processing, presentation, context).items():
        write(dataset, folder / f"{name}.dcm")
    return folder


@pytest.fixture(scope="session")
def files(folder):
    return sorted(folder.glob("*.dcm"))


def test_every_file_is_named_with_its_kind_and_nothing_is_wrong(files, study):
    told = lint_files(files, now=study.made_at + timedelta(hours=1))
    assert [(entry["path"], entry["problems"]) for entry in told] == [(str(file), []) for file in files]
    assert {entry["path"].rsplit("/", 1)[1]: entry["kind"] for entry in told} == {
        "linear.dcm": "image for processing",
        "picture.dcm": "image",
        "refused.dcm": "image for processing",
        "refused_picture.dcm": "image",
        "state.dcm": "presentation state",
        "report.dcm": "measurement report",
        "page.dcm": "report page",
        "dose.dcm": "dose report",
        "note.dcm": "rejection note",
    }


@pytest.mark.skipif(shutil.which("dcentvfy") is None, reason="dicom3tools is not installed")
def test_a_public_validator_finds_the_files_consistent_with_each_other(files):
    done = subprocess.run(["dcentvfy", *map(str, files)], capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    # an accession number stands in the study, and by the standard again in the request of a series
    explained = "Warning - Different information entities for attribute - Element=<AccessionNumber>"
    assert [line for line in said if not line.startswith(explained)] == []
    assert done.returncode == 0


def test_a_contradiction_is_told_of_the_file_that_holds_it(files, folder, tmp_path):
    page = pydicom.dcmread(folder / "page.dcm")
    page.ImageLaterality = "R"
    write(page, tmp_path / "page.dcm")
    told = lint_files([*(file for file in files if file.name != "page.dcm"), tmp_path / "page.dcm"])
    wrong = {entry["path"]: [each["id"] for each in entry["problems"]] for entry in told if entry["problems"]}
    assert wrong == {str(tmp_path / "page.dcm"): ["dicom-side"]}


def test_files_of_different_studies_are_not_held_against_each_other(folder, tmp_path):
    page = pydicom.dcmread(folder / "page.dcm")
    page.StudyInstanceUID, page.PatientID, page.ImageLaterality = "2.25.99", "P-99", "R"
    page.DocumentTitle, page.SeriesDescription = "A page", "A page"
    write(page, tmp_path / "page.dcm")
    told = lint_files([folder / "report.dcm", tmp_path / "page.dcm"])
    assert [entry["problems"] for entry in told] == [[], []]


def test_what_is_no_dicom_file_is_a_problem_and_no_crash(files, tmp_path):
    (tmp_path / "text.dcm").write_text("hello")
    (tmp_path / "empty.dcm").write_bytes(b"")
    told = lint_files(
        [tmp_path / "text.dcm", tmp_path / "empty.dcm", tmp_path / "absent.dcm", tmp_path, files[0]]
    )
    assert [entry["kind"] for entry in told[:4]] == ["unreadable"] * 4
    assert [[each["id"] for each in entry["problems"]] for entry in told] == [["dicom-unreadable"]] * 4 + [[]]
    assert all(each["message"] and each["remedy"] for entry in told for each in entry["problems"])


def test_an_object_of_another_system_is_read_and_named(files, tmp_path):
    other = pydicom.dcmread(files[0])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    write(other, tmp_path / "other.dcm")
    (entry,) = lint_files([tmp_path / "other.dcm"])
    assert entry["kind"] == "other"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_never_breaks_the_lint(folder, tmp_path, data):
    """Bytes changed, cut or put in: an answer for the file, and never an exception."""
    name = data.draw(st.sampled_from(["note", "page", "state", "dose", "report"]))
    content = bytearray((folder / f"{name}.dcm").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    keep = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path / "damaged.dcm"
    path.write_bytes(bytes(content[:keep]))
    (entry,) = lint_files([path])
    assert entry["path"] == str(path)
    assert entry["kind"]
