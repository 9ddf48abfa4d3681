"""What the page says: each fact once, with its unit, and never more than is known."""

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest

from station.devices import EndOfExposure
from station.dxr.change import LSC_FACTOR, Change, change_json
from station.exam import Rejection, Side
from station.report import facts, findings
from station.report.gates import GATES, gates_of
from station.report.page import content
from station.report.picture import picture_of
from station.report.sheet import Gate, Picture, Prior
from station.result import Reason, Refused

CHANGE = Change(-0.0121, -2.3, 2.0, -1.15, 0.0095, 1.8, True, 0.65, "derived", "somewhere")
DXR = Path(__file__).parents[2] / "station/dxr"
IN_REFUSALS = ("quality", "foreign", "hand", "localise", "metacarpals")
NO_GATE = {"pixel-coarse", "physes-open"}  # notes beside a result


def told(items, label):
    return dict(items)[label]


def test_the_least_significant_change_is_that_of_the_comparison():
    assert findings.LSC_FACTOR == LSC_FACTOR


@pytest.mark.parametrize(
    ("day", "age"), [(date(1961, 3, 2), 65), (date(1961, 3, 3), 64), (date(2026, 3, 1), 0)]
)
def test_the_age_is_in_completed_years(sheet, change, day, age):
    assert told(facts.patient_facts(change.patient(sheet, birth_date=day)), "Born") == f"{day} ({age} years)"


def test_the_dose_is_of_every_exposure_and_says_where_one_is_unknown(sheet, change):
    first, second = sheet.study.exposures
    unknown = change.study(sheet, exposures=(replace(first, dap_ugym2=None), second))
    assert told(facts.exposure_facts(unknown), "DAP") == "at least 2.41 µGy·m² of 2 exposures"
    none = change.study(sheet, exposures=(replace(second, dap_ugym2=None),))
    assert told(facts.exposure_facts(none), "DAP") == "not measured of 1 exposure"


def test_an_exposure_that_never_started_is_none(sheet, change):
    first, second = sheet.study.exposures
    silent = replace(first, dap_ugym2=None, delivered=replace(first.delivered, end=EndOfExposure.NOT_STARTED))
    changed = change.study(sheet, exposures=(silent, second), rejections={})
    assert told(facts.exposure_facts(changed), "DAP") == "2.41 µGy·m² of 1 exposure"
    assert told(facts.exposure_facts(changed), "Rejected") == "0"


def test_what_was_not_delivered_is_not_told_as_delivered(sheet, change):
    silent = replace(sheet.study.exposure, delivered=None)
    technique = told(facts.exposure_facts(change.study(sheet, exposures=(silent,))), "Technique")
    assert "what was delivered is not known" in technique
    early = replace(silent, delivered=replace(sheet.study.exposure.delivered, end=EndOfExposure.RELEASED))
    assert "released early" in told(facts.exposure_facts(change.study(sheet, exposures=(early,))), "Asked")


def test_rejections_are_counted_with_their_reasons(sheet, change):
    both = {1: Rejection("111210", "operator"), 2: Rejection("111209", "operator")}
    rejected = told(facts.exposure_facts(change.study(sheet, rejections=both)), "Rejected")
    assert rejected == "2 (Motion blur; Positioning)"


def test_the_magnification_is_of_the_distance_exposed_at(sheet, change):
    near = change.study(sheet, exposures=(replace(sheet.study.exposure, sid_mm=500.0),))
    assert told(facts.exposure_facts(near), "Geometry").startswith("SID 500 mm, OID 15 ± 5 mm, ×1.031")


def test_no_order_and_a_contradicted_side_are_said(sheet, change):
    assert facts.hand(sheet) == ("Left hand", "as ordered; the thumb in the image agrees")
    assert "without an order" in facts.hand(change.item(sheet, accession_number=""))[1]
    contradiction = Reason("side-disagrees", "the order says left, the thumb says right", "Check the hand.")
    doubted = change.study(sheet, result=replace(sheet.study.result, notes=(contradiction,)))
    assert "check the side" in facts.hand(doubted)[1]
    assert findings.notes(doubted)[0].startswith("The order says left")


def test_a_charge_shows_what_is_met_and_what_is_not(sheet):
    proof = tuple((condition, condition != "image accepted") for condition, _ in sheet.charge.proof)
    refused = facts.charge_facts(replace(sheet, charge=replace(sheet.charge, code=None, proof=proof)))
    assert told(refused, "Proposed code") == "none"
    assert told(refused, "Not met") == "image accepted."
    assert "Not met" not in dict(facts.charge_facts(sheet))
    assert told(facts.charge_facts(sheet), "Rule") == sheet.charge.rule
    assert facts.charge_facts(replace(sheet, charge=None)) == [("Charge", "not decided")]


def test_a_change_is_judged_against_the_least_significant_one(sheet):
    def said(found):
        return told(findings.change(replace(sheet, change=change_json(found))), "Change")

    text = said(CHANGE)
    assert text.startswith("−0.012 g/cm² (−2.3 %) in 2.0 years, −1.1 % a year: beyond the least")
    assert "0.009 g/cm² (1.8 %), not explained" in text
    assert "within the least significant change" in said(replace(CHANGE, significant=False))
    other = said(Reason("detector-differs", "not comparable: detector type is A then B", "Use the first."))
    assert other == "Not comparable: detector type is A then B. Use the first."


def test_a_prior_that_may_not_be_compared_says_why(sheet):
    prior = Prior(date(2020, 1, 5), 0.55, 0.01, "another detector")
    words = content(replace(sheet, priors=(prior,)))
    assert ("Earlier", "2020-01-05: 0.550 ± 0.010 g/cm², not comparable: another detector.") in words["risk"]
    assert "0.550 at 58.7 years (not comparable)" in words["age_words"]


def test_every_constant_and_reference_says_where_it_comes_from(sheet):
    basis = dict(facts.basis_facts(sheet))
    for label in ("Density constant", "Porosity", "Reference"):
        assert re.search(r"\((published|derived|memory|site): ", basis[label])
    risk = dict(findings.risk(sheet, sheet.study.result))
    assert re.search(r"\(published: .*J Clin Densitom", risk["Cut-offs"])
    assert "1.5 (published: MCI" in risk["Hip fracture"]
    assert "2.5 (published: women" in risk["Hip fracture"]


def test_no_band_without_its_caveats_and_no_hazard_without_its_range(sheet):
    result = sheet.study.result
    risk = dict(findings.risk(sheet, result))
    assert "not a who diagnosis" in risk["Triage"].lower()
    assert "T may be off by up to 1.2" in risk["Triage"]
    one = result.hazards[0].relative
    assert f"{one.value:.1f} times ({one.low:.1f} to {one.high:.1f})" in risk["Hip fracture"]


def test_a_band_near_a_limit_says_so(sheet):
    near = replace(sheet.study.result, triage=replace(sheet.study.result.triage, near_limit=True))
    assert findings.band(near).endswith("near a limit")


def test_the_same_note_is_told_once(sheet):
    note = Reason("delivery-differs", "less was delivered", "Judge the noise.")
    assert findings.notes(replace(sheet, notes=(note, note))) == ["Less was delivered. Judge the noise."]


def test_every_reason_of_a_refusal_belongs_to_a_gate():
    sources = "".join((DXR / f"{name}.py").read_text(encoding="utf-8") for name in IN_REFUSALS)
    ids = set(re.findall(r"Reason\(\s*\"([a-z-]+)\"", sources)) | {"dressing", "metal"}
    assert len(ids) > 20
    assert ids - NO_GATE == {one for own in GATES.values() for one in own} - {"side-disagrees"}


def test_a_gate_that_was_never_asked_is_not_called_passed():
    gates = {
        gate.name: gate.passed for gate in gates_of(Refused((Reason("metacarpal-cut", "cut", "Open."),)))
    }
    assert gates["one open hand"] is True
    assert gates["metacarpals inside image and field"] is False
    assert gates["hand flat"] is None
    first = gates_of(Refused((Reason("no-hand", "no hand", "Place it."),), Side.LEFT))
    assert [gate.passed for gate in first[:4]] == [True, False, None, None]
    assert {gate.passed for gate in gates_of(Refused((Reason("exposed-no-image", "none", "Wait."),)))} == {
        None
    }


def test_gates_are_told_by_their_answer(sheet):
    gates = (Gate("a", True), Gate("b", False, "too much"), Gate("c", None))
    assert facts.quality_facts(replace(sheet, gates=gates)) == [
        ("Failed", "b (too much)."), ("Passed", "a."), ("Not judged", "c."),
    ]  # fmt: skip
    assert {gate.passed for gate in sheet.gates} == {True}


def test_the_picture_shows_the_window_and_all_measured_bones(sheet):
    drawn = picture_of(sheet)
    grey = cv2.imdecode(np.frombuffer(bytes(drawn["image"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert grey.ndim == 2
    assert abs(grey.shape[0] / grey.shape[1] - drawn["aspect"]) < 0.01
    assert grey.min() < 20
    assert grey.max() > 235
    assert sorted(label["text"] for label in drawn["labels"]) == ["2", "3", "4"]
    assert sum(line["kind"] == "periosteal" for line in drawn["lines"]) == 6
    shown_mm = (drawn["box"][2] - drawn["box"][0]) * sheet.picture.pixels.shape[1] * 0.1
    assert drawn["scale_10mm"] * shown_mm / sheet.study.protocol.geometry.magnification == pytest.approx(10)


def test_a_picture_without_outlines_is_shown_whole(sheet):
    drawn = picture_of(replace(sheet, outlines=()))
    assert drawn["whole"] is None
    assert drawn["box"] == [0, 0, 1, 1]
    assert drawn["lines"] == []


def test_a_picture_that_is_none_is_refused():
    with pytest.raises(ValueError, match="rows and columns"):
        Picture(np.zeros((0, 4), np.uint8), 100, 50)
    with pytest.raises(ValueError, match="at least 1 wide"):
        Picture(np.zeros((4, 4), np.uint8), 100, 0)


def test_conditions_that_an_existing_image_needs_not_meet_are_not_called_failures(sheet):
    proof = tuple((condition, condition != "image accepted") for condition, _ in sheet.charge.proof)
    existing = replace(sheet.charge, code=sheet.study.protocol.codes.existing_image, proof=proof)
    found = dict(facts.charge_facts(replace(sheet, charge=existing)))
    assert found["Proposed code"].startswith("0749T (C4)")
    assert found["Not so, not needed"] == "image accepted."
    assert "Not met" not in found
