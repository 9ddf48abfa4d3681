"""`analyse` over many images: order, bad files, resuming, processes, formats, overlays."""

import csv
import json
import shutil
import subprocess
import sys
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station import batch
from station.batch import ClusterUnusable, NothingToDo, Plan, find_images, prepared
from station.exam import Sex
from station.existing import Request, analyse_file
from station.image_file import read
from station.protocols import SiteCalibration
from station.results_file import COLUMNS, Results, ResultsUnusable

COMMAND = Path(sys.executable).with_name("dxr-station")
KEYS = {
    "status", "source", "code", "side", "scale", "reasons", "dxr", "exposure", "timings_ms", "objects",
    "visit",
}  # fmt: skip


def run(*arguments):
    return run_command("analyse", *arguments)


def run_command(*arguments):
    command = [str(COMMAND), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def hand(tmp_path_factory):
    """A For Processing DICOM of a phantom, with a header that knows the patient."""
    panel = Panel(2500, 2000, 0.1)
    phantom = HandPhantom(HandSpec.parse("t=1.6,w=8.2"), Pose.parse("side=R"))
    signal = cv2.GaussianBlur(phantom.relative_signal(panel, 50, 1000), (0, 0), 1.0)
    pixels = (np.random.default_rng(1).poisson(signal * 1800) * (30000 / 1800)).astype(np.uint16)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.3"
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LIN", 1
    dataset.ImagerPixelSpacing, dataset.ImageLaterality = [0.1, 0.1], "R"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Acme", "Room 3"
    dataset.DetectorManufacturerName, dataset.DetectorManufacturerModelName = "Acme", "Flat 43"
    dataset.DeviceSerialNumber, dataset.DetectorID = "R-3", "F-7"
    dataset.PatientBirthDate, dataset.StudyDate, dataset.PatientSex = "19600301", "20250301", "F"
    dataset.PixelData = pixels.tobytes()
    path = tmp_path_factory.mktemp("hand") / "phantom.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def folder(tmp_path):
    """Small images that are refused quickly, a broken one, one without suffix, and what is no image."""
    root = tmp_path / "images"
    (root / "b").mkdir(parents=True)
    noise = np.random.default_rng(1).integers(0, 255, (40, 40)).astype(np.uint8)
    for name in ("a.png", "c.jpg", "b/a.png", "b/z.png"):
        cv2.imwrite(str(root / name), noise)
    (root / "broken.png").write_bytes(b"no picture")
    shutil.copy(root / "a.png", root / "plain")
    (root / "ages.csv").write_text("file,age\n")
    return root


FOUND = ["a.png", "b/a.png", "b/z.png", "broken.png", "c.jpg", "plain"]


@pytest.fixture(scope="module")
def request_all():
    return Request.of("hand-dxr")


def all_of(plan):
    with prepared(plan) as work:
        return list(work.reports)


def sources(path):
    return [json.loads(line)["source"] for line in path.read_text().splitlines()]


def test_one_file_prints_one_object_of_the_contract(hand):
    done = run(hand, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr, set(report)) == (0, "", KEYS)
    assert (report["status"], report["code"], report["objects"]) == ("measured", "0749T", [])


def test_the_header_tells_age_sex_and_side_and_options_go_before_it(hand, request_all):
    report = analyse_file(hand, request_all)
    assert (report["side"], report["scale"]) == ("R", "absolute")
    known = analyse_file(hand, Request.of("hand-dxr", age=65.0, sex=Sex.FEMALE))
    assert report["dxr"]["z_score"] == pytest.approx(known["dxr"]["z_score"], abs=0.01)
    younger = analyse_file(hand, Request.of("hand-dxr", age=30.0))
    assert younger["dxr"]["z_score"] < report["dxr"]["z_score"] - 0.5
    child = analyse_file(hand, Request.of("hand-dxr", age=12.0))
    assert child["dxr"]["t_score"] is None


def test_the_header_tells_the_visit_and_options_go_before_it(hand, request_all):
    visit = analyse_file(hand, request_all)["visit"]
    assert visit == {"taken": "2025-03-01", "detector_type": "Acme Flat 43", "detector_serial": "F-7"}
    told = Request.of("hand-dxr", taken=date(2024, 1, 31), detector_type="Acme Flat 35")
    assert analyse_file(hand, told)["visit"] == visit | {
        "taken": "2024-01-31", "detector_type": "Acme Flat 35",
    }  # fmt: skip


def test_a_panel_that_is_not_named_is_known_by_its_machine(hand, tmp_path):
    dataset = pydicom.dcmread(hand)
    del dataset.DetectorManufacturerModelName, dataset.DetectorID
    dataset.save_as(tmp_path / "a.dcm")
    frame, header = read(tmp_path / "a.dcm")
    assert (frame.detector_type, frame.serial, header.taken) == ("Acme Room 3", "R-3", date(2025, 3, 1))
    del dataset.ManufacturerModelName, dataset.DeviceSerialNumber, dataset.StudyDate
    dataset.save_as(tmp_path / "b.dcm")
    frame, header = read(tmp_path / "b.dcm")
    assert (frame.detector_type, frame.serial, header.taken) == (None, "b.dcm", None)


def test_a_sites_own_constant_is_used_for_the_images_of_its_detector(hand, request_all):
    site = SiteCalibration(bmd_constant_g_cm3=1.2, status="site", source="test", detector_serials=["F-7"])
    analysis = request_all.protocol.analysis.model_copy(update={"site_calibration": site})
    protocol = request_all.protocol.model_copy(update={"analysis": analysis})
    report = analyse_file(hand, replace(request_all, protocol=protocol))
    assert (report["dxr"]["bmd_constant_g_cm3"], report["dxr"]["bmd_status"]) == (1.2, "site")


def test_the_command_compares_two_visits_in_their_order(hand, tmp_path):
    for year in ("2023", "2025"):
        done = run(hand, "--json", "--taken", f"{year}-03-01")
        (tmp_path / f"{year}.json").write_text(done.stdout)
    visits = [str(tmp_path / "2023.json"), str(tmp_path / "2025.json")]
    done = run_command("change", *visits, "--json")
    shown = json.loads(done.stdout)
    assert (done.returncode, shown["comparable"], shown["reason"]) == (0, True, None)
    assert shown["change"]["change_g_cm2"] == 0
    assert shown["change"]["years"] == pytest.approx(2, abs=0.01)
    assert "least significant change" in run_command("change", *visits).stdout
    done = run_command("change", *reversed(visits), "--json")
    assert (done.returncode, json.loads(done.stdout)["reason"]["id"]) == (3, "visits-out-of-order")
    done = run_command("change", visits[0], str(tmp_path / "absent.json"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_many_files_and_folders_give_a_line_each_in_order_and_exit_3_for_a_refusal(folder, hand):
    done = run(folder, hand, folder / "absent.png", "--json", "--jobs", "2")
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["source"] for r in reports] == [
        *(str(folder / name) for name in FOUND), str(hand), str(folder / "absent.png"),
    ]  # fmt: skip
    assert [r["status"] for r in reports] == ["refused"] * 6 + ["measured", "refused"]
    assert all(reason["message"] and reason["remedy"] for r in reports for reason in r["reasons"])
    assert (done.returncode, done.stderr) == (3, "")


def test_usage_errors_exit_2_in_one_line(tmp_path, folder, hand):
    (tmp_path / "there.jsonl").write_text("kept")
    for arguments in (
        [hand, "--age", "-3"],
        [hand, "--sex", "X"],
        [hand, "--jobs", "-1"],
        [hand, "--resume"],
        [hand, "--out", tmp_path / "results.txt"],
        [hand, "--out", tmp_path / "absent" / "results.csv"],
        [folder, "--out", tmp_path / "there.jsonl"],
        [folder / "b" / "nothing-here" / "..", "--protocol", "absent"],
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "there.jsonl").read_text() == "kept"


def test_a_folder_without_images_is_told(tmp_path, request_all):
    with pytest.raises(NothingToDo, match="no PNG"):
        all_of(Plan((tmp_path,), request_all))


def test_the_results_do_not_depend_on_the_number_of_processes(folder, hand, request_all):
    one, two = (all_of(Plan((folder, hand), request_all, jobs=jobs)) for jobs in (1, 2))
    assert [r | {"timings_ms": None} for r in one] == [r | {"timings_ms": None} for r in two]
    assert len(one) == len(FOUND) + 1


def test_a_stopped_run_is_resumed_without_losing_or_repeating_an_image(folder, tmp_path, request_all):
    out = tmp_path / "results.jsonl"
    with prepared(Plan((folder,), request_all, out=out)) as work:
        assert work.total == len(FOUND)
        for _ in range(3):
            next(work.reports)
    out.write_bytes(out.read_bytes()[:-9])  # killed within its last line
    with prepared(Plan((folder,), request_all, out=out, resume=True)) as work:
        assert (work.total, work.skipped) == (4, 2)
        assert len(list(work.reports)) == 4
    assert sources(out) == [str(folder / name) for name in FOUND]
    assert all_of(Plan((folder,), request_all, out=out, resume=True)) == []


def test_a_results_file_that_is_something_else_is_left_alone(folder, tmp_path, request_all):
    out = tmp_path / "notes.jsonl"
    out.write_text("my notes\n")
    with pytest.raises(ResultsUnusable, match="line 1"):
        all_of(Plan((folder,), request_all, out=out, resume=True))
    assert out.read_text() == "my notes\n"


def test_a_csv_holds_one_row_per_image_and_is_resumed_too(folder, hand, tmp_path, request_all):
    out = tmp_path / "results.csv"
    strange = folder / 'a\nb,"c.png'
    strange.write_bytes(b"no picture")
    with prepared(Plan((folder, hand), request_all, out=out)) as work:
        for _ in range(2):
            next(work.reports)
    out.write_bytes(out.read_bytes()[:-5])
    all_of(Plan((folder, hand), request_all, out=out, resume=True))
    assert all_of(Plan((folder, hand), request_all, out=out, resume=True)) == []
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len({row["source"] for row in rows}) == len(rows) == len(FOUND) + 2
    by_name = {Path(row["source"]).name: row for row in rows}
    report = analyse_file(hand, request_all)
    assert float(by_name["phantom.dcm"]["t_mm"]) == report["dxr"]["t_mm"]
    assert float(by_name["phantom.dcm"]["mc3_w_mm"]) == report["dxr"]["bones"]["3"]["w_mm"]
    strength = report["dxr"]["bones"]["4"]["strength"]
    assert float(by_name["phantom.dcm"]["mc4_strength_buckling_ratio"]) == strength["buckling_ratio"]
    assert by_name["phantom.dcm"]["triage_band"] == report["dxr"]["triage"]["band"]
    assert json.loads(by_name["phantom.dcm"]["hazards"]) == report["dxr"]["hazards"]
    assert by_name["phantom.dcm"]["detector_type"] == "Acme Flat 43"
    assert by_name["broken.png"]["t_mm"] == ""
    assert by_name["broken.png"]["reasons"] == "image-unreadable"


def test_parquet_is_refused_before_the_first_image_where_pyarrow_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ResultsUnusable, match=r"dxr-station\[table\]"):
        Results(tmp_path / "results.parquet", resume=False)
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_table_is_made_at_the_end_of_the_run(folder, hand, tmp_path, request_all):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "results.parquet"
    all_of(Plan((folder, hand), request_all, out=out))
    table = parquet.read_table(out)
    assert table.column_names == list(COLUMNS)
    assert table.num_rows == len(FOUND) + 1
    assert table["t_mm"].to_pylist()[-1] == analyse_file(hand, request_all)["dxr"]["t_mm"]
    assert table["porosity_measured"].to_pylist()[-2:] == [None, False]


def test_every_number_of_a_measured_result_has_its_column(hand, request_all):
    dxr = analyse_file(hand, request_all)["dxr"]
    numbers = {key for key, value in dxr.items() if isinstance(value, float)}
    of_bones = {f"mc{n}_{key}" for n, bone in dxr["bones"].items() for key in bone if not key.endswith("_px")}
    assert numbers <= set(COLUMNS)
    assert {name for name in of_bones if not name.endswith("_strength")} <= set(COLUMNS)


def test_overlays_of_files_with_one_name_do_not_meet_and_are_not_analysed_again(folder):
    pictures = folder / "pictures"
    request = Request.of("hand-dxr", overlays=pictures)
    reports = all_of(Plan((folder,), request))
    written = [Path(name) for report in reports for name in report["objects"]]
    drawn = [path for path in written if path.suffix == ".png"]
    assert all(isinstance(json.loads(p.read_text()), list) for p in set(written) - set(drawn))
    assert len(set(drawn)) == len(FOUND) - 1  # the broken file shows nothing
    assert all(cv2.imread(str(path)) is not None for path in drawn)
    assert [r["source"] for r in all_of(Plan((folder,), request))] == [r["source"] for r in reports]


class Pretended(Executor):
    """Answers at once; a file named `deadly` kills it, and with it everything submitted since."""

    def __init__(self):
        self.dead = False

    def submit(self, _function, path, _request):
        self.dead = self.dead or path.name == "deadly"
        if self.dead:
            raise BrokenExecutor
        future = Future()
        future.set_result({"source": str(path), "status": "measured"})
        return future


@contextmanager
def pretended(_):
    yield Pretended()


POOL = batch._Pool(pretended, 2, (BrokenExecutor,))


def test_a_process_that_dies_over_an_image_costs_that_image_only(request_all):
    names = [*"abcdef", "deadly", *"ghij", "deadly", *"klmnopq"]
    reports = list(batch._in_parallel(iter([Path(n) for n in names]), request_all, POOL))
    assert [r["source"] for r in reports] == names
    assert [r["source"] for r in reports if r["status"] == "refused"] == ["deadly", "deadly"]
    assert reports[6]["reasons"][0]["id"] == "analysis-died"


def test_however_many_the_files_only_a_few_are_looked_at_ahead(request_all):
    asked = 0

    def endless():
        nonlocal asked
        while True:
            asked += 1
            yield Path(f"{asked}")

    reports = batch._in_parallel(endless(), request_all, POOL)
    for done in range(1, 500):
        next(reports)
        assert asked - done < 10


def test_folders_are_walked_by_name_and_by_first_bytes(folder):
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert list(find_images([folder])) == [folder / name for name in FOUND]
    assert list(find_images([folder / "ages.csv", folder], folder / "b"))[:2] == [
        folder / "ages.csv",
        folder / "a.png",
    ]


def test_a_cluster_without_dask_is_told_what_to_install(folder, request_all, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterUnusable, match=r"dxr-station\[cluster\]"):
        all_of(Plan((folder,), request_all, scheduler="tcp://127.0.0.1:1"))


@pytest.mark.filterwarnings("default")  # Dask's own
def test_a_cluster_gives_the_same_results(folder, hand, request_all):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = all_of(Plan((folder, hand), request_all, scheduler=cluster.scheduler_address))
    here = all_of(Plan((folder, hand), request_all))
    assert [r | {"timings_ms": None} for r in there] == [r | {"timings_ms": None} for r in here]
