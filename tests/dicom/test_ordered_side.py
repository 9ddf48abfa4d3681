"""The side of an order: every place where a RIS puts it, and no guess where they disagree."""

from datetime import UTC, datetime

import pytest
from pydicom import Dataset
from worklist_rigs import code, match

from station.dicom.scheduled import rows_of
from station.exam import Side
from station.orders import Row

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LEFT, RIGHT = code("7771000", "SCT", "Left"), code("24028007", "SCT", "Right")
PLAIN = {"step_ScheduledProcedureStepDescription": "Hand PA", "RequestedProcedureDescription": "Hand"}


def row(codes: dict | None = None, **changes) -> Row:
    (one,) = rows_of(match(**(PLAIN | changes)), codes or {}, NOW)
    return one


def in_context(*terms: Dataset) -> dict:
    protocol = code("0750T")
    protocol.ProtocolContextSequence = []
    for term in terms:
        context = Dataset()
        context.ValueType = "CODE"
        context.ConceptNameCodeSequence = [code("272741003", "SCT", "Laterality")]
        context.ConceptCodeSequence = [term]
        protocol.ProtocolContextSequence.append(context)
    return {"step_ScheduledProtocolCodeSequence": [protocol]}


def region(term: Dataset) -> dict:
    hand = code("85562004", "SCT", "Hand")
    hand.AnatomicRegionModifierSequence = [term]
    return {"AnatomicRegionSequence": [hand]}


PLACES = {
    "laterality": {"Laterality": "R"},
    "image laterality": {"ImageLaterality": "R"},
    "laterality in the step": {"step_Laterality": "R"},
    "protocol context": in_context(RIGHT),
    "region's modifier": region(RIGHT),
    "region's modifier of old": region(code("G-A100", "SRT", "Right")),
    "modifier behind the code": {"RequestedProcedureCodeSequence": [code("0750T-RT")]},
    "modifier after a space": {"RequestedProcedureCodeSequence": [code("0750T RT")]},
    "modifier as a code": {"RequestedProcedureCodeSequence": [code("0750T"), code("RT", "HCPCS", "")]},
    "code's meaning": {"RequestedProcedureCodeSequence": [code("0750T", meaning="DXR right hand")]},
    "step's description": {"step_ScheduledProcedureStepDescription": "HAND_RT PA"},
    "procedure's description": {"RequestedProcedureDescription": "Hand (R) bone density"},
}


@pytest.mark.parametrize("place", PLACES)
def test_the_side_is_found_in_every_place(place):
    one = row(**PLACES[place])
    assert one.problems == ()
    assert one.item.side is Side.RIGHT


@pytest.mark.parametrize("place", [place for place in PLACES if place != "laterality"])
def test_a_place_that_contradicts_another_makes_the_row_unusable(place):
    one = row(**(PLACES[place] | {"Laterality": "L"}))
    assert (one.item, [reason.id for reason in one.problems]) == (None, ["side-contradictory"])
    assert "left by Laterality" in one.problems[0].message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Laterality": "U"},
        {"RequestedProcedureDescription": "hand R/O osteoporosis"},
        {"RequestedProcedureDescription": "non-dominant hand of a right-handed person"},
        {"RequestedProcedureDescription": "left hand dominant"},
        {"RequestedProcedureDescription": "Cleft, bright, alright, salt"},
        {"ReasonForTheRequestedProcedure": "fracture of the right hand"},
        {"RequestedProcedureCodeSequence": [code("0750T"), code("L", "99SITE", "")]},
    ],
)
def test_what_is_no_side_is_not_taken_for_one(changes):
    one = row(**changes)
    assert (one.item, [reason.id for reason in one.problems]) == (None, ["side-missing"])


@pytest.mark.parametrize(
    "changes",
    [
        {"Laterality": "B"},
        {"RequestedProcedureDescription": "both hands"},
        {"RequestedProcedureDescription": "Hands bilateral"},
        {"RequestedProcedureDescription": "hand LT + RT"},
        {"RequestedProcedureCodeSequence": [code("0750T-50")]},
        in_context(LEFT, RIGHT),
    ],
)
def test_two_hands_are_two_orders(changes):
    assert [reason.id for reason in row(**changes).problems] == ["side-contradictory"]


def test_being_right_handed_does_not_hide_the_side():
    assert row(RequestedProcedureDescription="left hand, right-handed").item.side is Side.LEFT


def test_the_sites_code_may_stand_for_one_hand():
    asked = {
        "step_ScheduledProtocolCodeSequence": [],
        "RequestedProcedureCodeSequence": [code("D1", "99S", "")],
    }
    assert row({"99S:D1": "dxr-right"}, **asked).item.side is Side.RIGHT
    assert row({"99S:D1": "dxr"}, **asked).item is None
