"""A simulated X-ray generator with its tube, on the room's one world.

The hard-wired chain is here, not in the station: radiation ends by the generator's own timer, when the hand
switch leaves EXPOSE, when door or emergency stop open the interlock, and at abort. A switch that was never
pressed does not stop an exposure started by software: only letting go does.

Load rounds to the device's steps and reads back what it set. What is delivered differs from that by up to
0.4 %, seeded per exposure. Output does not depend on the focal spot.
"""

import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from simulators.faults import FaultName, Moment
from simulators.world import World
from station.devices import (
    Aborted,
    CommunicationLost,
    Delivered,
    DeviceFault,
    DeviceRefused,
    EndOfExposure,
    GeneratorInfo,
    GeneratorState,
    GeneratorStatus,
    NotConnected,
    Room,
    SwitchStage,
    Technique,
)
from station.settings import Settings

_KVP_RANGE = (40.0, 70.0)
_MA_RANGE = (10.0, 200.0)
_MS_RANGE = (1.0, 2000.0)
_MAX_POWER_KW = 10.0  # memory: a small radiographic tube on its small focus
_KVP_STEP = 0.5
_MA_STEP = 0.1
_MS_STEP = 0.1
_DEVIATION = {"kvp": 0.003, "ma": 0.004, "ms": 0.002}  # largest relative one, memory
_HEAT_LIMIT_PERCENT = 90.0


@dataclass(frozen=True, slots=True)
class _Running:
    kvp: float
    ma: float
    started_s: float


class SimulatedGenerator:
    """Satisfies `station.devices.Generator`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("sim-generator", settings)
        read.only(
            *("serial", "prepare_s", "ready_timeout_s", "hand_switch_wired"),
            *("kvp_range", "ma_range", "ms_range", "max_power_kw"),
        )
        self._info = GeneratorInfo(
            "Simulated HF 10",
            read.text("serial", "SIM-G-1"),
            read.pair("kvp_range", _KVP_RANGE, 10, 150),
            read.pair("ma_range", _MA_RANGE, 0.01, 1000),
            read.pair("ms_range", _MS_RANGE, 1, 1e6),
            read.number("max_power_kw", _MAX_POWER_KW, 0.01, 100),
        )
        self._ma_step = min(_MA_STEP, self._info.ma_range[0] / 100)
        self._prepare_s = read.number("prepare_s", 0.8, 0, 10)
        self._ready_timeout_s = read.number("ready_timeout_s", 30, 1, 600)
        self._switch_wired = read.flag("hand_switch_wired", True)
        self._world = World.of(room)
        self._rng = self._world.rng("generator")
        self._connected = self._met = False
        self._silent = False
        self._state = GeneratorState.STANDBY
        self._loaded: Technique | None = None
        self._running: _Running | None = None
        self._timer: int | None = None
        self._exposures = 0
        self._last: Delivered | None = None
        self._fault: DeviceFault | None = None
        self._aborts = 0  # an abort is counted before it waits for the lock: commands in flight see it
        self._was_aborted = False
        self._switch = self._world.switch
        self._known = GeneratorStatus(GeneratorState.UNKNOWN, room.clock.now(), 0.0, 0)
        self._world.watch(self._room_changed)

    # --- contract ---

    def connect(self) -> None:
        with self._world.synced():
            self._stop(EndOfExposure.ABORTED)
            self._exposures = 0
            self._connected, self._met, self._silent = True, True, False
            self._report()
            self._silent = self._world.faults.lasting(FaultName.GENERATOR_SILENT) is not None

    def close(self) -> None:
        with self._world.synced():
            self._stop(EndOfExposure.ABORTED)
            if self._connected:
                self._report()
            self._connected = False

    def info(self) -> GeneratorInfo:
        if not self._met:
            raise NotConnected("the generator is not connected; connect first")
        return self._info

    def status(self) -> GeneratorStatus:
        with self._world.synced():
            self._report()
            return self._known

    def load(self, technique: Technique) -> Technique:
        with self._command("load a technique", GeneratorState.STANDBY):
            self._info.refuse_out_of_range(technique)
            self._loaded = Technique(
                _rounded(technique.kvp, _KVP_STEP),
                _rounded(technique.ma, self._ma_step),
                _rounded(technique.ms, _MS_STEP),
                technique.focal_spot,
            )
            return self._loaded

    def prepare(self) -> None:
        with self._command("prepare", GeneratorState.STANDBY):
            technique = self._technique("prepare")
            self._refuse_open_interlock("prepare")
            heat_percent = self._world.heat_after_percent(technique.kvp, technique.mas)
            if heat_percent > _HEAT_LIMIT_PERCENT:
                raise DeviceRefused(
                    f"the anode would reach {heat_percent:.0f} % heat, {_HEAT_LIMIT_PERCENT:g} % is allowed; "
                    "let the tube cool"
                )
            self._was_aborted = False
            self._state = GeneratorState.PREPARING
            self._world.rotor_starts()
            if not self._world.faults.lasting(FaultName.GENERATOR_NEVER_READY):
                self._timer = self._world.after(self._prepare_s, self._become_ready)

    def expose(self) -> None:
        with self._command("expose", GeneratorState.READY) as now_s:
            technique = self._technique("expose")
            self._refuse_open_interlock("expose")
            self._world.cancel(self._timer)
            actual = self._actual(technique)
            self._state = GeneratorState.EXPOSING
            self._running = _Running(actual.kvp, actual.ma, now_s)
            self._timer = self._world.after(actual.ms / 1000, lambda: self._stop(EndOfExposure.NORMAL))
            self._world.beam_on(actual.kvp, actual.ma)
            arc = self._world.faults.take(FaultName.GENERATOR_FAULT, Moment.EXPOSURE)
            if arc:
                running = self._running
                self._world.after(arc.value / 1000, lambda: self._arc(running))
            if self._world.faults.take(FaultName.GENERATOR_SILENT_IN_EXPOSURE, Moment.EXPOSURE):
                self._report()
                self._silent = True

    def release(self) -> None:
        with self._world.synced():
            self._refuse_unconnected()
            self._stop(EndOfExposure.RELEASED)

    def abort(self) -> None:
        # Neither silence nor a missing connection holds it up: the enable line is a wire of its own.
        self._aborts += 1
        with self._world.synced():
            self._was_aborted = True
            self._stop(EndOfExposure.ABORTED)

    def acknowledge(self) -> None:
        with self._command("acknowledge"):
            if self._fault is None:
                return
            if not self._world.interlock_closed:
                raise DeviceRefused(
                    "the fault's cause is still there: close the door and release the emergency stop, "
                    "then acknowledge again"
                )
            self._fault = None
            self._state = GeneratorState.STANDBY

    # --- what the device does ---

    @contextmanager
    def _command(self, what: str, needed: GeneratorState | None = None) -> Generator[float]:
        aborts = self._aborts
        with self._world.synced() as now_s:
            self._refuse_unconnected()
            if self._silent:
                raise CommunicationLost(
                    f"the generator does not answer to '{what}'; check its line and connect again"
                )
            if aborts != self._aborts:
                raise Aborted(f"'{what}' was overtaken by an abort; start the preparation anew")
            if needed and self._state is not needed:
                kind = Aborted if self._was_aborted and needed is GeneratorState.READY else DeviceRefused
                because = f" ({self._fault})" if self._fault else ""
                raise kind(
                    f"cannot {what}: the generator is in {self._state}{because}, it must be in {needed}"
                )
            yield now_s
            self._report()

    def _refuse_unconnected(self) -> None:
        if not self._connected:
            raise NotConnected("the generator is not connected; connect first")

    def _technique(self, what: str) -> Technique:
        if self._loaded is None:
            raise DeviceRefused(f"cannot {what}: no technique is loaded; load one in standby")
        return self._loaded

    def _refuse_open_interlock(self, what: str) -> None:
        if not self._world.interlock_closed:
            raise DeviceRefused(
                f"cannot {what}: the interlock is open; close the door, release the emergency stop"
            )

    def _actual(self, technique: Technique) -> Technique:
        """What this exposure delivers if nothing ends it; the voltage regulation stays within its range."""
        kvp, ma, ms = (
            value * (1 + self._rng.uniform(-1, 1) * _DEVIATION[name])
            for name, value in (("kvp", technique.kvp), ("ma", technique.ma), ("ms", technique.ms))
        )
        weak = self._world.faults.lasting(FaultName.GENERATOR_WEAK)
        low, high = self._info.kvp_range
        ma *= 1 - (weak.value / 100 if weak else 0)
        return Technique(min(max(kvp, low), high), ma, ms, technique.focal_spot)

    def _become_ready(self) -> None:
        self._state = GeneratorState.READY
        self._timer = self._world.after(self._ready_timeout_s, lambda: self._stop(EndOfExposure.RELEASED))

    def _stop(self, end: EndOfExposure) -> None:
        """End preparation and radiation; a partial exposure is counted and reported."""
        self._world.cancel(self._timer)
        self._timer = None
        self._world.rotor_stops()
        running, self._running = self._running, None
        if self._state is not GeneratorState.FAULT:
            self._state = GeneratorState.STANDBY
        if running is None:
            return
        ms = (self._world.now_s - running.started_s) * 1000
        self._last = Delivered(
            round(running.kvp, 2), round(running.ma, 3), round(ms, 3), round(running.ma * ms / 1000, 5), end
        )
        self._exposures += 1
        self._world.beam_off()

    def _fail(self, fault: DeviceFault) -> None:
        self._stop(EndOfExposure.FAULT)
        self._fault = fault
        self._state = GeneratorState.FAULT

    def _arc(self, exposure: _Running) -> None:
        if self._running is exposure:
            self._fail(
                DeviceFault(
                    "E12",
                    "TUBE ARC",
                    "the tube arced and radiation was ended",
                    "Acknowledge; call service if it recurs",
                )
            )

    def _room_changed(self) -> None:
        before, self._switch = self._switch, self._world.switch
        active = self._state in {GeneratorState.PREPARING, GeneratorState.READY, GeneratorState.EXPOSING}
        if active and not self._world.interlock_closed:
            self._fail(
                DeviceFault(
                    "E30",
                    "INTERLOCK OPEN",
                    "the door or the emergency stop opened the interlock",
                    "Close the door, release the emergency stop, then acknowledge",
                )
            )
            return
        needed = SwitchStage.EXPOSE if self._running else SwitchStage.PREPARE
        if active and self._switch_wired and before >= needed > self._switch:
            self._stop(EndOfExposure.RELEASED)

    def _report(self) -> None:
        """Bring the last known status up to date unless the line is dead."""
        if not self._connected or self._silent:
            return
        self._known = GeneratorStatus(
            self._state,
            self._world.clock.now(),
            round(self._world.heat_percent, 3),
            self._exposures,
            self._last,
            self._fault,
        )


def _rounded(value: float, step: float) -> float:
    return round(math.floor(value / step + 0.5) * step, 6)
