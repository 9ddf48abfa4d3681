"""A station with people at it: its long tasks, its switch in a hand, and how it begins and ends."""

import threading
import time
from dataclasses import replace

import pytest

from station.attended import Attended, HandSwitch, Task
from station.calibrate import calibrate, give_up
from station.clock import VirtualClock
from station.devices import GeneratorState, NotConnected, SwitchStage
from station.operate import Stuck
from station.operators import local_operator
from station.states import State, Trigger

STEP_S = 0.01


def turn(attended, times=1):
    for _ in range(times):
        attended.turn()
        attended.parts.clock.sleep(STEP_S)


@pytest.fixture
def standing_by(attend):
    """In standby, somebody signed in."""
    attended = attend()
    attended.sign_in(local_operator())
    turn(attended, 20)
    assert attended.snapshot.state is State.STANDBY
    return attended


def test_a_task_says_what_it_does_how_far_it_is_and_how_it_ended(standing_by):
    said = []
    standing_by.watch(lambda: said.append(standing_by.task))

    def work(operator):
        operator.say("first half")
        operator.say("second half")

    standing_by.begin("counting", work, steps=2)
    assert standing_by.task == replace(standing_by.task, name="counting", step="", done=0.0)
    turn(standing_by)
    assert [(task.step, task.done) for task in said if task] == [("first half", 0.5), ("second half", 1.0)]
    assert (standing_by.task, standing_by.news) == (None, "counting: done")


def test_what_remains_of_a_task_follows_from_its_pace():
    assert Task("calibration", "", 0.0, time.monotonic() - 10).remaining_s() is None
    assert Task("calibration", "", 0.25, time.monotonic() - 1000).remaining_s() == pytest.approx(
        3000, rel=0.05
    )
    assert Task("calibration", "", 1.0, time.monotonic() - 10).remaining_s() == 0


def test_a_second_task_is_refused_with_the_name_of_the_first(standing_by):
    standing_by.begin("calibration", lambda _: None, steps=1)
    with pytest.raises(ValueError, match="calibration is under way; wait for it or cancel it"):
        standing_by.begin("another", lambda _: pytest.fail("must not be done"), steps=1)
    turn(standing_by)
    standing_by.begin("another", lambda _: None, steps=1)


@pytest.mark.parametrize("step", ["dark 2", "flat 1"])
def test_a_cancelled_calibration_leaves_a_station_in_standby_ready_for_the_next_patient(
    standing_by, item, step
):
    def look():
        if standing_by.task and standing_by.task.step.startswith(step):
            standing_by.cancel()

    standing_by.watch(look)
    standing_by.begin("calibration", calibrate, steps=10, give_up=give_up)
    turn(standing_by)
    assert standing_by.news == "calibration: cancelled"
    assert standing_by.snapshot.state is State.STANDBY
    assert standing_by.parts.equipment.generator.status().state is GeneratorState.STANDBY
    standing_by.open(item, "medium")
    turn(standing_by, 3)
    assert standing_by.snapshot.state is State.POSITIONING


def test_a_task_that_cannot_go_on_says_why(standing_by):
    def work(_):
        raise Stuck("the door is open", State.STANDBY)

    standing_by.begin("calibration", work, steps=1)
    turn(standing_by)
    assert standing_by.news == "calibration: the door is open"
    assert standing_by.task is None


def test_a_task_that_meets_a_full_disk_ends_and_the_station_goes_on(standing_by, item):
    def work(_):
        raise OSError(28, "No space left on device")

    def leave(_):
        raise OSError(28, "No space left on device")

    standing_by.begin("calibration", work, steps=1, give_up=leave)
    turn(standing_by)
    assert "No space left" in standing_by.news
    assert standing_by.task is None
    standing_by.open(item, "medium")
    turn(standing_by, 3)
    assert standing_by.snapshot.state is State.POSITIONING


@pytest.mark.hazard("unintended-exposure")
def test_a_defect_in_the_stations_own_program_ends_radiation_and_is_told_and_the_thread_lives(
    standing_by, mocker
):
    to_generator = mocker.spy(standing_by.parts.equipment.generator, "abort")
    mocker.patch.object(standing_by.controller, "step", side_effect=KeyError("defect"))
    told = []
    standing_by.watch(lambda: told.append(standing_by.trouble))
    with standing_by.running():
        until_s = time.monotonic() + 30
        while len(told) < 3 and time.monotonic() < until_s:
            time.sleep(0.01)
        mocker.stopall()
    assert len(told) >= 3
    assert "KeyError('defect')" in told[0]
    assert "start it again" in told[0]
    assert to_generator.call_count >= 1


def test_a_decision_reaches_only_the_exam_that_was_on_the_screen(standing_by, item):
    standing_by.open(item, "medium")
    turn(standing_by, 3)
    seen = standing_by.snapshot
    standing_by.submit(Trigger.CANCEL_EXAM, reason="110513")
    turn(standing_by, 3)
    standing_by.open(item, "medium")
    turn(standing_by, 3)
    standing_by.snapshot = seen
    standing_by.submit(Trigger.CANCEL_EXAM, reason="110513")
    turn(standing_by, 3)
    assert standing_by.snapshot.state is State.POSITIONING
    assert "meant for another exam" in standing_by.snapshot.message


# --- the switch ----------------------------------------------------------------------------------------


class Hand:
    """What the switch was told."""

    def __init__(self):
        self.pressed = []

    def press(self, stage):
        self.pressed.append(stage)


RELEASED, PREPARE, EXPOSE = SwitchStage.RELEASED, SwitchStage.PREPARE, SwitchStage.EXPOSE


def test_each_squeeze_goes_one_stage_further_and_the_end_of_exposure_lets_go():
    hand = Hand()
    switch = HandSwitch(hand, VirtualClock())
    switch.squeeze()
    for state in (State.PREPARING, State.READY):
        switch.follow(state)
    switch.squeeze()
    switch.follow(State.EXPOSING)
    assert hand.pressed == [PREPARE, EXPOSE]
    switch.follow(State.READOUT)
    assert hand.pressed == [PREPARE, EXPOSE, RELEASED]
    switch.follow(State.REVIEW)
    assert hand.pressed == [PREPARE, EXPOSE, RELEASED]


def test_a_hand_lets_go_of_a_switch_that_nothing_comes_of():
    hand, clock = Hand(), VirtualClock()
    switch = HandSwitch(hand, clock)
    switch.squeeze()
    clock.sleep(0.1)
    switch.follow(State.POSITIONING)
    assert switch.stage is PREPARE
    clock.sleep(1)
    switch.follow(State.POSITIONING)
    assert switch.stage is RELEASED
    assert hand.pressed == [PREPARE, RELEASED]


# --- beginning and end ---------------------------------------------------------------------------------


def test_a_device_that_does_not_connect_is_trouble_in_words_until_it_does(attend, mocker):
    attended = attend()
    generator = attended.parts.equipment.generator
    connect = mocker.patch.object(generator, "connect", side_effect=NotConnected("no generator: check power"))
    turn(attended, 100)
    assert attended.trouble == "no generator: check power"
    assert attended.snapshot.state is State.STARTING
    assert connect.call_count == 1  # after 1 s; the next attempt comes later
    mocker.stopall()
    turn(attended, 500)
    assert attended.trouble == ""
    assert attended.snapshot.state is State.STANDBY


def test_what_is_done_first_begins_when_the_station_has_started(make_station):
    done = []
    attended = Attended(
        make_station(start=False).controller, first=lambda one: done.append(one.snapshot.state)
    )
    turn(attended, 5)
    attended.finish()
    assert done == [State.STANDBY]


def test_the_thread_ends_with_its_block_and_ends_the_task_under_way(attend):
    attended = attend()
    begun = threading.Event()

    def endless(operator):
        begun.set()
        operator.wait(lambda _: False, "what never comes", patience_s=300)

    with attended.running():
        attended.begin("endless", endless, steps=1)
        assert begun.wait(30)
    assert "station" not in {thread.name for thread in threading.enumerate()}
    assert attended.news == "endless: cancelled"
