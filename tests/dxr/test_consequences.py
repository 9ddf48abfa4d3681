"""What the analysis makes of T and W: indices, strength, scores and risk, and how the contract shows them."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from station.dxr.analysis import analyse
from station.dxr.change import change_of
from station.exam import Sex
from station.protocols import load_reference, load_risk_table
from station.result import DxrResult
from station.summary import as_text, summary, visit_json

HAND = ("t=1.61,w=8.2", "side=L")
PITCH_MM = 0.14
SITE = {"bmd_constant_g_cm3": 1.2, "status": "site", "source": "40 women, 2026"}


@pytest.fixture(scope="module")
def frame(shoot):
    return shoot(*HAND, pitch_mm=PITCH_MM).frame


@pytest.fixture(scope="module")
def run(frame, protocol, reference):
    def analysed(image=frame, age=65.0, against=reference, **changed):
        data = protocol.analysis.model_dump() | changed
        analysis = type(protocol.analysis).model_validate(data)
        chosen = protocol.model_copy(update={"analysis": analysis})
        return analyse(image, age, Sex.FEMALE, chosen, against)

    return analysed


@pytest.fixture(scope="module")
def usual(run):
    return run()


def report(found):
    return summary(found, "test", None, None, {})


def ids(found):
    return [note.id for note in found.notes]


def test_every_bone_has_both_indices_its_length_and_its_strength(usual):
    for bone in usual.bones:
        t, w = bone.t_mm.value, bone.w_mm.value
        assert bone.mci.value == pytest.approx(2 * t / w)
        assert bone.mci_area.value == pytest.approx(np.pi * t / w * (1 - t / w))
        area = np.pi * ((w / 2) ** 2 - (w / 2 - t) ** 2)
        assert bone.strength.cortical_area_mm2.value == pytest.approx(area)
        assert bone.bhi.value == pytest.approx(area / w / (bone.length_mm.value * w) ** 0.33)
    assert usual.mci_area.value == pytest.approx(np.mean([b.mci_area.value for b in usual.bones]))
    assert usual.bhi.value == pytest.approx(np.mean([b.bhi.value for b in usual.bones]))


def test_the_true_strength_and_length_lie_within_their_intervals(shoot, usual, protocol):
    shot = shoot(*HAND, pitch_mm=PITCH_MM)
    for bone in usual.bones:
        truth = shot.phantom.truth(protocol.geometry.sid_mm)[bone.number]
        t, w = truth.mean_over(protocol.analysis.roi_length_mm[bone.number])
        modulus = np.pi * (w**4 - (w - 2 * t) ** 4) / 32 / w
        found = bone.strength.section_modulus_mm3
        assert abs(found.value - modulus) <= found.u95
        base, head = (np.array(end) for end in truth.axis_px(shot.panel))
        length = np.hypot(*(head - base)) * PITCH_MM / protocol.geometry.magnification
        assert abs(bone.length_mm.value - length) <= bone.length_mm.u95


def test_without_a_scale_only_what_is_free_of_it_is_given(run, frame):
    found = run(replace(frame, scale_known=False))
    assert (found.scale, found.roi_mode) == ("relative", "scaled")
    assert (found.bhi, found.triage, found.hazards, found.bmd_constant_g_cm3) == (None, None, (), None)
    for bone in found.bones:
        assert (bone.length_mm, bone.bhi) == (None, None)
        assert bone.strength.cortical_area_mm2 is bone.strength.section_modulus_mm3 is None
        assert bone.strength.buckling_ratio.value == pytest.approx(1 / bone.mci.value)
        assert bone.mci_area.value == pytest.approx(np.pi * bone.mci.value / 2 * (1 - bone.mci.value / 2))


def test_the_site_s_constant_is_used_for_its_detectors_and_named(run, frame, usual):
    own = run(site_calibration=SITE | {"detector_serials": [frame.source]})
    assert (own.bmd_constant_g_cm3, own.bmd_status) == (1.2, "site")
    assert own.bmd_constant_source == "40 women, 2026"
    assert own.bmd_g_cm2.value == pytest.approx(usual.bmd_g_cm2.value * 1.2 / 1.315)
    assert len(own.triage.caveats) == 2
    assert (usual.bmd_constant_g_cm3, usual.bmd_status) == (1.315, "derived")


def test_the_site_s_constant_is_not_used_for_another_detector_and_a_note_says_so(run, usual):
    other = run(site_calibration=SITE | {"detector_serials": ["another"]})
    assert other.bmd_g_cm2 == usual.bmd_g_cm2
    assert other.bmd_status == "derived"
    assert "site-calibration-not-used" in ids(other)
    assert "site-calibration-not-used" not in ids(usual)


def test_scaled_regions_follow_the_length_of_the_bone(run, usual):
    found = run(roi_mode="scaled")
    assert found.roi_mode == "scaled"
    assert "roi-scaled" in ids(found)
    shares = {2: 0.31, 3: 0.29, 4: 0.28}
    for bone in found.bones:
        ends, corners = np.array(bone.axis_px), np.array(bone.roi_px)
        length, roi = np.hypot(*(ends[1] - ends[0])), np.hypot(*(corners[3] - corners[0]))
        assert roi / length == pytest.approx(shares[bone.number], rel=0.01)
    assert found.bmd_g_cm2.value == pytest.approx(usual.bmd_g_cm2.value, rel=0.03)
    assert [b.roi_px for b in found.bones] != [b.roi_px for b in usual.bones]


def test_the_shape_correction_lowers_strength_and_leaves_the_density(run, usual, protocol):
    bias = protocol.analysis.shape_correction.model_dump() | {"enabled": True}
    found = run(shape_correction=bias)
    assert found.bmd_g_cm2 == usual.bmd_g_cm2
    for bone, plain in zip(found.bones, usual.bones, strict=True):
        before, after = plain.strength, bone.strength
        assert before.cortical_area_mm2.value / after.cortical_area_mm2.value == pytest.approx(1.0725)
        assert before.second_moment_mm4.value / after.second_moment_mm4.value == pytest.approx(1.139)
        assert after.buckling_ratio == before.buckling_ratio
        assert (before.model, after.model) == ("round", "round, mean shape bias taken out")


def test_a_person_gets_a_band_and_a_hazard_with_its_range(usual):
    assert usual.triage.band == ("osteoporosis-unlikely" if usual.t_score > -1.2 else "central-dxa-needed")
    hip = usual.hazards[0]
    assert (hip.per_sd.low, hip.per_sd.value, hip.per_sd.high) == (1.5, 1.8, 2.5)
    assert hip.relative.low < hip.relative.value < hip.relative.high
    assert usual.absolute_risks == ()


def test_a_reference_of_young_adults_gives_t_but_neither_z_band_nor_hazard(run):
    found = run(against=load_reference("us-women-2001"))
    assert found.t_score is not None
    assert (found.z_score, found.triage, found.hazards) == (None, None, ())
    assert {"reference-without-curve", "triage-withheld"} <= set(ids(found))


def test_a_child_gets_strength_but_no_band(run):
    found = run(age=15.0)
    assert (found.t_score, found.triage, found.hazards) == (None, None, ())
    assert found.bones[0].strength.cortical_area_mm2 is not None


def test_the_contract_carries_everything_as_plain_json(usual):
    entry = report(usual)
    dxr = json.loads(json.dumps(entry))["dxr"]
    assert dxr == entry["dxr"]
    assert dxr["triage"]["caveats"][:2] == ["not a WHO diagnosis", "central DXA decides"]
    assert dxr["reference_status"] == "derived"
    assert dxr["bmd_constant_g_cm3"] == 1.315
    assert dxr["hazards"][0]["per_sd"] == {"value": 1.8, "low": 1.5, "high": 2.5}
    assert dxr["absolute_risks"] == []
    strength = dxr["bones"]["2"]["strength"]
    assert strength["second_moment_mm4"] == usual.bones[0].strength.second_moment_mm4.value
    assert strength["second_moment_u95"] > 0
    assert dxr["mci"] != dxr["mci_area"]


def test_a_ten_year_risk_is_shown_as_research_with_its_range_and_people(run, protocol):
    risk = protocol.analysis.risk.model_dump()
    table = load_risk_table(risk["absolute_risk"]["table"]).model_dump()
    risk["absolute_risk"] |= {"enabled": True, "population": table}
    found = run(risk=risk)
    text = as_text(report(found))
    assert "research only: hip fracture within ten years" in text
    assert "without any risk factor" in text
    shown = found.absolute_risks[0].percent
    assert f"{shown.value:.1f} % ({shown.low:.1f}-{shown.high:.1f})" in text
    assert "frax" not in (text + json.dumps(report(found))).lower()


def test_a_person_reads_band_strength_and_hazard_range(usual):
    text = as_text(report(usual))
    for part in (
        "not a WHO diagnosis",
        "central DXA decides",
        usual.triage.band,
        "section modulus",
        "per SD",
    ):
        assert part in text
    assert "research" not in text
    assert "sectra-consistent-derived@1 (derived)" in text


def test_a_score_without_a_band_still_says_that_it_is_no_diagnosis(run):
    text = as_text(report(run(against=load_reference("us-women-2001"))))
    assert "us-women-2001@1 (published); not a WHO diagnosis" in text


def test_two_visits_are_compared_from_their_results(usual, run, shoot, protocol):
    second = run(shoot("t=1.5,w=8.2", "side=L", pitch_mm=PITCH_MM, seed=2).frame)
    assert isinstance(second, DxrResult)
    visits = (
        report(result) | {"visit": visit_json(date(year, 3, 1), "panel", None)}
        for year, result in ((2024, usual), (2026, second))
    )
    found = change_of(*visits, protocol.analysis.repeatability_cv_percent)
    assert found.significant
    expected = (1.5 * (1 - 1.5 / 8.2)) / (1.61 * (1 - 1.61 / 8.2)) - 1
    assert found.percent / 100 == pytest.approx(expected, abs=0.02)
