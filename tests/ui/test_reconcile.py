"""An exam gets its order while the station goes on: chosen at the terminal, on every object after."""

from dataclasses import replace

import pydicom
import pytest

from station.exam import Side, new_uid
from station.hospital import Archive, Hospital
from station.states import State


@pytest.fixture
def station():
    """Keywords of a station whose archive is down: nothing has left it yet."""
    archive = Archive(host="127.0.0.1", port=1, ae_title="NONE", plain=True)
    return {"hospital": Hospital(name="test", ae_title="DXR1", archives={"main": archive})}


async def emergency_is_examined(t):
    await t.reach(State.STANDBY)
    await t.press("f8")
    await t.at("Emergency")
    await t.press(*"Nobody", "enter", "enter", "enter", "enter")
    await t.at("Confirm")
    await t.press("l")
    await t.ready()
    await t.expose()
    await t.accept()
    return t.attended.snapshot.finished.study.exam


async def asks_to_join(t, typed):
    await t.press("f7")
    await t.at("recorder")
    await t.sees("NOBODY")
    await t.press("j")
    await t.at("Join")
    await t.press(*typed, "enter", "enter")


def identity(t, exam):
    """What the objects on disk say."""
    parts = t.attended.parts
    found = [pydicom.dcmread(path) for path in parts.spool.folder(exam).glob("*.dcm")]
    assert found
    return {(str(one.PatientName), one.PatientID) for one in found}, {one.SOPInstanceUID for one in found}


@pytest.mark.hazard("wrong-patient")
def test_an_emergencys_exam_is_joined_to_its_order_at_the_running_station(play, station, item):
    async def story(t):
        exam = await emergency_is_examined(t)
        _, before = identity(t, exam)
        await asks_to_join(t, "acc1")
        await t.at("Choice")
        await t.sees("NOBODY", "TEST, Person", "born 1961-05-04", "order ACC1")
        await t.press("2")
        await t.is_told("reconcile: done")
        await t.at("recorder")
        await t.sees("TEST, Person")
        who, uids = identity(t, exam)
        assert who == {(item.patient.name, item.patient.id)}
        assert uids == before, "nothing was sent: every object keeps its UID"
        (deed,) = [
            e for e in t.attended.parts.journal.entries() if (e.kind, e.name) == ("operator", "reconcile")
        ]
        assert (deed.exam, deed.detail["order"], bool(deed.detail["operator"])) == (exam.uid, "ACC1", True)

    play(story, **station)


def test_an_exam_stays_as_it_is_by_a_mere_enter_and_where_only_the_other_hands_orders_are(
    play, station, orders
):
    async def story(t):
        exam = await emergency_is_examined(t)
        before = identity(t, exam)
        await asks_to_join(t, "")
        await t.at("Choice")
        await t.press("enter")
        await t.at("recorder")
        assert identity(t, exam) == before
        orders[0] = replace(orders[0], item=replace(orders[0].item, side=Side.RIGHT))
        t.attended.liaison.worklist.answer = replace(t.attended.liaison.worklist.answer, rows=tuple(orders))
        await asks_to_join(t, "")
        await t.sees("no such order", "orders for the left hand")
        await t.press("escape")
        await t.at("recorder")
        assert identity(t, exam) == before

    play(story, **station)


def test_without_a_worklist_or_without_an_image_nothing_is_joined_and_why_is_said(play, station, orders):
    again = replace(orders[0].item, accession_number="ACC4", study_instance_uid=new_uid())
    orders.append(replace(orders[0], item=again, accession_number="ACC4"))

    async def story(t):
        await t.open()
        await t.reach(State.POSITIONING)
        await t.press("c")
        await t.at("Choice")
        await t.press("1")
        await t.reach(State.STANDBY)
        await t.press("f7")
        await t.at("recorder")
        await t.sees("TEST, Person")
        await t.press("j")
        await t.at("Join")
        await t.press("enter", "enter")
        await t.at("Choice")
        await t.press("2")
        await t.is_told("has no accepted image")
        t.attended.liaison.worklist.answer = None
        await t.press("j")
        await t.is_told("there is no worklist")

    play(story, **station)
