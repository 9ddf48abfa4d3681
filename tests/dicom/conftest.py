"""One exam with a processed exposure, as the DICOM builders get it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from station.devices import Delivered, EndOfExposure, Technique
from station.dicom.image import Context
from station.exam import Exam, Exposure, Patient, Sex, Side, WorklistItem
from station.frame import Frame, Signal, Stage
from station.protocols import load_protocol
from station.study import Equipment

OPENED_AT = datetime(2026, 3, 2, 23, 50, tzinfo=timezone(timedelta(hours=1)))
SHAPE = (120, 90)


@dataclass(frozen=True)
class Picture:
    frame: Frame
    window_center: float
    window_width: float


@dataclass(frozen=True)
class Index:
    ei: float
    target: float
    di: float


@pytest.fixture
def exam():
    patient = Patient("P-17", "Łukasiewicz^Zoë", date(1961, 5, 4), Sex.FEMALE)
    item = WorklistItem("ACC-9", patient, Side.LEFT, "0750T", "2.25.11", "RP-1", "SPS-1", "Okafor^Ada")
    return Exam("2.25.10", item, "hand-dxr@1", OPENED_AT, "medium")


@pytest.fixture
def exposure():
    delivered = Delivered(50.2, 99.6, 16.04, 1.598, EndOfExposure.NORMAL)
    started_at = datetime(2026, 3, 2, 22, 58, 3, 250000, tzinfo=UTC)
    return Exposure("2.25.12", 1, Technique(50, 100, 16), started_at, 1000.0, delivered, 2.4, image=True)


@pytest.fixture
def processing():
    pixels = np.random.default_rng(1).uniform(-20, 50000, SHAPE).astype(np.float32)
    history = ("offset, gain, defects corrected with maps sha256:" + "ab" * 32,)
    return Frame(
        pixels, Stage.FOR_PROCESSING, Signal.DOSE, (0.1, 0.1), "SIM-1", saturation=60000.0, history=history
    )


@pytest.fixture
def presentation():
    pixels = np.random.default_rng(2).integers(0, 4096, SHAPE, dtype=np.uint16)
    history = ("offset, gain, defects corrected", "2000 log10(30000 / signal), black outside the field")
    shown = Frame(pixels, Stage.FOR_PRESENTATION, Signal.ATTENUATION, (0.1, 0.1), "SIM-1", history=history)
    return Picture(shown, 1200.5, 2100.0)


@pytest.fixture
def context():
    protocol = load_protocol()
    equipment = Equipment("Haus für Knochen", "DXR1", "Maker", focal_spot_mm=(0.6, 1.2))
    return Context(
        equipment,
        protocol,
        Index(900.0, 1000.0, -0.4576),
        OPENED_AT - timedelta(days=2),
        protocol.codes.acquired_for_dxr,
    )
