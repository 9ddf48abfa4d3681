"""Days at the terminal on a panel fine enough to be measured: the result, and who stands for its charge."""

import json
import re
from dataclasses import replace
from datetime import timedelta

import pydicom
import pytest

from station.assembly import assemble
from station.calibrate import calibrate
from station.config import load_room
from station.exam import new_uid
from station.hospital import Endpoint, Hospital, Messages
from station.operate import Operator as Hands
from station.operators import Operator, Role
from station.outbox.job import Kind
from station.states import State
from station.ui.charts import AgeChart

PANEL = {"rows": 1500, "columns": 1200, "spacing_mm": 0.2}  # the coarsest that is measured: a second a frame
EARLIER = timedelta(days=1700)  # the earlier visit


@pytest.fixture(scope="session")
def small_room():
    """The simulated room, its panel just fine enough."""
    room = load_room("sim")
    detector = room.devices.detector.model_copy(update={"settings": PANEL})
    devices = room.devices.model_copy(update={"detector": detector})
    return room.model_copy(update={"devices": devices})


@pytest.fixture(scope="session")
def calibration(small_room, tmp_path_factory):
    """This panel's."""
    folder = tmp_path_factory.mktemp("fine")
    controller = assemble(small_room, {}, folder, real_time=False)
    controller.start()
    calibrate(Hands(controller, lambda _: None))
    controller.close()
    controller.parts.journal.close()
    return folder / "calibration"


@pytest.fixture
def item(item):
    """An order that can be charged."""
    return replace(item, requested_procedure_id="RP1")


@pytest.fixture
def station(orders, item):
    """Keywords of a station that tells charges to somebody; its orders are two of one person's hand."""
    again = replace(
        orders[0],
        item=replace(item, accession_number="ACC3", study_instance_uid=new_uid()),
        accession_number="ACC3",
    )
    orders[:] = [orders[0], again]
    billing = Endpoint(host="127.0.0.1", port=1, plain=True)
    return {"hospital": Hospital(name="test", ae_title="DXR1", messages=Messages(charges=billing))}


PEOPLE = {  # by their id
    "a": ("Test^Technologist", Role.TECHNOLOGIST),
    "p": ("Test^Physicist", Role.PHYSICIST),
    "d": ("Test^Physician", Role.PHYSICIAN),
}


@pytest.fixture
def sign_in():
    """Three people with their roles."""

    def let_in(id_, _pin):
        name, role = PEOPLE[id_]
        return Operator(id=id_, name=name, role=role, pin="")

    return let_in


async def signs_in(t, id_):
    await t.at("SignIn")
    await t.press(id_, "enter", "enter")
    await t.seen(lambda: t.app.operator is not None, f"{id_} signed in")


async def changes_to(t, id_):
    await t.press("ctrl+l")
    await signs_in(t, id_)


async def until_the_result(t):
    await t.open()
    await t.ready()
    await t.expose()
    await t.sees("DXR-BMD")


OFFERED = {"final": "final report", "release": "release the charge as", "later": "releases the result later"}


async def choices(t):
    """How the image may be accepted."""
    await t.press("a")
    await t.at("Choice")
    await t.sees(OFFERED["later"])
    offered = {name for name, words in OFFERED.items() if words in t.text}
    await t.press("escape")
    await t.at("review")
    return offered


async def accepts(t, choice):
    """By the words of the choice."""
    await t.press("a")
    await t.at("Choice")
    await t.sees(choice)
    number = re.search(rf"(\d)  [^\d\n]*{re.escape(choice)}", t.text)[1]
    await t.press(number)
    await t.reach(State.STANDBY)
    await t.at("worklist")
    return t.attended.snapshot.finished.study.exam


def charged(t, exam):
    """The charge's proof on disk, and the messages for billing that wait for their receiver."""
    parts = t.attended.parts
    proof = json.loads((parts.spool.folder(exam) / "charge.json").read_text())
    return proof, [job for job in parts.dispatch.outbox.jobs(exam.uid) if job.kind is Kind.CHARGE]


def an_earlier_visit(t, before, exam):
    """As the archive would send it: the report of `before`, made years ago; the day."""
    parts = t.attended.parts
    report = pydicom.dcmread(parts.spool.folder(before) / "measurements.dcm")
    (taken,) = [
        element
        for element in report.iterall()
        if element.keyword == "Date" and element.value == f"{before.opened_at.astimezone():%Y%m%d}"
    ]
    visit = before.opened_at.astimezone().date() - EARLIER
    taken.value = f"{visit:%Y%m%d}"
    folder = parts.dispatch.earlier_folder(exam)
    folder.mkdir(exist_ok=True)
    report.save_as(folder / f"prior-{report.SOPInstanceUID}.dcm")
    return visit


def test_a_result_stands_with_its_uncertainty_its_scores_and_the_earlier_visit_and_is_released_at_once(
    play, station, sign_in
):
    async def story(t):
        await signs_in(t, "a")
        await until_the_result(t)
        found = t.attended.snapshot.outcome.result
        bmd = found.bmd_g_cm2
        await t.sees(f"DXR-BMD {bmd.value:.3f} ± {bmd.u95:.3f} g/cm²")
        await t.sees(f"T {found.t_score:+.1f}   Z {found.z_score:+.1f}")
        first = await accepts(t, "release the charge as Test^Technologist")
        proof, (message,) = charged(t, first)
        assert proof["code"]["value"] == "0750T"
        assert proof["released"]["by"] == "Test^Technologist"
        sent = t.attended.parts.dispatch.outbox.path(message).read_bytes().decode()
        assert "0750T" in sent
        decision = t.attended.parts.spool.record(t.attended.parts.spool.folder(first)).decision
        assert (decision.release.by, decision.release.physician) == ("Test^Technologist", False)
        await t.press("f7")
        await t.sees("accepted 0750T, released", "charge released by TEST, Technologist")
        await t.press("f2")
        await t.at("worklist")
        await t.press("down", "enter")
        await t.at("Confirm")
        await t.press("l")
        await t.reach(State.POSITIONING)
        taken = an_earlier_visit(t, first, t.attended.snapshot.job.exam)
        await t.ready()
        await t.expose()
        now = t.attended.snapshot.outcome.result.bmd_g_cm2
        age, then = (first.item.patient.age_at(day) for day in (first.opened_at.date(), taken))
        chart = t.app.screen.query_one(AgeChart)
        await t.seen(lambda: "earlier" in chart.words, "the earlier visit")
        assert f"{now.value:.3f} ± {now.u95:.3f} g/cm² at {int(age)} years" in chart.words
        assert f"earlier {bmd.value:.3f} at {int(then)}" in chart.words
        await t.sees("●", "○")

    play(story, sign_in=sign_in, **station)


def test_what_was_accepted_without_release_waits_for_somebody_who_may(play, station, sign_in):
    async def story(t):
        await signs_in(t, "d")
        await until_the_result(t)
        assert await choices(t) == {"final", "release", "later"}
        await changes_to(t, "a")
        await t.at("review")
        assert await choices(t) == {"release", "later"}, "who is no physician has interpreted nothing"
        exam = await accepts(t, "somebody releases the result later")
        proof, messages = charged(t, exam)
        assert (proof["code"]["value"], proof["released"], messages) == ("0750T", None, [])
        assert "waits for a person's release" in proof["text"]
        await t.press("f7")
        await t.sees("accepted 0750T, waits", "charge waits for release")
        await changes_to(t, "p")
        await t.press("f7")
        await t.sees("waits for release", "×Release")
        await t.press("r")
        await t.is_told("not for the role physicist; another person must sign in")
        t.turn(20)
        assert charged(t, exam) == (proof, [])
        await changes_to(t, "a")
        await t.press("f7")
        await t.sees("waits for release", "step 1 of")
        await t.press("r")
        await t.is_told("release: done")
        await t.sees("accepted 0750T, released", "charge released by TEST, Technologist")
        proof, (message,) = charged(t, exam)
        assert proof["released"]["by"] == "Test^Technologist"
        assert "0750T" in t.attended.parts.dispatch.outbox.path(message).read_bytes().decode()
        await t.press("r")
        await t.is_told("is released already, by Test^Technologist")
        await changes_to(t, "d")
        await t.press("f7")
        await t.sees("released by TEST, Technologist")
        await t.press("r")
        await t.sees("charge released by TEST, Physician")
        final, messages = charged(t, exam)
        assert final["released"]["physician"]
        assert messages == [message], "the charge leaves once"

    entries = list(play(story, sign_in=sign_in, **station).parts.journal.entries())
    deeds = [entry.detail for entry in entries if (entry.kind, entry.name) == ("operator", "release")]
    assert [(deed["operator"], deed["role"]) for deed in deeds] == [
        *[("a", "technologist")] * 2,
        ("d", "physician"),
    ]
