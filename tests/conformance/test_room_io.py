"""What the room's contacts and lamps must prove, whatever they are spoken to over.

`@on(...)` names what a test needs of a rig; without `SIMULATED` and `LINE` it also runs on real hardware.
"""

import threading
import time
from contextlib import suppress

import pytest
from io_rigs import ROWS, Fact, IoRig, SimulatedIoRig

from simulators.scene import EmptyScene
from station.clock import RealClock
from station.devices import CommunicationLost, Lamp, NotConnected, SwitchStage

SIMULATED, LINE = Fact.SIMULATED, Fact.LINE
RELEASED = SwitchStage.RELEASED
BLOCKED_S = 1.0  # a call that takes longer waits for the device


def on(*facts):
    cases = [row.name for row in ROWS if row.facts.issuperset(facts)]
    if not facts:
        cases.append(pytest.param("hardware", marks=pytest.mark.hardware))
    return pytest.mark.parametrize("new_rig", cases, indirect=True)


@pytest.fixture
def new_rig(request, monkeypatch):
    """Not connected."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())  # nobody looks at a picture
    before = set(threading.enumerate())
    rows = {row.name: row for row in ROWS}
    if request.param in rows:
        made = SimulatedIoRig(rows[request.param])
    else:
        made = IoRig(request.getfixturevalue("real_device")("io"), RealClock())
    yield made
    made.close()
    assert set(threading.enumerate()) <= before


@pytest.fixture
def rig(new_rig):
    new_rig.io.connect()
    return new_rig


def unknown(inputs):
    return (inputs.switch, inputs.door_closed, inputs.emergency_stop_released) == (RELEASED, None, None)


def promptly(call, *arguments):
    began_s = time.monotonic()
    for _ in range(20):
        with suppress(CommunicationLost):
            call(*arguments)
    assert time.monotonic() - began_s < BLOCKED_S


@on()
def test_everything_is_unknown_before_connect_and_after_close(new_rig):
    assert unknown(new_rig.io.inputs())
    new_rig.io.connect()
    new_rig.io.close()
    assert unknown(new_rig.io.inputs())


@on()
def test_lamps_are_refused_before_connect_and_after_close(new_rig):
    with pytest.raises(NotConnected, match="connect"):
        new_rig.io.show(Lamp.READY)
    new_rig.io.connect()
    new_rig.io.close()
    with pytest.raises(NotConnected, match="connect"):
        new_rig.io.show(Lamp.READY)


@on()
def test_all_contacts_are_known_and_the_switch_is_released_once_connected(rig):
    assert rig.io.inputs().switch is RELEASED
    rig.pass_until(lambda: rig.io.inputs().door_closed is not None)
    rig.pass_until(lambda: rig.io.inputs().emergency_stop_released is not None)


@on()
def test_the_time_of_the_last_contact_goes_on_and_is_never_in_the_future(rig):
    first = rig.io.inputs()
    rig.pass_until(lambda: rig.io.inputs().at > first.at)
    assert rig.io.inputs().at <= rig.clock.now()


@on()
def test_closing_twice_and_connecting_again_are_fine(rig):
    rig.io.connect()
    rig.pass_until(lambda: rig.io.inputs().door_closed is not None)
    rig.io.close()
    rig.io.close()
    rig.io.connect()
    rig.pass_until(lambda: rig.io.inputs().door_closed is not None)


@on(SIMULATED)
def test_the_switch_is_followed_through_its_stages(rig):
    stages = (
        SwitchStage.PREPARE,
        SwitchStage.EXPOSE,
        SwitchStage.PREPARE,
        RELEASED,
        SwitchStage.EXPOSE,
        RELEASED,
    )
    for stage in stages:
        rig.world.press(stage)
        rig.pass_until(lambda s=stage: rig.io.inputs().switch is s)


@on(SIMULATED)
def test_door_and_emergency_stop_are_followed_each_for_itself(rig):
    for closed in (False, True):
        rig.world.set_door(closed)
        rig.pass_until(lambda c=closed: rig.io.inputs().door_closed is c)
        rig.pass_until(lambda: rig.io.inputs().emergency_stop_released is True)
    for released in (False, True):
        rig.world.set_emergency_stop(released)
        rig.pass_until(lambda r=released: rig.io.inputs().emergency_stop_released is r)
        rig.pass_until(lambda: rig.io.inputs().door_closed is True)


@on(SIMULATED)
def test_every_lamp_is_shown_and_the_newest_one_stays(rig):
    for lamp in (Lamp.READY, Lamp.XRAY_ON, Lamp.END_OF_EXPOSURE, Lamp.OFF):
        rig.io.show(lamp)
        rig.pass_until(lambda a=lamp: rig.world.lamps and rig.world.lamps[-1][1] is a)
    for lamp in (Lamp.READY, Lamp.XRAY_ON):
        rig.io.show(lamp)
    rig.pass_until(lambda: rig.world.lamps[-1][1] is Lamp.XRAY_ON)


@pytest.mark.hazard("bystander-exposed")
@on(SIMULATED)
def test_contacts_that_do_not_answer_are_unknown_the_switch_is_released_and_their_time_stops(rig):
    rig.world.press(SwitchStage.EXPOSE)
    rig.pass_until(lambda: rig.io.inputs().switch is SwitchStage.EXPOSE)
    rig.silence()
    rig.pass_until(lambda: unknown(rig.io.inputs()))
    stopped_at = rig.io.inputs().at
    rig.pass_until(lambda: rig.clock.now() > stopped_at + 0.5)
    assert unknown(rig.io.inputs())
    assert rig.io.inputs().at == stopped_at


@on(SIMULATED)
def test_contacts_that_answer_again_are_known_again_without_anybody_connecting(rig):
    rig.silence()
    rig.pass_until(lambda: unknown(rig.io.inputs()))
    silent = rig.io.inputs()
    rig.world.set_door(False)
    rig.mend()
    rig.pass_until(lambda: rig.io.inputs().door_closed is False)
    rig.pass_until(lambda: rig.io.inputs().emergency_stop_released is True)
    rig.pass_until(lambda: rig.io.inputs().at > silent.at)


@on(SIMULATED)
def test_reading_and_showing_never_wait_for_a_silent_room(rig):
    rig.silence()
    promptly(rig.io.inputs)
    promptly(rig.io.show, Lamp.READY)
    rig.pass_until(lambda: unknown(rig.io.inputs()))
    promptly(rig.io.inputs)
    promptly(rig.io.show, Lamp.XRAY_ON)


@on(SIMULATED)
def test_the_newest_lamp_is_shown_once_a_silent_room_answers(rig):
    rig.silence()
    rig.pass_until(lambda: unknown(rig.io.inputs()))
    for lamp in (Lamp.READY, Lamp.XRAY_ON):
        with suppress(CommunicationLost):
            rig.io.show(lamp)
    rig.mend()
    rig.pass_until(lambda: rig.world.lamps and rig.world.lamps[-1][1] is Lamp.XRAY_ON)


@on(LINE)
def test_a_lamp_that_cannot_be_shown_is_told(rig):
    rig.silence()
    rig.pass_until(lambda: unknown(rig.io.inputs()))
    with pytest.raises(CommunicationLost, match="lamp 'ready'"):
        rig.io.show(Lamp.READY)


@on(LINE)
def test_connecting_to_a_silent_room_says_so_and_works_once_it_answers(new_rig):
    new_rig.silence()
    with pytest.raises(CommunicationLost, match="check"):
        new_rig.io.connect()
    assert unknown(new_rig.io.inputs())
    new_rig.mend()
    new_rig.io.connect()
    new_rig.pass_until(lambda: new_rig.io.inputs().door_closed is True)
