"""What every generator on a line must prove: silence, noise, late answers, and an abort that overtakes."""

from contextlib import suppress

import pytest
from generator_rigs import STEP_MAS, Aside, Fact, check_ended_early, on

from station.devices import (
    Aborted,
    CommunicationLost,
    DeviceError,
    EndOfExposure,
    GeneratorState,
    NotConnected,
    SwitchStage,
)

LINE = Fact.LINE
STANDBY, EXPOSING = GeneratorState.STANDBY, GeneratorState.EXPOSING


@pytest.fixture
def rig(new_generator_rig):
    new_generator_rig.connect()
    return new_generator_rig


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


@pytest.mark.hazard("unintended-exposure")
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
        check_ended_early(rig, EXPOSING, EndOfExposure.ABORTED)


@pytest.mark.hazard("double-exposure")
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
