"""Whole exams on real radiographs, in one process, from the order to the objects."""

import csv
from pathlib import Path

import pytest

from station import headless
from station.assembly import assemble
from station.config import load_room
from station.exam import Patient, Side, WorklistItem, new_uid
from station.headless import Order

MIN_AGE_MONTHS = 100
MIN_MEASURED = 20


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("site")


def exam(site: Path, file: Path, side: Side = Side.LEFT) -> headless.Report:
    simulation = {"radiograph": str(file), "pose": f"side={side}"}
    controller = assemble(load_room("sim"), simulation, site, real_time=False)
    item = WorklistItem("A1", Patient("P1", "Replay^Hand", None, None), side, "0750T", new_uid())
    report = headless.run_exam(controller, Order(item, "medium"), lambda _: None)
    controller.parts.journal.close()
    return report


def test_most_hands_of_older_children_are_measured_in_relative_scale(site, data):
    rows = csv.DictReader((data / "hands/rsna/ages.csv").read_text().splitlines())
    files = [data / "hands" / r["file"] for r in rows if int(r["bone_age_months"]) >= MIN_AGE_MONTHS]
    right = {"2838.png"}  # the only one with its thumb at the left
    reports = [exam(site, f, Side.RIGHT if f.name in right else Side.LEFT).json for f in files]
    measured = [r for r in reports if r["status"] == "measured"]
    intervals = [(r["dxr"]["mci"], r["dxr"]["mci_u95"]) for r in measured]
    assert len(files) == 24
    assert len(measured) >= MIN_MEASURED
    assert all(mci + u95 > 0.25 and mci - u95 < 0.65 for mci, u95 in intervals)
    assert all((r["scale"], r["code"], r["dxr"]["t_mm"]) == ("relative", "0750T", None) for r in measured)
    assert all(r["reasons"] for r in reports)


@pytest.mark.hazard("wrong-result")
@pytest.mark.parametrize("side", list(Side))
def test_nothing_that_is_no_analysable_hand_is_measured_whichever_side_is_ordered(site, data, side):
    for file in sorted((data / "hands/negatives").iterdir()):
        report = exam(site, file, side)
        assert (report.exit_code, report.json["status"], report.json["code"]) == (3, "refused", None), (
            file.name
        )
        assert all(reason["remedy"] for reason in report.json["reasons"])


def test_the_wrong_side_of_a_real_hand_is_not_exposed(site, data):
    report = exam(site, data / "hands/rsna/2838.png", Side.LEFT)
    assert "wrong-side" in [reason["id"] for reason in report.json["reasons"]]
    assert report.json["exposure"] is None
