import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.billing import RULE, Basis, Charge, Facts, code_for, proof_json, proof_text
from station.exam import Release, Side
from station.protocols import load_protocol
from station.result import DxrResult, Measurement, Reason, Refused

CODES = load_protocol().codes
VALID = DxrResult(
    "dxr@1",
    Side.LEFT,
    "relative",
    (),
    Measurement(0.4, "1", 0.01),
    None,
    None,
    None,
    None,
    "derived",
    None,
    False,
    None,
    None,
    "r@1",
)
REFUSED = Refused((Reason("no-hand", "no hand", "place a hand"),))
AT = datetime(2026, 3, 2, 23, 50, tzinfo=UTC)
RELEASE = Release("Demo^Operator", AT)
BASIS = Basis("2.25.10", "ACC-9", "hand-dxr@1", "dxr@1", ("2.25.12",), ("2.25.13", "2.25.14"))
GOOD = Facts(True, True, True, True, VALID, image_present=True, already_charged=False, release=RELEASE)
BOOLEANS = (True, False)

facts = st.builds(
    Facts,
    *[st.booleans()] * 4,
    st.sampled_from([VALID, REFUSED, None]),
    st.booleans(),
    st.booleans(),
    st.none() | st.builds(Release, st.text(), st.just(AT), st.booleans()),
)


@pytest.mark.hazard("false-billing")
@pytest.mark.parametrize(
    ("here", "protocol", "accepted", "side"), list(product(*[BOOLEANS] * 4)), ids=lambda met: "yn"[not met]
)
def test_0750t_needs_every_condition_and_0749t_is_only_for_images_that_existed(
    here, protocol, accepted, side
):
    for result, image, charged in product([VALID, REFUSED, None], BOOLEANS, BOOLEANS):
        charge = code_for(Facts(here, protocol, accepted, side, result, image, charged, RELEASE), CODES)
        expected = None
        if result is VALID and image and side and not charged:
            if not here:
                expected = "0749T"
            elif protocol and accepted:
                expected = "0750T"
        assert (charge.code.value if charge.code else None) == expected
        assert charge.due == (expected is not None)


@pytest.mark.hazard("false-billing")
@settings(deadline=None)
@given(facts)
def test_what_nobody_released_is_never_due(found):
    charge = code_for(replace(found, release=None), CODES)
    assert not charge.released
    assert not charge.due
    assert charge.code is None or "waits" in charge.text


@pytest.mark.hazard("false-billing")
@pytest.mark.parametrize("nobody", ["", "  "])
def test_a_release_without_a_name_is_none(nobody):
    assert not code_for(replace(GOOD, release=Release(nobody, AT)), CODES).due


@pytest.mark.hazard("false-billing")
@settings(deadline=None)
@given(facts)
def test_a_condition_that_changes_to_unmet_never_makes_a_charge_of_none(found):
    before = code_for(found, CODES)
    worse = {"under_dxr_protocol": False, "accepted": False, "side_agrees": False, "image_present": False}
    for name, unmet in {**worse, "already_charged": True, "result": REFUSED, "release": None}.items():
        after = code_for(replace(found, **{name: unmet}), CODES)
        assert before.code is not None or after.code is None
        assert before.due or not after.due


@settings(deadline=None)
@given(facts)
def test_the_decision_names_exactly_the_conditions_that_were_not_met(found):
    charge = code_for(found, CODES)
    if charge.code is None:
        named = set(charge.text.removeprefix("no charge; not met: ").split(", "))
        unmet = {condition for condition, met in charge.proof if not met}
        assert named <= unmet
        if found.acquired_here:
            assert named == unmet


def test_the_proof_names_every_condition_with_its_answer():
    proof = dict(code_for(replace(GOOD, accepted=False), CODES).proof)
    assert list(proof.values()) == [True, True, False, True, True, True, True]


def test_the_printed_proof_holds_rule_facts_versions_identifiers_and_who_released_it():
    text = proof_text(code_for(GOOD, CODES), BASIS)
    for said in ("0750T (C4) Hand view made for DXR", RULE, "yes  image accepted", "Demo^Operator", "ACC-9"):
        assert said in text
    for uid in (BASIS.exam_uid, *BASIS.irradiation_events, *BASIS.instances, "hand-dxr@1", "dxr@1"):
        assert uid in text
    assert AT.isoformat() in text


def test_the_printed_proof_of_no_charge_shows_what_was_not_met():
    text = proof_text(code_for(replace(GOOD, accepted=False, release=None), CODES), BASIS)
    assert text.startswith("Charge: none\n")
    assert "NO   image accepted" in text
    assert "Released: no" in text


@settings(deadline=None)
@given(facts)
def test_the_proof_is_the_same_after_json(found):
    proof = proof_json(code_for(found, CODES), BASIS)
    again = json.loads(json.dumps(proof))
    assert again == proof
    assert (again["released"] is not None) == bool(found.release and found.release.by.strip())
    assert list(again["conditions"].values()).count(False) == sum(
        not met for _, met in code_for(found, CODES).proof
    )


def test_a_charge_without_a_code_is_not_due_whoever_released_it():
    assert not Charge(None, (), RELEASE).due


@pytest.mark.hazard("false-billing")
def test_a_released_charge_waits_for_the_order_of_an_emergency_and_says_so():
    found = code_for(replace(GOOD, ordered=False), CODES)
    assert found.code is not None
    assert found.released
    assert not found.due
    assert "waits for the exam to be joined to its order" in found.text
