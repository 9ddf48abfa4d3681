"""The simulated dose meter, the room's contacts and the attendant."""

import pytest

from simulators.dap import SimulatedDapMeter
from simulators.io import SimulatedRoomIo
from simulators.scene import EmptyScene
from simulators.world import World, kerma_ugy
from station.clock import VirtualClock
from station.devices import Attendant, BadSettings, CommunicationLost, Lamp, NotConnected, Room, SwitchStage


@pytest.fixture(autouse=True, scope="module")
def _without_a_hand():
    # None of these tests looks at a picture, and drawing the hand takes a third of a second.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
        yield


def meter(**settings):
    room = Room(VirtualClock(), settings)
    dap = SimulatedDapMeter({}, room)
    dap.connect()
    return dap, World.of(room)


def irradiate(world, mas=1.6):
    world.beam_on(50, 100)
    world.tick(mas / 100)
    world.beam_off()


@pytest.mark.parametrize("seed", range(6))
def test_dose_area_product_is_kerma_times_field_within_the_chambers_calibration(seed):
    dap, world = meter(seed=seed, field_mm=[280, 220])
    irradiate(world)
    assert dap.read_ugym2() == pytest.approx(kerma_ugy(50, 1.6, 1000) * 0.28 * 0.22, rel=0.031)


def test_dose_area_product_does_not_depend_on_the_distance_of_the_panel():
    near, near_world = meter(sid_mm=1000, field_mm=[200, 200])
    far, far_world = meter(sid_mm=2000, field_mm=[400, 400])
    irradiate(near_world)
    irradiate(far_world)
    assert near.read_ugym2() == pytest.approx(far.read_ugym2(), abs=0.0011)


def test_dose_adds_up_until_reset():
    dap, world = meter()
    irradiate(world)
    once = dap.read_ugym2()
    irradiate(world)
    assert dap.read_ugym2() == pytest.approx(2 * once, abs=0.0021)
    dap.reset()
    assert dap.read_ugym2() == 0


def test_a_silent_meter_says_so():
    dap, _ = meter(faults=["dap-silent"])
    with pytest.raises(CommunicationLost):
        dap.read_ugym2()


def test_an_unconnected_meter_says_so():
    with pytest.raises(NotConnected):
        SimulatedDapMeter({}, Room(VirtualClock())).read_ugym2()


def room_io(**settings):
    room = Room(VirtualClock(), settings)
    io = SimulatedRoomIo({}, room)
    io.connect()
    return io, room


def test_the_attendant_works_the_switch_and_the_hand():
    io, room = room_io()
    assert isinstance(io, Attendant)
    io.press(SwitchStage.PREPARE)
    assert io.inputs().switch is SwitchStage.PREPARE
    io.clear_panel()
    assert not World.of(room).hand_present
    io.place_hand()
    assert World.of(room).hand_present


def test_contacts_show_door_and_emergency_stop():
    io, _ = room_io(door_closed=False)
    assert io.inputs().door_closed is False
    io.set_door(True)
    io.set_emergency_stop(False)
    assert io.inputs().door_closed is True
    assert io.inputs().emergency_stop_released is False


def test_contacts_that_cannot_be_read_are_unknown_and_their_time_stops():
    io, room = room_io()
    read_at = io.inputs().at
    World.of(room).faults.add("io-silent")
    io.press(SwitchStage.EXPOSE)
    room.clock.sleep(3)
    inputs = io.inputs()
    assert (inputs.switch, inputs.door_closed, inputs.emergency_stop_released) == (
        SwitchStage.RELEASED,
        None,
        None,
    )
    assert inputs.at == read_at


def test_an_unconnected_room_shows_nothing():
    io = SimulatedRoomIo({}, Room(VirtualClock()))
    assert io.inputs().door_closed is None
    with pytest.raises(NotConnected):
        io.show(Lamp.READY)


def test_unknown_settings_are_refused():
    with pytest.raises(BadSettings):
        SimulatedRoomIo({"port": "COM1"}, Room(VirtualClock()))
    with pytest.raises(BadSettings):
        SimulatedDapMeter({"port": "COM1"}, Room(VirtualClock()))
