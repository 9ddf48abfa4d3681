"""The recorder: every exam again, step by step, from what the journal says and nothing else."""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station import wording
from station.calibrate import calibrate
from station.devices import SwitchStage
from station.exam import Purpose
from station.journal import Entry, Journal
from station.recording import exams, moment_at, steps
from station.states import State, Trigger

NOW = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
SOURCE = Path(__file__).parents[1] / "station"


@pytest.fixture
def reviewed(make_station, job_for):
    """A station with one exam that was accepted, and its UID."""
    operator = make_station()
    job = job_for(operator)
    operator.controller.sign_in("op1", "technologist")
    operator.expose(job)
    operator.wait(lambda s: s.outcome is not None, "analysis")
    operator.controller.submit(Trigger.ACCEPT, exam=job.exam.uid, released_by="op1")
    operator.wait(lambda s: s.state is State.STANDBY, "standby")
    return operator, job.exam.uid


def replay(operator, uid):
    return steps(operator.controller.parts.journal, uid)


def listed(operator):
    parts = operator.controller.parts
    return exams(parts.journal, parts.spool)


def at(replayed, name, kind=None):
    return next(n for n, step in enumerate(replayed) if step.name == name and kind in {None, step.kind})


# --- the list of exams ------------------------------------------------------------------------------------


def test_an_accepted_exam_is_listed_with_its_patient_its_end_and_its_exposures(reviewed):
    operator, uid = reviewed
    recorded = listed(operator)[0]
    assert (recorded.uid, recorded.ended, recorded.exposures) == (uid, "accepted", 1)
    assert recorded.opened_at == replay(operator, uid)[0].at
    assert not recorded.calibration
    assert recorded.exam().item.patient.name == "Test^Person"


def test_an_exam_whose_folder_is_gone_is_still_listed_without_a_person(reviewed):
    operator, uid = reviewed
    spool = operator.controller.parts.spool
    (spool.root / uid).rename(spool.root.parent / "moved")
    recorded = listed(operator)[0]
    assert (recorded.uid, recorded.exam()) == (uid, None)


def test_exams_are_listed_newest_first_each_with_how_it_ended(make_station, job_for):
    operator = make_station()
    cancelled, abandoned, running = job_for(operator), job_for(operator), job_for(operator)
    operator.controller.submit(Trigger.OPEN_EXAM, job=cancelled)
    operator.controller.submit(Trigger.CANCEL_EXAM, reason="110507")
    operator.controller.submit(Trigger.OPEN_EXAM, job=abandoned)
    operator.pass_time(0.1)
    again = make_station()  # and the exam of the process before is given up
    again.controller.submit(Trigger.OPEN_EXAM, job=running)
    again.pass_time(0.1)
    assert [(one.uid, one.ended, one.exposures) for one in listed(again)] == [
        (running.exam.uid, "not finished", 0),
        (abandoned.exam.uid, "abandoned", 0),
        (cancelled.exam.uid, "cancelled", 0),
    ]


def test_calibrations_are_listed_as_such(make_station):
    operator = make_station()
    calibrate(operator)
    found = listed(operator)
    assert found
    assert all(one.calibration and one.exposures == 1 and one.ended == "accepted" for one in found)


def test_the_code_of_the_proposed_charge_is_listed_also_for_an_exam_of_a_former_run(
    make_station, job_for, mocker
):
    first = make_station()
    job = job_for(first)
    first.expose(job)
    first.wait(lambda s: s.outcome is not None, "analysis")
    mocker.patch("station.case.finish", side_effect=KeyboardInterrupt)  # the process dies in ACCEPT
    first.controller.submit(Trigger.ACCEPT)
    with pytest.raises(KeyboardInterrupt):
        first.controller.step()
    mocker.stopall()
    second = make_station()
    second.pass_time(0.1)
    issued = [s for s in replay(second, job.exam.uid) if s.name == "issued"]
    assert len(issued) == 1  # told once, not at every step
    assert listed(second)[0].code == issued[0].detail["code"]
    assert "for-processing.dcm" in issued[0].detail["objects"]


def test_a_rejected_image_whose_objects_were_refused_does_not_end_its_exam(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    for kind, name in (("trigger", "open_exam"), ("trigger", "reject"), ("device", "objects-refused")):
        journal.record((kind, name), "positioning", NOW, "1.2", {})
    assert exams(journal, None)[0].ended == "not finished"
    journal.record(("refusal", "accept"), "positioning", NOW, "1.2", {})
    assert exams(journal, None)[0].ended == "not finished"
    journal.close()


# --- step by step -----------------------------------------------------------------------------------------


def test_a_replay_begins_with_the_opening_and_tells_the_exam_in_order(reviewed):
    replayed = replay(*reviewed)
    assert (replayed[0].name, replayed[0].offset_ms) == ("open_exam", 0)
    order = ["open_exam", "prepare", "devices_ready", "expose", "exposure_ended", "frame_stored", "accept"]
    triggers = [step.name for step in replayed if step.kind == "trigger"]
    assert [name for name in triggers if name in order] == order
    assert replayed[at(replayed, "expose", "trigger")].state == State.EXPOSING
    assert {step.who for step in replayed} == {"op1, technologist"}
    assert not any(step.grave for step in replayed)


def test_offsets_are_what_the_clock_says(reviewed):
    replayed = replay(*reviewed)
    for before, after in pairwise(replayed):
        assert after.offset_ms == pytest.approx((after.at - replayed[0].at).total_seconds() * 1000)
        assert after.since_previous_ms == pytest.approx(after.offset_ms - before.offset_ms)
    assert replayed[-1].offset_ms > 100


def test_the_opening_says_which_hand_and_the_delivery_says_its_dose(reviewed):
    replayed = replay(*reviewed)
    assert replayed[0].sentence == "exam opened: left hand"
    assert replayed[0].detail["purpose"] == Purpose.PATIENT
    assert "Person" not in json.dumps([dict(step.detail) for step in replayed])
    assert re.match(
        r"delivered [\d.]+ kV, [\d.]+ mAs in .*, normal; ", replayed[at(replayed, "delivered")].sentence
    )


def test_at_every_step_the_dose_is_what_was_reported_until_then(reviewed):
    replayed = replay(*reviewed)
    told, delivered = at(replayed, "expose", "device"), at(replayed, "delivered")
    before, between, after = (moment_at(replayed, n) for n in (told - 1, told, delivered))
    assert (before.exposures, before.mas, before.dap_ugym2, before.doses_unknown) == (0, 0, None, 0)
    assert (between.exposures, between.mas, between.doses_unknown) == (1, 0, 1)
    assert (after.exposures, after.doses_unknown) == (1, 0)
    assert after.mas == pytest.approx(1.0, rel=0.02)
    assert after.dap_ugym2 == pytest.approx(replayed[delivered].detail["dap_ugym2"])


@pytest.mark.hazard("dose-unrecorded")
def test_a_replay_never_says_zero_for_a_dose_that_nobody_reported(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    journal.record(("device", "expose"), "exposing", NOW, "1.2", {"exposure": "1.2.1"})
    journal.record(("device", "expose-unclear"), "exposing", NOW, "1.2", {"message": "silence"})
    replayed = steps(journal, "1.2")
    assert moment_at(replayed, 1).doses_unknown == 1
    assert replayed[1].grave
    journal.record(("device", "delivered"), "exposing", NOW, "1.2", {"exposure": "1.2.1", "mas": 1.0})
    journal.record(("device", "delivered"), "review", NOW, "1.2", {"exposure": "1.2.1", "mas": 0.4})
    moment = moment_at(steps(journal, "1.2"), 3)
    assert (moment.exposures, moment.mas, moment.doses_unknown) == (1, 0.4, 0)  # corrected, not added
    journal.close()


def test_an_exposure_that_the_generator_refused_has_no_dose(make_station, job_for, mocker):
    from station.devices import DeviceRefused

    operator = make_station()
    job = job_for(operator)
    operator.to_ready(job)
    generator = operator.controller.parts.equipment.generator
    mocker.patch.object(generator, "expose", side_effect=DeviceRefused("not now"))
    operator.press(SwitchStage.EXPOSE)
    operator.wait(lambda s: s.state is State.POSITIONING, "the refusal")
    replayed = replay(operator, job.exam.uid)
    refused = at(replayed, "refused_by_generator")
    assert replayed[refused].grave
    assert "no radiation: not now" in replayed[refused].sentence
    moment = moment_at(replayed, len(replayed) - 1)
    assert (moment.exposures, moment.mas, moment.doses_unknown) == (1, 0, 0)


def test_a_refusal_shows_what_stood_in_the_way_until_the_next_move(make_station, job_for):
    operator = make_station(door_closed=False)
    job = job_for(operator)
    operator.controller.submit(Trigger.OPEN_EXAM, job=job)
    operator.pass_time(2)
    operator.press(SwitchStage.PREPARE)
    operator.pass_time(0.1)
    operator.controller.submit(Trigger.CANCEL_EXAM, reason="110507")
    operator.pass_time(0.1)
    replayed = replay(operator, job.exam.uid)
    refusal = at(replayed, "prepare", "refusal")
    assert replayed[refusal].grave
    assert "in the way: door-open" in replayed[refusal].sentence
    assert moment_at(replayed, refusal).findings == ("door-open",)
    assert moment_at(replayed, at(replayed, "cancel_exam")).findings == ()
    assert replayed[at(replayed, "cancel_exam")].sentence == "exam cancelled: Patient did not arrive"


def test_what_the_network_did_later_belongs_to_the_exam_and_keeps_its_state(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    journal.record(("trigger", "accept"), "standby", NOW, "1.2", {})
    parked = {"destination": "pacs", "message": "0xA700", "alarm": True}
    journal.record(("network", "parked"), "", NOW + timedelta(seconds=2), "1.2", parked)
    step = steps(journal, "1.2")[1]
    assert (step.state, step.offset_ms, step.grave) == ("standby", 2000, True)
    assert step.sentence == "pacs refused for good, a person must look: 0xA700"
    journal.close()


def test_a_clock_that_was_set_back_makes_no_time_run_backwards_nor_stand_still(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    for seconds in (0, 1, -3600, -3598):
        journal.record(("trigger", "release"), "ready", NOW + timedelta(seconds=seconds), "1.2", {})
    assert [step.offset_ms for step in steps(journal, "1.2")] == [0, 1000, 1000, 3000]
    journal.close()


def test_a_row_of_a_name_nobody_knows_is_shown_as_it_is(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    journal.record(("oracle", "moon_phase"), "review", NOW, "1.2", {"message": "full"})
    (step,) = steps(journal, "1.2")
    assert (step.kind, step.sentence, step.state) == ("oracle", "moon phase: full", "review")
    journal.close()


def test_an_exam_nobody_knows_has_no_steps_and_no_moment(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    assert steps(journal, "1.2") == ()
    with pytest.raises(IndexError, match="step 0 asked"):
        moment_at((), 0)
    journal.close()


@pytest.mark.parametrize("index", [-1, 2])
def test_a_step_that_is_not_there_is_refused(index):
    row = ("trigger", "release", "ready", 0, {})
    with pytest.raises(IndexError, match=f"step {index} asked, this exam has steps 0 to 1"):
        moment_at(steps(Written([row, row]), "1.2"), index)


# --- words for everything -----------------------------------------------------------------------------------


def test_every_trigger_of_the_table_has_words():
    assert [trigger for trigger in Trigger if not wording.knows("trigger", trigger)] == []


def test_every_device_event_that_the_station_writes_has_words():
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCE.glob("*.py"))
    written = set(re.findall(r"\bnote\(\s*\"([a-z-]+)\"", text))
    assert len(written) > 8
    assert {name for name in written if not wording.knows("device", name)} == set()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
KEYS = ["by", "role", "operator", "message", "reason", "findings", "exposure", "mas", "dap_ugym2", "end"]
KEYS += ["side", "purpose", "code", "alarm", "jobs", "released_by", "physician", "destination", "technique"]
NAMES = [*Trigger, "expose", "delivered", "issued", "expose-unclear", "stored", "positioning-confirmed"]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["trigger", "refusal", "device", "network"]) | st.text(max_size=5),
        st.sampled_from([str(name) for name in NAMES]) | st.text(max_size=8),
        st.sampled_from([*map(str, State), ""]),
        st.integers(-(10**6), 10**6),
        st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), JSON, max_size=5),
    ),
    min_size=1,
    max_size=12,
)


class Written:
    """Stands for a journal: rows as they come back from the disk."""

    def __init__(self, rows):
        self._entries = [
            Entry(
                n, NOW + timedelta(milliseconds=ms), kind, name, state, "1.2", json.loads(json.dumps(detail))
            )
            for n, (kind, name, state, ms, detail) in enumerate(rows)
        ]

    def entries(self, _):
        return iter(self._entries)

    def landmarks(self, _):
        return iter(self._entries)


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_whatever_was_written_is_shown_row_by_row_and_time_never_runs_back(rows):
    replayed = steps(Written(rows), "1.2")
    assert [(step.kind, step.name) for step in replayed] == [(kind, name) for kind, name, *_ in rows]
    offsets = [step.offset_ms for step in replayed]
    assert offsets == sorted(offsets)
    assert offsets[0] == 0
    assert all(step.sentence for step in replayed)
    for index, step in enumerate(replayed):
        moment = moment_at(replayed, index)
        assert moment.state == step.state
        assert moment.exposures >= moment.doses_unknown >= 0
    assert len(exams(Written(rows), None)) == 1


@settings(max_examples=20, deadline=None)
@given(ROWS)
def test_rows_come_back_from_the_disk_as_they_were_written(tmp_path_factory, rows):
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal.db")
    for kind, name, state, ms, detail in rows[:4]:
        journal.record((kind, name), state, NOW + timedelta(milliseconds=ms), "1.2", detail)
    assert len(steps(journal, "1.2")) == len(rows[:4])
    assert [one.uid for one in exams(journal, None)] == ["1.2"]
    journal.close()
