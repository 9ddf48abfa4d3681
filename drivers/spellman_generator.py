"""Spellman XRB monoblock: generator over RS-232 or TCP.

For test benches and phantoms, not for patients: it has no exposure timer, this computer ends the beam.

Source: pages of the XRB011 (118150-001), uX, PMX (118165-001) and SLM (118080-001) manuals that are public,
and open clients of uX. VERIFIED for the XRB011: commands 10, 98 and 99, the unit of 10, error codes 1 and 2,
frames and checksum; frames in `drivers/spellman.py`. Over RS-232 frames carry a checksum, over TCP none
(`checksum`, by default as the url is).

======= ==================== ====================================================================
said    answered             meaning
======= ==================== ====================================================================
10,n    10,$ or an error     set the tube voltage, in 0.1 kV (`kv_per_count`)
11,n    11,$ or an error     set the tube current, 0 to 4095 of full scale (`ma_per_count`)
14; 15  n                    tube voltage and current as set, scaled as 10 and 11
22      hv, interlock, fault  1: it radiates, interlock open, fault; also sent unasked once at a fault
52      52,$                 clear faults
98      1 or 0               radiation
99,1    99,$ or an error     radiation on; 99,0: off
======= ==================== ====================================================================

Course: PREPARING sets voltage and current and reads them back, READY watches the status, expose() says 99,1
once. **Nothing in the device ends the exposure**: this driver's one thread says 99,0 when the time is over,
and again until 99,$ and 98,0 have come back. `own_timer` is False, so the station refuses it for patients.
The shortest time (`ms_range`) is well above what a busy computer is late by. Near the end of an exposure, and
in short ones altogether, nothing is asked whose answer might have to be awaited for too long.

Delivered: kV and mA as read back (nothing measured is used), the time from 99,1 until off was confirmed, the
longest it can have been.

Hazard: if this computer or its line dies, radiation goes on until the interlock opens. Wire the door and the
emergency stop into it. No hand switch input is known; expose() alone starts the beam.

Silence: no answer within `answer_within_s` is silence. A checksum error is silence too. Then the first words
are always 99,0 and 98, in every state: an exposure whose line is lost is ended as soon as there is a line,
and reported until then, end UNKNOWN. In READY it means standby.

Inferred
--------
- INFERRED from uX: commands 11, 14, 15 and 22, their arguments, and that 14 and 15 are scaled as 10 and 11
- INFERRED from SLM: 52 clears faults; an answer that it does not know the command is let pass
- INFERRED from uX: 22 is sent unasked at a fault, in the form of its answer
- INFERRED from uX: `E#1` and `E#2` over TCP come without a frame, error codes above 2 are those of PMX
- INFERRED: the scale of 11 and the polarity of the interlock in 22; on uX public clients found both
  other than in the manual, so `ma_per_count` and `interlock_open_value` are settings
- INFERRED from PMX: 19200 baud
- MEMORY: the ranges that are the defaults of the settings; check the data sheet
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from drivers import spellman
from drivers.course import Course, Shot
from drivers.link import Dialogue, Link, Traffic, Whereabouts
from station.devices import (
    Aborted,
    CommunicationLost,
    DeviceError,
    DeviceFault,
    DeviceRefused,
    EndOfExposure,
    FocalSpot,
    GeneratorInfo,
    GeneratorState,
    GeneratorStatus,
    NotConnected,
    Room,
    Technique,
)
from station.settings import Settings

_OFF_WITHIN_S = 3.0  # how long off is said again before the line is called lost; then it goes on anyway
_WATCH_S = 0.02  # between polls in an exposure
_KEYS = ("url", "baud", "answer_within_s", "checksum", "kv_per_count", "ma_per_count", "interlock_open_value")
_IDENTITY = ("model", "serial", "kvp_range", "ma_range", "ms_range", "max_power_kw")
_COUNTS = 4095  # full scale of 11
_OPEN = DeviceFault(
    "22",
    "interlock",
    "the interlock is open",
    "Close the door, release the emergency stop, then acknowledge",
)
_FAULT = DeviceFault("22", "fault", "the generator reports a fault", "Acknowledge; call service if it recurs")
_UNASKED = DeviceFault(
    "98", "x-ray on", "the generator radiated unasked and was switched off", "Call service"
)
_DARK = DeviceFault("98", "x-ray off", "radiation ended early and the device gives no reason", "Call service")


class SpellmanGenerator:
    """Satisfies `station.devices.Generator`."""

    def __init__(self, settings: Mapping[str, Any], room: Room) -> None:
        read = Settings("spellman-xrb", settings)
        read.only(*_KEYS, *_IDENTITY)
        url = read.text("url", "/dev/ttyUSB0")
        self._checked = read.flag("checksum", not url.startswith("socket://"))
        ma_range = read.pair("ma_range", (0.05, 0.7), 0.001, 200)
        self._info = GeneratorInfo(
            read.text("model", "Spellman XRB011"),
            read.text("serial", "unknown"),
            read.pair("kvp_range", (35, 80), 1, 160),
            ma_range,
            read.pair("ms_range", (100, 10000), 50, 60000),
            read.number("max_power_kw", 0.01, 0.001, 10),
            own_timer=False,
        )
        self._kv_per_count = read.number("kv_per_count", 0.1, 1e-6, 1)
        self._ma_per_count = read.number("ma_per_count", ma_range[1] / _COUNTS, 1e-6, 1)
        self._open_value = read.whole("interlock_open_value", 1, 0, 1)
        where = Whereabouts(
            "the Spellman generator",
            url,
            read.number("answer_within_s", 0.2, 0.05, 2),
            read.whole("baud", 19200, 1200, 115200),
        )
        self._course = Course(where.name, room.clock)
        self._connected_once = False
        self._shot: Shot | None = None
        self._stop_as: EndOfExposure | None = None  # asked for, not yet confirmed
        self._within_s = where.answer_within_s
        dialogue = Dialogue(
            spellman.splitter(checked=self._checked), spellman.describe, self._greet, self._poll, self._heard
        )
        self._link = Link(where, dialogue, room.clock)

    # --- contract ------------------------------------------------------------------------------------

    def connect(self) -> None:
        self._link.open()
        self._link.run(self._begin, "connect", even_aborted=True, within_s=10.0)
        self._connected_once = True

    def close(self) -> None:
        self._stop_as = self._stop_as or EndOfExposure.ABORTED
        with suppress(
            CommunicationLost, NotConnected
        ):  # a dead line cannot be told: its interlock must do it
            self._link.run(self._stop, "close", even_aborted=True)
        self._link.close()

    def info(self) -> GeneratorInfo:
        if not self._connected_once:
            raise NotConnected("the Spellman generator is not connected; connect first")
        return self._info

    def status(self) -> GeneratorStatus:
        return self._course.status

    def traffic(self) -> tuple[Traffic, ...]:
        """The newest frames in both directions, decoded."""
        return self._link.traffic()

    def load(self, technique: Technique) -> Technique:
        return self._link.run(lambda: self._load(technique), "load")

    def prepare(self) -> None:
        self._link.run(self._prepare, "prepare")

    def expose(self) -> None:
        self._link.run(self._expose, "expose")

    def release(self) -> None:
        self._stop_as = self._stop_as or EndOfExposure.RELEASED
        self._link.run(self._stop, "release", even_aborted=True)

    def abort(self) -> None:
        self._course.aborted = True
        self._stop_as = EndOfExposure.ABORTED
        try:
            self._link.abort(spellman.frame(99, 0, checked=self._checked))
        finally:  # its answer is awaited by nobody yet
            self._link.later(self._stop, "abort")

    def acknowledge(self) -> None:
        self._link.run(self._acknowledge, "acknowledge")

    # --- words, by the link's owner --------------------------------------------------------------------

    def _order(self, command: int, *arguments: int) -> None:
        """Say it and see it accepted. Raises `DeviceRefused` with the device's reason."""

        def answer(data: bytes) -> bool | None:
            message = spellman.parse(data, checked=self._checked)
            return spellman.taken(message, command) if message else None

        self._link.exchange(spellman.frame(command, *arguments, checked=self._checked), answer)
        self._course.contact()

    def _ask(self, command: int, count: int) -> tuple[int, ...]:
        """Ask for so many numbers."""

        def answer(data: bytes) -> tuple[int, ...] | None:
            message = spellman.parse(data, checked=self._checked)
            values = spellman.numbers(message, command) if message else None
            return values if values and len(values) >= count else None

        values = self._link.exchange(spellman.frame(command, checked=self._checked), answer)
        self._course.contact()
        return values

    def _radiates(self) -> bool:
        return self._ask(98, 1)[0] != 0

    def _fault(self) -> DeviceFault | None:
        return self._fault_in(self._ask(22, 3))

    def _fault_in(self, status: tuple[int, ...]) -> DeviceFault | None:
        _, interlock, fault = status[:3]
        if interlock == self._open_value:
            return _OPEN
        return _FAULT if fault else None

    # --- jobs, by the link's owner ---------------------------------------------------------------------

    def _greet(self) -> None:
        """Off, whatever the state: no answer may mean that nobody ends what goes on."""
        if self._shot is not None:
            self._shot.unseen = True
        self._stop()

    def _begin(self) -> None:
        self._stop()
        self._course.begin()
        fault = self._fault()
        if fault is not None and fault is not _OPEN:
            self._course.fail(fault)

    def _set(self, technique: Technique) -> Technique:
        """Set it and give what the device then has."""
        self._course.technique = None
        kv, ma = round(technique.kvp / self._kv_per_count), round(technique.ma / self._ma_per_count)
        self._order(10, kv)
        self._order(11, ma)
        back = self._ask(14, 1)[0], self._ask(15, 1)[0]
        if back != (kv, ma):
            raise CommunicationLost(
                f"the Spellman generator was set to {kv} and {ma} counts and reads back {back[0]} and "
                f"{back[1]}; check its line and whether it is in remote mode"
            )
        kvp, current = round(kv * self._kv_per_count, 4), round(ma * self._ma_per_count, 6)
        self._course.technique = Technique(kvp, current, technique.ms, technique.focal_spot)
        return self._course.technique

    def _load(self, technique: Technique) -> Technique:
        self._course.need(GeneratorState.STANDBY, "load a technique")
        self._info.refuse_out_of_range(technique)
        if technique.focal_spot is not FocalSpot.SMALL:
            raise DeviceRefused("the large focal spot was asked, this generator allows the small one only")
        return self._set(technique)

    def _prepare(self) -> None:
        self._course.need(GeneratorState.STANDBY, "prepare")
        self._course.loaded("prepare")
        fault = self._fault()
        if fault is not None:
            raise DeviceRefused(f"cannot prepare: {fault}")
        self._course.aborted, self._stop_as = False, None
        self._course.enter(GeneratorState.PREPARING)
        self._link.poll_next()

    def _get_ready(self, technique: Technique) -> None:
        try:
            self._set(technique)
        except DeviceError:  # nothing is loaded any more
            self._course.enter(GeneratorState.STANDBY)
            raise
        self._course.enter(GeneratorState.READY)

    def _expose(self) -> None:
        self._course.need(GeneratorState.READY, "expose")
        self._shot = Shot(self._course.loaded("expose"), time.monotonic())
        self._course.enter(GeneratorState.EXPOSING)
        self._link.poll_next()
        try:
            self._order(99, 1)
        except Aborted:  # before anything was sent
            self._shot = None
            self._course.enter(GeneratorState.STANDBY)
            raise
        except DeviceRefused:
            self._make_sure_it_is_off()
            self._shot = None
            self._course.enter(GeneratorState.STANDBY)
            raise
        self._shot.latest_s = time.monotonic()

    def _acknowledge(self) -> None:
        if self._course.status.fault is None:
            return
        with suppress(DeviceRefused):  # a unit may not know it
            self._order(52)
        fault = self._fault()
        if fault is not None:
            raise DeviceRefused(f"the fault's cause is still there: {fault}")
        self._course.clear()

    # --- watching ------------------------------------------------------------------------------------

    def _heard(self, data: bytes) -> None:
        """A fault is sent unasked, once: it is asked for, as nothing else says why radiation ended."""
        message = spellman.parse(data, checked=self._checked)
        status = spellman.numbers(message, 22) if message else None
        if self._shot is not None and status and len(status) >= 3 and self._fault_in(status):
            self._stop_as = self._stop_as or EndOfExposure.FAULT
            self._link.poll_next()

    def _poll(self) -> float | None:
        if self._shot is not None:
            return self._watch(self._shot)
        if self._course.state is GeneratorState.PREPARING:
            self._get_ready(self._course.loaded("prepare"))
            return None
        status = self._ask(22, 3)
        if status[0]:
            self._make_sure_it_is_off()
            self._course.fail(_UNASKED)
        fault = self._fault_in(status)
        open_is_a_fault = self._course.state is GeneratorState.READY
        if fault is not None and (open_is_a_fault or fault is not _OPEN):
            self._course.fail(fault)
        return None

    def _watch(self, shot: Shot) -> float:
        """Be the device's timer; ask only while an answer cannot be awaited past the end."""
        began_s = shot.latest_s if shot.latest_s is not None else shot.earliest_s
        off_s = began_s + shot.technique.ms / 1000
        left_s = off_s - time.monotonic()
        if self._stop_as is not None or left_s <= 0:
            self._stop_as = self._stop_as or EndOfExposure.NORMAL
            self._stop()
            return 0.0
        if left_s > 2 * self._within_s and not self._radiates():
            self._stop_as = EndOfExposure.FAULT
            self._stop()
            return 0.0
        return max(min(off_s - time.monotonic(), _WATCH_S if left_s > 2 * self._within_s else left_s), 0.0)

    def _stop(self) -> None:
        """End whatever goes on, see that it has ended, and account for it."""
        self._make_sure_it_is_off()
        ended_s, shot, end = time.monotonic(), self._shot, self._stop_as
        self._stop_as = None
        if shot is not None:
            fault = self._why(end)
            end = EndOfExposure.FAULT if fault else end or EndOfExposure.UNKNOWN
            if shot.unseen and end is EndOfExposure.NORMAL:
                end = EndOfExposure.UNKNOWN
            self._shot = None
            self._course.ended(shot.delivered((ended_s - shot.earliest_s) * 1000, end))
            if fault:
                self._course.fail(fault)
        self._course.enter(GeneratorState.STANDBY)

    def _why(self, end: EndOfExposure | None) -> DeviceFault | None:
        """The fault that ended an exposure, if one did."""
        try:
            fault = self._fault()
        except DeviceError:  # off is confirmed; that is what counts
            fault = None
        return _DARK if fault is None and end is EndOfExposure.FAULT else fault

    def _make_sure_it_is_off(self) -> None:
        """Say it until it is confirmed; once is enough where nothing was started."""
        until_s = time.monotonic() + (_OFF_WITHIN_S if self._shot else 0.0)
        while True:
            try:
                self._order(99, 0)
                if not self._radiates():
                    return
            except (CommunicationLost, DeviceRefused):
                if time.monotonic() > until_s:
                    raise
