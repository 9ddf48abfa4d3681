"""Who may work here, and how they are let in."""

import string

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from station import cli
from station.check import check_files
from station.clock import VirtualClock
from station.operators import (
    NotAllowed,
    Role,
    Task,
    _fits,
    hashed,
    load_operators,
    local_operator,
    may,
    needs,
)
from station.yaml_file import BadFile

RIGHT, WRONG = "2468", "0000"


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def people(clock):
    return load_operators("operators-example", clock)


def entry(**changes):
    return {"id": "tech1", "name": "Test^Person", "role": "technologist", "pin": ""} | changes


@pytest.fixture
def loaded(tmp_path):
    def load(*entries):
        path = tmp_path / "operators.yaml"
        path.write_text(yaml.safe_dump({"operators": list(entries)}), encoding="utf-8")
        return load_operators(str(path), VirtualClock())

    return load


def said(people, id_, pin):
    with pytest.raises(NotAllowed) as refused:
        people.sign_in(id_, pin)
    return str(refused.value)


# --- signing in -----------------------------------------------------------------------------------------


def test_the_right_pin_lets_its_person_in(people):
    operator = people.sign_in("tech1", RIGHT)
    assert (operator.name, operator.role) == ("Demo^Technologist", Role.TECHNOLOGIST)


@pytest.mark.hazard("wrong-patient")
def test_a_wrong_pin_another_persons_pin_and_an_unknown_name_are_refused_in_the_same_words(people):
    answers = {
        said(people, "tech1", WRONG),
        said(people, "tech1", "1357"),
        said(people, "tech1", ""),
        said(people, "nobody", RIGHT),
    }
    assert len(answers) == 1


def test_who_has_no_pin_is_not_asked_for_one(people):
    assert people.sign_in("physics", "").role is Role.PHYSICIST


@pytest.mark.parametrize("id_", ["tech1", "nobody"])
def test_after_five_wrong_tries_even_the_right_pin_waits_and_longer_each_time(people, clock, id_):
    for _ in range(5):
        assert "not right" in said(people, id_, WRONG)
    waits_s = []
    for _ in range(6):
        answer = said(people, id_, RIGHT)
        waits_s.append(int(answer.split("wait ")[1].split(" s")[0]))
        clock.sleep(waits_s[-1] - 0.5)
        assert "wait 1 s" in said(people, id_, RIGHT)
        clock.sleep(0.5)
        assert "not right" in said(people, id_, WRONG)
    assert waits_s == [5, 10, 20, 40, 60, 60]


def test_a_wait_ends_and_the_right_pin_begins_anew(people, clock):
    for _ in range(5):
        said(people, "tech1", WRONG)
    clock.sleep(5)
    people.sign_in("tech1", RIGHT)
    for _ in range(4):
        said(people, "tech1", WRONG)
    assert people.sign_in("tech1", RIGHT).id == "tech1"


def test_one_persons_wrong_tries_let_others_in_and_are_not_forgiven_by_them(people):
    for _ in range(4):
        said(people, "tech1", WRONG)
    assert people.sign_in("physics", "").id == "physics"
    said(people, "tech1", WRONG)
    assert "too many wrong tries" in said(people, "tech1", RIGHT)
    assert people.sign_in("doc1", "1357").id == "doc1"


def test_the_same_pin_is_kept_differently_each_time_and_never_readably():
    first, second = hashed("123456"), hashed("123456")
    assert first != second
    assert "123456" not in first + second


@settings(max_examples=8, deadline=None)  # every try takes its time on purpose
@given(st.text(min_size=4, max_size=12))
def test_every_pin_that_is_taken_lets_in_and_another_does_not(pin):
    people = load_operators("operators-example", VirtualClock())
    changed = people.people[0].model_copy(update={"pin": hashed(pin)})
    again = type(people)((changed,), VirtualClock())
    assert again.sign_in("tech1", pin) == changed
    assert "not right" in said(again, "tech1", pin + "0")


@pytest.mark.parametrize("pin", ["", "123", "1" * 65])
def test_a_pin_too_short_or_too_long_says_what_is_allowed(pin):
    with pytest.raises(ValueError, match="4 to 64 are allowed"):
        hashed(pin)


def test_no_message_and_no_printout_of_an_operator_shows_the_pins_hash(people):
    assert "scrypt" not in repr(people.people) + str(people.people[0])


# --- the file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([entry(), entry()], "operator 'tech1' is listed twice"),
        ([entry(role="chief")], "operators.0.role: .*'technologist', 'physician', 'physicist' or 'service'"),
        ([entry(pin="2468")], "operators.0.pin"),
        ([entry(name="Te\\st")], "without backslash"),
        ([entry(id="a b")], "operators.0.id"),
        ([entry(badge=1)], "operators.0.badge: unknown key; allowed here: id, name, role, pin"),
        ([{"id": "x", "name": "Test^Person", "role": "service"}], "operators.0.pin: is required and missing"),
        ([], "nobody is listed"),
    ],
)
def test_a_file_that_cannot_be_used_says_where_and_why(loaded, entries, problem):
    with pytest.raises(BadFile, match=problem):
        loaded(*entries)


def test_a_missing_file_says_what_to_give(tmp_path):
    with pytest.raises(BadFile, match=r"give a path ending in \.yaml"):
        load_operators(str(tmp_path / "none.yaml"))


def test_the_check_of_files_knows_operators_and_their_troubles(tmp_path):
    path = tmp_path / "people.yaml"
    path.write_text(yaml.safe_dump({"operators": [entry(role="chief")]}))
    (verdict,) = check_files([path])
    assert verdict["kind"] == "operators"
    assert "role" in verdict["problems"][0]


# --- what roles may do ------------------------------------------------------------------------------------


def test_only_a_physician_makes_a_report_final():
    assert needs(Task.RELEASE_REPORT) == {Role.PHYSICIAN}


def test_who_is_not_there_for_patients_exposes_and_judges_none():
    for role in (Role.PHYSICIST, Role.SERVICE):
        assert [task for task in Task if may(role, task)] == [Task.SERVICE, Task.CALIBRATE]


def test_every_task_has_somebody_who_may_do_it_and_is_known_by_its_name():
    assert all(needs(task) for task in Task)
    assert may(Role.TECHNOLOGIST, "exam")


def test_an_unknown_task_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"'radiate' is nothing .* known are exam, review"):
        may(Role.PHYSICIAN, "radiate")


def test_where_no_file_is_the_computers_user_may_do_all_but_release_a_report():
    operator = local_operator()
    assert operator.pin == ""
    assert {task for task in Task if not may(operator.role, task)} == {Task.RELEASE_REPORT}


@pytest.mark.parametrize("user", ["HOSPITAL\\x.y", "", "-", "ü", "a" * 99, None])
def test_any_user_name_of_a_computer_makes_an_operator(mocker, user):
    if user is None:
        mocker.patch("getpass.getuser", side_effect=KeyError("no such uid"))
    else:
        mocker.patch("getpass.getuser", return_value=user)
    allowed = set(string.ascii_letters + string.digits + "._-")
    assert set(local_operator().id) <= allowed


def test_a_pin_is_asked_twice_and_only_what_stands_for_it_is_printed():
    asked = CliRunner().invoke(cli.app, ["pin"], input="86420\n86420\n")
    kept = asked.stdout.strip()
    assert kept.startswith("scrypt$")
    assert "86420" not in kept
    assert _fits("86420", kept)
    assert not _fits("86421", kept)
    assert CliRunner().invoke(cli.app, ["pin"], input="12\n12\n").exit_code == 2
