"""The hospital inside a station that has none: a credible day, and gone at the end."""

import socket
import threading
import time
from datetime import UTC, date, datetime

import pytest

from simulators.pacs.day import whole_day
from station.dicom.worklist import query
from station.exam import Sex, Side
from station.orders import OTHER_PROCEDURE
from station.simulate import demo_hospital


@pytest.fixture(scope="module")
def answer():
    with demo_hospital() as hospital:
        yield query(hospital, datetime.now(UTC))


def people(answer):
    return {row.accession_number: row.item.patient for row in answer.usable}


def test_the_first_order_that_can_be_used_is_for_the_left_hand_of_a_woman(answer):
    first = min(answer.usable, key=lambda row: row.scheduled_at)
    assert (first.item.side, first.item.patient.sex) == (Side.LEFT, Sex.FEMALE)
    assert first is answer.usable[0]


def test_the_day_has_both_sides_women_and_men_of_45_to_88_from_morning_to_afternoon(answer):
    rows, patients = answer.usable, people(answer).values()
    today = date.today()  # noqa: DTZ011  local, as the worklist's
    ages = [int(patient.age_at(today)) for patient in patients if patient.birth_date]
    assert len(rows) == 12
    assert {row.item.side for row in rows} == set(Side)
    assert {patient.sex for patient in patients} == {Sex.FEMALE, Sex.MALE}
    assert (min(ages), max(ages)) == (45, 88)
    assert {row.item.procedure_code for row in rows} == {"0750T"}
    assert {row.scheduled_at.date() for row in answer.rows} == {today}
    assert rows[-1].scheduled_at.hour - rows[0].scheduled_at.hour >= 7
    assert len({row.item.study_instance_uid for row in rows}) == 12


def test_names_of_other_scripts_arrive_whole_and_one_birth_date_is_not_known(answer):
    names = [patient.name for patient in people(answer).values()]
    assert "Demo^Hanako=試験^花子=しけん^はなこ" in names
    assert "Демо^Мария" in names
    assert sum(patient.birth_date is None for patient in people(answer).values()) == 1


def test_one_order_is_incomplete_and_one_for_another_procedure_and_both_say_so(answer):
    problems = {row.accession_number[-2:]: [one.id for one in row.problems] for row in answer.unusable}
    assert set(problems) == {"13", "14"}
    assert OTHER_PROCEDURE in problems["14"]
    (incomplete,) = [row for row in answer.unusable if row.accession_number.endswith("13")]
    assert "StudyInstanceUID" in incomplete.problems[0].message


@pytest.mark.parametrize("day", [date(2026, 1, 1), date(2026, 7, 14), date(2028, 2, 29), date(2026, 12, 31)])
def test_ages_hold_on_every_day_and_tomorrow_brings_other_studies(day):
    ages = {}
    for order in whole_day(day):
        if order.birth_date:
            born = datetime.strptime(order.birth_date, "%Y%m%d").date()  # noqa: DTZ007  a date only
            ages[order.patient_id] = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    assert ages["DEMO-01"] == 67
    assert (min(ages.values()), max(ages.values())) == (45, 88)
    tomorrow = whole_day(date(2030, 5, 5))
    assert not {order.accession for order in whole_day(day)} & {order.accession for order in tomorrow}


def test_two_hospitals_stand_side_by_side_and_nothing_of_them_is_left():
    before = set(threading.enumerate())
    with demo_hospital() as one, demo_hospital() as other:
        ports = [
            port
            for h in (one, other)
            for port in (h.port, h.worklist.port, h.archives["pacs"].port, h.messages.results.port)
        ]
        assert len(set(ports)) == len(ports) == 8
        assert one.worklist.host == one.bind == "127.0.0.1"
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    deadline_s = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not set(threading.enumerate()) - before
