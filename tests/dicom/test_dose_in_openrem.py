"""A dose management system imports the dose report and finds the numbers that the station wrote.

OpenREM 1.0.0b3 lives in an environment of its own (`python -m venv …`, `pip install openrem==1.0.0b3`):
its dependencies are pinned to other versions. `DXR_OPENREM_PYTHON` names that environment's Python.
"""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from station.devices import EndOfExposure
from station.dicom import dose
from station.dicom.modules import write
from station.exam import Rejection

READER = Path(__file__).with_name("openrem_reader.py")
PYTHON = os.environ.get("DXR_OPENREM_PYTHON", "")

pytestmark = pytest.mark.skipif(not PYTHON, reason="DXR_OPENREM_PYTHON names no Python with OpenREM")


@pytest.fixture
def imported(make_study, exposure, tmp_path):
    """Two exams: one whole exposure; a rejected one, one that nobody measured, and a last one."""
    silent = replace(
        exposure,
        number=2,
        uid="2.25.13",
        delivered=replace(exposure.delivered, end=EndOfExposure.UNKNOWN),
        dap_ugym2=None,
        image=False,
    )
    last = replace(exposure, number=3, uid="2.25.14")
    plain = make_study()
    item = replace(plain.exam.item, study_instance_uid="2.25.98")
    eventful = replace(
        plain,
        exam=replace(plain.exam, uid="2.25.99", item=item),
        exposures=(exposure, silent, last),
        rejections={1: Rejection("111209", "Test^Person")},
    )
    paths = [tmp_path / "plain.dcm", tmp_path / "eventful.dcm"]
    for study, path in zip((plain, eventful), paths, strict=True):
        write(dose.build(study), path)
    command = [PYTHON, str(READER), str(tmp_path), *map(str, paths)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_openrem_imports_every_event_with_its_numbers_and_no_others(imported):
    assert imported["answers"] == [0, 0]
    assert [study["number_of_events"] for study in imported["generalstudymoduleattr"]] == [1, 3]
    assert {study["modality_type"] for study in imported["generalstudymoduleattr"]} == {"DX"}
    events = imported["irradeventxraydata"]
    assert [event["irradiation_event_uid"] for event in events] == [
        "2.25.12",
        "2.25.12",
        "2.25.13",
        "2.25.14",
    ]
    assert [event["dose_area_product"] for event in events] == [2.4e-6, 2.4e-6, None, 2.4e-6]
    assert "assumed" in events[2]["comment"]
    terms = {row["id"]: row["code_meaning"] for row in imported["contextid"]}
    assert {terms[event["target_region_id"]] for event in events} == {"Hand"}
    assert {terms[event["laterality_id"]] for event in events} == {"Left"}
    assert [row["kvp"] for row in imported["kvp"]] == [50.2, 50.2, 50, 50.2]
    assert [row["exposure"] for row in imported["exposure"]] == [1598, 1598, 1600, 1598]
    assert [row["exposure_time"] for row in imported["irradeventxraysourcedata"]] == [16.04, 16.04, 16, 16.04]
    assert imported["irradeventxraydetectordata"][0]["deviation_index"] == -0.46
    distances = imported["doserelateddistancemeasurements"]
    assert {row["distance_source_to_detector"] for row in distances} == {1000}
    totals = imported["accumintegratedprojradiogdose"]
    assert [row["dose_area_product_total"] for row in totals] == [2.4e-6, None]
    assert [row["dose_rp_total"] for row in totals] == [None, None]
