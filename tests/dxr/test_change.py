import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from station.dxr.change import Change, Record, compare, record_from, record_json, record_of
from station.exam import Side
from station.protocols import Constant, load_protocol
from station.result import Bone, DxrResult, Measurement, Reason

CV = Constant(value=0.65, status="derived", source="test")
FIRST = Record(
    date(2024, 3, 1), 0.500, Side.LEFT, (2, 3, 4), "panel-a", "dxr-open@1", "ref@1", "fixed", 1.315, False
)


def later(**changed):
    return replace(FIRST, **({"taken": date(2026, 3, 1)} | changed))


def test_a_loss_beyond_the_least_significant_change_is_significant():
    found = compare(FIRST, later(bmd_g_cm2=0.490), CV)
    assert found.significant
    assert found.change_g_cm2 == pytest.approx(-0.010)
    assert found.percent == pytest.approx(-2.0)
    assert found.percent_per_year == pytest.approx(-1.0, abs=0.002)
    assert found.least_significant_percent == pytest.approx(1.8, abs=0.005)


def test_a_change_within_repeatability_is_not_significant_in_either_direction():
    for bmd in (0.492, 0.508):
        assert not compare(FIRST, later(bmd_g_cm2=bmd), CV).significant


@given(st.floats(0.2, 1.0), st.floats(0.9, 1.1))
def test_exchanging_the_densities_turns_the_sign_and_keeps_the_verdict(bmd, factor):
    there, back = (
        compare(replace(FIRST, bmd_g_cm2=a), later(bmd_g_cm2=b), CV)
        for a, b in ((bmd, bmd * factor), (bmd * factor, bmd))
    )
    assert there.change_g_cm2 == -back.change_g_cm2
    assert there.significant == back.significant


def test_without_a_true_change_one_in_twenty_seems_significant():
    chance = np.random.default_rng(4)
    pairs = 0.5 * (1 + 0.0065 * chance.standard_normal((4000, 2)))
    verdicts = [
        compare(replace(FIRST, bmd_g_cm2=a), later(bmd_g_cm2=b), CV).significant for a, b in pairs.tolist()
    ]
    assert np.mean(verdicts) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"detector_type": "panel-b"}, "detector-differs"),
        ({"side": Side.RIGHT}, "side-differs"),
        ({"algorithm": "dxr-open@2"}, "algorithm-differs"),
        ({"bones": (2, 3)}, "bones-differ"),
        ({"reference": "ref@2"}, "reference-differs"),
        ({"roi_mode": "scaled"}, "roi-mode-differs"),
        ({"constant_g_cm3": 1.25}, "constant-differs"),
        ({"porosity_measured": True}, "porosity-differs"),
        ({"taken": date(2024, 2, 29)}, "visits-out-of-order"),
    ],
)
def test_what_was_measured_in_another_way_is_not_compared_and_says_why(changed, why):
    found = compare(FIRST, later(**changed), CV)
    assert isinstance(found, Reason)
    assert found.id == why
    assert found.remedy


def test_a_reason_names_both_values():
    assert "left then right" in compare(FIRST, later(side=Side.RIGHT), CV).message
    assert "2, 3, 4 then 2, 3" in compare(FIRST, later(bones=(2, 3)), CV).message


def test_a_repeat_within_half_a_year_has_no_yearly_rate():
    found = compare(FIRST, later(taken=date(2024, 5, 1), bmd_g_cm2=0.48), CV)
    assert isinstance(found, Change)
    assert found.percent_per_year is None
    assert found.significant


@given(st.dates(), st.floats(0.01, 1.99), st.sampled_from(Side))
def test_a_record_survives_json(taken, bmd, side):
    record = replace(FIRST, taken=taken, bmd_g_cm2=bmd, side=side)
    assert record_from(json.loads(json.dumps(record_json(record)))) == record


@pytest.mark.parametrize("broken", [{"side": "X"}, {"taken": "yesterday"}, {"bmd_g_cm2": None}, {"bones": 3}])
def test_refuses_a_stored_record_that_is_damaged_and_names_the_key(broken):
    with pytest.raises(ValueError, match=next(iter(broken))):
        record_from(record_json(FIRST) | broken)


@pytest.mark.parametrize("bmd", [0.0, -0.5, 2.0, float("nan"), float("inf")])
def test_refuses_a_density_no_hand_has(bmd):
    with pytest.raises(ValueError, match="0 to 2"):
        replace(FIRST, bmd_g_cm2=bmd)


def test_refuses_a_record_without_its_detector_and_a_cv_that_is_none():
    with pytest.raises(ValueError, match="detector"):
        replace(FIRST, detector_type=" ")
    with pytest.raises(ValueError, match="CV"):
        compare(FIRST, later(), Constant(value=0, status="site", source="test"))


def test_a_result_becomes_a_record_only_with_a_density():
    one = Measurement(0.4, "1", 0.01)
    bones = tuple(Bone(n, one, None, None, None, 1.0, ((0, 0), (1, 1)), ()) for n in (2, 3))
    relative = DxrResult(
        "dxr-open@1",
        Side.LEFT,
        "relative",
        bones,
        one,
        None,
        None,
        None,
        None,
        "derived",
        None,
        False,
        None,
        None,
        "ref@1",
    )
    assert record_of(relative, date(2024, 3, 1), "panel-a").id == "no-density"
    absolute = replace(
        relative, scale="absolute", bmd_g_cm2=Measurement(0.5, "g/cm2", 0.01), bmd_constant_g_cm3=1.315
    )
    assert record_of(absolute, date(2024, 3, 1), "panel-a") == replace(FIRST, bones=(2, 3))


def test_the_shipped_precision_gives_the_published_least_significant_change():
    cv = load_protocol().analysis.repeatability_cv_percent
    assert cv.status == "derived"
    assert compare(FIRST, later(), cv).least_significant_percent == pytest.approx(1.8, abs=0.05)
