"""What every generator must prove, whatever it is spoken to over.

`@on(...)` names what a test needs of a rig; it is generated for the rigs that have it, and without
`SIMULATED` also for real hardware.
"""

import threading
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from generator_rigs import DEVIATION, ROWS, STEP_MAS, Aside, Fact, check_ended_early, on

from station.devices import (
    Aborted,
    DeviceError,
    DeviceRefused,
    EndOfExposure,
    GeneratorState,
    NotConnected,
    SwitchStage,
)
from station.registry import DRIVER_GROUP

ROOT = Path(__file__).parents[2]
SIMULATED, HAND_SWITCH_STARTS = Fact.SIMULATED, Fact.HAND_SWITCH_STARTS
STANDBY, PREPARING, READY = GeneratorState.STANDBY, GeneratorState.PREPARING, GeneratorState.READY
EXPOSING, FAULT = GeneratorState.EXPOSING, GeneratorState.FAULT


@pytest.fixture
def rig(new_generator_rig):
    new_generator_rig.connect()
    return new_generator_rig


def test_every_generator_that_is_registered_has_a_rig():
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][DRIVER_GROUP]
    drivers = [EntryPoint(name, value, DRIVER_GROUP).load() for name, value in group.items()]
    assert {driver for driver in drivers if hasattr(driver, "expose")} == {row.driver for row in ROWS}


# --- connection -----------------------------------------------------------------------------------------


@on()
def test_before_connect_the_state_is_unknown_and_nothing_is_taken(new_generator_rig):
    generator = new_generator_rig.generator
    assert generator.status().state is GeneratorState.UNKNOWN
    with pytest.raises(NotConnected):
        generator.info()
    for command in (generator.prepare, generator.expose, generator.release, generator.acknowledge):
        with pytest.raises(NotConnected):
            command()


@on()
def test_connect_gives_standby_and_so_does_connecting_again(rig):
    for _ in range(2):
        rig.reach(STANDBY)
        assert rig.generator.status().fault is None
        rig.generator.connect()
    rig.generator.close()
    rig.generator.connect()
    rig.reach(STANDBY)


@on()
def test_status_is_renewed_by_itself(rig):
    for _ in range(3):
        before = rig.generator.status().at
        rig.pass_until(lambda before=before: rig.generator.status().at > before)


@on()
def test_no_thread_is_left_after_close_and_close_can_be_repeated(new_generator_rig):
    before = set(threading.enumerate())
    new_generator_rig.generator.connect()
    new_generator_rig.generator.close()
    new_generator_rig.generator.close()
    assert set(threading.enumerate()) <= before


@on()
def test_what_is_known_of_the_device_stays_known_after_close(rig):
    known = rig.generator.info()
    assert known.model
    rig.generator.close()
    assert rig.generator.info() == known


# --- technique ------------------------------------------------------------------------------------------


def out_of_range(rig):
    info, good = rig.generator.info(), rig.good
    for name, (low, high) in (("kvp", info.kvp_range), ("ma", info.ma_range), ("ms", info.ms_range)):
        yield replace(good, **{name: low * 0.9})
        yield replace(good, **{name: high * 1.1})
    if info.kvp_range[1] * info.ma_range[1] / 1000 > info.max_power_kw:
        yield replace(good, kvp=info.kvp_range[1], ma=info.ma_range[1])


@pytest.mark.hazard("wrong-exposure")
@on()
def test_refuses_a_technique_out_of_range_and_says_what_is_allowed(rig):
    for technique in out_of_range(rig):
        with pytest.raises(DeviceRefused, match="allows"):
            rig.generator.load(technique)


@on(SIMULATED)
def test_a_refused_technique_leaves_the_one_before_it_as_it_was(rig):
    loaded = rig.generator.load(rig.good)
    for technique in out_of_range(rig):
        with pytest.raises(DeviceRefused):
            rig.generator.load(technique)
    rig.press(SwitchStage.PREPARE)
    rig.generator.prepare()
    rig.reach(READY)
    rig.press(SwitchStage.EXPOSE)
    rig.generator.expose()
    rig.finish()
    last = rig.generator.status().last
    assert last.kvp == pytest.approx(loaded.kvp, rel=DEVIATION)
    late_mas = loaded.ma * rig.timing_ms / 1000
    assert rig.mas == pytest.approx(loaded.mas, rel=DEVIATION, abs=late_mas)


@on()
def test_load_gives_what_the_device_has_set(rig):
    back = rig.generator.load(rig.good)
    assert back.kvp == pytest.approx(rig.good.kvp, rel=DEVIATION)
    assert back.ma == pytest.approx(rig.good.ma, rel=DEVIATION)
    assert back.ms == pytest.approx(rig.good.ms, rel=DEVIATION)
    assert rig.generator.load(back) == back, "what was read back is not a technique of the device"


@on(SIMULATED)
def test_load_is_refused_unless_in_standby(rig):
    rig.to_ready(rig.long)
    with pytest.raises(DeviceRefused, match="standby"):
        rig.generator.load(rig.good)
    rig.press(SwitchStage.EXPOSE)
    rig.generator.expose()
    rig.pass_until(lambda: rig.radiating)
    with pytest.raises(DeviceRefused, match="standby"):
        rig.generator.load(rig.good)


@on()
def test_prepare_is_refused_without_a_technique(rig):
    with pytest.raises(DeviceRefused, match="technique"):
        rig.generator.prepare()


# --- radiation ------------------------------------------------------------------------------------------


@pytest.mark.hazard("unintended-exposure")
@on(SIMULATED)
def test_nothing_radiates_before_an_expose(new_generator_rig):
    def still_dark(rig):
        rig.pass_time(0.05)
        return not rig.radiating and rig.exposures == 0 and rig.mas == 0

    assert still_dark(new_generator_rig)
    new_generator_rig.generator.connect()
    assert still_dark(new_generator_rig)
    new_generator_rig.to_ready()
    assert still_dark(new_generator_rig)
    new_generator_rig.press(SwitchStage.EXPOSE)
    assert still_dark(new_generator_rig), (
        "the hand switch alone started radiation: the station had not agreed"
    )
    new_generator_rig.generator.release()
    assert still_dark(new_generator_rig)


@on(SIMULATED, HAND_SWITCH_STARTS)
def test_expose_alone_starts_nothing_where_the_hand_switch_does(rig):
    rig.to_ready()
    rig.generator.expose()
    rig.pass_time(0.1)
    assert rig.exposures == 0
    rig.press(SwitchStage.EXPOSE)
    rig.finish()
    assert rig.exposures == 1


@on(SIMULATED)
def test_one_expose_is_one_exposure_reported_once_as_it_was(rig):
    rig.expose()
    rig.finish()
    status = rig.generator.status()
    assert (status.exposures, status.last.end) == (1, EndOfExposure.NORMAL)
    assert status.last.kvp == pytest.approx(rig.good.kvp, rel=DEVIATION)
    assert status.last.ma == pytest.approx(rig.good.ma, rel=DEVIATION)
    late_mas = rig.good.ma * rig.timing_ms / 1000
    assert status.last.ms == pytest.approx(rig.good.ms, rel=DEVIATION, abs=rig.timing_ms)
    assert status.last.mas == pytest.approx(rig.mas, rel=DEVIATION, abs=late_mas)
    rig.reach(STANDBY)
    rig.pass_time(0.1)
    assert (rig.generator.status().exposures, rig.exposures) == (1, 1)


@pytest.mark.hazard("double-exposure")
@on(SIMULATED)
def test_every_exposure_needs_its_own_preparation(rig):
    for number in (1, 2):
        rig.expose()
        with pytest.raises(DeviceRefused):
            rig.generator.expose()
        rig.finish()
        rig.reach(STANDBY)
        with pytest.raises(DeviceRefused):
            rig.generator.expose()
        rig.press(SwitchStage.RELEASED)
        assert (rig.generator.status().exposures, rig.exposures) == (number, number)


@on(SIMULATED)
def test_expose_is_refused_in_standby(rig):
    rig.generator.load(rig.good)
    with pytest.raises(DeviceRefused, match="ready"):
        rig.generator.expose()
    rig.pass_time(0.05)
    assert rig.exposures == 0


@on(SIMULATED, Fact.PREPARES)
def test_expose_is_refused_while_preparing(rig):
    rig.to_preparing()
    with pytest.raises(DeviceRefused, match="ready"):
        rig.generator.expose()
    rig.pass_time(0.05)
    assert rig.exposures == 0


@on(SIMULATED)
@pytest.mark.parametrize("state", [PREPARING, READY, EXPOSING], ids=str)
def test_letting_go_ends_it(rig, state):
    rig.bring_to(state)
    rig.press(SwitchStage.RELEASED)
    rig.generator.release()
    check_ended_early(rig, state, EndOfExposure.RELEASED)


@on(SIMULATED)
def test_letting_go_at_any_millisecond_is_one_exposure_and_never_too_little(rig):
    for number, ms in enumerate((0, 1, 5, 14, 41, 160), 1):
        before = rig.mas
        rig.expose()
        rig.pass_until(lambda number=number: rig.radiating or rig.exposures == number)
        rig.pass_time(ms / 1000)
        rig.press(SwitchStage.RELEASED)
        rig.generator.release()
        rig.pass_until(lambda number=number: rig.generator.status().exposures == number)
        rig.reach(STANDBY)
        last = rig.generator.status().last
        assert last.end in {EndOfExposure.RELEASED, EndOfExposure.NORMAL}
        assert last.mas >= (rig.mas - before) * 0.99 - STEP_MAS
        assert rig.exposures == number


@on(SIMULATED)
@pytest.mark.parametrize("state", [STANDBY, PREPARING, READY, EXPOSING], ids=str)
def test_abort_ends_it_from_any_thread(rig, state):
    rig.bring_to(state)
    assert Aside(rig.generator.abort).join() is None
    check_ended_early(rig, state, EndOfExposure.ABORTED)
    rig.press(SwitchStage.RELEASED)
    rig.expose()
    rig.finish()
    assert rig.generator.status().last.end is EndOfExposure.NORMAL, "it cannot go on after an abort"


@on(SIMULATED)
def test_expose_after_an_abort_is_refused_as_aborted(rig):
    rig.to_ready()
    rig.generator.abort()
    with pytest.raises(Aborted):
        rig.generator.expose()
    rig.pass_time(0.05)
    assert rig.exposures == 0


@on(SIMULATED)
def test_close_ends_radiation(rig):
    rig.to_exposing()
    rig.generator.close()
    rig.pass_until(lambda: not rig.radiating, 1.0)
    assert rig.mas < rig.long.mas * 0.9


# --- faults ---------------------------------------------------------------------------------------------


@pytest.mark.hazard("bystander-exposed")
@on(SIMULATED, Fact.DOOR_IS_A_FAULT)
@pytest.mark.parametrize("state", [READY, EXPOSING], ids=str)
def test_an_opened_door_is_a_fault_until_acknowledged(rig, state):
    rig.bring_to(state)
    rig.world.set_door(closed=False)
    rig.reach(FAULT)
    assert not rig.radiating
    status = rig.generator.status()
    assert status.fault is not None
    assert status.fault.code
    assert status.fault.next_action
    if state is EXPOSING:
        rig.pass_until(lambda: rig.generator.status().exposures == 1)
        last = rig.generator.status().last
        assert last.end is EndOfExposure.FAULT
        assert rig.mas * 0.99 - STEP_MAS <= last.mas
    with pytest.raises(DeviceRefused):
        rig.generator.load(rig.good)
    with pytest.raises(DeviceRefused):
        rig.generator.acknowledge()
    rig.press(SwitchStage.RELEASED)
    rig.world.set_door(closed=True)
    rig.pass_time(0.05)
    assert rig.state is FAULT, "a fault went away by itself"
    rig.generator.acknowledge()
    rig.reach(STANDBY)
    assert rig.generator.status().fault is None
    rig.expose()
    rig.finish()


@on(SIMULATED)
def test_nothing_starts_while_the_door_is_open(rig):
    rig.generator.load(rig.good)
    rig.world.set_door(closed=False)
    rig.pass_time(0.01)

    def all_the_way():
        rig.press(SwitchStage.PREPARE)
        rig.generator.prepare()
        rig.reach(READY)
        rig.press(SwitchStage.EXPOSE)
        rig.generator.expose()

    with pytest.raises(DeviceError, match="door"):
        all_the_way()
    rig.pass_time(0.05)
    assert rig.exposures == 0
