"""What every generator must prove, whatever it is spoken to over.

`@on(...)` names what a test needs of a rig; it is generated for the rigs that have it, and without
`SIMULATED` also for real hardware.
"""

import threading
from contextlib import suppress
from dataclasses import replace

import pytest
from generator_rigs import ROWS, Aside, Fact, GeneratorRig, RealRig, SimulatedRig

from simulators.scene import EmptyScene
from station.devices import (
    Aborted,
    CommunicationLost,
    DeviceError,
    DeviceRefused,
    EndOfExposure,
    GeneratorState,
    NotConnected,
    SwitchStage,
)

SIMULATED, LINE, HAND_SWITCH_STARTS = Fact.SIMULATED, Fact.LINE, Fact.HAND_SWITCH_STARTS
STANDBY, PREPARING, READY = GeneratorState.STANDBY, GeneratorState.PREPARING, GeneratorState.READY
EXPOSING, FAULT = GeneratorState.EXPOSING, GeneratorState.FAULT
STEP_MAS = 0.001  # the finest that a device reports in
DEVIATION = 0.03  # of what is delivered from what was read back


def on(*facts):
    cases = [row.name for row in ROWS if row.facts.issuperset(facts)]
    if SIMULATED not in facts and LINE not in facts:
        cases.append(pytest.param("hardware", marks=pytest.mark.hardware))
    return pytest.mark.parametrize("new_rig", cases, indirect=True)


@pytest.fixture
def new_rig(request, tmp_path, monkeypatch):
    """Not connected."""
    monkeypatch.setattr("simulators.world.scene_from", lambda _: EmptyScene())  # nobody looks at a picture
    rows = {row.name: row for row in ROWS}
    made: GeneratorRig = (
        SimulatedRig(rows[request.param], tmp_path)
        if request.param in rows
        else RealRig(request.getfixturevalue("real_device")("generator"))
    )
    yield made
    made.close()


@pytest.fixture
def rig(new_rig):
    new_rig.connect()
    return new_rig


# --- connection -----------------------------------------------------------------------------------------


@on()
def test_before_connect_the_state_is_unknown_and_nothing_is_taken(new_rig):
    generator = new_rig.generator
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
def test_no_thread_is_left_after_close_and_close_can_be_repeated(new_rig):
    before = set(threading.enumerate())
    new_rig.generator.connect()
    new_rig.generator.close()
    new_rig.generator.close()
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


@on(SIMULATED)
def test_nothing_radiates_before_an_expose(new_rig):
    def still_dark(rig):
        rig.pass_time(0.05)
        return not rig.radiating and rig.exposures == 0 and rig.mas == 0

    assert still_dark(new_rig)
    new_rig.generator.connect()
    assert still_dark(new_rig)
    new_rig.to_ready()
    assert still_dark(new_rig)
    new_rig.press(SwitchStage.EXPOSE)
    assert still_dark(new_rig), "the hand switch alone started radiation: the station had not agreed"
    new_rig.generator.release()
    assert still_dark(new_rig)


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


def ends_early(rig, state, end):
    """Check that nothing goes on, and that what was delivered is told, never too little."""
    rig.pass_until(lambda: not rig.radiating)
    rig.reach(STANDBY)
    began = state is EXPOSING
    rig.pass_until(lambda: rig.generator.status().exposures == began)
    rig.pass_time(0.03)
    assert rig.exposures == began
    assert rig.state is STANDBY
    if began:
        last = rig.generator.status().last
        assert last.end is end
        assert rig.mas * 0.99 - STEP_MAS <= last.mas < rig.long.mas * 0.9
        assert last.mas == pytest.approx(last.ma * last.ms / 1000, rel=0.01, abs=STEP_MAS)
        assert last.kvp == pytest.approx(rig.long.kvp, rel=DEVIATION)


@on(SIMULATED)
@pytest.mark.parametrize("state", [PREPARING, READY, EXPOSING], ids=str)
def test_letting_go_ends_it(rig, state):
    rig.bring_to(state)
    rig.press(SwitchStage.RELEASED)
    rig.generator.release()
    ends_early(rig, state, EndOfExposure.RELEASED)


@on(SIMULATED)
@pytest.mark.parametrize("state", [STANDBY, PREPARING, READY, EXPOSING], ids=str)
def test_abort_ends_it_from_any_thread(rig, state):
    rig.bring_to(state)
    assert Aside(rig.generator.abort).join() is None
    ends_early(rig, state, EndOfExposure.ABORTED)
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


# --- the line -------------------------------------------------------------------------------------------


@on(LINE)
def test_silence_is_said_in_time_ages_the_status_and_ends_with_the_silence(rig):
    with rig.spoiled("silent"):
        with pytest.raises(CommunicationLost):
            rig.generator.load(rig.good)
        at = rig.generator.status().at
        rig.pass_time(0.2)
        assert rig.generator.status().at == at, "a silent device is reported as fresh"
        assert rig.generator.info().model
    rig.pass_until(lambda: rig.generator.status().at > at)
    rig.expose()
    rig.finish()
    assert rig.exposures == 1


@on(LINE)
def test_an_exposure_that_ends_in_silence_is_never_reported_as_less_than_it_was(rig):
    rig.expose(rig.long)
    rig.pass_until(lambda: rig.radiating)
    with rig.spoiled("silent"):
        rig.pass_time(0.2)
        rig.press(SwitchStage.RELEASED)
        rig.world.set_door(closed=False)  # whatever the host does, the room's wires end it
        rig.pass_until(lambda: not rig.radiating)
        rig.pass_time(0.2)
    rig.world.set_door(closed=True)
    rig.pass_until(lambda: rig.generator.status().exposures == 1)
    last = rig.generator.status().last
    assert last.mas >= rig.mas * 0.99 - STEP_MAS
    assert last.end is not EndOfExposure.NORMAL
    assert rig.exposures == 1


@on(LINE)
def test_status_never_waits_for_the_line(rig):
    with rig.spoiled("silent"):
        load = Aside(lambda: rig.generator.load(rig.good))
        for _ in range(100):
            rig.generator.status()
        assert load.goes_on, "status() was as slow as the line"
        assert isinstance(load.join(), CommunicationLost)


@on(LINE)
def test_abort_does_not_wait_for_a_command_in_flight(rig):
    with rig.spoiled("silent"):
        load = Aside(lambda: rig.generator.load(rig.good))
        rig.pass_time(0.02)
        rig.generator.abort()
        assert load.goes_on, "abort() was as slow as the line"
        assert isinstance(load.join(), Aborted | CommunicationLost)
    rig.reach(STANDBY)


@on(LINE)
def test_abort_wins_over_an_expose_that_is_answered_late(rig):
    rig.to_ready(rig.long)
    rig.press(SwitchStage.EXPOSE)
    with rig.spoiled("late", 0.1):
        expose = Aside(rig.generator.expose)
        rig.pass_until(lambda: rig.radiating)
        rig.generator.abort()
        rig.pass_until(lambda: not rig.radiating)
        assert expose.join() is None or isinstance(expose.error, Aborted | CommunicationLost)
        ends_early(rig, EXPOSING, EndOfExposure.ABORTED)


@on(LINE)
def test_whatever_comes_over_the_line_an_exposure_is_never_started_twice(rig):
    for ill in ("split", "late", "merged", "garbage", "damaged", "babble"):
        rig.generator.connect()
        before = rig.exposures
        rig.to_ready()
        rig.press(SwitchStage.EXPOSE)
        with rig.spoiled(ill, 0.02), suppress(DeviceError):
            rig.generator.expose()
        rig.pass_time(0.05)
        rig.press(SwitchStage.RELEASED)
        assert rig.exposures <= before + 1, f"the line was {ill}"
    rig.generator.connect()
    rig.expose()
    rig.finish()


@on(LINE)
def test_an_unplugged_line_is_found_again_without_anybodys_help(rig):
    rig.line.stop()
    at = rig.generator.status().at
    with pytest.raises((CommunicationLost, NotConnected)):
        rig.generator.load(rig.good)
    rig.line.start()
    rig.pass_until(lambda: rig.generator.status().at > at + 0.01, 10)
    rig.reach(STANDBY)
    rig.expose()
    rig.finish()
    assert rig.exposures == 1
