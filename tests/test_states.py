from itertools import product
from pathlib import Path

import pytest

from station.conduct import Conduct
from station.states import TABLE, Refusal, State, StationMachine, Trigger, diagram

GUARDS = sorted({row.guard for row in TABLE if row.guard})
DECLARED = {(row.state, row.trigger) for row in TABLE}
UNDECLARED = [pair for pair in product(State, Trigger) if pair not in DECLARED]


def machine_in(state: State, guard_says: bool = True) -> StationMachine:
    machine = StationMachine({guard: lambda: guard_says for guard in GUARDS})
    machine._model.state = str(state)
    return machine


@pytest.mark.parametrize(("state", "trigger"), UNDECLARED, ids=str)
def test_every_undeclared_pair_is_refused_and_moves_nothing(state, trigger):
    machine = machine_in(state)
    with pytest.raises(Refusal, match=str(trigger)):
        machine.fire(trigger)
    assert machine.state is state


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.state}-{row.trigger}")
def test_every_declared_row_leads_where_it_says(row):
    assert machine_in(row.state).fire(row.trigger) is row.next


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.guard], ids=lambda row: f"{row.state}-{row.trigger}"
)
def test_a_guard_that_says_no_keeps_the_state(row):
    machine = machine_in(row.state, guard_says=False)
    with pytest.raises(Refusal, match="not"):
        machine.fire(row.trigger)
    assert machine.state is row.state


def test_no_pair_is_declared_twice():
    assert len(DECLARED) == len(TABLE)


@pytest.mark.hazard("unintended-exposure")
def test_exposing_is_entered_only_from_ready_and_only_guarded():
    entries = [row for row in TABLE if row.next is State.EXPOSING and row.state is not State.EXPOSING]
    assert [(row.state, row.trigger, row.guard) for row in entries] == [
        (State.READY, Trigger.EXPOSE, "armed_and_ready")
    ]


@pytest.mark.hazard("double-exposure")
def test_an_exposure_without_image_is_left_only_by_recovery_or_a_documented_acknowledgement():
    exits = {(row.trigger, row.guard) for row in TABLE if row.state is State.EXPOSED_NO_IMAGE}
    assert exits == {(Trigger.RECOVERED, None), (Trigger.ACKNOWLEDGE, "reason_given")}


def test_the_readme_shows_this_table():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram()}```" in readme


def test_conduct_acts_only_on_triggers_and_states_that_exist():
    triggers = {name.removeprefix("after_") for name in dir(Conduct) if name.startswith("after_")}
    states = {name.removeprefix("while_") for name in dir(Conduct) if name.startswith("while_")}
    assert triggers <= set(Trigger)
    assert states <= set(State)
    assert states >= {State.EXPOSING, State.READOUT, State.EXPOSED_NO_IMAGE}
