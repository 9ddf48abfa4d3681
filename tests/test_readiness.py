from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.config import Limits
from station.devices import (
    DetectorState,
    DetectorStatus,
    DeviceFault,
    FocalSpot,
    GeneratorState,
    GeneratorStatus,
    RoomInputs,
    SwitchStage,
    Technique,
)
from station.exam import Purpose, Side
from station.positioning import PositioningReport
from station.protocols import load_protocol
from station.readiness import CHECKS, Facts, evaluate
from station.result import Reason

NOW = 100.0
ASKED = Technique(50, 100, 10)
GOOD = Facts(
    now=NOW,
    purpose=Purpose.PATIENT,
    limits=Limits(),
    technique_limits=load_protocol().technique_limits,
    generator=GeneratorStatus(GeneratorState.STANDBY, NOW, 10, 0),
    detector=DetectorStatus(DetectorState.IDLE, NOW, 30, 8),
    inputs=RoomInputs(SwitchStage.RELEASED, door_closed=True, emergency_stop_released=True, at=NOW),
    technique=ASKED,
    read_back=ASKED,
    technique_refusal=None,
    calibration=None,
    positioning=PositioningReport(NOW, (), side=Side.LEFT),
    free_bytes=10**12,
    frame_bytes=14_400_000,
    window_ms=26_000,
    longest_window_ms=60_000,
    own_timer=True,
    underway=False,
    signed_in=True,
)
FAULT = DeviceFault("17", "KV OVR", "over-voltage", "call service")

WRONG = {
    "generator-silent": [
        {"generator": None},
        {"generator": replace(GOOD.generator, state=GeneratorState.UNKNOWN)},
        {"generator": replace(GOOD.generator, at=NOW - 0.6)},
        {"generator": replace(GOOD.generator, at=NOW + 60)},
    ],
    "generator-fault": [{"generator": replace(GOOD.generator, state=GeneratorState.FAULT, fault=FAULT)}],
    "generator-busy": [{"generator": replace(GOOD.generator, state=GeneratorState.READY)}],
    "generator-without-timer": [{"own_timer": False}],
    "window-too-long": [{"longest_window_ms": 20_000}],
    "tube-hot": [{"generator": replace(GOOD.generator, heat_percent=80.1)}],
    "detector-silent": [{"detector": None}, {"detector": replace(GOOD.detector, at=NOW - 0.6)}],
    "detector-busy": [{"detector": replace(GOOD.detector, state=DetectorState.READING)}],
    "detector-memory-full": [{"detector": replace(GOOD.detector, memory_free=0)}],
    "calibration-expired": [{"calibration": Reason("calibration-expired", "8 days old", "calibrate")}],
    "room-io-silent": [{"inputs": None}, {"inputs": replace(GOOD.inputs, at=NOW - 0.6)}],
    "door-open": [
        {"inputs": replace(GOOD.inputs, door_closed=False)},
        {"inputs": replace(GOOD.inputs, door_closed=None)},
    ],
    "emergency-stop": [
        {"inputs": replace(GOOD.inputs, emergency_stop_released=False)},
        {"inputs": replace(GOOD.inputs, emergency_stop_released=None)},
    ],
    "technique-refused": [{"technique_refusal": "90 kV asked, 40 to 70 kV allowed"}],
    "technique-unknown": [{"read_back": None}],
    "technique-differs": [
        {"read_back": Technique(51.1, 100, 10)},
        {"read_back": Technique(50, 97.9, 10)},
        {"read_back": Technique(50, 100, 10.3)},
        {"read_back": Technique(50, 100, 10, FocalSpot.LARGE)},
    ],
    "positioning-unknown": [{"positioning": None}],
    "positioning-stale": [{"positioning": replace(GOOD.positioning, at=NOW - 0.6)}],
    "hand-rotated": [
        {"positioning": replace(GOOD.positioning, findings=(Reason("hand-rotated", "20", "turn"),))}
    ],
    "wrong-side": [{"positioning": replace(GOOD.positioning, findings=(Reason("wrong-side", "R", "L"),))}],
    "station-locked": [{"signed_in": False}],
    "disk-full": [{"free_bytes": 500_000_000}],
}
CASES = [(name, change) for name, changes in WRONG.items() for change in changes]


def ids_of(facts: Facts) -> set[str]:
    return {finding.id for finding in evaluate(facts).findings}


def test_nothing_wrong_is_ready():
    assert evaluate(GOOD).ready
    assert evaluate(GOOD).findings == ()


@pytest.mark.hazard("unintended-exposure")
@pytest.mark.parametrize(("name", "change"), CASES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(CASES)])
def test_every_single_trouble_blocks_and_says_what_to_do(name, change):
    readiness = evaluate(replace(GOOD, **change))
    assert not readiness.ready
    finding = next(f for f in readiness.findings if f.id == name)
    assert finding.message
    assert finding.remedy


@given(st.lists(st.sampled_from(CASES), min_size=1, max_size=6))
def test_troubles_never_hide_one_another_into_readiness(cases):
    facts = GOOD
    for _, change in cases:
        facts = replace(facts, **change)
    assert not evaluate(facts).ready


@given(st.permutations(list(CHECKS)), st.sampled_from(CASES))
def test_the_order_of_the_checks_does_not_matter(order, case):
    facts = replace(GOOD, **case[1])
    found = {finding for check in order for finding in check(facts)}
    assert found == set(evaluate(facts).findings)


@pytest.mark.hazard("equipment-damage")
def test_a_hot_tube_blocks_with_its_heat_and_the_limit():
    (finding,) = evaluate(replace(GOOD, generator=replace(GOOD.generator, heat_percent=85))).findings
    assert "85 %" in finding.message
    assert "80 %" in finding.message


def test_all_findings_are_shown_not_only_the_first():
    facts = replace(
        GOOD,
        inputs=replace(GOOD.inputs, door_closed=False, emergency_stop_released=False),
        positioning=replace(GOOD.positioning, findings=(Reason("a", "a", "a"), Reason("b", "b", "b"))),
    )
    assert ids_of(facts) == {"door-open", "emergency-stop", "a", "b"}


def test_preparing_devices_are_not_a_trouble_while_an_exposure_is_under_way():
    facts = replace(
        GOOD,
        underway=True,
        generator=replace(GOOD.generator, state=GeneratorState.READY),
        detector=replace(GOOD.detector, state=DetectorState.READY, memory_free=0),
    )
    assert evaluate(facts).ready


def test_a_calibration_needs_no_hand_no_side_and_no_maps_but_everything_else():
    facts = replace(
        GOOD,
        purpose=Purpose.CALIBRATION,
        positioning=None,
        calibration=Reason("calibration-missing", "none", "calibrate"),
    )
    assert evaluate(facts).ready
    assert not evaluate(replace(facts, inputs=replace(GOOD.inputs, door_closed=False))).ready


def test_a_confirmed_list_stands_in_for_the_camera():
    report = PositioningReport(NOW - 60, (), confirmed_by="operator")
    assert evaluate(replace(GOOD, positioning=report)).ready
