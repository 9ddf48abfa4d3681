"""One exam with a processed exposure, as the DICOM builders get it; made once, as nothing changes it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partialmethod
from socketserver import BaseServer
from typing import Any

import numpy as np
import pytest
from pynetdicom.transport import ThreadedAssociationServer

from station.devices import Delivered, EndOfExposure, Technique
from station.dicom.image import Context
from station.exam import Exam, Exposure, Patient, Sex, Side, WorklistItem
from station.frame import Frame, Signal, Stage
from station.protocols import load_protocol
from station.result import Bone, DxrResult, Hazard, Measurement, Range, Reason, Strength, Triage
from station.study import Equipment, Study

OPENED_AT = datetime(2026, 3, 2, 23, 50, tzinfo=timezone(timedelta(hours=1)))
MADE_AT = OPENED_AT + timedelta(minutes=12)  # after midnight, another day than the exam's opening
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


@pytest.fixture(scope="session")
def exam():
    patient = Patient("P-17", "Łukasiewicz^Zoë", date(1961, 5, 4), Sex.FEMALE)
    item = WorklistItem("ACC-9", patient, Side.LEFT, "0750T", "2.25.11", "RP-1", "SPS-1", "Okafor^Ada")
    return Exam("2.25.10", item, "hand-dxr@1", OPENED_AT, "medium")


@pytest.fixture(scope="session")
def exposure():
    delivered = Delivered(50.2, 99.6, 16.04, 1.598, EndOfExposure.NORMAL)
    started_at = datetime(2026, 3, 2, 22, 58, 3, 250000, tzinfo=UTC)
    return Exposure("2.25.12", 1, Technique(50, 100, 16), started_at, 1000.0, delivered, 2.4, image=True)


@pytest.fixture(scope="session")
def processing():
    pixels = np.random.default_rng(1).uniform(-20, 50000, SHAPE).astype(np.float32)
    history = ("offset, gain, defects corrected with maps sha256:" + "ab" * 32,)
    return Frame(
        pixels, Stage.FOR_PROCESSING, Signal.DOSE, (0.1, 0.1), "SIM-1", saturation=60000.0, history=history
    )


@pytest.fixture(scope="session")
def presentation():
    pixels = np.random.default_rng(2).integers(0, 4096, SHAPE, dtype=np.uint16)
    history = ("offset, gain, defects corrected", "2000 log10(30000 / signal), black outside the field")
    shown = Frame(pixels, Stage.FOR_PRESENTATION, Signal.ATTENUATION, (0.1, 0.1), "SIM-1", history=history)
    return Picture(shown, 1200.5, 2100.0)


@pytest.fixture(scope="session")
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


def bone(number: int, t_mm: float, w_mm: float, length_mm: float) -> Bone:
    """A round shaft of these sizes, measured to half a percent; its place is not of these sizes."""
    ratio, column_px = t_mm / w_mm, 20.0 + 15 * number
    mci = Measurement(2 * ratio, "1", 0.0061)
    vpa = Measurement(np.pi * t_mm * (1 - ratio) / 10, "cm", 0.0042)
    outer_mm, inner_mm = w_mm / 2, w_mm / 2 - t_mm
    second_moment_mm4 = np.pi / 4 * (outer_mm**4 - inner_mm**4)
    strength = Strength(
        "round",
        Measurement(outer_mm / t_mm, "1", 0.02),
        Measurement(np.pi * (outer_mm**2 - inner_mm**2), "mm2", 0.31),
        Measurement(second_moment_mm4, "mm4", 4.2),
        Measurement(second_moment_mm4 / outer_mm, "mm3", 0.8),
    )
    return Bone(
        number,
        mci,
        Measurement(t_mm, "mm", 0.0113),
        Measurement(w_mm, "mm", 0.0432),
        vpa,
        0.972,
        ((100.5, column_px), (30.25, column_px + 4)),
        ((80.0, column_px - 4), (50.0, column_px - 2), (50.0, column_px + 6), (80.0, column_px + 4)),
        mci_area=Measurement(np.pi * ratio * (1 - ratio), "1", 0.0047),
        length_mm=Measurement(length_mm, "mm", 3.1),
        bhi=Measurement(np.pi * t_mm * (1 - ratio) / (length_mm * w_mm) ** 0.33, "mm^0.34", 0.011),
        strength=strength,
    )


@pytest.fixture(scope="session")
def measured() -> DxrResult:
    """A whole result of a left hand, its parts fitting together."""
    bones = (bone(2, 1.702, 8.214, 66.1), bone(3, 1.688, 8.031, 63.7), bone(4, 1.293, 6.584, 57.2))
    shares = np.array([1, 1, 0.5]) / 2.5
    vpa_cm = float(shares @ [one.vpa_cm.value for one in bones])
    bmd = 1.315 * 1.015 * vpa_cm * (1 - 0.011)  # at the reference magnification
    t_score, z_score = (bmd - 0.598) / 0.034, -0.37
    coarse = Reason("pixel-coarse", "the pixels are coarse", "Prefer full resolution.", 0.16, 0.15)
    caveats = ("not a WHO diagnosis", "central DXA decides")
    return DxrResult(
        algorithm="dxr-open@3",
        side=Side.LEFT,
        scale="absolute",
        bones=bones,
        mci=Measurement(float(np.mean([one.mci.value for one in bones])), "1", 0.0052),
        t_mm=Measurement(float(np.mean([one.t_mm.value for one in bones])), "mm", 0.0096),
        w_mm=Measurement(float(np.mean([one.w_mm.value for one in bones])), "mm", 0.0397),
        vpa_cm=Measurement(vpa_cm, "cm", 0.0034),
        bmd_g_cm2=Measurement(bmd, "g/cm2", 0.0087),
        bmd_status="derived",
        porosity=0.011,
        porosity_measured=False,
        t_score=t_score,
        z_score=z_score,
        reference="sectra-consistent-derived@1",
        notes=(coarse,),
        mci_area=Measurement(float(np.mean([one.mci_area.value for one in bones])), "1", 0.0039),
        bhi=Measurement(float(np.mean([one.bhi.value for one in bones])), "mm^0.34", 0.009),
        bmd_constant_g_cm3=1.315,
        bmd_constant_source="from group means printed by Dhainaut 2013",
        reference_status="derived",
        roi_mode="fixed",
        triage=Triage("central-dxa-needed", -1.0, -2.6, False, "refer to central DXA", caveats),
        hazards=(Hazard("hip", Range(1.8, 1.5, 2.5), Range(1.05, 0.82, 1.31), "derived"),),
        porosity_u95=0.006,
    )


MakeStudy = Callable[..., Study]


@pytest.fixture(scope="session")
def make_study(exam, exposure, context, measured) -> MakeStudy:
    """Makes the study of the accepted exposure, with whatever is given instead."""

    def make(**changes: Any) -> Study:
        study = Study(
            exam=exam,
            equipment=context.equipment,
            protocol=context.protocol,
            detector_serial="SIM-1",
            made_at=MADE_AT,
            exposures=(exposure,),
            rejections={},
            indices={exposure.number: context.exposure_index},
            result=measured,
            calibrated_at=context.calibrated_at,
            code=context.code,
        )
        return replace(study, **changes)

    return make


@pytest.fixture(scope="session")
def study(make_study) -> Study:
    """An exam with one accepted exposure and its result, not yet released."""
    return make_study()


@pytest.fixture(scope="session", autouse=True)
def prompt_servers():
    """The library's servers look every half second whether they shall end; tests have many of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ThreadedAssociationServer, "serve_forever", partialmethod(BaseServer.serve_forever, 0.02)
        )
        yield
