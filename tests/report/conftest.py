"""A phantom's hand, measured, with an exam about it; and what a reader gets out of a page."""

import shutil
import subprocess
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from simulators.phantom import HandPhantom
from simulators.spec import HandSpec, Panel, Pose
from station.billing import Facts, code_for
from station.devices import Delivered, EndOfExposure, Technique
from station.dxr.analysis import traced
from station.dxr.overlay import outlines
from station.exam import Exam, Exposure, Patient, Rejection, Sex, Side, WorklistItem
from station.frame import Frame, Signal, Stage
from station.imaging import exposure_index, presentation
from station.protocols import load_protocol, load_reference
from station.report.gates import gates_of
from station.report.page import render
from station.report.sheet import Calibration, Picture, Sheet
from station.study import Equipment, Study

OPENED_AT = datetime(2026, 3, 2, 14, 5, tzinfo=timezone(timedelta(hours=1)))
LSB_PER_UGY = 2600.0


@pytest.fixture(scope="session")
def shot():
    """A corrected frame of a left hand, with the dose of the protocol's target."""
    panel = Panel(3000, 2400, 0.1)
    phantom = HandPhantom(HandSpec.parse("t=1.5,w=8.2"), Pose.parse("side=L,rotation=6"))
    signal = cv2.GaussianBlur(phantom.relative_signal(panel, 50, 1000), (0, 0), 1.0)
    quanta = 30000 * 0.1**2 * 15
    counts = np.random.default_rng(1).poisson(signal * quanta)
    pixels = np.minimum(counts * (40000 / quanta), 65535).astype(np.uint16)
    spacing = (0.1, 0.1)
    return Frame(pixels, Stage.FOR_PROCESSING, Signal.DOSE, spacing, "SIM-PANEL", saturation=65000.0)


def exposure(number, **changes):
    delivered = Delivered(50.2, 99.6, 10.04, 1.0, EndOfExposure.NORMAL)
    started_at = OPENED_AT + timedelta(minutes=4 * number)
    made = Exposure(f"2.25.12{number}", number, Technique(50, 100, 10), started_at, 1000.0, delivered, 2.41)
    return replace(made, image=True, **changes)


def facts_of(result):
    """Of an exam that may be charged."""
    return Facts(
        acquired_here=True,
        under_dxr_protocol=True,
        accepted=True,
        side_agrees=True,
        result=result,
        image_present=True,
        already_charged=False,
    )


@pytest.fixture(scope="session")
def sheet(shot):
    """A measured exam, its first image rejected, before any release."""
    protocol = load_protocol()
    reference = load_reference(protocol.analysis.reference)
    patient = Patient("P-100417", "Demo^Patient", date(1961, 5, 4), Sex.FEMALE)
    words = ("Test^Referrer", "loss of height", "Hand PA with DXR bone density")
    item = WorklistItem("ACC-104772", patient, Side.LEFT, "0750T", "2.25.11", "RP-1", "SPS-1", *words)
    exam = Exam("2.25.10", item, protocol.id, OPENED_AT, "medium")
    age = patient.age_at(OPENED_AT.date())
    result, trace = traced(shot, age, Sex.FEMALE, protocol, reference, Side.LEFT)
    index = exposure_index.of(shot, LSB_PER_UGY, protocol.exposure_index.target)
    shown = presentation.render(shot, index.region)
    study = Study(
        exam=exam,
        equipment=Equipment("Simulated site", "DXRSIM1"),
        protocol=protocol,
        detector_serial="SIM-PANEL",
        made_at=OPENED_AT + timedelta(minutes=12),
        exposures=(exposure(1), exposure(2)),
        rejections={1: Rejection("111210", "operator")},
        indices={2: index},
        result=result,
    )
    return Sheet(
        study=study,
        reference=reference,
        picture=Picture(shown.frame.pixels, shown.window_center, shown.window_width, (0.1, 0.1)),
        outlines=outlines(trace),
        charge=code_for(facts_of(result), protocol.codes),
        gates=gates_of(result),
        calibration=Calibration(OPENED_AT - timedelta(days=2), "ab12" * 16, "SIM-PANEL"),
    )


@pytest.fixture(scope="session")
def plain(sheet):
    """The same without its picture: quick to set."""
    return replace(sheet, picture=None, outlines=())


@dataclass(frozen=True)
class Page:
    """A page as poppler reads it."""

    pdf: bytes
    path: Path

    def read(self, tool, *options):
        done = subprocess.run(
            [tool, *options, str(self.path), *(["-"] if tool == "pdftotext" else [])],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    @property
    def text(self):
        return " ".join(self.read("pdftotext", "-raw").split())  # in reading order

    @property
    def info(self):
        lines = (line.partition(":") for line in self.read("pdfinfo").splitlines())
        return {name: value.strip() for name, _, value in lines}


@pytest.fixture
def page_of(tmp_path):
    """Sets a sheet, and reads it."""
    if shutil.which("pdftotext") is None:
        pytest.skip("poppler-utils is not installed")

    def make(sheet, paper="a4"):
        path = tmp_path / "report.pdf"
        path.write_bytes(render(sheet, paper))
        return Page(path.read_bytes(), path)

    return make


def with_patient(sheet, **changes):
    item = sheet.study.exam.item
    return with_item(sheet, patient=replace(item.patient, **changes))


def with_item(sheet, **changes):
    exam = sheet.study.exam
    return with_study(sheet, exam=replace(exam, item=replace(exam.item, **changes)))


def with_study(sheet, **changes):
    return replace(sheet, study=replace(sheet.study, **changes))


@pytest.fixture
def change():
    """Changes a sheet: change.patient(sheet, name=…), .item, .study."""

    class Change:
        patient = staticmethod(with_patient)
        item = staticmethod(with_item)
        study = staticmethod(with_study)

    return Change
