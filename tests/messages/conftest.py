"""A study with everything in it, as the messages get it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from message_samples import MEASURED, OPENED_AT, OPERATOR, PROTOCOL, STARTED_AT

from station.billing import Basis, Charge, Facts, code_for
from station.devices import Delivered, EndOfExposure, Technique
from station.exam import Coded, Exam, Exposure, Patient, Sex, Side, WorklistItem
from station.hospital import Messages
from station.study import Equipment, Study


@pytest.fixture
def messages() -> Messages:
    """How the station and its receivers are called."""
    return Messages(facility="DEMO CLINIC", receiver="RIS", receiving_facility="DEMO HOSPITAL")


MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study() -> MakeStudy:
    """Makes a study of the accepted exposure; `item` and `patient` change what the order says."""

    def make(
        item: dict[str, Any] | None = None, patient: dict[str, Any] | None = None, **changes: Any
    ) -> Study:
        person = replace(
            Patient("P-17", "Łukasiewicz^Zoë^Anna^Dr.^MSc", date(1961, 5, 4), Sex.FEMALE), **(patient or {})
        )
        ordered = WorklistItem(
            "ACC-9", person, Side.LEFT, "0750T", "2.25.11", "RP-1", "SPS-1", "Test^Referrer", "frail & old"
        )
        ordered = replace(ordered, **({"codes": (Coded("HANDDXR", "99SITE", "Hand DXR"),)} | (item or {})))
        delivered = Delivered(50.2, 99.6, 16.04, 1.598, EndOfExposure.NORMAL)
        exposure = Exposure(
            "2.25.12", 1, Technique(50, 100, 16), STARTED_AT, 1000.0, delivered, 2.4, image=True
        )
        study = Study(
            exam=Exam("2.25.10", ordered, PROTOCOL.id, OPENED_AT, "medium"),
            equipment=Equipment("Demo Clinic", "DXR1", "Maker", serial="ST-1", software_version="0.1.0"),
            protocol=PROTOCOL,
            detector_serial="SIM-1",
            made_at=OPENED_AT + timedelta(minutes=10),
            exposures=(exposure,),
            rejections={},
            indices={},
            result=MEASURED,
            calibrated_at=OPENED_AT - timedelta(days=2),
            code=PROTOCOL.codes.acquired_for_dxr,
        )
        return replace(study, **changes)

    return make


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    """An exam with its result, not yet released."""
    return make_study()


@pytest.fixture
def due() -> Charge:
    """A charge that an operator has released."""
    facts = Facts(
        True, True, True, True, MEASURED, image_present=True, already_charged=False, release=OPERATOR
    )
    return code_for(facts, PROTOCOL.codes)


@pytest.fixture
def basis() -> Basis:
    """Where its facts can be looked up."""
    return Basis("2.25.10", "ACC-9", PROTOCOL.id, "dxr-open@3", ("2.25.12",), ("2.25.13",))
