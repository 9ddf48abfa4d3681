import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from station.dxr.change import Change, Record, change_json, change_of, change_text, compare, record_of
from station.exam import Side
from station.protocols import Constant, load_protocol
from station.result import Reason

CV = Constant(value=0.65, status="derived", source="test")
FIRST = Record(
    date(2024, 3, 1), 0.500, Side.LEFT, (2, 3, 4), "panel-a", "dxr-open@1", "ref@1", "fixed", 1.315, False,
    "for processing",
)  # fmt: skip


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
        ({"image": "display"}, "image-kind-differs"),
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


REPORT = {
    "source": "a.dcm",
    "side": "L",
    "reasons": [],
    "visit": {"taken": "2024-03-01", "detector_type": "panel-a", "detector_serial": None},
    "dxr": {
        "bmd_g_cm2": 0.5, "algorithm": "dxr-open@1", "reference": "ref@1", "roi_mode": "fixed",
        "bmd_constant_g_cm3": 1.315, "porosity_measured": False, "bones": {"4": {}, "2": {}, "3": {}},
    },
}  # fmt: skip


@given(st.dates(), st.floats(0.01, 1.99), st.sampled_from(Side))
def test_a_report_tells_all_that_a_comparison_needs(taken, bmd, side):
    visit = REPORT["visit"] | {"taken": taken.isoformat()}
    report = REPORT | {"side": side, "visit": visit, "dxr": REPORT["dxr"] | {"bmd_g_cm2": bmd}}
    expected = replace(FIRST, taken=taken, bmd_g_cm2=bmd, side=side)
    assert record_of(json.loads(json.dumps(report))) == expected


def test_a_display_image_is_known_by_its_note():
    assert record_of(REPORT | {"reasons": [{"id": "display-image"}]}) == replace(FIRST, image="display")


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"side": "X"}, "side"),
        ({"visit": REPORT["visit"] | {"taken": "yesterday"}}, "taken"),
        ({"dxr": REPORT["dxr"] | {"algorithm": None}}, "algorithm"),
        ({"dxr": REPORT["dxr"] | {"bmd_g_cm2": "much"}}, "bmd_g_cm2"),
        ({"dxr": "much"}, "dxr"),
        ({"visit": ["2024-03-01"]}, "visit"),
        ({"dxr": REPORT["dxr"] | {"bones": {"second": {}}}}, "bones"),
    ],
)
def test_refuses_a_damaged_report_and_names_the_key(changed, key):
    with pytest.raises(ValueError, match=key):
        record_of(REPORT | changed)


@pytest.mark.parametrize(
    ("changed", "why", "says"),
    [
        ({"dxr": None}, "no-density", "density"),
        ({"dxr": REPORT["dxr"] | {"bmd_g_cm2": None}}, "no-density", "density"),
        ({"visit": None}, "visit-unknown", "when it was taken and with which"),
        ({"visit": REPORT["visit"] | {"detector_type": None}}, "visit-unknown", "with which type"),
    ],
)
def test_a_report_that_cannot_be_followed_says_why_and_which(changed, why, says):
    for pair in ((REPORT | changed, REPORT), (REPORT, REPORT | changed)):
        found = change_of(*pair, CV)
        assert (found.id, says in found.message, "a.dcm" in found.message) == (why, True, True)
        assert found.remedy in change_text(found)
        assert change_json(found)["reason"]["id"] == why


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(sorted(REPORT)), st.sampled_from(sorted(REPORT["dxr"])), JSON)
@example("reasons", "bones", True)
def test_whatever_a_file_holds_gives_a_record_a_reason_or_an_error_in_one_line(key, of_dxr, anything):
    for report in (REPORT | {key: anything}, REPORT | {"dxr": REPORT["dxr"] | {of_dxr: anything}}):
        try:
            assert isinstance(record_of(report), Record | Reason)
        except ValueError as error:
            assert "\n" not in str(error.args[0])  # noqa: PT017  any of the two answers is right


def test_without_a_precision_nothing_is_compared():
    assert change_of(REPORT, REPORT, None).id == "no-precision"


def test_text_and_json_say_the_verdict_the_rate_and_where_the_precision_comes_from():
    after = REPORT | {"visit": REPORT["visit"] | {"taken": "2026-03-01"}}
    lost = change_of(REPORT, after | {"dxr": REPORT["dxr"] | {"bmd_g_cm2": 0.49}}, CV)
    assert "beyond the least significant change" in change_text(lost)
    assert "-1.0 % a year" in change_text(lost)
    assert "derived: test" in change_text(lost)
    shown = json.loads(json.dumps(change_json(lost)))
    assert (shown["comparable"], shown["change"]["significant"]) == (True, True)
    kept = change_of(REPORT, after, CV)
    assert "within the least significant change" in change_text(kept)


@pytest.mark.parametrize("bmd", [0.0, -0.5, 2.0, float("nan"), float("inf")])
def test_refuses_a_density_no_hand_has(bmd):
    with pytest.raises(ValueError, match="0 to 2"):
        replace(FIRST, bmd_g_cm2=bmd)


def test_refuses_a_record_without_its_detector_and_a_cv_that_is_none():
    with pytest.raises(ValueError, match="detector"):
        replace(FIRST, detector_type=" ")
    with pytest.raises(ValueError, match="CV"):
        compare(FIRST, later(), Constant(value=0, status="site", source="test"))


def test_the_shipped_precision_gives_the_published_least_significant_change():
    cv = load_protocol().analysis.repeatability_cv_percent
    assert cv.status == "derived"
    assert compare(FIRST, later(), cv).least_significant_percent == pytest.approx(1.8, abs=0.05)
