"""The simulated world: time, timers, interlock, settings and faults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.faults import KINDS, FaultName, FaultScript, Moment, parse_fault
from simulators.io import SimulatedRoomIo
from simulators.scene import EmptyScene
from simulators.world import Radiation, World, WorldSettings, kerma_ugy
from station.clock import VirtualClock
from station.devices import BadSettings, Lamp, Room, SwitchStage


@pytest.fixture(autouse=True, scope="module")
def _without_a_hand():
    # None of these tests looks at a picture, and drawing the hand takes a third of a second.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
        yield


def make_world(**settings):
    room = Room(VirtualClock(), settings)
    return World.of(room), room


def test_devices_of_one_room_share_one_world():
    world, room = make_world()
    assert World.of(room) is world


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"phantm": "t=1.6"}, "phantom"),
        ({"sid_mm": 10}, "500 to 2000"),
        ({"sid_mm": "far"}, "500 to 2000"),
        ({"seed": 1.5}, "whole number"),
        ({"seed": True}, "a number"),
        ({"hand_present": "yes"}, "true and false"),
        ({"field_mm": [280]}, "two numbers"),
        ({"faults": "dap-silent"}, "list of texts"),
        ({"faults": ["dap-mute"]}, "dap-silent"),
        ({"faults": ["switch-released-after:soon"]}, "number of ms"),
        ({"faults": ["switch-released-after:-1"]}, "0 to 5000"),
        ({"faults": ["detector-line-cut:in-the-night"]}, "during-fetch"),
        ({"faults": ["dap-silent:3"]}, "no argument"),
    ],
)
def test_bad_settings_say_what_is_allowed(settings, names):
    with pytest.raises(BadSettings, match=names):
        WorldSettings.parse(settings)


def test_refuses_time_that_runs_backwards():
    world, _ = make_world()
    with pytest.raises(ValueError, match="forwards"):
        world.tick(-0.1)


@given(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=8), st.floats(0.05, 1.0))
def test_dose_does_not_depend_on_how_time_is_cut_up(steps, exposure_s):
    world, _ = make_world()
    doses = []
    world.on_radiation(doses.append)
    world.beam_on(50, 100)
    world.after(exposure_s, world.beam_off)
    for step in [*steps, exposure_s]:
        world.tick(step)
    assert sum(d.mas for d in doses) == pytest.approx(100 * exposure_s, rel=1e-9)
    assert not world.beam_is_on


def test_timers_fire_in_order_of_time_at_their_own_time():
    world, _ = make_world()
    fired = []
    for due_s in (0.3, 0.1, 0.2):
        world.after(due_s, lambda: fired.append(round(world.now_s, 9)))
    world.tick(1)
    assert fired == [0.1, 0.2, 0.3]


def test_a_timer_set_by_a_timer_fires_in_the_same_tick():
    world, _ = make_world()
    fired = []
    world.after(0.1, lambda: world.after(0.1, lambda: fired.append(world.now_s)))
    world.tick(1)
    assert fired == [pytest.approx(0.2)]


def test_a_cancelled_timer_does_not_fire():
    world, _ = make_world()
    fired = []
    world.cancel(world.after(0.1, lambda: fired.append(1)))
    world.tick(1)
    assert fired == []


def test_what_a_timer_does_to_the_room_happens_at_the_timers_time():
    world, room = make_world()
    seen = []
    world.watch(lambda: seen.append(world.now_s))
    world.after(0.005, lambda: world.press(SwitchStage.RELEASED))
    room.clock.sleep(1)
    world.sync()
    assert seen == [pytest.approx(0.005)]


def test_anode_heats_with_the_exposure_and_cools_with_time():
    world, _ = make_world()
    world.beam_on(50, 100)
    world.tick(0.1)
    world.beam_off()
    hot = world.heat_percent
    assert hot == pytest.approx(100 * 500 / 100_000, rel=1e-3)
    world.tick(150)
    assert world.heat_percent == pytest.approx(hot / 2.718, rel=1e-3)


def test_kerma_follows_current_time_product_and_inverse_square():
    assert kerma_ugy(50, 3.2, 1000) == pytest.approx(2 * kerma_ugy(50, 1.6, 1000))
    assert kerma_ugy(50, 1.6, 2000) == pytest.approx(kerma_ugy(50, 1.6, 1000) / 4)


def test_the_medium_hand_technique_does_not_saturate_the_open_field():
    # The panel's full scale is 65535 LSB at 1000 LSB/µGy with an offset of about 2000.
    assert 30 < kerma_ugy(50, 1.6, 1000) < 62


def test_the_hand_in_the_beam_is_recorded_with_the_dose():
    world, _ = make_world(hand_present=False)
    doses: list[Radiation] = []
    world.on_radiation(doses.append)
    world.beam_on(50, 100)
    world.tick(0.01)
    world.place_hand()
    world.tick(0.01)
    assert [d.hand for d in doses] == [False, True]


def test_clearing_the_panel_opens_the_collimator_until_the_hand_is_back():
    world, _ = make_world(field_mm=[200, 150])
    world.clear_panel()
    assert not world.hand_present
    assert min(world.field_mm) > 300
    world.place_hand()
    assert world.field_mm == (200, 150)


def test_random_numbers_of_one_purpose_do_not_depend_on_another():
    first, _ = make_world(seed=3)
    second, _ = make_world(seed=3)
    first.rng("dap").uniform(size=5)
    assert first.rng("generator").uniform() == second.rng("generator").uniform()
    assert first.rng("generator").uniform() != first.rng("dap").uniform()


def test_lamps_are_recorded_with_their_time():
    room = Room(VirtualClock(), {})
    io = SimulatedRoomIo({}, room)
    io.connect()
    room.clock.sleep(2)
    io.show(Lamp.READY)
    assert World.of(room).lamps == [(2, Lamp.READY)]


@pytest.mark.parametrize("name", list(FaultName))
def test_every_fault_has_a_row_and_can_be_asked_for_by_name(name):
    fault = parse_fault(name)
    assert fault.name is name
    low, high = KINDS[name].allowed
    assert low <= fault.value <= high


def test_a_fault_of_a_moment_strikes_once_and_a_lasting_one_until_cleared():
    script = FaultScript(["switch-released-after:7", "dap-silent"])
    taken = script.take(FaultName.SWITCH_RELEASED, Moment.EXPOSURE)
    assert taken is not None
    assert taken.value == 7
    assert script.take(FaultName.SWITCH_RELEASED, Moment.EXPOSURE) is None
    assert script.lasting(FaultName.DAP_SILENT)
    assert script.lasting(FaultName.DAP_SILENT)
    script.clear(FaultName.DAP_SILENT)
    assert not script.lasting(FaultName.DAP_SILENT)
