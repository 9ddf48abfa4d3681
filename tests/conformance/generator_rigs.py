"""The generators there are, each with the simulator it is tested on: one row per driver and wire."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from drivers.sedecal_generator import SedecalGenerator
from drivers.spellman_generator import SpellmanGenerator
from drivers.vj_generator import VjGenerator
from simulators.generator import SimulatedGenerator
from simulators.wire.line import End, Face, Line, PtyEnd, TcpEnd
from simulators.wire.r2cp import R2cpFace
from simulators.wire.spellman import SpellmanFace
from simulators.wire.vj import VjFace
from simulators.world import World
from station.clock import Clock, RealClock, VirtualClock
from station.devices import EndOfExposure, Generator, GeneratorState, Room, SwitchStage, Technique


class Fact(StrEnum):
    """What a test may need; a row says which are true of it."""

    SIMULATED = "its radiation, hand switch and door belong to a world that a test can watch and work"
    LINE = "it is spoken to over a line that can be spoiled"
    PREPARES = "preparation takes a while, in which a test can catch it"
    DOOR_IS_A_FAULT = "it can tell an open door from a hand switch that is let go, and latches it"
    HAND_SWITCH_STARTS = "expose() only permits: radiation starts by the wired hand switch"


@dataclass(frozen=True, slots=True)
class Row:
    """One driver on one wire."""

    name: str
    driver: Callable[[Mapping[str, Any], Room], Generator]
    good: Technique  # some ms
    long: Technique  # long enough to be ended early
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: frozenset[Fact] = frozenset({Fact.SIMULATED})
    timing_ms: float = 0.0  # by how much a computer that times the beam may be late in a test
    clock: Callable[[], Clock] = RealClock
    face: Callable[[Room], Face] | None = None
    end: Callable[[Path], End] | None = None


def on_pty(folder: Path) -> End:
    return PtyEnd(folder / "line")


def on_tcp(_: Path) -> End:
    return TcpEnd()


WIRED = frozenset({Fact.SIMULATED, Fact.LINE})

ROWS = (
    Row(
        "sim-generator",
        SimulatedGenerator,
        good=Technique(50, 100, 16),
        long=Technique(50, 10, 2000),
        settings={"prepare_s": 0.05},
        facts=frozenset({Fact.SIMULATED, Fact.PREPARES, Fact.DOOR_IS_A_FAULT}),
        clock=VirtualClock,
    ),
    Row(
        "vj-ixs over TCP, the hand switch in its interlock",
        VjGenerator,
        good=Technique(50, 0.5, 40),
        long=Technique(50, 0.5, 5000),
        settings={"answer_within_s": 0.5},
        facts=WIRED,
        face=lambda room: VjFace({}, room),
        end=on_tcp,
    ),
    Row(
        "vj-ixs over RS-232, without a hand switch",
        VjGenerator,
        good=Technique(50, 0.5, 40),
        long=Technique(50, 0.5, 5000),
        settings={"hand_switch_in_interlock": False, "answer_within_s": 0.5},
        facts=WIRED | {Fact.DOOR_IS_A_FAULT},
        face=lambda room: VjFace({"hand_switch_in_interlock": False}, room),
        end=on_pty,
    ),
    Row(
        "spellman-xrb over RS-232",
        SpellmanGenerator,
        good=Technique(50, 0.2, 150),
        long=Technique(50, 0.2, 8000),
        settings={"answer_within_s": 0.5},
        timing_ms=60,
        facts=WIRED | {Fact.DOOR_IS_A_FAULT},
        face=lambda room: SpellmanFace({}, room),
        end=on_pty,
    ),
    Row(
        "spellman-xrb over TCP",
        SpellmanGenerator,
        good=Technique(50, 0.2, 150),
        long=Technique(50, 0.2, 8000),
        settings={"answer_within_s": 0.5},
        timing_ms=60,
        facts=WIRED | {Fact.DOOR_IS_A_FAULT},
        face=lambda room: SpellmanFace({"checksum": False}, room),
        end=on_tcp,
    ),
    Row(
        "sedecal-r2cp",
        SedecalGenerator,
        good=Technique(50, 100, 16),
        long=Technique(50, 10, 2000),
        settings={"answer_s": 0.5, "kvp_range": [40, 70], "ma_range": [10, 200], "ms_range": [1, 2000]}
        | {"max_power_kw": 10},
        facts=WIRED | {Fact.PREPARES, Fact.DOOR_IS_A_FAULT, Fact.HAND_SWITCH_STARTS},
        face=lambda room: R2cpFace({"prepare_s": 0.05}, room),
        end=on_tcp,
    ),
)


_BEAT_S = 0.005
STEP_MAS = 0.001  # the finest that a device reports in
DEVIATION = 0.03  # of what is delivered from what was read back


def on(*facts: Fact) -> pytest.MarkDecorator:
    """For the rigs that have these facts, and without `SIMULATED` or `LINE` also for real hardware."""
    cases: list[Any] = [row.name for row in ROWS if row.facts.issuperset(facts)]
    if not {Fact.SIMULATED, Fact.LINE} & set(facts):
        cases.append(pytest.param("hardware", marks=pytest.mark.hardware))
    return pytest.mark.parametrize("new_generator_rig", cases, indirect=True)


class Stalls:
    """By how much this machine was late with something simple, at worst."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        before_s = time.monotonic()
        while not self._ended.wait(_BEAT_S):
            now_s = time.monotonic()
            self.worst_ms = max(self.worst_ms, 1000 * (now_s - before_s - _BEAT_S))
            before_s = now_s

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


class GeneratorRig:
    """A generator, and whatever a test may do to it."""

    def __init__(self, generator: Generator, clock: Clock, good: Technique, long: Technique) -> None:
        self.generator, self.clock, self.good, self.long = generator, clock, good, long
        self.name = "hardware"

    @property
    def timing_ms(self) -> float:
        """By how much a computer that times the beam may have been late."""
        return 0.0

    @property
    def state(self) -> GeneratorState:
        return self.generator.status().state

    def pass_until(self, claim: Callable[[], Any], seconds: float = 5.0) -> None:
        """Let time pass until it is so."""
        until_s = self.clock.now() + seconds
        while not claim():
            assert self.clock.now() < until_s, f"it never came to pass; {self.generator.status()}"
            self.clock.sleep(0.002)

    def pass_time(self, seconds: float) -> None:
        until_s = self.clock.now() + seconds
        self.pass_until(lambda: self.clock.now() >= until_s)

    def reach(self, state: GeneratorState) -> None:
        self.pass_until(lambda: self.state is state)

    def connect(self) -> None:
        self.generator.connect()

    def close(self) -> None:
        self.generator.close()


class SimulatedRig(GeneratorRig):
    """On a world."""

    def __init__(self, row: Row, folder: Path) -> None:
        clock = row.clock()
        self.room = Room(clock)
        self.world = World.of(self.room)
        self.line = Line(row.face(self.room), row.end(folder)) if row.face and row.end else None
        settings = dict(row.settings)
        if self.line:
            self.line.start()
            settings["url"] = self.line.url
        super().__init__(row.driver(settings, self.room), clock, row.good, row.long)
        self.name, self._timing_ms = row.name, row.timing_ms
        self._stalls = Stalls() if row.timing_ms else None
        self.mas, self.exposures = 0.0, 0  # what the world has seen
        self.world.on_radiation(self._absorb)
        self._beam_on, self.world.beam_on = self.world.beam_on, self._count

    def _absorb(self, radiation) -> None:
        self.mas += radiation.mas

    def _count(self, kvp: float, ma: float) -> None:
        self.exposures += 1
        self._beam_on(kvp, ma)

    @property
    def timing_ms(self) -> float:
        """More on a machine that stood still meanwhile: at the beam's begin, at its end."""
        return self._timing_ms + (2 * self._stalls.worst_ms if self._stalls else 0.0)

    @property
    def radiating(self) -> bool:
        self.world.sync()
        return self.world.beam_is_on

    def press(self, stage: SwitchStage) -> None:
        self.world.press(stage)

    def to_preparing(self, technique: Technique | None = None) -> None:
        self.generator.load(technique or self.good)
        self.press(SwitchStage.PREPARE)
        self.generator.prepare()

    def to_ready(self, technique: Technique | None = None) -> None:
        self.to_preparing(technique)
        self.reach(GeneratorState.READY)

    def expose(self, technique: Technique | None = None) -> None:
        """As in a room: the second stage is pressed, then the station agrees."""
        self.to_ready(technique)
        self.press(SwitchStage.EXPOSE)
        self.generator.expose()

    def to_exposing(self) -> None:
        """In the middle of a long exposure."""
        self.expose(self.long)
        self.pass_until(lambda: self.radiating and self.state is GeneratorState.EXPOSING)

    def bring_to(self, state: GeneratorState) -> None:
        """To one of the states of an exposure."""
        way = {
            GeneratorState.STANDBY: lambda: self.generator.load(self.good),
            GeneratorState.PREPARING: self.to_preparing,
            GeneratorState.READY: self.to_ready,
            GeneratorState.EXPOSING: self.to_exposing,
        }
        way[state]()

    def finish(self) -> None:
        """Until the exposure is over and reported."""
        before = self.generator.status().exposures
        self.pass_until(lambda: self.generator.status().exposures > before)

    @contextmanager
    def spoiled(self, ill: str, number: float = 0.0):
        """The line has an ill for a while."""
        self.line.spoil(ill, number)
        try:
            yield
        finally:
            self.line.mend()

    def close(self) -> None:
        with suppress(Exception):
            super().close()
        if self.line:
            self.line.stop()
        if self._stalls:
            self._stalls.end()


def check_ended_early(rig: "SimulatedRig", state: GeneratorState, end: EndOfExposure) -> None:
    """Check that nothing goes on, and that what was delivered is told, never too little."""
    rig.pass_until(lambda: not rig.radiating)
    rig.reach(GeneratorState.STANDBY)
    began = state is GeneratorState.EXPOSING
    rig.pass_until(lambda: rig.generator.status().exposures == began)
    rig.pass_time(0.03)
    assert rig.exposures == began
    assert rig.state is GeneratorState.STANDBY
    if began:
        last = rig.generator.status().last
        assert last.end is end
        assert rig.mas * 0.99 - STEP_MAS <= last.mas < rig.long.mas * 0.9
        assert last.mas == pytest.approx(last.ma * last.ms / 1000, rel=0.01, abs=STEP_MAS)
        assert last.kvp == pytest.approx(rig.long.kvp, rel=DEVIATION)


class Aside:
    """A call in a thread of its own, with its outcome."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self.error = call, None
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except Exception as error:  # noqa: BLE001  the test looks at it
            self.error = error

    @property
    def goes_on(self) -> bool:
        return self._thread.is_alive()

    def join(self) -> Exception | None:
        self._thread.join(10)
        assert not self.goes_on, "the call never came back"
        return self.error


class RealRig(GeneratorRig):
    """A real generator at its gentlest; nothing is ever exposed."""

    def __init__(self, generator: Generator) -> None:
        nothing = Technique(1, 1, 1)
        super().__init__(generator, RealClock(), nothing, nothing)

    def connect(self) -> None:
        super().connect()
        info = self.generator.info()
        self.good = Technique(info.kvp_range[0], info.ma_range[0], max(info.ms_range[0], 20.0))
