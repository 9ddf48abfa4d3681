"""The simulated generator: states, interlock, partial exposures, abort, faults."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.generator import SimulatedGenerator
from simulators.scene import EmptyScene
from simulators.world import World
from station.clock import VirtualClock
from station.devices import (
    Aborted,
    BadSettings,
    CommunicationLost,
    DeviceRefused,
    EndOfExposure,
    FocalSpot,
    GeneratorState,
    NotConnected,
    Room,
    SwitchStage,
    Technique,
)

HAND = Technique(50, 100, 16)


@pytest.fixture(autouse=True, scope="module")
def _without_a_hand():
    # None of these tests looks at a picture, and drawing the hand takes a third of a second.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulators.world.scene_from", lambda _: EmptyScene())
        yield


class Rig:
    def __init__(self, faults=(), seed=1):
        self.clock = VirtualClock()
        self.room = Room(self.clock, {"faults": list(faults), "seed": seed})
        self.world = World.of(self.room)
        self.generator = SimulatedGenerator({}, self.room)
        self.mas = 0.0
        self.world.on_radiation(self._count)
        self.generator.connect()

    def _count(self, radiation):
        self.mas += radiation.mas

    @property
    def state(self):
        return self.generator.status().state

    def ready(self, technique=HAND):
        self.generator.load(technique)
        self.world.press(SwitchStage.PREPARE)
        self.generator.prepare()
        self.clock.sleep(1)
        assert self.state is GeneratorState.READY

    def expose(self, technique=HAND):
        self.ready(technique)
        self.world.press(SwitchStage.EXPOSE)
        self.generator.expose()


def test_nothing_radiates_after_construction_and_connect_gives_standby():
    room = Room(VirtualClock())
    generator = SimulatedGenerator({}, room)
    assert generator.status().state is GeneratorState.UNKNOWN
    assert not World.of(room).beam_is_on
    generator.connect()
    assert generator.status().state is GeneratorState.STANDBY


def test_commands_without_connection_say_so():
    generator = SimulatedGenerator({}, Room(VirtualClock()))
    for command in (generator.prepare, generator.expose, generator.release, generator.info):
        with pytest.raises(NotConnected):
            command()


def test_a_full_exposure_passes_through_every_state():
    rig = Rig()
    rig.generator.load(HAND)
    rig.generator.prepare()
    assert rig.state is GeneratorState.PREPARING
    rig.clock.sleep(1)
    assert rig.state is GeneratorState.READY
    rig.generator.expose()
    rig.clock.sleep(0.008)
    assert rig.state is GeneratorState.EXPOSING
    rig.clock.sleep(0.02)
    status = rig.generator.status()
    assert status.state is GeneratorState.STANDBY
    assert status.exposures == 1
    assert status.last.end is EndOfExposure.NORMAL


@pytest.mark.parametrize("seed", range(12))
def test_delivery_differs_from_the_request_but_by_less_than_one_percent(seed):
    rig = Rig(seed=seed)
    rig.expose()
    rig.clock.sleep(1)
    last = rig.generator.status().last
    for asked, got in ((50, last.kvp), (100, last.ma), (16, last.ms), (1.6, last.mas)):
        assert got != asked
        assert got == pytest.approx(asked, rel=0.01)
    assert rig.mas == pytest.approx(last.mas, abs=1e-5)


def test_the_same_seed_delivers_the_same():
    def delivered(seed):
        rig = Rig(seed=seed)
        rig.expose()
        rig.clock.sleep(1)
        return rig.generator.status().last

    assert delivered(4) == delivered(4)
    assert delivered(4) != delivered(5)


@given(st.floats(40, 70), st.floats(10, 140), st.floats(1, 2000))
def test_read_back_equals_the_request_within_the_devices_steps(kvp, ma, ms):
    rig = Rig()
    back = rig.generator.load(Technique(kvp, ma, ms, FocalSpot.LARGE))
    assert abs(back.kvp - kvp) <= 0.2501
    assert abs(back.ma - ma) <= 0.0501
    assert abs(back.ms - ms) <= 0.0501
    assert back.focal_spot is FocalSpot.LARGE


@pytest.mark.parametrize(
    "technique",
    [Technique(39, 100, 16), Technique(71, 100, 16), Technique(50, 250, 16), Technique(70, 150, 1)],
)
def test_refuses_a_technique_out_of_range_instead_of_clipping_it(technique):
    rig = Rig()
    rig.generator.load(HAND)
    with pytest.raises(DeviceRefused, match="allows"):
        rig.generator.load(technique)
    rig.expose()
    rig.clock.sleep(1)
    assert rig.generator.status().last.kvp == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize("kvp", [40, 70])
def test_the_ends_of_the_range_can_be_exposed(kvp):
    rig = Rig()
    rig.expose(Technique(kvp, 100, 16))
    rig.clock.sleep(1)
    assert rig.generator.status().exposures == 1


def test_refuses_to_prepare_without_a_technique():
    with pytest.raises(DeviceRefused, match="no technique"):
        Rig().generator.prepare()


def test_refuses_to_expose_unless_ready():
    rig = Rig()
    rig.generator.load(HAND)
    with pytest.raises(DeviceRefused, match="must be in ready"):
        rig.generator.expose()
    rig.generator.prepare()
    with pytest.raises(DeviceRefused, match="must be in ready"):
        rig.generator.expose()
    assert rig.mas == 0


def test_a_second_exposure_needs_a_new_preparation():
    rig = Rig()
    rig.expose()
    rig.clock.sleep(1)
    with pytest.raises(DeviceRefused):
        rig.generator.expose()
    assert rig.generator.status().exposures == 1


def test_ready_ends_by_itself_after_half_a_minute():
    rig = Rig()
    rig.ready()
    rig.clock.sleep(28)
    assert rig.state is GeneratorState.READY
    rig.clock.sleep(3)
    assert rig.state is GeneratorState.STANDBY


def test_a_switch_let_go_in_the_middle_ends_the_exposure_exactly_there():
    rig = Rig(["switch-released-after:5"])
    rig.expose()
    rig.world.tick(1.0)
    last = rig.generator.status().last
    assert last.end is EndOfExposure.RELEASED
    assert last.ms == pytest.approx(5, abs=1e-3)
    assert rig.mas == pytest.approx(last.ma * 0.005, rel=1e-5)


@given(st.floats(1, 15))
def test_dose_of_a_partial_exposure_is_proportional_to_its_time(released_ms):
    rig = Rig()
    rig.expose()
    rig.clock.sleep(released_ms / 1000)
    rig.generator.release()
    rig.clock.sleep(1)
    last = rig.generator.status().last
    assert rig.mas == pytest.approx(last.ma * released_ms / 1000, rel=1e-5)
    assert rig.generator.status().exposures == 1


def test_letting_go_of_the_first_stage_ends_the_preparation():
    rig = Rig()
    rig.generator.load(HAND)
    rig.world.press(SwitchStage.PREPARE)
    rig.generator.prepare()
    rig.clock.sleep(0.2)
    rig.world.press(SwitchStage.RELEASED)
    rig.clock.sleep(5)
    assert rig.state is GeneratorState.STANDBY
    assert rig.generator.status().exposures == 0


def test_abort_ends_radiation_at_once_and_reports_the_part_delivered():
    rig = Rig()
    rig.expose()
    rig.clock.sleep(0.004)
    rig.generator.abort()
    status = rig.generator.status()
    assert status.state is GeneratorState.STANDBY
    assert status.last.end is EndOfExposure.ABORTED
    assert status.last.ms == pytest.approx(4, abs=1e-3)
    before = rig.mas
    rig.clock.sleep(1)
    rig.world.sync()
    assert rig.mas == before


def test_abort_during_preparation_wins_over_the_rotor_that_finishes_late():
    rig = Rig()
    rig.generator.load(HAND)
    rig.generator.prepare()
    rig.generator.abort()
    rig.clock.sleep(5)
    assert rig.state is GeneratorState.STANDBY
    with pytest.raises(Aborted):
        rig.generator.expose()


def test_abort_wins_over_a_command_that_waits_in_flight():
    rig = Rig()
    rig.ready()
    errors = []

    def expose():
        try:
            rig.generator.expose()
        except DeviceRefused as error:
            errors.append(error)

    entered = threading.Event()
    locked_out = rig.world.synced

    def announced():
        entered.set()
        return locked_out()

    with rig.world.synced():
        rig.world.synced = announced
        late = threading.Thread(target=expose, daemon=True)
        late.start()
        assert entered.wait(5)
        rig.generator.abort()
    late.join(5)
    assert [type(e) for e in errors] == [Aborted]
    rig.clock.sleep(1)
    rig.world.sync()
    assert rig.mas == 0


def test_close_ends_radiation():
    rig = Rig()
    rig.expose()
    rig.clock.sleep(0.004)
    rig.generator.close()
    assert not rig.world.beam_is_on
    assert rig.generator.status().state is GeneratorState.STANDBY


def test_a_fault_in_the_exposure_is_latched_until_acknowledged():
    rig = Rig(["generator-fault-during-exposure:3"])
    rig.expose()
    rig.clock.sleep(1)
    status = rig.generator.status()
    assert status.state is GeneratorState.FAULT
    assert status.last.end is EndOfExposure.FAULT
    assert status.last.ms == pytest.approx(3, abs=1e-3)
    assert "arc" in str(status.fault)
    with pytest.raises(DeviceRefused, match="fault"):
        rig.generator.prepare()
    rig.generator.abort()
    assert rig.state is GeneratorState.FAULT
    rig.generator.acknowledge()
    assert rig.state is GeneratorState.STANDBY
    assert rig.generator.status().fault is None


@pytest.mark.parametrize("fault", ["door-opens-during-exposure:6", "emergency-stop-during-exposure:6"])
def test_an_opened_interlock_ends_the_exposure_and_stays_until_closed(fault):
    rig = Rig([fault])
    rig.expose()
    rig.clock.sleep(1)
    assert rig.generator.status().last.ms == pytest.approx(6, abs=1e-3)
    assert rig.state is GeneratorState.FAULT
    with pytest.raises(DeviceRefused, match="cause"):
        rig.generator.acknowledge()
    rig.world.set_door(True)
    rig.world.set_emergency_stop(True)
    rig.generator.acknowledge()
    assert rig.state is GeneratorState.STANDBY


def test_a_door_that_opens_during_preparation_prevents_the_exposure():
    rig = Rig(["door-opens-during-prepare"])
    rig.generator.load(HAND)
    rig.generator.prepare()
    rig.clock.sleep(2)
    assert rig.state is GeneratorState.FAULT
    with pytest.raises(DeviceRefused):
        rig.generator.expose()


def test_refuses_to_prepare_with_an_open_door():
    rig = Rig()
    rig.generator.load(HAND)
    rig.world.set_door(False)
    with pytest.raises(DeviceRefused, match="door"):
        rig.generator.prepare()


def test_a_silent_line_stops_the_status_and_loses_commands_but_not_the_abort():
    rig = Rig(["generator-silent"])
    before = rig.generator.status().at
    rig.clock.sleep(2)
    assert rig.generator.status().at == before
    with pytest.raises(CommunicationLost):
        rig.generator.load(HAND)
    rig.generator.abort()


def test_silence_in_the_exposure_does_not_stop_the_timer_and_connecting_shows_what_was_delivered():
    rig = Rig(["generator-silent-during-exposure"])
    rig.expose()
    rig.clock.sleep(1)
    assert rig.state is GeneratorState.EXPOSING
    assert not rig.world.beam_is_on
    rig.generator.connect()
    status = rig.generator.status()
    assert status.state is GeneratorState.STANDBY
    assert status.last.ms == pytest.approx(16, rel=0.01)


def test_a_generator_that_never_gets_ready_stays_preparing():
    rig = Rig(["generator-never-ready"])
    rig.generator.load(HAND)
    rig.generator.prepare()
    rig.clock.sleep(20)
    assert rig.state is GeneratorState.PREPARING


def test_a_weak_tube_reports_less_than_asked():
    rig = Rig(["generator-underdelivers:30"])
    rig.expose()
    rig.clock.sleep(1)
    assert rig.generator.status().last.mas == pytest.approx(1.6 * 0.7, rel=0.01)


def test_a_hot_anode_refuses_until_it_has_cooled():
    rig = Rig()
    long = Technique(70, 140, 2000)
    for _ in range(4):  # about 20 kJ each of the 90 kJ allowed
        rig.expose(long)
        rig.clock.sleep(3)
    with pytest.raises(DeviceRefused, match="heat"):
        rig.generator.prepare()
    rig.clock.sleep(600)
    rig.expose(HAND)


def test_unknown_settings_are_refused():
    with pytest.raises(BadSettings, match="prepare_s"):
        SimulatedGenerator({"speed": 3}, Room(VirtualClock()))
