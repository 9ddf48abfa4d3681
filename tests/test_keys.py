import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from station.actions import ACTIONS, Action, Situation, actions
from station.attended import RADIATION, Task
from station.controller import Snapshot
from station.keys import Keys, key_map, load_keys, shown
from station.lookout import View
from station.operators import Operator, Role, needs
from station.operators import Task as Duty
from station.states import State
from station.ui.app import StationApp
from station.yaml_file import BadFile, shipped

PLACES = ("everywhere", "worklist", "exam", "review", "outbox", "service", "recorder")
# What each of these is for a role, and the state in which nothing else stands in the way
DUTIES = {
    "choose": (Duty.EXAM, State.STANDBY),
    "emergency": (Duty.EXAM, State.STANDBY),
    "cancel_exam": (Duty.EXAM, State.POSITIONING),
    "acknowledge": (Duty.EXAM, State.EXPOSED_NO_IMAGE),
    "reject": (Duty.REVIEW, State.REVIEW),
    "service": (Duty.SERVICE, State.STANDBY),
    "calibrate": (Duty.CALIBRATE, State.STANDBY),
    "release": (Duty.RELEASE_CHARGE, State.STANDBY),
    "reconcile": (Duty.REVIEW, State.STANDBY),
}


def given_keys() -> dict[str, dict[str, str]]:
    return yaml.safe_load(shipped("config", "keys.yaml").read_text(encoding="utf-8"))


def refused(folder: Path, keys: object) -> str:
    file = folder / "keys.yaml"
    file.write_text(yaml.safe_dump(keys), encoding="utf-8")
    with pytest.raises(BadFile) as caught:
        load_keys(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def action(name: str) -> Action:
    return next(one for one in ACTIONS if one.name == name)


def somebody(role: Role) -> Operator:
    return Operator(id="test", name="Test^Person", role=role, pin="")


def situation(state: State, operator: Operator | None, task: Task | None = None) -> Situation:
    return Situation(Snapshot(state, None, (), View(0.0), None, None, "", None), operator, task)


def test_the_shipped_keys_name_every_action_once_and_no_key_does_two_things_on_a_screen():
    keys = load_keys()
    everywhere = list(keys.everywhere.values())
    assert set(key_map(keys)) == {f"{one.place}.{one.name}" for one in ACTIONS}
    for place in PLACES[1:]:
        together = [*everywhere, *keys.of(place).values()]
        assert len(together) == len(set(together)), place


def test_a_key_given_twice_on_a_screen_is_refused_with_both_actions(tmp_path):
    keys = given_keys()
    keys["review"]["reject"] = keys["review"]["accept"]
    assert "review.reject: key 'a' does review.accept already" in refused(tmp_path, keys)


def test_a_key_of_everywhere_is_taken_on_every_screen(tmp_path):
    keys = given_keys()
    keys["outbox"]["retry"] = "escape"
    assert "outbox.retry: key 'escape' does everywhere.abort already" in refused(tmp_path, keys)


def test_an_unknown_action_is_refused_with_those_there_are(tmp_path):
    keys = given_keys()
    keys["exam"]["expose"] = "x"
    message = refused(tmp_path, keys)
    assert "exam: unknown expose; there are" in message
    assert "squeeze" in message


def test_an_action_without_a_key_is_refused(tmp_path):
    keys = given_keys()
    del keys["service"]["calibrate"]
    assert "service: no key for calibrate" in refused(tmp_path, keys)


def test_an_unknown_screen_is_refused_with_those_there_are(tmp_path):
    message = refused(tmp_path, given_keys() | {"cockpit": {"fly": "f"}})
    assert "cockpit" in message
    assert "recorder" in message


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(PLACES), st.data())
def test_any_order_of_a_screens_keys_is_accepted_and_two_equal_ones_never(place, data):
    keys = given_keys()
    names = list(keys[place])
    order = data.draw(st.permutations(list(keys[place].values())))
    keys[place] = dict(zip(names, order, strict=True))
    assert Keys.model_validate(keys).of(place) == keys[place]
    if len(names) > 1:
        first, second = data.draw(st.permutations(names))[:2]
        keys[place][first] = keys[place][second]
        with pytest.raises(ValueError, match=f"does {place}"):
            Keys.model_validate(keys)


@pytest.mark.parametrize(
    ("key", "written"),
    [("escape", "Esc"), ("plus", "+"), ("f10", "F10"), ("ctrl+q", "^Q"), ("f", "f"), ("space", "space")],
)
def test_a_key_is_written_as_people_write_it(key, written):
    assert shown(key) == written


def test_every_action_can_be_done_and_everything_that_can_be_done_is_an_action():
    for place in PLACES:
        owner = StationApp if place == "everywhere" else StationApp.SCREENS[place]
        done = {name.removeprefix("do_") for name in vars(owner) if name.startswith("do_")}
        assert done == {one.name for one in actions(place)}, place


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", DUTIES)
def test_an_action_with_a_duty_is_for_those_roles_that_have_it_and_for_nobody_when_locked(name, role):
    duty, state = DUTIES[name]
    why = action(name).why_not(situation(state, somebody(role)))
    assert (why == "") == (role in needs(duty))
    if why:
        assert str(role) in why
    assert "sign in" in action(name).why_not(situation(state, None))


def test_an_image_is_accepted_only_by_those_who_may_review():
    for role in Role:
        why = action("accept").why_not(situation(State.REVIEW, somebody(role)))
        expected = "still being measured" if role in needs(Duty.REVIEW) else f"not for the role {role}"
        assert expected in why


def test_only_the_switch_of_a_room_whose_person_can_be_directed_is_worked_by_a_key():
    owners = [StationApp, *StationApp.SCREENS.values()]
    methods = [
        (name, one) for owner in owners for name, one in vars(owner).items() if inspect.isfunction(one)
    ]
    working = {name for name, method in methods if "switch.squeeze" in inspect.getsource(method)}
    assert working == {"do_squeeze"}
    room = situation(State.READY, somebody(Role.TECHNOLOGIST))
    assert not action("squeeze").shown(room)
    assert action("squeeze").shown(replace(room, attendant=True))
    assert "SIMULATED HAND SWITCH" in action("squeeze").help


def test_while_radiation_is_possible_nothing_leads_away_from_the_exam():
    away = (
        "worklist",
        "outbox",
        "service",
        "recorder",
        "lock",
        "choose",
        "emergency",
        "calibrate",
        "release",
        "reconcile",
    )
    for state in RADIATION:
        for name in away:
            assert action(name).why_not(situation(state, somebody(Role.TECHNOLOGIST))), (state, name)


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from(State),
    st.none() | st.sampled_from(Role).map(somebody),
    st.none() | st.builds(Task, st.text(min_size=1), st.text(), st.floats(0, 1), st.floats(0, 1e6)),
    st.booleans(),
)
def test_why_an_action_is_not_possible_is_a_text_in_every_situation(state, operator, task, attendant):
    now = replace(situation(state, operator, task), attendant=attendant)
    for one in ACTIONS:
        assert isinstance(one.why_not(now), str)
        assert isinstance(one.shown(now), bool)
    assert not action("abort").why_not(now)
    assert action("abort").shown(now)
